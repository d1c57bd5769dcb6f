#include "common/job.h"

#include "common/address.h"
#include "common/check.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 64 /* more than any path in the table has */

_Static_assert(sizeof(enum sp_switch_when) == sizeof(unsigned), "choices are stored as unsigned");
_Static_assert(offsetof(struct sp_job, model.hidden_count) ==
                   offsetof(struct sp_job, model.hidden) + sizeof(((struct sp_job *)0)->model.hidden),
               "the count of a list follows its items");

/* Each list of choices is in the order of its enum. */
static const char *const formats[] = {"idx", NULL};
static const char *const shards[] = {"iid", "by_label", NULL};
static const char *const models[] = {"softmax", "mlp", NULL};
static const char *const modes[] = {"hybrid", NULL};
static const char *const schedules[] = {"constant", "linear", NULL};
static const char *const dither_schedules[] = {"none", "constant", "exponential", "linear", "cosine", "inverse", NULL};
static const char *const dither_scales[] = {"job", "absolute", NULL};
static const char *const whens[] = {"never", "at", "auto", NULL};
static const char *const lambdas[] = {"paper", "ratio", "denoised", "norm", "norm_tensor", NULL};
static const char *const rates[] = {"frozen", NULL};
static const char *const sgd_schedules[] = {"continue", "constant", NULL};
static const char *const wires[] = {"f32", NULL};
static const char *const momenta[] = {"ema", "none", NULL};
static const char *const aggregates[] = {"mean", NULL};
static const char *const closes[] = {"all", "quorum", NULL};
static const char *const deadlines[] = {"adaptive", NULL};

/* Numbers are bounded well inside what float32 and milliseconds in 64 bits can hold, so that nobody has to check again.
 */
#define RATE_MAX 1e6
#define SECONDS_MAX 1e6
#define EPOCHS_MAX 1e6
#define PIXEL_MAX 1e6
#define BATCH_MAX 1e6
#define ROUNDS_MAX 4e9
#define UINT64_AS_REAL 0x1p64

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

