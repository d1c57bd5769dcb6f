#include "golden.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const golden_names[] = {"plain", "paper", "dn", "m3", "nolag"};
const int golden_count = sizeof golden_names / sizeof golden_names[0];

static double number(const json_t *round, const char *key)
{
    const json_t *value = json_object_get(round, key);

    ck_assert_msg(json_is_number(value), "no %s", key);
    return json_number_value(value);
}

static void text(const json_t *value, char to[GOLDEN_D + 1])
{
    ck_assert(json_is_string(value) && json_string_length(value) == GOLDEN_D);
    (void)strcpy(to, json_string_value(value));
}

static void load_signs(const json_t *from, unsigned workers, struct golden_round *round)
{
    const json_t *bits = json_object_get(from, "bits");

    ck_assert_uint_eq(json_array_size(bits), workers);
    for (unsigned i = 0; i < workers; i++)
        text(json_array_get(bits, i), round->bits[i]);
    text(json_object_get(from, "s"), round->s);
    round->g2sk = number(from, "g2sk");
    round->g2 = number(from, "g2");
    round->mg2 = number(from, "mg2");
    round->sg = number(from, "sg");
    round->paper = number(from, "paper");
    round->ratio = number(from, "ratio");
    round->dn = number(from, "dn");
    if (json_object_get(from, "switch_lambda") != NULL)
        round->switch_lambda = number(from, "switch_lambda");
}

static void load_round(const json_t *from, unsigned t, struct golden *golden)
{
    struct golden_round *round = &golden->round[t - 1];
    const json_t *theta = json_object_get(from, "theta");

    ck_assert_double_eq(number(from, "t"), t);
    round->loss = number(from, "loss");
    round->sign = json_object_get(from, "s") != NULL;
    ck_assert_int_eq(round->sign, t <= GOLDEN_SWITCH);
    if (round->sign)
        load_signs(from, golden->workers, round);
    ck_assert_int_eq(round->switch_lambda > 0.0, t == GOLDEN_SWITCH);
    ck_assert_uint_eq(json_array_size(theta), GOLDEN_D);
    for (unsigned j = 0; j < GOLDEN_D; j++) {
        double value = json_real_value(json_array_get(theta, j));

        round->theta[j] = (float)value;
        ck_assert_double_eq((double)round->theta[j], value); /* it was a float32 */
    }
}

void golden_load(const char *name, struct golden *golden)
{
    const char *root = getenv("SP_SOURCE_ROOT");
    char path[1024];
    json_error_t error;
    const json_t *workers, *log;
    json_t *file;

    memset(golden, 0, sizeof *golden);
    (void)snprintf(path, sizeof path, "%s/tests/golden/%s.json", root != NULL ? root : ".", name);
    file = json_load_file(path, 0, &error);
    ck_assert_msg(file != NULL, "%s: %s", path, error.text);
    workers = json_object_get(json_object_get(file, "cfg"), "M");
    golden->workers = workers != NULL ? (unsigned)json_integer_value(workers) : 4;
    ck_assert(golden->workers == 3 || golden->workers == 4);
    log = json_object_get(file, "log");
    ck_assert_uint_eq(json_array_size(log), GOLDEN_ROUNDS);
    for (unsigned t = 1; t <= GOLDEN_ROUNDS; t++)
        load_round(json_array_get(log, t - 1), t, golden);
    json_decref(file);
}
