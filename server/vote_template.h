/* The vote in vectors of any width: vote_avx2.c and vote_avx512.c include this after they have said what a vector is:
 * `vec`, VEC_BYTES, and vec_load, vec_store, vec_splat, vec_zero, vec_and, vec_or, vec_xor, vec_andnot (~a & b),
 * vec_xor3, vec_majority, and count_differing(), the number of ones of a row (xor another, unless that is NULL).
 *
 * Votes are added by carry-save adders, which keep a bit of the count in each plane. The numbers of voters and of
 * planes are constants in what is inlined here, so that all loops over them unroll and what is zero falls away. Up to
 * GROUP voters are added and decided in registers. With more, the planes of a block are kept in memory while group
 * after group is added: all buffers at once, column by column, would be more streams than caches have ways.
 */
#include "common/pack.h"
#include "common/planes.h"
#include "server/vote_kernels.h"

#include <stdbool.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#define GROUP 8u
#define BLOCK 8192u /* bytes of each buffer */
#define PART 1024u  /* what is decided at a time: its statistics are in memory between */

#define SKEW 192u /* between rows, which would else fall on the same places of the cache */

/* Planes of the counts of the minority; half of the voters are one at most. */
#define MINORITY_MAX (SP_PLANES_MAX - 1)

struct rows {
    _Alignas(64) uint8_t minority[MINORITY_MAX][PART + SKEW];
    _Alignas(64) uint8_t ties[PART + SKEW];
    _Alignas(64) uint8_t split[PART + SKEW]; /* not unanimous */
};

struct sums {
    _Alignas(64) uint8_t plane[SP_PLANES_MAX][BLOCK + SKEW];
};

/* Up to so many voters a minority is of 0, 1 or 2: no coordinate has ones in two of its planes. */
#define SPLIT_BY_PLANES 5u

/* Half of the voters have a plane of the minority's count for themselves, which is then that of the ties. */
INLINE bool ties_by_plane(unsigned voters)
{
    return (voters & (voters - 1)) == 0;
}

INLINE unsigned bits_of(unsigned voters)
{
    return voters == 0 ? 0 : 32 - (unsigned)__builtin_clz(voters);
}

/* All ones if bit p of the constant is set. */
INLINE vec mask(unsigned constant, unsigned p)
{
    return vec_splat((constant >> p) & 1u ? ~UINT64_C(0) : 0);
}

/* Adds n bits to a plane, two at a time; what they carry is in `bits` then. Returns how many those are. */
INLINE unsigned add_level(vec *plane, vec bits[GROUP], unsigned n)
{
#pragma GCC unroll 8
    for (unsigned k = 0; k < n / 2; k++) {
        vec carry = vec_majority(*plane, bits[2 * k], bits[2 * k + 1]);

        *plane = vec_xor3(*plane, bits[2 * k], bits[2 * k + 1]);
        bits[k] = carry;
    }
    if (n % 2 != 0) {
        vec carry = vec_and(*plane, bits[n - 1]);

        *plane = vec_xor(*plane, bits[n - 1]);
        bits[n / 2] = carry;
    }
    return (n + 1) / 2;
}

/* Where votes lie, as numbers that no store can change. */
struct streams {
    const uint8_t *from[GROUP];
};

INLINE struct streams streams_of(const uint8_t *const votes[], unsigned n)
{
    struct streams streams = {{NULL}};

    for (unsigned i = 0; i < n; i++)
        streams.from[i] = votes[i];
    return streams;
}

/* Adds the votes of n voters, at most GROUP, to counts of so many planes that they hold the sums. */
INLINE void add_votes(vec plane[SP_PLANES_MAX], unsigned planes, const struct streams *votes, unsigned n, size_t at)
{
    vec bits[GROUP];

    for (unsigned i = 0; i < n; i++)
        bits[i] = vec_load(votes->from[i] + at);
#pragma GCC unroll 8
    for (unsigned p = 0; p < planes; p++)
        n = add_level(&plane[p], bits, n);
}

INLINE vec coins_at(const struct sp_vote_work *work, size_t at)
{
    vec coins = vec_load(work->coins + (work->first / 8 + at) % SP_COINS_PERIOD);

    return vec_xor(coins, mask(work->t % 2 == 0, 0));
}

