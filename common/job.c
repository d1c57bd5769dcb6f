#include "common/job.h"

#include "common/check.h"
#include "common/job_parts.h"
#include "common/tls.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(enum sp_switch_when) == sizeof(unsigned), "choices are stored as unsigned");
_Static_assert(offsetof(struct sp_job, model.hidden_count) ==
                   offsetof(struct sp_job, model.hidden) + sizeof(((struct sp_job *)0)->model.hidden),
               "the count of a list follows its items");
_Static_assert(offsetof(struct sp_job, data.mean_count) ==
                   offsetof(struct sp_job, data.mean) + sizeof(((struct sp_job *)0)->data.mean),
               "the count of a list follows its items");

/* Each list of choices is in the order of its enum. */
static const char *const separators[] = {"comma", "semicolon", "tab", NULL};
static const char *const formats[] = {"idx", "cifar10", "cifar100", "csv", NULL};
static const char *const computes[] = {"none", "all", "channel", "input", NULL};
static const char *const shards[] = {"iid", "by_label", NULL};
static const char *const models[] = {"softmax", "mlp", "lenet", "resnet18", NULL};
static const char *const modes[] = {"hybrid", "sgd", "adam", NULL};
static const char *const schedules[] = {"constant", "linear", "cosine", "step", NULL};
static const char *const starts[] = {"sign", "margin", NULL};
static const char *const dither_schedules[] = {"none", "constant", "exponential", "linear", "cosine", "inverse", NULL};
static const char *const dither_scales[] = {"job", "tensor", "absolute", NULL};
static const char *const whens[] = {"never", "at", "auto", "swats", "manual", NULL};
static const char *const switch_tos[] = {"sgd", "margin", NULL};
static const char *const lambdas[] = {"paper", "ratio", "denoised", "norm", "norm_tensor", NULL};
static const char *const rates[] = {"frozen", "tracking", NULL};
static const char *const sgd_schedules[] = {"continue", "constant", "linear", "cosine", "step", NULL};
static const char *const wires[] = {"auto", "f32", "bf16", "i8", NULL};
static const char *const momenta[] = {"ema", "none", NULL};
static const char *const aggregates[] = {"mean", "median", "trimmed_mean", NULL};
static const char *const closes[] = {"all", "quorum", NULL};
static const char *const deadlines[] = {"adaptive", NULL};
static const char *const fsyncs[] = {"always", "interval", "never", NULL};
static const char *const on_errors[] = {"continue", "stop", NULL};
static const char *const quarantines[] = {"off", "warn", "exclude", NULL};
static const char *const statistics_rules[] = {"mean", "robust", NULL};

/* Numbers are bounded well inside what float32 and milliseconds in 64 bits can hold, so that nobody has to check again.
 */
#define RATE_MAX 1e6
#define SECONDS_MAX 1e6
#define EPOCHS_MAX 1e6
#define PIXEL_MAX 1e6
#define SIDE_MAX 16777216 /* of an image; SP_INPUTS_MAX bounds the whole */
#define CROP_MAX 64
#define BATCH_MAX 1e6
#define ROUNDS_MAX 4e9
#define BYTES_MAX 9007199254740992.0 /* 2^53: a whole number in double and in JSON */

#define REQUIRED SP_KEY_REQUIRED
#define PLAN SP_KEY_PLAN
#define POSITIVE SP_KEY_POSITIVE

#define KEY(path_, type_, member_, flags_, fallback_)                                                                  \
    .path = (path_), .type = (type_), .flags = (flags_), .fallback = (fallback_),                                      \
    .offset = offsetof(struct sp_job, member_), .bytes = sizeof(((struct sp_job *)0)->member_)

#define STRING(path_, member_, flags_, fallback_, meaning_)                                                            \
    {                                                                                                                  \
        KEY(path_, SP_KEY_STRING, member_, flags_, fallback_), .meaning = (meaning_)                                   \
    }
