#include "scripted.h"

#include "common/job.h"
#include "common/weights.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t scripted_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- both sides -----------------------------------------------------------------------------------------------------
 */

void scripted_listen(struct scripted *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;

    memset(p, 0, sizeof *p);
    p->line = -1;
    p->rounds = 100;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(p->listener, 0);
    ck_assert_int_eq(bind(p->listener, (const struct sockaddr *)&address, length), 0);
    ck_assert_int_eq(getsockname(p->listener, (struct sockaddr *)&address, &length), 0);
    ck_assert_int_eq(listen(p->listener, 8), 0);
    (void)snprintf(p->address, sizeof p->address, "127.0.0.1:%u", ntohs(address.sin_port));
}

void scripted_deafen(struct scripted *p)
{
    if (p->listener >= 0)
        (void)close(p->listener);
    p->listener = -1;
}

void scripted_share_secret(struct scripted *p)
{
    int fd;

    p->secret.bytes = 40;
    for (unsigned i = 0; i < 40; i++)
        p->secret.data[i] = (uint8_t)(3 * i + 129); /* no digits, so that the file has these bytes */
    (void)strcpy(p->token, "/tmp/test_client.XXXXXX");
    fd = mkstemp(p->token);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, p->secret.data, p->secret.bytes), (ssize_t)p->secret.bytes);
    (void)close(fd);
}

static void note(void *arg, int level, const char *line)
{
    struct scripted *p = arg;
    size_t used = strlen(p->log);

    unit_assert(level >= SIGNPOST_LOG_WARN && level <= SIGNPOST_LOG_DEBUG, "level %d", level);
    unit_assert(strchr(line, '\n') == NULL, "a line of several lines: %s", line);
    (void)snprintf(p->log + used, sizeof p->log - used, "%d %s\n", level, line);
}

struct signpost_options scripted_options(struct scripted *p)
{
    static const uint64_t shape_a[] = {3, 4}, shape_b[] = {5};
    static const struct signpost_tensor tensors[] = {{"a", shape_a, 2, SIGNPOST_DECAY}, {"b", shape_b, 1, 0}};
    struct signpost_options options = SIGNPOST_OPTIONS_INIT;

    options.tensors = tensors;
    options.tensors_count = 2;
    options.server = p->address;
    options.job = "test";
    options.examples = 1000;
    options.token_file = p->token[0] != '\0' ? p->token : NULL;
    options.log = note;
    options.log_arg = p;
    return options;
}

void scripted_open(struct scripted *p, const struct signpost_options *options)
{
    char words[256] = "";

    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &p->mask), 0);
    ck_assert_msg(signpost_open(&p->s, options, words, sizeof words) == SIGNPOST_OK, "%s", words);
}

void scripted_begin(struct scripted *p, bool secret)
{
    struct signpost_options options;

    scripted_listen(p);
    if (secret)
        scripted_share_secret(p);
    options = scripted_options(p);
    scripted_open(p, &options);
}

void scripted_hang_up(struct scripted *p)
{
    if (p->line >= 0)
        (void)close(p->line);
    p->line = -1;
}

void scripted_end(struct scripted *p)
{
    scripted_hang_up(p);
    scripted_deafen(p);
    signpost_close(p->s);
    p->s = NULL;
    if (p->token[0] != '\0')
        (void)unlink(p->token);
}

static void check_mask(const struct scripted *p)
{
    sigset_t mask;

    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    for (int signal_number = 1; signal_number < 65; signal_number++)
        unit_assert(sigismember(&mask, signal_number) == sigismember(&p->mask, signal_number),
                    "the mask of signal %d changed", signal_number);
}

void scripted_turn(struct scripted *p)
{
    struct signpost_event *event = &p->events[p->events_count];
    int rc;

    if (p->s == NULL || p->code != 0) {
        (void)poll(NULL, 0, 1);
        return;
    }
    unit_assert(p->events_count < UNIT_COUNT(p->events), "nobody takes the events");
    rc = signpost_wait(p->s, 1, event);
    check_mask(p);
    if (rc != SIGNPOST_OK)
        p->code = rc;
    else if (event->type != SIGNPOST_NOTHING && (event->type != SIGNPOST_DONE || p->events_count == 0))
        p->events_count++; /* DONE comes again and again */
}

struct signpost_event scripted_expect_event(struct scripted *p, uint32_t type)
{
    struct signpost_event event;

