/* A worker that minimises f(x) = 0.5 * |x - c|^2, its gradients noisy, with the blocking interface of libsignpost.
 * Usage: quadratic HOST:PORT [JOB] [TOKEN_FILE] */
#include <inttypes.h>
#include <signpost.h>
#include <stdio.h>
#include <stdlib.h>

#define COORDINATES (40 * 25 + 40 + 1)

static const uint64_t matrix[] = {40, 25}, vector[] = {40}, single[] = {1};
static const struct signpost_tensor tensors[] = {
    {"matrix", matrix, 2, SIGNPOST_DECAY}, {"vector", vector, 1, 0}, {"single", single, 1, 0}};

/* Returns the loss at x. The gradient has noise of this worker's own, as if it came from a few examples. */
static double my_gradient(const float *x, float *gradient, unsigned *seed)
{
    double loss = 0;
    for (int i = 0; i < COORDINATES; i++) {
        double off = x[i] - (i * 37 % 101 / 50.0 - 1);
        loss += 0.5 * off * off;
        gradient[i] = (float)(off + rand_r(seed) / (double)RAND_MAX - 0.5);
    }
    return loss;
}

int main(int argc, char **argv)
{
    struct signpost_options options = SIGNPOST_OPTIONS_INIT;
    options.server = argc > 1 ? argv[1] : NULL;
    options.job = argc > 2 ? argv[2] : "quadratic";
    options.token_file = argc > 3 ? argv[3] : NULL;
    options.program = "quadratic 1";
    options.tensors = tensors;
    options.tensors_count = 3;
    options.give_up_s = 10;

    signpost *s;
    char words[256];
    if (signpost_open(&s, &options, words, sizeof words) != SIGNPOST_OK) {
        fprintf(stderr, "quadratic: %s\n", words);
        return 1;
    }
    static float gradient[COORDINATES];
    int rc = signpost_join(s, NULL);
    unsigned seed = (unsigned)signpost_slot(s) + 1;
    while (rc == SIGNPOST_OK) {
        double loss = my_gradient(signpost_weights(s), gradient, &seed);
        rc = signpost_step(s, gradient, loss, 1);
    }
    if (rc == SIGNPOST_OVER)
        printf("loss %.6f, weights %016" PRIx64 "\n", my_gradient(signpost_weights(s), gradient, &seed),
               signpost_weights_digest(s));
    else
        fprintf(stderr, "quadratic: %s\n", signpost_error(s));
    signpost_close(s);
    return rc == SIGNPOST_OVER ? 0 : 1;
}