/* The count of those who are in the minority: c, or M - c = ~c + (M+1) where more than half are ones. */
INLINE void count_minority(const vec plane[SP_PLANES_MAX], unsigned planes, unsigned voters, vec above, vec ties,
                           struct rows *rows, size_t at)
{
    vec carry = vec_zero(), split = vec_zero();

    for (unsigned p = 0; p + 1 < planes; p++) {
        vec x = vec_xor(plane[p], above), k = vec_and(mask(voters + 1, p), above);
        vec minority = vec_xor3(x, k, carry);

        carry = vec_majority(x, k, carry);
        split = vec_or(split, minority);
        vec_store(rows->minority[p] + at, minority);
    }
    if (voters > SPLIT_BY_PLANES)
        vec_store(rows->split + at, split);
    if (!ties_by_plane(voters))
        vec_store(rows->ties + at, ties);
}

/* From counts to the result, and to the rows of statistics unless they are NULL. `at` is the place in all buffers,
 * `row` that in the rows. */
INLINE void decide(const struct sp_vote_work *work, const vec plane[SP_PLANES_MAX], unsigned planes, unsigned voters,
                   size_t at, struct rows *rows, size_t row)
{
    vec above = vec_zero(), unequal = vec_zero(), ties;

    for (unsigned p = 0; p < planes; p++) {
        vec half = mask(voters / 2, p);

        above = vec_majority(plane[p], above, vec_xor(half, mask(1, 0)));
        unequal = vec_or(unequal, vec_xor(plane[p], half));
    }
    ties = vec_andnot(unequal, mask(~voters, 0));
    vec_store(work->result + at, voters % 2 != 0 ? above : vec_or(above, vec_and(ties, coins_at(work, at))));
    for (unsigned p = 0; p < planes && work->planes != NULL; p++)
        vec_store(work->planes + p * work->stride + at, plane[p]);
    if (rows != NULL)
        count_minority(plane, planes, voters, above, ties, rows, row);
}

/* A part, of few voters: nothing but the result and the statistics leaves the registers. */
INLINE void vote_few(const struct sp_vote_work *given, size_t at, size_t bytes, struct rows *rows, unsigned voters)
{
    const struct sp_vote_work copy = *given, *work = &copy;
    const struct streams votes = streams_of(work->votes, voters);

    for (size_t row = 0; row < bytes; row += VEC_BYTES) {
        vec plane[SP_PLANES_MAX];

        for (unsigned p = 0; p < bits_of(voters); p++)
            plane[p] = vec_zero();
        add_votes(plane, bits_of(voters), &votes, voters, at + row);
        decide(work, plane, bits_of(voters), voters, at + row, rows, row);
    }
}

/* A part of a block in which all voters but the last GROUP are counted. */
INLINE void vote_many(const struct sp_vote_work *given, size_t at, size_t bytes, struct rows *rows,
                      const struct sums *sums, size_t begin, unsigned planes)
{
    const struct sp_vote_work copy = *given, *work = &copy;
    const struct streams votes = streams_of(work->votes + work->voters - GROUP, GROUP);

    for (size_t row = 0; row < bytes; row += VEC_BYTES) {
        vec plane[SP_PLANES_MAX];

        for (unsigned p = 0; p < planes; p++)
            plane[p] = vec_load(sums->plane[p] + begin + row);
        add_votes(plane, planes, &votes, GROUP, at + row);
        decide(work, plane, planes, work->voters, at + row, rows, row);
    }
}

/* n more voters of a block, whose sums have `planes` planes: `before` so far, the others are made. */
INLINE void add_group(struct sums *sums, unsigned before, unsigned planes, const uint8_t *const from[], unsigned n,
                      size_t at, size_t bytes)
{
    const struct streams votes = streams_of(from, n);

    for (size_t i = 0; i < bytes; i += VEC_BYTES) {
        vec plane[SP_PLANES_MAX];

        for (unsigned p = 0; p < planes; p++)
            plane[p] = p < before ? vec_load(sums->plane[p] + i) : vec_zero();
        add_votes(plane, planes, &votes, n, at + i);
        for (unsigned p = 0; p < planes; p++)
            vec_store(sums->plane[p] + i, plane[p]);
    }
}

