/* signpost: picks the subcommand. */
#include "common/cli.h"
#include "deploy/tool/tool.h"
#include "version.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *meaning;
} commands[] = {
    {"run", tool_run, "one server and all workers of a job on this machine"},
    {"launch", tool_launch, "the server here, and workers on other machines by ssh"},
    {"compare", tool_compare, "a grid of jobs with several seeds on this machine: tables and plots"},
    {"eval", tool_eval, "what a run's model makes of test data, class by class"},
    {"plot", tool_plot, "runs beside each other in a picture: loss, accuracy, rates, bytes"},
    {"bench", tool_bench, "how long a round takes on this machine, and what it costs"},
    {"check", tool_check, "what a job file means, and whether its data are there"},
    {"status", tool_status, "the state of a running job"},
    {"watch", tool_watch, "a live view of a running job"},
    {"switch", tool_switch, "begin the next phase of a running job"},
    {"checkpoint", tool_checkpoint, "make a running job write a checkpoint now"},
    {"stop", tool_stop, "end a running job in order"},
    {"replay", tool_replay, "make the weights of a round again, from checkpoints and journal"},
    {"token", tool_token, "make the secret that server and workers share"},
    /* Parts of `bench`, which starts them; nobody else does. */
    {"bench-load", tool_bench_load, NULL},
    {"bench-spare", tool_bench_spare, NULL},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void usage(FILE *to)
{
    (void)fprintf(to, "Usage: signpost COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; i < COMMANDS && commands[i].meaning != NULL; i++)
        (void)fprintf(to, "  %-11s%s\n", commands[i].name, commands[i].meaning);
    (void)fprintf(
        to, "\n'signpost COMMAND --help' tells more. Exit codes: 0 done, 1 failed, 2 usage or\njob-file error.\n\n"
            "Example: signpost run configs/digits.yaml\n");
}

int main(int argc, char **argv)
{
    char name[64];

    sp_cli_begin(TOOL " " SP_VERSION);
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        usage(stdout);
        return SP_EXIT_DONE;
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        (void)printf("%s\n", argp_program_version);
        return SP_EXIT_DONE;
    }
    if (sp_cli_kernels(TOOL) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    for (size_t i = 0; argc >= 2 && i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        (void)snprintf(name, sizeof name, TOOL " %s", commands[i].name);
        argv[1] = name;
        return commands[i].run(argc - 1, argv + 1);
    }
    if (argc >= 2)
        (void)fprintf(stderr, TOOL ": unknown command -- '%s'\n", argv[1]);
    usage(stderr);
    return SP_EXIT_USAGE;
}
