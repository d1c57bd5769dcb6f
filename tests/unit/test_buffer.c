/* Buffers with several holders. That the last one frees is for the address sanitizer to see. */
#include "common/buffer.h"
#include "unit.h"

#include <signal.h>

START_TEST(test_create)
{
    static const size_t sizes[] = {0, 1, 40, 65536 + 40};

    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        struct sp_buffer *buffer = sp_buffer_create(sizes[i]);

        ck_assert_ptr_nonnull(buffer);
        ck_assert_uint_eq(buffer->holders, 1);
        ck_assert_uint_eq(buffer->bytes, sizes[i]);
        memset(buffer->data, 0xa5, sizes[i]);
        sp_buffer_release(buffer);
    }
}
END_TEST

START_TEST(test_sizes_that_wrap_are_refused)
{
    for (size_t less = 0; less < sizeof(struct sp_buffer); less++)
        ck_assert_ptr_null(sp_buffer_create(SIZE_MAX - less));
}
END_TEST

/* The bytes last until the last holder is gone, and not longer. */
START_TEST(test_holders)
{
    struct sp_buffer *buffer = sp_buffer_create(100);

    memset(buffer->data, 7, 100);
    ck_assert_ptr_eq(sp_buffer_hold(buffer), buffer);
    ck_assert_ptr_eq(sp_buffer_hold(buffer), buffer);
    ck_assert_uint_eq(buffer->holders, 3);
    sp_buffer_release(buffer);
    ck_assert_uint_eq(buffer->holders, 2);
    sp_buffer_release(buffer);
    ck_assert_uint_eq(buffer->holders, 1);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(buffer->data[i], 7);
    sp_buffer_release(buffer);
}
END_TEST

START_TEST(test_release_nothing)
{
    sp_buffer_release(NULL);
}
END_TEST

/* More releases than holds would free what another still sends: better to stop. */
START_TEST(test_release_without_holder_aborts)
{
    struct sp_buffer buffer = {.holders = 0};

    sp_buffer_release(&buffer);
}
END_TEST

START_TEST(test_hold_without_holder_aborts)
{
    struct sp_buffer buffer = {.holders = 0};

    (void)sp_buffer_hold(&buffer);
}
END_TEST

START_TEST(test_hold_too_often_aborts)
{
    struct sp_buffer buffer = {.holders = UINT32_MAX};

    (void)sp_buffer_hold(&buffer);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("buffer");

    tcase_add_test(tests, test_create);
    tcase_add_test(tests, test_sizes_that_wrap_are_refused);
    tcase_add_test(tests, test_holders);
    tcase_add_test(tests, test_release_nothing);
    tcase_add_test_raise_signal(tests, test_release_without_holder_aborts, SIGABRT);
    tcase_add_test_raise_signal(tests, test_hold_without_holder_aborts, SIGABRT);
    tcase_add_test_raise_signal(tests, test_hold_too_often_aborts, SIGABRT);
    return unit_run(suite_create("buffer"), tests);
}
