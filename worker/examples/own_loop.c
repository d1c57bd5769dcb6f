/* The worker of quadratic.c on an event loop of its own, with a clock beside the library to show that the loop turns.
 * It gives its gradient tensor by tensor, the last one first, as back-propagation would, and evaluates.
 * Usage: own_loop HOST:PORT [JOB] [TOKEN_FILE] */
#include <inttypes.h>
#include <signpost.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define COORDINATES (40 * 25 + 40 + 1)
#define TENSORS 3

static const uint64_t matrix[] = {40, 25}, vector[] = {40}, single[] = {1};
static const struct signpost_tensor tensors[TENSORS] = {
    {"matrix", matrix, 2, SIGNPOST_DECAY}, {"vector", vector, 1, 0}, {"single", single, 1, 0}};
static const int first[TENSORS + 1] = {0, 40 * 25, 40 * 25 + 40, COORDINATES};

struct worker {
    signpost *s;
    int next; /* the tensor whose gradient is computed next; -1: no gradient is due */
    int over; /* the job's end was seen */
    unsigned seed;
    double loss;
    float gradient[COORDINATES];
};

static double goal(int i)
{
    return i * 37 % 101 / 50.0 - 1;
}

/* The gradient of one tensor; the loop turns between two of them. */
static int compute(struct worker *w)
{
    const float *x = signpost_weights(w->s);
    int tensor = w->next--;
    for (int i = first[tensor]; i < first[tensor + 1]; i++) {
        double off = x[i] - goal(i);
        w->loss += 0.5 * off * off;
        w->gradient[i] = (float)(off + rand_r(&w->seed) / (double)RAND_MAX - 0.5);
    }
    int rc = signpost_gradient_tensor(w->s, (uint32_t)tensor, w->gradient + first[tensor]);
    if (rc == SIGNPOST_OK && w->next < 0)
        rc = signpost_push(w->s, w->loss, 1);
    return rc;
}

/* A test example is a coordinate here; it is right if it is near its goal. */
static int evaluate(struct worker *w, const struct signpost_event *event)
{
    const float *x = signpost_weights(w->s);
    uint64_t from = (uint64_t)COORDINATES * event->part / event->parts;
    uint64_t to = (uint64_t)COORDINATES * (event->part + 1) / event->parts;
    uint64_t correct = 0;
    double loss = 0;
    for (uint64_t i = from; i < to; i++) {
        double off = x[i] - goal((int)i);
        loss += 0.5 * off * off;
        correct += off * off < 0.01;
    }
    return signpost_score(w->s, event, correct, to - from, loss);
}

/* All that the library has for this worker now. */
static int answer(struct worker *w)
{
    struct signpost_event event;
    int rc = SIGNPOST_OK;
    while (rc == SIGNPOST_OK && !w->over) {
        rc = signpost_process(w->s, &event);
        if (rc != SIGNPOST_OK || event.type == SIGNPOST_NOTHING)
            break;
        switch (event.type) {
        case SIGNPOST_JOINED:
            w->seed = event.slot + 1;
            break;
        case SIGNPOST_INIT: {
            float *x = signpost_weights_to_init(w->s);
            for (int i = 0; i < COORDINATES; i++)
                x[i] = 0.0F;
            rc = signpost_init_done(w->s);
            break;
        }
        case SIGNPOST_GRADIENT:
            w->loss = 0;
            w->next = TENSORS - 1;
            break;
        case SIGNPOST_EVALUATE:
            rc = evaluate(w, &event);
            break;
        case SIGNPOST_DONE:
            w->over = 1;
            break;
        default:
            break;
        }
    }
    return rc;
}

static int add(int loop, int fd)
{
    struct epoll_event want = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(loop, EPOLL_CTL_ADD, fd, &want);
}

static int run(struct worker *w)
{
    int loop = epoll_create1(EPOLL_CLOEXEC);
    int clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec each = {.it_interval.tv_nsec = 200000000, .it_value.tv_nsec = 200000000};
    if (loop < 0 || add(loop, signpost_fd(w->s)) != 0 || timerfd_settime(clock, 0, &each, NULL) != 0 ||
        add(loop, clock) != 0) {
        perror("own_loop");
        exit(1);
    }
    int rc = answer(w);
    while (rc == SIGNPOST_OK && !w->over) {
        struct epoll_event ready[2];
        int count = epoll_wait(loop, ready, 2, w->next >= 0 ? 0 : signpost_timeout_ms(w->s));
        for (int i = 0; i < count; i++) {
            uint64_t ticks;
            if (ready[i].data.fd == clock && read(clock, &ticks, sizeof ticks) == sizeof ticks)
                fprintf(stderr, "own_loop: round %u of %u\n", signpost_round(w->s), signpost_rounds(w->s));
        }
        if (w->next >= 0)
            rc = compute(w);
        if (rc == SIGNPOST_OK)
            rc = answer(w);
    }
    close(clock);
    close(loop);
    return rc;
}

int main(int argc, char **argv)
{
    struct signpost_options options = SIGNPOST_OPTIONS_INIT;
    options.server = argc > 1 ? argv[1] : NULL;
    options.job = argc > 2 ? argv[2] : "quadratic";
    options.token_file = argc > 3 ? argv[3] : NULL;
    options.program = "own_loop 1";
    options.tensors = tensors;
    options.tensors_count = TENSORS;
    options.test_examples = COORDINATES;
    options.give_up_s = 10;

    static struct worker w = {.next = -1};
    char words[256];
    if (signpost_open(&w.s, &options, words, sizeof words) != SIGNPOST_OK) {
        fprintf(stderr, "own_loop: %s\n", words);
        return 1;
    }
    int rc = run(&w);
    if (rc == SIGNPOST_OK) {
        const float *x = signpost_weights(w.s);
        double loss = 0;
        for (int i = 0; i < COORDINATES; i++)
            loss += 0.5 * (x[i] - goal(i)) * (x[i] - goal(i));
        printf("loss %.6f, weights %016" PRIx64 "\n", loss, signpost_weights_digest(w.s));
    } else {
        fprintf(stderr, "own_loop: %s\n", signpost_error(w.s));
    }
    signpost_close(w.s);
    return rc == SIGNPOST_OK ? 0 : 1;
}
