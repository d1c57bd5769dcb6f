/* A worker on another machine: ssh runs a shell there, which takes the job file and the secrets from its standard
 * input, starts the worker, and ends it when that input ends. So a worker does not outlive its ssh, whatever became of
 * that. */
#include "deploy/tool/launch.h"

#include "common/job_yaml.h"
#include "common/tls.h"
#include "deploy/tool/process.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX (LAUNCH_SSH_WORDS + 16) /* with ours */
#define FILE_BYTES_MAX 65536
#define BEGUN "signpost launch: the worker is started"

/* Words: the program, its server (:PORT, or HOST:PORT), the job's name, then NAME:BYTES for each file that comes in. */
static const char script[] =
    "set -u; umask 077; program=$1 server=$2 job=$3; shift 3\n"
    "say() { echo \"signpost launch: on $(uname -n): $1\" >&2; }\n"
    "command -v \"$program\" > /dev/null || { say \"there is no program $program; install it, or say with --program "
    "where it is\"; exit 2; }\n"
    "dir=$(mktemp -d) || { say \"no folder for the job file can be made\"; exit 2; }\n"
    "trap \"rm -rf \\\"$dir\\\"\" EXIT; trap \"exit 143\" HUP INT TERM; trap : PIPE\n"
    "for file in \"$@\"; do head -c \"${file#*:}\" > \"$dir/${file%%:*}\" || { say \"$dir cannot be written\"; exit 2; "
    "}; done\n"
    "set -- --config \"$dir/job.yaml\"\n"
    "[ ! -e \"$dir/token\" ] || set -- \"$@\" --set security.token_file=\"$dir/token\"\n"
    "[ ! -e \"$dir/cert\" ] || set -- \"$@\" --set security.tls.cert=\"$dir/cert\" --set security.tls.key=\"$dir/key\" "
    "--set security.tls.ca=\"$dir/ca\"\n"
    "host=${SSH_CONNECTION:-127.0.0.1}; host=${host%% *}; case $host in *:*) host=\"[$host]\" ;; esac\n"
    "case $server in :*) server=$host$server ;; esac\n"
    "out=${XDG_CACHE_HOME:-$HOME/.cache}/signpost/$job; mkdir -p \"$out\" || { say \"$out cannot be made\"; exit 2; }\n"
    "echo \"" BEGUN " on $(uname -n), its server is $server\" >&2\n"
    "exec 3<&0\n"
    "\"$program\" \"$@\" --server \"$server\" --out \"$out\" < /dev/null 3<&- & worker=$!\n"
    "{ cat <&3; kill -TERM $worker; sleep 10; kill -KILL $worker; } > /dev/null 2>&1 & watch=$!\n"
    "wait $worker; code=$?; kill $watch 2> /dev/null; exit $code\n";

/* --- what it is sent -------------------------------------------------------------------------------------------------
 */

struct parcel {
    char *bytes; /* owned */
    size_t used;
    char words[8][64]; /* NAME:BYTES */
    unsigned files;
};

