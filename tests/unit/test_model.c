/* Layers and models: against twins as plain loops in double, against finite differences, and by hand. */
#include "common/rng.h"
#include "tests/unit/naive_layers.h"
#include "tests/unit/near.h"
#include "worker/train/data.h"
#include "worker/train/layers.h"
#include "worker/train/model.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `count` numbers uniform on [-1, 1), the same for the same `lane`; the caller frees them. */
static float *random_floats(size_t count, uint32_t lane)
{
    float *values = near_floats(count);
    struct sp_rng rng;

    sp_rng_init(&rng, sp_rng_key(1, SP_RNG_TEST), 0, lane);
    for (size_t i = 0; i < count; i++)
        values[i] = 2.0f * sp_rng_unit(sp_rng_next(&rng)) - 1.0f;
    return values;
}

static uint8_t *random_labels(size_t count, uint32_t classes, uint32_t lane)
{
    uint8_t *labels = malloc(count);
    struct sp_rng rng;

    ck_assert_ptr_nonnull(labels);
    sp_rng_init(&rng, sp_rng_key(2, SP_RNG_TEST), 0, lane);
    for (size_t i = 0; i < count; i++)
        labels[i] = (uint8_t)sp_rng_below(&rng, classes);
    return labels;
}

static const uint32_t dense_shapes[][3] = {
    {1, 1, 1}, {5, 7, 3}, {16, 64, 10}, {33, 129, 65}, {64, 784, 200}}; /* n, in, out */

START_TEST(test_dense_against_naive)
{
    const uint32_t n = dense_shapes[_i][0], in = dense_shapes[_i][1], out = dense_shapes[_i][2];
    float *x = random_floats((size_t)n * in, 1), *w = random_floats((size_t)out * in, 2), *b = random_floats(out, 3);
    float *d_y = random_floats((size_t)n * out, 4);
    float *y = near_floats((size_t)n * out), *d_w = near_floats((size_t)out * in), *d_b = near_floats(out);
    float *d_x = near_floats((size_t)n * in), *d_w2 = near_floats((size_t)out * in), *d_b2 = near_floats(out);
    double *nx = near_widen(x, (size_t)n * in), *nw = near_widen(w, (size_t)out * in), *nb = near_widen(b, out);
    double *nd_y = near_widen(d_y, (size_t)n * out), *ny = near_doubles((size_t)n * out),
           *nd_w = near_doubles((size_t)out * in);
    double *nd_b = near_doubles(out), *nd_x = near_doubles((size_t)n * in);
    void *all[] = {x, w, b, d_y, y, d_w, d_b, d_x, d_w2, d_b2, nx, nw, nb, nd_y, ny, nd_w, nd_b, nd_x};

    /* What was in the output before must not matter, not even NaN. */
    memset(y, 0xff, (size_t)n * out * sizeof *y);
    memset(d_w, 0xff, (size_t)out * in * sizeof *d_w);
    memset(d_b, 0xff, out * sizeof *d_b);
    memset(d_x, 0xff, (size_t)n * in * sizeof *d_x);
    sp_dense_forward(x, w, b, n, in, out, y);
    sp_dense_backward(x, w, d_y, n, in, out, d_w, d_b, d_x);
    naive_dense_forward(nx, nw, nb, n, in, out, ny);
    naive_dense_backward(nx, nw, nd_y, n, in, out, nd_w, nd_b, nd_x);
    near_expect(y, ny, (size_t)n * out, "y");
    near_expect(d_w, nd_w, (size_t)out * in, "d_weight");
    near_expect(d_b, nd_b, out, "d_bias");
    near_expect(d_x, nd_x, (size_t)n * in, "d_x");
    sp_dense_backward(x, w, d_y, n, in, out, d_w2, d_b2, NULL);
    ck_assert_mem_eq(d_w, d_w2, (size_t)out * in * sizeof *d_w);
    ck_assert_mem_eq(d_b, d_b2, out * sizeof *d_b);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}
END_TEST

