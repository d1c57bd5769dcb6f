/* What waits and what does not: events with a limit, steps on the caller's own loop, silence, signals, two clients at a
 * time.
 *
 * Limits of time are generous, since another process may have the processor for a while; what is pinned is the kind: a
 * call that blocks does so for a quarter of a second and more, and a busy loop turns thousands of times a second.
 */
#include "client_cases.h"
#include "scripted.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct scripted play, other;
static float gradient[SCRIPTED_D] = {1.0f, -2.0f, 3.0f};

static void setup(void)
{
    other.line = other.listener = -1;
}

static void teardown(void)
{
    scripted_end(&play);
    scripted_end(&other);
}

static void give_all(signpost *s)
{
    ck_assert_int_eq(signpost_gradient(s, 0, SCRIPTED_D, gradient), SIGNPOST_OK);
    ck_assert_int_eq(signpost_push(s, 1.0, 1), SIGNPOST_OK);
}

static void set_ms(uint32_t alive_ms, uint32_t silence_ms)
{
    play.alive_ms = alive_ms;
    play.silence_ms = silence_ms;
}

/* --- waiting --------------------------------------------------------------------------------------------------------
 */

/* Waits so long, with nothing to come: it must take as long, and not much longer. */
static void wait_for(int ms)
{
    struct signpost_event event = {.type = SIGNPOST_DONE};
    uint64_t begin_ms = scripted_now_ms(), took;

    ck_assert_int_eq(signpost_wait(play.s, ms, &event), SIGNPOST_OK);
    took = scripted_now_ms() - begin_ms;
    ck_assert_uint_eq(event.type, SIGNPOST_NOTHING);
    ck_assert_msg(took + 2 >= (uint64_t)ms && took < (uint64_t)ms + 200, "wait(%d) took %llu ms", ms,
                  (unsigned long long)took);
}

/* With nobody at the address, and on a connection on which nothing comes. */
START_TEST(test_wait_ends_in_time)
{
    static const int ms[] = {0, 1, 10, 100, 400, 0};

    scripted_begin(&play, false);
    if (_i == 0)
        scripted_deafen(&play);
    else
        scripted_start(&play);
    for (size_t i = 0; i < UNIT_COUNT(ms); i++)
        wait_for(ms[i]);
}
END_TEST

/* Short waits one after another, as a caller with work of its own does, on a connection on which nothing comes: none of
 * them is forgotten, however its few milliseconds fall. */
START_TEST(test_many_short_waits)
{
    uint64_t begin_ms, spent;

    scripted_begin(&play, false);
    scripted_start(&play);
    begin_ms = scripted_now_ms();
    for (int i = 0; i < 1000; i++) {
        struct signpost_event event;

        ck_assert_int_eq(signpost_wait(play.s, i % 3, &event), SIGNPOST_OK);
        ck_assert_uint_eq(event.type, SIGNPOST_NOTHING);
    }
    spent = scripted_now_ms() - begin_ms;
    ck_assert_msg(spent < 10000, "%llu ms", (unsigned long long)spent);
}
END_TEST

/* An event that is there is given at once, whatever the limit. */
START_TEST(test_wait_for_what_is_there)
{
    struct signpost_event event;
    uint64_t begin_ms;

    scripted_begin(&play, false);
    scripted_start(&play);
    for (int ms = -1; ms < 2; ms++) {
        scripted_update(&play, signpost_round(play.s) + 1);
        (void)poll(NULL, 0, 20);
        begin_ms = scripted_now_ms();
        ck_assert_int_eq(signpost_wait(play.s, ms, &event), SIGNPOST_OK);
        ck_assert_uint_eq(event.type, SIGNPOST_GRADIENT);
        ck_assert_uint_lt(scripted_now_ms() - begin_ms, 200);
    }
}
END_TEST

/* --- steps ----------------------------------------------------------------------------------------------------------
 */

static struct {
    unsigned calls, slow; /* of signpost_process(); those that took 50 ms or more */
    uint64_t slowest_ms;
    int fd;
} steps;

static void begin_steps(const struct signpost_options *options)
{
    memset(&steps, 0, sizeof steps);
    scripted_open(&play, options);
    steps.fd = signpost_fd(play.s);
    ck_assert_int_ge(steps.fd, 0);
}