static int add(struct parcel *parcel, const char *name, const char *data, size_t bytes, struct sp_error *error)
{
    char *grown = realloc(parcel->bytes, parcel->used + bytes + 1);

    if (grown == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    parcel->bytes = grown;
    memcpy(grown + parcel->used, data, bytes);
    parcel->used += bytes;
    (void)snprintf(parcel->words[parcel->files++], sizeof parcel->words[0], "%s:%zu", name, bytes);
    return SP_OK;
}

static int add_file(struct parcel *parcel, const char *name, const char *path, struct sp_error *error)
{
    char data[FILE_BYTES_MAX];
    FILE *file = fopen(path, "re");
    size_t bytes = file != NULL ? fread(data, 1, sizeof data, file) : 0;
    bool whole = file != NULL && ferror(file) == 0 && bytes < sizeof data;
    int rc;

    if (file == NULL)
        return sp_error_set(error, SP_E_IO, "cannot read %s: %s", path, strerror(errno));
    (void)fclose(file);
    rc = whole ? add(parcel, name, data, bytes, error)
               : sp_error_set(error, SP_E_RANGE, "cannot read %s, or it is larger than %d bytes", path,
                              FILE_BYTES_MAX - 1);
    explicit_bzero(data, sizeof data);
    return rc;
}

/* The secrets' paths are those of the files that are sent; the script there sets them. */
static int add_job(struct parcel *parcel, const struct launch *launch, const struct launch_host *host,
                   struct sp_error *error)
{
    static struct sp_job job;
    char *text = NULL;
    int rc;

    job = launch->job;
    if (host->dir[0] != '\0')
        (void)snprintf(job.folder, sizeof job.folder, "%.*s", (int)sizeof job.folder - 1, host->dir);
    job.security.token_file[0] = job.security.operator_token_file[0] = job.security.http_token_file[0] = '\0';
    job.security.tls.cert[0] = job.security.tls.key[0] = job.security.tls.ca[0] = '\0';
    rc = sp_job_yaml(&job, &text, error);
    if (rc == SP_OK)
        rc = add(parcel, "job.yaml", text, strlen(text), error);
    free(text);
    return rc;
}

static int pack(struct parcel *parcel, const struct launch *launch, const struct launch_host *host,
                struct sp_error *error)
{
    char token[2 * SP_STRING_BYTES];
    struct sp_tls_paths tls;
    int rc = add_job(parcel, launch, host, error);

    sp_job_path(&launch->job, launch->job.security.token_file, token, sizeof token);
    if (rc == SP_OK && token[0] != '\0')
        rc = add_file(parcel, "token", token, error);
    if (rc != SP_OK || !sp_job_tls_paths(&launch->job, &tls))
        return rc;
    rc = add_file(parcel, "cert", tls.cert, error);
    if (rc == SP_OK)
        rc = add_file(parcel, "key", tls.key, error);
    return rc == SP_OK ? add_file(parcel, "ca", tls.ca, error) : rc;
}

/* --- ssh -------------------------------------------------------------------------------------------------------------
 */

struct command {
    char *words[WORDS_MAX];
    size_t count;
    char ssh[LAUNCH_SSH_BYTES];            /* cut into words */
    char remote[sizeof script * 2 + 4096]; /* what ssh gives to the shell there */
    size_t used;
};

/* A word as any shell takes it: in single quotes. */
static void quote(struct command *command, const char *word)
{
    char *to = command->remote;
    size_t room = sizeof command->remote - 8;

    to[command->used++] = ' ';
    to[command->used++] = '\'';
    for (; *word != '\0' && command->used + 8 < room; word++) {
        if (*word == '\'')
            command->used += (size_t)snprintf(to + command->used, 5, "'\\''");
        else
            to[command->used++] = *word;
    }
    to[command->used++] = '\'';
    to[command->used] = '\0';
}

static void add_words(struct command *command, const char *text)
{
    char *rest = NULL;

    (void)snprintf(command->ssh, sizeof command->ssh, "%s", text);
    for (char *word = strtok_r(command->ssh, " ", &rest); word != NULL && command->count < LAUNCH_SSH_WORDS;
         word = strtok_r(NULL, " ", &rest))
        command->words[command->count++] = word;
}

static void make_command(struct command *command, const struct launch *launch, const struct launch_host *host,
                         unsigned port, const struct parcel *parcel)
{
    /* ssh takes the first value that it is given of an option, so the user's come first. */
    static const char *const ours[] = {"-T",
                                       "-o",
                                       "BatchMode=yes",
                                       "-o",
                                       "ConnectTimeout=10",
                                       "-o",
                                       "ServerAliveInterval=5",
                                       "-o",
                                       "ServerAliveCountMax=3",
                                       "--"};
    char server[LAUNCH_NAME_BYTES + 16];

    add_words(command, launch->ssh);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        command->words[command->count++] = (char *)ours[i];
    command->words[command->count++] = (char *)host->name;
    (void)snprintf(server, sizeof server, "%s:%u", launch->address != NULL ? launch->address : "", port);
    command->used = (size_t)snprintf(command->remote, sizeof command->remote, "exec sh -c");
    quote(command, script);
    quote(command, "signpost-launch");
    quote(command, launch->program);
    quote(command, server);
    quote(command, launch->job.job);
    for (unsigned i = 0; i < parcel->files; i++)
        quote(command, parcel->words[i]);
    command->words[command->count++] = command->remote;
    command->words[command->count] = NULL;
}

struct launch_input {
    uv_pipe_t pipe;
    uv_write_t write;
    char *sent; /* owned: what it is sent */
};

static void on_written(uv_write_t *write, int status)
{
    (void)write;
    (void)status; /* an ssh that has ended says why by its exit */
}

static void on_closed(uv_handle_t *handle)
{
    struct launch_input *input = handle->data;

    free(input->sent);
    free(input);
}

void launch_let_go(struct launch_input **input)
{
    if (*input != NULL)
        uv_close((uv_handle_t *)&(*input)->pipe, on_closed);
    *input = NULL;
}

static int spawn(struct command *command, uv_loop_t *loop, uv_process_t *process, struct launch_input *input,
                 const char *log, uv_exit_cb on_exit)
{
    int fd = open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0666);
    uv_stdio_container_t streams[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&input->pipe},
        {.flags = UV_INHERIT_FD, .data.fd = fd},
        {.flags = UV_INHERIT_FD, .data.fd = fd}};
    /* Not in our group: a terminal's Ctrl-C is for us, who end the job in order. */
    uv_process_options_t options = {.exit_cb = on_exit,
                                    .file = command->words[0],
                                    .args = command->words,
                                    .flags = UV_PROCESS_DETACHED,
                                    .stdio = streams,
                                    .stdio_count = 3};
    int rc;

    if (fd < 0) {
        (void)fprintf(stderr, TOOL ": cannot write %s: %s\n", log, strerror(errno));
        return SP_E_IO;
    }
    rc = uv_spawn(loop, process, &options);
    (void)close(fd);
    if (rc == 0)
        return SP_OK;
    (void)fprintf(stderr, TOOL ": cannot start %s: %s\n", command->words[0], uv_strerror(rc));
    uv_close((uv_handle_t *)process, NULL);
    return SP_E_IO;
}

