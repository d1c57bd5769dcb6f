/* A worker whose gradients and buffers are made to order: some coordinates never have a gradient, and the buffers say
 * of themselves in which slot and round they were written. It prints what it sees as lines of JSON.
 *
 * Usage: made_worker HOST:PORT [SLOT [SHIFT [zero|pause|pause=MS [FOLDER]]]]
 *   SLOT   -1: any
 *   SHIFT  is added to all that it writes into its buffers
 *   zero   no coordinate ever has a gradient
 *   pause  it takes its time, 5 ms a gradient, or as many as it says
 *   FOLDER it saves its momentum there, of every round
 *
 * Lines: {"at": "init"|"gradient"|"evaluate"|"done", "round", "slot", "buffers": [...]}, buffers as they are found; the
 * last one has "digest", and "weights": {tensor: [...]} of those that are not busy.
 */
#include <inttypes.h>
#include <signpost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUSY = 40 * 25, STILL = 64, HALF = 16 * 16, BUSY_BIAS = 40, STILL_BIAS = 16, MEAN = 5 };
#define COORDINATES (BUSY + STILL + HALF + BUSY_BIAS + STILL_BIAS)
#define BUFFERS (MEAN + 1)
#define TEST_EXAMPLES 100

static const uint64_t busy[] = {40, 25}, still[] = {STILL}, half[] = {16, 16}, busy_bias[] = {BUSY_BIAS},
                      still_bias[] = {STILL_BIAS}, mean[] = {MEAN};
static const struct signpost_tensor tensors[] = {
    {"busy.weight", busy, 2, SIGNPOST_DECAY}, /* towards a point of its own, with noise */
    {"still.weight", still, 1, SIGNPOST_DECAY},
    {"half.weight", half, 2, SIGNPOST_DECAY}, /* its first half is still, the second has nothing but noise */
    {"busy.bias", busy_bias, 1, 0},
    {"still.bias", still_bias, 1, 0},
    {"norm.mean", mean, 1, SIGNPOST_BUFFER},
    {"norm.count", NULL, 0, SIGNPOST_BUFFER},
};

struct worker {
    signpost *s;
    double shift;
    int zero;
    long pause_ms;
    float gradient[COORDINATES];
};

/* -0.5 to 0.5, from nothing but who, when and where: a worker that starts anew goes on as the one before. */
static double noise(uint32_t slot, uint32_t round, uint32_t j)
{
    uint64_t x = ((uint64_t)slot << 56) ^ ((uint64_t)round << 24) ^ j;

    x = (x ^ (x >> 31)) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    return (double)((x ^ (x >> 32)) >> 11) / 9007199254740992.0 - 0.5;
}

static double make_gradient(struct worker *w, const struct signpost_event *event)
{
    const float *x = signpost_weights(w->s);
    double loss = 0.0;

    memset(w->gradient, 0, sizeof w->gradient);
    for (uint32_t j = 0; j < COORDINATES && !w->zero; j++) {
        int in_busy = j < BUSY || (j >= BUSY + STILL + HALF && j < BUSY + STILL + HALF + BUSY_BIAS);
        int in_half = j >= BUSY + STILL + HALF / 2 && j < BUSY + STILL + HALF;
        double off = in_busy ? (double)x[j] - ((double)(j * 37 % 101) / 50.0 - 1.0) : 0.0;

        loss += 0.5 * off * off;
        if (in_busy || in_half)
            w->gradient[j] = (float)(off + noise(event->slot, event->round, j));
    }
    return loss;
}

static void write_buffers(struct worker *w, const struct signpost_event *event)
{
    float *buffers = signpost_buffers(w->s);

    for (int i = 0; i < MEAN; i++)
        buffers[i] = (float)(w->shift + 64.0 * event->slot + event->round + 0.25 * i);
    buffers[MEAN] = (float)event->round;
}

static void print_values(const char *name, const float *values, int count)
{
    printf("\"%s\": [", name);
    for (int i = 0; i < count; i++)
        printf("%s%.9g", i > 0 ? ", " : "", (double)values[i]);
    printf("]");
}