#define UINT(path_, member_, flags_, fallback_, min_, max_, meaning_)                                                  \
    {                                                                                                                  \
        KEY(path_, SP_KEY_UINT, member_, flags_, fallback_), .min = (min_), .max = (max_), .meaning = (meaning_)       \
    }
#define REAL(path_, member_, flags_, fallback_, min_, max_, meaning_)                                                  \
    {                                                                                                                  \
        KEY(path_, SP_KEY_REAL, member_, flags_, fallback_), .min = (min_), .max = (max_), .meaning = (meaning_)       \
    }
#define SWITCH(path_, member_, flags_, fallback_, meaning_)                                                            \
    {                                                                                                                  \
        KEY(path_, SP_KEY_BOOL, member_, flags_, fallback_), .meaning = (meaning_)                                     \
    }
#define CHOICE(path_, member_, flags_, fallback_, choices_, meaning_)                                                  \
    {                                                                                                                  \
        KEY(path_, SP_KEY_CHOICE, member_, flags_, fallback_), .choices = (choices_), .meaning = (meaning_)            \
    }
#define UINTS(path_, member_, flags_, fallback_, min_, max_, meaning_)                                                 \
    {                                                                                                                  \
        KEY(path_, SP_KEY_UINT_LIST, member_, flags_, fallback_), .min = (min_), .max = (max_), .meaning = (meaning_)  \
    }
#define REALS(path_, member_, flags_, fallback_, min_, max_, meaning_)                                                 \
    {                                                                                                                  \
        KEY(path_, SP_KEY_REAL_LIST, member_, flags_, fallback_), .min = (min_), .max = (max_), .meaning = (meaning_)  \
    }
#define RULES(path_, member_, flags_, fallback_, meaning_)                                                             \
    {                                                                                                                  \
        KEY(path_, SP_KEY_RULES, member_, flags_, fallback_), .meaning = (meaning_)                                    \
    }

