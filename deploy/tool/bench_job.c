#include "common/secret.h"
#include "deploy/tool/bench.h"
#include "deploy/tool/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- the model -------------------------------------------------------------------------------------------------------
 */

/* Thousandths of the parameters; what is left over belongs to the last one. */
static const struct {
    const char *name;
    unsigned share;
    bool decay;
} tensors[] = {{"embed.weight", 600, true},  {"block1.weight", 120, true}, {"block1.bias", 1, false},
               {"block2.weight", 120, true}, {"block2.bias", 1, false},    {"norm.weight", 1, false},
               {"norm.bias", 1, false},      {"block3.weight", 100, true}, {"block3.bias", 1, false},
               {"head.weight", 0, true}};

#define TENSORS (sizeof tensors / sizeof tensors[0])

int bench_layout(struct sp_layout *layout, uint64_t params, struct sp_error *error)
{
    uint64_t left = params;

    memset(layout, 0, sizeof *layout);
    for (size_t i = 0; i < TENSORS; i++) {
        struct sp_tensor tensor = {.dims = 1, .flags = tensors[i].decay ? SP_TENSOR_DECAY : 0};
        uint64_t count = i + 1 < TENSORS ? params / 1000 * tensors[i].share : left;
        int rc;

        if (count == 0)
            continue;
        (void)snprintf(tensor.name, sizeof tensor.name, "%s", tensors[i].name);
        tensor.shape[0] = count;
        left -= count;
        rc = sp_layout_add(layout, &tensor, error);
        if (rc != SP_OK)
            return rc;
    }
    return SP_OK;
}

/* Each worker holds weights, momentum and bits, after a vote of counts or values those as well; each process one
 * gradient; the server weights and the frames that it sends them in, and a few arrays more. */
static double bytes_needed(const struct bench_options *o)
{
    double each = o->phase == SP_PHASE_SIGN ? 8.2 : o->wire == SP_WIRE_I8 ? 16.2 : 12.2;
    double server = o->phase == SP_PHASE_SIGN ? 9.0 : 17.0;

    return (double)o->params * (each * o->workers + (o->compute ? 4.0 * o->processes : 0.0) + server);
}

int bench_memory_check(const struct bench_options *o, struct sp_error *error)
{
    FILE *file = fopen("/proc/meminfo", "re");
    unsigned long long kib = 0;
    char line[128];

    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, "MemAvailable: %llu", &kib);
    if (file != NULL)
        (void)fclose(file);
    if (kib == 0 || bytes_needed(o) <= (double)kib * 1024.0)
        return SP_OK;
    return sp_error_set(error, SP_E_NOMEM,
                        "%u workers with %llu parameters and their server need about %s, and %s is free; fewer "
                        "--workers or --params fit",
                        o->workers, (unsigned long long)o->params, tool_bytes(bytes_needed(o)),
                        tool_bytes((double)kib * 1024.0));
}

/* --- files -----------------------------------------------------------------------------------------------------------
 */

static int cannot_write(const char *path, struct sp_error *error)
{
    return sp_error_set(error, SP_E_IO, "cannot write %s: %s", path, strerror(errno));
}

/* A secret of this one measurement, which nobody else needs. */
static int write_token(const char *path, struct sp_error *error)
{
    uint8_t secret[SP_SECRET_BYTES_MIN];
    FILE *file;
    int fd;

    if (sp_random_bytes(secret, sizeof secret, error) != SP_OK)
        return SP_E_IO;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL)
        return cannot_write(path, error);
    for (size_t i = 0; i < sizeof secret; i++)
        (void)fprintf(file, "%02x", secret[i]);
    (void)fprintf(file, "\n");
    return fclose(file) == 0 ? SP_OK : cannot_write(path, error);
}

static const char *wire_name(enum sp_wire wire)
{
    return wire == SP_WIRE_I8 ? "i8" : wire == SP_WIRE_BF16 ? "bf16" : "f32";
}

/* Rates are small and constant, so that the numbers stay ordinary ones for however long it runs; the job is longer
 * than any measurement, which ends it. Nobody is taken for lost because the processors are busy. The
 * disk has no part in it, nor has the watch for bad workers. */
static void write_keys(FILE *to, const struct bench_options *options)
{
    bool sgd = options->phase == SP_PHASE_SGD;

    (void)fprintf(to, "job: " BENCH_JOB "\nworkers: %u\n", options->workers);
    (void)fprintf(to, "train: {rounds: 4000000000, report: 4000000000, evaluate: 0}\noptimizer:\n");
    (void)fprintf(to, "  mode: %s\n  start: %s\n", sgd ? "sgd" : "hybrid",
                  options->phase == SP_PHASE_MARGIN ? "margin" : "sign");
    (void)fprintf(to, "  sign: {lr: 1.0e-4, schedule: constant}\n  switch: {when: never}\n");
    (void)fprintf(to, "  dither: {sigma0: %.9g, schedule: constant}\n", options->sigma);
    (void)fprintf(to, "  margin: {lr: 1.0e-4, sigma0: %.9g}\n", options->sigma);
    (void)fprintf(to, "  sgd: {lr: 1.0e-3, schedule: constant, wire: %s}\n", wire_name(options->wire));
    (void)fprintf(to, "server:\n  start_timeout: 1000000\n  init_timeout: 100000\n  heartbeat: {timeout: 3600}\n");
    (void)fprintf(to, "  journal: {enabled: false}\n  checkpoint: {enabled: false}\n  quarantine: off\n"
                      "  limits: {joins: 1000000}\n");
    (void)fprintf(to, "  http: \"%s\"\n", options->http != NULL ? options->http : "off");
}

