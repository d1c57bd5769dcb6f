/* signpost stop, switch: telling a running server to end, or to go on to the next phase. */
#include "common/cli.h"
#include "deploy/tool/asking.h"

#include <argp.h>
#include <string.h>

static const char *name_of(const struct tool_asking *asking)
{
    return asking->run != NULL ? asking->run : asking->remote.server;
}

int tool_stop(int argc, char **argv)
{
    static const struct argp_option options[] = {TOOL_REMOTE_OPTIONS, {0}};
    static const struct argp argp = {options,
                                     tool_parse_asking,
                                     "RUN",
                                     "Ends a running job in order: its files are written, its workers told. RUN is its "
                                     "folder (runs/<job>) or its job file." SP_CLI_EXAMPLE "signpost stop runs/digits",
                                     NULL,
                                     NULL,
                                     NULL};
    struct tool_asking asking = {0};
    json_t *answer = NULL;
    int rc = tool_ask_run(argc, argv, &argp, "stop", &asking, &answer);

    if (rc == SP_EXIT_DONE)
        (void)printf("%s: stopping; the results are in its folder in a moment\n", name_of(&asking));
    json_decref(answer);
    return rc;
}

/* --- switch ----------------------------------------------------------------------------------------------------------
 */

enum { KEY_NOW = 512, KEY_DRY_RUN };

struct switching {
    struct tool_asking asking; /* first: it is the input of the parser that both share */
    bool now, dry_run;
};

static error_t parse_switch(int key, char *value, struct argp_state *state)
{
    struct switching *switching = state->input;

    switch (key) {
    case KEY_NOW:
        switching->now = true;
        break;
    case KEY_DRY_RUN:
        switching->dry_run = true;
        break;
    case ARGP_KEY_END:
        if (switching->now && switching->dry_run)
            argp_error(state, "--now and --dry-run exclude each other");
        return tool_parse_asking(key, value, state);
    default:
        return tool_parse_asking(key, value, state);
    }
    return 0;
}

/* What a switch would be now, and how near it is. */
static void print_outlook(const char *name, const json_t *status)
{
    const json_t *outlook = json_object_get(status, "switch");
    const char *words = json_string_value(json_object_get(outlook, "words"));
    const char *phase = json_string_value(json_object_get(status, "phase"));

    (void)printf("%s: %s phase, after round %lld of %lld: %s\n", name, phase != NULL ? phase : "-",
                 (long long)json_integer_value(json_object_get(status, "round")),
                 (long long)json_integer_value(json_object_get(status, "rounds")),
                 words != NULL ? words : "the server says nothing of a switch; it is of an earlier version");
}

int tool_switch(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"now", KEY_NOW, NULL, 0, "Switch after the present round (what it does without options)", 0},
        {"dry-run", KEY_DRY_RUN, NULL, 0, "Only say how near a switch is, and which rate it would choose now", 0},
        TOOL_REMOTE_OPTIONS,
        {0}};
    static const struct argp argp = {
        options,
        parse_switch,
        "RUN",
        "Begins the next phase of a running job after its present round: from sign to SGD (or margin, as "
        "optimizer.switch.to says), or from margin to SGD. RUN is its folder (runs/<job>) or its job "
        "file." SP_CLI_EXAMPLE "signpost switch runs/digits --dry-run",
        NULL,
        NULL,
        NULL};
    struct switching switching = {0};
    json_t *answer = NULL;
    int rc = argp_parse(&argp, argc, argv, 0, NULL, &switching);

    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    rc = tool_ask_again(&switching.asking, switching.dry_run ? "status" : "switch", &answer);
    if (rc == SP_EXIT_DONE && switching.dry_run)
        print_outlook(name_of(&switching.asking), answer);
    else if (rc == SP_EXIT_DONE)
        (void)printf("%s: the next phase begins after this round; its log and history.jsonl tell of it\n",
                     name_of(&switching.asking));
    json_decref(answer);
    return rc;
}