/* The PyTorch convention, with numbers that can be worked out by hand: y = x W^T + b. */
START_TEST(test_dense_by_hand)
{
    const float x[] = {1, 2, 3}, w[] = {1, 0, -1, 2, 1, 0}, b[] = {10, 20}, d_y[] = {1, -2};
    const float d_w_expected[] = {1, 2, 3, -2, -4, -6}, d_x_expected[] = {-3, -2, -1};
    float y[2], d_w[6], d_b[2], d_x[3];

    sp_dense_forward(x, w, b, 1, 3, 2, y);
    ck_assert(y[0] == 8.0f && y[1] == 24.0f);
    sp_dense_backward(x, w, d_y, 1, 3, 2, d_w, d_b, d_x);
    for (int i = 0; i < 6; i++)
        ck_assert(d_w[i] == d_w_expected[i]);
    for (int i = 0; i < 3; i++)
        ck_assert(d_x[i] == d_x_expected[i]);
    ck_assert(d_b[0] == 1.0f && d_b[1] == -2.0f);
}
END_TEST

/* The loss sum_k c_k y_k of one dense layer, whose exact derivatives come from d_y = c. */
static double weighted_output(const double *x, const double *w, const double *b, const double *c, double *y)
{
    double sum = 0.0;

    naive_dense_forward(x, w, b, 3, 4, 5, y);
    for (int i = 0; i < 15; i++)
        sum += c[i] * y[i];
    return sum;
}

/* One by one, each of `count` numbers that the loss depends on is moved to both sides. */
static void expect_dense_derivatives(double *moved, size_t count, const double *derivatives, const double *x,
                                     const double *w, const double *b, const double *c, const char *what)
{
    double y[15], found[20];

    for (size_t i = 0; i < count; i++) {
        double kept = moved[i], above;

        moved[i] = kept + NEAR_STEP;
        above = weighted_output(x, w, b, c, y);
        moved[i] = kept - NEAR_STEP;
        found[i] = (above - weighted_output(x, w, b, c, y)) / (2 * NEAR_STEP);
        moved[i] = kept;
    }
    near_expect_doubles(derivatives, found, count, NEAR_DIFFERENCE, what);
}

/* The twins themselves: with them right, the comparison above makes the real layers right. */
START_TEST(test_dense_differences)
{
    float *fx = random_floats(12, 5), *fw = random_floats(20, 6), *fb = random_floats(5, 7), *fc = random_floats(15, 8);
    double *x = near_widen(fx, 12), *w = near_widen(fw, 20), *b = near_widen(fb, 5), *c = near_widen(fc, 15);
    double d_w[20], d_b[5], d_x[12];
    void *all[] = {fx, fw, fb, fc, x, w, b, c};

    naive_dense_backward(x, w, c, 3, 4, 5, d_w, d_b, d_x);
    expect_dense_derivatives(w, 20, d_w, x, w, b, c, "d_weight");
    expect_dense_derivatives(b, 5, d_b, x, w, b, c, "d_bias");
    expect_dense_derivatives(x, 12, d_x, x, w, b, c, "d_x");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}
END_TEST

START_TEST(test_softmax_differences)
{
    float *random = random_floats(7, 9), d_real[7];
    double *logits = near_widen(random, 7), d_naive[7], found[7];
    const uint8_t label = (uint8_t)_i;

    for (int k = 0; k < 7; k++) {
        double kept = logits[k], above;

        logits[k] = kept + NEAR_STEP;
        above = naive_softmax_loss(logits, 7, label, 0.25, NULL);
        logits[k] = kept - NEAR_STEP;
        found[k] = 0.25 * (above - naive_softmax_loss(logits, 7, label, 0.25, NULL)) / (2 * NEAR_STEP);
        logits[k] = kept;
    }
    /* Of the loss itself both compute in double: only the rounding of a few operations is between them. */
    ck_assert_double_eq_tol(naive_softmax_loss(logits, 7, label, 0.25, d_naive),
                            sp_softmax_loss(random, 7, label, 0.25, d_real), 1e-14);
    near_expect_doubles(d_naive, found, 7, NEAR_DIFFERENCE, "d_logits");
    near_expect(d_real, found, 7, "d_logits");
    free(random);
    free(logits);
}
END_TEST

