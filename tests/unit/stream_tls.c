/* The stream with TLS: what its owner sees is as it is without. The other side is OpenSSL itself, by hand. */
#include "common/tls.h"
#include "loopback.h"
#include "stream_cases.h"
#include "tls_made.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_MAX 100000

struct secured {
    struct loopback l;
    struct sp_tls *peer; /* what the peer of the loopback speaks */
};

/* --- the peer --------------------------------------------------------------------------------------------------------
 */

static void send_out(struct secured *s)
{
    const uint8_t *out;
    size_t count = sp_tls_out(s->peer, &out);

    if (count > 0)
        loopback_peer_send(&s->l, out, count);
    sp_tls_sent(s->peer);
}

/* Takes what the socket has; false if that is the end. */
static bool take_in(struct secured *s)
{
    size_t room;
    uint8_t *at = sp_tls_room(s->peer, &room);
    ssize_t n = recv(s->l.peer, at, room, MSG_DONTWAIT);

    if (n == 0)
        return false;
    if (n > 0)
        sp_tls_received(s->peer, (size_t)n);
    (void)uv_run(&s->l.loop, UV_RUN_NOWAIT);
    return true;
}

static void peer_send(struct secured *s, const void *bytes, size_t count)
{
    ck_assert_int_eq(sp_tls_write(s->peer, bytes, count), SP_OK);
    send_out(s);
}

/* The same as it would be on the line, to send it in parts; the caller frees it. */
static uint8_t *peer_encrypt(struct secured *s, const void *bytes, size_t count, size_t *line)
{
    const uint8_t *out;
    uint8_t *copy;

    ck_assert_int_eq(sp_tls_write(s->peer, bytes, count), SP_OK);
    *line = sp_tls_out(s->peer, &out);
    copy = unit_alloc(*line);
    memcpy(copy, out, *line);
    sp_tls_sent(s->peer);
    return copy;
}

static void peer_receive(struct secured *s, uint8_t *to, size_t count)
{
    while (count > 0) {
        struct sp_error error = {0};
        size_t got;

        unit_assert(sp_tls_read(s->peer, to, count, &got, &error) == SP_OK, "%s", error.text);
        to += got;
        count -= got;
        if (got == 0)
            unit_assert(take_in(s), "the end came %zu bytes too early", count);
    }
}

/* TLS says that it is the end, and then so does TCP. */
static void peer_expect_end(struct secured *s)
{
    uint8_t byte;
    size_t got;
    int rc;

    while ((rc = sp_tls_read(s->peer, &byte, 1, &got, NULL)) == SP_OK && got == 0)
        unit_assert(take_in(s), "the end of TCP without that of TLS");
    ck_assert_int_eq(rc, SP_E_CLOSED);
    while (take_in(s))
        ;
}

static struct sp_tls *make(enum sp_tls_side side, const char *folder)
{
    struct sp_tls_files *files = tls_made_files(side, folder, side == SP_TLS_SERVER ? "server" : "worker");
    struct sp_tls *tls = sp_tls_create(files, side == SP_TLS_SERVER ? NULL : "localhost");

    sp_tls_files_free(files);
    return tls;
}

static void peer_shake(struct secured *s)
{
    struct sp_error error = {0};
    int rc;

    while ((rc = sp_tls_shake(s->peer, &error)) == SP_TLS_MORE) {
        send_out(s);
        ck_assert(take_in(s));
    }
    ck_assert_msg(rc == SP_OK, "%s", error.text);
    send_out(s);
}

/* The stream accepted, or it connected; the handshake is over on both sides when this returns. */
static void open_secured(struct secured *s, bool connects)
{
    memset(s, 0, sizeof *s);
    if (connects) {
        loopback_open_connecting_tls(&s->l, QUEUE_MAX, make(SP_TLS_CLIENT, "one"));
    } else {
        loopback_open(&s->l, QUEUE_MAX);
        sp_stream_secure(s->l.stream, make(SP_TLS_SERVER, "one"));
    }
    s->peer = make(connects ? SP_TLS_SERVER : SP_TLS_CLIENT, "one");
    peer_shake(s);
    loopback_run_idle(&s->l);
    ck_assert_uint_eq(s->l.count[EVENT_CONNECTED], connects);
    ck_assert_uint_eq(s->l.count[EVENT_FAILED], 0);
}

