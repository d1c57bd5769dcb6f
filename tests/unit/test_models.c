/* lenet and resnet18 as wholes: tensors, initial weights, gradients against differences, statistics, limits. What they
 * compute is held to PyTorch's in tests/torch; here are the promises of model.h. */
#include "tests/unit/unit.h"
#include "worker/train/conv.h"
#include "worker/train/layers.h"
#include "worker/train/model.h"

#include <math.h>
#include <stdio.h>

#define N 4
#define CLASSES 5

static const struct sp_shape small = {2, 17, 18};

struct made {
    struct sp_model *model;
    const struct sp_layout *layout;
    float *theta, *buffers, *gradient, *x;
    uint8_t labels[32];
};

static struct sp_job job_of(enum sp_model_type type, uint32_t width)
{
    struct sp_job job = {.model = {.type = type, .width = width}};

    return job;
}

static float *fill(size_t count, uint64_t seed)
{
    float *values = unit_alloc(count * sizeof *values);
    struct sp_rng rng = unit_rng(seed);

    for (size_t i = 0; i < count; i++)
        values[i] = unit_uniform(&rng);
    return values;
}

static void make(struct made *m, enum sp_model_type type, const struct sp_shape *shape, uint32_t batch_max)
{
    struct sp_job job = job_of(type, 3);
    struct sp_error error = {0};

    ck_assert_msg(sp_model_create(&m->model, &job, shape, CLASSES, batch_max, &error) == SP_OK, "%s", error.text);
    m->layout = sp_model_layout(m->model);
    m->theta = unit_alloc(m->layout->coordinates * sizeof(float));
    m->buffers = unit_alloc(m->layout->buffers * sizeof(float));
    m->gradient = unit_alloc(m->layout->coordinates * sizeof(float));
    m->x = fill((size_t)batch_max * shape->channels * shape->height * shape->width, 5);
    for (uint8_t i = 0; i < 32; i++)
        m->labels[i] = i % CLASSES;
    sp_model_init(m->model, 3, m->theta, m->buffers);
    memset(m->gradient, 0xff, m->layout->coordinates * sizeof(float));
}

static void forget(struct made *m)
{
    sp_model_destroy(m->model);
    free(m->theta);
    free(m->buffers);
    free(m->gradient);
    free(m->x);
}

static double gradient(struct made *m, uint32_t n)
{
    return sp_model_gradient(m->model, m->theta, m->buffers, m->x, m->labels, n, m->gradient);
}

static const enum sp_model_type types[] = {SP_MODEL_LENET, SP_MODEL_RESNET18};

/* --- tensors ---------------------------------------------------------------------------------------------------------
 */

static void expect_tensor(const struct sp_layout *layout, uint32_t i, const char *name, uint32_t flags,
                          const char *shape)
{
    const struct sp_tensor *tensor = &layout->tensors[i];
    char text[128] = "";
    size_t used = 0;

    for (uint32_t k = 0; k < tensor->dims; k++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%llu", k > 0 ? "x" : "",
                                 (unsigned long long)tensor->shape[k]);
    ck_assert_str_eq(tensor->name, name);
    ck_assert_str_eq(text, shape);
    ck_assert_uint_eq(tensor->flags, flags);
}

static struct sp_model *create(enum sp_model_type type, uint32_t width, struct sp_shape shape, uint32_t classes)
{
    struct sp_job job = job_of(type, width);
    struct sp_model *model = NULL;
    struct sp_error error = {0};

    ck_assert_msg(sp_model_create(&model, &job, &shape, classes, 1, &error) == SP_OK, "%s", error.text);
    return model;
}

