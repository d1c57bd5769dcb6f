/* libsignpost: everything between a gradient and new weights, for any program that has gradients.
 *
 * The caller owns the model and the data; the library owns the weights, the momentum and the connection to the server.
 * Weights are one array of float32, tensor after tensor in the order of `signpost_options.tensors`, each row-major; a
 * *coordinate* is an index into it, and d is their number. A *round* is one step of all workers together.
 *
 * What it never does: print, exit, abort on what a caller or a peer gives it, install a signal handler, start a thread.
 * SIGPIPE does not reach the program from in here (nor does one that somebody else sends to the thread meanwhile), and
 * no other signal ends a wait. A host NAME is resolved by getaddrinfo(), which blocks as long as
 * the system's resolver takes; a numeric address never blocks.
 *
 * Threads: one `signpost` belongs to one thread at a time, also in its log callback; several in one process do not
 * disturb each other. After fork() a child must not touch its parent's.
 *
 * Errors: functions that return int return SIGNPOST_OK or a negative code of enum signpost_code (signpost_step() and
 * signpost_join() also SIGNPOST_OVER). signpost_error() then has the words, with the server's own if it gave any. A
 * NULL where none is allowed gives SIGNPOST_E_MISSING.
 *
 * Blocking use, the whole of it (more in signpost_join() and signpost_step(), an example in
 * worker/examples/quadratic.c):
 *
 *     signpost *s;
 *     if (signpost_open(&s, &options, words, sizeof words) != SIGNPOST_OK) ...
 *     rc = signpost_join(s, initial);
 *     while (rc == SIGNPOST_OK) {
 *         loss = my_gradient(signpost_weights(s), gradient);
 *         rc = signpost_step(s, gradient, loss, examples);
 *     }
 *     signpost_close(s);
 *
 * By events, when the worker also evaluates, or gives its gradient tensor by tensor while it still computes:
 *
 *     while ((rc = signpost_wait(s, -1, &event)) == SIGNPOST_OK && event.type != SIGNPOST_DONE)
 *         switch (event.type) {
 *         case SIGNPOST_INIT:     fill(signpost_weights_to_init(s)); signpost_init_done(s); break;
 *         case SIGNPOST_GRADIENT: ... signpost_gradient(s, first, count, values); ... signpost_push(s, loss, n); break;
 *         case SIGNPOST_EVALUATE: ... signpost_score(s, &event, correct, total, loss_sum); break;
 *         }
 *
 * On the caller's own event loop: wait for signpost_fd() to become readable, or signpost_timeout_ms() to pass; then
 * call signpost_process() until it gives SIGNPOST_NOTHING. It never blocks (an example in worker/examples/own_loop.c).
 */
#ifndef SIGNPOST_H
#define SIGNPOST_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SIGNPOST_API __attribute__((visibility("default")))
#else
#define SIGNPOST_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct signpost signpost;

/* --- codes and reasons ---------------------------------------------------------------------------------------------
 */

enum signpost_code {
    SIGNPOST_OVER = 1, /* signpost_join(), signpost_step(): the job is over; signpost_error() says how */
    SIGNPOST_OK = 0,
    SIGNPOST_E_NOMEM = -1,        /* out of memory */
    SIGNPOST_E_IO = -2,           /* a file or a system call failed */
    SIGNPOST_E_SYNTAX = -3,       /* not HOST:PORT */
    SIGNPOST_E_RANGE = -4,        /* an argument is out of its range, or a value is not finite */
    SIGNPOST_E_UNKNOWN = -5,      /* a name that is not known */
    SIGNPOST_E_MISSING = -6,      /* something required is not given */
    SIGNPOST_E_PROTOCOL = -7,     /* the server broke the protocol */
    SIGNPOST_E_CORRUPT = -8,      /* a checksum does not match */
    SIGNPOST_E_BACKLOG = -9,      /* the server reads too slowly */
    SIGNPOST_E_CLOSED = -10,      /* the connection is closed */
    SIGNPOST_E_TIMEOUT = -11,     /* no server for `give_up_s` */
    SIGNPOST_E_REJECTED = -12,    /* the server refused this worker, and would again: signpost_reason() */
    SIGNPOST_E_STATE = -13,       /* not possible now: see the function */
    SIGNPOST_E_UNSUPPORTED = -14, /* the server speaks another version of the protocol */
    SIGNPOST_E_MISMATCH = -15     /* two things that must be equal differ */
};

