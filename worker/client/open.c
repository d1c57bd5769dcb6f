/* A client's beginning and end, and its words. */
#include "common/check.h"
#include "common/cpu.h"
#include "version.h"
#include "worker/client/client_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIVE_MS_DEFAULT 2000
#define SILENCE_MS_DEFAULT 15000

#define MOMENTUM_EVERY_DEFAULT 5

/* What the first version of struct signpost_options had: all of it is required. */
#define OPTIONS_BYTES_MIN (offsetof(struct signpost_options, log_arg) + sizeof(void *))

#define OPTIONS_BYTES_MAX 4096

#define SAME_NUMBER(name) _Static_assert((int)SIGNPOST_##name == (int)SP_##name, "signpost.h and the lists agree")
SAME_NUMBER(OK);
SAME_NUMBER(E_NOMEM);
SAME_NUMBER(E_IO);
SAME_NUMBER(E_SYNTAX);
SAME_NUMBER(E_RANGE);
SAME_NUMBER(E_UNKNOWN);
SAME_NUMBER(E_MISSING);
SAME_NUMBER(E_PROTOCOL);
SAME_NUMBER(E_CORRUPT);
SAME_NUMBER(E_BACKLOG);
SAME_NUMBER(E_CLOSED);
SAME_NUMBER(E_TIMEOUT);
SAME_NUMBER(E_REJECTED);
SAME_NUMBER(E_STATE);
SAME_NUMBER(E_UNSUPPORTED);
SAME_NUMBER(E_MISMATCH);
SAME_NUMBER(REASON_DONE);
SAME_NUMBER(REASON_STOPPED);
SAME_NUMBER(REASON_PROTOCOL);
SAME_NUMBER(REASON_VERSION);
SAME_NUMBER(REASON_JOB);
SAME_NUMBER(REASON_LAYOUT);
SAME_NUMBER(REASON_DATA);
SAME_NUMBER(REASON_SLOT);
SAME_NUMBER(REASON_INIT_TIMEOUT);
SAME_NUMBER(REASON_SILENT);
SAME_NUMBER(REASON_BACKLOG);
SAME_NUMBER(REASON_LEAVING);
SAME_NUMBER(REASON_REPLACED);
SAME_NUMBER(REASON_WEIGHTS);
SAME_NUMBER(REASON_BUSY);
SAME_NUMBER(REASON_FAILED);
SAME_NUMBER(REASON_SECRET);
SAME_NUMBER(REASON_OPERATOR);
SAME_NUMBER(PHASE_SIGN);
SAME_NUMBER(PHASE_SGD);
SAME_NUMBER(PHASE_MARGIN);
_Static_assert((int)SIGNPOST_DECAY == (int)SP_TENSOR_DECAY && (int)SIGNPOST_BUFFER == (int)SP_TENSOR_BUFFER,
               "flags travel as they are");
_Static_assert(SIGNPOST_DIMS_MAX == SP_TENSOR_DIMS_MAX && SIGNPOST_ANY_SLOT == SP_ANY_SLOT, "limits are the same");

uint64_t sp_client_now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

