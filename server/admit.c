/* What a HELLO must match, for who joins and for who only asks: of both kinds nothing is known here but what they say.
 */
#include "server/round_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Returns false, so that a check can write `return refuse(...)`. */
static bool __attribute__((format(printf, 3, 4)))
refuse(struct sp_refusal *refusal, enum sp_reason reason, const char *format, ...)
{
    va_list args;

    refusal->reason = reason;
    va_start(args, format);
    (void)vsnprintf(refusal->words, sizeof refusal->words, format, args);
    va_end(args);
    return false;
}

static bool refuse_layout(const struct sp_round *r, const struct sp_layout *theirs, struct sp_refusal *refusal)
{
    const struct sp_layout *ours = &r->layout;

    for (uint32_t i = 0; i < ours->tensors_count && i < theirs->tensors_count; i++) {
        const struct sp_tensor *a = &ours->tensors[i], *b = &theirs->tensors[i];

        if (strcmp(a->name, b->name) == 0 && a->dims == b->dims && a->flags == b->flags &&
            memcmp(a->shape, b->shape, sizeof a->shape) == 0)
            continue;
        return refuse(refusal, SP_REASON_LAYOUT,
                      "the model differs from the job's from tensor %u on: here '%s' with %llu coordinates, there '%s' "
                      "with %llu",
                      i, a->name, (unsigned long long)a->count, b->name, (unsigned long long)b->count);
    }
    return refuse(refusal, SP_REASON_LAYOUT, "the model has %u tensors, the job's has %u", theirs->tensors_count,
                  ours->tensors_count);
}

bool sp_admit_job(const struct sp_round *r, const struct sp_hello *hello, struct sp_refusal *refusal)
{
    if (r->stage == SP_STAGE_OVER)
        return refuse(refusal, r->stopped ? SP_REASON_STOPPED : SP_REASON_DONE, "%s", r->over_reason);
    if (strcmp(hello->job, r->job.job) != 0)
        return refuse(refusal, SP_REASON_JOB, "this server runs job '%s', not '%s'", r->job.job, hello->job);
    if (hello->wanted_slot >= (int)r->job.workers)
        return refuse(refusal, SP_REASON_SLOT, "slot %d does not exist: job '%s' has slots 0 to %u", hello->wanted_slot,
                      r->job.job, r->job.workers - 1);
    return true;
}

static bool admit_data(const struct sp_round *r, const struct sp_hello *hello, struct sp_refusal *refusal)
{
    if (hello->examples != r->examples)
        return refuse(refusal, SP_REASON_DATA, "the job has %llu training examples, this worker %llu",
                      (unsigned long long)r->examples, (unsigned long long)hello->examples);
    if (hello->data_digest != 0 && r->data_digest != 0 && hello->data_digest != r->data_digest)
        return refuse(refusal, SP_REASON_DATA,
                      "this worker's training data differ from the job's (digest %016llx, not %016llx)",
                      (unsigned long long)hello->data_digest, (unsigned long long)r->data_digest);
    if (hello->test_examples != 0 && r->test_examples != 0 && hello->test_examples != r->test_examples)
        return refuse(refusal, SP_REASON_DATA, "the job has %llu test examples, this worker %llu",
                      (unsigned long long)r->test_examples, (unsigned long long)hello->test_examples);
    return true;
}

bool sp_admit_model(const struct sp_round *r, const struct sp_hello *hello, struct sp_refusal *refusal)
{
    if (hello->examples == 0)
        return refuse(refusal, SP_REASON_DATA, "a worker without training examples");
    if (r->layout.tensors_count == 0)
        return true;
    if (hello->layout_digest != r->layout_digest)
        return refuse_layout(r, &hello->layout, refusal);
    return admit_data(r, hello, refusal);
}

int sp_admit_free_slot(const struct sp_round *r, int wanted)
{
    for (uint32_t i = 0; i < r->job.workers; i++) {
        if (r->slots[i].worker < 0 && (wanted == SP_ANY_SLOT || wanted == (int)i))
            return (int)i;
    }
    return -1;
}

/* --- who only asks ---------------------------------------------------------------------------------------------------
 */

static unsigned known_workers(const struct sp_round *r)
{
    unsigned n = 0;

    for (int i = 0; i < SP_PEERS_MAX; i++)
        n += r->workers[i] != NULL;
    return n;
}

bool sp_round_probe(const struct sp_round *r, const struct sp_hello *hello, struct sp_probe *probe)
{
    bool has_layout = hello->layout_digest != 0;

    memset(probe, 0, sizeof *probe);
    if (!sp_admit_job(r, hello, &probe->refusal) || (has_layout && !sp_admit_model(r, hello, &probe->refusal)))
        return false;
    if (known_workers(r) == SP_PEERS_MAX)
        return refuse(&probe->refusal, SP_REASON_BUSY, "more than %d workers and spares", SP_PEERS_MAX);
    probe->compared = has_layout && r->layout.tensors_count > 0;
    probe->slot = sp_admit_free_slot(r, hello->wanted_slot);
    for (uint32_t i = 0; i < r->job.workers; i++)
        probe->taken += r->slots[i].worker >= 0;
    return true;
}
