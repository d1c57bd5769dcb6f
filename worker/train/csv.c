#include "worker/train/data_parts.h"

int sp_csv_load(const struct sp_csv_options *options, const char *const *paths, size_t count, struct sp_examples *out,
                struct sp_error *error)
{
    (void)options;
    (void)paths;
    (void)count;
    (void)out;
    return sp_error_set(error, SP_E_UNSUPPORTED, "data.format csv comes with a later version");
}