/* One turn of the caller's own loop, which waits no longer than until `end_ms`. */
static uint32_t step_client(signpost *s, uint64_t end_ms)
{
    uint64_t now_ms = scripted_now_ms();
    struct pollfd wait = {.fd = signpost_fd(s), .events = POLLIN};
    struct signpost_event event;
    int timeout = signpost_timeout_ms(s);

    ck_assert_int_eq(wait.fd, steps.fd);
    unit_assert(timeout >= 0 && timeout <= 250, "timeout %d", timeout);
    if (now_ms + (unsigned)timeout > end_ms)
        timeout = end_ms > now_ms ? (int)(end_ms - now_ms) : 0;
    ck_assert_int_ge(poll(&wait, 1, timeout), 0);
    now_ms = scripted_now_ms();
    ck_assert_int_eq(signpost_process(s, &event), SIGNPOST_OK);
    now_ms = scripted_now_ms() - now_ms;
    steps.calls++;
    steps.slow += now_ms >= 50;
    steps.slowest_ms = now_ms > steps.slowest_ms ? now_ms : steps.slowest_ms;
    return event.type;
}

static uint32_t step(uint64_t end_ms)
{
    return step_client(play.s, end_ms);
}

static void steps_for(uint64_t ms)
{
    uint64_t end_ms = scripted_now_ms() + ms;

    while (scripted_now_ms() < end_ms)
        ck_assert_uint_eq(step(end_ms), SIGNPOST_NOTHING);
}

/* Steps until the next event, which must be this one. */
static void step_to(uint32_t type)
{
    uint64_t end_ms = scripted_now_ms() + SCRIPTED_MS_MAX;
    uint32_t got = SIGNPOST_NOTHING;

    while (got == SIGNPOST_NOTHING && scripted_now_ms() < end_ms)
        got = step(end_ms);
    ck_assert_uint_eq(got, type);
}

