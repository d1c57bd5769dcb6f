/* What the server spends on strangers: buckets of connections for each address, and how often the log hears of a limit.
 */
#include "server/limit.h"
#include "unit.h"

#define NOW UINT64_C(1000000)

static struct sp_limits limits;
static struct sp_job job;

static void setup(void)
{
    sp_job_init(&job);
    sp_limits_init(&limits, &job, 1);
}

static void set_joins(const char *value)
{
    ck_assert_int_eq(sp_job_set(&job, "server.limits.joins", value, NULL), SP_OK);
    sp_limits_init(&limits, &job, 1);
}

/* How many connections of an address come in at once. */
static unsigned burst(uint64_t group, uint64_t now)
{
    unsigned n = 0;

    while (n < 100000 && sp_limits_may_join(&limits, group, now))
        n++;
    return n;
}

START_TEST(test_from_the_job)
{
    ck_assert_int_eq(sp_job_set(&job, "server.limits.connections", "17", NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&job, "server.limits.handshakes", "5", NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&job, "server.limits.joins", "3", NULL), SP_OK);
    ck_assert_int_eq(sp_job_set(&job, "server.limits.buffered", "2.5", NULL), SP_OK);
    memset(&limits, 0xee, sizeof limits);
    sp_limits_init(&limits, &job, 1);
    ck_assert_uint_eq(limits.connections, 17);
    ck_assert_uint_eq(limits.handshakes, 5);
    ck_assert_uint_eq(limits.joins, 3);
    ck_assert_uint_eq(limits.buffered_bytes, 2500000);
    for (unsigned i = 0; i < SP_LIMITS_COUNT; i++)
        ck_assert_uint_eq(limits.state[i].hits, 0);
}
END_TEST

/* 0 is half of the machine's memory, whatever that is. */
START_TEST(test_buffered_by_itself)
{
    ck_assert_uint_gt(limits.buffered_bytes, 1 << 20);
    ck_assert_uint_lt(limits.buffered_bytes, UINT64_MAX);
}
END_TEST

/* Each limit has a name of its own, in small letters as status shows it, and words. */
START_TEST(test_names)
{
    ck_assert_str_eq(sp_limit_name(SP_LIMIT_CONNECTIONS), "connections");
    ck_assert_str_eq(sp_limit_name(SP_LIMIT_BUFFERED), "buffered");
    for (unsigned i = 0; i < SP_LIMITS_COUNT; i++) {
        const char *name = sp_limit_name((enum sp_limit)i);

        ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        ck_assert_uint_gt(strlen(sp_limit_words((enum sp_limit)i)), 10);
        for (unsigned k = 0; k < i; k++)
            ck_assert_str_ne(name, sp_limit_name((enum sp_limit)k));
    }
}
END_TEST

/* --- buckets --------------------------------------------------------------------------------------------------------
 */

/* Some seconds' worth at once, then as many as tokens come; never more than a bucket holds, however long it rests. */
START_TEST(test_a_bucket)
{
    set_joins("10");
    ck_assert_uint_eq(burst(7, NOW), 10 * SP_LIMITS_BURST_SECONDS);
    ck_assert_uint_eq(burst(7, NOW), 0);
    ck_assert_uint_eq(burst(7, NOW + 99), 0);
    ck_assert_uint_eq(burst(7, NOW + 101), 1);
    ck_assert_uint_eq(burst(7, NOW + 1101), 10);
    ck_assert_uint_eq(burst(7, NOW + 3600000), 10 * SP_LIMITS_BURST_SECONDS);
}
END_TEST

/* Those that are refused cost no token: who knocks all the time gets in at the same rate. */
START_TEST(test_knocking_all_the_time)
{
    unsigned in = 0;

    set_joins("10");
    for (uint64_t ms = 0; ms < 20000; ms++)
        in += sp_limits_may_join(&limits, 7, NOW + ms);
    ck_assert_uint_ge(in, 10 * SP_LIMITS_BURST_SECONDS + 198);
    ck_assert_uint_le(in, 10 * SP_LIMITS_BURST_SECONDS + 200);
}
END_TEST

/* One address does not pay for others, as long as they do not share a place. */
START_TEST(test_addresses_are_apart)
{
    unsigned refused = 0;

    set_joins("1");
    ck_assert_uint_eq(burst(7, NOW), SP_LIMITS_BURST_SECONDS);
    for (uint64_t group = 100; group < 300; group++)
        refused += !sp_limits_may_join(&limits, group, NOW);
    ck_assert_uint_eq(refused, 0);
}
END_TEST

/* More addresses than there is room for. */
START_TEST(test_more_addresses_than_places)
{
    struct sp_rng rng = unit_rng(1);

    set_joins("100");
    for (unsigned i = 0; i < 20 * SP_LIMITS_SETS * SP_LIMITS_WAYS; i++)
        ck_assert(sp_limits_may_join(&limits, unit_next64(&rng), NOW + i));
}
END_TEST