    scripted_until(p, p->events_count > 0 || p->code != 0);
    ck_assert_msg(p->events_count > 0, "code %d: %s", p->code, signpost_error(p->s));
    event = p->events[0];
    ck_assert_uint_eq(event.type, type);
    p->events_count--;
    memmove(&p->events[0], &p->events[1], p->events_count * sizeof p->events[0]);
    return event;
}

void scripted_expect_code(struct scripted *p, int code, const char *words, int reason)
{
    struct signpost_event event;

    scripted_until(p, p->code != 0 || p->events_count > 0);
    ck_assert_uint_eq(p->events_count, 0);
    ck_assert_int_eq(p->code, code);
    ck_assert_msg(strstr(signpost_error(p->s), words) != NULL, "%s", signpost_error(p->s));
    ck_assert_int_eq(signpost_reason(p->s), reason);
    ck_assert_int_eq(signpost_wait(p->s, -1, &event), code); /* and it goes on saying so */
    ck_assert_int_eq(signpost_process(p->s, &event), code);
    ck_assert_msg(strstr(signpost_error(p->s), words) != NULL, "%s", signpost_error(p->s));
}

/* --- the server's side ----------------------------------------------------------------------------------------------
 */

bool scripted_is_called(const struct scripted *p)
{
    struct pollfd wait = {.fd = p->listener, .events = POLLIN};

    return poll(&wait, 1, 0) == 1;
}

void scripted_accept(struct scripted *p)
{
    scripted_hang_up(p);
    scripted_until(p, scripted_is_called(p));
    p->line = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ck_assert_int_ge(p->line, 0);
    ck_assert_int_eq(setsockopt(p->line, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
}

static bool has_bytes(const struct scripted *p)
{
    struct pollfd wait = {.fd = p->line, .events = POLLIN};

    return poll(&wait, 1, 0) == 1;
}

static void take_bytes(struct scripted *p, void *bytes, size_t count)
{
    uint8_t *at = bytes;

    while (count > 0) {
        ssize_t n;

        scripted_until(p, has_bytes(p));
        n = recv(p->line, at, count, 0);
        unit_assert(n > 0, "the client closed the line, %zu bytes too early; code %d; log: %s", count, p->code, p->log);
        at += n;
        count -= (size_t)n;
    }
}

/* One frame, of any type. */
static void take_frame(struct scripted *p, struct sp_message *message)
{
    uint8_t header[SP_FRAME_HEADER_BYTES], *control;
    struct sp_error error = {0};

    memset(message, 0, sizeof *message);
    take_bytes(p, header, sizeof header);
    unit_assert(sp_frame_decode(header, &message->frame, &error) == SP_OK, "%s", error.text);
    control = unit_alloc(message->frame.control_bytes);
    take_bytes(p, control, message->frame.control_bytes);
    take_bytes(p, p->bulk, message->frame.bulk_bytes);
    unit_assert(sp_frame_check_control(header, &message->frame, control, &error) == SP_OK, "%s", error.text);
    unit_assert(sp_frame_check_bulk(&message->frame, p->bulk, &error) == SP_OK, "%s", error.text);
    unit_assert(sp_codec_decode(message, control, &error) == SP_OK, "%s", error.text);
    p->frame = message->frame;
    free(control);
}

void scripted_receive(struct scripted *p, enum sp_frame_type type, struct sp_message *message)
{
    struct sp_message taken;

    do {
        take_frame(p, &taken);
    } while (taken.frame.type == SP_FRAME_ALIVE && type != SP_FRAME_ALIVE);
    unit_assert(taken.frame.type == type, "%s came, not %s", sp_frame_name(taken.frame.type), sp_frame_name(type));
    if (message != NULL)
        *message = taken;
    else
        sp_message_finish(&taken);
}

void scripted_expect_quiet(struct scripted *p, uint64_t ms)
{
    uint64_t end_ms = scripted_now_ms() + ms;

    while (scripted_now_ms() < end_ms) {
        unit_assert(!has_bytes(p), "something came");
        scripted_turn(p);
    }
}

void scripted_expect_end(struct scripted *p)
{
    uint8_t byte;
    ssize_t n;

    scripted_until(p, has_bytes(p));
    n = recv(p->line, &byte, 1, 0);
    unit_assert(n == 0 || (n < 0 && errno == ECONNRESET), "a byte came in place of the end: %02x", byte);
}

void scripted_send_bytes(struct scripted *p, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;

    while (count > 0) {
        ssize_t n = send(p->line, at, count, MSG_NOSIGNAL);

        if (n < 0) {
            unit_assert(errno == EAGAIN, "the server cannot send: %s", strerror(errno));
            scripted_turn(p);
            continue;
        }
        at += n;
        count -= (size_t)n;
    }
}

void scripted_send(struct scripted *p, const struct sp_message *message, const void *bulk, size_t bulk_bytes)
{
    struct sp_buffer *frame = sp_codec_encode(message, bulk, bulk_bytes);

    ck_assert_ptr_nonnull(frame);
    scripted_send_bytes(p, frame->data, frame->bytes);
    sp_buffer_release(frame);
}

void scripted_send_bare(struct scripted *p, enum sp_frame_type type)
{
    const struct sp_message message = {.frame = {.type = type}};

    scripted_send(p, &message, NULL, 0);
}

/* CRC-32 as of gzip, by its definition. */
static uint32_t crc32_of(uint32_t crc, const uint8_t *bytes, size_t count)
{
    crc = ~crc;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ UINT32_C(0xedb88320) : crc >> 1;
    }
    return ~crc;
}

void scripted_send_version(struct scripted *p, const struct sp_message *message, uint8_t version)
{
    struct sp_buffer *frame = sp_codec_encode(message, NULL, 0);
    uint32_t crc;

    ck_assert_ptr_nonnull(frame);
    frame->data[4] = version;
    crc = crc32_of(0, frame->data, 36);
    crc = crc32_of(crc, frame->data + SP_FRAME_HEADER_BYTES, frame->bytes - SP_FRAME_HEADER_BYTES);
    for (int i = 0; i < 4; i++)
        frame->data[36 + i] = (uint8_t)(crc >> (8 * i));
    scripted_send_bytes(p, frame->data, frame->bytes);
    sp_buffer_release(frame);
}

void scripted_send_bye(struct scripted *p, uint32_t reason, const char *words)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_BYE}, .bye = {.reason = reason}};

    (void)snprintf(message.bye.words, sizeof message.bye.words, "%s", words);
    scripted_send(p, &message, NULL, 0);
}

