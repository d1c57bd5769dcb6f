/* The C side of test_votes.py: a learner that is driven by a file.
 *
 *     votes IN OUT
 *
 * IN, little-endian: u64 seed, u32 slot, f64 beta1, u8 scale of the dither (enum sp_dither_scale), u8 whether momentum
 * is pushed after the switch, u8 tracking, u32 tensors; of each tensor u32 flags, u8 traits and u64 size. Then steps,
 * each a letter and what belongs to it:
 *
 *     W  u32 round, all weights, all buffers: they are replaced
 *     G  f64 loss, u32 examples, the gradient, all buffers: a round is begun and pushed
 *     F  a frame as the server sends it, UPDATE or COMMIT
 *
 * OUT: the PUSH frames of each G; for each COMMIT u8 1 if the weights differed from its digest, else 0, the u64 digest
 * of the weights after it, and all buffers.
 */
#include "common/buffer.h"
#include "common/weights.h"
#include "worker/client/learner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *in, *out;
static struct sp_learner learner;
static float *gradient;

static _Noreturn void fail(const char *what, const struct sp_error *error)
{
    (void)fprintf(stderr, "votes: %s%s%s\n", what, error != NULL ? ": " : "", error != NULL ? error->text : "");
    exit(EXIT_FAILURE);
}

static void take(void *to, size_t bytes)
{
    if (bytes != 0 && fread(to, bytes, 1, in) != 1)
        fail("the file ends too early", NULL);
}

static void give(const void *from, size_t bytes)
{
    if (bytes != 0 && fwrite(from, bytes, 1, out) != 1)
        fail("cannot write", NULL);
}

static void set_up(void)
{
    struct sp_learner_setup setup = {0};
    struct sp_layout layout = {0};
    struct sp_error error = {0};
    uint8_t scale, momentum, tracking, traits[SP_TENSORS_MAX];
    uint32_t tensors;

    take(&setup.seed, sizeof setup.seed);
    take(&setup.slot, sizeof setup.slot);
    take(&setup.beta1, sizeof setup.beta1);
    take(&scale, 1);
    take(&momentum, 1);
    take(&tracking, 1);
    take(&tensors, sizeof tensors);
    setup.dither_scale = (enum sp_dither_scale)scale;
    setup.momentum_after = momentum != 0;
    setup.tracking = tracking != 0;
    setup.traits = traits;
    for (uint32_t i = 0; i < tensors && i < SP_TENSORS_MAX; i++) {
        struct sp_tensor tensor = {.dims = 1};

        (void)snprintf(tensor.name, sizeof tensor.name, "t%u", i);
        take(&tensor.flags, sizeof tensor.flags);
        take(&traits[i], 1);
        take(&tensor.shape[0], sizeof tensor.shape[0]);
        if (sp_layout_add(&layout, &tensor, &error) != SP_OK)
            fail("layout", &error);
    }
    gradient = calloc(layout.coordinates, sizeof *gradient);
    if (gradient == NULL || sp_learner_create(&learner, &layout) != SP_OK ||
        sp_learner_set_up(&learner, &setup) != SP_OK)
        fail("out of memory", NULL);
    sp_layout_finish(&layout);
}

static void take_buffers(void)
{
    take(learner.buffers, learner.layout.buffers * sizeof *learner.buffers);
}

static void replace(void)
{
    uint32_t round;

    take(&round, sizeof round);
    take(learner.theta, learner.layout.coordinates * sizeof *learner.theta);
    take_buffers();
    sp_learner_replaced(&learner, round);
}

static void push(void)
{
    static uint8_t bulk[SP_BULK_BYTES_MAX];
    struct sp_push scalars = {0};
    struct sp_message message = {0};
    size_t bytes;
    double loss;
    uint32_t examples;

    take(&loss, sizeof loss);
    take(&examples, sizeof examples);
    take(gradient, learner.layout.coordinates * sizeof *gradient);
    take_buffers();
    sp_learner_begin(&learner);
    if (sp_learner_gradient(&learner, 0, learner.layout.coordinates, gradient) != SP_OK)
        fail("gradient", NULL);
    if (!learner.abstained && isfinite(loss))
        sp_learner_scalars(&learner, loss, examples, &scalars);
    while (sp_learner_next_push(&learner, &scalars, &message, bulk, &bytes)) {
        struct sp_buffer *frame = sp_codec_encode(&message, bulk, bytes);

        if (frame == NULL)
            fail("out of memory", NULL);
        give(frame->data, frame->bytes);
        sp_buffer_release(frame);
    }
}

static void commit(const struct sp_message *message)
{
    struct sp_error error = {0};
    int e = sp_learner_commit(&learner, message->frame.round, &message->commit, &error);
    uint8_t differs = e == SP_E_MISMATCH;
    uint64_t digest;

    if (e != SP_OK && !differs)
        fail("commit", &error);
    digest = sp_weights_digest(learner.theta, learner.layout.coordinates);
    give(&differs, sizeof differs);
    give(&digest, sizeof digest);
    give(learner.buffers, learner.layout.buffers * sizeof *learner.buffers);
}

static void take_frame(void)
{
    static uint8_t control[SP_CONTROL_BYTES_MAX];
    uint8_t header[SP_FRAME_HEADER_BYTES];
    struct sp_message message = {0};
    struct sp_error error = {0};
    void *to = NULL;

    take(header, sizeof header);
    if (sp_frame_decode(header, &message.frame, &error) != SP_OK)
        fail("header", &error);
    take(control, message.frame.control_bytes);
    if (sp_frame_check_control(header, &message.frame, control, &error) != SP_OK ||
        sp_codec_decode(&message, control, &error) != SP_OK)
        fail("control message", &error);
    if (message.frame.type == SP_FRAME_UPDATE) {
        to = sp_learner_place(&learner, &message, &error);
        if (to == NULL)
            fail("update", &error);
        take(to, message.frame.bulk_bytes);
        if (sp_frame_check_bulk(&message.frame, to, &error) != SP_OK ||
            sp_learner_staged(&learner, &message, &error) != SP_OK)
            fail("bulk", &error);
    } else if (message.frame.type == SP_FRAME_COMMIT) {
        commit(&message);
    } else {
        fail("a frame that is neither UPDATE nor COMMIT", NULL);
    }
    sp_message_finish(&message);
}

int main(int argc, char **argv)
{
    int step;

    in = argc == 3 ? fopen(argv[1], "rb") : NULL;
    out = in != NULL ? fopen(argv[2], "wb") : NULL;
    if (out == NULL)
        fail("usage: votes IN OUT", NULL);
    set_up();
    while ((step = fgetc(in)) != EOF) {
        if (step == 'W')
            replace();
        else if (step == 'G')
            push();
        else if (step == 'F')
            take_frame();
        else
            fail("an unknown step", NULL);
    }
    sp_learner_finish(&learner);
    free(gradient);
    if (fclose(in) != 0 || fclose(out) != 0)
        fail("cannot write", NULL);
    return EXIT_SUCCESS;
}