/* Makes constants of 1..GROUP, and of the planes of more voters. */
#define EACH_FEW(each) each(1) each(2) each(3) each(4) each(5) each(6) each(7) each(8)
#define EACH_MANY(each) each(4) each(5) each(6) each(7) each(8)

/* All but the last GROUP; planes for them too are ready then. */
static void add_block(struct sums *sums, const struct sp_vote_work *work, size_t at, size_t bytes)
{
    unsigned done = (work->voters - 1) % GROUP + 1, planes = bits_of(done);

    switch (done) {
#define FIRST(n)                                                                                                       \
    case n:                                                                                                            \
        add_group(sums, 0, bits_of(n), work->votes, n, at, bytes);                                                     \
        break;
        EACH_FEW(FIRST)
    }
    for (;; done += GROUP) {
        for (; planes < bits_of(done + GROUP); planes++)
            memset(sums->plane[planes], 0, bytes);
        if (done + GROUP == work->voters)
            return;
        switch (planes) {
#define MORE(p)                                                                                                        \
    case p:                                                                                                            \
        add_group(sums, p, p, work->votes + done, GROUP, at, bytes);                                                   \
        break;
            EACH_MANY(MORE)
        }
    }
}

static void vote_part(const struct sp_vote_work *work, size_t at, size_t bytes, struct rows *rows,
                      const struct sums *sums, size_t begin)
{
    switch (work->voters <= GROUP ? work->voters : GROUP + bits_of(work->voters)) {
#define FEW(n)                                                                                                         \
    case n:                                                                                                            \
        vote_few(work, at, bytes, rows, n);                                                                            \
        break;
        EACH_FEW(FEW)
#define MANY(p)                                                                                                        \
    case GROUP + (p):                                                                                                  \
        vote_many(work, at, bytes, rows, sums, begin, p);                                                              \
        break;
        EACH_MANY(MANY)
    }
}

/* Sum of |V| = M - 2 * (those in the minority). */
static void count_part(const struct sp_vote_work *work, const struct rows *rows, size_t bytes)
{
    const unsigned planes = bits_of(work->voters) - 1;
    const uint64_t coordinates = bytes * 8;
    uint64_t minority = 0, split = 0, highest = 0, ties = 0;

    for (unsigned p = 0; p < planes; p++) {
        highest = count_differing(rows->minority[p], NULL, bytes);
        minority += highest << p;
        split += highest;
    }
    if (work->voters > SPLIT_BY_PLANES)
        split = count_differing(rows->split, NULL, bytes);
    if (ties_by_plane(work->voters))
        ties = planes > 0 ? highest : 0;
    else if (work->voters % 2 == 0)
        ties = count_differing(rows->ties, NULL, bytes);
    work->counts->coordinates += coordinates;
    work->counts->margin += work->voters * coordinates - 2 * minority;
    work->counts->ties += ties;
    work->counts->unanimous += coordinates - split;
}

static void vote_block(const struct sp_vote_work *work, size_t at, size_t bytes, struct sums *sums, struct rows *rows)
{
    if (work->voters > GROUP)
        add_block(sums, work, at, bytes);
    for (size_t begin = 0; begin < bytes; begin += PART) {
        size_t part = bytes - begin < PART ? bytes - begin : PART;

        vote_part(work, at + begin, part, work->counts != NULL ? rows : NULL, sums, begin);
        if (work->counts == NULL)
            continue;
        count_part(work, rows, part);
        if (work->previous != NULL)
            work->counts->flips += count_differing(work->previous + at + begin, work->result + at + begin, part);
    }
    for (unsigned i = 0; i < work->voters && work->disagree != NULL; i++)
        work->disagree[i] += count_differing(work->votes[i] + at, work->result + at, bytes);
}

/* The kernel of the set that the including file is of. */
INLINE void vote_all(const struct sp_vote_work *work, size_t bytes)
{
    struct sums sums;
    struct rows rows;

    for (size_t at = 0; at < bytes; at += BLOCK)
        vote_block(work, at, bytes - at < BLOCK ? bytes - at : BLOCK, &sums, &rows);
}