const struct sp_key sp_job_keys[] = {
    STRING("job", job, REQUIRED | PLAN | SP_KEY_NAME, NULL, "name of the job; its run folder is `runs/<job>`"),
    UINT("seed", seed, PLAN, "1", 0, UINT64_AS_REAL, "where all randomness of the job comes from"),
    UINT("workers", workers, PLAN, "1", 1, SP_WORKERS_MAX, "number of workers that train together"),

    CHOICE(
        "data.format", data.format, 0, "idx", formats,
        "format of the data files: IDX, CIFAR-10 or CIFAR-100 (binary version), or text with a column for the label; "
        "any may be compressed by gzip"),
    STRING("data.train.images", data.train_images, SP_KEY_PATH, "",
           "with `idx`: images to train on; a path relative to the job file, or absolute; empty: the workers are "
           "programs of your own, with data of their own"),
    STRING("data.train.labels", data.train_labels, SP_KEY_PATH, "",
           "their labels; given if and only if the images are"),
    STRING(
        "data.train.files", data.train_files, SP_KEY_PATH | SP_KEY_PATTERN, "",
        "with the other formats: the file to train on, or a pattern such as `data_batch_*.bin` for several, which are "
        "taken in the order of their names"),
    STRING("data.test.images", data.test_images, SP_KEY_PATH, "", "images to evaluate on; empty: no evaluation"),
    STRING("data.test.labels", data.test_labels, SP_KEY_PATH, "", "their labels; given if and only if the images are"),
    STRING("data.test.files", data.test_files, SP_KEY_PATH | SP_KEY_PATTERN, "",
           "with the other formats: file or pattern to evaluate on; empty: no evaluation"),
    SWITCH("data.csv.header", data.csv.header, 0, "true", "the first line of each file names the columns"),
    CHOICE("data.csv.separator", data.csv.separator, 0, "comma", separators, "what stands between fields"),
    STRING("data.csv.label", data.csv.label, 0, "label",
           "column with the class, a whole number from 0 to 255: its name, or its number from 1; all other columns are "
           "inputs"),
    UINTS("data.csv.shape", data.csv.shape, 0, "[]", 1, SIDE_MAX,
          "what a row's inputs are: [height, width] or [channels, height, width], the last running fastest; empty: no "
          "image"),
    REAL("data.scale.divide", data.divide, PLAN, "0", 0, PIXEL_MAX,
         "an element x becomes (x / divide - mean) / std; 0: 255 for bytes, 1 for csv"),
    REALS("data.scale.mean", data.mean, PLAN, "0", -PIXEL_MAX, PIXEL_MAX,
          "see above: one for all, or one for each channel"),
    REALS("data.scale.std", data.std, PLAN | POSITIVE, "1", 0, PIXEL_MAX,
          "see above: one for all, or one for each channel"),
    CHOICE("data.scale.compute", data.compute, PLAN, "none", computes,
           "take mean and std from the training data instead: one of `all` elements, of each `channel`, or of each "
           "`input`; a std of 0 becomes 1"),
    UINT("data.augment.crop", data.augment.crop, PLAN, "0", 0, CROP_MAX,
         "in training: pad images by so many zeros on all sides and take a random window of their size"),
    SWITCH("data.augment.flip", data.augment.flip, PLAN, "false",
           "in training: mirror images left-right with probability 1/2"),
    CHOICE(
        "data.shards", data.shards, PLAN, "iid", shards,
        "`iid`: every worker draws from all training data; `by_label`: each sees only its own part of them, cut after "
        "sorting by label"),

    CHOICE("model.type", model.type, PLAN, "mlp", models,
           "`softmax`: one linear layer; `mlp`: hidden layers with ReLU before it; `lenet`: two convolutions with "
           "max-pooling and two linear layers; `resnet18`: the form for small images (3x3 stem)"),
    UINTS("model.hidden", model.hidden, PLAN, "[64]", 1, 65536, "units of each hidden layer of an `mlp`"),
    UINT("model.width", model.width, PLAN, "64", 1, 1024, "channels of the first stage of a `resnet18`"),
    STRING("model.init", model.init, SP_KEY_PATH, "",
           "`.safetensors` file with the weights to start from, which the server reads; relative to the job file, or "
           "absolute; empty: random ones, by the seed"),
    UINT("model.threads", model.threads, 0, "1", 1, 1024, "threads of OpenBLAS in each worker"),

    UINT("train.batch", train.batch, PLAN, "16", 1, BATCH_MAX, "examples per worker and round"),
    REAL("train.epochs", train.epochs, PLAN | POSITIVE, "10", 0, EPOCHS_MAX,
         "passes over the training data; fractions are allowed"),
    UINT("train.rounds", train.rounds, PLAN, "0", 0, ROUNDS_MAX, "length of the job in rounds; 0: by `train.epochs`"),
    UINT("train.report", train.report, 0, "50", 1, ROUNDS_MAX, "rounds between progress lines"),
    REAL("train.evaluate", train.evaluate, 0, "1", 0, EPOCHS_MAX, "epochs between evaluations; 0: at the end only"),

    CHOICE("optimizer.mode", optimizer.mode, PLAN, "hybrid", modes,
           "`hybrid`: sign updates first, then SGD (signs all the way: `optimizer.switch.when: never`); `sgd`, `adam`: "
           "these from the first round on, in full precision, to compare with"),
    CHOICE("optimizer.start", optimizer.start, PLAN, "sign", starts,
           "phase that a hybrid job begins with: `sign`, or `margin`, whose updates are the vote counts themselves"),
    REAL("optimizer.beta1", optimizer.beta1, PLAN | SP_KEY_BELOW, "0.9", 0, 1, "momentum of the gradient"),
    REAL("optimizer.beta2", optimizer.beta2, PLAN | SP_KEY_BELOW, "0.99", 0, 1,
         "memory of the statistics that set the SGD rate"),
    REAL("optimizer.weight_decay", optimizer.weight_decay, PLAN, "0", 0, 1,
         "each round multiplies weights by 1 - rate * weight_decay; biases and norms are left alone unless `tensors` "
         "says otherwise"),
    REAL("optimizer.sign.lr", optimizer.sign.lr, PLAN | POSITIVE, "1e-3", 0, RATE_MAX,
         "learning rate of the sign phase: the step of every weight"),
    CHOICE("optimizer.sign.schedule", optimizer.sign.schedule, PLAN, "linear", schedules,
           "how that rate changes over the job"),
    REAL("optimizer.sign.warmup", optimizer.sign.warmup, PLAN, "0", 0, EPOCHS_MAX,
         "epochs over which the rate first rises linearly; the schedule spans what is left"),
    REAL("optimizer.sign.step.epochs", optimizer.sign.step.epochs, PLAN | POSITIVE, "10", 0, EPOCHS_MAX,
         "with `schedule: step`: every so many epochs the rate is multiplied by the factor"),
    REAL("optimizer.sign.step.factor", optimizer.sign.step.factor, PLAN | POSITIVE, "0.1", 0, 1,
         "see `optimizer.sign.step.epochs`"),
    REAL("optimizer.dither.sigma0", optimizer.dither.sigma0, PLAN, "0", 0, RATE_MAX,
         "strength of the noise before the sign; 0: none"),
    CHOICE("optimizer.dither.schedule", optimizer.dither.schedule, PLAN, "exponential", dither_schedules,
           "how the noise changes over the job"),
    CHOICE("optimizer.dither.scale", optimizer.dither.scale, PLAN, "job", dither_scales,
           "`job`: sigma0 is relative to the root mean square of the momentum; `tensor`: to that of each tensor; "
           "`absolute`: it is not relative"),
    REAL("optimizer.margin.lr", optimizer.margin.lr, PLAN, "0", 0, RATE_MAX,
         "learning rate of the margin phase: the step of a weight on which all votes agree; 0: 4 times "
         "`optimizer.sign.lr`. It follows `optimizer.sign.schedule`"),
    REAL("optimizer.margin.sigma0", optimizer.margin.sigma0, PLAN, "1", 0, RATE_MAX,
         "strength of the noise before the sign in the margin phase, where it is constant"),
    REAL("optimizer.margin.until", optimizer.margin.until, PLAN, "0", 0, 1,
         "part of the job after which SGD follows a margin phase that `optimizer.switch.to` led to; 0: never"),
    CHOICE(
        "optimizer.switch.when", optimizer.switch_.when, PLAN, "auto", whens,
        "when the next phase takes over: `auto` as soon as the loss stops falling, `at` a moment given below, `swats` "
        "when the calibrated rate has settled, `manual` by `signpost switch`, or `never`"),
    CHOICE("optimizer.switch.to", optimizer.switch_.to, PLAN, "sgd", switch_tos, "where the switch leads"),
    REAL("optimizer.switch.epoch", optimizer.switch_.epoch, PLAN, "0", 0, EPOCHS_MAX,
         "with `when: at`: after this many epochs"),
    UINT("optimizer.switch.step", optimizer.switch_.step, PLAN, "0", 0, ROUNDS_MAX,
         "with `when: at`: after this many rounds"),
    REAL("optimizer.switch.fraction", optimizer.switch_.fraction, PLAN, "0", 0, 1,
         "with `when: at`: after this part of the job"),
    REAL("optimizer.switch.tolerance", optimizer.switch_.tolerance, PLAN | POSITIVE, "0.05", 0, 1,
         "with `when: swats`: how far, relatively, a round's rate may be from the average of rates"),
    UINT("optimizer.switch.patience", optimizer.switch_.patience, PLAN, "5", 1, ROUNDS_MAX,
         "with `when: swats`: for how many rounds in a row"),
    SWITCH("optimizer.switch.dry_run", optimizer.switch_.dry_run, PLAN, "false",
           "only say when the switch would come, and stay in the phase"),
    CHOICE("optimizer.sgd.lambda", optimizer.sgd.lambda, PLAN, "norm_tensor", lambdas,
           "how the SGD rate is calibrated from the phase before"),
    REAL("optimizer.sgd.scale", optimizer.sgd.scale, PLAN | POSITIVE, "0.6", 0, RATE_MAX,
         "factor of the rate with `norm` and `norm_tensor`"),
    REAL("optimizer.sgd.lambda_min", optimizer.sgd.lambda_min, PLAN | POSITIVE, "1e-5", 0, RATE_MAX,
         "least rate that `paper`, `ratio` and `denoised` may give"),
    REAL("optimizer.sgd.lambda_max", optimizer.sgd.lambda_max, PLAN | POSITIVE, "1", 0, RATE_MAX,
         "largest rate that they may give"),
    REAL(
        "optimizer.sgd.clip", optimizer.sgd.clip, PLAN, "1", 0, RATE_MAX,
        "with a calibrated rate, a step is at most this many times as long as one before the switch: a rate found in a "
        "quiet round cannot blow the model up in a loud one; 0: no limit"),
    REAL("optimizer.sgd.lr", optimizer.sgd.lr, PLAN, "0", 0, RATE_MAX,
         "a fixed SGD rate; 0: calibrated, in `mode: sgd` 0.5"),
    CHOICE("optimizer.sgd.rate", optimizer.sgd.rate, PLAN, "frozen", rates,
           "`frozen`: calibrated once, at the switch; `tracking`: the calibration goes on in the SGD phase"),
    CHOICE("optimizer.sgd.schedule", optimizer.sgd.schedule, PLAN, "continue", sgd_schedules,
           "`continue`: the sign phase's schedule goes on through the switch; the others span the SGD phase"),
    REAL("optimizer.sgd.step.epochs", optimizer.sgd.step.epochs, PLAN | POSITIVE, "10", 0, EPOCHS_MAX,
         "with `schedule: step`: every so many epochs the rate is multiplied by the factor"),
    REAL("optimizer.sgd.step.factor", optimizer.sgd.step.factor, PLAN | POSITIVE, "0.1", 0, 1,
         "see `optimizer.sgd.step.epochs`"),
    CHOICE("optimizer.sgd.wire", optimizer.sgd.wire, PLAN, "auto", wires,
           "how values travel in the SGD phase: 32, 16 or about 8 bits each; `auto`: `i8`, in modes `sgd` and `adam` "
           "`f32`"),
    CHOICE("optimizer.sgd.momentum", optimizer.sgd.momentum, PLAN, "ema", momenta,
           "what workers push in the SGD phase: `ema` the momentum, `none` the gradient"),
    CHOICE("optimizer.sgd.aggregate", optimizer.sgd.aggregate, PLAN, "mean", aggregates,
           "how the server combines what workers push"),
    REAL("optimizer.sgd.trim", optimizer.sgd.trim, PLAN | SP_KEY_BELOW, "0.25", 0, 0.5,
         "share of the workers' values that `trimmed_mean` leaves out at each end, for each weight"),
    REAL("optimizer.adam.lr", optimizer.adam.lr, PLAN | POSITIVE, "1e-3", 0, RATE_MAX, "learning rate of `mode: adam`"),
    REAL("optimizer.adam.beta1", optimizer.adam.beta1, PLAN | SP_KEY_BELOW, "0.9", 0, 1, "its memory of the gradient"),
    REAL("optimizer.adam.beta2", optimizer.adam.beta2, PLAN | SP_KEY_BELOW, "0.999", 0, 1, "its memory of the square"),
    REAL("optimizer.adam.eps", optimizer.adam.eps, PLAN | POSITIVE, "1e-8", 0, 1, "its least divisor"),

    RULES("tensors", tensors, PLAN, "[]",
          "rules for tensors by their names: `update: full` lets them travel in full precision, `decay` says whether "
          "they "
          "have weight decay"),
    REAL("full.lr", full.lr, PLAN | POSITIVE, "0.1", 0, RATE_MAX,
         "SGD rate of tensors that travel in full precision (`tensors`); it follows `optimizer.sign.schedule`"),

    STRING("server.listen", server.listen, 0, "127.0.0.1:7700", "HOST:PORT where the server waits for workers"),
    STRING(
        "server.http", server.http, 0, SP_HTTP_AUTO,
        "HOST:PORT of the dashboard and of what monitoring reads; `auto`: 127.0.0.1:7701, or any free port if that is "
        "taken; `off`: none"),
    CHOICE("server.close", server.close, 0, "all", closes,
           "when a round closes: `all` live workers are in, or a quorum: `close: {quorum: 3, deadline: adaptive}`"),
    UINT("server.close.quorum", server.quorum, 0, "0", 0, SP_WORKERS_MAX,
         "this many workers are enough once the deadline has passed; 0: with `close: all`"),
    CHOICE("server.close.deadline", server.deadline, 0, "adaptive", deadlines,
           "how long a quorum waits for the others: learned from recent arrivals"),
    UINT("server.min_live", server.min_live, 0, "1", 1, SP_WORKERS_MAX, "with fewer live workers the job waits"),
    REAL("server.start_timeout", server.start_timeout, POSITIVE, "120", 0, SECONDS_MAX,
         "seconds after which the job starts with `server.min_live` workers"),
    REAL("server.init_timeout", server.init_timeout, POSITIVE, "60", 0, SECONDS_MAX,
         "seconds that a worker has to send the initial weights"),
    REAL("server.evaluate_timeout", server.evaluate_timeout, POSITIVE, "120", 0, SECONDS_MAX,
         "seconds that an evaluation may take"),
    REAL("server.rejoin_timeout", server.rejoin_timeout, 0, "10", 0, SECONDS_MAX,
         "seconds that a round waits for the workers of the one before, after the server was restarted or had lost all "
         "of them"),
    REAL("server.heartbeat.interval", server.heartbeat_interval, POSITIVE, "2", 0, SECONDS_MAX,
         "seconds between signs of life on a silent connection"),
    REAL("server.heartbeat.timeout", server.heartbeat_timeout, POSITIVE, "15", 0, SECONDS_MAX,
         "seconds of silence after which a peer counts as lost; at least twice the interval"),

    SWITCH("server.journal.enabled", server.journal.enabled, 0, "true",
           "write every round's update to the journal, so that a server that is killed goes on after the last round"),
    CHOICE("server.journal.fsync", server.journal.fsync, 0, "interval", fsyncs,
           "when the journal is forced to the disk: `always` before workers may apply a round, at an `interval`, or "
           "`never`, which leaves it to the system"),
    UINT("server.journal.interval_ms", server.journal.interval_ms, 0, "1000", 1, 1e6,
         "with `fsync: interval`: milliseconds of rounds that a machine's death may cost"),
    SWITCH("server.journal.keep_history", server.journal.keep_history, 0, "false",
           "keep the journal from the first round on, so that `signpost replay` can make the weights of any round"),
    UINT(
        "server.journal.max_bytes", server.journal.max_bytes, 0, "1073741824", 0, BYTES_MAX,
        "when the journal is larger than this a checkpoint is made, and what comes before the oldest is deleted; 0: no "
        "limit"),
    CHOICE("server.journal.on_error", server.journal.on_error, 0, "continue", on_errors,
           "when the journal or a checkpoint cannot be written: go on without until it can be, or stop the job"),
    SWITCH("server.checkpoint.enabled", server.checkpoint.enabled, 0, "true",
           "write checkpoints, from which a job goes on; the journal needs them"),
    UINT("server.checkpoint.every", server.checkpoint.every, 0, "0", 0, ROUNDS_MAX,
         "rounds between checkpoints; 0: not by rounds"),
    REAL("server.checkpoint.seconds", server.checkpoint.seconds, 0, "300", 0, SECONDS_MAX,
         "seconds between checkpoints; 0: not by time"),
    UINT("server.checkpoint.keep", server.checkpoint.keep, 0, "3", 1, 1000,
         "how many of the last checkpoints are kept"),
    CHOICE("server.quarantine", server.quarantine, 0, "warn", quarantines,
           "what happens to a worker whose votes oppose the others' (`data.shards: iid` only): `off`, `warn`, or "
           "`exclude` it from the vote"),
    CHOICE(
        "server.statistics", server.statistics, 0, "mean", statistics_rules,
        "how the workers' statistics are combined: `mean`, or `robust`, which forged ones hardly move (for 5 workers "
        "and more, with `data.shards: iid`)"),

    UINT("server.limits.connections", server.limits.connections, 0, "2048", 1, 65536,
         "connections at once; further ones are sent away (`server/limit.h` has all limits)"),
    UINT("server.limits.handshakes", server.limits.handshakes, 0, "256", 1, 65536,
         "connections at once whose handshake is not over; for one more the oldest of the address with most of them is "
         "sent away"),
    UINT("server.limits.joins", server.limits.joins, 0, "200", 1, 1000000,
         "connections a second from one address (IPv6: from one /64), up to four seconds' worth at once; further ones "
         "are sent away"),
    REAL("server.limits.buffered", server.limits.buffered, 0, "0", 0, 1e9,
         "MB that may wait to be sent to all workers together; above it, the one for which most waits is sent away; 0: "
         "half of the machine's memory"),

    STRING("security.token_file", security.token_file, SP_KEY_PATH, "",
           "file with the secret that server and workers share (`signpost token FILE` makes one); empty: none, and the "
           "server listens on loopback only"),
    STRING("security.operator_token_file", security.operator_token_file, SP_KEY_PATH, "",
           "file with another secret, for operators over the network; empty: the server takes none"),
    STRING("security.http_token_file", security.http_token_file, SP_KEY_PATH, "",
           "file with a secret that `server.http` asks for, which is needed where other machines can reach it; empty: "
           "none"),
    SWITCH("security.insecure", security.insecure, 0, "false",
           "`true`: listen off loopback without TLS, although nothing protects the frames after the handshake then"),
    STRING("security.tls.cert", security.tls.cert, SP_KEY_PATH, "",
           "PEM file with this side's certificate, and intermediate ones behind it: all connections then speak TLS 1.3 "
           "(`deploy/make-certs.sh` makes certificates for a cluster); empty: no TLS"),
    STRING("security.tls.key", security.tls.key, SP_KEY_PATH, "",
           "PEM file with its private key, which nobody else may read"),
    STRING("security.tls.ca", security.tls.ca, SP_KEY_PATH, "",
           "PEM file with the certificates of who may sign the other side's"),
    STRING("security.tls.name", security.tls.name, 0, "",
           "of workers: the name or address that the server's certificate must have; empty: the host in the server's "
           "address"),

    REAL("worker.give_up", worker.give_up, 0, "0", 0, SECONDS_MAX,
         "seconds without a server after which a worker gives up; 0: never"),
    UINT(
        "worker.momentum.every", worker.momentum.every, 0, "5", 0, ROUNDS_MAX,
        "rounds after which a worker saves its momentum, at most once a second, for itself if it is killed and started "
        "again; 0: never"),
    STRING("worker.momentum.folder", worker.momentum.folder, SP_KEY_PATH, "",
           "where, in a file `momentum-SLOT`; empty: `runs/<job>`"),
};

