/* Characters, and where a text may be cut. */
#include "common/utf8.h"
#include "unit.h"

#include <string.h>

START_TEST(test_characters)
{
    static const struct {
        const char *text;
        size_t bytes;
    } rows[] = {{"", 1},
                {"a", 1},
                {"\x7f", 1},
                {"\xc2\x80", 2},
                {"\xc3\xa9", 2},
                {"\xe2\x96\x88", 3},
                {"\xf0\x9f\x98\x80", 4},
                {"\xf4\x8f\xbf\xbf", 4},
                {"\x80", 0},             /* goes on with nothing */
                {"\xc3", 0},             /* is cut */
                {"\xe2\x96", 0},         /* is cut */
                {"\xc1\xbf", 0},         /* overlong */
                {"\xe0\x9f\xbf", 0},     /* overlong */
                {"\xed\xa0\x80", 0},     /* a surrogate */
                {"\xf4\x90\x80\x80", 0}, /* beyond U+10FFFF */
                {"\xff", 0}};

    for (size_t i = 0; i < UNIT_COUNT(rows); i++)
        unit_assert(sp_utf8_bytes(rows[i].text) == rows[i].bytes, "row %zu", i);
}
END_TEST

START_TEST(test_cut)
{
    static const char text[] = "a\xc3\xa9\xe2\x96\x88z\xff!"; /* 1, 2, 3, 1, 1 and 1 bytes */
    static const size_t lengths[] = {0, 1, 1, 3, 3, 3, 6, 7, 8, 9, 9, 9};

    for (size_t max = 0; max < UNIT_COUNT(lengths); max++)
        unit_assert(sp_utf8_cut(text, max) == lengths[max], "at most %zu bytes", max);
    ck_assert_uint_eq(sp_utf8_cut("", 5), 0);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("utf8");

    tcase_add_test(tests, test_characters);
    tcase_add_test(tests, test_cut);
    return unit_run(suite_create("utf8"), tests);
}