static void close_secured(struct secured *s)
{
    sp_tls_destroy(s->peer);
    loopback_close(&s->l);
}

/* --- reading --------------------------------------------------------------------------------------------------------
 */

START_TEST(test_tls_reads_are_exact)
{
    static const size_t sizes[] = {1, 2, 40, 1000, 65536, 3, 200000, 1};
    struct secured s;
    size_t from = 0;

    open_secured(&s, _i == 1);
    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        uint8_t *got = unit_alloc(sizes[i]);
        struct sp_buffer *sent = loopback_buffer(sizes[i], from);

        sp_stream_read(s.l.stream, got, sizes[i]);
        loopback_run_idle(&s.l);
        ck_assert_uint_eq(s.l.count[EVENT_FILLED], i);
        peer_send(&s, sent->data, sizes[i]);
        loopback_run_until(&s.l, s.l.count[EVENT_FILLED] > i);
        loopback_run_idle(&s.l);
        ck_assert_uint_eq(s.l.count[EVENT_FILLED], i + 1);
        loopback_expect_bytes(got, sizes[i], from);
        from += sizes[i];
        sp_buffer_release(sent);
        free(got);
    }
    close_secured(&s);
}
END_TEST

/* A record that is cut anywhere, with another one behind it; nobody hears of a part, and what nobody asked for waits.
 */
START_TEST(test_tls_reads_cut_anywhere)
{
    struct sp_buffer *sent = loopback_buffer(25, 0);

    for (size_t cut = 1; cut < 42; cut += 3) {
        uint8_t got[20];
        struct secured s;
        uint8_t *line;
        size_t count;

        open_secured(&s, false);
        sp_stream_read(s.l.stream, got, 20);
        line = peer_encrypt(&s, sent->data, 25, &count);
        ck_assert_uint_ge(count, 42);
        loopback_peer_send(&s.l, line, cut);
        loopback_run_idle(&s.l);
        ck_assert_uint_eq(s.l.count[EVENT_FILLED], 0);
        loopback_peer_send(&s.l, line + cut, count - cut);
        loopback_run_until(&s.l, s.l.count[EVENT_FILLED] == 1);
        loopback_expect_bytes(got, 20, 0);
        ck_assert_uint_ge(sp_stream_unread(s.l.stream), 5);
        loopback_run_idle(&s.l);
        ck_assert_uint_eq(s.l.count[EVENT_FILLED], 1);
        sp_stream_read(s.l.stream, got, 5);
        ck_assert_uint_eq(s.l.count[EVENT_FILLED], 1); /* not from within the call */
        loopback_run_until(&s.l, s.l.count[EVENT_FILLED] == 2);
        loopback_expect_bytes(got, 5, 20);
        ck_assert_uint_eq(sp_stream_unread(s.l.stream), 0);
        free(line);
        close_secured(&s);
    }
    sp_buffer_release(sent);
}
END_TEST

/* The next read is asked for within `filled`, many times in a record and over the ends of records. */
START_TEST(test_tls_reads_from_within_filled)
{
    struct sp_buffer *sent = loopback_buffer(50000, 0);
    struct stream_chain chain = {.bytes = 50000, .longest = 97};
    struct secured s;

    open_secured(&s, _i == 1);
    stream_chain_begin(&s.l, &chain);
    peer_send(&s, sent->data, 50000);
    loopback_run_until(&s.l, chain.at + chain.next > chain.bytes);
    loopback_expect_bytes(chain.got, chain.at, 0);
    sp_buffer_release(sent);
    close_secured(&s);
}
END_TEST

/* What nobody asks for is not read: but for what TLS holds, TCP then holds the peer back. */
START_TEST(test_tls_nothing_is_read_unasked)
{
    struct sp_buffer *sent = loopback_buffer(9000, 0);
    struct secured s;
    uint64_t before;

    open_secured(&s, false);
    before = sp_stream_bytes_received(s.l.stream);
    peer_send(&s, sent->data, 9000);
    (void)loopback_unread(&s.l, 9000);
    loopback_run_idle(&s.l);
    ck_assert_uint_le(sp_stream_bytes_received(s.l.stream) - before, SP_TLS_ROOM_FIRST);
    ck_assert_uint_ge(sp_stream_unread(s.l.stream), 9000);
    sp_buffer_release(sent);
    close_secured(&s);
}
END_TEST

