/* Steps of a model, timed: model_time NAME=VALUE... (tests/torch/model_words.h). A step is loss and gradient of one
 * batch; `warm` steps go before the `steps` that count. Prints a line of JSON; memory is in KiB, as the kernel counts
 * it (VmRSS, VmHWM), and `baseline` is before anything of the model or its data is there.
 */
#include "common/rng.h"
#include "tests/torch/model_words.h"

#include <cblas.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned long status_kib(const char *name)
{
    char line[256];
    unsigned long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");

    if (status == NULL)
        model_fail("cannot read /proc/self/status", NULL);
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            kib = strtoul(line + strlen(name) + 1, NULL, 10);
    }
    (void)fclose(status);
    return kib;
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill(float *x, uint64_t count)
{
    struct sp_rng rng;

    sp_rng_init(&rng, sp_rng_key(1, SP_RNG_TEST), 0, 0);
    for (uint64_t i = 0; i < count; i++)
        x[i] = 2.0f * sp_rng_unit(sp_rng_next(&rng)) - 1.0f;
}

static void time_steps(struct sp_model *model, const struct model_words *words)
{
    const struct sp_layout *layout = sp_model_layout(model);
    const uint64_t count = (uint64_t)words->batch * words->shape.channels * words->shape.height * words->shape.width;
    float *theta = model_floats(layout->coordinates), *gradient = model_floats(layout->coordinates);
    float *buffers = layout->buffers != 0 ? model_floats(layout->buffers) : NULL;
    float *x = model_floats(count);
    uint8_t *labels = calloc(words->batch, 1);

    if (labels == NULL)
        model_fail("no memory", NULL);
    fill(x, count);
    for (uint32_t i = 0; i < words->batch; i++)
        labels[i] = (uint8_t)(i % words->classes);
    sp_model_init(model, 1, theta, buffers);
    for (uint32_t i = 0; i < words->warm + words->steps; i++) {
        const double start = now();

        (void)sp_model_gradient(model, theta, buffers, x, labels, words->batch, gradient);
        if (i >= words->warm)
            (void)printf("%s%.6f", i > words->warm ? ", " : "", now() - start);
    }
    free(theta);
    free(gradient);
    free(buffers);
    free(x);
    free(labels);
}

int main(int argc, char **argv)
{
    const unsigned long baseline = status_kib("VmRSS");
    struct model_words words;
    struct sp_model *model;

    model_words_read(&words, argc - 1, argv + 1);
    sp_model_set_threads(1);
    model = model_words_create(&words);
    (void)printf("{\"who\": \"Signpost\", \"with\": \"%s, kernels for %s\", \"parameters\": %" PRIu64
                 ", \"model_bytes\": %" PRIu64 ", \"seconds\": [",
                 openblas_get_config(), openblas_get_corename(), sp_model_layout(model)->coordinates,
                 sp_model_bytes(model));
    time_steps(model, &words);
    (void)printf("], \"baseline\": %lu, \"peak\": %lu}\n", baseline, status_kib("VmHWM"));
    sp_model_destroy(model);
    return EXIT_SUCCESS;
}
