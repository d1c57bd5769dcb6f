/* A server that dies and comes back from what it kept: as server/keep.c does, but in memory, with every record on the
 * disk before its COMMIT leaves. What it comes back with is compared with what the oracle knows. */
#include "cluster_state.h"

#include <stdlib.h>
#include <string.h>

#define CRASH_US_MAX 30000
#define CHECKPOINTS_OF_10000 700 /* a round */
#define SLICE_BYTES 1500

static void add(struct kept *kept, const struct sp_entry *entry, const void *body)
{
    struct kept_entry *e;

    if (kept->count == kept->room) {
        kept->room = kept->room * 2 + 64;
        kept->entries = realloc(kept->entries, kept->room * sizeof *kept->entries);
        must(kept->entries != NULL);
    }
    e = &kept->entries[kept->count++];
    e->entry = *entry;
    e->body = aligned_alloc(64, (entry->bytes + 64) / 64 * 64);
    must(e->body != NULL);
    memcpy(e->body, body, entry->bytes);
}

/* Forgets entries first..count-1. */
static void cut(struct kept *kept, size_t first)
{
    for (size_t i = first; i < kept->count; i++)
        free(kept->entries[i].body);
    kept->count = first;
}

/* Draws of its own: jobs without crashes go their way as if nothing were kept. */
void keep_open(struct cluster *c)
{
    sp_rng_init(&c->kept.rng, sp_rng_key(c->options->seed, SP_RNG_TEST), 2, 0);
}

void keep_close(struct cluster *c)
{
    cut(&c->kept, 0);
    free(c->kept.entries);
    sp_checkpoint_finish(&c->kept.checkpoint);
}

void keep_update(struct cluster *c, const struct sp_action *action)
{
    struct sp_entry entry = {.type = SP_ENTRY_CHUNK,
                             .flags = action->update.flags,
                             .round = action->round,
                             .count = action->update.count,
                             .first = action->update.first,
                             .bytes = (uint32_t)action->update.bytes,
                             .voters = action->update.voters};

    if (entry.first == 0 && (entry.flags & (SP_FRAME_FULL | SP_FRAME_BUFFERS)) == 0)
        cut(&c->kept, c->kept.whole); /* the round began anew */
    if (action->update.gradient != NULL) {
        struct sp_entry gradient = entry;

        gradient.type = SP_ENTRY_GRADIENT;
        gradient.bytes = entry.count * (uint32_t)sizeof(float);
        add(&c->kept, &gradient, action->update.gradient);
    }
    add(&c->kept, &entry, action->update.bulk);
}

/* A checkpoint takes the place of the one before, and of the records up to its round. */
static void take_checkpoint(struct cluster *c)
{
    struct sp_checkpoint checkpoint;
    struct kept *kept = &c->kept;
    size_t keep = 0;

    if (!sp_round_copied(c->round, &checkpoint))
        return;
    sp_checkpoint_finish(&kept->checkpoint);
    kept->checkpoint = checkpoint;
    kept->copying = false;
    c->result->checkpoints++;
    for (size_t i = 0; i < kept->count; i++) {
        if (kept->entries[i].entry.round > checkpoint.round)
            kept->entries[keep++] = kept->entries[i];
        else
            free(kept->entries[i].body);
    }
    kept->whole -= kept->count - keep;
    kept->count = keep;
}

void keep_commit(struct cluster *c, uint32_t round)
{
    struct kept *kept = &c->kept;
    struct sp_entry entry = {.type = SP_ENTRY_COMMIT, .round = round};
    const void *state;
    size_t bytes;

    sp_round_owner_numbers(c->round)[3] = round;
    if (round == 0) {
        must(sp_round_checkpoint(c->round, NULL) == SP_OK);
        must(sp_round_copy(c->round, SIZE_MAX));
        take_checkpoint(c);
    } else {
        must(sp_round_save(c->round, false, &state, &bytes) == SP_OK);
        entry.bytes = (uint32_t)bytes;
        add(kept, &entry, state);
        kept->whole = kept->count;
        if (!kept->copying && sp_rng_below(&kept->rng, 10000) < CHECKPOINTS_OF_10000)
            kept->copying = sp_round_checkpoint(c->round, NULL) == SP_OK;
    }
    memcpy(kept->late, c->oracle.late, sizeof kept->late);
    memcpy(kept->dropped, c->oracle.dropped, sizeof kept->dropped);
    memcpy(kept->excluded, c->oracle.excluded, sizeof kept->excluded);
    if (sp_rng_below(&kept->rng, 10000) < c->options->faults.crashes)
        cluster_at(c, sp_rng_below(&kept->rng, CRASH_US_MAX), EVENT_CRASH, 0, 0);
}

void keep_go_on(struct cluster *c)
{
    if (!c->kept.copying)
        return;
    (void)sp_round_copy(c->round, SLICE_BYTES);
    take_checkpoint(c);
}

static void restore(struct cluster *c)
{
    struct kept *kept = &c->kept;
    struct sp_error error = {0};
    struct sp_job job;

    must_say(sp_state_job(&kept->checkpoint, &job, &error) == SP_OK, "%s", error.text);
    must(sp_round_create(&c->round, &job) == SP_OK);
    sp_round_keep(c->round, CLUSTER_RUN, true);
    must_say(sp_round_restore(c->round, &kept->checkpoint, &error) == SP_OK, "%s", error.text);
    for (size_t i = 0; i < kept->whole; i++)
        must_say(sp_round_replay(c->round, &kept->entries[i].entry, kept->entries[i].body, &error) == SP_OK, "%s",
                 error.text);
    must(sp_round_run(c->round) == CLUSTER_RUN);
    must(sp_round_owner_numbers(c->round)[3] == c->oracle.committed);
}

/* kill -9: what is not kept is gone, and every line with it. */
void server_crash(struct cluster *c)
{
    struct kept *kept = &c->kept;

    if (c->over)
        return;
    c->result->crashes++;
    c->result->crashes_in_round += c->oracle.updates > 0;
    cut(kept, kept->whole);
    kept->copying = false;
    sp_round_destroy(c->round);
    check_crashed(c);
    for (uint32_t i = 1; i <= c->lines_count; i++) {
        struct line *l = c->lines[i];
        bool open = l->server_open;

        l->server_open = l->following = l->reading = l->held = false;
        if (open && !l->broken)
            cluster_break(c, i);
    }
    restore(c);
    sp_round_go_on(c->round, cluster_now_ms(c));
    server_drain(c);
}