/* Before, in the middle of, and after a read; with bytes that were decrypted before, and with none. */
START_TEST(test_tls_pause)
{
    struct sp_buffer *sent = loopback_buffer(100, 0);
    uint8_t got[60];
    struct secured s;

    open_secured(&s, _i >= 2);
    sp_stream_read(s.l.stream, got, 10);
    peer_send(&s, sent->data, 50);
    loopback_run_until(&s.l, s.l.count[EVENT_FILLED] == 1); /* 40 are decrypted already */
    if (_i % 2 == 0)
        sp_stream_read(s.l.stream, got, 60);
    sp_stream_pause(s.l.stream, true);
    if (_i % 2 == 1)
        sp_stream_read(s.l.stream, got, 60);
    loopback_run_idle(&s.l);
    peer_send(&s, sent->data + 50, 50);
    loopback_run_idle(&s.l);
    ck_assert_uint_eq(s.l.count[EVENT_FILLED], 1);
    sp_stream_pause(s.l.stream, false);
    loopback_run_until(&s.l, s.l.count[EVENT_FILLED] == 2);
    loopback_expect_bytes(got, 60, 10);
    sp_stream_pause(s.l.stream, true);
    sp_stream_pause(s.l.stream, false);
    sp_stream_read(s.l.stream, got, 30);
    loopback_run_until(&s.l, s.l.count[EVENT_FILLED] == 3);
    loopback_expect_bytes(got, 30, 70);
    sp_buffer_release(sent);
    close_secured(&s);
}
END_TEST

/* --- writing --------------------------------------------------------------------------------------------------------
 */

START_TEST(test_tls_held_frames)
{
    struct secured s;
    uint8_t got[900];

    open_secured(&s, _i == 1);
    for (size_t k = 0; k < 9; k++) {
        struct sp_buffer *buffer = loopback_buffer(100, 100 * k);

        ck_assert_int_eq(sp_stream_hold(s.l.stream, buffer), SP_OK);
        sp_buffer_release(buffer);
    }
    ck_assert_int_eq(sp_stream_flush(s.l.stream), SP_OK);
    peer_receive(&s, got, sizeof got);
    loopback_expect_bytes(got, sizeof got, 0);
    close_secured(&s);
}
END_TEST

static size_t fill_queue(struct secured *s, size_t bytes, size_t taken)
{
    for (;;) {
        struct sp_buffer *buffer = loopback_buffer(bytes, taken);
        size_t queued = sp_stream_queued(s->l.stream);
        int rc = sp_stream_send(s->l.stream, buffer);

        ck_assert_uint_eq(buffer->holders, 1); /* it was encrypted, or refused */
        sp_buffer_release(buffer);
        if (rc != SP_OK) {
            ck_assert_int_eq(rc, SP_E_BACKLOG);
            ck_assert_uint_eq(sp_stream_queued(s->l.stream), queued);
            return taken;
        }
        taken += bytes;
    }
}

/* The queue has its bound; what does not fit is refused whole, and what was taken arrives. */
START_TEST(test_tls_backlog)
{
    uint8_t *got = unit_alloc(3 * QUEUE_MAX);
    struct secured s;
    size_t taken;

    open_secured(&s, _i == 1);
    taken = fill_queue(&s, 5000, 0);
    ck_assert_uint_le(sp_stream_queued(s.l.stream), QUEUE_MAX + 1000); /* what TLS adds comes on top */
    ck_assert_uint_gt(sp_stream_queued(s.l.stream), QUEUE_MAX - 5000);
    peer_receive(&s, got, taken);
    loopback_expect_bytes(got, taken, 0);
    loopback_run_until(&s.l, sp_stream_queued(s.l.stream) == 0);
    ck_assert_uint_eq(s.l.count[EVENT_DRAINED], 1);
    taken = fill_queue(&s, 4000, taken) - taken;
    peer_receive(&s, got, taken);
    ck_assert_uint_eq(s.l.count[EVENT_FAILED], 0);
    free(got);
    close_secured(&s);
}
END_TEST

