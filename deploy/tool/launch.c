/* signpost launch: the server here, the workers by ssh on the hosts of a file. run.c looks after them as after its own.
 */
#include "deploy/tool/launch.h"

#include "common/cli.h"
#include "deploy/tool/run.h"
#include "deploy/tool/tool.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS_BYTES_MAX (1 << 20)

enum { KEY_FRESH = 256, KEY_PLAIN, KEY_SSH, KEY_PROGRAM, KEY_ADDRESS, KEY_GO_ON };

struct arguments {
    struct sp_sets sets;
    const char *file, *out, *hosts;
    bool fresh, plain;
    struct launch *launch;
};

static int read_hosts(struct launch_hosts *hosts, const char *path, struct sp_error *error)
{
    char *text = calloc(1, HOSTS_BYTES_MAX + 1);
    FILE *file = fopen(path, "re");
    int rc;

    if (text == NULL)
        rc = sp_error_set(error, SP_E_NOMEM, "out of memory");
    else if (file == NULL)
        rc = sp_error_set(error, SP_E_IO, "cannot read %s: %s", path, strerror(errno));
    else if (fread(text, 1, HOSTS_BYTES_MAX, file) == HOSTS_BYTES_MAX || ferror(file) != 0)
        rc = sp_error_set(error, SP_E_IO, "cannot read %s, or it is 1 MiB or larger", path);
    else
        rc = launch_hosts_parse(hosts, path, text, error);
    if (file != NULL)
        (void)fclose(file);
    free(text);
    return rc;
}

static int check_slots(const struct launch *launch, const char *path, struct sp_error *error)
{
    if (launch->hosts.slots >= launch->job.workers)
        return SP_OK;
    return sp_error_set(error, SP_E_RANGE,
                        "%s has room for %u workers, the job wants %u: add hosts, or slots=N to a host's line", path,
                        launch->hosts.slots, launch->job.workers);
}

static unsigned count_words(const char *text)
{
    unsigned count = 0;

    for (text += strspn(text, " "); *text != '\0'; text += strspn(text, " ")) {
        text += strcspn(text, " ");
        count++;
    }
    return count;
}

/* What is cut into words, or sent as one, has room for this much. */
static int check_words(const struct launch *launch, struct sp_error *error)
{
    if (count_words(launch->ssh) == 0)
        return sp_error_set(error, SP_E_RANGE, "--ssh names no program: it wants words such as 'ssh -p 2222 -i key'");
    if (strlen(launch->ssh) >= LAUNCH_SSH_BYTES || count_words(launch->ssh) > LAUNCH_SSH_WORDS)
        return sp_error_set(error, SP_E_RANGE,
                            "--ssh takes %d bytes and %d words at most: put what is more into ~/.ssh/config",
                            LAUNCH_SSH_BYTES - 1, LAUNCH_SSH_WORDS);
    if (strlen(launch->program) > SP_STRING_BYTES)
        return sp_error_set(error, SP_E_RANGE, "--program takes %d bytes at most", SP_STRING_BYTES);
    if (launch->address == NULL)
        return SP_OK;
    if (launch->address[0] == '\0' || strlen(launch->address) >= LAUNCH_NAME_BYTES ||
        (strchr(launch->address, ':') != NULL && launch->address[0] != '['))
        return sp_error_set(
            error, SP_E_RANGE,
            "--address takes a name or an address without a port, IPv6 in brackets ([fe80::1]), not '%s': "
            "the port is that of server.listen",
            launch->address);
    return SP_OK;
}