/* Addresses that drive each other out of their places get no more by that, and nobody knows which ones they are. */
START_TEST(test_addresses_that_share_a_set)
{
    uint64_t shared[3 * SP_LIMITS_WAYS];
    const struct sp_limits_address *set = NULL;
    unsigned count = 0, in = 0, rounds = 0;

    set_joins("10");
    for (uint64_t group = 1; count < 3 * SP_LIMITS_WAYS; group++) {
        struct sp_limits fresh = limits;

        ck_assert(sp_limits_may_join(&fresh, group, NOW));
        for (unsigned i = 0; i < SP_LIMITS_SETS; i++)
            if (fresh.addresses[i][0].taken && (set == NULL || set == limits.addresses[i])) {
                set = limits.addresses[i];
                shared[count++] = group;
            }
    }
    for (uint64_t ms = 0; ms < 10000; ms++, rounds++)
        for (unsigned i = 0; i < count; i++)
            in += sp_limits_may_join(&limits, shared[i], NOW + ms);
    ck_assert_uint_eq(rounds, 10000);
    ck_assert_uint_le(in, SP_LIMITS_WAYS * (10 * SP_LIMITS_BURST_SECONDS + 10 * 10 + 1));
    ck_assert_uint_ge(in, SP_LIMITS_WAYS * 10 * 10);
}
END_TEST

/* What a failed handshake cost is taken from its address's connections, and from no other's. */
START_TEST(test_charges)
{
    set_joins("10");
    ck_assert(sp_limits_may_join(&limits, 7, NOW));
    sp_limits_charge(&limits, 7, 1000, NOW);
    ck_assert_uint_eq(burst(7, NOW + 90000), 0);
    ck_assert_uint_gt(burst(8, NOW + 90000), 0);
    ck_assert_uint_ge(burst(7, NOW + 97000), 1);
}
END_TEST

/* The unknown address, 0, has a bucket as well; and a clock that begins at 0 breaks nothing. */
START_TEST(test_zeros)
{
    set_joins("2");
    ck_assert_uint_eq(burst(0, NOW), 2 * SP_LIMITS_BURST_SECONDS);
    ck_assert(sp_limits_may_join(&limits, 1, 0));
    ck_assert(sp_limits_may_join(&limits, 1, 1));
}
END_TEST

START_TEST(test_the_most)
{
    set_joins("1000000");
    ck_assert_uint_eq(burst(7, NOW), 100000);
}
END_TEST

/* --- what the log hears ---------------------------------------------------------------------------------------------
 */

/* The first at once; then one in SP_LIMITS_SAY_MS, with the number of those that it did not hear of. */
START_TEST(test_the_log)
{
    uint64_t more = 99;

    ck_assert(sp_limits_hit(&limits, SP_LIMIT_JOINS, NOW, &more));
    ck_assert_uint_eq(more, 0);
    for (unsigned i = 1; i <= 500; i++)
        ck_assert(!sp_limits_hit(&limits, SP_LIMIT_JOINS, NOW + i, &more));
    ck_assert(!sp_limits_hit(&limits, SP_LIMIT_JOINS, NOW + SP_LIMITS_SAY_MS - 1, &more));
    ck_assert_uint_eq(more, 0);
    ck_assert(sp_limits_hit(&limits, SP_LIMIT_JOINS, NOW + SP_LIMITS_SAY_MS, &more));
    ck_assert_uint_eq(more, 501);
    ck_assert(!sp_limits_hit(&limits, SP_LIMIT_JOINS, NOW + SP_LIMITS_SAY_MS + 1, &more));
    ck_assert(sp_limits_hit(&limits, SP_LIMIT_JOINS, NOW + 5 * SP_LIMITS_SAY_MS, &more));
    ck_assert_uint_eq(more, 1);
    ck_assert_uint_eq(limits.state[SP_LIMIT_JOINS].hits, 505);
}
END_TEST

/* Of each limit by itself. */
START_TEST(test_limits_are_apart)
{
    uint64_t more;

    for (unsigned i = 0; i < SP_LIMITS_COUNT; i++) {
        ck_assert(sp_limits_hit(&limits, (enum sp_limit)i, NOW, &more));
        ck_assert(!sp_limits_hit(&limits, (enum sp_limit)i, NOW, &more));
        ck_assert_uint_eq(limits.state[i].hits, 2);
    }
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("limit");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_from_the_job);
    tcase_add_test(tests, test_buffered_by_itself);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_a_bucket);
    tcase_add_test(tests, test_knocking_all_the_time);
    tcase_add_test(tests, test_addresses_are_apart);
    tcase_add_test(tests, test_more_addresses_than_places);
    tcase_add_test(tests, test_addresses_that_share_a_set);
    tcase_add_test(tests, test_zeros);
    tcase_add_test(tests, test_charges);
    tcase_add_test(tests, test_the_most);
    tcase_add_test(tests, test_the_log);
    tcase_add_test(tests, test_limits_are_apart);
    return unit_run(suite_create("limit"), tests);
}