START_TEST(test_tls_large_frame)
{
    struct sp_buffer *buffer = loopback_buffer(4 * QUEUE_MAX, 0);
    uint8_t *got = unit_alloc(buffer->bytes);
    struct secured s;

    open_secured(&s, false);
    ck_assert_int_eq(sp_stream_send(s.l.stream, buffer), SP_OK);
    ck_assert_int_eq(sp_stream_send(s.l.stream, buffer), SP_E_BACKLOG);
    peer_receive(&s, got, buffer->bytes);
    loopback_expect_bytes(got, buffer->bytes, 0);
    sp_buffer_release(buffer);
    free(got);
    close_secured(&s);
}
END_TEST

/* --- ends -----------------------------------------------------------------------------------------------------------
 */

/* The last frame arrives, then the end of TLS, then that of TCP; though the peer says what nobody reads. */
START_TEST(test_tls_finish)
{
    struct sp_buffer *last = loopback_buffer(30000, 7), *junk = loopback_buffer(5000, 0);
    uint8_t *got = unit_alloc(last->bytes);
    struct secured s;

    open_secured(&s, _i % 2 == 1);
    if (_i >= 2)
        peer_send(&s, junk->data, junk->bytes);
    ck_assert_int_eq(sp_stream_send(s.l.stream, last), SP_OK);
    loopback_finish_stream(&s.l);
    ck_assert_int_eq(sp_stream_send(s.l.stream, last), SP_E_CLOSED);
    peer_receive(&s, got, last->bytes);
    loopback_expect_bytes(got, last->bytes, 7);
    peer_expect_end(&s);
    loopback_peer_close(&s.l);
    loopback_run_until(&s.l, s.l.stream == NULL);
    ck_assert_uint_eq(s.l.count[EVENT_FAILED], 0);
    sp_buffer_release(last);
    sp_buffer_release(junk);
    free(got);
    close_secured(&s);
}
END_TEST

/* The peer's last words are read before its end, be that TLS's or only TCP's. */
START_TEST(test_tls_peer_ends)
{
    struct sp_buffer *sent = loopback_buffer(100, 0);
    uint8_t got[100];
    struct secured s;

    open_secured(&s, false);
    peer_send(&s, sent->data, 100);
    if (_i == 0) {
        sp_tls_end(s.peer);
        send_out(&s);
    }
    loopback_peer_half_close(&s.l);
    sp_stream_read(s.l.stream, got, 100);
    loopback_run_until(&s.l, s.l.count[EVENT_FILLED] == 1);
    loopback_expect_bytes(got, 100, 0);
    sp_stream_read(s.l.stream, got, 1);
    loopback_run_until(&s.l, s.l.count[EVENT_FAILED] == 1);
    ck_assert_int_eq(s.l.code, SP_E_CLOSED);
    ck_assert_str_eq(s.l.words, "the other side closed the connection");
    sp_buffer_release(sent);
    close_secured(&s);
}
END_TEST

static void end_it(struct loopback *l, enum loopback_event event)
{
    if (event != *(enum loopback_event *)l->user)
        return;
    if (l->code % 2 == 0)
        loopback_close_stream(l);
    else
        loopback_finish_stream(l);
}

/* Close or finish from within `filled`, with more behind it. */
START_TEST(test_tls_end_within_filled)
{
    static enum loopback_event event = EVENT_FILLED;
    struct sp_buffer *sent = loopback_buffer(5000, 0);
    struct secured s;
    uint8_t byte;

    open_secured(&s, _i >= 2);
    s.l.hook = end_it;
    s.l.user = &event;
    s.l.code = _i;
    sp_stream_read(s.l.stream, &byte, 1);
    peer_send(&s, sent->data, sent->bytes);
    loopback_run_until(&s.l, s.l.count[EVENT_FILLED] == 1);
    loopback_peer_close(&s.l);
    loopback_run_until(&s.l, s.l.stream == NULL);
    ck_assert_uint_eq(s.l.count[EVENT_FAILED], 0);
    sp_buffer_release(sent);
    close_secured(&s);
}
END_TEST

/* --- failures -------------------------------------------------------------------------------------------------------
 */

/* A byte that was changed on its way: `failed` once, and nothing of that record is given out. */
START_TEST(test_tls_damage)
{
    uint8_t bytes[100] = {0}, got[100], *line;
    struct secured s;
    size_t count;

    memset(got, 0x55, sizeof got);
    open_secured(&s, _i == 1);
    sp_stream_read(s.l.stream, got, 100);
    line = peer_encrypt(&s, bytes, 100, &count);
    line[50] ^= 1;
    loopback_peer_send(&s.l, line, count);
    loopback_run_until(&s.l, s.l.count[EVENT_FAILED] == 1);
    loopback_run_idle(&s.l);
    ck_assert_int_eq(s.l.code, SP_E_CORRUPT);
    ck_assert_uint_eq(s.l.count[EVENT_FILLED], 0);
    for (size_t i = 0; i < sizeof got; i++)
        ck_assert_uint_eq(got[i], 0x55);
    free(line);
    close_secured(&s);
}
END_TEST

