/* A job: everything its file can say, with defaults filled in, and the one table of its keys.
 *
 * The table (sp_job_keys) is the single place where a key's path, type, default, range and meaning stand. The YAML
 * reader, `--set`, the PLAN that the server sends, `signpost check` and the documentation test all go by it.
 */
#pragma once

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_WORKERS_MAX 255
#define SP_LIST_MAX 16 /* items of any list */
#define SP_HIDDEN_MAX SP_LIST_MAX
#define SP_RULES_MAX 32
#define SP_PATTERN_BYTES 64
#define SP_STRING_BYTES 1024
#define SP_VALUE_BYTES 4096 /* enough for any value as text */
#define SP_QUOTED_BYTES 128 /* of a user's text as messages show it */

enum sp_data_part { SP_DATA_TRAIN, SP_DATA_TEST };
enum sp_data_format { SP_DATA_IDX, SP_DATA_CIFAR10, SP_DATA_CIFAR100, SP_DATA_CSV };
enum sp_separator { SP_SEPARATOR_COMMA, SP_SEPARATOR_SEMICOLON, SP_SEPARATOR_TAB };
enum sp_compute { SP_COMPUTE_NONE, SP_COMPUTE_ALL, SP_COMPUTE_CHANNEL, SP_COMPUTE_INPUT };
enum sp_shards { SP_SHARDS_IID, SP_SHARDS_BY_LABEL };
enum sp_model_type { SP_MODEL_SOFTMAX, SP_MODEL_MLP, SP_MODEL_LENET, SP_MODEL_RESNET18 };
enum sp_mode { SP_MODE_HYBRID, SP_MODE_SGD, SP_MODE_ADAM };
enum sp_schedule { SP_SCHEDULE_CONSTANT, SP_SCHEDULE_LINEAR, SP_SCHEDULE_COSINE, SP_SCHEDULE_STEP };
enum sp_dither_schedule {
    SP_DITHER_NONE,
    SP_DITHER_CONSTANT,
    SP_DITHER_EXPONENTIAL,
    SP_DITHER_LINEAR,
    SP_DITHER_COSINE,
    SP_DITHER_INVERSE
};
enum sp_dither_scale { SP_DITHER_SCALE_JOB, SP_DITHER_SCALE_TENSOR, SP_DITHER_SCALE_ABSOLUTE };
enum sp_start { SP_START_SIGN, SP_START_MARGIN };
enum sp_switch_when { SP_SWITCH_NEVER, SP_SWITCH_AT, SP_SWITCH_AUTO, SP_SWITCH_SWATS, SP_SWITCH_MANUAL };
enum sp_switch_to { SP_SWITCH_TO_SGD, SP_SWITCH_TO_MARGIN };
enum sp_lambda_rule { SP_LAMBDA_PAPER, SP_LAMBDA_RATIO, SP_LAMBDA_DENOISED, SP_LAMBDA_NORM, SP_LAMBDA_NORM_TENSOR };
enum sp_sgd_rate { SP_RATE_FROZEN, SP_RATE_TRACKING };
enum sp_sgd_schedule {
    SP_SGD_SCHEDULE_CONTINUE,
    SP_SGD_SCHEDULE_CONSTANT,
    SP_SGD_SCHEDULE_LINEAR,
    SP_SGD_SCHEDULE_COSINE,
    SP_SGD_SCHEDULE_STEP
};
enum sp_sgd_wire { SP_SGD_WIRE_AUTO, SP_SGD_WIRE_F32, SP_SGD_WIRE_BF16, SP_SGD_WIRE_I8 };
enum sp_sgd_momentum { SP_MOMENTUM_EMA, SP_MOMENTUM_NONE };
enum sp_aggregate { SP_AGGREGATE_MEAN, SP_AGGREGATE_MEDIAN, SP_AGGREGATE_TRIMMED_MEAN };
enum sp_close { SP_CLOSE_ALL, SP_CLOSE_QUORUM };
enum sp_deadline { SP_DEADLINE_ADAPTIVE };
enum sp_fsync { SP_FSYNC_ALWAYS, SP_FSYNC_INTERVAL, SP_FSYNC_NEVER };
enum sp_on_error { SP_ON_ERROR_CONTINUE, SP_ON_ERROR_STOP };
enum sp_quarantine_rule { SP_QUARANTINE_OFF, SP_QUARANTINE_WARN, SP_QUARANTINE_EXCLUDE };
enum sp_statistics_rule { SP_STATISTICS_MEAN, SP_STATISTICS_ROBUST };

