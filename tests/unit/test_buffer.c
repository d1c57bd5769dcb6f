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

/* A buffer of the pool comes back to it, and keeps its memory; the frame is laid out around the place of its bulk. */
START_TEST(test_pool)
{
    struct sp_buffers pool = {0};
    struct sp_buffer *a = sp_buffer_take(&pool), *b = sp_buffer_take(&pool), *again;

    ck_assert(a != NULL && b != NULL && a != b);
    ck_assert_uint_eq((uintptr_t)sp_buffer_bulk(a) % 64, 0);
    ck_assert_ptr_eq(a->data, sp_buffer_bulk(a));
    ck_assert_uint_eq(a->bytes, 0);
    memset(sp_buffer_bulk(a) - SP_BUFFER_HEAD_BYTES, 1, SP_BUFFER_HEAD_BYTES + SP_BUFFER_BULK_BYTES);
    a->data -= 40;
    a->bytes = 100;
    sp_buffer_release(sp_buffer_hold(a));
    ck_assert_uint_eq(pool.free_count, 0);
    sp_buffer_release(a);
    ck_assert_uint_eq(pool.free_count, 1);
    again = sp_buffer_take(&pool);
    ck_assert_ptr_eq(again, a);
    ck_assert_uint_eq(again->holders, 1);
    ck_assert_ptr_eq(again->data, sp_buffer_bulk(again));
    ck_assert_uint_eq(again->bytes, 0);
    sp_buffer_release(again);
    sp_buffer_release(b);
    sp_buffers_finish(&pool);
    ck_assert_uint_eq(pool.free_count, 0);
}
END_TEST

/* It keeps no more than it may, whatever was out at once. */
START_TEST(test_pool_keeps_some)
{
    struct sp_buffer *out[SP_BUFFERS_KEPT_MAX + 3];
    struct sp_buffers pool = {0};

    for (size_t i = 0; i < UNIT_COUNT(out); i++) {
        out[i] = sp_buffer_take(&pool);
        ck_assert_ptr_nonnull(out[i]);
    }
    for (size_t i = 0; i < UNIT_COUNT(out); i++)
        sp_buffer_release(out[i]);
    ck_assert_uint_eq(pool.free_count, SP_BUFFERS_KEPT_MAX);
    sp_buffers_finish(&pool);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("buffer");

    tcase_add_test(tests, test_create);
    tcase_add_test(tests, test_sizes_that_wrap_are_refused);
    tcase_add_test(tests, test_holders);
    tcase_add_test(tests, test_pool);
    tcase_add_test(tests, test_pool_keeps_some);
    tcase_add_test(tests, test_release_nothing);
    tcase_add_test_raise_signal(tests, test_release_without_holder_aborts, SIGABRT);
    tcase_add_test_raise_signal(tests, test_hold_without_holder_aborts, SIGABRT);
    tcase_add_test_raise_signal(tests, test_hold_too_often_aborts, SIGABRT);
    return unit_run(suite_create("buffer"), tests);
}