const struct sp_key sp_job_keys[] = {
    STRING("job", job, REQUIRED | PLAN | SP_KEY_NAME, NULL, "name of the job; its run folder is `runs/<job>`"),
    UINT("seed", seed, PLAN, "1", 0, UINT64_AS_REAL, "where all randomness of the job comes from"),
    UINT("workers", workers, PLAN, "1", 1, SP_WORKERS_MAX, "number of workers that train together"),

    CHOICE("data.format", data.format, 0, "idx", formats, "format of the data files"),
    STRING("data.train.images", data.train_images, 0, "",
           "images to train on; a path relative to the job file, or absolute; empty: the workers are programs of your "
           "own, with data of their own"),
    STRING("data.train.labels", data.train_labels, 0, "", "their labels; given if and only if the images are"),
    STRING("data.test.images", data.test_images, 0, "", "images to evaluate on; empty: no evaluation"),
    STRING("data.test.labels", data.test_labels, 0, "", "their labels; given if and only if the images are"),
    REAL("data.scale.divide", data.divide, PLAN | POSITIVE, "255", 0, PIXEL_MAX,
         "a pixel x becomes (x / divide - mean) / std"),
    REAL("data.scale.mean", data.mean, PLAN, "0", -PIXEL_MAX, PIXEL_MAX, "see `data.scale.divide`"),
    REAL("data.scale.std", data.std, PLAN | POSITIVE, "1", 0, PIXEL_MAX, "see `data.scale.divide`"),
    CHOICE(
        "data.shards", data.shards, PLAN, "iid", shards,
        "`iid`: every worker draws from all training data; `by_label`: each sees only its own part of them, cut after "
        "sorting by label"),

    CHOICE("model.type", model.type, PLAN, "mlp", models,
           "`softmax`: one linear layer; `mlp`: hidden layers with ReLU before it"),
    UINTS("model.hidden", model.hidden, PLAN, "[64]", 1, 65536, "units of each hidden layer of an `mlp`"),
    UINT("model.threads", model.threads, 0, "1", 1, 1024, "threads of OpenBLAS in each worker"),

    UINT("train.batch", train.batch, PLAN, "16", 1, BATCH_MAX, "examples per worker and round"),
    REAL("train.epochs", train.epochs, PLAN | POSITIVE, "10", 0, EPOCHS_MAX,
         "passes over the training data; fractions are allowed"),
    UINT("train.rounds", train.rounds, PLAN, "0", 0, ROUNDS_MAX, "length of the job in rounds; 0: by `train.epochs`"),
    UINT("train.report", train.report, 0, "50", 1, ROUNDS_MAX, "rounds between progress lines"),
    REAL("train.evaluate", train.evaluate, 0, "1", 0, EPOCHS_MAX, "epochs between evaluations; 0: at the end only"),

    CHOICE("optimizer.mode", optimizer.mode, PLAN, "hybrid", modes, "`hybrid`: sign updates first, then SGD"),
    REAL("optimizer.beta1", optimizer.beta1, PLAN | SP_KEY_BELOW, "0.9", 0, 1, "momentum of the gradient"),
    REAL("optimizer.beta2", optimizer.beta2, PLAN | SP_KEY_BELOW, "0.99", 0, 1,
         "memory of the statistics that set the SGD rate"),
    REAL("optimizer.weight_decay", optimizer.weight_decay, PLAN, "0", 0, 1,
         "each round multiplies weights by 1 - rate * weight_decay; biases are left alone"),
    REAL("optimizer.sign.lr", optimizer.sign.lr, PLAN | POSITIVE, "1e-3", 0, RATE_MAX,
         "learning rate of the sign phase: the step of every weight"),
    CHOICE("optimizer.sign.schedule", optimizer.sign.schedule, PLAN, "linear", schedules,
           "how that rate changes over the job"),
    REAL("optimizer.dither.sigma0", optimizer.dither.sigma0, PLAN, "0", 0, RATE_MAX,
         "strength of the noise before the sign; 0: none"),
    CHOICE("optimizer.dither.schedule", optimizer.dither.schedule, PLAN, "exponential", dither_schedules,
           "how the noise changes over the job"),
    CHOICE("optimizer.dither.scale", optimizer.dither.scale, PLAN, "job", dither_scales,
           "`job`: sigma0 is relative to the momentum's root mean square; `absolute`: it is not"),
    CHOICE("optimizer.switch.when", optimizer.switch_.when, PLAN, "auto", whens,
           "when SGD takes over: `auto` as soon as the loss stops falling, `at` a moment given below, or `never`"),
    REAL("optimizer.switch.epoch", optimizer.switch_.epoch, PLAN, "0", 0, EPOCHS_MAX,
         "with `when: at`: after this many epochs"),
    UINT("optimizer.switch.step", optimizer.switch_.step, PLAN, "0", 0, ROUNDS_MAX,
         "with `when: at`: after this many rounds"),
    REAL("optimizer.switch.fraction", optimizer.switch_.fraction, PLAN, "0", 0, 1,
         "with `when: at`: after this part of the job"),
    SWITCH("optimizer.switch.dry_run", optimizer.switch_.dry_run, PLAN, "false",
           "only say when the switch would come, and stay with sign updates"),
    CHOICE("optimizer.sgd.lambda", optimizer.sgd.lambda, PLAN, "norm_tensor", lambdas,
           "how the SGD rate is calibrated from the sign phase"),
    REAL("optimizer.sgd.scale", optimizer.sgd.scale, PLAN | POSITIVE, "0.6", 0, RATE_MAX,
         "factor of the rate with `norm` and `norm_tensor`"),
    REAL("optimizer.sgd.lr", optimizer.sgd.lr, PLAN, "0", 0, RATE_MAX, "a fixed SGD rate; 0: calibrated"),
    CHOICE("optimizer.sgd.rate", optimizer.sgd.rate, PLAN, "frozen", rates, "`frozen`: calibrated once, at the switch"),
    CHOICE("optimizer.sgd.schedule", optimizer.sgd.schedule, PLAN, "continue", sgd_schedules,
           "`continue`: the sign phase's schedule goes on through the switch; `constant`: the rate stays"),
    CHOICE("optimizer.sgd.wire", optimizer.sgd.wire, PLAN, "f32", wires, "how values travel in the SGD phase"),
    CHOICE("optimizer.sgd.momentum", optimizer.sgd.momentum, PLAN, "ema", momenta,
           "what workers push in the SGD phase: `ema` the momentum, `none` the gradient"),
    CHOICE("optimizer.sgd.aggregate", optimizer.sgd.aggregate, PLAN, "mean", aggregates,
           "how the server combines what workers push"),

    STRING("server.listen", server.listen, 0, "127.0.0.1:7700", "HOST:PORT where the server waits for workers"),
    STRING("server.http", server.http, 0, "", "HOST:PORT for people and monitoring; accepted, not served yet"),
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
    REAL("server.heartbeat.interval", server.heartbeat_interval, POSITIVE, "2", 0, SECONDS_MAX,
         "seconds between signs of life on a silent connection"),
    REAL("server.heartbeat.timeout", server.heartbeat_timeout, POSITIVE, "15", 0, SECONDS_MAX,
         "seconds of silence after which a peer counts as lost; at least twice the interval"),

    STRING("security.token_file", security.token_file, 0, "",
           "file with the secret that server and workers share (`signpost token FILE` makes one); empty: none, and the "
           "server listens on loopback only"),
    STRING("security.operator_token_file", security.operator_token_file, 0, "",
           "file with another secret, for operators over the network; empty: the server takes none"),
    SWITCH("security.insecure", security.insecure, 0, "false",
           "`true`: listen off loopback although nothing protects the frames after the handshake yet"),

    REAL("worker.give_up", worker.give_up, 0, "0", 0, SECONDS_MAX,
         "seconds without a server after which a worker gives up; 0: never"),
};