/* What a rule of `tensors` changes for the tensors whose names match its pattern. */
enum sp_rule_update { SP_RULE_UPDATE_AS_IS, SP_RULE_UPDATE_VOTE, SP_RULE_UPDATE_FULL };
enum sp_rule_decay { SP_RULE_DECAY_AS_IS, SP_RULE_DECAY_YES, SP_RULE_DECAY_NO };

struct sp_tensor_rule {
    char match[SP_PATTERN_BYTES]; /* of fnmatch(): "bn*", "*.bias" */
    enum sp_rule_update update;
    enum sp_rule_decay decay;
};

/* As text, and what they make of a layout: common/rules.h. */
struct sp_tensor_rules {
    struct sp_tensor_rule rule[SP_RULES_MAX];
    uint32_t count;
};

/* The steps of a `step` schedule: after every so many epochs the rate is multiplied by the factor. */
struct sp_schedule_step {
    double epochs, factor;
};

#define SP_HTTP_AUTO "auto"
#define SP_HTTP_OFF "off"

struct sp_job {
    char job[64]; /* its name: letters, digits, '.', '_', '-'; first a letter or digit */
    uint64_t seed;
    uint32_t workers; /* slots: 1..SP_WORKERS_MAX */
    struct {
        enum sp_data_format format;
        char train_images[SP_STRING_BYTES], train_labels[SP_STRING_BYTES]; /* as written in the file */
        char test_images[SP_STRING_BYTES], test_labels[SP_STRING_BYTES];   /* these four with idx */
        char train_files[SP_STRING_BYTES], test_files[SP_STRING_BYTES]; /* with the other formats: a file or pattern */
        struct {
            bool header;                 /* the first line names the columns */
            enum sp_separator separator; /* between fields */
            char label[256];             /* name of the class's column, or its number from 1 */
            uint32_t shape[SP_LIST_MAX]; /* [height, width], [channels, height, width], or nothing: flat */
            uint32_t shape_count;
        } csv;
        double divide;            /* an element x becomes (x/divide - mean)/std; 0: by format, sp_job_divide() */
        double mean[SP_LIST_MAX]; /* one for all, or one for each channel */
        uint32_t mean_count;
        double std[SP_LIST_MAX];
        uint32_t std_count;
        enum sp_compute compute; /* mean and std from the training data instead */
        struct {
            uint32_t crop; /* pixels of padding; 0: no crop */
            bool flip;
        } augment;
        enum sp_shards shards; /* which examples a slot sees: worker/train/batch.h */
    } data;
    struct {
        enum sp_model_type type;
        uint32_t hidden[SP_HIDDEN_MAX]; /* units of each hidden layer; only mlp has any */
        uint32_t hidden_count;          /* the count of a list follows its items at once */
        uint32_t width;                 /* channels of resnet18's first stage */
        char init[SP_STRING_BYTES];     /* .safetensors with the weights to start from, read by the server; "": none */
        uint32_t threads;               /* of OpenBLAS, in each worker */
    } model;
    struct {
        uint32_t batch;  /* examples per worker and round */
        double epochs;   /* passes over the training data; fractions are allowed */
        uint32_t rounds; /* overrides epochs if > 0 */
        uint32_t report; /* rounds between progress lines */
        double evaluate; /* epochs between evaluations; 0: at the end only */
    } train;
    struct {
        enum sp_mode mode;
        enum sp_start start; /* the phase that a hybrid job begins with */
        double beta1, beta2, weight_decay;
        struct {
            double lr;
            enum sp_schedule schedule;
            double warmup; /* epochs */
            struct sp_schedule_step step;
        } sign;
        struct {
            double sigma0;
            enum sp_dither_schedule schedule;
            enum sp_dither_scale scale;
        } dither;
        struct {
            double lr;     /* 0: SP_MARGIN_TIMES the sign phase's */
            double sigma0; /* of the margin phase's dither, which is constant */
            double until;  /* part of the job after which SGD follows a margin phase that a switch led to; 0: never */
        } margin;
        struct {
            enum sp_switch_when when;
            enum sp_switch_to to;
            double epoch; /* with `at`: exactly one of the three is > 0 */
            uint32_t step;
            double fraction;
            double tolerance;  /* of swats */
            uint32_t patience; /* of swats, in rounds */
            bool dry_run;
        } switch_;
        struct {
            enum sp_lambda_rule lambda;
            double scale;
            double lambda_min, lambda_max; /* of paper, ratio and denoised */
            double clip; /* of calibrated rates: longest step, in lengths of a step of the phase before; 0: no limit */
            double lr;   /* > 0: fixed instead of calibrated */
            enum sp_sgd_rate rate;
            enum sp_sgd_schedule schedule;
            struct sp_schedule_step step;
            enum sp_sgd_wire wire;
            enum sp_sgd_momentum momentum;
            enum sp_aggregate aggregate;
            double trim; /* share that trimmed_mean leaves out at each end */
        } sgd;
        struct {
            double lr, beta1, beta2, eps;
        } adam;
    } optimizer;
    struct sp_tensor_rules tensors;
    struct {
        double lr; /* of tensors that travel in full precision */
    } full;
    struct {
        char listen[256]; /* HOST:PORT, [HOST]:PORT */
        char http[256];   /* HOST:PORT, or SP_HTTP_AUTO or SP_HTTP_OFF, which "" means as well */
        enum sp_close close;
        uint32_t quorum; /* with close: quorum; 1..workers; else 0 */
        enum sp_deadline deadline;
        uint32_t min_live;
        double start_timeout, init_timeout, evaluate_timeout; /* seconds */
        double rejoin_timeout;                                /* seconds */
        double heartbeat_interval, heartbeat_timeout;         /* seconds */
        struct {
            bool enabled;
            enum sp_fsync fsync;
            uint32_t interval_ms; /* with fsync: interval */
            bool keep_history;    /* segments before the oldest checkpoint stay */
            uint64_t max_bytes;   /* of all segments; 0: no limit */
            enum sp_on_error on_error;
        } journal;
        struct {
            bool enabled;
            uint32_t every; /* rounds; 0: not by rounds */
            double seconds; /* 0: not by time */
            uint32_t keep;  /* files */
        } checkpoint;
        enum sp_quarantine_rule quarantine;
        enum sp_statistics_rule statistics;
        struct {
            uint32_t connections, handshakes; /* at once */
            uint32_t joins;                   /* connections a second and address */
            double buffered;                  /* MB that may wait for all; 0: half of the memory */
        } limits;
    } server;
    struct {
        char token_file[SP_STRING_BYTES];          /* the secret of server and workers; "": none */
        char operator_token_file[SP_STRING_BYTES]; /* of server and operators over the network; "": none */
        char http_token_file[SP_STRING_BYTES];     /* of who may read server.http; "": none */
        bool insecure;
        struct {
            char cert[SP_STRING_BYTES], key[SP_STRING_BYTES], ca[SP_STRING_BYTES]; /* PEM files; all or none */
            char name[SP_STRING_BYTES]; /* that the server's certificate must have; "": the host it is reached by */
        } tls;
    } security;
    struct {
        double give_up; /* seconds without a server after which a worker gives up; 0: never */
        struct {
            uint32_t every;               /* rounds between savings; 0: never */
            char folder[SP_STRING_BYTES]; /* "": runs/<job> */
        } momentum;
    } worker;
    char folder[SP_STRING_BYTES]; /* of the job file, "." if none; data paths are relative to it. Not a key. */
};