/* A peer whose certificate is another CA's: once, with a code and words; the alert still reaches it, and it hears of
 * it. */
START_TEST(test_tls_handshake_fails)
{
    struct sp_error error = {0};
    struct secured s;
    int rc = SP_TLS_MORE;

    memset(&s, 0, sizeof s);
    if (_i == 0) {
        loopback_open(&s.l, QUEUE_MAX);
        sp_stream_secure(s.l.stream, make(SP_TLS_SERVER, "one"));
        s.peer = make(SP_TLS_CLIENT, "two");
    } else {
        loopback_open_connecting_tls(&s.l, QUEUE_MAX, make(SP_TLS_CLIENT, "one"));
        s.peer = make(SP_TLS_SERVER, "two");
    }
    while (rc == SP_TLS_MORE && (rc = sp_tls_shake(s.peer, &error)) == SP_TLS_MORE) {
        send_out(&s);
        ck_assert(take_in(&s));
    }
    send_out(&s);
    loopback_run_until(&s.l, s.l.count[EVENT_FAILED] == 1);
    loopback_run_idle(&s.l);
    ck_assert_uint_eq(s.l.count[EVENT_CONNECTED] + s.l.count[EVENT_FILLED], 0);
    ck_assert_int_eq(s.l.code, SP_E_REJECTED);
    ck_assert_int_eq(rc, SP_E_REJECTED);
    loopback_finish_stream(&s.l);
    loopback_peer_close(&s.l);
    loopback_run_until(&s.l, s.l.stream == NULL);
    close_secured(&s);
}
END_TEST

/* Who speaks plainly: `failed` once, and what is said to it then leaves as it is, and the end after it. */
START_TEST(test_tls_plain_peer)
{
    struct sp_buffer *bye = loopback_buffer(40, 0);
    uint8_t got[40];
    struct secured s;

    memset(&s, 0, sizeof s);
    loopback_open(&s.l, QUEUE_MAX);
    sp_stream_secure(s.l.stream, make(SP_TLS_SERVER, "one"));
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(s.l.count[EVENT_FAILED], 0);
        loopback_peer_send(&s.l, &"SGNP"[i], 1);
        (void)loopback_unread(&s.l, 1);
        loopback_run_idle(&s.l);
    }
    loopback_run_until(&s.l, s.l.count[EVENT_FAILED] == 1);
    ck_assert_int_eq(s.l.code, SP_E_UNSUPPORTED);
    ck_assert_int_eq(sp_stream_send(s.l.stream, bye), SP_OK);
    loopback_finish_stream(&s.l);
    loopback_peer_receive(&s.l, got, 40);
    loopback_expect_bytes(got, 40, 0);
    loopback_peer_expect_end(&s.l);
    loopback_peer_close(&s.l);
    loopback_run_until(&s.l, s.l.stream == NULL);
    sp_buffer_release(bye);
    close_secured(&s);
}
END_TEST

/* Before the handshake is over nothing leaves in the clear, unless the other side has said nothing yet. */
START_TEST(test_tls_sends_before_the_handshake)
{
    struct sp_buffer *frame = loopback_buffer(40, 0);
    uint8_t got[40];
    struct secured s;
    const uint8_t *out;

    memset(&s, 0, sizeof s);
    loopback_open(&s.l, QUEUE_MAX);
    sp_stream_secure(s.l.stream, make(SP_TLS_SERVER, "one"));
    if (_i == 1) {
        s.peer = make(SP_TLS_CLIENT, "one");
        ck_assert_int_eq(sp_tls_shake(s.peer, NULL), SP_TLS_MORE);
        ck_assert_uint_gt(sp_tls_out(s.peer, &out), 40);
        loopback_peer_send(&s.l, out, 40); /* a part of its first message */
        loopback_run_until(&s.l, sp_stream_bytes_received(s.l.stream) == 40);
        ck_assert_int_eq(sp_stream_send(s.l.stream, frame), SP_E_CLOSED);
        loopback_run_idle(&s.l);
        ck_assert_int_lt(recv(s.l.peer, got, 1, MSG_DONTWAIT), 0);
    } else {
        ck_assert_int_eq(sp_stream_send(s.l.stream, frame), SP_OK);
        loopback_peer_receive(&s.l, got, 40);
        loopback_expect_bytes(got, 40, 0);
    }
    sp_buffer_release(frame);
    close_secured(&s);
}
END_TEST

