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
    bool counted = stage->statistics >= BENCH_MARGIN;

    sp_vote(votes, stage->voters, first, count, 3, counted ? data->previous + first / 8 : NULL,
            data->result + first / 8, NULL, counted ? &counts : NULL,
            stage->statistics == BENCH_DISAGREEMENT ? disagree : NULL);
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

/* GB/s of input bits. Margin, ties, unanimous and flips may cost a third; for each worker's disagreement all votes are
 * looked at once more. */
static double goal(unsigned voters, enum bench_statistics statistics)
{
    const double plain = voters == 4 ? 40.0 : voters == 64 ? 14.0 : 0.0;

    if (statistics == BENCH_DISAGREEMENT)
        return 0.0;
    return statistics == BENCH_MARGIN ? plain * 2.0 / 3.0 : plain;
}

unsigned bench_stages_vote(struct bench_stage stages[], const unsigned voters[], unsigned voters_count)
{
    static const char *const words[] = {"", ", margin", ", all"};
    unsigned n = 0;

    for (unsigned i = 0; i < 6 * voters_count; i++) {
        struct bench_stage *stage = &stages[n++];

        *stage = (struct bench_stage){.voters = voters[i / 6], .chunks = i % 6 < 3, .statistics = i % 3};
        stage->run = stage->chunks ? vote_chunks : vote_whole;
        stage->read = stage->voters / 8.0;
        stage->goal = goal(stage->voters, stage->statistics);
        (void)snprintf(stage->name, sizeof stage->name, "vote of %u, %s%s", stage->voters,
                       stage->chunks ? "chunks" : "whole", words[stage->statistics]);
    }
    return n;
}
