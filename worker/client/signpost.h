/* libsignpost: everything between a gradient and new weights, for any program that has gradients.
 *
 * The caller owns the model and the data; the library owns the weights, the momentum and the connection. It never
 * prints, never exits, starts no thread and installs no signal handler. (Ignore SIGPIPE in your program: libuv writes
 * to sockets that may be gone.) One `signpost` belongs to one thread at a time.
 *
 *     signpost_open(&s, &options, &error);
 *     while (signpost_wait(s, -1, &event) == 0 && event.type != SIGNPOST_DONE) {
 *         if (event.type == SIGNPOST_INIT)
 *             my_initial_weights(signpost_weights_to_init(s)), signpost_init_done(s);
 *         else if (event.type == SIGNPOST_GRADIENT) {
 *             loss = my_gradient(signpost_weights(s), gradient);
 *             signpost_gradient(s, d, gradient);
 *             signpost_push(s, loss, examples);
 *         }
 *     }
 *
 * Functions return 0 or a negative code (common/error.h); signpost_error() has the words of the last failure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct signpost signpost;

struct sp_layout;

/* How important a line for the caller's log is. */
enum signpost_log_level { SIGNPOST_LOG_WARN = 1, SIGNPOST_LOG_INFO = 2, SIGNPOST_LOG_DEBUG = 3 };

struct signpost_options {
    const char *server;             /* HOST:PORT */
    const char *job;                /* must equal the server's */
    const char *program;            /* name and version, for the server's log; NULL: libsignpost's own */
    const struct sp_layout *layout; /* copied */
    uint64_t examples;              /* training examples in the whole data set, > 0 */
    uint64_t test_examples;         /* of which evaluations get a part; 0: cannot evaluate */
    uint64_t data_digest;           /* of the training data; must be the same for all workers; 0: not compared */
    int slot;                       /* wanted slot, or -1 for any */
    double give_up_s;               /* seconds without a server after which signpost_wait() fails; 0: never */
    void (*log)(void *arg, enum signpost_log_level level, const char *line); /* NULL: no log */
    void *log_arg;
};

enum signpost_event_type {
    SIGNPOST_NOTHING,  /* the time is over */
    SIGNPOST_JOINED,   /* the worker has a slot, and the plan can be read; comes again after a reconnect */
    SIGNPOST_INIT,     /* the server asks this worker for the initial weights */
    SIGNPOST_GRADIENT, /* new weights are there: give the gradient of `round` */
    SIGNPOST_EVALUATE, /* score the weights on examples part*n/parts up to (part+1)*n/parts of the test set */
    SIGNPOST_DONE,     /* the job ended; signpost_error() has the server's words */
};

struct signpost_event {
    enum signpost_event_type type;
    uint32_t round;  /* GRADIENT: the round to come, from 1; EVALUATE: the round that the weights are from */
    uint32_t rounds; /* in the whole job */
    uint32_t slot;
    uint32_t part, parts; /* EVALUATE */
    bool stopped;         /* DONE: somebody stopped the job before its end */
};

/* Makes a client; nothing is sent yet. On failure *out is NULL and `words` (may be NULL) says why. */
int signpost_open(signpost **out, const struct signpost_options *options, char *words, size_t words_bytes);

/* Says goodbye to the server if there is a connection, waits a moment for it to be sent, and frees everything. NULL is
 * allowed. */
void signpost_close(signpost *s);

/* Does whatever is due (connect, reconnect with growing pauses, receive, answer) until there is something for the
 * caller to do or timeout_ms has passed (-1: no limit; a host name that the resolver takes long for adds to it). The
 * weights change only inside this call. */
int signpost_wait(signpost *s, int timeout_ms, struct signpost_event *event);

/* Tells the server that this worker is alive, if it is time to. Call it now and then in a computation of many seconds.
 */
void signpost_alive(signpost *s);

/* The model's weights, aligned to 64 bytes; the library's, valid until signpost_close(). */
const float *signpost_weights(const signpost *s);

/* After SIGNPOST_INIT: where to write the initial weights, and that they are written. */
float *signpost_weights_to_init(signpost *s);
int signpost_init_done(signpost *s);

/* After SIGNPOST_GRADIENT: the next `count` coordinates of the gradient, in ascending order; what is complete is sent
 * at once. The values must stay as they are until signpost_wait() gives the next SIGNPOST_GRADIENT. A range that is not
 * finite makes this worker abstain from the round from there on (logged, counted). */
int signpost_gradient(signpost *s, uint64_t count, const float *values);

/* All of the gradient was given: sends the rest with the mean loss over `examples` examples. If the connection is lost
 * meanwhile the round goes on without this worker; signpost_wait() then reconnects. */
int signpost_push(signpost *s, double loss, uint32_t examples);

/* After SIGNPOST_EVALUATE: what the part gave. */
int signpost_score(signpost *s, const struct signpost_event *event, uint64_t correct, uint64_t total, double loss_sum);

/* A key of the server's plan, as in a job file ("optimizer.beta1"); NULL if the plan has none. */
const char *signpost_plan(const signpost *s, const char *key);

/* Every setting of the plan: returns false when `index` is past the last one. */
bool signpost_plan_item(const signpost *s, size_t index, const char **key, const char **value);

struct signpost_counts {
    uint64_t pushes, abstentions, reconnects, resyncs;
};

void signpost_get_counts(const signpost *s, struct signpost_counts *counts);

/* The words of the last failure, or of the job's end. Never NULL. */
const char *signpost_error(const signpost *s);