/* --- floods ---------------------------------------------------------------------------------------------------------
 */

/* A peer that changes its keys for ever, wants ours changed as well, and reads no answer: the answers do not pile up,
 * and it is sent away. OpenSSL speaks for it, for our TLS does not do such things. */
START_TEST(test_tls_key_updates_do_not_pile_up)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL *ssl = SSL_new(context);
    struct sp_tls_paths paths;
    struct secured s;
    uint8_t byte;
    size_t most = 0;
    int rc;

    memset(&s, 0, sizeof s);
    tls_made_paths(&paths, "one/worker.crt", "one/worker.key", "one/ca.crt");
    ck_assert_int_eq(SSL_use_certificate_file(ssl, paths.cert, SSL_FILETYPE_PEM), 1);
    ck_assert_int_eq(SSL_use_PrivateKey_file(ssl, paths.key, SSL_FILETYPE_PEM), 1);
    SSL_set_bio(ssl, in, out);
    loopback_open(&s.l, QUEUE_MAX);
    sp_stream_secure(s.l.stream, make(SP_TLS_SERVER, "one"));
    sp_stream_read(s.l.stream, &byte, 1);
    do {
        uint8_t bytes[4096];
        ssize_t n;

        rc = SSL_connect(ssl);
        while ((n = BIO_read(out, bytes, sizeof bytes)) > 0)
            loopback_peer_send(&s.l, bytes, (size_t)n);
        loopback_run_idle(&s.l);
        n = recv(s.l.peer, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n > 0)
            ck_assert_int_eq(BIO_write(in, bytes, (int)n), (int)n);
    } while (rc != 1);
    for (int i = 0; i < 30000 && s.l.count[EVENT_FAILED] == 0; i++) {
        uint8_t bytes[4096];
        int n;

        ck_assert_int_eq(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        ck_assert_int_eq(SSL_do_handshake(ssl), 1);
        if (i % 100 != 99)
            continue;
        while ((n = BIO_read(out, bytes, sizeof bytes)) > 0)
            loopback_peer_send(&s.l, bytes, (size_t)n);
        loopback_run_idle(&s.l);
        most = sp_stream_queued(s.l.stream) > most ? sp_stream_queued(s.l.stream) : most;
    }
    ck_assert_uint_le(most, 2 * QUEUE_MAX);
    ck_assert_uint_eq(s.l.count[EVENT_FAILED], 1);
    ck_assert_int_eq(s.l.code, SP_E_PROTOCOL);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close_secured(&s);
}
END_TEST

void stream_add_tls(TCase *tests)
{
    tcase_add_loop_test(tests, test_tls_reads_are_exact, 0, 2);
    tcase_add_test(tests, test_tls_reads_cut_anywhere);
    tcase_add_loop_test(tests, test_tls_reads_from_within_filled, 0, 2);
    tcase_add_test(tests, test_tls_nothing_is_read_unasked);
    tcase_add_loop_test(tests, test_tls_pause, 0, 4);
    tcase_add_loop_test(tests, test_tls_held_frames, 0, 2);
    tcase_add_loop_test(tests, test_tls_backlog, 0, 2);
    tcase_add_test(tests, test_tls_large_frame);
    tcase_add_loop_test(tests, test_tls_finish, 0, 4);
    tcase_add_loop_test(tests, test_tls_peer_ends, 0, 2);
    tcase_add_loop_test(tests, test_tls_end_within_filled, 0, 4);
    tcase_add_loop_test(tests, test_tls_damage, 0, 2);
    tcase_add_loop_test(tests, test_tls_handshake_fails, 0, 2);
    tcase_add_test(tests, test_tls_plain_peer);
    tcase_add_loop_test(tests, test_tls_sends_before_the_handshake, 0, 2);
    tcase_add_test(tests, test_tls_key_updates_do_not_pile_up);
}
