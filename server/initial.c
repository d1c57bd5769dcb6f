/* The file of model.init, which the core asks for when it knows the model. */
#include "common/init.h"
#include "common/log.h"
#include "server/server_state.h"

#include <stdio.h>
#include <sys/stat.h>

static int read_tensors(void *arg, const struct sp_layout *layout, float *theta, float *buffers, char words[256],
                        struct sp_error *error)
{
    const struct sp_safetensors *file = arg;
    const char *first;
    unsigned more;
    int rc = sp_safetensors_read(file, layout, theta, buffers, error);

    if (rc != SP_OK)
        return rc;
    more = sp_safetensors_left_over(file, layout, &first);
    if (more > 0)
        (void)snprintf(words, 256, "the file has %u tensor%s more than the model, not used here ('%.64s'%s)", more,
                       more == 1 ? "" : "s", first, more == 1 ? "" : " first");
    return SP_OK;
}

static bool same_file(const char *a, const char *b)
{
    struct stat one, other;

    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

int sp_initial_open(struct sp_server *server, struct sp_error *error)
{
    char own[sizeof server->out + 32];
    const char *path;
    int rc = sp_init_open(&server->init, &server->job, error);

    if (rc != SP_OK || server->init == NULL)
        return rc;
    path = sp_safetensors_path(server->init);
    (void)snprintf(own, sizeof own, "%s/model.safetensors", server->out);
    if (same_file(path, own))
        return sp_error_set(
            error, SP_E_RANGE,
            "model.init: %s is the model of the folder that this run writes to, and a new one will take "
            "its place; give this run another folder with --out, or move the file",
            path);
    sp_round_start_from(server->round, read_tensors, server->init);
    sp_log_info("server", "initial weights come from %s", path);
    return SP_OK;
}

void sp_initial_close(struct sp_server *server)
{
    sp_safetensors_close(server->init);
    server->init = NULL;
}