/* Why the server said goodbye; the numbers of the protocol (proto/README.md). A later server may know more. */
enum signpost_reason {
    SIGNPOST_REASON_NONE = -1, /* it did not */
    SIGNPOST_REASON_DONE = 0,
    SIGNPOST_REASON_STOPPED = 1,
    SIGNPOST_REASON_PROTOCOL = 2,
    SIGNPOST_REASON_VERSION = 3,
    SIGNPOST_REASON_JOB = 4,
    SIGNPOST_REASON_LAYOUT = 5,
    SIGNPOST_REASON_DATA = 6,
    SIGNPOST_REASON_SLOT = 7,
    SIGNPOST_REASON_INIT_TIMEOUT = 8,
    SIGNPOST_REASON_SILENT = 9,
    SIGNPOST_REASON_BACKLOG = 10,
    SIGNPOST_REASON_LEAVING = 11,
    SIGNPOST_REASON_REPLACED = 12,
    SIGNPOST_REASON_WEIGHTS = 13,
    SIGNPOST_REASON_BUSY = 14,
    SIGNPOST_REASON_FAILED = 15,
    SIGNPOST_REASON_SECRET = 16,
    SIGNPOST_REASON_OPERATOR = 17
};

/* Short general words of a code, of a reason; static, never NULL. Need no `signpost`. */
SIGNPOST_API const char *signpost_code_text(int code);
SIGNPOST_API const char *signpost_reason_text(int reason);

/* "0.1.0"; static. */
SIGNPOST_API const char *signpost_version(void);

/* --- opening and closing -------------------------------------------------------------------------------------------
 */

#define SIGNPOST_ANY_SLOT (-1)
#define SIGNPOST_DIMS_MAX 8

enum signpost_tensor_flags {
    SIGNPOST_DECAY = 1, /* the job's optimizer.weight_decay applies to it (weights yes; biases, norms usually not) */
    SIGNPOST_BUFFER = 2 /* not trained: running statistics, see signpost_buffers(). Buffers come after all other
                           tensors, and are not counted in d */
};

struct signpost_tensor {
    const char *name;      /* 1 to 63 bytes, unique in the model */
    const uint64_t *shape; /* `dims` sizes, each > 0; NULL if dims is 0: a single number, as [1] */
    uint32_t dims;         /* at most SIGNPOST_DIMS_MAX */
    uint32_t flags;        /* of enum signpost_tensor_flags, or'ed */
};

/* How important a line for the caller's log is. */
enum signpost_log_level { SIGNPOST_LOG_WARN = 1, SIGNPOST_LOG_INFO = 2, SIGNPOST_LOG_DEBUG = 3 };

/* Start from SIGNPOST_OPTIONS_INIT: what is zero there has its default. Nothing of it is kept by reference but
 * `log_arg`. All workers of a job must give the same job, tensors and examples, and those that give them the same
 * test_examples and data_digest; the server refuses one that does not, and says in which it differs. */