START_TEST(test_lenet_tensors)
{
    struct sp_model *model = create(SP_MODEL_LENET, 1, (struct sp_shape){1, 28, 28}, 10);
    const struct sp_layout *layout = sp_model_layout(model);

    ck_assert_uint_eq(layout->coordinates, 431080);
    ck_assert_uint_eq(layout->tensors_count, 8);
    ck_assert_uint_eq(layout->buffers, 0);
    expect_tensor(layout, 0, "conv1.weight", SP_TENSOR_DECAY, "20x1x5x5");
    expect_tensor(layout, 1, "conv1.bias", 0, "20");
    expect_tensor(layout, 2, "conv2.weight", SP_TENSOR_DECAY, "50x20x5x5");
    expect_tensor(layout, 4, "dense1.weight", SP_TENSOR_DECAY, "500x800");
    expect_tensor(layout, 6, "dense2.weight", SP_TENSOR_DECAY, "10x500");
    expect_tensor(layout, 7, "dense2.bias", 0, "10");
    sp_model_destroy(model);
}
END_TEST

START_TEST(test_resnet18_tensors)
{
    struct sp_model *model = create(SP_MODEL_RESNET18, 64, (struct sp_shape){3, 32, 32}, 10);
    const struct sp_layout *layout = sp_model_layout(model);
    unsigned norms = 0;

    ck_assert_uint_eq(layout->coordinates, 11173962);
    ck_assert_uint_eq(layout->trained, 62);
    ck_assert_uint_eq(layout->tensors_count, 62 + 40);
    ck_assert_uint_eq(layout->buffers, 9600);
    expect_tensor(layout, 0, "conv1.weight", SP_TENSOR_DECAY, "64x3x3x3");
    expect_tensor(layout, 1, "bn1.weight", 0, "64");
    expect_tensor(layout, 3, "layer1.0.conv1.weight", SP_TENSOR_DECAY, "64x64x3x3");
    expect_tensor(layout, 15, "layer2.0.conv1.weight", SP_TENSOR_DECAY, "128x64x3x3");
    expect_tensor(layout, 18, "layer2.0.conv2.weight", SP_TENSOR_DECAY, "128x128x3x3");
    expect_tensor(layout, 19, "layer2.0.downsample.0.weight", SP_TENSOR_DECAY, "128x64x1x1");
    expect_tensor(layout, 20, "layer2.0.downsample.1.weight", 0, "128");
    expect_tensor(layout, 22, "layer2.0.bn2.weight", 0, "128");
    expect_tensor(layout, 60, "fc.weight", SP_TENSOR_DECAY, "10x512");
    expect_tensor(layout, 61, "fc.bias", 0, "10");
    expect_tensor(layout, 62, "bn1.running_mean", SP_TENSOR_BUFFER, "64");
    expect_tensor(layout, 63, "bn1.running_var", SP_TENSOR_BUFFER, "64");
    for (uint32_t i = 0; i < layout->tensors_count; i++) {
        const struct sp_tensor *tensor = &layout->tensors[i];

        ck_assert_int_eq(tensor->flags == SP_TENSOR_DECAY, tensor->dims > 1);
        norms += strstr(tensor->name, "running_var") != NULL;
        if (strcmp(tensor->name, "layer3.0.downsample.0.weight") == 0)
            expect_tensor(layout, i, tensor->name, SP_TENSOR_DECAY, "256x128x1x1");
    }
    ck_assert_uint_eq(norms, 20);
    sp_model_destroy(model);
    model = create(SP_MODEL_RESNET18, 16, (struct sp_shape){3, 32, 32}, 10);
    ck_assert_uint_eq(sp_model_layout(model)->coordinates, 701466);
    sp_model_destroy(model);
}
END_TEST

/* Within the bound that fan-in gives, and by the generator's own words: tensor 3 is layer1.0.conv1.weight. */
START_TEST(test_initial_weights)
{
    struct made m;
    float bound = (float)sqrt(6.0 / (3 * 9));
    uint32_t word[4];

    make(&m, SP_MODEL_RESNET18, &small, 1);
    for (uint64_t e = 0; e < m.layout->tensors[3].count; e++) {
        sp_rng_block(sp_rng_key(3, SP_RNG_WEIGHTS), e / 4, 3, 0, word);
        unit_assert(m.theta[m.layout->tensors[3].first + e] == bound * (2.0f * sp_rng_unit(word[e % 4]) - 1.0f),
                    "weight %llu", (unsigned long long)e);
    }
    for (uint32_t i = 0; i < m.layout->tensors_count; i++) {
        const struct sp_tensor *tensor = &m.layout->tensors[i];
        const float *first = (i < m.layout->trained ? m.theta : m.buffers) + tensor->first;
        const char *kind = strrchr(tensor->name, '.');
        bool one = strcmp(kind, ".running_var") == 0 || (strcmp(kind, ".weight") == 0 && tensor->dims == 1);

        for (uint64_t e = 0; tensor->dims == 1 && e < tensor->count; e++)
            unit_assert(first[e] == (one ? 1.0f : 0.0f), "%s", tensor->name);
    }
    forget(&m);
}
END_TEST