enum sp_key_type {
    SP_KEY_STRING,
    SP_KEY_UINT,
    SP_KEY_REAL,
    SP_KEY_BOOL,
    SP_KEY_CHOICE,
    SP_KEY_UINT_LIST,
    SP_KEY_REAL_LIST, /* a single number is a list of one, and is written as one */
    SP_KEY_RULES
};

enum sp_key_flags {
    SP_KEY_REQUIRED = 1u << 0,
    SP_KEY_PLAN = 1u << 1,     /* governs training: the server sends it to every worker */
    SP_KEY_NAME = 1u << 2,     /* a string limited to the characters of a job name */
    SP_KEY_POSITIVE = 1u << 3, /* a real that must be more than min, not just equal to it */
    SP_KEY_BELOW = 1u << 4,    /* a real that must be less than max */
    SP_KEY_PATH = 1u << 5,     /* a string that is the path of a file: sp_job_path() */
    SP_KEY_PATTERN = 1u << 6,  /* whose own part, but not the folder before it, may be a pattern of glob(3) */
};

struct sp_key {
    const char *path; /* dotted, as for --set */
    enum sp_key_type type;
    unsigned flags;
    size_t offset;              /* of the member in struct sp_job */
    size_t bytes;               /* room of a string; byte size of a member */
    double min, max;            /* of numbers, inclusive; items of a list as well */
    const char *const *choices; /* of SP_KEY_CHOICE, ends with NULL; index is the enum's value */
    const char *fallback;       /* the default, as text in the form --set takes; NULL if required */
    const char *meaning;        /* one line for people */
};