struct signpost_options {
    size_t size;                           /* sizeof(struct signpost_options), so that later versions can add members */
    int32_t slot;                          /* wanted slot, 0 to workers-1, or SIGNPOST_ANY_SLOT */
    uint32_t tensors_count;                /* > 0 */
    const struct signpost_tensor *tensors; /* the model; required */
    const char *server;                    /* HOST:PORT or [IPV6]:PORT; required */
    const char *job;                       /* the job's name, at most 63 bytes; required */
    const char *program;                   /* name and version for the server's log; NULL: the library's */
    const char *token_file;                /* the secret that it shares with the server; NULL: none, "" is an error */
    uint64_t examples;                     /* training examples in the whole data set: they set the length of an epoch,
                                              ceil(examples / (workers*batch)) rounds; 0: 1, so that an epoch is a
                                              round (the job then wants train.rounds, and train.evaluate in rounds) */
    uint64_t test_examples;                /* examples in the test set; 0: this worker does not evaluate */
    uint64_t data_digest;                  /* any digest of the training data; 0: not compared */
    double give_up_s;                      /* seconds without a server until SIGNPOST_E_TIMEOUT; 0: never */
    void (*log)(void *arg, int level, const char *line); /* called inside the functions below, and must call none of
                                                            them; NULL: no log */
    void *log_arg;
    /* Where this worker's momentum is saved for the process that takes its slot if this one is killed: in a file
     * momentum-SLOT in this folder, which is made if need be; NULL: it is not, "" is an error. After a push, every
     * `momentum_every` rounds (0: 5), at most once a second, and in at most a twentieth of the time. A file that cannot
     * be written or read is said in the log; the training goes on. It is deleted when the job is done. */
    const char *momentum_folder;
    uint64_t momentum_every;
    /* PEM files for TLS 1.3 with certificates on both sides: all three, or NULL: no TLS. The certificate must have
     * URI:signpost:worker in its subjectAltName; `tls_ca` has who may sign the server's. They are read anew before
     * every further connection, so they may be renewed meanwhile. */
    const char *tls_cert, *tls_key, *tls_ca;
    const char *tls_name; /* that the server's certificate must have; NULL: the host in `server` */
};

#define SIGNPOST_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(struct signpost_options), SIGNPOST_ANY_SLOT, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0.0, NULL, NULL, \
            NULL, 0, NULL, NULL, NULL, NULL                                                                            \
    }

/* Makes a client; nothing is sent yet. On success *out is the caller's, to be closed. On failure *out is NULL and
 * `words` (may be NULL) holds what is wrong, ending with 0, cut to `words_bytes`. E_MISSING, E_SYNTAX (server), E_RANGE
 * (names, shapes, slot, a token file or key that others can read, a certificate that is not valid), E_IO (token file,
 * files of TLS), E_NOMEM. */
SIGNPOST_API int signpost_open(signpost **out, const struct signpost_options *options, char *words, size_t words_bytes);

/* Says goodbye to the server if there is a connection, waits for that to be sent (3 s at most), frees everything. NULL
 * is allowed. */
SIGNPOST_API void signpost_close(signpost *s);

/* --- blocking -------------------------------------------------------------------------------------------------------
 */

/* Waits until this worker has a slot and the weights, connecting again as often as needed. `initial` (d values, must
 * stay valid until signpost_close(); NULL: zeros) are the initial weights, used if the server asks this worker for
 * them; all workers should give the same. SIGNPOST_OK: signpost_weights() is there, and a gradient is due.
 * SIGNPOST_OVER, or a code. Not for a worker with test_examples > 0 (E_STATE): it uses signpost_wait(). */
SIGNPOST_API int signpost_join(signpost *s, const float *initial);

/* Pushes the gradient (d values, of the mean loss over `examples` examples at signpost_weights(); the caller's again
 * when the call returns) and waits for the new weights. SIGNPOST_OK: they are in signpost_weights(), the next gradient
 * is due. SIGNPOST_OVER: the job is over, and signpost_weights() holds the last weights that this worker got: the
 * job's if signpost_round() is signpost_rounds(), older ones if it was away at the end or the job was stopped, none if
 * signpost_slot() is -1, as for a spare. A gradient that is not finite makes this worker abstain from
 * the round from there on, a loss that is not finite is only left out of the job's statistics; a lost connection is
 * made again, and the round is then gone. E_STATE before signpost_join(). A round is either stepped or given by events,
 * not both. */
SIGNPOST_API int signpost_step(signpost *s, const float *gradient, double loss, uint32_t examples);

/* --- by events ------------------------------------------------------------------------------------------------------
 */