/* --- gradients -------------------------------------------------------------------------------------------------------
 */

/* The loss a little further along one tensor's random direction, and back; in single precision differences of losses
 * are good to some percent, a ReLU that changes sides included; a missing factor or a wrong sign is far from that. */
static void expect_slope(struct made *m, uint32_t tensor)
{
    const struct sp_tensor *t = &m->layout->tensors[tensor];
    float *theta = m->theta + t->first, *kept = unit_alloc(t->count * sizeof *kept);
    float *other = unit_alloc(m->layout->coordinates * sizeof *other);
    float *buffers = fill((size_t)m->layout->buffers, 1); /* not looked at in training */
    float *way = fill(t->count, tensor + 100);
    double slope = 0.0, norm = 0.0, step, found;

    for (uint64_t e = 0; e < t->count; e++) {
        way[e] += m->gradient[t->first + e] > 0.0f ? 0.7f : -0.7f; /* not across the slope */
        slope += (double)way[e] * (double)m->gradient[t->first + e];
        norm += (double)way[e] * (double)way[e];
    }
    step = 1e-3 / sqrt(norm);
    memcpy(kept, theta, t->count * sizeof *kept);
    for (uint64_t e = 0; e < t->count; e++)
        theta[e] = kept[e] + (float)step * way[e];
    found = sp_model_gradient(m->model, m->theta, buffers, m->x, m->labels, N, other);
    for (uint64_t e = 0; e < t->count; e++)
        theta[e] = kept[e] - (float)step * way[e];
    found -= sp_model_gradient(m->model, m->theta, buffers, m->x, m->labels, N, other);
    memcpy(theta, kept, t->count * sizeof *kept);
    found /= 2.0 * step;
    ck_assert_msg(fabs(found - slope) <= 0.1 * fabs(slope) + 1e-3, "%s: the loss rises by %g, not by %g", t->name,
                  found, slope);
    free(kept);
    free(other);
    free(buffers);
    free(way);
}

START_TEST(test_gradient_against_differences)
{
    struct made m;
    double loss;

    make(&m, types[_i], &small, N);
    loss = gradient(&m, N);
    ck_assert(loss > 0.5 && loss < 6.0);
    for (uint64_t i = 0; i < m.layout->coordinates; i++)
        unit_assert(isfinite(m.gradient[i]), "coordinate %llu was not written", (unsigned long long)i);
    for (uint32_t i = 0; i < m.layout->trained; i++)
        expect_slope(&m, i);
    forget(&m);
}
END_TEST

/* The same bits again, with room for more, and after another batch size in between. */
START_TEST(test_same_bits)
{
    struct made m, roomy;
    double loss, other;

    make(&m, types[_i], &small, N);
    make(&roomy, types[_i], &small, N + 3);
    memcpy(roomy.x, m.x, (size_t)N * 2 * 17 * 18 * sizeof *m.x);
    (void)gradient(&roomy, N + 2);
    sp_model_init(roomy.model, 3, roomy.theta, roomy.buffers);
    loss = gradient(&m, N);
    other = gradient(&roomy, N);
    ck_assert(loss == other);
    ck_assert_mem_eq(m.gradient, roomy.gradient, m.layout->coordinates * sizeof(float));
    ck_assert_mem_eq(m.buffers, roomy.buffers, m.layout->buffers * sizeof(float));
    forget(&m);
    forget(&roomy);
}
END_TEST

