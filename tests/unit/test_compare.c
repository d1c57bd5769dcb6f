/* The rows of signpost compare: what --vary and --case make. */
#include "deploy/tool/compare_grid.h"
#include "unit.h"

#include "common/job.h"

#include <stdio.h>

static struct compare_grid grid;
static struct sp_error error;

static void setup(void)
{
    memset(&grid, 0, sizeof grid);
    memset(&error, 0, sizeof error);
}

static void teardown(void)
{
    compare_grid_finish(&grid);
}

static void vary(const char *text)
{
    ck_assert_msg(compare_grid_vary(&grid, text, &error) == SP_OK, "%s", error.text);
}

static void add_case(const char *text)
{
    ck_assert_msg(compare_grid_case(&grid, text, &error) == SP_OK, "%s", error.text);
}

static void build(size_t rows)
{
    ck_assert_msg(compare_grid_build(&grid, "plain", &error) == SP_OK, "%s", error.text);
    ck_assert_uint_eq(grid.rows_count, rows);
}

/* `sets` are joined by blanks. */
static void check_row(size_t i, const char *name, const char *sets)
{
    char joined[1024] = "";

    for (size_t k = 0; k < grid.rows[i].sets_count; k++) {
        size_t used = strlen(joined);

        (void)snprintf(joined + used, sizeof joined - used, "%s%s", k > 0 ? " " : "", grid.rows[i].sets[k]);
    }
    ck_assert_str_eq(grid.rows[i].name, name);
    ck_assert_str_eq(joined, sets);
}

START_TEST(the_grid_is_a_product_and_its_last_axis_is_the_fastest)
{
    vary("optimizer.sign.lr=1e-3,2e-3");
    vary("workers=1,2,4");
    build(6);
    check_row(0, "sign.lr=1e-3, workers=1", "optimizer.sign.lr=1e-3 workers=1");
    check_row(1, "sign.lr=1e-3, workers=2", "optimizer.sign.lr=1e-3 workers=2");
    check_row(3, "sign.lr=2e-3, workers=1", "optimizer.sign.lr=2e-3 workers=1");
    check_row(5, "sign.lr=2e-3, workers=4", "optimizer.sign.lr=2e-3 workers=4");
    ck_assert_uint_eq(grid.keys_count, 2);
    ck_assert_str_eq(grid.keys[0], "optimizer.sign.lr");
    ck_assert_str_eq(grid.keys[1], "workers");
}
END_TEST

START_TEST(commas_in_brackets_belong_to_a_value)
{
    vary("model.hidden=[64],[128, 64] , [8,[2,{3,4}]]");
    build(3);
    check_row(0, "hidden=[64]", "model.hidden=[64]");
    check_row(1, "hidden=[128, 64]", "model.hidden=[128, 64]");
    check_row(2, "hidden=[8,[2,{3,4}]]", "model.hidden=[8,[2,{3,4}]]");
}
END_TEST

START_TEST(a_case_sets_several_keys_or_none)
{
    add_case("as shipped:");
    add_case("  two layers :  model.hidden=[64, 32]\tworkers=2 server.init_timeout=7 ");
    build(2);
    check_row(0, "as shipped", "");
    check_row(1, "two layers", "model.hidden=[64, 32] workers=2 server.init_timeout=7");
    ck_assert_str_eq(grid.rows[1].slug, "two-layers");
}
END_TEST

START_TEST(each_case_has_the_whole_grid)
{
    add_case("a: seedless=1");
    add_case("b:");
    vary("workers=1,2");
    build(4);
    check_row(1, "a, workers=2", "seedless=1 workers=2");
    check_row(2, "b, workers=1", "workers=1");
}
END_TEST

START_TEST(without_either_there_is_one_row)
{
    build(1);
    check_row(0, "plain", "");
}
END_TEST

START_TEST(no_two_rows_share_a_folder)
{
    char text[64];

    add_case("a/b:");
    add_case("a b:");
    add_case("a,  b:");
    add_case("../..:");
    add_case("\xc3\xa4\xc3\xb6:");
    for (int i = 0; i < 50; i++) { /* alike in all that a folder's name has room for */
        (void)snprintf(text, sizeof text, "a name that is longer than a folder's name %d:", i);
        add_case(text);
    }
    build(55);
    for (size_t i = 0; i < grid.rows_count; i++) {
        const char *slug = grid.rows[i].slug;

        ck_assert_uint_lt(strlen(slug), COMPARE_SLUG_BYTES);
        ck_assert(slug[0] != '\0' && slug[0] != '.' && strchr(slug, '/') == NULL && strchr(slug, ' ') == NULL);
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(slug, grid.rows[k].slug);
    }
}
END_TEST

START_TEST(a_folder_does_not_change_when_rows_are_added)
{
    char slug[COMPARE_SLUG_BYTES];

    vary("optimizer.dither.sigma0=0.5");
    build(1);
    (void)snprintf(slug, sizeof slug, "%s", grid.rows[0].slug);
    compare_grid_finish(&grid);
    vary("optimizer.dither.sigma0=0,0.25,0.5");
    build(3);
    ck_assert_str_eq(grid.rows[2].slug, slug);
}
END_TEST

static void refused(int rc, const char *words)
{
    ck_assert_int_ne(rc, SP_OK);
    ck_assert_msg(strstr(error.text, words) != NULL, "'%s' lacks '%s'", error.text, words);
}

