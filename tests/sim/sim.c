#include "sim.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

const uint64_t sim_small[] = {150, 10, 200, 33, 0}, sim_middle[] = {30000, 10000, 0};
const struct cluster_faults sim_quiet, sim_storm = {.breaks = 60, .dies = 30, .nan = 30, .stray = 4, .slow = 10};

/* How much of the loss that can be won at all is left. */
double sim_left(const struct cluster_result *r)
{
    return (r->last_loss - r->least_loss) / (r->first_loss - r->least_loss);
}

void sim_show(const char *name, const struct cluster_result *r)
{
    if (getenv("SP_SIM_SHOW") == NULL)
        return;
    (void)fprintf(
        stderr,
        "%s: %u rounds, switch %u, loss %.4f -> %.4f (least %.4f, left %.4f), voters >= %u, breaks %llu (%llu in "
        "push, %llu in update), deaths %llu, takeovers %llu, strays %llu, resyncs %llu, joins %llu, holds "
        "%llu, late %llu, abstained %llu, anew %llu, missed %llu, %.1f s, %016llx\n",
        name, r->rounds, r->switch_round, r->first_loss, r->last_loss, r->least_loss, sim_left(r), r->voters_min,
        (unsigned long long)r->breaks, (unsigned long long)r->breaks_in_push, (unsigned long long)r->breaks_in_update,
        (unsigned long long)r->deaths, (unsigned long long)r->takeovers, (unsigned long long)r->strays,
        (unsigned long long)r->resyncs, (unsigned long long)r->joins, (unsigned long long)r->holds,
        (unsigned long long)r->late, (unsigned long long)r->abstained, (unsigned long long)r->anew,
        (unsigned long long)r->missed, (double)r->end_ms / 1e3, (unsigned long long)r->digest);
}

/* The same seed gives the same bits. */
void sim_run_twice(const struct cluster_options *options, struct cluster_result *result)
{
    struct cluster_result again;

    cluster_run(options, result);
    cluster_run(options, &again);
    ck_assert_mem_eq(result, &again, sizeof again);
    sim_show("run", result);
}

/* And another seed gives others. */
void sim_run_three_times(struct cluster_options *options, struct cluster_result *result)
{
    struct cluster_result other;

    sim_run_twice(options, result);
    options->seed++;
    cluster_run(options, &other);
    ck_assert_uint_ne(result->trace, other.trace);
    ck_assert_uint_ne(result->digest, other.digest);
    sim_show("other", &other);
}