/* The client is stepped by a caller in the same thread as the server: what the server waits for comes from steps. */
#define STEP_UNTIL(condition)                                                                                          \
    do {                                                                                                               \
        for (int turn = 0; !(condition); turn++) {                                                                     \
            unit_assert(turn < 2000, "stepped in vain for '%s'", #condition);                                          \
            ck_assert_uint_eq(step(scripted_now_ms() + 10), SIGNPOST_NOTHING);                                         \
        }                                                                                                              \
    } while (0)

static void step_to_connection(void)
{
    signpost *s = play.s;

    STEP_UNTIL(scripted_is_called(&play));
    play.s = NULL; /* nobody but step() gives it a turn */
    scripted_accept(&play);
    play.s = s;
    STEP_UNTIL(poll(&(struct pollfd){.fd = play.line, .events = POLLIN}, 1, 0) == 1);
    play.s = NULL;
    scripted_receive(&play, SP_FRAME_HELLO, NULL);
    scripted_receive(&play, SP_FRAME_LAYOUT, NULL);
    play.s = s;
}

/* Joins, and plays two rounds. No call blocks, and none waits for a timeout where the descriptor should tell. */
START_TEST(test_steps_complete_a_round)
{
    struct signpost_options options;
    uint64_t begin_ms;
    signpost *s;

    scripted_listen(&play);
    options = scripted_options(&play);
    begin_steps(&options);
    step_to_connection();
    s = play.s;
    scripted_welcome(&play, 0, 7);
    scripted_send_bare(&play, SP_FRAME_INIT);
    step_to(SIGNPOST_JOINED);
    ck_assert_int_eq(signpost_timeout_ms(s), 0); /* another event is there already */
    step_to(SIGNPOST_INIT);
    ck_assert_int_eq(signpost_init_done(s), SIGNPOST_OK);
    play.s = NULL;
    scripted_receive(&play, SP_FRAME_WEIGHTS, NULL);
    scripted_receive(&play, SP_FRAME_READY, NULL);
    play.s = s;
    scripted_commit(&play, 0);
    begin_ms = scripted_now_ms();
    for (uint32_t round = 1; round <= 20; round++) {
        step_to(SIGNPOST_GRADIENT);
        give_all(s);
        play.s = NULL;
        scripted_receive(&play, SP_FRAME_PUSH, NULL);
        play.s = s;
        scripted_update(&play, round);
    }
    ck_assert_uint_lt(scripted_now_ms() - begin_ms, 2000);
    step_to(SIGNPOST_GRADIENT);
    scripted_send_bye(&play, SP_REASON_DONE, "");
    step_to(SIGNPOST_DONE);
    ck_assert_msg(steps.slow <= 1, "%u of %u calls took 50 ms or more, one of them %llu", steps.slow, steps.calls,
                  (unsigned long long)steps.slowest_ms);
    ck_assert_uint_lt(steps.calls, 1000);
}
END_TEST

/* The server's side of a whole job, whose last round it does not finish. The client is somewhere else. */
struct job {
    struct scripted *p;
    uint32_t rounds;
};

static void *serve(void *arg)
{
    const struct job *job = arg;
    struct scripted *p = job->p;

    scripted_take_handshake(p);
    scripted_welcome(p, 0, 7);
    scripted_send_bare(p, SP_FRAME_INIT);
    scripted_receive(p, SP_FRAME_WEIGHTS, NULL);
    scripted_receive(p, SP_FRAME_READY, NULL);
    scripted_commit(p, 0);
    for (uint32_t round = 1; round <= job->rounds; round++) {
        scripted_receive(p, SP_FRAME_PUSH, NULL);
        scripted_update(p, round);
    }
    scripted_receive(p, SP_FRAME_PUSH, NULL);
    scripted_send_bye(p, SP_REASON_DONE, "");
    return NULL;
}

/* Against a server of its own pace the caller's loop waits as long as it is told to: the descriptor tells of all that
 * comes, in the handshake as well, so that none of the many waits lasts until its timeout of a quarter of a second. */
START_TEST(test_steps_wait_for_no_timeout)
{
    struct job job = {&play, 60};
    struct signpost_options options;
    uint64_t begin_ms;
    pthread_t server;
    signpost *s;

    scripted_listen(&play);
    if (_i == 1)
        scripted_share_secret(&play);
    options = scripted_options(&play);
    begin_steps(&options);
    s = play.s;
    begin_ms = scripted_now_ms();
    play.s = NULL;
    ck_assert_int_eq(pthread_create(&server, NULL, serve, &job), 0);
    for (uint32_t type = SIGNPOST_NOTHING; type != SIGNPOST_DONE;) {
        type = step_client(s, UINT64_MAX);
        if (type == SIGNPOST_INIT)
            ck_assert_int_eq(signpost_init_done(s), SIGNPOST_OK);
        if (type == SIGNPOST_GRADIENT)
            give_all(s);
    }
    ck_assert_int_eq(pthread_join(server, NULL), 0);
    ck_assert_uint_lt(scripted_now_ms() - begin_ms, 2000); /* 8 timeouts */
    ck_assert_uint_eq(signpost_count(s, SIGNPOST_PUSHES), 61);
    play.s = s;
}
END_TEST

/* Half a second without a server: nobody at the address; one that takes connections and hangs up; one that is silent;
 * one whose connections are never made. A caller's loop is woken a few times, and no call blocks. */
static void no_server(int how)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    const char *port = strchr(play.address, ':') + 1;

    if (how == 0)
        scripted_deafen(&play);
    if (how != 3)
        return;
    /* Its queue of one is full, so that a new connection is not even refused. */
    address.sin_port = htons((uint16_t)atoi(port));
    ck_assert_int_eq(listen(play.listener, 0), 0);
    for (int i = 0; i < 4; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        (void)connect(fd, (const struct sockaddr *)&address, sizeof address);
    }
}

START_TEST(test_steps_without_a_server)
{
    struct signpost_options options;
    uint64_t end_ms;

    scripted_listen(&play);
    no_server(_i);
    options = scripted_options(&play);
    begin_steps(&options);
    end_ms = scripted_now_ms() + 500;
    while (scripted_now_ms() < end_ms) {
        ck_assert_uint_eq(step(end_ms), SIGNPOST_NOTHING);
        if (_i == 1 && scripted_is_called(&play))
            (void)close(accept(play.listener, NULL, NULL));
    }
    ck_assert_msg(steps.calls < 25, "%u calls in half a second", steps.calls);
    ck_assert_uint_ge(steps.calls, 2);
    ck_assert_msg(steps.slow <= 1, "%u of %u calls took 50 ms or more, one of them %llu", steps.slow, steps.calls,
                  (unsigned long long)steps.slowest_ms);
}
END_TEST

