/* What a caller may look at: weights, progress, the plan, counts. */
#include "common/weights.h"
#include "worker/client/client_state.h"

const float *signpost_weights(const signpost *s)
{
    return s != NULL ? s->learner.theta : NULL;
}

uint64_t signpost_coordinates(const signpost *s)
{
    return s != NULL ? s->learner.layout.coordinates : 0;
}

float *signpost_buffers(signpost *s)
{
    return s != NULL ? s->learner.buffers : NULL;
}

uint64_t signpost_weights_digest(const signpost *s)
{
    return s != NULL ? sp_weights_digest(s->learner.theta, s->learner.layout.coordinates) : 0;
}

int signpost_slot(const signpost *s)
{
    return s != NULL && s->has_slot ? (int)s->welcome.slot : -1;
}

uint32_t signpost_round(const signpost *s)
{
    return s != NULL ? s->learner.round : 0;
}

uint32_t signpost_rounds(const signpost *s)
{
    return s != NULL ? s->welcome.rounds : 0;
}

int signpost_phase(const signpost *s)
{
    return s != NULL ? (int)s->learner.phase : SIGNPOST_PHASE_SIGN;
}

const char *signpost_plan(const signpost *s, const char *key)
{
    return s != NULL && key != NULL ? sp_welcome_setting(&s->welcome, key) : NULL;
}

int signpost_plan_item(const signpost *s, size_t index, const char **key, const char **value)
{
    if (s == NULL || key == NULL || value == NULL || index >= s->welcome.plan_count)
        return 0;
    *key = s->welcome.plan[index].key;
    *value = s->welcome.plan[index].value;
    return 1;
}

uint64_t signpost_count(const signpost *s, int counter)
{
    if (s == NULL)
        return 0;
    switch (counter) {
    case SIGNPOST_PUSHES:
        return s->pushes;
    case SIGNPOST_ABSTENTIONS:
        return s->abstentions;
    case SIGNPOST_RECONNECTS:
        return s->reconnects;
    case SIGNPOST_RESYNCS:
        return s->resyncs;
    case SIGNPOST_LINE_RATE:
        return s->line_rate;
    default:
        return 0;
    }
}