const size_t sp_job_keys_count = sizeof sp_job_keys / sizeof sp_job_keys[0];

/* What the design names but this version does not do yet. A path without value stands for all keys under it as well. */
static const struct {
    const char *path, *value;
} later[] = {
    {"model.width", NULL},
    {"optimizer.mode", "sgd"},
    {"optimizer.mode", "adam"},
    {"optimizer.margin", NULL},
    {"optimizer.sign.schedule", "cosine"},
    {"optimizer.sign.schedule", "step"},
    {"optimizer.dither.scale", "tensor"},
    {"optimizer.switch.when", "swats"},
    {"optimizer.switch.when", "manual"},
    {"optimizer.sgd.rate", "tracking"},
    {"optimizer.sgd.schedule", "linear"},
    {"optimizer.sgd.schedule", "cosine"},
    {"optimizer.sgd.schedule", "step"},
    {"optimizer.sgd.wire", "bf16"},
    {"optimizer.sgd.wire", "i8"},
    {"optimizer.sgd.aggregate", "median"},
    {"optimizer.sgd.aggregate", "trimmed_mean"},
    {"server.journal", NULL},
    {"server.checkpoint", NULL},
    {"server.quarantine", NULL},
    {"tensors", NULL},
    {"full", NULL},
    {"security.tls", NULL},
};

static bool is_under(const char *path, const char *group)
{
    size_t length = strlen(group);

    return strncmp(path, group, length) == 0 && path[length] == '.';
}

static bool is_later_key(const char *path)
{
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        if (later[i].value == NULL && (strcmp(path, later[i].path) == 0 || is_under(path, later[i].path)))
            return true;
    return false;
}

static bool is_later_value(const char *path, const char *value)
{
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        if (later[i].value != NULL && strcmp(path, later[i].path) == 0 && strcmp(value, later[i].value) == 0)
            return true;
    return false;
}

const struct sp_key *sp_job_key(const char *path)
{
    for (size_t i = 0; i < sp_job_keys_count; i++)
        if (strcmp(sp_job_keys[i].path, path) == 0)
            return &sp_job_keys[i];
    return NULL;
}

static void *member_of(struct sp_job *job, const struct sp_key *key)
{
    return (char *)job + key->offset;
}

static const void *value_of(const struct sp_job *job, const struct sp_key *key)
{
    return (const char *)job + key->offset;
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

/* Text of values: from text, strictly. */

/* Numbers are read and written with a point, whatever the locale of the program that the library is part of. */
static locale_t enter_c_locale(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);

    return c == (locale_t)0 ? (locale_t)0 : uselocale(c);
}

static void leave_c_locale(locale_t before)
{
    if (before != (locale_t)0)
        freelocale(uselocale(before));
}

/* Decimal digits only; a leading zero is refused because YAML 1.1 readers take it for octal. */
static int parse_uint(const char *text, uint64_t *value)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    size_t length = strspn(digits, "0123456789");
    uint64_t sum = 0;

    if (length == 0 || digits[length] != '\0' || (digits[0] == '0' && length > 1))
        return SP_E_SYNTAX;
    if (text[0] == '-')
        return SP_E_RANGE;
    for (size_t i = 0; i < length; i++) {
        if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(digits[i] - '0'), &sum))
            return SP_E_RANGE;
    }
    *value = sum;
    return SP_OK;
}