void sp_client_say(signpost *s, enum signpost_log_level level, const char *format, ...)
{
    char line[SP_ERROR_TEXT_BYTES + 256];
    va_list args;

    if (s->log == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    s->log(s->log_arg, (int)level, line);
}

int sp_client_fail(signpost *s, int code, const char *format, ...)
{
    va_list args;

    if (s->code != 0)
        return s->code; /* why it is over is not to be forgotten */
    va_start(args, format);
    (void)vsnprintf(s->words, sizeof s->words, format, args);
    va_end(args);
    return code;
}

int sp_client_end(signpost *s, int code, const char *format, ...)
{
    va_list args;

    if (s->code != 0)
        return s->code; /* the first reason stands */
    s->code = code;
    va_start(args, format);
    (void)vsnprintf(s->words, sizeof s->words, format, args);
    va_end(args);
    return code;
}

/* --- opening --------------------------------------------------------------------------------------------------------
 */

static int add_tensor(struct sp_layout *layout, const struct signpost_tensor *from, uint32_t index,
                      struct sp_error *error)
{
    struct sp_tensor tensor = {.dims = from->dims, .flags = from->flags};

    if (from->name == NULL || (from->shape == NULL && from->dims > 0))
        return sp_error_set(error, SP_E_MISSING, "tensors[%u] has no name or no shape", index);
    if (from->dims > SP_TENSOR_DIMS_MAX)
        return sp_error_set(error, SP_E_RANGE, "tensors[%u] ('%s') has %u dimensions; at most %d are allowed", index,
                            from->name, from->dims, SP_TENSOR_DIMS_MAX);
    if ((from->flags & ~(uint32_t)(SIGNPOST_DECAY | SIGNPOST_BUFFER)) != 0)
        return sp_error_set(error, SP_E_RANGE,
                            "tensors[%u] ('%s') has flags 0x%x; only SIGNPOST_DECAY and SIGNPOST_BUFFER are known",
                            index, from->name, from->flags);
    if (strlen(from->name) >= sizeof tensor.name)
        return sp_error_set(error, SP_E_RANGE, "the name of tensors[%u] has more than %zu bytes", index,
                            sizeof tensor.name - 1);
    (void)strcpy(tensor.name, from->name);
    if (from->dims > 0) {
        memcpy(tensor.shape, from->shape, from->dims * sizeof tensor.shape[0]);
    } else { /* a layout has no tensor without dimensions: a single number is one of shape [1] */
        tensor.dims = 1;
        tensor.shape[0] = 1;
    }
    return sp_layout_add(layout, &tensor, error);
}

static int make_layout(struct sp_layout *layout, const struct signpost_options *options, struct sp_error *error)
{
    int rc = SP_OK;

    if (options->tensors == NULL || options->tensors_count == 0)
        return sp_error_set(error, SP_E_MISSING, "options: tensors are required");
    if (options->tensors_count > SP_TENSORS_MAX)
        return sp_error_set(error, SP_E_RANGE, "options: %u tensors; at most %d are allowed", options->tensors_count,
                            SP_TENSORS_MAX);
    for (uint32_t i = 0; rc == SP_OK && i < options->tensors_count; i++)
        rc = add_tensor(layout, &options->tensors[i], i, error);
    if (rc == SP_OK && layout->trained == 0)
        rc = sp_error_set(error, SP_E_RANGE, "options: all tensors are buffers; at least one must be trained");
    return rc;
}

/* What a later version's options have beyond ours must be as if it were not there. */
static bool is_known(const struct signpost_options *options)
{
    const uint8_t *bytes = (const uint8_t *)options;

    if (options->size > OPTIONS_BYTES_MAX)
        return false;
    for (size_t i = sizeof *options; i < options->size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static int check_options(const struct signpost_options *options, struct sp_error *error)
{
    if (options != NULL && !is_known(options))
        return sp_error_set(
            error, SP_E_UNSUPPORTED,
            "options: the program was built for a later libsignpost and uses what this one (%s) does not "
            "know; install that one",
            SP_VERSION);
    if (options == NULL || options->size < OPTIONS_BYTES_MIN)
        return sp_error_set(error, SP_E_MISSING, "options: start from SIGNPOST_OPTIONS_INIT, which sets their size");
    if (options->server == NULL || options->job == NULL)
        return sp_error_set(error, SP_E_MISSING, "options: server and job are required");
    if (options->job[0] == '\0' || strlen(options->job) >= sizeof((signpost *)0)->job)
        return sp_error_set(error, SP_E_RANGE, "options: the job's name must have 1 to %zu bytes",
                            sizeof((signpost *)0)->job - 1);
    if (options->slot < SIGNPOST_ANY_SLOT || options->slot >= SP_SLOTS_MAX)
        return sp_error_set(error, SP_E_RANGE, "options: slot %d; it must be 0 to %d, or SIGNPOST_ANY_SLOT",
                            (int)options->slot, SP_SLOTS_MAX - 1);
    if (options->token_file != NULL && options->token_file[0] == '\0')
        return sp_error_set(error, SP_E_RANGE, "options: token_file is empty; give NULL if there is no secret");
    if (!(options->give_up_s >= 0.0))
        return sp_error_set(error, SP_E_RANGE, "options: give_up_s must be a number of at least 0");
    return SP_OK;
}

static int copy_path(char *to, const char *from, const char *name, struct sp_error *error)
{
    if (from == NULL || from[0] == '\0')
        return sp_error_set(error, SP_E_MISSING,
                            "options: tls_cert, tls_key and tls_ca belong together; %s is not given", name);
    if (strlen(from) >= SP_TLS_PATH_BYTES)
        return sp_error_set(error, SP_E_RANGE, "options: %s has more than %d bytes", name, SP_TLS_PATH_BYTES - 1);
    (void)strcpy(to, from);
    return SP_OK;
}

static int copy_tls(signpost *s, const struct signpost_options *options, struct sp_error *error)
{
    const char *name = options->tls_name != NULL ? options->tls_name : s->address.host;
    int rc;

    if (options->tls_cert == NULL && options->tls_key == NULL && options->tls_ca == NULL)
        return options->tls_name == NULL
                   ? SP_OK
                   : sp_error_set(error, SP_E_MISSING, "options: tls_name means nothing without tls_cert");
    if (!sp_tls_is_name(name) || strlen(name) >= sizeof s->tls_name)
        return sp_error_set(error, SP_E_RANGE, "options: tls_name must have 1 to %zu bytes and begin with no dot",
                            sizeof s->tls_name - 1);
    (void)strcpy(s->tls_name, name);
    rc = copy_path(s->tls_paths.cert, options->tls_cert, "tls_cert", error);
    if (rc == SP_OK)
        rc = copy_path(s->tls_paths.key, options->tls_key, "tls_key", error);
    if (rc == SP_OK)
        rc = copy_path(s->tls_paths.ca, options->tls_ca, "tls_ca", error);
    return rc == SP_OK ? sp_tls_files_load(&s->tls, SP_TLS_CLIENT, &s->tls_paths, error) : rc;
}

/* The members that came later; of a program which does not know them they have their defaults. */
static int copy_later_options(signpost *s, const struct signpost_options *options, struct sp_error *error)
{
    struct signpost_options all = SIGNPOST_OPTIONS_INIT;
    const char *folder;
    int rc;

    memcpy(&all, options, options->size < sizeof all ? options->size : sizeof all);
    rc = copy_tls(s, &all, error);
    folder = all.momentum_folder;
    if (rc != SP_OK || folder == NULL)
        return rc;
    if (folder[0] == '\0')
        return sp_error_set(error, SP_E_RANGE,
                            "options: momentum_folder is empty; give NULL if the momentum is not to be saved");
    if (strlen(folder) >= sizeof s->momentum.folder)
        return sp_error_set(error, SP_E_RANGE, "options: momentum_folder has more than %zu bytes",
                            sizeof s->momentum.folder - 1);
    (void)strcpy(s->momentum.folder, folder);
    s->momentum.every = all.momentum_every > 0 ? all.momentum_every : MOMENTUM_EVERY_DEFAULT;
    return SP_OK;
}

static int copy_options(signpost *s, const struct signpost_options *options, struct sp_error *error)
{
    const char *program = options->program != NULL ? options->program : "libsignpost " SP_VERSION;
    int rc = sp_address_parse(options->server, &s->address, error);

    if (rc == SP_OK && options->token_file != NULL)
        rc = sp_secret_load(&s->secret, options->token_file, error);
    if (rc != SP_OK)
        return rc;
    (void)snprintf(s->server, sizeof s->server, "%s", options->server);
    (void)snprintf(s->job, sizeof s->job, "%s", options->job);
    (void)snprintf(s->program, sizeof s->program, "%s", program);
    s->examples = options->examples > 0 ? options->examples : 1;
    s->test_examples = options->test_examples;
    s->data_digest = options->data_digest;
    s->wanted_slot = options->slot;
    s->give_up_s = options->give_up_s;
    s->log = options->log;
    s->log_arg = options->log_arg;
    return copy_later_options(s, options, error);
}

static int make_learner(signpost *s, const struct signpost_options *options, struct sp_error *error)
{
    struct sp_layout layout = {0};
    int rc = make_layout(&layout, options, error);

    if (rc == SP_OK) {
        rc = sp_learner_create(&s->learner, &layout);
        if (rc == SP_OK && sp_chunks_count(&layout, &sp_weights_form) + 1 > SP_BUFFERS_KEPT_MAX)
            s->frames.kept_max = sp_chunks_count(&layout, &sp_weights_form) + 1; /* a slow line holds all of a push */
        if (rc != SP_OK)
            (void)sp_error_set(error, SP_E_NOMEM, "no memory for a model of %llu coordinates",
                               (unsigned long long)layout.coordinates);
    }
    sp_layout_finish(&layout);
    return rc;
}

/* libuv ends the program if there is no descriptor for its first pipe: so it is asked only when there are some. */
static int check_descriptors(struct sp_error *error)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return sp_error_set(error, SP_E_IO, "cannot make an event loop: %s", strerror(errno));
    (void)close(ends[0]);
    (void)close(ends[1]);
    return SP_OK;
}

static int make_loop(signpost *s, struct sp_error *error)
{
    int rc = check_descriptors(error);

    if (rc != SP_OK)
        return rc;
    rc = uv_loop_init(&s->loop);
    if (rc != 0)
        return sp_error_set(error, rc == UV_ENOMEM ? SP_E_NOMEM : SP_E_IO, "cannot make an event loop: %s",
                            uv_strerror(rc));
    (void)uv_timer_init(&s->loop, &s->timer);
    return SP_OK;
}

static void free_client(signpost *s)
{
    sp_learner_finish(&s->learner);
    sp_buffers_finish(&s->frames);
    sp_secret_forget(&s->secret);
    sp_tls_files_free(s->tls);
    free(s);
}

int signpost_open(signpost **out, const struct signpost_options *options, char *words, size_t words_bytes)
{
    struct sp_error error = {0};
    signpost *s = NULL;
    int rc;

    if (out == NULL)
        return SIGNPOST_E_MISSING;
    *out = NULL;
    rc = check_options(options, &error);
    if (rc == SP_OK)
        rc = sp_cpu_choose(&error);
    if (rc == SP_OK) {
        s = calloc(1, sizeof *s);
        rc = s != NULL ? SP_OK : SP_E_NOMEM;
    }
    if (rc == SP_OK)
        rc = copy_options(s, options, &error);
    if (rc == SP_OK)
        rc = make_learner(s, options, &error);
    if (rc == SP_OK)
        rc = make_loop(s, &error);
    if (rc != SP_OK) {
        if (s != NULL)
            free_client(s);
        if (words != NULL && words_bytes > 0)
            (void)snprintf(words, words_bytes, "%s", error.text[0] != '\0' ? error.text : sp_code_text(rc));
        return rc;
    }
    s->layout_digest = sp_layout_digest(&s->learner.layout);
    sp_backoff_init(&s->backoff, (uint64_t)getpid() ^ uv_hrtime());
    s->lost_ms = sp_client_now_ms();
    s->alive_ms = ALIVE_MS_DEFAULT;
    s->silence_ms = SILENCE_MS_DEFAULT;
    s->reason = SIGNPOST_REASON_NONE;
    *out = s;
    return SP_OK;
}

void sp_client_exchange_only(signpost *s)
{
    s->learner.exchange_only = true;
}

void signpost_close(signpost *s)
{
    struct sp_message welcome = {.frame = {.type = SP_FRAME_WELCOME}};
    struct sp_quiet quiet;

    if (s == NULL)
        return;
    sp_quiet_begin(&quiet);
    sp_link_finish(s, SP_REASON_LEAVING, "");
    sp_link_drop(s);
    uv_close((uv_handle_t *)&s->timer, NULL);
    /* Every handle is closing now, the stream after LINGER at the latest: the loop ends by itself. */
    (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    sp_quiet_end(&quiet);
    sp_assert(s->closing == 0);
    (void)uv_loop_close(&s->loop);
    welcome.welcome = s->welcome;
    sp_message_finish(&welcome);
    sp_reader_finish(&s->reader);
    free_client(s);
}

/* --- words ----------------------------------------------------------------------------------------------------------
 */

const char *signpost_code_text(int code)
{
    return code == SIGNPOST_OVER ? "the job is over" : sp_code_text(code);
}

const char *signpost_reason_text(int reason)
{
    return reason == SIGNPOST_REASON_NONE ? "the server gave no reason" : sp_reason_text((unsigned)reason);
}

const char *signpost_version(void)
{
    return SP_VERSION;
}

const char *signpost_error(const signpost *s)
{
    return s != NULL ? s->words : "there is no client: it was not opened";
}

int signpost_reason(const signpost *s)
{
    return s != NULL ? s->reason : SIGNPOST_REASON_NONE;
}
