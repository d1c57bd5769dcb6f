/* signpost checkpoint: asks for one, and waits until it is on the disk. */
#include "common/cli.h"
#include "deploy/tool/asking.h"

#include <time.h>

#define LOOK_MS 100
#define WAIT_S_MAX 600

static double number(const json_t *status, const char *key)
{
    const json_t *keep = json_object_get(status, "keep");
    const json_t *value = json_object_get(json_object_get(keep, "checkpoint"), key);

    return value != NULL ? json_number_value(value) : json_number_value(json_object_get(keep, key));
}

/* Until the file is there, or one could not be written since `failures`. */
static int wait_for(const struct tool_asking *asking, double round, double failures)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};

    for (int looks = 0; looks < WAIT_S_MAX * 1000 / LOOK_MS; looks++) {
        json_t *status = NULL;
        int rc = tool_ask_again(asking, "status", &status);
        double written = number(status, "round"), failed = number(status, "failures");

        json_decref(status);
        if (rc != SP_EXIT_DONE)
            return rc;
        if (written >= round)
            return SP_EXIT_DONE;
        if (failed > failures)
            return sp_cli_fail(TOOL, "the server could not write it; its log says why");
        (void)nanosleep(&pause, NULL);
    }
    return sp_cli_fail(TOOL, "the server has not written it in ten minutes; its log and 'signpost status' may say why");
}

int tool_checkpoint(int argc, char **argv)
{
    static const struct argp_option options[] = {TOOL_REMOTE_OPTIONS, {0}};
    static const struct argp argp = {options,
                                     tool_parse_asking,
                                     "RUN",
                                     "Makes a running job write a checkpoint now, and waits until it is on the disk. "
                                     "RUN is its folder (runs/<job>) or its job file." SP_CLI_EXAMPLE
                                     "signpost checkpoint runs/digits",
                                     NULL,
                                     NULL,
                                     NULL};
    struct tool_asking asking = {0};
    json_t *before = NULL, *answer = NULL;
    double failures, round;
    int rc = tool_ask_run(argc, argv, &argp, "status", &asking, &before);

    failures = number(before, "failures");
    json_decref(before);
    if (rc == SP_EXIT_DONE)
        rc = tool_ask_again(&asking, "checkpoint", &answer);
    round = json_number_value(json_object_get(answer, "round"));
    json_decref(answer);
    if (rc == SP_EXIT_DONE)
        rc = wait_for(&asking, round, failures);
    if (rc == SP_EXIT_DONE)
        (void)printf("%s: the checkpoint of round %.0f is written\n",
                     asking.run != NULL ? asking.run : asking.remote.server, round);
    return rc;
}