/* [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. Checked here because strtod() also
 * takes "nan", "inf", hexadecimal and leading blanks. */
static bool is_decimal(const char *text)
{
    size_t whole, part = 0;

    if (*text == '+' || *text == '-')
        text++;
    whole = strspn(text, "0123456789");
    text += whole;
    if (*text == '.') {
        part = strspn(++text, "0123456789");
        text += part;
    }
    if (whole + part == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '+' || *text == '-')
            text++;
        whole = strspn(text, "0123456789");
        if (whole == 0)
            return false;
        text += whole;
    }
    return *text == '\0';
}

static int parse_real(const char *text, double *value)
{
    locale_t before;

    if (!is_decimal(text))
        return SP_E_SYNTAX;
    before = enter_c_locale();
    *value = strtod(text, NULL) + 0.0; /* -0 becomes 0 */
    leave_c_locale(before);
    return isfinite(*value) ? SP_OK : SP_E_RANGE;
}

static int set_string(const struct sp_key *key, char *member, const char *text)
{
    size_t length = strlen(text);

    if (length >= key->bytes)
        return SP_E_RANGE;
    if (length == 0 && (key->flags & SP_KEY_REQUIRED) != 0)
        return SP_E_MISSING;
    for (size_t i = 0; i < length; i++) {
        bool word = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z') ||
                    (text[i] >= 'a' && text[i] <= 'z');

        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return SP_E_SYNTAX;
        if ((key->flags & SP_KEY_NAME) != 0 && !word && (i == 0 || strchr("._-", text[i]) == NULL))
            return SP_E_SYNTAX;
    }
    memset(member, 0, key->bytes);
    memcpy(member, text, length);
    return SP_OK;
}

static bool uint_in_range(const struct sp_key *key, uint64_t value)
{
    return (double)value >= key->min && (key->max >= UINT64_AS_REAL || (double)value <= key->max);
}

static int set_uint(const struct sp_key *key, void *member, const char *text)
{
    uint64_t value;
    int rc = parse_uint(text, &value);

    if (rc != SP_OK)
        return rc;
    if (!uint_in_range(key, value))
        return SP_E_RANGE;
    if (key->bytes == sizeof(uint64_t))
        *(uint64_t *)member = value;
    else
        *(uint32_t *)member = (uint32_t)value;
    return SP_OK;
}

static int set_real(const struct sp_key *key, double *member, const char *text)
{
    double value;
    int rc = parse_real(text, &value);

    if (rc != SP_OK)
        return rc;
    if (value < key->min || value > key->max)
        return SP_E_RANGE;
    if ((key->flags & SP_KEY_POSITIVE) != 0 && value <= key->min)
        return SP_E_RANGE;
    if ((key->flags & SP_KEY_BELOW) != 0 && value >= key->max)
        return SP_E_RANGE;
    *member = value;
    return SP_OK;
}

static int set_bool(bool *member, const char *text)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return SP_E_SYNTAX;
    *member = text[0] == 't';
    return SP_OK;
}

static int set_choice(const struct sp_key *key, unsigned *member, const char *text)
{
    for (unsigned i = 0; key->choices[i] != NULL; i++) {
        if (strcmp(key->choices[i], text) == 0) {
            *member = i;
            return SP_OK;
        }
    }
    return is_later_value(key->path, text) ? SP_E_UNSUPPORTED : SP_E_RANGE;
}

/* One item of a list, up to the next comma or bracket; *text then stands there. */
static int parse_item(const struct sp_key *key, const char **text, uint32_t *item)
{
    char word[24];
    uint64_t value;
    size_t length;
    int rc;

    *text += strspn(*text, " ");
    length = strcspn(*text, " ,]");
    if (length >= sizeof word)
        return SP_E_RANGE;
    memcpy(word, *text, length);
    word[length] = '\0';
    *text += length;
    *text += strspn(*text, " ");
    rc = parse_uint(word, &value);
    if (rc != SP_OK)
        return rc;
    if (!uint_in_range(key, value))
        return SP_E_RANGE;
    *item = (uint32_t)value;
    return SP_OK;
}