#define SP_MARGIN_TIMES 4.0   /* margin rate of a job that gives none, as a multiple of its sign rate */
#define SP_SGD_LR_DEFAULT 0.5 /* of mode sgd, which has nothing to calibrate a rate from */

extern const struct sp_key sp_job_keys[];
extern const size_t sp_job_keys_count;

/* NULL if there is no such key. */
const struct sp_key *sp_job_key(const char *path);

/* All defaults; required keys are empty. */
void sp_job_init(struct sp_job *job);

/* Sets one key from text ("2.0e-3", "auto", "[64, 32]"). Checks type and range; the words of an error name the key, the
 * value, and what is allowed; for an unknown key they suggest the nearest known one. On failure the job is as it was.
 * server.close: all forgets the quorum, and a quorum makes it server.close: quorum. */
int sp_job_set(struct sp_job *job, const char *path, const char *value, struct sp_error *error);

/* What a key takes, to follow "must be": "a whole number from 1 to 255", "softmax or mlp". */
void sp_job_allowed(const struct sp_key *key, char *text, size_t bytes);

/* Makes a text fit for a message: control characters become \xNN, and a long one is cut. Returns `out`. */
const char *sp_job_quote(const char *text, char out[SP_QUOTED_BYTES]);

/* Writes one key's value as text that sp_job_set() takes back to the same value (reals with 17 digits if needed). */
void sp_job_get(const struct sp_job *job, const struct sp_key *key, char *text, size_t bytes);

/* Checks what concerns several keys together. Returns the number of problems; the words of problem i go to
 * `report(arg, path of the key concerned, words)`. */
unsigned sp_job_validate(const struct sp_job *job, void (*report)(void *arg, const char *path, const char *words),
                         void *arg);

/* Whether the job names data of this part, by the keys that belong to its format. */
bool sp_job_has_data(const struct sp_job *job, enum sp_data_part part);

/* data.scale.divide, or what its 0 stands for: 255 for bytes, 1 for csv. */
double sp_job_divide(const struct sp_job *job);

/* SP_E_MISSING if the job names no data to train on, as a job for workers of another kind may. */
int sp_job_need_data(const struct sp_job *job, struct sp_error *error);

/* Puts `path`, made relative to the job's folder unless absolute, into out. An empty path stays empty, and one for
 * which `bytes` is too small becomes empty: 2 * SP_STRING_BYTES is always enough. */
void sp_job_path(const struct sp_job *job, const char *path, char *out, size_t bytes);

/* The files of security.tls. Returns whether it is set. */
struct sp_tls_paths;
bool sp_job_tls_paths(const struct sp_job *job, struct sp_tls_paths *paths);

/* Rounds up; but 1.1 epochs of 10 rounds is 11 and not 12, though 1.1 in binary is a little more. */
double sp_job_whole_rounds(double rounds);

/* Rounds in one epoch, ceil(N/(workers*batch)), and in the whole job (design: T = epochs * that, or train.rounds). */
uint32_t sp_job_epoch_rounds(const struct sp_job *job, uint64_t examples);
uint32_t sp_job_rounds(const struct sp_job *job, uint64_t examples);
