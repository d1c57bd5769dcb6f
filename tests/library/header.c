/* A program of one file that includes signpost.h alone, as C99. It is compiled by test_install.py. */
#include <signpost.h>

typedef void (*function)(void);

static const function all[] = {
    (function)signpost_code_text, (function)signpost_reason_text, (function)signpost_version,
    (function)signpost_open,      (function)signpost_close,       (function)signpost_join,
    (function)signpost_step,      (function)signpost_wait,        (function)signpost_process,
    (function)signpost_fd,        (function)signpost_timeout_ms,  (function)signpost_weights_to_init,
    (function)signpost_init_done, (function)signpost_gradient,    (function)signpost_gradient_tensor,
    (function)signpost_push,      (function)signpost_score,       (function)signpost_alive,
    (function)signpost_weights,   (function)signpost_coordinates, (function)signpost_weights_digest,
    (function)signpost_slot,      (function)signpost_round,       (function)signpost_rounds,
    (function)signpost_phase,     (function)signpost_plan,        (function)signpost_plan_item,
    (function)signpost_count,     (function)signpost_error,       (function)signpost_reason,
    (function)signpost_buffers,
};

int main(void)
{
    struct signpost_options options = SIGNPOST_OPTIONS_INIT;
    struct signpost_event event;
    signpost *s = NULL;
    size_t i;

    for (i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!all[i])
            return 1;
    if (options.size != sizeof options || options.slot != SIGNPOST_ANY_SLOT || options.tensors || options.server)
        return 2;
    if (sizeof event != 64 || SIGNPOST_E_MISMATCH != -15 || SIGNPOST_REASON_OPERATOR != 17)
        return 3;
    if (signpost_open(&s, &options, NULL, 0) != SIGNPOST_E_MISSING || s)
        return 4;
    signpost_close(s);
    return 0;
}