START_TEST(test_not_a_number_shows)
{
    struct made m;

    make(&m, types[_i], &small, N);
    m.x[7] = NAN;
    ck_assert(isnan(gradient(&m, N)));
    ck_assert(isnan(m.gradient[0]));
    forget(&m);
}
END_TEST

/* --- running statistics, scores --------------------------------------------------------------------------------------
 */

/* By running statistics an example's logits do not depend on who is beside it; by a batch's own they would. */
START_TEST(test_logits_of_one_example)
{
    struct made m;
    float alone[CLASSES], among[CLASSES], *kept;
    const float *logits;

    make(&m, types[_i], &small, N);
    (void)gradient(&m, N);
    kept = unit_alloc(m.layout->buffers * sizeof *kept);
    memcpy(kept, m.buffers, m.layout->buffers * sizeof *kept);
    logits = sp_model_logits(m.model, m.theta, m.buffers, m.x, N);
    memcpy(among, logits + 2 * CLASSES, sizeof among);
    logits = sp_model_logits(m.model, m.theta, m.buffers, m.x + (size_t)2 * 2 * 17 * 18, 1);
    memcpy(alone, logits, sizeof alone);
    for (int k = 0; k < CLASSES; k++)
        ck_assert_double_eq_tol((double)alone[k], (double)among[k], 1e-4);
    ck_assert_mem_eq(kept, m.buffers, m.layout->buffers * sizeof *kept);
    free(kept);
    forget(&m);
}
END_TEST

START_TEST(test_score_goes_by_logits)
{
    struct made m;
    struct sp_score score = {0};
    uint64_t correct = 0;
    double loss = 0.0;

    make(&m, types[_i], &small, 3);
    (void)gradient(&m, 3);
    free(m.x);
    m.x = fill((size_t)N * 2 * 17 * 18, 5);
    for (uint32_t i = 0; i < 2; i++) { /* the score takes 3 and 1 of 4 with room for 3 */
        const float *logits = sp_model_logits(m.model, m.theta, m.buffers, m.x + (size_t)i * 2 * 2 * 17 * 18, 2);

        for (size_t k = 0; k < 2; k++) {
            loss += sp_softmax_loss(logits + k * CLASSES, CLASSES, m.labels[2 * i + k], 1.0, NULL);
            correct += sp_softmax_correct(logits + k * CLASSES, CLASSES, m.labels[2 * i + k]);
        }
    }
    sp_model_score(m.model, m.theta, m.buffers, m.x, m.labels, N, &score);
    ck_assert_uint_eq(score.total, N);
    ck_assert_uint_eq(score.correct, correct);
    ck_assert_double_eq_tol(score.loss_sum, loss, 1e-4);
    forget(&m);
}
END_TEST

/* Each training batch moves them by a tenth: after many of the same, a batch is scored as it was trained. */
START_TEST(test_running_statistics_reach_the_batch)
{
    struct made m;
    struct sp_score score = {0};
    double loss = 0.0;

    make(&m, SP_MODEL_RESNET18, &small, 32);
    for (int i = 0; i < 150; i++)
        loss = gradient(&m, 32);
    sp_model_score(m.model, m.theta, m.buffers, m.x, m.labels, 32, &score);
    ck_assert_double_eq_tol(score.loss_sum / 32.0, loss, 0.02);
    forget(&m);
}
END_TEST

/* --- limits ----------------------------------------------------------------------------------------------------------
 */

static void expect_refused(enum sp_model_type type, struct sp_shape shape, uint32_t batch_max, const char *words)
{
    struct sp_job job = job_of(type, 64);
    struct sp_model *model = NULL;
    struct sp_error error = {0};

    ck_assert_int_eq(sp_model_create(&model, &job, &shape, 10, batch_max, &error), SP_E_RANGE);
    ck_assert_ptr_null(model);
    ck_assert_msg(strstr(error.text, words) != NULL, "%s", error.text);
}