const size_t sp_job_keys_count = sizeof sp_job_keys / sizeof sp_job_keys[0];

bool sp_path_is_under(const char *path, const char *group)
{
    size_t length = strlen(group);

    return strncmp(path, group, length) == 0 && path[length] == '.';
}

const struct sp_key *sp_job_key(const char *path)
{
    for (size_t i = 0; i < sp_job_keys_count; i++)
        if (strcmp(sp_job_keys[i].path, path) == 0)
            return &sp_job_keys[i];
    return NULL;
}

void sp_job_init(struct sp_job *job)
{
    memset(job, 0, sizeof *job);
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const struct sp_key *key = &sp_job_keys[i];

        if (key->fallback != NULL)
            sp_assert(sp_job_set(job, key->path, key->fallback, NULL) == SP_OK);
    }
    (void)snprintf(job->folder, sizeof job->folder, ".");
}

int sp_job_set(struct sp_job *job, const char *path, const char *value, struct sp_error *error)
{
    const struct sp_key *key = sp_job_key(path);
    int rc;

    if (key == NULL)
        return sp_words_refuse_path(path, error);
    rc = sp_text_parse(key, (char *)job + key->offset, value);
    if (rc != SP_OK)
        return sp_words_refuse_value(key, rc, value, error);
    if (key->offset == offsetof(struct sp_job, server.close) && job->server.close == SP_CLOSE_ALL)
        job->server.quorum = 0;
    if (key->offset == offsetof(struct sp_job, server.quorum) && job->server.quorum > 0)
        job->server.close = SP_CLOSE_QUORUM;
    return SP_OK;
}

