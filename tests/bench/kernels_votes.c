/* The vote: over whole buffers, and as the server does it, a chunk of all workers at a time from a window that the
 * network has just filled. */
#include "proto/chunks.h"
#include "server/vote.h"
#include "tests/bench/kernels_bench.h"

#include <string.h>

static void vote(const struct bench_stage *stage, struct bench_data *data, const uint8_t *const votes[], uint64_t first,
                 size_t count)
{
    static struct sp_vote_counts counts;
    static uint64_t disagree[SP_VOTES_MAX];

    if (stage->statistics)
        sp_vote(votes, stage->voters, first, count, 3, data->previous + first / 8, data->result + first / 8, NULL,
                &counts, disagree);
    else
        sp_vote(votes, stage->voters, first, count, 3, NULL, data->result + first / 8, NULL, NULL, NULL);
}

static void vote_whole(const struct bench_stage *stage, struct bench_data *data)
{
    const uint8_t *votes[SP_VOTES_MAX];

    for (unsigned i = 0; i < stage->voters; i++)
        votes[i] = data->votes + i * data->votes_stride;
    vote(stage, data, votes, 0, data->coordinates);
}

static void vote_chunks(const struct bench_stage *stage, struct bench_data *data)
{
    const uint8_t *votes[SP_VOTES_MAX];
    size_t at = 0;

    for (size_t first = 0; first < data->coordinates; first += SP_CHUNK_SIGNS) {
        size_t left = data->coordinates - first, count = left < SP_CHUNK_SIGNS ? left : SP_CHUNK_SIGNS;

        for (unsigned i = 0; i < stage->voters; i++)
            votes[i] = data->window + i * data->window_stride + at;
        vote(stage, data, votes, first, count);
        at = (at + SP_BULK_BYTES_MAX) % data->window_stride;
    }
}

/* GB/s of input bits. Statistics may cost a third. */
static double goal(unsigned voters, bool statistics)
{
    const double plain = voters == 4 ? 40.0 : voters == 64 ? 14.0 : 0.0;

    return statistics ? plain * 2.0 / 3.0 : plain;
}

unsigned bench_stages_vote(struct bench_stage stages[], const unsigned voters[], unsigned voters_count)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 4 * voters_count; i++) {
        struct bench_stage *stage = &stages[n++];

        *stage = (struct bench_stage){.voters = voters[i / 4], .chunks = i % 4 < 2, .statistics = i % 2 == 1};
        stage->run = stage->chunks ? vote_chunks : vote_whole;
        stage->read = stage->voters / 8.0;
        stage->goal = goal(stage->voters, stage->statistics);
        (void)snprintf(stage->name, sizeof stage->name, "vote of %u, %s%s", stage->voters,
                       stage->chunks ? "chunks" : "whole", stage->statistics ? ", statistics" : "");
    }
    return n;
}