START_TEST(test_refused)
{
    expect_refused(SP_MODEL_LENET, (struct sp_shape){1, 4, 28}, 1,
                   "layer conv1: an image of 4 x 28 is smaller than its window of 5 x 5");
    expect_refused(SP_MODEL_LENET, (struct sp_shape){1, 13, 28}, 1,
                   "layer conv2: an image of 4 x 12 is smaller than its window of 5 x 5");
    expect_refused(SP_MODEL_LENET, (struct sp_shape){1, 14, 28}, 1,
                   "images of 1 x 14 x 28: after layer conv2: an image of 1 x 8 is too small to be pooled by 2 x 2");
    expect_refused(SP_MODEL_LENET, (struct sp_shape){1, 1, 784}, 1, "layer conv1: an image of 1 x 784");
    expect_refused(SP_MODEL_RESNET18, (struct sp_shape){1, 1, 3000}, 2, "text has a shape by data.csv.shape");
    expect_refused(SP_MODEL_RESNET18, (struct sp_shape){3, 32, 32}, 1u << 20, "more than 34359738368 bytes");
    expect_refused(SP_MODEL_RESNET18, (struct sp_shape){3, 2048, 2048}, 1000, "is too large");
    expect_refused(SP_MODEL_RESNET18, (struct sp_shape){0, 32, 32}, 1, "images of 0 x 32 x 32");
    expect_refused(SP_MODEL_RESNET18, (struct sp_shape){3, UINT32_MAX, UINT32_MAX}, 1, "values are allowed");
}
END_TEST

/* Four pixels are an image; the last stage has one of a channel left, which a batch of 1 cannot normalise. */
START_TEST(test_smallest_image)
{
    const struct sp_shape pixels = {1, 2, 2};
    struct sp_error error = {0};
    struct made m;

    make(&m, SP_MODEL_RESNET18, &pixels, N);
    ck_assert(isfinite(gradient(&m, N)));
    ck_assert_int_eq(sp_model_check_batch(m.model, 2, &error), SP_OK);
    ck_assert_int_eq(sp_model_check_batch(m.model, 1, &error), SP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.text, "train.batch: with 1, layer layer2.0.bn1 has a single value a channel"));
    forget(&m);
    make(&m, SP_MODEL_LENET, &small, 1);
    ck_assert_int_eq(sp_model_check_batch(m.model, 1, &error), SP_OK);
    forget(&m);
}
END_TEST

static void count_call(void *arg)
{
    ++*(unsigned *)arg;
}

START_TEST(test_progress_and_bytes)
{
    struct made m, more;
    unsigned calls = 0;
    char words[256];

    make(&m, SP_MODEL_RESNET18, &small, N);
    make(&more, SP_MODEL_RESNET18, &small, 2 * N);
    sp_model_on_progress(m.model, count_call, &calls);
    (void)gradient(&m, N);
    ck_assert_uint_ge(calls, 2 * 20);
    calls = 0;
    (void)sp_model_logits(m.model, m.theta, m.buffers, m.x, N);
    ck_assert_uint_ge(calls, 20);
    ck_assert_uint_gt(sp_model_bytes(more.model), sp_model_bytes(m.model));
    ck_assert_uint_eq(sp_model_conv_bytes(more.model), sp_model_conv_bytes(m.model));
    sp_model_words(m.model, words, sizeof words);
    ck_assert_ptr_nonnull(strstr(words, "parameters in 62 tensors and 450 running statistics; a batch of 4 takes"));
    forget(&m);
    forget(&more);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("models");

    tcase_add_test(tests, test_lenet_tensors);
    tcase_add_test(tests, test_resnet18_tensors);
    tcase_add_test(tests, test_initial_weights);
    tcase_add_loop_test(tests, test_gradient_against_differences, 0, 2);
    tcase_add_loop_test(tests, test_same_bits, 0, 2);
    tcase_add_loop_test(tests, test_not_a_number_shows, 0, 2);
    tcase_add_loop_test(tests, test_logits_of_one_example, 0, 2);
    tcase_add_loop_test(tests, test_score_goes_by_logits, 0, 2);
    tcase_add_test(tests, test_running_statistics_reach_the_batch);
    tcase_add_test(tests, test_refused);
    tcase_add_test(tests, test_smallest_image);
    tcase_add_test(tests, test_progress_and_bytes);
    return unit_run(suite_create("models"), tests);
}