/* Workers elsewhere cannot reach a server that listens on loopback. */
static int check_reach(const struct launch *launch, struct sp_error *error)
{
    const char *listen = launch->job.server.listen;

    if (strncmp(listen, "127.", 4) != 0 && strncmp(listen, "localhost:", 10) != 0 && strncmp(listen, "[::1]:", 6) != 0)
        return SP_OK;
    for (unsigned i = 0; i < launch->hosts.count; i++) {
        if (!launch_host_is_here(&launch->hosts.host[i]))
            return sp_error_set(
                error, SP_E_RANGE,
                "server.listen is %s, which %s cannot reach: --set server.listen=0.0.0.0:7700, and give the "
                "job TLS or a secret (README, Who may come in)",
                listen, launch->hosts.host[i].name);
    }
    return SP_OK;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 'H':
        arguments->hosts = value;
        break;
    case KEY_SSH:
        arguments->launch->ssh = value;
        break;
    case KEY_PROGRAM:
        arguments->launch->program = value;
        break;
    case KEY_ADDRESS:
        arguments->launch->address = value;
        break;
    case KEY_GO_ON:
        arguments->launch->goes_on = true;
        break;
    case KEY_FRESH:
        arguments->fresh = true;
        break;
    case KEY_PLAIN:
        arguments->plain = true;
        break;
    case 'o':
        arguments->out = value;
        break;
    case 's':
        sp_sets_add(&arguments->sets, value, state);
        break;
    case ARGP_KEY_ARG:
        if (arguments->file != NULL)
            argp_error(state, "unexpected argument -- '%s'", value);
        arguments->file = value;
        break;
    case ARGP_KEY_END:
        if (arguments->file == NULL)
            argp_error(state, "name the job file");
        if (arguments->hosts == NULL)
            argp_error(state, "name the hosts' file: --hosts FILE");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int tool_launch(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"hosts", 'H', "FILE", 0, "A line for each host: [USER@]HOST [slots=N] [dir=PATH]", 0},
        {"ssh", KEY_SSH, "WORDS", 0, "How hosts are reached; default 'ssh', such as 'ssh -p 2222 -i key'", 0},
        {"program", KEY_PROGRAM, "PATH", 0, "The worker's program there; default signpost-worker", 0},
        {"address", KEY_ADDRESS, "HOST", 0, "This machine for workers; default: where ssh came from", 0},
        {"go-on", KEY_GO_ON, NULL, 0, "A worker that fails does not end the others", 0},
        {"out", 'o', "DIR", 0, "The run's folder; default runs/<job>", 0},
        {"set", 's', "KEY=VALUE", 0, "Overrides a key of the job file, e.g. seed=7; repeatable", 0},
        {"fresh", KEY_FRESH, NULL, 0, "Begin anew, even if the folder holds a run that did not come to its end", 0},
        {"plain", KEY_PLAIN, NULL, 0, "No live view at the bottom of the terminal: plain lines", 0},
        {0}};
    static const struct argp argp = {
        options,
        parse,
        "JOB.yaml",
        "Runs a job with its server here and its workers on other machines, by ssh." SP_CLI_EXAMPLE
        "signpost launch --hosts hosts.txt digits.yaml",
        NULL,
        NULL,
        NULL};
    static struct launch launch = {.ssh = "ssh", .program = "signpost-worker"};
    static struct arguments arguments = {.launch = &launch};
    struct run_order order = {.job = &launch.job, .sets = &arguments.sets, .launch = &launch};
    struct sp_error error = {0};
    int rc;

    rc = argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (rc != 0)
        return sp_cli_fail(TOOL, strerror(rc));
    if (sp_cli_load(TOOL, arguments.file, &arguments.sets, &launch.job) != SP_EXIT_DONE)
        return SP_EXIT_USAGE;
    rc = sp_job_need_data(&launch.job, &error);
    if (rc == SP_OK)
        rc = check_words(&launch, &error);
    if (rc == SP_OK)
        rc = read_hosts(&launch.hosts, arguments.hosts, &error);
    if (rc == SP_OK)
        rc = check_slots(&launch, arguments.hosts, &error);
    if (rc == SP_OK)
        rc = check_reach(&launch, &error);
    if (rc != SP_OK) {
        (void)sp_cli_fail(TOOL, error.text);
        return SP_EXIT_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* an ssh that has ended takes no more */
    order.file = arguments.file;
    order.out = arguments.out;
    order.fresh = arguments.fresh;
    order.plain = arguments.plain;
    return run_job(&order);
}