static int set_list(const struct sp_key *key, uint32_t *member, const char *text)
{
    uint32_t items[SP_HIDDEN_MAX] = {0};
    uint32_t count = 0;

    sp_assert(key->bytes == sizeof items);
    if (*text++ != '[')
        return SP_E_SYNTAX;
    text += strspn(text, " ");
    if (*text != ']') {
        for (;; text++) {
            int rc = count == SP_HIDDEN_MAX ? SP_E_RANGE : parse_item(key, &text, &items[count++]);

            if (rc != SP_OK)
                return rc;
            if (*text != ',')
                break;
        }
    }
    if (strcmp(text, "]") != 0)
        return SP_E_SYNTAX;
    memcpy(member, items, sizeof items);
    member[SP_HIDDEN_MAX] = count;
    return SP_OK;
}

static int set_member(struct sp_job *job, const struct sp_key *key, const char *text)
{
    void *member = member_of(job, key);

    switch (key->type) {
    case SP_KEY_STRING:
        return set_string(key, member, text);
    case SP_KEY_UINT:
        return set_uint(key, member, text);
    case SP_KEY_REAL:
        return set_real(key, member, text);
    case SP_KEY_BOOL:
        return set_bool(member, text);
    case SP_KEY_CHOICE:
        return set_choice(key, member, text);
    case SP_KEY_UINT_LIST:
        return set_list(key, member, text);
    }
    return SP_E_SYNTAX;
}

/* Words. */

const char *sp_job_quote(const char *text, char out[SP_QUOTED_BYTES])
{
    size_t used = 0;

    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (used > SP_QUOTED_BYTES - 8) {
            while (used > 0 && ((unsigned char)out[used - 1] & 0xc0) == 0x80) /* no half of a UTF-8 character */
                used--;
            if (used > 0 && (unsigned char)out[used - 1] >= 0xc0)
                used--;
            used += (size_t)snprintf(out + used, SP_QUOTED_BYTES - used, "...");
            break;
        }
        if (c < 0x20 || c == 0x7f)
            used += (size_t)snprintf(out + used, SP_QUOTED_BYTES - used, "\\x%02X", c);
        else
            out[used++] = (char)c;
    }
    out[used] = '\0';
    return out;
}

static void allowed_choices(const struct sp_key *key, char *text, size_t bytes)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; key->choices[i] != NULL && used < bytes; i++) {
        const char *joint = i == 0 ? "" : key->choices[i + 1] == NULL ? " or " : ", ";

        used += (size_t)snprintf(text + used, bytes - used, "%s%s", joint, key->choices[i]);
    }
}

static void allowed_real(const struct sp_key *key, char *text, size_t bytes)
{
    const char *min = (key->flags & SP_KEY_POSITIVE) != 0 ? "more than" : "at least";
    const char *max = (key->flags & SP_KEY_BELOW) != 0 ? "less than" : "at most";

    (void)snprintf(text, bytes, "a number of %s %.9g and %s %.9g", min, key->min, max, key->max);
}

static void allowed_string(const struct sp_key *key, char *text, size_t bytes)
{
    const char *some = (key->flags & SP_KEY_REQUIRED) != 0 ? "1 to" : "at most";

    if ((key->flags & SP_KEY_NAME) != 0)
        (void)snprintf(text, bytes,
                       "a name of %s %zu letters, digits, '.', '_' and '-' that begins with a letter or digit", some,
                       key->bytes - 1);
    else
        (void)snprintf(text, bytes, "a text of %s %zu bytes without control characters", some, key->bytes - 1);
}

void sp_job_allowed(const struct sp_key *key, char *text, size_t bytes)
{
    switch (key->type) {
    case SP_KEY_STRING:
        allowed_string(key, text, bytes);
        break;
    case SP_KEY_UINT:
        if (key->max >= UINT64_AS_REAL)
            (void)snprintf(text, bytes, "a whole number from %.0f to %" PRIu64, key->min, UINT64_MAX);
        else
            (void)snprintf(text, bytes, "a whole number from %.0f to %.0f", key->min, key->max);
        break;
    case SP_KEY_REAL:
        allowed_real(key, text, bytes);
        break;
    case SP_KEY_BOOL:
        (void)snprintf(text, bytes, "true or false");
        break;
    case SP_KEY_CHOICE:
        allowed_choices(key, text, bytes);
        break;
    case SP_KEY_UINT_LIST:
        (void)snprintf(text, bytes, "a list of at most %d whole numbers from %.0f to %.0f, such as [64, 32]",
                       SP_HIDDEN_MAX, key->min, key->max);
        break;
    }
}

