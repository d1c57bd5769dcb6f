/* The thread that works with files: jobs one after the other there, what follows them on the loop. */
#include "server/disk.h"
#include "tests/unit/files.h"
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define JOBS 200

static uv_loop_t loop;
static struct sp_disk *disk;
static struct sp_error error;

/* libuv's functions fail when they are told to. */
static int thread_fails, async_fails;

int uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *arg)
{
    static __typeof__(&uv_thread_create) next;

    if (next == NULL)
        next = (__typeof__(next))dlsym(RTLD_NEXT, "uv_thread_create");
    return thread_fails != 0 ? thread_fails : next(thread, entry, arg);
}

int uv_async_init(uv_loop_t *on, uv_async_t *handle, uv_async_cb call)
{
    static __typeof__(&uv_async_init) next;

    if (next == NULL)
        next = (__typeof__(next))dlsym(RTLD_NEXT, "uv_async_init");
    return async_fails != 0 ? async_fails : next(on, handle, call);
}

static void setup(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_msg(sp_disk_start(&disk, &loop, &error) == SP_OK, "%s", error.text);
}

static void stop(void)
{
    sp_disk_stop(disk);
    disk = NULL;
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0); /* ends, for nothing is left on it */
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}

/* --- order -----------------------------------------------------------------------------------------------------------
 */

struct counted {
    struct sp_disk_job job;
    uv_thread_t loops;
    unsigned number, again; /* how often it is queued again */
    unsigned *ran, *done;   /* of all */
    unsigned ran_as;
    bool elsewhere;
};

static void count_run(struct sp_disk_job *job)
{
    struct counted *c = (struct counted *)job;
    uv_thread_t self = uv_thread_self();

    c->ran_as = (*c->ran)++;
    c->elsewhere = !uv_thread_equal(&self, &c->loops);
}

static void count_done(struct sp_disk_job *job)
{
    struct counted *c = (struct counted *)job;
    uv_thread_t self = uv_thread_self();

    unit_assert(uv_thread_equal(&self, &c->loops) && c->elsewhere, "a job ran, or was done, on the wrong thread");
    unit_assert(c->ran_as == *c->done, "job %u was done out of order", c->number);
    (*c->done)++;
    if (c->again == 0)
        return;
    c->again--;
    sp_disk_do(disk, job);
    ck_assert(sp_disk_is_busy(disk));
}

static unsigned ran, done;
static struct counted jobs[JOBS];

static void queue_all(unsigned again)
{
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted){.job = {.run = count_run, .done = count_done}, .number = i, .again = again};
        jobs[i].loops = uv_thread_self();
        jobs[i].ran = &ran;
        jobs[i].done = &done;
        sp_disk_do(disk, &jobs[i].job);
    }
}

/* In the order in which they were queued, there and here. */
START_TEST(test_order)
{
    ck_assert(!sp_disk_is_busy(disk));
    queue_all(2);
    ck_assert(sp_disk_is_busy(disk));
    while (sp_disk_is_busy(disk))
        (void)uv_run(&loop, UV_RUN_ONCE);
    ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0); /* nothing holds the loop any more */
    ck_assert_uint_eq(done, 3 * JOBS);
    ck_assert_uint_eq(ran, 3 * JOBS);
    stop();
}
END_TEST

/* What is queued when it ends is done, and what that queues as well. */
START_TEST(test_stop)
{
    queue_all(3);
    stop();
    ck_assert_uint_eq(done, 4 * JOBS);
    sp_disk_stop(NULL);
}
END_TEST

/* --- the thread ------------------------------------------------------------------------------------------------------
 */

struct writing {
    struct sp_disk_job job;
    int fd, reason;
    bool term_blocked;
};

static void write_much(struct sp_disk_job *job)
{
    struct writing *w = (struct writing *)job;
    sigset_t mask;
    char bytes[100] = "";

    while (write(w->fd, bytes, sizeof bytes) > 0)
        continue;
    w->reason = errno;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    w->term_blocked = sigismember(&mask, SIGTERM) == 1;
}

static void nothing(struct sp_disk_job *job)
{
    (void)job;
}

/* A file that may not grow is an error of the write, not the end of the process; signals are the loop's to take. */
START_TEST(test_signals)
{
    const struct rlimit limit = {1000, 1000};
    struct writing writing = {.job = {.run = write_much, .done = nothing}};
    sigset_t mask;

    (void)signal(SIGXFSZ, SIG_DFL);
    writing.fd = open(files_write("limited", "", 0), O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(writing.fd, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    sp_disk_do(disk, &writing.job);
    stop();
    (void)close(writing.fd);
    ck_assert_int_eq(writing.reason, EFBIG);
    ck_assert(writing.term_blocked);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    ck_assert_int_eq(sigismember(&mask, SIGTERM), 0);
}
END_TEST

/* Without a thread there are words, and nothing is left behind. */
START_TEST(test_no_thread)
{
    struct sp_disk *second;

    thread_fails = UV_EAGAIN;
    ck_assert_int_eq(sp_disk_start(&second, &loop, &error), SP_E_IO);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(strstr(error.text, "ulimit -u"));
    thread_fails = 0;
    async_fails = UV_EMFILE;
    ck_assert_int_eq(sp_disk_start(&second, &loop, &error), SP_E_IO);
    ck_assert_ptr_null(second);
    async_fails = 0;
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("disk");
    TCase *tests = tcase_create("disk");

    files_begin();
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_order);
    tcase_add_test(tests, test_stop);
    tcase_add_test(tests, test_signals);
    tcase_add_test(tests, test_no_thread);
    return unit_run(suite, tests);
}