/* Logits 0 and log 3 are the probabilities 1/4 and 3/4. log 3 as float32 is off by some 1e-8. */
START_TEST(test_softmax_by_hand)
{
    const float logits[] = {0.0f, 1.0986123f};
    float d_logits[2];

    ck_assert_double_eq_tol(sp_softmax_loss(logits, 2, 1, 1.0, d_logits), log(4.0 / 3.0), 1e-7);
    ck_assert_double_eq_tol((double)d_logits[0], 0.25, 1e-7);
    ck_assert_double_eq_tol((double)d_logits[1], -0.25, 1e-7);
    ck_assert_double_eq_tol(sp_softmax_loss(logits, 2, 0, 0.5, d_logits), log(4.0), 1e-7);
    ck_assert_double_eq_tol((double)d_logits[0], -0.375, 1e-7);
    ck_assert_double_eq_tol((double)d_logits[1], 0.375, 1e-7);
}
END_TEST

START_TEST(test_softmax_extremes)
{
    const float far[] = {1000.0f, 0.0f, -1000.0f}, one[] = {-5.0f};
    const float not_a_number[] = {0.0f, NAN}, infinite[] = {INFINITY, 0.0f};
    float d_logits[3];

    ck_assert(sp_softmax_loss(far, 3, 2, 1.0, d_logits) == 2000.0);
    ck_assert(d_logits[0] == 1.0f && d_logits[1] == 0.0f && d_logits[2] == -1.0f);
    ck_assert(sp_softmax_loss(far, 3, 0, 1.0, d_logits) == 0.0);
    ck_assert(d_logits[0] == 0.0f && d_logits[1] == 0.0f && d_logits[2] == 0.0f);
    ck_assert(sp_softmax_loss(one, 1, 0, 1.0, d_logits) == 0.0);
    ck_assert(isnan(sp_softmax_loss(not_a_number, 2, 0, 1.0, d_logits)));
    ck_assert(isnan(d_logits[0]) && isnan(d_logits[1]));
    ck_assert(!isfinite(sp_softmax_loss(infinite, 2, 1, 1.0, d_logits)));
    ck_assert(!isfinite(d_logits[0]));
}
END_TEST

START_TEST(test_argmax)
{
    const float ties[] = {1.0f, 3.0f, 3.0f, 2.0f}, zeros[] = {0.0f, -0.0f}, minus[] = {-INFINITY, -INFINITY};
    const float first_nan[] = {NAN, 1.0f}, last_nan[] = {1.0f, NAN}, infinite[] = {0.0f, INFINITY};

    for (uint8_t label = 0; label < 4; label++)
        ck_assert_int_eq(sp_softmax_correct(ties, 4, label), label == 1);
    for (uint8_t label = 0; label < 2; label++) {
        ck_assert_int_eq(sp_softmax_correct(zeros, 2, label), label == 0);
        ck_assert_int_eq(sp_softmax_correct(minus, 2, label), label == 0);
        ck_assert_int_eq(sp_softmax_correct(infinite, 2, label), label == 1);
        ck_assert(!sp_softmax_correct(first_nan, 2, label));
        ck_assert(!sp_softmax_correct(last_nan, 2, label));
    }
}
END_TEST

START_TEST(test_relu)
{
    float y[] = {-1.0f, 0.0f, 2.0f, NAN, -INFINITY, INFINITY};
    float d_y[] = {1.0f, 1.0f, 1.0f, 1.0f, NAN, NAN};
    double wide[] = {-1.0, 0.0, 2.0}, d_wide[] = {1.0, 1.0, 1.0};

    sp_relu_forward(y, 6);
    naive_relu_forward(wide, 3);
    for (int i = 0; i < 3; i++)
        ck_assert((double)y[i] == wide[i]);
    ck_assert(isnan(y[3]) && y[4] == 0.0f && y[5] == INFINITY);
    sp_relu_backward(y, d_y, 6);
    naive_relu_backward(wide, d_wide, 3);
    for (int i = 0; i < 3; i++)
        ck_assert((double)d_y[i] == d_wide[i]);
    ck_assert(d_y[0] == 0.0f && d_y[1] == 0.0f && d_y[2] == 1.0f);
    ck_assert(d_y[3] == 1.0f && d_y[4] == 0.0f && isnan(d_y[5]));
}
END_TEST

/* ---- whole models ---- */

#define INPUTS 6
#define CLASSES 4
#define BATCH 5

/* 0: softmax regression; 1: one hidden layer; 2: three. */
static struct sp_job job_of(int i)
{
    struct sp_job job = {.model = {.type = i == 0 ? SP_MODEL_SOFTMAX : SP_MODEL_MLP, .hidden = {7, 5, 3}}};

    job.model.hidden_count = i == 2 ? 3 : 1;
    return job;
}