/* Half a second in which the server has nothing to say. */
START_TEST(test_steps_while_nothing_happens)
{
    struct signpost_options options;

    scripted_listen(&play);
    options = scripted_options(&play);
    begin_steps(&options);
    scripted_start(&play);
    steps.calls = 0;
    steps_for(500);
    ck_assert_msg(steps.calls < 25, "%u calls in half a second", steps.calls);
    give_all(play.s);
    steps.calls = 0;
    steps_for(500);
    ck_assert_msg(steps.calls < 25, "%u calls in half a second", steps.calls);
}
END_TEST

/* A server that comes later is found, by steps as well. */
START_TEST(test_steps_find_a_server_that_comes_later)
{
    struct signpost_options options;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};

    scripted_listen(&play);
    address.sin_port = htons((uint16_t)atoi(strchr(play.address, ':') + 1));
    scripted_deafen(&play);
    options = scripted_options(&play);
    begin_steps(&options);
    steps_for(200);
    play.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(play.listener, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(play.listener, 8), 0);
    step_to_connection();
}
END_TEST

/* --- silence --------------------------------------------------------------------------------------------------------
 */

/* A server that falls silent is given up after the time that it has told itself, however the caller waits. */
START_TEST(test_silent_server)
{
    struct signpost_event event;
    uint64_t begin_ms;

    scripted_begin(&play, false);
    set_ms(100, 400);
    scripted_start(&play);
    begin_ms = scripted_now_ms();
    while (!scripted_is_called(&play)) {
        unit_assert(scripted_now_ms() - begin_ms < SCRIPTED_MS_MAX, "it waits on");
        if (_i == 0)
            ck_assert_int_eq(signpost_wait(play.s, 100, &event), SIGNPOST_OK);
        else
            ck_assert_int_eq(signpost_process(play.s, &event), SIGNPOST_OK);
        ck_assert_uint_eq(event.type, SIGNPOST_NOTHING);
    }
    ck_assert_uint_ge(scripted_now_ms() - begin_ms, 350);
    ck_assert_uint_lt(scripted_now_ms() - begin_ms, 3000);
    ck_assert_msg(strstr(play.log, "nothing was heard from it for 0.") != NULL, "%s", play.log);
}
END_TEST

/* One that says that it is alive is not. */
START_TEST(test_server_that_is_alive)
{
    scripted_begin(&play, false);
    set_ms(100, 400);
    scripted_start(&play);
    for (int i = 0; i < 8; i++) {
        uint64_t end_ms = scripted_now_ms() + 150;

        scripted_until(&play, scripted_now_ms() >= end_ms);
        scripted_send_bare(&play, SP_FRAME_ALIVE);
    }
    ck_assert(!scripted_is_called(&play));
    ck_assert_uint_eq(signpost_count(play.s, SIGNPOST_RECONNECTS), 0);
}
END_TEST

/* The client itself says so, while it waits and when its caller says so in a long computation. */
START_TEST(test_client_is_alive)
{
    struct signpost_event event;

    scripted_begin(&play, false);
    set_ms(50, 10000);
    scripted_start(&play);
    for (int i = 0; i < 3; i++) {
        (void)poll(NULL, 0, 70);
        if (_i == 0)
            signpost_alive(play.s);
        else if (_i == 1)
            ck_assert_int_eq(signpost_process(play.s, &event), SIGNPOST_OK);
        scripted_receive(&play, SP_FRAME_ALIVE, NULL);
    }
}
END_TEST

/* --- signals --------------------------------------------------------------------------------------------------------
 */

static volatile sig_atomic_t pipes;

static void count_pipe(int number)
{
    (void)number;
    pipes++;
}

/* A model of 100,000 numbers: its initial weights are 7 frames and READY. The server is gone when they are written. */
static void write_to_nobody(void)
{
    static const uint64_t shape[] = {100000};
    static const struct signpost_tensor tensor = {"t", shape, 1, 0};
    struct signpost_options options;

    scripted_listen(&play);
    options = scripted_options(&play);
    options.tensors = &tensor;
    options.tensors_count = 1;
    scripted_open(&play, &options);
    scripted_take_hello(&play);
    scripted_welcome(&play, 0, 7);
    scripted_send_bare(&play, SP_FRAME_INIT);
    (void)scripted_expect_event(&play, SIGNPOST_JOINED);
    (void)scripted_expect_event(&play, SIGNPOST_INIT);
    scripted_hang_up(&play);
    ck_assert_int_eq(signpost_init_done(play.s), SIGNPOST_OK);
    scripted_accept(&play); /* it finds out, and comes again */
}