/* --- steps of the happy path ----------------------------------------------------------------------------------------
 */

static void take_layout(struct scripted *p)
{
    struct sp_message message;

    scripted_receive(p, SP_FRAME_LAYOUT, &message);
    ck_assert_uint_eq(sp_layout_digest(&message.layout), p->hello.layout_digest);
    sp_message_finish(&message);
}

void scripted_take_hello(struct scripted *p)
{
    struct sp_message message;

    scripted_accept(p);
    scripted_receive(p, SP_FRAME_HELLO, &message);
    p->hello = message.hello;
    ck_assert_int_eq(p->hello.has_nonce, p->secret.bytes > 0);
    if (!p->hello.has_nonce)
        take_layout(p);
}

void scripted_challenge(struct scripted *p, const struct sp_secret *secret, enum sp_prover prover)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_CHALLENGE}};

    ck_assert_int_eq(sp_random_bytes(p->server_nonce, sizeof p->server_nonce, NULL), SP_OK);
    memcpy(message.challenge.nonce, p->server_nonce, sizeof p->server_nonce);
    ck_assert_int_eq(
        sp_proof_make(secret, prover, &p->hello, p->server_nonce, &(struct sp_channel){0}, message.challenge.proof),
        SP_OK);
    scripted_send(p, &message, NULL, 0);
}

void scripted_take_proof(struct scripted *p)
{
    uint8_t right[SP_PROOF_BYTES];
    struct sp_message message;

    scripted_receive(p, SP_FRAME_PROOF, &message);
    ck_assert_int_eq(
        sp_proof_make(&p->secret, SP_PROVER_CLIENT, &p->hello, p->server_nonce, &(struct sp_channel){0}, right), SP_OK);
    ck_assert(sp_proof_equal(message.proof, right));
    take_layout(p);
}

void scripted_take_handshake(struct scripted *p)
{
    scripted_take_hello(p);
    if (p->secret.bytes == 0)
        return;
    scripted_challenge(p, &p->secret, SP_PROVER_SERVER);
    scripted_take_proof(p);
}