static void print_line(const struct worker *w, const char *at, uint32_t round)
{
    const float *x = signpost_weights(w->s);

    printf("{\"at\": \"%s\", \"round\": %" PRIu32 ", \"slot\": %d, ", at, round, signpost_slot(w->s));
    print_values("buffers", signpost_buffers(w->s), BUFFERS);
    if (strcmp(at, "done") == 0) {
        printf(", \"digest\": \"%016" PRIx64 "\", \"weights\": {", signpost_weights_digest(w->s));
        print_values("still.weight", x + BUSY, STILL);
        printf(", ");
        print_values("half.weight", x + BUSY + STILL, HALF);
        printf(", ");
        print_values("still.bias", x + COORDINATES - STILL_BIAS, STILL_BIAS);
        printf("}");
    }
    printf("}\n");
    (void)fflush(stdout);
}

static int give_weights(struct worker *w)
{
    float *x = signpost_weights_to_init(w->s);

    print_line(w, "init", 0);
    for (int j = 0; j < COORDINATES; j++)
        x[j] = 1.0f;
    for (int i = 0; i < BUFFERS; i++)
        signpost_buffers(w->s)[i] = (float)(-1 - i);
    return signpost_init_done(w->s);
}

static int give_gradient(struct worker *w, const struct signpost_event *event)
{
    const struct timespec while_ = {w->pause_ms / 1000, w->pause_ms % 1000 * 1000000};
    double loss;
    int rc;

    print_line(w, "gradient", event->round);
    if (w->pause_ms > 0)
        (void)nanosleep(&while_, NULL);
    loss = make_gradient(w, event);
    write_buffers(w, event);
    rc = signpost_gradient(w->s, 0, COORDINATES, w->gradient);
    return rc == SIGNPOST_OK ? signpost_push(w->s, loss, 1) : rc;
}

static int evaluate(struct worker *w, const struct signpost_event *event)
{
    uint64_t first = (uint64_t)TEST_EXAMPLES * event->part / event->parts;
    uint64_t end = (uint64_t)TEST_EXAMPLES * (event->part + 1) / event->parts;

    print_line(w, "evaluate", event->round);
    return signpost_score(w->s, event, end - first, end - first, 0.0);
}

static int work(struct worker *w)
{
    struct signpost_event event = {0};
    int rc = SIGNPOST_OK;

    while (rc == SIGNPOST_OK && event.type != SIGNPOST_DONE) {
        rc = signpost_wait(w->s, -1, &event);
        if (rc == SIGNPOST_OK && event.type == SIGNPOST_INIT)
            rc = give_weights(w);
        else if (rc == SIGNPOST_OK && event.type == SIGNPOST_GRADIENT)
            rc = give_gradient(w, &event);
        else if (rc == SIGNPOST_OK && event.type == SIGNPOST_EVALUATE)
            rc = evaluate(w, &event);
    }
    if (rc == SIGNPOST_OK)
        print_line(w, "done", signpost_round(w->s));
    return rc;
}

static void say(void *arg, int level, const char *line)
{
    (void)arg;
    if (level <= SIGNPOST_LOG_INFO)
        fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
    static struct worker w;
    struct signpost_options options = SIGNPOST_OPTIONS_INIT;
    char words[256];
    int rc;

    options.server = argc > 1 ? argv[1] : NULL;
    options.slot = argc > 2 ? atoi(argv[2]) : SIGNPOST_ANY_SLOT;
    options.job = "made";
    options.program = "made_worker 1";
    options.tensors = tensors;
    options.tensors_count = sizeof tensors / sizeof tensors[0];
    options.test_examples = TEST_EXAMPLES;
    options.give_up_s = 10;
    options.log = say;
    w.shift = argc > 3 ? atof(argv[3]) : 0.0;
    w.zero = argc > 4 && strcmp(argv[4], "zero") == 0;
    if (argc > 4 && strncmp(argv[4], "pause", 5) == 0)
        w.pause_ms = argv[4][5] == '=' ? atol(argv[4] + 6) : 5;
    options.momentum_folder = argc > 5 ? argv[5] : NULL;
    options.momentum_every = 1;
    rc = signpost_open(&w.s, &options, words, sizeof words);
    if (rc != SIGNPOST_OK) {
        fprintf(stderr, "made_worker: %s\n", words);
        return 1;
    }
    rc = work(&w);
    if (rc != SIGNPOST_OK)
        fprintf(stderr, "made_worker: %s\n", signpost_error(w.s));
    signpost_close(w.s);
    return rc == SIGNPOST_OK ? 0 : 1;
}