static struct sp_model *create(const struct sp_job *job, uint32_t inputs, uint32_t classes, uint32_t batch_max)
{
    struct sp_model *model = NULL;
    struct sp_error error = {0};
    int rc = sp_model_create(&model, job, &(struct sp_shape){1, 1, inputs}, classes, batch_max, &error);

    ck_assert_msg(rc == SP_OK, "%s", error.text);
    return model;
}

static void expect_tensor(const struct sp_layout *layout, uint32_t i, const char *name, uint64_t out, uint64_t in)
{
    const struct sp_tensor *tensor = &layout->tensors[i];

    ck_assert_str_eq(tensor->name, name);
    ck_assert_uint_eq(tensor->dims, in > 0 ? 2 : 1);
    ck_assert_uint_eq(tensor->flags, in > 0 ? SP_TENSOR_DECAY : 0);
    ck_assert_uint_eq(tensor->shape[0], out);
    if (in > 0)
        ck_assert_uint_eq(tensor->shape[1], in);
}

START_TEST(test_layout)
{
    struct sp_job softmax = job_of(0), mlp = job_of(1);
    struct sp_model *model = create(&softmax, 64, 10, 1);

    ck_assert_uint_eq(sp_model_layout(model)->tensors_count, 2);
    ck_assert_uint_eq(sp_model_layout(model)->coordinates, 650);
    expect_tensor(sp_model_layout(model), 0, "dense1.weight", 10, 64);
    expect_tensor(sp_model_layout(model), 1, "dense1.bias", 10, 0);
    sp_model_destroy(model);
    model = create(&mlp, 64, 10, 1);
    ck_assert_uint_eq(sp_model_layout(model)->tensors_count, 4);
    ck_assert_uint_eq(sp_model_layout(model)->coordinates, 7 * 64 + 7 + 10 * 7 + 10);
    expect_tensor(sp_model_layout(model), 0, "dense1.weight", 7, 64);
    expect_tensor(sp_model_layout(model), 1, "dense1.bias", 7, 0);
    expect_tensor(sp_model_layout(model), 2, "dense2.weight", 10, 7);
    expect_tensor(sp_model_layout(model), 3, "dense2.bias", 10, 0);
    sp_model_destroy(model);
    sp_model_destroy(NULL);
}
END_TEST

static void expect_refused(const struct sp_job *job, uint32_t inputs, uint32_t classes, uint32_t batch_max)
{
    struct sp_model *model = NULL;
    struct sp_error error = {0};

    ck_assert_int_eq(sp_model_create(&model, job, &(struct sp_shape){1, 1, inputs}, classes, batch_max, &error),
                     SP_E_RANGE);
    ck_assert_ptr_null(model);
    ck_assert_str_ne(error.text, "");
}

START_TEST(test_refused)
{
    struct sp_job job = job_of(1);

    expect_refused(&job, 0, 10, 1);
    expect_refused(&job, 64, 0, 1);
    expect_refused(&job, 64, 257, 1);
    expect_refused(&job, 64, 10, 0);
    expect_refused(&job, 64, 10, UINT32_MAX);
    expect_refused(&job, 64, 10, 1u << 30); /* room for 31 numbers each: more than 32 GiB */
    job.model.hidden[0] = 0;
    expect_refused(&job, 64, 10, 1);
    job.model.hidden[0] = UINT32_MAX;
    expect_refused(&job, 64, 10, 1);
    job.model.hidden[0] = 1u << 24;
    expect_refused(&job, 1u << 24, 10, 1); /* more coordinates than a layout may have */
}
END_TEST

