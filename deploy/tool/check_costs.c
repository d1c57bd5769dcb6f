/* What a round costs on the wire, and which tensors it is about. */
#include "common/rules.h"
#include "deploy/tool/check.h"
#include "proto/chunks.h"

#include <stdlib.h>

/* Bytes of a worker's round in some form: its chunks and a header for each; up to the server, or down from it. */
static double round_bytes(const struct sp_layout *layout, const struct sp_round_form *form, unsigned voters)
{
    uint32_t chunks = sp_chunks_count(layout, form);
    double bytes = 0.0;

    for (uint32_t k = 0; k < chunks; k++) {
        struct sp_chunk chunk = sp_chunk_at(layout, form, k);

        bytes += SP_FRAME_HEADER_BYTES;
        bytes += (double)(voters > 0 ? sp_chunk_update_bytes(form, &chunk, voters) : chunk.bytes);
    }
    return bytes;
}

static void print_phase(const struct sp_job *job, const struct sp_layout *layout, const struct sp_round_form *form,
                        const char *name)
{
    (void)printf("  %-16s %s up, %s down\n", name, tool_bytes(round_bytes(layout, form, 0)),
                 tool_bytes(round_bytes(layout, form, job->workers)));
}

bool check_has_phase(const struct sp_job *job, enum sp_phase phase)
{
    bool hybrid = job->optimizer.mode == SP_MODE_HYBRID;

    if (phase == SP_PHASE_SIGN)
        return hybrid && job->optimizer.start == SP_START_SIGN;
    if (phase == SP_PHASE_MARGIN)
        return hybrid && (job->optimizer.start == SP_START_MARGIN || job->optimizer.switch_.to == SP_SWITCH_TO_MARGIN);
    return true;
}

void check_costs(const struct sp_job *job, const struct sp_layout *layout)
{
    static const char *const wires[] = {"sgd, float32", "sgd, bfloat16", "sgd, int8"};
    enum sp_wire wire = sp_job_wire(job);

    (void)printf("a worker's round, without the 600 bytes of statistics that ride on it:\n");
    if (check_has_phase(job, SP_PHASE_SIGN))
        print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_SIGN}, "sign");
    if (check_has_phase(job, SP_PHASE_MARGIN))
        print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_MARGIN}, "margin");
    print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_SGD, .wire = wire}, wires[wire]);
    if (wire != SP_WIRE_F32)
        print_phase(job, layout, &(struct sp_round_form){.phase = SP_PHASE_SGD}, "(float32)");
}

/* The model's layout with the job's rules; those that match no tensor are said. */
int check_tensors(const struct sp_job *job, struct sp_layout *layout, struct sp_error *error)
{
    uint8_t *traits = calloc(layout->trained, 1);
    const struct sp_tensor_rule *idle;

    if (traits == NULL)
        return sp_error_set(error, SP_E_NOMEM, "out of memory");
    (void)sp_job_traits(job, layout, traits);
    sp_layout_set_traits(layout, traits);
    free(traits);
    for (unsigned i = 0; (idle = sp_job_idle_rule(job, layout, i)) != NULL; i++)
        (void)printf("tensors: no tensor of the model matches '%s'; that rule does nothing\n", idle->match);
    for (uint32_t i = 0; i < layout->trained; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];

        (void)printf("  %-24s %10llu parameters%s%s\n", tensor->name, (unsigned long long)tensor->count,
                     sp_tensor_is(tensor, SP_TENSOR_FULL) ? ", in full precision" : "",
                     sp_tensor_is(tensor, SP_TENSOR_DECAY) ? ", weight decay" : "");
    }
    return SP_OK;
}