/* Takes over `bytes`. NULL: out of memory. */
static struct launch_input *make_input(uv_loop_t *loop, char *bytes)
{
    struct launch_input *input = calloc(1, sizeof *input);

    if (input == NULL) {
        free(bytes);
        return NULL;
    }
    (void)uv_pipe_init(loop, &input->pipe, 0);
    input->pipe.data = input;
    input->sent = bytes;
    return input;
}

int launch_start(const struct launch *launch, unsigned number, unsigned port, uv_loop_t *loop, uv_process_t *process,
                 struct launch_input **input, const char *log, uv_exit_cb on_exit)
{
    const struct launch_host *host = launch_host_of(&launch->hosts, number);
    struct command *command = calloc(1, sizeof *command);
    struct parcel parcel = {0};
    struct sp_error error = {0};
    uv_buf_t buffer;
    int rc = pack(&parcel, launch, host, &error);

    *input = make_input(loop, parcel.bytes);
    if (command == NULL || *input == NULL) {
        (void)fprintf(stderr, TOOL ": out of memory\n");
        rc = SP_E_NOMEM;
    } else if (rc == SP_OK) {
        make_command(command, launch, host, port, &parcel);
        rc = spawn(command, loop, process, *input, log, on_exit);
    } else {
        (void)fprintf(stderr, TOOL ": cannot start a worker on %s: %s\n", host->name, error.text);
    }
    free(command);
    if (rc != SP_OK) {
        launch_let_go(input);
        return rc;
    }
    buffer = uv_buf_init(parcel.bytes, (unsigned)parcel.used);
    (void)uv_write(&(*input)->write, (uv_stream_t *)&(*input)->pipe, &buffer, 1, on_written);
    return SP_OK;
}

bool launch_has_begun(const char *log)
{
    char line[512];

    tool_line_with(log, BEGUN, line, sizeof line);
    return line[0] != '\0';
}