bool sp_job_has_data(const struct sp_job *job, enum sp_data_part part)
{
    const bool train = part == SP_DATA_TRAIN;

    if (job->data.format == SP_DATA_IDX)
        return (train ? job->data.train_images : job->data.test_images)[0] != '\0';
    return (train ? job->data.train_files : job->data.test_files)[0] != '\0';
}

double sp_job_divide(const struct sp_job *job)
{
    if (job->data.divide != 0.0)
        return job->data.divide;
    return job->data.format == SP_DATA_CSV ? 1.0 : 255.0;
}

int sp_job_need_data(const struct sp_job *job, struct sp_error *error)
{
    if (sp_job_has_data(job, SP_DATA_TRAIN))
        return SP_OK;
    return sp_error_set(
        error, SP_E_MISSING,
        "job '%s' names no data (%s): signpost-worker cannot train it; its workers are programs with "
        "data of their own, by libsignpost",
        job->job, job->data.format == SP_DATA_IDX ? "data.train.images and data.train.labels" : "data.train.files");
}

void sp_job_path(const struct sp_job *job, const char *path, char *out, size_t bytes)
{
    const char *folder = job->folder, *slash = "/";
    int length;

    if (path[0] == '/' || path[0] == '\0' || strcmp(folder, ".") == 0)
        folder = slash = "";
    else if (folder[0] == '\0' || folder[strlen(folder) - 1] == '/')
        slash = "";
    length = snprintf(out, bytes, "%s%s%s", folder, slash, path);
    if (bytes > 0 && (length < 0 || (size_t)length >= bytes))
        out[0] = '\0'; /* half a path could name another file */
}

