/* model.init: the initial weights come from a file, and no worker is asked for them. */
#include "drive.h"
#include "round_cases.h"

#include <stdio.h>
#include <string.h>

static const struct drive_tensor model[] = {
    {"w", 3, SP_TENSOR_DECAY}, {"b", 1, 0}, {"running", 1, SP_TENSOR_BUFFER}, {NULL, 0, 0}};
static struct drive d;

/* What stands for a file: it has tensors "w", another one and "running", and says what it likes. */
struct given {
    const char *second;
    const char *words;
    unsigned calls;
};

static struct given given;

static int read_given(void *arg, const struct sp_layout *layout, float *theta, float *buffers, char words[256],
                      struct sp_error *error)
{
    struct given *g = arg;

    g->calls++;
    ck_assert_uint_eq(layout->tensors_count, 3);
    if (strcmp(layout->tensors[1].name, g->second) != 0)
        return sp_error_set(error, SP_E_MISSING, "has no tensor '%s', which the model has", layout->tensors[1].name);
    for (uint64_t j = 0; j < layout->coordinates; j++)
        theta[j] = 0.5f + (float)j;
    buffers[0] = 4.5f;
    (void)snprintf(words, 256, "%s", g->words);
    return SP_OK;
}

static void open_with(const char *second, const char *words)
{
    given = (struct given){.second = second, .words = words};
    drive_open_model(&d, (const char *[]){"workers=2", "server.min_live=1", "server.start_timeout=30", NULL}, model);
    sp_round_start_from(d.round, read_given, &given);
    d.weights_from_a_file = true;
    ck_assert(sp_round_needs_init(d.round));
}

static struct sp_view look(void)
{
    struct sp_view view;

    drive_view(&d, &view);
    return view;
}

START_TEST(test_all_get_the_weights_of_the_file)
{
    uint32_t a, b;

    open_with("b", "");
    drive_tick(&d, 50000);
    a = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_uint_eq(drive_number(&d, SP_ACTION_INIT), 0);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, a));
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    ck_assert(!sp_round_needs_init(d.round));
    for (int j = 0; j < 4; j++)
        ck_assert_float_eq(look().theta[j], 0.5f + (float)j);
    ck_assert_float_eq(look().buffers[0], 4.5f);
    ck_assert(drive_said(&d, "the initial weights are those of model.init, digest "));
    ck_assert_int_eq(drive_ready(&d, a), SP_OK);
    drive_tick(&d, 29999); /* the wait for the others counts from the first worker, not from the server's start */
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    b = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, b));
    ck_assert_int_eq(drive_ready(&d, b), SP_OK);
    ck_assert_int_eq(look().stage, SP_STAGE_RUNNING);
    ck_assert_int_eq(drive_push(&d, a, d.theta), SP_OK);
    ck_assert_int_eq(drive_push(&d, b, d.theta), SP_OK);
    ck_assert_uint_eq(look().round, 1);
    drive_close(&d);
}
END_TEST

/* They stay when everybody has left: the file was read once. */
START_TEST(test_weights_stay)
{
    uint32_t a;

    open_with("b", "");
    a = drive_hello(&d, SP_ANY_SLOT);
    drive_left(&d, a);
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    drive_clear(&d);
    a = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, a));
    ck_assert_float_eq(look().theta[3], 3.5f);
    ck_assert_uint_eq(given.calls, 1);
    drive_close(&d);
}
END_TEST

START_TEST(test_a_model_that_does_not_fit_is_refused)
{
    struct sp_hello hello;
    uint32_t a;

    open_with("bias", "");
    a = drive_hello(&d, SP_ANY_SLOT);
    drive_expect_bye(&d, a, SP_REASON_LAYOUT);
    ck_assert(drive_said(&d, "does not fit the initial weights (model.init)"));
    ck_assert(drive_said(&d, "has no tensor 'b', which the model has"));
    ck_assert_int_eq(look().stage, SP_STAGE_NEW);
    ck_assert_ptr_null(look().layout);
    ck_assert(sp_round_needs_init(d.round));
    /* The next one has the file's names. */
    drive_clear(&d);
    (void)strcpy(d.layout.tensors[1].name, "bias");
    drive_hello_of(&d, SP_ANY_SLOT, &hello);
    hello.layout_digest = sp_layout_digest(&hello.layout);
    a = drive_hello_with(&d, &hello);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, a));
    ck_assert_float_eq(look().theta[3], 3.5f);
    drive_close(&d);
}
END_TEST

START_TEST(test_what_else_is_said)
{
    open_with("b", "the file has 2 tensors more");
    (void)drive_hello(&d, SP_ANY_SLOT);
    ck_assert(drive_said(&d, "model.init: the file has 2 tensors more"));
    drive_close(&d);
}
END_TEST

TCase *round_init_cases(void)
{
    TCase *cases = tcase_create("init");

    tcase_add_test(cases, test_all_get_the_weights_of_the_file);
    tcase_add_test(cases, test_weights_stay);
    tcase_add_test(cases, test_a_model_that_does_not_fit_is_refused);
    tcase_add_test(cases, test_what_else_is_said);
    return cases;
}
