/* The simple use: push a gradient, get new weights. All of it stands on the events. */
#include "worker/client/client_state.h"

#include <string.h>

/* They are zeros before. */
static int give_initial_weights(signpost *s)
{
    if (s->initial != NULL)
        memcpy(signpost_weights_to_init(s), s->initial, (size_t)signpost_coordinates(s) * sizeof(float));
    return signpost_init_done(s);
}

/* Answers what it can itself; everything else that may come is the end. */
static int wait_for_weights(signpost *s)
{
    struct signpost_event event;
    int rc;

    while ((rc = signpost_wait(s, -1, &event)) == SP_OK) {
        if (event.type == SIGNPOST_GRADIENT)
            return SP_OK;
        if (event.type == SIGNPOST_DONE)
            return SIGNPOST_OVER;
        if (event.type == SIGNPOST_INIT)
            rc = give_initial_weights(s);
        if (rc != SP_OK)
            return rc;
    }
    return rc;
}

int signpost_join(signpost *s, const float *initial)
{
    if (s == NULL)
        return SP_E_MISSING;
    if (s->test_examples > 0)
        return sp_client_fail(s, SP_E_STATE,
                              "a worker with test_examples > 0 is asked to evaluate: use signpost_wait()");
    s->initial = initial;
    s->joined = true;
    return s->gradient_open ? SP_OK : wait_for_weights(s);
}

int signpost_step(signpost *s, const float *gradient, double loss, uint32_t examples)
{
    int rc;

    if (s == NULL)
        return SP_E_MISSING;
    if (gradient == NULL)
        return sp_client_fail(s, SP_E_MISSING, "signpost_step() without a gradient");
    if (!s->joined)
        return sp_client_fail(s, SP_E_STATE, "signpost_step() before signpost_join()");
    rc = signpost_gradient(s, 0, s->learner.layout.coordinates, gradient);
    if (rc == SP_OK)
        rc = signpost_push(s, loss, examples);
    return rc == SP_OK ? wait_for_weights(s) : rc;
}
