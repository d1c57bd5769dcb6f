#include "server/disk.h"

#include "common/check.h"
#include "common/log.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_SECONDS 5

struct queue {
    struct sp_disk_job *first, *last;
};

struct sp_disk {
    uv_thread_t thread;
    uv_mutex_t mutex; /* of the queues and `ending` */
    uv_cond_t work;   /* there is a job, or the end has come */
    uv_cond_t ran;    /* a job has run */
    struct queue waiting, finished;
    bool ending;
    uv_async_t finishes; /* wakes the loop */
    unsigned jobs;       /* whose `done` has not been called; the loop's alone */
};

static void push(struct queue *queue, struct sp_disk_job *job)
{
    job->next = NULL;
    if (queue->first == NULL)
        queue->first = job;
    else
        queue->last->next = job;
    queue->last = job;
}

static struct sp_disk_job *pop(struct queue *queue)
{
    struct sp_disk_job *job = queue->first;

    queue->first = job->next;
    return job;
}

/* --- the thread ------------------------------------------------------------------------------------------------------
 */

static void work(void *arg)
{
    struct sp_disk *disk = arg;

    uv_mutex_lock(&disk->mutex);
    for (;;) {
        struct sp_disk_job *job;

        while (disk->waiting.first == NULL && !disk->ending)
            uv_cond_wait(&disk->work, &disk->mutex); /* for as long as there is nothing to do */
        if (disk->waiting.first == NULL)
            break;
        job = pop(&disk->waiting);
        uv_mutex_unlock(&disk->mutex);
        job->run(job);
        uv_mutex_lock(&disk->mutex);
        push(&disk->finished, job);
        uv_cond_signal(&disk->ran);
        (void)uv_async_send(&disk->finishes);
    }
    uv_mutex_unlock(&disk->mutex);
}

/* Signals are the loop's. With SIGXFSZ blocked a write beyond the limit of files' sizes fails like any other, and does
 * not end the process. Those that tell of a defect must come through. */
static int start_thread(struct sp_disk *disk)
{
    sigset_t all, before;
    int rc;

    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGILL);
    (void)sigdelset(&all, SIGFPE);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = uv_thread_create(&disk->thread, work, disk);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void end_thread(struct sp_disk *disk)
{
    uv_mutex_lock(&disk->mutex);
    disk->ending = true;
    uv_cond_signal(&disk->work);
    uv_mutex_unlock(&disk->mutex);
    (void)uv_thread_join(&disk->thread);
}

/* --- the loop --------------------------------------------------------------------------------------------------------
 */

static void free_disk(struct sp_disk *disk)
{
    uv_cond_destroy(&disk->ran);
    uv_cond_destroy(&disk->work);
    uv_mutex_destroy(&disk->mutex);
    free(disk);
}

static void call_done(struct sp_disk *disk)
{
    struct queue finished;

    uv_mutex_lock(&disk->mutex);
    finished = disk->finished;
    memset(&disk->finished, 0, sizeof disk->finished);
    uv_mutex_unlock(&disk->mutex);
    while (finished.first != NULL) {
        struct sp_disk_job *job = pop(&finished);

        if (--disk->jobs == 0)
            uv_unref((uv_handle_t *)&disk->finishes);
        job->done(job);
    }
}

static void on_finish(uv_async_t *handle)
{
    call_done(handle->data);
}

static int make_locks(struct sp_disk *disk)
{
    int rc = uv_mutex_init(&disk->mutex);

    if (rc != 0)
        return rc;
    rc = uv_cond_init(&disk->work);
    if (rc != 0) {
        uv_mutex_destroy(&disk->mutex);
        return rc;
    }
    rc = uv_cond_init(&disk->ran);
    if (rc != 0) {
        uv_cond_destroy(&disk->work);
        uv_mutex_destroy(&disk->mutex);
    }
    return rc;
}

/* The handle comes last, for it can only be closed by letting the loop turn. */
int sp_disk_start(struct sp_disk **out, uv_loop_t *loop, struct sp_error *error)
{
    struct sp_disk *disk = calloc(1, sizeof *disk);
    int rc;

    *out = NULL;
    if (disk == NULL)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the thread that writes files");
    rc = make_locks(disk);
    if (rc != 0) {
        free(disk);
        return sp_error_set(error, SP_E_IO, "cannot make the locks of the thread that writes files: %s",
                            uv_strerror(rc));
    }
    rc = start_thread(disk);
    if (rc == 0) {
        rc = uv_async_init(loop, &disk->finishes, on_finish);
        if (rc != 0)
            end_thread(disk);
    }
    if (rc != 0) {
        free_disk(disk);
        return sp_error_set(error, SP_E_IO,
                            "cannot start the thread that writes files: %s; raise the limits of processes and of open "
                            "files ('ulimit -u', 'ulimit -n'), or free memory",
                            uv_strerror(rc));
    }
    disk->finishes.data = disk;
    uv_unref((uv_handle_t *)&disk->finishes);
    *out = disk;
    return SP_OK;
}

void sp_disk_do(struct sp_disk *disk, struct sp_disk_job *job)
{
    disk->jobs++;
    uv_ref((uv_handle_t *)&disk->finishes);
    uv_mutex_lock(&disk->mutex);
    push(&disk->waiting, job);
    uv_cond_signal(&disk->work);
    uv_mutex_unlock(&disk->mutex);
}

bool sp_disk_is_busy(const struct sp_disk *disk)
{
    return disk->jobs > 0;
}

/* A disk that hangs cannot be made to go on, only waited for: what was promised to be written is. */
static void wait_for_a_job(struct sp_disk *disk)
{
    unsigned seconds = 0;

    uv_mutex_lock(&disk->mutex);
    while (disk->finished.first == NULL) {
        if (uv_cond_timedwait(&disk->ran, &disk->mutex, SLOW_SECONDS * UINT64_C(1000000000)) == 0)
            continue;
        seconds += SLOW_SECONDS;
        sp_log_warn("disk", "still waiting for the disk before the end, for %u s now: %u jobs are not done", seconds,
                    disk->jobs);
    }
    uv_mutex_unlock(&disk->mutex);
}

static void on_close(uv_handle_t *handle)
{
    free_disk(handle->data);
}

void sp_disk_stop(struct sp_disk *disk)
{
    if (disk == NULL)
        return;
    while (disk->jobs > 0) {
        wait_for_a_job(disk);
        call_done(disk);
    }
    end_thread(disk);
    uv_close((uv_handle_t *)&disk->finishes, on_close);
}