bool sp_job_tls_paths(const struct sp_job *job, struct sp_tls_paths *paths)
{
    sp_job_path(job, job->security.tls.cert, paths->cert, sizeof paths->cert);
    sp_job_path(job, job->security.tls.key, paths->key, sizeof paths->key);
    sp_job_path(job, job->security.tls.ca, paths->ca, sizeof paths->ca);
    return job->security.tls.cert[0] != '\0';
}

/* T = epochs * ceil(N / (workers * batch)): design.md, section 4. */

double sp_job_whole_rounds(double rounds)
{
    return ceil(rounds - rounds * 0x1p-50);
}

uint32_t sp_job_epoch_rounds(const struct sp_job *job, uint64_t examples)
{
    const uint64_t together = (uint64_t)job->workers * job->train.batch;
    uint64_t rounds;

    sp_assert(together > 0);
    rounds = examples / together + (examples % together != 0);
    if (rounds == 0)
        return 1;
    return rounds > UINT32_MAX ? UINT32_MAX : (uint32_t)rounds;
}

uint32_t sp_job_rounds(const struct sp_job *job, uint64_t examples)
{
    double rounds;

    if (job->train.rounds > 0)
        return job->train.rounds;
    rounds = sp_job_whole_rounds(job->train.epochs * sp_job_epoch_rounds(job, examples));
    if (!(rounds >= 1))
        return 1;
    return rounds >= (double)UINT32_MAX ? UINT32_MAX : (uint32_t)rounds;
}
