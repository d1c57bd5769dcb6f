#include "common/cli.h"

#include "common/config.h"
#include "common/cpu.h"
#include "common/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define DESCRIPTORS_MIN 32

enum { KEY_SET = 1024, KEY_VALIDATE, KEY_LOG, KEY_LOG_FORMAT };

void sp_sets_add(struct sp_sets *sets, const char *value, struct argp_state *state)
{
    if (sets->count == SP_SETS_MAX)
        argp_error(state, "more than %d times --set", SP_SETS_MAX);
    else
        sets->item[sets->count++] = value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct sp_cli *cli = state->input;
    enum sp_log_level level;
    enum sp_log_format format;

    switch (key) {
    case 'c':
        cli->config = value;
        break;
    case KEY_SET:
        sp_sets_add(&cli->sets, value, state);
        break;
    case KEY_VALIDATE:
        cli->validate = true;
        break;
    case KEY_LOG:
        if (!sp_log_level_parse(value, &level))
            argp_error(state, "invalid --log -- '%s': use error, warn, info or debug", value);
        sp_log_set_level(level);
        break;
    case KEY_LOG_FORMAT:
        if (!sp_log_format_parse(value, &format))
            argp_error(state, "invalid --log-format -- '%s': use text or json", value);
        sp_log_set_format(format);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument -- '%s'", value);
        break;
    case ARGP_KEY_END:
        if (cli->config == NULL)
            argp_error(state, "--config JOB.yaml is required");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"config", 'c', "JOB.yaml", 0, "The job file (required)", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "Overrides a key of the job file, e.g. optimizer.switch.when=never; repeatable",
     0},
    {"validate", KEY_VALIDATE, NULL, 0, "Check the job file and exit", 0},
    {"log", KEY_LOG, "LEVEL", 0, "error, warn, info (default) or debug", 0},
    {"log-format", KEY_LOG_FORMAT, "FORMAT", 0, "text (default) or json: an object a line", 0},
    {0}};

const struct argp sp_cli_argp = {options, parse, NULL, NULL, NULL, NULL, NULL};

/* A line on standard error, which is one of the log where that is JSON. */
static void say(const char *tag, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const char *tag, const char *format, ...)
{
    char line[SP_LOG_LINE_BYTES_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (sp_log_format() == SP_LOG_JSON)
        sp_log_error(tag, "%s", line);
    else
        (void)fprintf(stderr, "%s\n", line);
}

int sp_cli_fail(const char *program, const char *words)
{
    (void)fflush(stdout); /* what was said before comes first, also where both go to one file */
    sp_log_flush();
    say("program", "%s: %s", program, words);
    return SP_EXIT_FAILED;
}

void sp_cli_begin(const char *version)
{
    argp_program_version = version;
    argp_err_exit_status = SP_EXIT_USAGE;
    (void)setenv("ARGP_HELP_FMT", "no-dup-args-note,rmargin=80", 0); /* so that --help fits a screen */
}

int sp_cli_kernels(const char *program)
{
    struct sp_error error = {0};

    if (sp_cpu_choose(&error) == SP_OK)
        return SP_EXIT_DONE;
    (void)sp_cli_fail(program, error.text);
    return SP_EXIT_USAGE;
}

/* libuv calls abort() when it finds no descriptors at all for its first loop. */
static bool has_descriptors(const char *program)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= DESCRIPTORS_MIN)
        return true;
    say("program", "%s: only %llu files may be open here; at least %d are needed: raise the limit with 'ulimit -n'",
        program, (unsigned long long)limit.rlim_cur, DESCRIPTORS_MIN);
    return false;
}

int sp_cli_load(const char *program, const char *path, const struct sp_sets *sets, struct sp_job *job)
{
    struct sp_problems *problems = calloc(1, sizeof *problems);
    char text[SP_ERROR_TEXT_BYTES + SP_STRING_BYTES];
    int rc;

    if (problems == NULL)
        return sp_cli_fail(program, "out of memory");
    if (!has_descriptors(program)) {
        free(problems);
        return SP_EXIT_FAILED;
    }
    rc = sp_config_load(path, sets->item, sets->count, job, problems);
    for (unsigned i = 0; rc != SP_OK && i < problems->count; i++) {
        sp_problem_text(problems, i, text, sizeof text);
        say("config", "%s", text);
    }
    if (rc != SP_OK) {
        unsigned n = problems->count + problems->dropped;

        if (problems->dropped > 0)
            say("config", "%s: and %u more", path, problems->dropped);
        say("config", "%s: %s was refused: %u problem%s", program, path, n, n == 1 ? "" : "s");
    }
    free(problems);
    return rc == SP_OK ? SP_EXIT_DONE : SP_EXIT_USAGE;
}
