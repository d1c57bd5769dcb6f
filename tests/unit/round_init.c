/* model.init: the initial weights come from a file, and no worker is asked for them. */
#include "drive.h"
#include "round_cases.h"

#include "common/safetensors.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT 5

static const struct drive_tensor model[] = {
    {"w", 3, SP_TENSOR_DECAY}, {"b", 1, 0}, {"running", 1, SP_TENSOR_BUFFER}, {NULL, 0, 0}};
static struct drive d;
static struct sp_safetensors *file;

/* Tensor i has value i, and so on; `names` are those of three tensors of 3, 1 and 1 values, in the file's order. */
static void write_file(const char *path, const char *const names[3])
{
    const float values[COUNT] = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f};
    char header[512];
    const int length = snprintf(header, sizeof header,
                                "{\"%s\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
                                "\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]},"
                                "\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]}}",
                                names[0], names[1], names[2]);
    const uint64_t length_le = htole64((uint64_t)length);
    FILE *out = fopen(path, "wb");

    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(&length_le, sizeof length_le, 1, out), 1);
    ck_assert_uint_eq(fwrite(header, 1, (size_t)length, out), (size_t)length);
    ck_assert_uint_eq(fwrite(values, sizeof values, 1, out), 1);
    ck_assert_int_eq(fclose(out), 0);
}

static void open_with(const char *const names[3])
{
    struct sp_error error = {0};
    char path[64];

    (void)snprintf(path, sizeof path, "/tmp/sp-round-init-%d", (int)getpid());
    write_file(path, names);
    drive_open_model(&d, (const char *[]){"workers=2", "server.min_live=1", "server.start_timeout=30", NULL}, model);
    ck_assert_msg(sp_safetensors_open(&file, path, &error) == SP_OK, "%s", error.text);
    (void)unlink(path);
    sp_round_start_from(d.round, file);
    d.weights_from_a_file = true;
    ck_assert(sp_round_needs_init(d.round));
}

static void end(void)
{
    drive_close(&d);
    sp_safetensors_close(file);
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

    open_with((const char *[]){"w", "b", "running"});
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
    end();
}
END_TEST

/* They stay when everybody has left: the file was read once. */
START_TEST(test_weights_stay)
{
    uint32_t a;

    open_with((const char *[]){"w", "b", "running"});
    a = drive_hello(&d, SP_ANY_SLOT);
    drive_left(&d, a);
    ck_assert_int_eq(look().stage, SP_STAGE_GATHERING);
    drive_clear(&d);
    a = drive_hello(&d, SP_ANY_SLOT);
    ck_assert_ptr_nonnull(drive_to(&d, SP_ACTION_WEIGHTS, a));
    ck_assert_float_eq(look().theta[3], 3.5f);
    end();
}
END_TEST

START_TEST(test_a_model_that_does_not_fit_is_refused)
{
    struct sp_hello hello;
    uint32_t a;

    open_with((const char *[]){"w", "bias", "running"});
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
    end();
}
END_TEST

START_TEST(test_more_tensors_are_said)
{
    static const struct drive_tensor less[] = {{"w", 3, SP_TENSOR_DECAY}, {NULL, 0, 0}};
    struct sp_error error = {0};
    char path[64];

    (void)snprintf(path, sizeof path, "/tmp/sp-round-init-%d", (int)getpid());
    write_file(path, (const char *[]){"w", "b", "running"});
    drive_open_model(&d, (const char *[]){"workers=1", NULL}, less);
    ck_assert_int_eq(sp_safetensors_open(&file, path, &error), SP_OK);
    (void)unlink(path);
    sp_round_start_from(d.round, file);
    d.weights_from_a_file = true;
    (void)drive_hello(&d, SP_ANY_SLOT);
    ck_assert(drive_said(&d, "model.init: the file has 2 tensors more than the model, not used here ('b' first)"));
    end();
}
END_TEST

TCase *round_init_cases(void)
{
    TCase *cases = tcase_create("init");

    tcase_add_test(cases, test_all_get_the_weights_of_the_file);
    tcase_add_test(cases, test_weights_stay);
    tcase_add_test(cases, test_a_model_that_does_not_fit_is_refused);
    tcase_add_test(cases, test_more_tensors_are_said);
    return cases;
}
