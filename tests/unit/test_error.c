/* Error codes and their words. */
#include "common/error.h"
#include "unit.h"

#include <stdio.h>

static const int codes[] = {
#define CODE(name, value, text) name,
    SP_ERROR_LIST(CODE)
#undef CODE
};

START_TEST(test_every_code_has_its_own_words)
{
    for (size_t i = 0; i < UNIT_COUNT(codes); i++) {
        ck_assert_int_lt(codes[i], 0);
        ck_assert_uint_gt(strlen(sp_code_text(codes[i])), 0);
        ck_assert_str_ne(sp_code_text(codes[i]), "unknown error code");
        for (size_t k = 0; k < i; k++) {
            ck_assert_int_ne(codes[i], codes[k]);
            ck_assert_str_ne(sp_code_text(codes[i]), sp_code_text(codes[k]));
        }
    }
    ck_assert_str_eq(sp_code_text(SP_E_NOMEM), "out of memory");
    ck_assert_str_eq(sp_code_text(SP_E_CORRUPT), "checksum does not match");
    ck_assert_str_eq(sp_code_text(SP_OK), "no error");
    ck_assert_str_eq(sp_code_text(1), "unknown error code");
    ck_assert_str_eq(sp_code_text(-1000), "unknown error code");
}
END_TEST

/* The numbers stand in logs and in other programs' code: they stay. */
START_TEST(test_codes_keep_their_numbers)
{
    ck_assert_int_eq(SP_OK, 0);
    ck_assert_int_eq(SP_E_NOMEM, -1);
    ck_assert_int_eq(SP_E_PROTOCOL, -7);
    ck_assert_int_eq(SP_E_BACKLOG, -9);
    ck_assert_int_eq(SP_E_MISMATCH, -15);
}
END_TEST

START_TEST(test_set)
{
    struct sp_error error = {0};

    ck_assert_int_eq(sp_error_set(&error, SP_E_RANGE, "%d is not %s", 3, "four"), SP_E_RANGE);
    ck_assert_int_eq(error.code, SP_E_RANGE);
    ck_assert_str_eq(error.text, "3 is not four");
    ck_assert_int_eq(sp_error_set(&error, SP_E_IO, "gone"), SP_E_IO);
    ck_assert_int_eq(error.code, SP_E_IO);
    ck_assert_str_eq(error.text, "gone");
    ck_assert_int_eq(sp_error_set(NULL, SP_E_IO, "%s", "nobody listens"), SP_E_IO);
}
END_TEST

static void fill(char *text, size_t bytes, char c)
{
    memset(text, c, bytes - 1);
    text[bytes - 1] = '\0';
}

START_TEST(test_long_words_are_cut)
{
    struct sp_error error;
    char words[SP_ERROR_TEXT_BYTES + 1];

    fill(words, sizeof words, 'w');
    (void)sp_error_set(&error, SP_E_IO, "%s", words + 1);
    ck_assert_str_eq(error.text, words + 1);
    (void)sp_error_set(&error, SP_E_IO, "%s", words);
    ck_assert_uint_eq(strlen(error.text), SP_ERROR_TEXT_BYTES - 1);
    ck_assert_str_eq(error.text, words + 1);
}
END_TEST

START_TEST(test_prefix)
{
    struct sp_error error;

    (void)sp_error_set(&error, SP_E_SYNTAX, "no colon");
    ck_assert_int_eq(sp_error_prefix(&error, "job.yaml:%d", 7), SP_E_SYNTAX);
    ck_assert_int_eq(error.code, SP_E_SYNTAX);
    ck_assert_str_eq(error.text, "job.yaml:7: no colon");
    ck_assert_int_eq(sp_error_prefix(&error, "cannot start"), SP_E_SYNTAX);
    ck_assert_str_eq(error.text, "cannot start: job.yaml:7: no colon");
    ck_assert_int_eq(sp_error_prefix(NULL, "nobody listens"), SP_OK);
}
END_TEST

/* What fits is kept whole; what does not is cut at its end. */
START_TEST(test_prefix_before_long_words)
{
    char words[SP_ERROR_TEXT_BYTES], expected[2 * SP_ERROR_TEXT_BYTES];
    struct sp_error error;

    for (size_t length = 200; length < sizeof words; length++) {
        fill(words, length + 1, 'w');
        (void)sp_error_set(&error, SP_E_IO, "%s", words);
        ck_assert_int_eq(sp_error_prefix(&error, "tensor '%s'", "head"), SP_E_IO);
        (void)snprintf(expected, sizeof expected, "tensor 'head': %s", words);
        expected[SP_ERROR_TEXT_BYTES - 1] = '\0';
        ck_assert_str_eq(error.text, expected);
    }
}
END_TEST

/* A long prefix leaves room for words. */
START_TEST(test_long_prefix)
{
    char prefix[2 * SP_ERROR_TEXT_BYTES];
    struct sp_error error;

    fill(prefix, sizeof prefix, 'p');
    (void)sp_error_set(&error, SP_E_IO, "the end is missing");
    ck_assert_int_eq(sp_error_prefix(&error, "%s", prefix), SP_E_IO);
    ck_assert_uint_lt(strlen(error.text), SP_ERROR_TEXT_BYTES);
    ck_assert_ptr_nonnull(strstr(error.text, "ppp: the end is missing"));
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("error");

    tcase_add_test(tests, test_every_code_has_its_own_words);
    tcase_add_test(tests, test_codes_keep_their_numbers);
    tcase_add_test(tests, test_set);
    tcase_add_test(tests, test_long_words_are_cut);
    tcase_add_test(tests, test_prefix);
    tcase_add_test(tests, test_prefix_before_long_words);
    tcase_add_test(tests, test_long_prefix);
    return unit_run(suite_create("error"), tests);
}
