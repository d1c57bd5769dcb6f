/* What becomes of a worker's momentum when its process is killed: saved now and then, read back by the process that
 * takes the slot (keep.c has the file), kept or dropped when the weights are there (sp_learner_replaced()).
 *
 * Failure: a file that cannot be written is said once, and again when it can be; one that cannot be read, or is not
 * ours, is said and left alone. Neither ends the training.
 */
#include "worker/client/client_state.h"

#define PAUSE_MS_MIN 1000 /* rounds shorter than a tenth of it are 10 by the time that a process is back */
#define PAUSE_TIMES 20    /* the time that saving took */

static struct sp_keep keep_of(const signpost *s, uint32_t slot)
{
    return (struct sp_keep){.folder = s->momentum.folder, .layout_digest = s->layout_digest, .slot = slot};
}

static bool is_on(const signpost *s)
{
    return s->momentum.folder[0] != '\0';
}

static void take_file(signpost *s)
{
    s->momentum.ours = true;
    s->momentum.slot = s->welcome.slot;
}

void sp_momentum_look(signpost *s)
{
    struct sp_keep keep = keep_of(s, s->welcome.slot);
    struct sp_error error = {0};
    int rc;

    if (!is_on(s) || s->momentum.looked)
        return;
    s->momentum.looked = true;
    s->momentum.due_ms = sp_client_now_ms() + PAUSE_MS_MIN;
    rc = sp_keep_read(&keep, &s->learner, &error);
    s->momentum.found = rc == SP_OK;
    if (rc == SP_OK)
        take_file(s);
    else if (rc == SP_E_MISMATCH)
        sp_client_say(s, SIGNPOST_LOG_DEBUG, "%s; it is left alone", error.text);
    else if (rc != SP_E_MISSING)
        sp_client_say(s, SIGNPOST_LOG_WARN, "%s; the momentum begins at zero", error.text);
}

/* Of a worker that was away for a moment nothing need be said. */
static void say_fate(signpost *s, enum sp_momentum_fate fate, uint32_t of, uint32_t round)
{
    char path[SP_KEEP_PATH_BYTES];
    struct sp_keep keep = keep_of(s, s->momentum.slot);

    if (fate == SP_MOMENTUM_KEPT && s->momentum.found) {
        sp_keep_path(&keep, path);
        sp_client_say(s, SIGNPOST_LOG_INFO, "goes on with the momentum of round %u, which %s kept", of, path);
    } else if (fate == SP_MOMENTUM_OLD && of < round) {
        sp_client_say(s, SIGNPOST_LOG_INFO, "the momentum of round %u is %u rounds old; it begins at zero", of,
                      round - of);
    } else if (fate == SP_MOMENTUM_OLD) {
        sp_client_say(s, SIGNPOST_LOG_INFO,
                      "the momentum of round %u is %u rounds ahead of the weights; it begins at "
                      "zero",
                      of, of - round);
    } else if (fate == SP_MOMENTUM_FOREIGN) {
        sp_client_say(s, SIGNPOST_LOG_INFO, "the momentum of round %u is not of this run; it begins at zero", of);
    }
}

void sp_momentum_meet(signpost *s, uint32_t round)
{
    uint32_t of = s->learner.momentum_round;

    say_fate(s, sp_learner_replaced(&s->learner, round), of, round);
    s->momentum.found = false;
}

/* m is g itself where no momentum is pushed. Where the server went some rounds back the difference wraps around, and it
 * is due as well. */
static bool is_due(const signpost *s, uint64_t now)
{
    uint32_t passed = s->learner.momentum_round - s->momentum.saved_round;

    return is_on(s) && sp_learner_beta1(&s->learner) > 0.0 && s->learner.own_rounds > 0 && now >= s->momentum.due_ms &&
           passed >= s->momentum.every;
}

static void say_saved(signpost *s, int rc, const struct sp_error *error)
{
    if (rc != SP_OK && !s->momentum.failed)
        sp_client_say(s, SIGNPOST_LOG_WARN,
                      "%s; the training goes on, but a process that takes this slot would begin at zero", error->text);
    else if (rc == SP_OK && s->momentum.failed)
        sp_client_say(s, SIGNPOST_LOG_INFO, "the momentum can be saved again in %s", s->momentum.folder);
    s->momentum.failed = rc != SP_OK;
}

void sp_momentum_save(signpost *s)
{
    uint64_t now = sp_client_now_ms(), pause;
    struct sp_keep keep = keep_of(s, s->welcome.slot);
    struct sp_error error = {0};
    int rc;

    if (!is_due(s, now))
        return;
    rc = sp_keep_write(&keep, &s->learner, &error);
    say_saved(s, rc, &error);
    if (rc == SP_OK)
        take_file(s);
    s->momentum.saved_round = s->learner.momentum_round;
    pause = (sp_client_now_ms() - now) * PAUSE_TIMES;
    s->momentum.due_ms = now + (pause > PAUSE_MS_MIN ? pause : PAUSE_MS_MIN);
}

void sp_momentum_finish(signpost *s)
{
    struct sp_keep keep = keep_of(s, s->welcome.slot);

    if (s->momentum.ours && s->has_slot && s->momentum.slot == s->welcome.slot)
        sp_keep_remove(&keep);
}
