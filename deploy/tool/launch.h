/* Workers on other machines, for `signpost launch`: which hosts there are, and how a worker is started on one by ssh.
 */
#pragma once

#include "common/job.h"

#include <stdbool.h>
#include <uv.h>

#define LAUNCH_HOSTS_MAX SP_WORKERS_MAX
#define LAUNCH_NAME_BYTES 256
#define LAUNCH_SSH_BYTES 1024
#define LAUNCH_SSH_WORDS 48
#define LAUNCH_DIR_BYTES SP_STRING_BYTES
#define LAUNCH_GIVES_UP 255 /* ssh's exit code when it is not the command's */

struct launch_host {
    char name[LAUNCH_NAME_BYTES]; /* [USER@]HOST, as ssh takes it */
    char dir[LAUNCH_DIR_BYTES];   /* what the job's relative paths are relative to there; "": as here */
    unsigned slots;               /* workers at most */
};

struct launch_hosts {
    struct launch_host host[LAUNCH_HOSTS_MAX];
    unsigned count, slots; /* of all */
};

/* --- launch_hosts.c (pure) --- */

/* Parses a hosts file's text; `path` is for words. */
int launch_hosts_parse(struct launch_hosts *hosts, const char *path, const char *text, struct sp_error *error);

/* The host of a worker: hosts are filled one after the other. NULL: there are fewer slots. */
const struct launch_host *launch_host_of(const struct launch_hosts *hosts, unsigned worker);

/* Whether it is this machine by its name. */
bool launch_host_is_here(const struct launch_host *host);

/* --- launch_worker.c --- */

struct launch {
    struct launch_hosts hosts;
    const char *ssh;     /* words before the host: "ssh -p 2222" */
    const char *program; /* of the workers, there */
    const char *address; /* HOST of this machine, as workers reach it; NULL: from where ssh came */
    bool goes_on;        /* when a worker fails */
    struct sp_job job;   /* as server and workers have it */
};

struct launch_input; /* of an ssh; its end is the end of the worker there */

/* Starts ssh, whose words and the worker's go to the file `log`; *input is then its input. `port`: the server's. SP_OK,
 * or a code after words on standard error; the process's handle is then closing, or was never used. */
int launch_start(const struct launch *launch, unsigned number, unsigned port, uv_loop_t *loop, uv_process_t *process,
                 struct launch_input **input, const char *log, uv_exit_cb on_exit);

/* Lets go of its input, unless it is NULL, which ends the worker there if it still runs. */
void launch_let_go(struct launch_input **input);

/* Whether the worker there was begun, as its log tells: before that a failure is one to reach the host. */
bool launch_has_begun(const char *log);
