/* The job and the model of a checkpoint: what is needed before its state can be read. */
#include "common/check.h"
#include "server/round_state.h"

#include <stdio.h>
#include <string.h>

/* --- the job: its keys, a line each, "path<tab>value" ----------------------------------------------------------------
 */

size_t sp_state_write_job(const struct sp_job *job, char *text, size_t room)
{
    char value[SP_VALUE_BYTES];
    size_t used = 0;

    for (size_t i = 0; i < sp_job_keys_count; i++) {
        sp_job_get(job, &sp_job_keys[i], value, sizeof value);
        used += (size_t)snprintf(text != NULL ? text + used : NULL, text != NULL ? room - used : 0, "%s\t%s\n",
                                 sp_job_keys[i].path, value);
    }
    return used;
}

/* One line without its end. */
static int take_key(struct sp_job *job, const char *line, size_t length, struct sp_error *error)
{
    char text[SP_VALUE_BYTES + 256];
    char *tab;

    if (length >= sizeof text)
        return sp_error_set(error, SP_E_CORRUPT, "a key of %zu bytes", length);
    memcpy(text, line, length);
    text[length] = '\0';
    tab = strchr(text, '\t');
    if (tab == NULL)
        return sp_error_set(error, SP_E_CORRUPT, "a key without a value");
    *tab = '\0';
    return sp_job_set(job, text, tab + 1, error);
}

int sp_state_job(const struct sp_checkpoint *checkpoint, struct sp_job *job, struct sp_error *error)
{
    const struct sp_checkpoint_section *section = sp_checkpoint_find(checkpoint, "job");
    const char *at = section != NULL ? section->bytes : NULL, *end = at != NULL ? at + section->count : NULL;
    int rc = SP_OK;

    if (at == NULL)
        return sp_error_set(error, SP_E_CORRUPT, "the checkpoint of round %u has no job", checkpoint->round);
    sp_job_init(job);
    while (rc == SP_OK && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));

        if (newline == NULL)
            return sp_error_set(error, SP_E_CORRUPT, "the job in the checkpoint of round %u is cut short",
                                checkpoint->round);
        rc = take_key(job, at, (size_t)(newline - at), error);
        at = newline + 1;
    }
    if (rc != SP_OK)
        return sp_error_prefix(error, "the job in the checkpoint of round %u", checkpoint->round);
    return SP_OK;
}

/* --- the model -------------------------------------------------------------------------------------------------------
 */

static void visit_tensor(struct sp_archive *a, struct sp_layout *layout, uint32_t i)
{
    struct sp_tensor tensor = {0};

    if (a->saving)
        tensor = layout->tensors[i];
    sp_archive_text(a, tensor.name, sizeof tensor.name);
    tensor.dims = sp_archive_limited(a, tensor.dims, SP_TENSOR_DIMS_MAX);
    sp_archive_u32(a, &tensor.flags);
    for (uint32_t k = 0; k < tensor.dims; k++)
        sp_archive_u64(a, &tensor.shape[k]);
    if (!a->saving && !a->bad && sp_layout_add(layout, &tensor, NULL) != SP_OK)
        a->bad = true;
}

void sp_state_visit_model(struct sp_archive *a, struct sp_hello *model)
{
    uint32_t tensors = sp_archive_limited(a, model->layout.tensors_count, SP_TENSORS_MAX);

    sp_archive_u64(a, &model->examples);
    sp_archive_u64(a, &model->test_examples);
    sp_archive_u64(a, &model->data_digest);
    for (uint32_t i = 0; i < tensors && !a->bad; i++)
        visit_tensor(a, &model->layout, i);
}