static void write_security(FILE *to, const struct bench_options *options)
{
    const char *folder = options->tls;

    (void)fprintf(to, "security:\n");
    if (options->listen != NULL)
        (void)fprintf(to, "  token_file: token\n  insecure: true\n");
    if (folder != NULL)
        (void)fprintf(to, "  tls: {cert: \"%s/server.crt\", key: \"%s/server.key\", ca: \"%s/ca.crt\"}\n", folder,
                      folder, folder);
}

int bench_job_write(const struct bench_options *options, const char *folder, struct sp_error *error)
{
    char path[BENCH_PATH_BYTES + 16], token[BENCH_PATH_BYTES + 16];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/job.yaml", folder);
    (void)snprintf(token, sizeof token, "%s/token", folder);
    if (options->listen != NULL && write_token(token, error) != SP_OK)
        return SP_E_IO;
    file = fopen(path, "we");
    if (file == NULL)
        return cannot_write(path, error);
    write_keys(file, options);
    if (options->listen != NULL || options->tls != NULL)
        write_security(file, options);
    return fclose(file) == 0 ? SP_OK : cannot_write(path, error);
}

int bench_folder_make(char folder[BENCH_PATH_BYTES], struct sp_error *error)
{
    const char *parent = getenv("TMPDIR");

    (void)snprintf(folder, BENCH_PATH_BYTES, "%s/signpost-bench-XXXXXX", parent != NULL && *parent ? parent : "/tmp");
    if (mkdtemp(folder) == NULL)
        return sp_error_set(error, SP_E_IO, "cannot make a folder like %s: %s; set TMPDIR to one that can be written",
                            folder, strerror(errno));
    return SP_OK;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

void bench_folder_remove(const char *folder)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct bench_shared *bench_share(const char *folder, bool create, struct sp_error *error)
{
    char path[BENCH_PATH_BYTES + 16];
    void *page = MAP_FAILED;
    int fd;

    (void)snprintf(path, sizeof path, "%s/shared", folder);
    fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0600);
    if (fd >= 0 && (!create || ftruncate(fd, sizeof(struct bench_shared)) == 0))
        page = mmap(NULL, sizeof(struct bench_shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        (void)sp_error_set(error, SP_E_IO, "cannot share %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return page == MAP_FAILED ? NULL : page;
}

/* --- what a process is told ------------------------------------------------------------------------------------------
 */

int bench_part_write(const struct bench_part *part, const char *path, struct sp_error *error)
{
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:i, s:i, s:b, s:i}", "folder", part->folder,
                             "server", part->server, "token_file", part->token_file, "tls", part->tls, "number",
                             (int)part->number, "first", (int)part->first, "count", (int)part->count, "params",
                             (json_int_t)part->params, "rounds", (int)part->rounds, "warmup", (int)part->warmup,
                             "compute", part->compute, "server_pid", (int)part->server_pid);
    int rc = json != NULL ? json_dump_file(json, path, 0) : -1;

    json_decref(json);
    return rc == 0 ? SP_OK : cannot_write(path, error);
}

int bench_part_read(struct bench_part *part, const char *path, struct sp_error *error)
{
    json_error_t where;
    json_t *json = json_load_file(path, 0, &where);
    const char *folder, *server, *token, *tls;
    json_int_t params;
    int compute, pid;

    memset(part, 0, sizeof *part);
    if (json == NULL)
        return sp_error_set(error, SP_E_SYNTAX, "%s: %s", path, where.text);
    if (json_unpack_ex(json, &where, 0, "{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:i, s:i, s:b, s:i}", "folder",
                       &folder, "server", &server, "token_file", &token, "tls", &tls, "number", &part->number, "first",
                       &part->first, "count", &part->count, "params", &params, "rounds", &part->rounds, "warmup",
                       &part->warmup, "compute", &compute, "server_pid", &pid) != 0) {
        json_decref(json);
        return sp_error_set(error, SP_E_SYNTAX, "%s: %s", path, where.text);
    }
    part->params = (uint64_t)params;
    part->compute = compute != 0;
    part->server_pid = pid;
    (void)snprintf(part->folder, sizeof part->folder, "%s", folder);
    (void)snprintf(part->server, sizeof part->server, "%s", server);
    (void)snprintf(part->token_file, sizeof part->token_file, "%s", token);
    (void)snprintf(part->tls, sizeof part->tls, "%s", tls);
    json_decref(json);
    return SP_OK;
}