/* The nearest known path. */

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Edits from a to b, each an insertion, a deletion, a replacement or a swap of two neighbours ('optimal string
 * alignment'). Both are shorter than PATH_BYTES. */
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned rows[3][PATH_BYTES];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    size_t length = strlen(b);

    memset(rows, 0, sizeof rows);
    for (size_t j = 0; j <= length; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= strlen(a); i++) {
        unsigned *oldest = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= length; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        before = last;
        last = row;
        row = oldest;
    }
    return last[length];
}

struct nearest {
    char path[PATH_BYTES]; /* "" if none is near enough */
    unsigned distance;
};

/* Counts edits only from the first component that differs, and allows one in three characters. */
static void consider(const char *path, const char *candidate, struct nearest *nearest)
{
    size_t same = 0, length;
    unsigned distance;

    if (is_under(path, candidate)) /* a group that was found is not what was meant */
        return;
    for (size_t i = 0; path[i] == candidate[i] && path[i] != '\0'; i++)
        if (path[i] == '.')
            same = i + 1;
    length = strlen(path + same);
    distance = edit_distance(path + same, candidate + same);
    if (distance < nearest->distance && distance <= least((unsigned)(length + 2) / 3, 4)) {
        nearest->distance = distance;
        (void)snprintf(nearest->path, sizeof nearest->path, "%s", candidate);
    }
}

/* Whether `candidate` is `tail`, or ends with it after a dot. */
static bool ends_with(const char *candidate, const char *tail)
{
    size_t length = strlen(candidate), tail_length = strlen(tail);

    if (length < tail_length || strcmp(candidate + length - tail_length, tail) != 0)
        return false;
    return length == tail_length || candidate[length - tail_length - 1] == '.';
}

/* A key that was put in the wrong place, or without its groups: found by its last components, if only one key has them.
 */
static void consider_tails(const char *path, struct nearest *nearest)
{
    for (const char *tail = path; tail != NULL; tail = strchr(tail, '.')) {
        const char *found = NULL;
        unsigned count = 0;

        tail += *tail == '.';
        for (size_t i = 0; i < sp_job_keys_count; i++) {
            if (ends_with(sp_job_keys[i].path, tail)) {
                found = sp_job_keys[i].path;
                count++;
            }
        }
        if (count == 1) {
            (void)snprintf(nearest->path, sizeof nearest->path, "%s", found);
            return;
        }
    }
}

static void find_nearest(const char *path, struct nearest *nearest)
{
    nearest->path[0] = '\0';
    nearest->distance = PATH_BYTES;
    if (path[0] == '\0' || strlen(path) >= PATH_BYTES)
        return;
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const char *known = sp_job_keys[i].path;

        consider(path, known, nearest);
        for (const char *dot = strchr(known, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
            char group[PATH_BYTES];

            (void)snprintf(group, sizeof group, "%.*s", (int)(dot - known), known);
            consider(path, group, nearest);
        }
    }
    if (nearest->path[0] == '\0')
        consider_tails(path, nearest);
}

static int refuse_path(const char *path, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES];
    struct nearest nearest;

    sp_job_quote(path, quoted);
    if (is_later_key(path))
        return sp_error_set(error, SP_E_UNSUPPORTED, "'%s' is not available in this version; leave it out", quoted);
    for (size_t i = 0; i < sp_job_keys_count; i++)
        if (is_under(sp_job_keys[i].path, path))
            return sp_error_set(error, SP_E_UNKNOWN, "'%s' is a group of keys; name one of them, such as '%s'", quoted,
                                sp_job_keys[i].path);
    find_nearest(path, &nearest);
    if (nearest.path[0] != '\0')
        return sp_error_set(error, SP_E_UNKNOWN, "unknown key '%s'; did you mean '%s'?", quoted, nearest.path);
    return sp_error_set(error, SP_E_UNKNOWN, "unknown key '%s'; README.md lists all keys", quoted);
}

