/* signpost replay: the weights of a round, made again from a run's checkpoints and journal. */
#include "common/cli.h"
#include "common/weights.h"
#include "deploy/tool/tool.h"
#include "server/record.h"
#include "server/recover.h"

#include <argp.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_TO_ROUND = 256, KEY_EXPORT };

struct arguments {
    const char *folder, *file;
    uint32_t to;
};

static uint32_t parse_round(const char *text, struct argp_state *state)
{
    char *end;
    unsigned long long round = strtoull(text, &end, 10);

    if (*text == '\0' || *text == '-' || *end != '\0' || round >= SP_RECOVER_LATEST)
        argp_error(state, "invalid --to-round -- '%s': a round's number, from 0", text);
    return (uint32_t)round;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case KEY_TO_ROUND:
        arguments->to = parse_round(value, state);
        break;
    case KEY_EXPORT:
        arguments->file = value;
        break;
    case ARGP_KEY_ARG:
        if (arguments->folder != NULL)
            argp_error(state, "unexpected argument -- '%s'", value);
        arguments->folder = value;
        break;
    case ARGP_KEY_END:
        if (arguments->folder == NULL)
            argp_error(state, "name the folder of the run, such as runs/digits");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void on_said(void *arg, bool bad, const char *line)
{
    (void)arg;
    (void)fprintf(stderr, TOOL ": %s%s\n", bad ? "warning: " : "", line);
}

static int export(const struct sp_view *view, const char *digest, const char *file, struct sp_error *error)
{
    struct sp_record record = {.lock = -1};
    char folder[sizeof record.folder], name[sizeof record.folder];
    json_t *metadata = json_pack("{s:s}", "weights_digest", digest);
    int rc = SP_E_RANGE;

    if (strlen(file) >= sizeof folder) {
        (void)sp_error_set(error, SP_E_RANGE, "--export: the path is longer than %zu bytes", sizeof folder - 1);
    } else {
        (void)strcpy(folder, file);
        (void)strcpy(name, file);
        (void)snprintf(record.folder, sizeof record.folder, "%s", dirname(folder));
        rc = sp_record_model(&record, basename(name), view->layout, view->theta, view->buffers, metadata, error);
    }
    json_decref(metadata);
    return rc;
}

static int show(const struct arguments *arguments, const struct sp_recovery *recovery, struct sp_error *error)
{
    struct sp_view view;
    char digest[20];
    int rc = SP_OK;

    sp_round_view(recovery->round, &view);
    (void)snprintf(digest, sizeof digest, "%016llx",
                   (unsigned long long)sp_weights_digest(view.theta, view.layout->coordinates));
    if (arguments->file != NULL)
        rc = export(&view, digest, arguments->file, error);
    if (rc != SP_OK)
        return rc;
    (void)printf("%s\n", arguments->folder);
    (void)printf("  made from       the checkpoint of round %u and %u rounds of the journal\n", recovery->checkpoint,
                 recovery->committed - recovery->checkpoint);
    (void)printf("  round           %u of %u, %s\n", view.round, view.rounds,
                 recovery->finished ? "of a run that came to its end" : "of a run that has not come to its end");
    if (arguments->file != NULL)
        (void)printf("  written to      %s\n", arguments->file);
    (void)printf("  weights digest  %s\n", digest);
    return SP_OK;
}

int tool_replay(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"to-round", KEY_TO_ROUND, "R", 0, "The round whose weights are wanted; default: the last one", 0},
        {"export", KEY_EXPORT, "FILE", 0, "Write them there, as .safetensors", 0},
        {0}};
    static const struct argp argp = {options,
                                     parse,
                                     "DIR",
                                     "Makes the weights of a round again, from the checkpoints and the journal in a "
                                     "run's folder, and prints their digest. The run may be over, broken off, or going "
                                     "on." SP_CLI_EXAMPLE
                                     "signpost replay runs/digits --to-round 100 --export r100.safetensors",
                                     NULL,
                                     NULL,
                                     NULL};
    struct arguments arguments = {.to = SP_RECOVER_LATEST};
    struct sp_recover_options recover = {.say = on_said};
    struct sp_recovery recovery;
    struct sp_error error = {0};
    int rc = argp_parse(&argp, argc, argv, 0, NULL, &arguments);

    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    recover.folder = arguments.folder;
    recover.to = arguments.to;
    rc = sp_recover(&recovery, &recover, &error);
    if (rc == SP_OK && recovery.round == NULL)
        rc = sp_error_set(&error, SP_E_MISSING, "%s holds no checkpoint: name a run's folder", arguments.folder);
    if (rc == SP_OK)
        rc = show(&arguments, &recovery, &error);
    sp_round_destroy(recovery.round);
    return rc == SP_OK ? SP_EXIT_DONE : sp_cli_fail(TOOL, error.text);
}