START_TEST(test_init)
{
    struct sp_job job = job_of(1);
    struct sp_model *model = create(&job, 600, 10, 1);
    const struct sp_tensor *tensors = sp_model_layout(model)->tensors;
    float *theta = near_floats(sp_model_layout(model)->coordinates),
          *again = near_floats(sp_model_layout(model)->coordinates);
    const float he = (float)sqrt(6.0 / 600.0), last = (float)sqrt(1.0 / 7.0);
    double sum = 0.0, squares = 0.0;
    uint32_t word[4];

    sp_model_init(model, 11, theta, NULL);
    for (uint64_t e = 0; e < tensors[0].count; e++) {
        ck_assert(theta[e] >= -he && theta[e] < he);
        sum += (double)theta[e];
        squares += (double)theta[e] * (double)theta[e];
    }
    /* 4200 draws of variance 2/600: five standard errors of the mean, and of the variance (4/5 of its square each). */
    ck_assert_double_eq_tol(sum / 4200.0, 0.0, 5.0 * sqrt(2.0 / 600.0 / 4200.0));
    ck_assert_double_eq_tol(squares / 4200.0 * 300.0, 1.0, 5.0 * sqrt(0.8 / 4200.0));
    for (uint64_t e = 0; e < 7; e++)
        ck_assert(theta[tensors[1].first + e] == 0.0f);
    for (uint64_t e = 0; e < tensors[2].count; e++) {
        sp_rng_block(sp_rng_key(11, SP_RNG_WEIGHTS), e / 4, 2, 0, word);
        ck_assert(theta[tensors[2].first + e] == last * (2.0f * sp_rng_unit(word[e % 4]) - 1.0f));
    }
    for (uint64_t e = 0; e < 10; e++)
        ck_assert(theta[tensors[3].first + e] == 0.0f);
    sp_model_init(model, 11, again, NULL);
    ck_assert_mem_eq(theta, again, sp_model_layout(model)->coordinates * sizeof *theta);
    sp_model_init(model, 12, again, NULL);
    ck_assert(theta[0] != again[0]);
    free(theta);
    free(again);
    sp_model_destroy(model);
}
END_TEST

/* The model as the twins compute it. Returns the mean loss; `kink` gets the smallest distance of any ReLU's input from
 * 0, where differences mean nothing. */
static double naive_loss(const struct sp_layout *layout, const double *theta, const double *x, const uint8_t *labels,
                         double *kink)
{
    double a[BATCH * 8], y[BATCH * 8], loss = 0.0;

    memcpy(a, x, BATCH * INPUTS * sizeof *a);
    *kink = INFINITY;
    for (uint32_t i = 0; i < layout->tensors_count; i += 2) {
        const struct sp_tensor *weight = &layout->tensors[i], *bias = &layout->tensors[i + 1];
        size_t count = BATCH * weight->shape[0];

        ck_assert_uint_le(count, BATCH * 8);
        naive_dense_forward(a, theta + weight->first, theta + bias->first, BATCH, weight->shape[1], weight->shape[0],
                            y);
        if (i + 2 < layout->tensors_count) {
            for (size_t k = 0; k < count; k++)
                *kink = fmin(*kink, fabs(y[k]));
            naive_relu_forward(y, count);
        }
        memcpy(a, y, count * sizeof *a);
    }
    for (size_t i = 0; i < BATCH; i++)
        loss += naive_softmax_loss(a + i * CLASSES, CLASSES, labels[i], 1.0, NULL);
    return loss / BATCH;
}

/* Every element of the gradient against central differences of the twin's loss, which share no code with it. The
 * difference is good to 1e-9 (above), so what NEAR_FLOAT allows for is the float32 gradient. */
START_TEST(test_model_differences)
{
    struct sp_job job = job_of(_i);
    struct sp_model *model = create(&job, INPUTS, CLASSES, BATCH);
    const struct sp_layout *layout = sp_model_layout(model);
    const size_t count = layout->coordinates;
    float *theta = random_floats(count, 20), *x = random_floats(BATCH * INPUTS, 21), *gradient = near_floats(count);
    double *wide = near_widen(theta, count), *wide_x = near_widen(x, BATCH * INPUTS), *found = near_doubles(count),
           kink, loss;
    uint8_t *labels = random_labels(BATCH, CLASSES, 22);
    void *all[] = {theta, x, gradient, wide, wide_x, found, labels};

    memset(gradient, 0xff, count * sizeof *gradient);
    loss = sp_model_gradient(model, theta, NULL, x, labels, BATCH, gradient);
    ck_assert_double_eq_tol(loss, naive_loss(layout, wide, wide_x, labels, &kink), 1e-6);
    ck_assert_double_gt(kink, 100 * NEAR_STEP);
    for (size_t j = 0; j < count; j++) {
        double kept = wide[j], above;

        wide[j] = kept + NEAR_STEP;
        above = naive_loss(layout, wide, wide_x, labels, &kink);
        wide[j] = kept - NEAR_STEP;
        found[j] = (above - naive_loss(layout, wide, wide_x, labels, &kink)) / (2 * NEAR_STEP);
        wide[j] = kept;
    }
    near_expect(gradient, found, count, "gradient");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    sp_model_destroy(model);
}
END_TEST