static int refuse_value(const struct sp_key *key, int code, const char *value, struct sp_error *error)
{
    char quoted[SP_QUOTED_BYTES], allowed[256];

    sp_job_quote(value, quoted);
    sp_job_allowed(key, allowed, sizeof allowed);
    if (code == SP_E_UNSUPPORTED)
        return sp_error_set(error, SP_E_UNSUPPORTED, "%s: '%s' is not available in this version; it must be %s",
                            key->path, quoted, allowed);
    return sp_error_set(error, (enum sp_code)code, "%s: must be %s, not '%s'", key->path, allowed, quoted);
}

int sp_job_set(struct sp_job *job, const char *path, const char *value, struct sp_error *error)
{
    const struct sp_key *key = sp_job_key(path);
    int rc;

    if (key == NULL)
        return refuse_path(path, error);
    rc = set_member(job, key, value);
    if (rc != SP_OK)
        return refuse_value(key, rc, value, error);
    if (key->offset == offsetof(struct sp_job, server.close) && job->server.close == SP_CLOSE_ALL)
        job->server.quorum = 0;
    if (key->offset == offsetof(struct sp_job, server.quorum) && job->server.quorum > 0)
        job->server.close = SP_CLOSE_QUORUM;
    return SP_OK;
}

static void get_real(double value, char *text, size_t bytes)
{
    static const int digits[] = {9, 15, 17};
    locale_t before = enter_c_locale();

    for (size_t i = 0; i < sizeof digits / sizeof digits[0]; i++) {
        (void)snprintf(text, bytes, "%.*g", digits[i], value);
        if (strtod(text, NULL) == value)
            break;
    }
    leave_c_locale(before);
}

static void get_list(const uint32_t *items, char *text, size_t bytes)
{
    const uint32_t count = items[SP_HIDDEN_MAX];
    size_t used = (size_t)snprintf(text, bytes, "[");

    for (uint32_t i = 0; i < count && i < SP_HIDDEN_MAX && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%" PRIu32, i == 0 ? "" : ", ", items[i]);
    if (used < bytes)
        (void)snprintf(text + used, bytes - used, "]");
}

static const char *choice_name(const struct sp_key *key, unsigned value)
{
    for (unsigned i = 0; key->choices[i] != NULL; i++)
        if (i == value)
            return key->choices[i];
    return "?";
}

void sp_job_get(const struct sp_job *job, const struct sp_key *key, char *text, size_t bytes)
{
    const void *value = value_of(job, key);

    switch (key->type) {
    case SP_KEY_STRING:
        (void)snprintf(text, bytes, "%s", (const char *)value);
        break;
    case SP_KEY_UINT:
        if (key->bytes == sizeof(uint64_t))
            (void)snprintf(text, bytes, "%" PRIu64, *(const uint64_t *)value);
        else
            (void)snprintf(text, bytes, "%" PRIu32, *(const uint32_t *)value);
        break;
    case SP_KEY_REAL:
        get_real(*(const double *)value, text, bytes);
        break;
    case SP_KEY_BOOL:
        (void)snprintf(text, bytes, "%s", *(const bool *)value ? "true" : "false");
        break;
    case SP_KEY_CHOICE:
        (void)snprintf(text, bytes, "%s", choice_name(key, *(const unsigned *)value));
        break;
    case SP_KEY_UINT_LIST:
        get_list(value, text, bytes);
        break;
    }
}

/* Checks of several keys together. */

struct findings {
    void (*report)(void *arg, const char *path, const char *words);
    void *arg;
    unsigned count;
};

static void __attribute__((format(printf, 3, 4)))
find(struct findings *findings, const char *path, const char *format, ...)
{
    char words[SP_ERROR_TEXT_BYTES];
    size_t used = (size_t)snprintf(words, sizeof words, "%s: ", path);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words + used, sizeof words - used, format, args);
    va_end(args);
    findings->count++;
    if (findings->report != NULL)
        findings->report(findings->arg, path, words);
}

static void validate_pair(const char *one, const char *one_path, const char *other, const char *other_path,
                          struct findings *findings)
{
    if (one[0] != '\0' && other[0] == '\0')
        find(findings, other_path, "missing, but %s is given; give both or neither", one_path);
}

