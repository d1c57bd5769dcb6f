/* The answer to a probe: whether a worker would be let in, and what it would come to. The round core is only asked. */
#include "common/log.h"
#include "server/server_state.h"
#include "version.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double clock_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Text that the caller frees; NULL without memory. */
static char *write_answer(const struct sp_server *server, const struct sp_probe *probe)
{
    struct sp_welcome progress = {0};
    json_t *object;
    char *text;

    sp_round_progress(server->round, &progress);
    object = json_pack("{s:s, s:s, s:i, s:i, s:i, s:b, s:b, s:i, s:i, s:s, s:f}", "version", SP_VERSION, "job",
                       server->job.job, "workers", (int)server->job.workers, "taken", (int)probe->taken, "slot",
                       probe->slot, "compared", probe->compared, "started", sp_round_has_started(server->round),
                       "round", (int)progress.round, "rounds", (int)progress.rounds, "phase",
                       sp_phase_name((enum sp_phase)progress.phase), "time", clock_seconds());
    text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

static void say(struct sp_peer *peer, const struct sp_probe *probe)
{
    if (!sp_peer_may_say(peer))
        return;
    if (probe->slot >= 0)
        sp_log_info("peer", "%s: a probe (%s): a worker would get slot %d", peer->name, peer->hello.program,
                    probe->slot);
    else
        sp_log_info("peer", "%s: a probe (%s): a worker would be a spare", peer->name, peer->hello.program);
}

int sp_probe_answer(struct sp_peer *peer, struct sp_error *error)
{
    struct sp_message message = {.frame = {.type = SP_FRAME_ANSWER}};
    struct sp_probe probe;

    if (!sp_round_probe(peer->server->round, &peer->hello, &probe)) {
        sp_peer_bye(peer, probe.refusal.reason, probe.refusal.words);
        return SP_OK;
    }
    message.answer = write_answer(peer->server, &probe);
    if (message.answer == NULL)
        return sp_error_set(error, SP_E_NOMEM, "the server has no memory for its answer");
    say(peer, &probe);
    sp_peer_send_message(peer, &message);
    free(message.answer);
    sp_peer_end(peer, "it was answered");
    return SP_OK;
}