/* With the signal's default, which ends the program; and with a handler, which must not be called. */
START_TEST(test_sigpipe_does_not_reach_the_program)
{
    ck_assert(signal(SIGPIPE, _i == 0 ? SIG_DFL : count_pipe) != SIG_ERR);
    pipes = 0;
    write_to_nobody();
    scripted_turn(&play);
    ck_assert_int_eq(pipes, 0);
}
END_TEST

/* A SIGPIPE of the program's own that waits for the program is not taken away. */
START_TEST(test_own_sigpipe_stays)
{
    sigset_t set, pending;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGPIPE);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    ck_assert_int_eq(pthread_kill(pthread_self(), SIGPIPE), 0);
    write_to_nobody();
    (void)sigemptyset(&pending);
    ck_assert_int_eq(sigpending(&pending), 0);
    ck_assert_int_eq(sigismember(&pending, SIGPIPE), 1);
    ck_assert_int_eq(sigtimedwait(&set, NULL, &(struct timespec){0}), SIGPIPE);
}
END_TEST

static void expect_mask(const sigset_t *before)
{
    sigset_t mask;

    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    for (int number = 1; number < 65; number++)
        unit_assert(sigismember(&mask, number) == sigismember(before, number), "the mask of signal %d", number);
}

/* Every call gives the thread's mask back as it was, with SIGPIPE blocked before or not. */
START_TEST(test_signal_mask)
{
    struct signpost_event event = {.type = SIGNPOST_EVALUATE, .round = 1};
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGUSR1);
    if (_i == 1)
        (void)sigaddset(&set, SIGPIPE);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
    scripted_begin(&play, false);
    expect_mask(&set);
    scripted_start(&play); /* waits, and init_done */
    expect_mask(&set);
    give_all(play.s);
    expect_mask(&set);
    signpost_alive(play.s);
    ck_assert_int_eq(signpost_score(play.s, &event, 1, 1, 1.0), SIGNPOST_OK);
    expect_mask(&set);
    scripted_send_bye(&play, SP_REASON_DONE, "");
    ck_assert_int_eq(signpost_join(play.s, NULL), SIGNPOST_OVER);
    ck_assert_int_eq(signpost_process(play.s, &event), SIGNPOST_OK);
    expect_mask(&set);
    signpost_close(play.s);
    play.s = NULL;
    expect_mask(&set);
}
END_TEST

/* Another signal, with a handler of the program's, ends no wait. */
START_TEST(test_other_signals_end_no_wait)
{
    ck_assert(signal(SIGALRM, count_pipe) != SIG_ERR);
    scripted_begin(&play, false);
    scripted_start(&play);
    (void)ualarm(20000, 20000);
    wait_for(300);
    (void)ualarm(0, 0);
    ck_assert_int_gt(pipes, 3);
}
END_TEST

/* --- several clients ------------------------------------------------------------------------------------------------
 */

/* Two clients of two servers, in turn in one thread: neither knows of the other. */
START_TEST(test_two_clients_in_one_thread)
{
    scripted_begin(&play, false);
    scripted_begin(&other, true);
    scripted_start(&play);
    scripted_start(&other);
    for (uint32_t round = 1; round <= 5; round++) {
        give_all(play.s);
        give_all(other.s);
        scripted_receive(&other, SP_FRAME_PUSH, NULL);
        scripted_receive(&play, SP_FRAME_PUSH, NULL);
        scripted_update(&play, round);
        ck_assert_uint_eq(scripted_expect_event(&play, SIGNPOST_GRADIENT).round, round + 1);
        scripted_update(&other, round);
        ck_assert_uint_eq(scripted_expect_event(&other, SIGNPOST_GRADIENT).round, round + 1);
    }
    scripted_send_bye(&play, SP_REASON_JOB, "not you");
    scripted_expect_code(&play, SIGNPOST_E_REJECTED, "not you", SIGNPOST_REASON_JOB);
    scripted_update(&other, 6);
    ck_assert_uint_eq(scripted_expect_event(&other, SIGNPOST_GRADIENT).round, 7);
    ck_assert_int_eq(signpost_reason(other.s), SIGNPOST_REASON_NONE);
    ck_assert_uint_ne(signpost_weights_digest(play.s), signpost_weights_digest(other.s));
}
END_TEST

