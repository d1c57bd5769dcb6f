/* The C side of the tests in this folder: a model's arithmetic, from a pipe to a pipe.
 *
 *     model_step layout WORD...    a line a tensor: name, whether trained (1) or a buffer (0), its dimensions
 *     model_step step WORD...      `steps` steps of plain gradient descent (the words: model_words.h)
 *
 * stdin: theta, buffers, then of each step x [batch, channels, height, width] and labels [batch]; stdout: of each step
 * the loss; of the last the gradient; then theta and buffers after all steps, and the logits of the last x by these.
 * All float32, but labels u8 and losses f64; little-endian.
 */
#include "tests/torch/model_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take(void *to, uint64_t count, size_t size)
{
    if (fread(to, size, (size_t)count, stdin) != (size_t)count)
        model_fail("stdin ends too early", NULL);
}

static void give(const void *from, uint64_t count, size_t size)
{
    if (fwrite(from, size, (size_t)count, stdout) != (size_t)count)
        model_fail("cannot write to stdout", NULL);
}

static void print_layout(const struct sp_layout *layout)
{
    for (uint32_t i = 0; i < layout->tensors_count; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];

        (void)printf("%s %d", tensor->name, (tensor->flags & SP_TENSOR_BUFFER) == 0);
        for (uint32_t j = 0; j < tensor->dims; j++)
            (void)printf(" %" PRIu64, tensor->shape[j]);
        (void)printf("\n");
    }
}

static void run_steps(struct sp_model *model, const struct model_words *words)
{
    const struct sp_layout *layout = sp_model_layout(model);
    const uint64_t inputs = (uint64_t)words->shape.channels * words->shape.height * words->shape.width;
    const uint64_t d = layout->coordinates;
    float *theta = model_floats(d), *gradient = model_floats(d), *buffers = model_floats(layout->buffers);
    float *x = model_floats(words->batch * inputs);
    uint8_t *labels = calloc(words->batch, 1);

    if (labels == NULL)
        model_fail("no memory", NULL);
    take(theta, d, sizeof *theta);
    take(buffers, layout->buffers, sizeof *buffers);
    memset(gradient, 0xff, d * sizeof *gradient); /* NaN: what is not written shows */
    for (uint32_t i = 0; i < words->steps; i++) {
        double loss;

        take(x, words->batch * inputs, sizeof *x);
        take(labels, words->batch, 1);
        loss =
            sp_model_gradient(model, theta, layout->buffers != 0 ? buffers : NULL, x, labels, words->batch, gradient);
        give(&loss, 1, sizeof loss);
        for (uint64_t j = 0; j < d; j++)
            theta[j] -= words->rate * gradient[j];
    }
    give(gradient, d, sizeof *gradient);
    give(theta, d, sizeof *theta);
    give(buffers, layout->buffers, sizeof *buffers);
    give(sp_model_logits(model, theta, layout->buffers != 0 ? buffers : NULL, x, words->batch),
         (uint64_t)words->batch * words->classes, sizeof(float));
    free(theta);
    free(gradient);
    free(buffers);
    free(x);
    free(labels);
}

int main(int argc, char **argv)
{
    struct model_words words;
    struct sp_model *model;

    if (argc < 2 || (strcmp(argv[1], "layout") != 0 && strcmp(argv[1], "step") != 0))
        model_fail("usage: model_step layout|step NAME=VALUE...", NULL);
    model_words_read(&words, argc - 2, argv + 2);
    sp_model_set_threads(1);
    model = model_words_create(&words);
    if (strcmp(argv[1], "layout") == 0)
        print_layout(sp_model_layout(model));
    else
        run_steps(model, &words);
    sp_model_destroy(model);
    if (fflush(stdout) != 0)
        model_fail("cannot write to stdout", NULL);
    return EXIT_SUCCESS;
}