/* With weights of zero all classes are equally likely: the loss is log 3, the gradient of the bias 1/3 less what the
 * labels take. */
START_TEST(test_model_by_hand)
{
    struct sp_job job = job_of(0);
    struct sp_model *model = create(&job, 2, 3, 2);
    const float x[] = {3.0f, 6.0f, 9.0f, -3.0f}, theta[9] = {0};
    const double expected[] = {0.5, -2.5, 2.0, 0.5, -2.5, 2.0, -1.0 / 6, 1.0 / 3, -1.0 / 6};
    const uint8_t labels[] = {0, 2};
    float gradient[9];

    ck_assert_double_eq_tol(sp_model_gradient(model, theta, NULL, x, labels, 2, gradient), log(3.0), 1e-15);
    near_expect(gradient, expected, 9, "gradient");
    sp_model_destroy(model);
}
END_TEST

/* A batch that is larger than others, then a smaller one, then the first again, with 1 and 2 threads: bits do not
 * depend on what came before. */
START_TEST(test_same_bits)
{
    struct sp_job job = job_of(1);
    struct sp_model *model, *other;
    float *theta, *x = random_floats(64 * 784, 30), *one, *two;
    uint8_t *labels = random_labels(64, 10, 31);
    size_t count;
    double loss;

    job.model.hidden[0] = 200;
    model = create(&job, 784, 10, 64);
    other = create(&job, 784, 10, 100);
    count = sp_model_layout(model)->coordinates;
    theta = near_floats(count);
    one = near_floats(count);
    two = near_floats(count);
    sp_model_set_threads((uint32_t)_i);
    sp_model_init(model, 1, theta, NULL);
    loss = sp_model_gradient(model, theta, NULL, x, labels, 64, one);
    (void)sp_model_gradient(model, theta, NULL, x, labels, 17, two);
    ck_assert(sp_model_gradient(model, theta, NULL, x, labels, 64, two) == loss);
    ck_assert_mem_eq(one, two, count * sizeof *one);
    memset(two, 0xff, count * sizeof *two);
    ck_assert(sp_model_gradient(other, theta, NULL, x, labels, 64, two) == loss);
    ck_assert_mem_eq(one, two, count * sizeof *one);
    free(theta);
    free(x);
    free(one);
    free(two);
    free(labels);
    sp_model_destroy(model);
    sp_model_destroy(other);
}
END_TEST

/* Scores add up over calls, and over the parts that one call is taken in. */
START_TEST(test_score)
{
    struct sp_job job = job_of(0);
    struct sp_model *model = create(&job, 2, 2, 2);
    const float theta[] = {1, 0, 0, 1, 0, 0}; /* the logits are the inputs */
    const float x[] = {2, 1, 1, 2, 1, 1, 0, NAN, 5, 3};
    const uint8_t labels[] = {0, 0, 0, 0, 0};
    struct sp_score score = {0};

    sp_model_score(model, theta, NULL, x, labels, 3, &score);
    ck_assert_uint_eq(score.correct, 2);
    ck_assert_uint_eq(score.total, 3);
    ck_assert_double_eq_tol(score.loss_sum, log1p(exp(-1.0)) + log1p(exp(1.0)) + log(2.0), 1e-15);
    sp_model_score(model, theta, NULL, x + 8, labels, 1, &score);
    ck_assert_uint_eq(score.correct, 3);
    sp_model_score(model, theta, NULL, x, labels, 0, &score);
    ck_assert_uint_eq(score.total, 4);
    sp_model_score(model, theta, NULL, x, labels, 5, &score);
    ck_assert_uint_eq(score.correct, 6);
    ck_assert_uint_eq(score.total, 9);
    ck_assert(isnan(score.loss_sum));
    sp_model_destroy(model);
}
END_TEST

