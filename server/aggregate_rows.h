/* Median and trimmed mean of sorted rows, for the file of an instruction set, which defines beside what
 * aggregate_sort.h asks for
 *     wide              a register of LANES/2 doubles
 *     lower, upper      half of a register, as doubles
 *     narrow            two registers of doubles, rounded
 */
#pragma once

#include "server/aggregate_sort.h"

#define COLUMNS_MAX 16
#define ROOM (4 * (ROWS_MAX + 2))

/* Arrays of the voters often lie a power of two apart, where their coordinates displace each other in the caches: so
 * each line is read once, for several columns of registers. */
struct columns {
    size_t at_a_time;
    size_t pitch; /* rows from one column to the next: a little more than there are */
    vector row[ROOM];
};

static inline void columns_init(struct columns *columns, unsigned voters)
{
    columns->pitch = (voters + 7) / 8 * 8 + 2;
    columns->at_a_time = ROOM / columns->pitch < COLUMNS_MAX ? ROOM / columns->pitch : COLUMNS_MAX;
}

/* Returns how many there are. */
static inline size_t load_columns(const float *const values[], unsigned voters, size_t j, size_t end,
                                  struct columns *columns)
{
    size_t left = (end - j) / LANES, n = left < columns->at_a_time ? left : columns->at_a_time;

    for (unsigned i = 0; i < voters; i++) {
        for (size_t c = 0; c < n; c++)
            columns->row[c * columns->pitch + i] = V(loadu_ps)(values[i] + j + c * LANES);
    }
    return n;
}

/* Adding 0 turns -0 into +0 and changes nothing else. */
static inline void store_wide(wide a, wide b, float *to)
{
    V(storeu_ps)(to, V(add_ps)(narrow(a, b), fill(0.0f)));
}

static inline void store_middle(vector low, vector high, float *to)
{
    const wide half = V(set1_pd)(0.5);

    store_wide(V(mul_pd)(V(add_pd)(lower(low), lower(high)), half), V(mul_pd)(V(add_pd)(upper(low), upper(high)), half),
               to);
}

static inline void store_mean(const vector *row, unsigned from, unsigned to, unsigned rows, float *result)
{
    const wide by = V(set1_pd)((double)(to - from));
    wide a = V(set1_pd)(0.0), b = a;

    for (unsigned i = 0; i < rows; i++) {
        if (i >= from && i < to) {
            a = V(add_pd)(a, lower(row[i]));
            b = V(add_pd)(b, upper(row[i]));
        }
    }
    store_wide(V(div_pd)(a, by), V(div_pd)(b, by), result);
}

/* Up to four voters stay in registers: `voters` is a constant where this is called. */
static inline void few(const float *const values[], unsigned voters, int cut, size_t first, size_t end, float *result)
{
    vector r[4];

    for (size_t j = first; j < end; j += LANES) {
        for (unsigned k = 0; k < 4; k++)
            r[k] = k < voters ? V(loadu_ps)(values[k] + j) : fill(INFINITY);
        sort_4(r);
        if (cut < 0)
            store_middle(r[(voters - 1) / 2], r[voters / 2], result + j);
        else
            store_mean(r, (unsigned)cut, voters - (unsigned)cut, 4, result + j);
    }
}

static void many(const float *const values[], unsigned voters, int cut, size_t first, size_t end, float *result)
{
    struct columns columns;

    columns_init(&columns, voters);
    for (size_t j = first; j < end; j += columns.at_a_time * LANES) {
        size_t n = load_columns(values, voters, j, end, &columns);

        for (size_t c = 0; c < n; c++) {
            vector *row = columns.row + c * columns.pitch;

            sort_rows(row, voters);
            if (cut < 0)
                store_middle(row[(voters - 1) / 2], row[voters / 2], result + j + c * LANES);
            else
                store_mean(row, (unsigned)cut, voters - (unsigned)cut, voters, result + j + c * LANES);
        }
    }
}

/* A cut of -1 is the median. */
static inline void aggregate(const float *const values[], unsigned voters, int cut, size_t first, size_t end,
                             float *result)
{
    switch (voters) {
    case 1:
        few(values, 1, cut, first, end, result);
        break;
    case 2:
        few(values, 2, cut, first, end, result);
        break;
    case 3:
        few(values, 3, cut, first, end, result);
        break;
    case 4:
        few(values, 4, cut, first, end, result);
        break;
    default:
        many(values, voters, cut, first, end, result);
        break;
    }
}

static void median(const float *const values[], unsigned voters, size_t first, size_t end, float *result)
{
    aggregate(values, voters, -1, first, end, result);
}

static void trimmed_mean(const float *const values[], unsigned voters, unsigned cut, size_t first, size_t end,
                         float *result)
{
    aggregate(values, voters, (int)cut, first, end, result);
}
