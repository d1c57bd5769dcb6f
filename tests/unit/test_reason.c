/* The reasons of a BYE. */
#include "proto/reason.h"
#include "unit.h"

static const struct {
    unsigned number;
    const char *words;
    int again;
} list[] = {
#define ROW(name, number, words, again) {SP_REASON_##name, words, again},
    SP_REASON_LIST(ROW)
#undef ROW
};

START_TEST(test_every_reason_has_its_own_words)
{
    for (size_t i = 0; i < UNIT_COUNT(list); i++) {
        ck_assert_str_eq(sp_reason_text(list[i].number), list[i].words);
        ck_assert_int_eq(sp_reason_may_retry(list[i].number) != 0, list[i].again);
        for (size_t k = 0; k < i; k++) {
            ck_assert_uint_ne(list[i].number, list[k].number);
            ck_assert_str_ne(list[i].words, list[k].words);
        }
    }
}
END_TEST

/* The numbers are on the wire. */
START_TEST(test_numbers)
{
    ck_assert_uint_eq(UNIT_COUNT(list), 18);
    ck_assert_int_eq(SP_REASON_DONE, 0);
    ck_assert_int_eq(SP_REASON_STOPPED, 1);
    ck_assert_int_eq(SP_REASON_PROTOCOL, 2);
    ck_assert_int_eq(SP_REASON_LAYOUT, 5);
    ck_assert_int_eq(SP_REASON_SLOT, 7);
    ck_assert_int_eq(SP_REASON_BACKLOG, 10);
    ck_assert_int_eq(SP_REASON_FAILED, 15);
    ck_assert_int_eq(SP_REASON_SECRET, 16);
    ck_assert_int_eq(SP_REASON_OPERATOR, 17);
    ck_assert_str_eq(sp_reason_text(0), "the job is done");
    ck_assert_str_eq(sp_reason_text(5), "the model's layout differs");
    ck_assert_str_eq(sp_reason_text(15), "the other side failed");
    ck_assert_str_eq(sp_reason_text(16), "the secrets differ, or one side has none");
    ck_assert_str_eq(sp_reason_text(17), "the server takes no operators over the network");
}
END_TEST

/* After what will be the same again a worker must not come back; after an accident it may. */
START_TEST(test_retry)
{
    ck_assert(!sp_reason_may_retry(SP_REASON_DONE));
    ck_assert(!sp_reason_may_retry(SP_REASON_VERSION));
    ck_assert(!sp_reason_may_retry(SP_REASON_LAYOUT));
    ck_assert(!sp_reason_may_retry(SP_REASON_REPLACED));
    ck_assert(!sp_reason_may_retry(SP_REASON_SECRET));
    ck_assert(!sp_reason_may_retry(SP_REASON_OPERATOR));
    ck_assert(sp_reason_may_retry(SP_REASON_SILENT));
    ck_assert(sp_reason_may_retry(SP_REASON_BACKLOG));
    ck_assert(sp_reason_may_retry(SP_REASON_FAILED));
}
END_TEST

START_TEST(test_unknown_reasons)
{
    static const unsigned unknown[] = {18, 19, 255, 1u << 31, ~0u};

    for (size_t i = 0; i < UNIT_COUNT(unknown); i++) {
        ck_assert_str_eq(sp_reason_text(unknown[i]), "a reason that this version does not know");
        ck_assert(!sp_reason_may_retry(unknown[i]));
    }
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("reason");

    tcase_add_test(tests, test_every_reason_has_its_own_words);
    tcase_add_test(tests, test_numbers);
    tcase_add_test(tests, test_retry);
    tcase_add_test(tests, test_unknown_reasons);
    return unit_run(suite_create("reason"), tests);
}