enum signpost_event_type {
    SIGNPOST_NOTHING = 0,  /* nothing to do for the caller */
    SIGNPOST_JOINED = 1,   /* the worker has a slot, and the plan can be read; comes again after a reconnect */
    SIGNPOST_INIT = 2,     /* the server asks this worker for the initial weights */
    SIGNPOST_GRADIENT = 3, /* new weights are there: give the gradient of `round` */
    SIGNPOST_EVALUATE = 4, /* score the weights on test examples part*n/parts up to (part+1)*n/parts */
    SIGNPOST_DONE = 5      /* the job is over; signpost_error() has the server's words */
};

struct signpost_event {
    uint32_t type;        /* of enum signpost_event_type */
    uint32_t round;       /* GRADIENT: the round to come, from 1; EVALUATE: the round that the weights are from */
    uint32_t rounds;      /* in the whole job */
    uint32_t slot;        /* this worker's */
    uint32_t part, parts; /* EVALUATE */
    uint32_t stopped;     /* DONE: 1 if somebody stopped the job before its end */
    uint32_t reserved[9];
};

/* Does whatever is due (connect, reconnect with growing pauses, receive, answer) until there is something for the
 * caller or timeout_ms has passed (negative: no limit), which gives SIGNPOST_NOTHING. The weights change only in here,
 * in signpost_process(), signpost_join() and signpost_step(). After SIGNPOST_DONE it goes on giving
 * that, after a negative code that code: it is over. E_TIMEOUT, E_REJECTED, E_UNSUPPORTED, E_NOMEM, E_RANGE, E_IO. */
SIGNPOST_API int signpost_wait(signpost *s, int timeout_ms, struct signpost_event *event);

/* The same for the caller's own event loop: does what can be done now without waiting. Call it when signpost_fd() is
 * readable, when signpost_timeout_ms() has passed, and after giving gradients; again until it gives SIGNPOST_NOTHING,
 * or one of the ends above.
 */
SIGNPOST_API int signpost_process(signpost *s, struct signpost_event *event);

/* A descriptor for poll(), select(), epoll and the like, readable when there is something for signpost_process(). The
 * library's: not to be read, written or closed; the same from signpost_open() to signpost_close(). */
SIGNPOST_API int signpost_fd(const signpost *s);

/* Milliseconds, 0 to 250, after which signpost_process() is due even if signpost_fd() is not readable. */
SIGNPOST_API int signpost_timeout_ms(const signpost *s);

/* After SIGNPOST_INIT: where to write the initial weights (d values, zeros before; not to be written at other times),
 * and that they are written. E_STATE if they were not asked for, E_RANGE if they are not finite (then it is over). If
 * the connection was lost meanwhile: SIGNPOST_OK; the server asks again, or another worker. */
SIGNPOST_API float *signpost_weights_to_init(signpost *s);
SIGNPOST_API int signpost_init_done(signpost *s);

/* After SIGNPOST_GRADIENT: coordinates first to first+count-1 of the gradient, or one tensor's, as they become ready,
 * in any order, each once. What is complete from coordinate 0 on is packed and sent at once. The values are not copied:
 * they must stay as they are until signpost_wait() or signpost_process() gives the next SIGNPOST_GRADIENT,
 * SIGNPOST_JOINED or SIGNPOST_DONE, or a code. Where it is not finite this worker abstains from the round from there
 * on (logged, counted). E_RANGE beyond the model or for coordinates that were given before, E_STATE if no
 * gradient is due, E_NOMEM (it may be given again). If the connection was lost meanwhile: SIGNPOST_OK, and the values
 * are not used. */
SIGNPOST_API int signpost_gradient(signpost *s, uint64_t first, uint64_t count, const float *values);
SIGNPOST_API int signpost_gradient_tensor(signpost *s, uint32_t tensor, const float *values);

/* All of the gradient was given: sends the rest, with the mean loss over `examples` examples (statistics of the job; a
 * loss that is not finite is left out of them). E_STATE if no gradient is
 * due, or a part of it was not given (the words say from where; give it and push again). If the connection was lost
 * meanwhile: SIGNPOST_OK, and the round goes on without this worker. */