void scripted_welcome(struct scripted *p, uint32_t round, uint8_t ticket)
{
    static char keys[][40] = {"seed",
                              "workers",
                              "optimizer.mode",
                              "optimizer.beta1",
                              "optimizer.dither.scale",
                              "optimizer.sgd.momentum",
                              "optimizer.sgd.rate"};
    static char values[][8] = {"1", "4", "hybrid", "0.9", "job", "ema", "frozen"};
    struct sp_setting plan[UNIT_COUNT(keys)];
    struct sp_message message = {.frame = {.type = SP_FRAME_WELCOME}};

    for (unsigned i = 0; i < UNIT_COUNT(keys); i++)
        plan[i] = (struct sp_setting){keys[i], values[i]};
    message.welcome.slot = 2;
    message.welcome.plan = plan;
    message.welcome.plan_count = UNIT_COUNT(keys);
    message.welcome.rounds = p->rounds;
    message.welcome.run = p->run;
    message.welcome.round = round;
    message.welcome.alive_interval_ms = p->alive_ms;
    message.welcome.silence_ms_max = p->silence_ms;
    message.welcome.traits = p->traits;
    message.welcome.traits_count = p->traits_count;
    memset(message.welcome.ticket, ticket, sizeof message.welcome.ticket);
    scripted_send(p, &message, NULL, 0);
}

float scripted_weight(unsigned j)
{
    return 0.5f * (float)j - 1.0f;
}

void scripted_commit(struct scripted *p, uint32_t round)
{
    const struct sp_message message = {.frame = {.type = SP_FRAME_COMMIT, .round = round},
                                       .commit = {.rate = 0.125f, .decay = 1.0f, .last = round == p->rounds}};

    scripted_send(p, &message, NULL, 0);
}

void scripted_update(struct scripted *p, uint32_t round)
{
    const struct sp_message message = {
        .frame = {.type = SP_FRAME_UPDATE, .flags = SP_FRAME_LAST, .round = round, .count = SCRIPTED_D}};

    scripted_send(p, &message, "\xff\xff\x01", 3);
    scripted_commit(p, round);
}

static void take_weights(struct scripted *p)
{
    struct sp_message message;
    float values[SCRIPTED_D];

    scripted_receive(p, SP_FRAME_WEIGHTS, &message);
    ck_assert_uint_eq(p->frame.bulk_bytes, sizeof values);
    memcpy(values, p->bulk, sizeof values);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        ck_assert_float_eq(values[j], scripted_weight(j));
    ck_assert_uint_eq(message.digest, sp_weights_digest(values, SCRIPTED_D));
    scripted_receive(p, SP_FRAME_READY, &message);
    ck_assert_uint_eq(p->frame.round, 0);
    ck_assert_uint_eq(message.digest, sp_weights_digest(values, SCRIPTED_D));
}

void scripted_start(struct scripted *p)
{
    scripted_take_handshake(p);
    scripted_welcome(p, 0, 7);
    scripted_send_bare(p, SP_FRAME_INIT);
    (void)scripted_expect_event(p, SIGNPOST_JOINED);
    (void)scripted_expect_event(p, SIGNPOST_INIT);
    for (unsigned j = 0; j < SCRIPTED_D; j++)
        signpost_weights_to_init(p->s)[j] = scripted_weight(j);
    ck_assert_int_eq(signpost_init_done(p->s), SIGNPOST_OK);
    take_weights(p);
    scripted_commit(p, 0);
    ck_assert_uint_eq(scripted_expect_event(p, SIGNPOST_GRADIENT).round, 1);
}

void scripted_take_back(struct scripted *p, uint32_t round)
{
    struct sp_message weights = {
        .frame = {.type = SP_FRAME_WEIGHTS, .flags = SP_FRAME_LAST, .round = round, .count = SCRIPTED_D}};
    float values[SCRIPTED_D];

    for (unsigned j = 0; j < SCRIPTED_D; j++)
        values[j] = scripted_weight(j) - 0.125f * (float)round;
    weights.digest = sp_weights_digest(values, SCRIPTED_D);
    scripted_take_handshake(p);
    scripted_welcome(p, round, 8);
    scripted_send(p, &weights, values, sizeof values);
    scripted_receive(p, SP_FRAME_READY, NULL);
    ck_assert_uint_eq(p->frame.round, round);
    (void)scripted_expect_event(p, SIGNPOST_JOINED);
    scripted_commit(p, round);
    ck_assert_uint_eq(scripted_expect_event(p, SIGNPOST_GRADIENT).round, round + 1);
}