START_TEST(test_not_finite_shows)
{
    struct sp_job job = job_of(2);
    struct sp_model *model = create(&job, INPUTS, CLASSES, BATCH);
    const size_t count = sp_model_layout(model)->coordinates;
    float *theta = near_floats(count), *gradient = near_floats(count), *x = random_floats(BATCH * INPUTS, 40);
    uint8_t *labels = random_labels(BATCH, CLASSES, 41);
    size_t bad = 0;

    sp_model_init(model, 1, theta, NULL);
    x[7] = NAN;
    ck_assert(isnan(sp_model_gradient(model, theta, NULL, x, labels, BATCH, gradient)));
    for (size_t j = 0; j < count; j++)
        bad += !isfinite(gradient[j]);
    ck_assert_uint_gt(bad, 0);
    free(theta);
    free(gradient);
    free(x);
    free(labels);
    sp_model_destroy(model);
}
END_TEST

/* All parts together learn: 300 steps of plain SGD on the digits leave few errors. */
START_TEST(test_learns_digits)
{
    const char *root = getenv("SP_SOURCE_ROOT");
    struct sp_job job = job_of(1);
    struct sp_examples examples;
    struct sp_scale scale;
    struct sp_score score = {0};
    struct sp_model *model;
    char images[1024], names[1024];
    uint32_t *indices;
    float *x, *theta, *gradient;
    uint8_t *labels;

    (void)snprintf(images, sizeof images, "%s/configs/digits/train-images-idx3-ubyte", root ? root : ".");
    (void)snprintf(names, sizeof names, "%s/configs/digits/train-labels-idx1-ubyte", root ? root : ".");
    ck_assert_int_eq(sp_idx_load(images, names, &examples, NULL), SP_OK);
    job.model.hidden[0] = 32;
    model = create(&job, examples.inputs, examples.classes, 100);
    indices = calloc(examples.count, sizeof *indices);
    labels = malloc(examples.count);
    ck_assert(indices != NULL && labels != NULL);
    x = near_floats(examples.count * examples.inputs);
    theta = near_floats(sp_model_layout(model)->coordinates);
    gradient = near_floats(sp_model_layout(model)->coordinates);
    for (uint32_t i = 0; i < examples.count; i++)
        indices[i] = i;
    sp_scale_init(&scale, 16.0, 0.305, 0.376);
    sp_examples_gather(&examples, indices, (uint32_t)examples.count, &scale, x, labels);
    sp_model_init(model, 1, theta, NULL);
    for (size_t t = 0; t < 300; t++) {
        size_t first = t % 14 * 100;

        (void)sp_model_gradient(model, theta, NULL, x + first * examples.inputs, labels + first, 100, gradient);
        for (size_t j = 0; j < sp_model_layout(model)->coordinates; j++)
            theta[j] -= 0.1f * gradient[j];
    }
    sp_model_score(model, theta, NULL, x, labels, examples.count, &score);
    ck_assert_uint_eq(score.total, examples.count);
    ck_assert_uint_ge(score.correct, 1380);
    free(indices);
    free(labels);
    free(x);
    free(theta);
    free(gradient);
    sp_examples_finish(&examples);
    sp_model_destroy(model);
}
END_TEST

static TCase *layer_cases(void)
{
    TCase *layers = tcase_create("layers");

    tcase_set_timeout(layers, 120);
    tcase_add_loop_test(layers, test_dense_against_naive, 0, (int)(sizeof dense_shapes / sizeof dense_shapes[0]));
    tcase_add_test(layers, test_dense_by_hand);
    tcase_add_test(layers, test_dense_differences);
    tcase_add_loop_test(layers, test_softmax_differences, 0, 7);
    tcase_add_test(layers, test_softmax_by_hand);
    tcase_add_test(layers, test_softmax_extremes);
    tcase_add_test(layers, test_argmax);
    tcase_add_test(layers, test_relu);
    return layers;
}

static TCase *model_cases(void)
{
    TCase *models = tcase_create("models");

    tcase_set_timeout(models, 120);
    tcase_add_test(models, test_layout);
    tcase_add_test(models, test_refused);
    tcase_add_test(models, test_init);
    tcase_add_loop_test(models, test_model_differences, 0, 3);
    tcase_add_test(models, test_model_by_hand);
    tcase_add_loop_test(models, test_same_bits, 1, 3);
    tcase_add_test(models, test_score);
    tcase_add_test(models, test_not_finite_shows);
    tcase_add_test(models, test_learns_digits);
    return models;
}

int main(void)
{
    Suite *all = suite_create("model");

    suite_add_tcase(all, layer_cases());
    suite_add_tcase(all, model_cases());
    return unit_run_all(all);
}
