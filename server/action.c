/* What the round core wants done, in order. */
#include "common/check.h"
#include "server/round_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool grow_actions(struct sp_round *r)
{
    unsigned room = r->actions_room == 0 ? ACTIONS_FIRST : r->actions_room * 2;
    struct sp_action *grown = calloc(room, sizeof *grown);

    if (grown == NULL)
        return false;
    for (unsigned i = 0; i < r->actions_count; i++)
        grown[i] = r->actions[(r->actions_head + i) % r->actions_room];
    free(r->actions);
    r->actions = grown;
    r->actions_head = 0;
    r->actions_room = room;
    return true;
}

struct sp_action *sp_round_act(struct sp_round *r, enum sp_action_type type, uint32_t peer)
{
    struct sp_action *action;

    if (r->actions_lost || (r->actions_count == r->actions_room && !grow_actions(r))) {
        r->actions_lost = true;
        action = &r->no_room;
    } else {
        action = &r->actions[(r->actions_head + r->actions_count++) % r->actions_room];
    }
    memset(action, 0, sizeof *action);
    action->type = type;
    action->peer = peer;
    return action;
}

/* Without memory for an action the state machine and the world have parted: nothing that was to be done may be done any
 * more, and the job is over as of the last round that was committed. */
static bool end_without_memory(struct sp_round *r, struct sp_action *action)
{
    bool early = r->stage != SP_STAGE_OVER;

    if (early)
        sp_round_stop(r, "stopped for lack of memory", r->now_ms);
    r->actions_count = 0;
    r->actions_lost = false;
    if (r->over_given)
        return false;
    r->over_given = true;
    memset(action, 0, sizeof *action);
    action->type = SP_ACTION_OVER;
    action->bye.reason = r->stopped ? SP_REASON_STOPPED : SP_REASON_DONE;
    action->bye.no_memory = early;
    (void)snprintf(action->bye.words, sizeof action->bye.words, "%s", r->over_reason);
    return true;
}

bool sp_round_next(struct sp_round *r, struct sp_action *action)
{
    if (r->actions_lost)
        return end_without_memory(r, action);
    if (r->actions_count == 0)
        return false;
    *action = r->actions[r->actions_head];
    r->actions_head = (r->actions_head + 1) % r->actions_room;
    r->actions_count--;
    r->over_given = r->over_given || action->type == SP_ACTION_OVER;
    return true;
}

void sp_round_note(struct sp_round *r, enum sp_note level, const char *format, ...)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_NOTE, 0);
    va_list args;

    action->note.level = level;
    va_start(args, format);
    (void)vsnprintf(action->note.line, sizeof action->note.line, format, args);
    va_end(args);
}

void sp_round_bye(struct sp_round *r, uint32_t peer, enum sp_reason reason, const char *format, ...)
{
    struct sp_action *action = sp_round_act(r, SP_ACTION_BYE, peer);
    va_list args;

    action->bye.reason = reason;
    va_start(args, format);
    (void)vsnprintf(action->bye.words, sizeof action->bye.words, format, args);
    va_end(args);
}
