/* A stand-in for the library check, of which Debian installs one processor's at a time: as much of it as the tests use
 * that other-processors.sh builds. Every test runs in a process of its own, as there. Prints TAP.
 */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CK_TESTS_MAX 256

enum { CK_ENV };

typedef struct {
    const char *name;
    void (*run)(int i);
    int signal, from, to;
} CkTest;

typedef struct {
    const char *name;
    CkTest tests[CK_TESTS_MAX];
    int count;
} TCase;

typedef struct {
    TCase *cases[8];
    int count;
} Suite;

typedef struct {
    Suite *suite;
    int failed;
} SRunner;

#define START_TEST(name) static void name(int _i __attribute__((unused)))
#define END_TEST

#define ck_abort_msg(...)                                                                                              \
    (printf("# %s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), putchar('\n'), (void)fflush(stdout), _exit(1))
#define ck_assert(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("%s", #condition);                                                                            \
    } while (0)
#define ck_abort_if_not(type, format, a, op, b)                                                                        \
    do {                                                                                                               \
        const type ck_a = (a), ck_b = (b);                                                                             \
                                                                                                                       \
        if (!(ck_a op ck_b))                                                                                           \
            ck_abort_msg("%s %s %s: " format ", " format, #a, #op, #b, ck_a, ck_b);                                    \
    } while (0)
#define ck_assert_int_eq(a, b) ck_abort_if_not(intmax_t, "%jd", a, ==, b)
#define ck_assert_uint_eq(a, b) ck_abort_if_not(uintmax_t, "%ju", a, ==, b)
#define ck_assert_uint_ne(a, b) ck_abort_if_not(uintmax_t, "%ju", a, !=, b)
#define ck_assert_uint_lt(a, b) ck_abort_if_not(uintmax_t, "%ju", a, <, b)
#define ck_assert_uint_le(a, b) ck_abort_if_not(uintmax_t, "%ju", a, <=, b)
#define ck_assert_uint_gt(a, b) ck_abort_if_not(uintmax_t, "%ju", a, >, b)
#define ck_assert_uint_ge(a, b) ck_abort_if_not(uintmax_t, "%ju", a, >=, b)
#define ck_assert_float_eq(a, b) ck_abort_if_not(float, "%a", a, ==, b)
#define ck_assert_double_eq(a, b) ck_abort_if_not(double, "%a", a, ==, b)
#define ck_assert_double_lt(a, b) ck_abort_if_not(double, "%a", a, <, b)
#define ck_assert_double_le(a, b) ck_abort_if_not(double, "%a", a, <=, b)
#define ck_assert_double_gt(a, b) ck_abort_if_not(double, "%a", a, >, b)
#define ck_assert_double_ge(a, b) ck_abort_if_not(double, "%a", a, >=, b)
#define ck_assert_str_eq(a, b) ck_assert(strcmp(a, b) == 0)
#define ck_assert_mem_eq(a, b, bytes) ck_assert(memcmp(a, b, bytes) == 0)
#define ck_assert_mem_ne(a, b, bytes) ck_assert(memcmp(a, b, bytes) != 0)
#define ck_assert_ptr_null(a) ck_assert((a) == NULL)
#define ck_assert_ptr_nonnull(a) ck_assert((a) != NULL)
#define ck_assert_ptr_eq(a, b) ck_assert((a) == (b))

static inline void *ck_need(size_t bytes)
{
    void *block = calloc(1, bytes);

    if (block == NULL)
        abort();
    return block;
}

static inline TCase *tcase_create(const char *name)
{
    TCase *tests = ck_need(sizeof *tests);

    tests->name = name;
    return tests;
}

static inline void ck_add(TCase *tests, CkTest test)
{
    if (tests->count == CK_TESTS_MAX)
        abort();
    tests->tests[tests->count++] = test;
}

#define tcase_add_test(tests, test) ck_add(tests, (CkTest){#test, test, 0, 0, 1})
#define tcase_add_loop_test(tests, test, from, to) ck_add(tests, (CkTest){#test, test, 0, from, to})
#define tcase_add_test_raise_signal(tests, test, signal) ck_add(tests, (CkTest){#test, test, signal, 0, 1})

/* Emulated processors are slow: who calls the programs limits their time. */
static inline void tcase_set_timeout(TCase *tests, double seconds)
{
    (void)tests;
    (void)seconds;
}

static inline Suite *suite_create(const char *name)
{
    (void)name;
    return ck_need(sizeof(Suite));
}

static inline void suite_add_tcase(Suite *suite, TCase *tests)
{
    if (suite->count == (int)(sizeof suite->cases / sizeof suite->cases[0]))
        abort();
    suite->cases[suite->count++] = tests;
}

static inline SRunner *srunner_create(Suite *suite)
{
    SRunner *runner = ck_need(sizeof *runner);

    runner->suite = suite;
    return runner;
}

static inline bool ck_passes(const CkTest *test, int i)
{
    int status = 0;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        test->run(i);
        (void)fflush(NULL);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (test->signal != 0)
        return WIFSIGNALED(status) && WTERMSIG(status) == test->signal;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static inline void srunner_run_all(SRunner *runner, int how)
{
    int number = 0;

    (void)how;
    for (int c = 0; c < runner->suite->count; c++) {
        const TCase *tests = runner->suite->cases[c];

        for (int t = 0; t < tests->count; t++) {
            for (int i = tests->tests[t].from; i < tests->tests[t].to; i++) {
                bool passes = ck_passes(&tests->tests[t], i);

                runner->failed += !passes;
                (void)printf("%sok %d - %s %d\n", passes ? "" : "not ", ++number, tests->tests[t].name, i);
            }
        }
    }
    (void)printf("1..%d\n", number);
}

static inline int srunner_ntests_failed(const SRunner *runner)
{
    return runner->failed;
}

static inline void srunner_free(SRunner *runner)
{
    for (int c = 0; c < runner->suite->count; c++)
        free(runner->suite->cases[c]);
    free(runner->suite);
    free(runner);
}
