/* signpost bench: a server and processes full of workers, with made gradients, over the real protocol.
 *
 * bench.c         the measurement from start to end (its command line: bench_arguments.c)
 * bench_job.c     the folder that it all happens in, the job file, the model's tensors
 * bench_child.c   processes: start, watch, end
 * bench_load.c    `signpost bench-load FILE`, hidden: workers in one loop; bench_record.c has what they measure
 * bench_spare.c   `signpost bench-spare FILE`, hidden: connections of workers without a slot
 * bench_advise.c  whether compression pays for a job; its arithmetic is in bench_advice.c
 * bench_result.c  what all of them have left behind
 * bench_print.c   the result for people and programs
 */
#pragma once

#include "common/error.h"
#include "common/job.h"
#include "common/layout.h"
#include "proto/codec.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_JOB "bench"
#define BENCH_PATH_BYTES 4200
#define BENCH_PROCESSES_MAX 255
#define BENCH_SPARES_MAX 1500
#define BENCH_SPARES_EACH 250 /* in a process */
#define BENCH_CHILDREN_MAX (1 + BENCH_PROCESSES_MAX + BENCH_SPARES_MAX / BENCH_SPARES_EACH)
#define BENCH_ROUNDS_MAX 1000000u
#define BENCH_WARMUP_MAX 10000u
#define BENCH_AIM_S 5.0 /* how long the measured rounds take if nobody says how many */

/* What is measured. */
struct bench_options {
    uint32_t workers, processes, spares, rounds, warmup; /* rounds 0: what takes about BENCH_AIM_S */
    uint64_t params;
    enum sp_phase phase;
    enum sp_wire wire;
    double sigma;
    bool compute, json, keep;
    const char *listen; /* NULL: loopback */
    const char *http;   /* NULL: off */
    const char *tls;    /* folder of deploy/make-certs.sh; NULL: no TLS */
    const char *server_prefix, *worker_prefix;
    bool advise;
    double link, server_link; /* of --advise: bits per second; 0: none is given */
    double gradient_ms;       /* 0: several are gone through */
    double patience_s;        /* without progress; 0: by the model's size */
};

/* What a hidden subcommand is told, as a JSON file. */
struct bench_part {
    char folder[BENCH_PATH_BYTES]; /* where `shared` lies, and its result goes */
    char server[300], token_file[BENCH_PATH_BYTES];
    char tls[BENCH_PATH_BYTES]; /* folder of certificates; "": no TLS */
    uint32_t number;            /* of the process; the first has number 0 */
    uint32_t first, count;      /* its workers are these slots; or how many spares it holds */
    uint64_t params;
    uint32_t rounds, warmup;
    bool compute;
    pid_t server_pid;
};

int bench_part_write(const struct bench_part *part, const char *path, struct sp_error *error);
int bench_part_read(struct bench_part *part, const char *path, struct sp_error *error);

/* A page that all processes share, in the file `shared` of the folder. */
struct bench_shared {
    _Atomic uint32_t last;     /* the last round to be measured; 0: not known yet */
    _Atomic uint32_t begun;    /* rounds that worker 0 has begun: a sign of life */
    _Atomic uint32_t finished; /* load processes that have measured */
    _Atomic uint32_t spares;   /* connections that the server has taken as spares */
    _Atomic uint32_t ready;    /* 1: the spares are there, and rounds may begin */
};

/* Maps it, made anew if `create`; NULL with words. Stays until the process ends. */
struct bench_shared *bench_share(const char *folder, bool create, struct sp_error *error);

/* --- bench_job.c --- */

/* The tensors of a model of so many parameters: a large one, some of middle size and some small, as models have. */
int bench_layout(struct sp_layout *layout, uint64_t params, struct sp_error *error);

/* SP_E_NOMEM with words if this machine has too little memory free for it. */
int bench_memory_check(const struct bench_options *options, struct sp_error *error);

/* Writes FOLDER/job.yaml and, if it listens where others can reach it, the secret FOLDER/token. */
int bench_job_write(const struct bench_options *options, const char *folder, struct sp_error *error);

/* A fresh folder under $TMPDIR or /tmp; and its end, with all that is in it. */
int bench_folder_make(char folder[BENCH_PATH_BYTES], struct sp_error *error);
void bench_folder_remove(const char *folder);

/* --- bench_child.c --- */

struct bench_child {
    char name[64]; /* for messages */
    char log[BENCH_PATH_BYTES];
    pid_t pid; /* 0: it was not started, or has been waited for */
};

struct bench_children {
    int leash[2]; /* a pipe: its end of file on a child's standard input says that we are gone */
    unsigned count;
    struct bench_child child[BENCH_CHILDREN_MAX];
};

int bench_children_init(struct bench_children *children, struct sp_error *error);

/* Starts `prefix` (words, %d replaced by `number`; NULL: none) and `arguments` behind it, writing to `log`. It is
 * killed when this process ends, however that is. SP_E_IO with words. */
int bench_child_start(struct bench_children *children, const char *name, const char *log, const char *prefix,
                      unsigned number, char *const arguments[], struct sp_error *error);

/* Whether all still run, or one has ended: then the words name it and show the end of its log. */
int bench_children_check(struct bench_children *children, struct sp_error *error);

/* Adds the last lines of a log to the words. */
void bench_log_end(const char *log, struct sp_error *error);

/* Waits for one to end by itself: SP_OK if its exit code is 0. */
int bench_child_end(struct bench_child *child, double patience_s, struct sp_error *error);

/* Kills those that still run. */
void bench_children_finish(struct bench_children *children);

struct bench_result {
    uint32_t rounds;                      /* measured */
    double round_ms_median, round_ms_p99; /* from one commit to the next, as worker 0 sees it */
    double server_cpu_ms, worker_cpu_ms;  /* per round; all load processes together */
    double server_rss, server_rss_peak;   /* bytes, at the end of the measured rounds */
    double up, down;                      /* bytes at the socket per worker and round */
    uint64_t votes;                       /* that were counted */
    char address[300];
};

/* --- bench_result.c --- */

/* Adds up what the records and the server's summary say. SP_E_STATE if votes are missing. */
int bench_result_read(const struct bench_options *options, const char *folder, struct bench_result *result,
                      struct sp_error *error);

/* --- bench.c --- */

/* The measurement, from start to end. */
int bench_run(const struct bench_options *options, struct bench_result *result, struct sp_error *error);
void bench_sleep_ms(unsigned ms);
double bench_seconds(void); /* of a clock that never goes back */

/* --- bench_advise.c --- */

/* Measures, prints, and returns an exit code. */
int bench_advise(const struct bench_options *options);

/* --- bench_print.c --- */
void bench_print(const struct bench_options *options, const struct bench_result *result);
