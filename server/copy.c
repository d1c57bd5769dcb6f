/* A checkpoint is a copy of what the next round changes. It is made slice by slice, between other events: so no event
 * waits for more than a slice, but for what is left when the next round is committed. */
#include "common/check.h"
#include "server/round_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64
#define SMALL 3 /* sections that are made at once: job, layout, state */

static void add(struct copying *copying, const char *name, const void *from, uint64_t bytes)
{
    struct sp_checkpoint *checkpoint = &copying->checkpoint;
    struct sp_checkpoint_section *section = &checkpoint->section[checkpoint->sections];

    if (bytes == 0)
        return;
    sp_assert(checkpoint->sections < SP_SECTIONS_MAX);
    (void)snprintf(section->name, sizeof section->name, "%s", name);
    section->count = bytes;
    copying->from[checkpoint->sections++] = from;
}

static void add_arrays(struct sp_round *r)
{
    struct copying *copying = &r->copying;
    uint64_t d = r->layout.coordinates;

    add(copying, "theta", r->theta, d * sizeof(float));
    add(copying, "buffers", r->buffers, r->layout.buffers * sizeof(float));
    add(copying, "previous", r->previous, r->has_previous ? sp_bits_bytes(d) : 0);
    if (r->adam.m != NULL) {
        add(copying, "adam.m", r->adam.m, d * sizeof(float));
        add(copying, "adam.v", r->adam.v, d * sizeof(float));
    }
}

static size_t small_bytes(struct sp_round *r, struct sp_hello *model, size_t state)
{
    struct sp_archive count = sp_archive_save(NULL, 0);

    sp_state_visit_model(&count, model);
    return sp_state_write_job(&r->job, NULL, 0) + 1 + count.used + state + 4 * ALIGNMENT;
}

static uint8_t *after(uint8_t *at, size_t bytes)
{
    return at + (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Writes them to `at` on, which is aligned; returns where the next one begins. */
static uint8_t *write_small(struct sp_round *r, struct sp_hello *model, const void *state, size_t bytes, uint8_t *at)
{
    struct sp_checkpoint_section *section = r->copying.checkpoint.section;
    struct sp_archive archive;

    section[0] = (struct sp_checkpoint_section){"job", at, sp_state_write_job(&r->job, NULL, 0)};
    (void)sp_state_write_job(&r->job, (char *)at, (size_t)section[0].count + 1);
    at = after(at, (size_t)section[0].count + 1);
    archive = sp_archive_save(at, SIZE_MAX);
    sp_state_visit_model(&archive, model);
    section[1] = (struct sp_checkpoint_section){"layout", at, archive.used};
    at = after(at, archive.used);
    memcpy(at, state, bytes);
    section[2] = (struct sp_checkpoint_section){"state", at, bytes};
    return after(at, bytes);
}

static size_t arrays_bytes(const struct copying *copying)
{
    size_t bytes = 0;

    for (uint32_t i = SMALL; i < copying->checkpoint.sections; i++)
        bytes += (size_t)copying->checkpoint.section[i].count + ALIGNMENT;
    return bytes;
}

static void place_arrays(struct copying *copying, uint8_t *at)
{
    for (uint32_t i = SMALL; i < copying->checkpoint.sections; i++) {
        copying->checkpoint.section[i].bytes = at;
        at = after(at, (size_t)copying->checkpoint.section[i].count);
    }
}

int sp_round_checkpoint(struct sp_round *r, struct sp_error *error)
{
    struct copying *copying = &r->copying;
    struct sp_hello model = {
        .layout = r->layout, .examples = r->examples, .test_examples = r->test_examples, .data_digest = r->data_digest};
    const void *state;
    size_t bytes, small;
    uint8_t *at;

    if (copying->checkpoint.memory != NULL)
        return sp_error_set(error, SP_E_STATE, "a checkpoint is being made");
    if (!r->started)
        return sp_error_set(error, SP_E_STATE, "the job has not started, so there is nothing to keep yet");
    sp_round_settle(r);
    if (sp_round_save(r, true, &state, &bytes) != SP_OK)
        return sp_error_set(error, SP_E_NOMEM, "no memory for the state of the job");
    memset(copying, 0, sizeof *copying);
    copying->checkpoint.sections = copying->section = SMALL;
    add_arrays(r);
    small = small_bytes(r, &model, bytes);
    at = aligned_alloc(ALIGNMENT, (small + arrays_bytes(copying)) / ALIGNMENT * ALIGNMENT);
    if (at == NULL) {
        memset(copying, 0, sizeof *copying);
        return sp_error_set(error, SP_E_NOMEM, "no memory for a copy of the weights");
    }
    copying->checkpoint.memory = at;
    copying->checkpoint.round = r->committed;
    copying->checkpoint.run = r->run;
    place_arrays(copying, write_small(r, &model, state, bytes, at));
    return SP_OK;
}

/* --- slice by slice --------------------------------------------------------------------------------------------------
 */

bool sp_round_copy(struct sp_round *r, size_t bytes)
{
    struct copying *copying = &r->copying;

    while (copying->section < copying->checkpoint.sections && bytes > 0) {
        const struct sp_checkpoint_section *section = &copying->checkpoint.section[copying->section];
        uint64_t left = section->count - copying->done;
        size_t n = left < bytes ? (size_t)left : bytes;

        memcpy((uint8_t *)section->bytes + copying->done,
               (const uint8_t *)copying->from[copying->section] + copying->done, n);
        copying->done += n;
        bytes -= n;
        if (copying->done < section->count)
            break;
        copying->section++;
        copying->done = 0;
    }
    return copying->section == copying->checkpoint.sections;
}

static uint64_t left_to_copy(const struct copying *copying)
{
    uint64_t left = 0;

    for (unsigned i = copying->section; i < copying->checkpoint.sections; i++)
        left += copying->checkpoint.section[i].count;
    return left - copying->done;
}

void sp_copy_finish(struct sp_round *r)
{
    uint64_t left = left_to_copy(&r->copying);

    r->copied_at_once = left > r->copied_at_once ? left : r->copied_at_once;
    (void)sp_round_copy(r, SIZE_MAX);
}

uint64_t sp_round_copied_at_once(const struct sp_round *r)
{
    return r->copied_at_once;
}

bool sp_round_copied(struct sp_round *r, struct sp_checkpoint *checkpoint)
{
    struct copying *copying = &r->copying;

    if (copying->checkpoint.memory == NULL || copying->section < copying->checkpoint.sections)
        return false;
    *checkpoint = copying->checkpoint;
    memset(copying, 0, sizeof *copying);
    return true;
}

void sp_copy_forget(struct sp_round *r)
{
    sp_checkpoint_finish(&r->copying.checkpoint);
    memset(&r->copying, 0, sizeof r->copying);
}
