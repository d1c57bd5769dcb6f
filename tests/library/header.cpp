/* A program of one file that includes signpost.h alone, as C++11. It is compiled by test_install.py. */
#include <signpost.h>

typedef void (*function)(void);

static const function all[] = {
    reinterpret_cast<function>(signpost_code_text),
    reinterpret_cast<function>(signpost_reason_text),
    reinterpret_cast<function>(signpost_version),
    reinterpret_cast<function>(signpost_open),
    reinterpret_cast<function>(signpost_close),
    reinterpret_cast<function>(signpost_join),
    reinterpret_cast<function>(signpost_step),
    reinterpret_cast<function>(signpost_wait),
    reinterpret_cast<function>(signpost_process),
    reinterpret_cast<function>(signpost_fd),
    reinterpret_cast<function>(signpost_timeout_ms),
    reinterpret_cast<function>(signpost_weights_to_init),
    reinterpret_cast<function>(signpost_init_done),
    reinterpret_cast<function>(signpost_gradient),
    reinterpret_cast<function>(signpost_gradient_tensor),
    reinterpret_cast<function>(signpost_push),
    reinterpret_cast<function>(signpost_score),
    reinterpret_cast<function>(signpost_alive),
    reinterpret_cast<function>(signpost_weights),
    reinterpret_cast<function>(signpost_coordinates),
    reinterpret_cast<function>(signpost_weights_digest),
    reinterpret_cast<function>(signpost_buffers),
    reinterpret_cast<function>(signpost_slot),
    reinterpret_cast<function>(signpost_round),
    reinterpret_cast<function>(signpost_rounds),
    reinterpret_cast<function>(signpost_phase),
    reinterpret_cast<function>(signpost_plan),
    reinterpret_cast<function>(signpost_plan_item),
    reinterpret_cast<function>(signpost_count),
    reinterpret_cast<function>(signpost_error),
    reinterpret_cast<function>(signpost_reason),
};

int main(void)
{
    struct signpost_options options = SIGNPOST_OPTIONS_INIT;
    struct signpost_event event;
    signpost *s = nullptr;
    size_t i;

    for (i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!all[i])
            return 1;
    if (options.size != sizeof options || options.slot != SIGNPOST_ANY_SLOT || options.tensors || options.server)
        return 2;
    if (sizeof event != 64 || SIGNPOST_E_MISMATCH != -15 || SIGNPOST_REASON_OPERATOR != 17)
        return 3;
    if (signpost_open(&s, &options, nullptr, 0) != SIGNPOST_E_MISSING || s)
        return 4;
    signpost_close(s);
    return 0;
}