START_TEST(what_makes_no_sense_is_refused_in_words)
{
    refused(compare_grid_vary(&grid, "workers", &error), "KEY=V1,V2");
    refused(compare_grid_vary(&grid, "=3", &error), "KEY=V1,V2");
    refused(compare_grid_vary(&grid, "model.hidden=[64", &error), "brackets");
    refused(compare_grid_vary(&grid, "model.hidden=64]", &error), "brackets");
    refused(compare_grid_vary(&grid, "model.hidden=[64}", &error), "brackets");
    refused(compare_grid_vary(&grid, "seed=1,2", &error), "--seeds");
    refused(compare_grid_vary(&grid, "server.listen=a:1", &error), "server.listen");
    refused(compare_grid_case(&grid, "no colon", &error), "NAME: KEY=VALUE");
    refused(compare_grid_case(&grid, " : workers=1", &error), "name");
    refused(compare_grid_case(&grid, "a: workers", &error), "'workers' must be KEY=VALUE");
    refused(compare_grid_case(&grid, "a: workers hidden=3", &error), "'workers' must be KEY=VALUE");
    refused(compare_grid_case(&grid, "a: =3", &error), "KEY=VALUE");
    refused(compare_grid_case(&grid, "a: seed=3", &error), "--seeds");
    refused(compare_grid_case(&grid, "a\nb: workers=3", &error), "control character");
    ck_assert_uint_eq(grid.axes_count + grid.cases_count, 0);
    vary("workers=1,2");
    refused(compare_grid_vary(&grid, "workers=3", &error), "twice");
}
END_TEST

START_TEST(names_must_differ)
{
    add_case("a: workers=1");
    add_case("a: workers=2");
    refused(compare_grid_build(&grid, "plain", &error), "two rows are called 'a'");
}
END_TEST

START_TEST(values_must_differ)
{
    vary("workers=1,2,1");
    refused(compare_grid_build(&grid, "plain", &error), "two rows are called 'workers=1'");
}
END_TEST

START_TEST(a_case_may_not_set_what_is_varied)
{
    add_case("a: workers=1");
    vary("workers=1,2");
    refused(compare_grid_build(&grid, "plain", &error), "'a' sets workers");
}
END_TEST

START_TEST(there_is_a_limit_to_everything)
{
    char text[8192] = "seedless=0";

    for (int i = 1; i < COMPARE_ROWS_MAX; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), ",%d", i);
    vary(text);
    vary("other=1,2");
    refused(compare_grid_build(&grid, "plain", &error), "more than 1000 rows");
    strcat(text, ",1000");
    refused(compare_grid_vary(&grid, text + 1, &error), "more than 1000 values");
    for (int i = 0; i < COMPARE_AXES_MAX - 2; i++) {
        (void)snprintf(text, sizeof text, "key%d=1", i);
        vary(text);
    }
    refused(compare_grid_vary(&grid, "one.more=1", &error), "more than 16 times");
    (void)snprintf(text, sizeof text, "%0300d:", 1);
    compare_grid_finish(&grid);
    add_case(text);
    refused(compare_grid_build(&grid, "plain", &error), "longer than");
}
END_TEST

START_TEST(a_thousand_rows)
{
    char text[8192] = "seedless=0";

    for (int i = 1; i < COMPARE_ROWS_MAX; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), ",%d", i);
    vary(text);
    build(COMPARE_ROWS_MAX);
    check_row(999, "seedless=999", "seedless=999");
}
END_TEST

START_TEST(a_key_is_shortened_as_far_as_it_stays_the_only_one)
{
    ck_assert_str_eq(compare_short_key("optimizer.sign.lr"), "sign.lr");
    ck_assert_str_eq(compare_short_key("workers"), "workers");
    ck_assert_str_eq(compare_short_key("no.such.thing"), "no.such.thing");
    for (size_t i = 0; i < sp_job_keys_count; i++) {
        const char *path = sp_job_keys[i].path, *tail = compare_short_key(path);

        ck_assert(tail == path || tail[-1] == '.');
        for (size_t k = 0; tail != path && k < sp_job_keys_count; k++) {
            const char *other = sp_job_keys[k].path;
            size_t more = strlen(other) - strlen(tail);

            if (k != i && strlen(other) > strlen(tail) && strcmp(other + more, tail) == 0)
                ck_assert_int_ne(other[more - 1], '.');
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("compare");
    TCase *tests = tcase_create("rows");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_grid_is_a_product_and_its_last_axis_is_the_fastest);
    tcase_add_test(tests, commas_in_brackets_belong_to_a_value);
    tcase_add_test(tests, a_case_sets_several_keys_or_none);
    tcase_add_test(tests, each_case_has_the_whole_grid);
    tcase_add_test(tests, without_either_there_is_one_row);
    tcase_add_test(tests, no_two_rows_share_a_folder);
    tcase_add_test(tests, a_folder_does_not_change_when_rows_are_added);
    tcase_add_test(tests, what_makes_no_sense_is_refused_in_words);
    tcase_add_test(tests, names_must_differ);
    tcase_add_test(tests, values_must_differ);
    tcase_add_test(tests, a_case_may_not_set_what_is_varied);
    tcase_add_test(tests, there_is_a_limit_to_everything);
    tcase_add_test(tests, a_thousand_rows);
    tcase_add_test(tests, a_key_is_shortened_as_far_as_it_stays_the_only_one);
    return unit_run(suite, tests);
}