SIGNPOST_API int signpost_push(signpost *s, double loss, uint32_t examples);

/* After SIGNPOST_EVALUATE: of `total` examples of the part, `correct` were classified right; `loss_sum` is the sum of
 * their losses. E_RANGE if correct > total or the sum is not finite. If the connection was lost meanwhile: SIGNPOST_OK,
 * and somebody else evaluates the part. */
SIGNPOST_API int signpost_score(signpost *s, const struct signpost_event *event, uint64_t correct, uint64_t total,
                                double loss_sum);

/* Tells the server that this worker is alive, if it is time to. Call it now and then in a computation of many seconds.
 */
SIGNPOST_API void signpost_alive(signpost *s);

/* --- looking --------------------------------------------------------------------------------------------------------
 */

/* The model's weights, d values aligned to 64 bytes; the library's, at the same place until signpost_close(). Zeros
 * before the first SIGNPOST_GRADIENT or signpost_join(). */
SIGNPOST_API const float *signpost_weights(const signpost *s);
SIGNPOST_API uint64_t signpost_coordinates(const signpost *s); /* d */

/* The values of all tensors with SIGNPOST_BUFFER, one after the other; the library's, at the same place until
 * signpost_close(); NULL if there are none. The program writes its running statistics here while it computes a
 * gradient, and reads them when it evaluates. signpost_push() sends them now and then; at evaluations and after the
 * switch the mean over all workers is put in their place, where the weights change as well. After SIGNPOST_INIT they
 * are zeros, and the program writes its initial ones. A gradient is not given for them. */
SIGNPOST_API float *signpost_buffers(signpost *s);

/* Digest of the weights as they are, comparable with `weights_digest` in a run's summary.json (as %016x) and between
 * workers. */
SIGNPOST_API uint64_t signpost_weights_digest(const signpost *s);

SIGNPOST_API int signpost_slot(const signpost *s);        /* this worker's; -1 before it has one */
SIGNPOST_API uint32_t signpost_round(const signpost *s);  /* the weights are those after this round */
SIGNPOST_API uint32_t signpost_rounds(const signpost *s); /* in the whole job; 0 before SIGNPOST_JOINED */

enum signpost_phase {
    SIGNPOST_PHASE_SIGN = 0,
    SIGNPOST_PHASE_SGD = 1,
    SIGNPOST_PHASE_MARGIN = 2 /* signs up, vote counts down */
};
SIGNPOST_API int signpost_phase(const signpost *s); /* of the next round */

/* A key of the server's plan, as in a job file ("train.batch"); NULL if the plan has none. Valid until the next call
 * that may wait or process. */
SIGNPOST_API const char *signpost_plan(const signpost *s, const char *key);

/* Setting `index` of the plan, from 0 on: 1, or 0 past the last one. */
SIGNPOST_API int signpost_plan_item(const signpost *s, size_t index, const char **key, const char **value);

enum signpost_counter {
    SIGNPOST_PUSHES,      /* rounds pushed, abstentions included */
    SIGNPOST_ABSTENTIONS, /* rounds, or parts of one, left out because the gradient was not finite */
    SIGNPOST_RECONNECTS,
    SIGNPOST_RESYNCS,  /* times that the weights differed from the server's and were replaced */
    SIGNPOST_LINE_RATE /* bytes per second at which the weights came the last time; 0: this worker was sent none, or too
                          few to tell */
};
SIGNPOST_API uint64_t signpost_count(const signpost *s, int counter);

/* The words of the last failure, or of the job's end. Never NULL; valid until the next call. */
SIGNPOST_API const char *signpost_error(const signpost *s);

/* The server's reason when the job was over or it refused this worker; SIGNPOST_REASON_NONE if it gave none. */
SIGNPOST_API int signpost_reason(const signpost *s);

#ifdef __cplusplus
}
#endif

#endif