static void validate_data(const struct sp_job *job, struct findings *findings)
{
    const char *images = job->data.train_images, *labels = job->data.train_labels;

    validate_pair(images, "data.train.images", labels, "data.train.labels", findings);
    validate_pair(labels, "data.train.labels", images, "data.train.images", findings);
    images = job->data.test_images;
    labels = job->data.test_labels;
    validate_pair(images, "data.test.images", labels, "data.test.labels", findings);
    validate_pair(labels, "data.test.labels", images, "data.test.images", findings);
    if (job->model.type == SP_MODEL_MLP && job->model.hidden_count == 0)
        find(findings, "model.hidden", "an mlp needs at least one hidden layer; without one use model.type softmax");
}

static void validate_switch(const struct sp_job *job, struct findings *findings)
{
    static const char *const paths[] = {"optimizer.switch.epoch", "optimizer.switch.step", "optimizer.switch.fraction"};
    const bool given[] = {job->optimizer.switch_.epoch > 0, job->optimizer.switch_.step > 0,
                          job->optimizer.switch_.fraction > 0};
    bool at = job->optimizer.switch_.when == SP_SWITCH_AT;
    unsigned count = 0;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (!given[i])
            continue;
        count++;
        if (!at)
            find(findings, paths[i], "only has a meaning with optimizer.switch.when at; set that, or leave this out");
        else if (count > 1)
            find(findings, paths[i], "only one of optimizer.switch.epoch, step and fraction can be the moment");
    }
    if (at && count == 0)
        find(findings, "optimizer.switch.when",
             "at needs its moment: set one of optimizer.switch.epoch, step and fraction to more than 0");
}

static void validate_address(const char *path, const char *text, struct findings *findings)
{
    struct sp_address address;
    struct sp_error error;

    if (sp_address_parse(text, &address, &error) != SP_OK)
        find(findings, path, "%s", error.text);
}

static void validate_server(const struct sp_job *job, struct findings *findings)
{
    validate_address("server.listen", job->server.listen, findings);
    if (job->server.http[0] != '\0')
        validate_address("server.http", job->server.http, findings);
    if (job->server.close == SP_CLOSE_QUORUM && job->server.quorum == 0)
        find(findings, "server.close.quorum",
             "must say how many workers are enough, 1 to %" PRIu32 ": close: {quorum: N}", job->workers);
    if (job->server.quorum > job->workers)
        find(findings, "server.close.quorum", "%" PRIu32 " is more than the job's workers (%" PRIu32 ")",
             job->server.quorum, job->workers);
    if (job->server.min_live > job->workers)
        find(findings, "server.min_live", "%" PRIu32 " is more than the job's workers (%" PRIu32 ")",
             job->server.min_live, job->workers);
    if (job->server.heartbeat_timeout < 2 * job->server.heartbeat_interval)
        find(findings, "server.heartbeat.timeout", "%g seconds is less than twice server.heartbeat.interval (%g)",
             job->server.heartbeat_timeout, job->server.heartbeat_interval);
}

static void validate_security(const struct sp_job *job, struct findings *findings)
{
    if (job->security.token_file[0] != '\0' && strcmp(job->security.token_file, job->security.operator_token_file) == 0)
        find(findings, "security.operator_token_file",
             "must be another file than security.token_file: else every worker could operate the job");
}

unsigned sp_job_validate(const struct sp_job *job, void (*report)(void *arg, const char *path, const char *words),
                         void *arg)
{
    struct findings findings = {.report = report, .arg = arg};

    validate_data(job, &findings);
    validate_switch(job, &findings);
    validate_server(job, &findings);
    validate_security(job, &findings);
    return findings.count;
}

int sp_job_need_data(const struct sp_job *job, struct sp_error *error)
{
    if (job->data.train_images[0] != '\0')
        return SP_OK;
    return sp_error_set(
        error, SP_E_MISSING,
        "job '%s' names no data (data.train.images and data.train.labels): signpost-worker cannot train "
        "it; its workers are programs with data of their own, by libsignpost",
        job->job);
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

/* T = epochs * ceil(N / (workers * batch)): design.md, section 4. */

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
    rounds = job->train.epochs * sp_job_epoch_rounds(job, examples);
    /* 1.1 epochs of 10 rounds is 11 and not 12, though 1.1 in binary is a little more than 1.1. */
    rounds = ceil(rounds - rounds * 0x1p-50);
    if (!(rounds >= 1))
        return 1;
    return rounds >= (double)UINT32_MAX ? UINT32_MAX : (uint32_t)rounds;
}