static void *run_caller(void *arg)
{
    signpost *s = arg;
    static const float some[SCRIPTED_D] = {1.0f};
    int rc = signpost_join(s, some);

    while (rc == SIGNPOST_OK)
        rc = signpost_step(s, some, 1.0, 1);
    return (void *)(intptr_t)rc;
}

/* Two clients in two threads. */
START_TEST(test_two_clients_in_two_threads)
{
    struct scripted *const plays[] = {&play, &other};
    struct job job = {&play, 50}, other_job = {&other, 30};
    pthread_t threads[2];
    signpost *clients[2];

    for (int i = 0; i < 2; i++) {
        scripted_begin(plays[i], i == 0);
        clients[i] = plays[i]->s;
        plays[i]->s = NULL;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_caller, clients[i]), 0);
    }
    (void)serve(&job);
    (void)serve(&other_job);
    for (int i = 0; i < 2; i++) {
        void *rc;

        ck_assert_int_eq(pthread_join(threads[i], &rc), 0);
        ck_assert_int_eq((intptr_t)rc, SIGNPOST_OVER);
        plays[i]->s = clients[i];
    }
    ck_assert_uint_eq(signpost_round(play.s), 50);
    ck_assert_uint_eq(signpost_round(other.s), 30);
}
END_TEST

/* A client that is closed in the middle says goodbye, and leaves no descriptor. */
START_TEST(test_close_says_goodbye)
{
    int first = dup(STDIN_FILENO), next;
    struct sp_message message;
    uint64_t begin_ms;

    (void)close(first);
    scripted_begin(&play, false);
    scripted_start(&play);
    begin_ms = scripted_now_ms();
    if (_i == 1)
        scripted_hang_up(&play);
    signpost_close(play.s);
    play.s = NULL;
    ck_assert_uint_lt(scripted_now_ms() - begin_ms, 5000); /* the server never hangs up: 3 s at most */
    if (_i == 0) {
        scripted_receive(&play, SP_FRAME_BYE, &message);
        ck_assert_uint_eq(message.bye.reason, SP_REASON_LEAVING);
        scripted_expect_end(&play);
        scripted_hang_up(&play);
    }
    scripted_deafen(&play);
    next = dup(STDIN_FILENO);
    ck_assert_int_eq(next, first);
    (void)close(next);
}
END_TEST

static void add_signals(TCase *tests)
{
    tcase_add_loop_test(tests, test_sigpipe_does_not_reach_the_program, 0, 2);
    tcase_add_test(tests, test_own_sigpipe_stays);
    tcase_add_loop_test(tests, test_signal_mask, 0, 2);
    tcase_add_test(tests, test_other_signals_end_no_wait);
}

TCase *client_process_cases(void)
{
    TCase *tests = tcase_create("process");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_wait_ends_in_time, 0, 2);
    tcase_add_test(tests, test_many_short_waits);
    tcase_add_test(tests, test_wait_for_what_is_there);
    tcase_add_test(tests, test_steps_complete_a_round);
    tcase_add_loop_test(tests, test_steps_wait_for_no_timeout, 0, 2);
    tcase_add_loop_test(tests, test_steps_without_a_server, 0, 4);
    tcase_add_test(tests, test_steps_while_nothing_happens);
    tcase_add_test(tests, test_steps_find_a_server_that_comes_later);
    tcase_add_loop_test(tests, test_silent_server, 0, 2);
    tcase_add_test(tests, test_server_that_is_alive);
    tcase_add_loop_test(tests, test_client_is_alive, 0, 3);
    add_signals(tests);
    tcase_add_test(tests, test_two_clients_in_one_thread);
    tcase_add_test(tests, test_two_clients_in_two_threads);
    tcase_add_loop_test(tests, test_close_says_goodbye, 0, 2);
    return tests;
}
