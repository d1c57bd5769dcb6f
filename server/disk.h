/* One background thread that does work with files, one job after the other, so that the loop never waits for a disk.
 *
 * What a job reads while it runs belongs to it: the loop must leave it alone until `done` is called, on the loop.
 */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <uv.h>

struct sp_disk;

/* The caller's memory, from sp_disk_do() until `done` has been called. */
struct sp_disk_job {
    void (*run)(struct sp_disk_job *job);  /* on the thread */
    void (*done)(struct sp_disk_job *job); /* on the loop; may queue the job again, or free it */
    struct sp_disk_job *next;              /* the disk's */
};

/* Starts the thread. SP_E_NOMEM or SP_E_IO with words. */
int sp_disk_start(struct sp_disk **out, uv_loop_t *loop, struct sp_error *error);

/* Queues a job. Never fails, never waits. The loop goes on turning as long as there is one. */
void sp_disk_do(struct sp_disk *disk, struct sp_disk_job *job);

/* Whether a job runs or waits. */
bool sp_disk_is_busy(const struct sp_disk *disk);

/* Waits until all that is queued has run, calls what is `done`, ends the thread. The loop then turns until the handle
 * is closed; the memory is freed by that. NULL is allowed. */
void sp_disk_stop(struct sp_disk *disk);
