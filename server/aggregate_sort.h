/* Rows sorted by networks, for the file of an instruction set, which defines before
 *     V(name)           the instruction of that name, of this width
 *     vector, LANES     a register of float32, and how many it holds
 *
 * A row has LANES coordinates of one voter, so that every comparison of rows sorts as many columns. Sixteen rows are
 * sorted in registers. Batcher's bitonic merge makes 32, 64, ... of them, in the form in which each comparison leaves
 * the smaller number in the row before: what lies past the last row counts as infinite and need not be there. Every
 * pass through memory does two or three levels of a merge. (Knuth, The Art of Computer Programming, 5.3.4.)
 */
#pragma once

#include "server/aggregate.h"

#include <math.h>
#include <stdbool.h>

#define ROWS_MAX 256
_Static_assert(SP_VALUES_MAX <= ROWS_MAX, "every voter has a row");

static inline vector fill(float x)
{
    return V(set1_ps)(x);
}

static inline void order(vector *a, vector *b)
{
    vector low = V(min_ps)(*a, *b);

    *b = V(max_ps)(*a, *b);
    *a = low;
}

static inline void sort_4(vector r[4])
{
    order(&r[0], &r[1]);
    order(&r[2], &r[3]);
    order(&r[0], &r[2]);
    order(&r[1], &r[3]);
    order(&r[1], &r[2]);
}

/* Two sorted fours: Batcher's odd-even merge. */
static inline void sort_8(vector r[8])
{
    sort_4(r);
    sort_4(r + 4);
    for (unsigned i = 0; i < 4; i++)
        order(&r[i], &r[i + 4]);
    order(&r[2], &r[4]);
    order(&r[3], &r[5]);
    order(&r[1], &r[2]);
    order(&r[3], &r[4]);
    order(&r[5], &r[6]);
}

/* The last levels of a merge: rows that are 4, 2 and 1 apart. */
static inline void merge_8(vector r[8])
{
    for (unsigned i = 0; i < 4; i++)
        order(&r[i], &r[i + 4]);
    for (unsigned i = 0; i < 8; i += 4) {
        order(&r[i], &r[i + 2]);
        order(&r[i + 1], &r[i + 3]);
        order(&r[i], &r[i + 1]);
        order(&r[i + 2], &r[i + 3]);
    }
}

/* Between rows and registers, one by one: a compiler makes another copy of a loop, by halves of registers, whose parts
 * then wait for each other. */
static inline void copy_8(const vector *from, vector *to)
{
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
    to[3] = from[3];
    to[4] = from[4];
    to[5] = from[5];
    to[6] = from[6];
    to[7] = from[7];
}

/* n is 8, or 16 and more. */
static inline void sort_16(vector *row, unsigned n)
{
    vector r[16];

    copy_8(row, r);
    sort_8(r);
    if (n > 8) {
        copy_8(row + 8, r + 8);
        sort_8(r + 8);
        for (unsigned k = 0; k < 8; k++)
            order(&r[k], &r[15 - k]);
        merge_8(r);
        merge_8(r + 8);
        copy_8(r + 8, row + 8);
    }
    copy_8(r, row);
}

static inline vector get(const vector *row, unsigned n, unsigned i)
{
    return i < n ? row[i] : fill(INFINITY);
}

static inline void put(vector *row, unsigned n, unsigned i, vector v)
{
    if (i < n)
        row[i] = v;
}

/* Two levels: a with c and b with d; then a with b, and the other two. Rows from n on are not there. */
static inline void two_levels(vector *row, unsigned n, unsigned a, unsigned b, unsigned c, unsigned d)
{
    vector ra = row[a], rb = get(row, n, b), rc = get(row, n, c), rd = get(row, n, d);

    order(&ra, &rc);
    order(&rb, &rd);
    order(&ra, &rb);
    if (c < d)
        order(&rc, &rd);
    else
        order(&rd, &rc);
    row[a] = ra;
    put(row, n, b, rb);
    put(row, n, c, rc);
    put(row, n, d, rd);
}

/* Rows that are 2*apart and then `apart` from each other. */
static void two_strides(vector *row, unsigned n, unsigned apart)
{
    for (unsigned base = 0; base < n; base += 4 * apart) {
        for (unsigned i = base; i < base + apart && i < n; i++)
            two_levels(row, n, i, i + apart, i + 2 * apart, i + 3 * apart);
    }
}

static void last_strides(vector *row, unsigned n, bool eight)
{
    vector r[16];

    for (unsigned i = 0; i < n; i += eight ? 16 : 8) {
        bool both = eight && i + 8 < n;

        copy_8(row + i, r);
        if (both) {
            copy_8(row + i + 8, r + 8);
            for (unsigned k = 0; k < 8; k++)
                order(&r[k], &r[k + 8]);
            merge_8(r + 8);
            copy_8(r + 8, row + i + 8);
        }
        merge_8(r);
        copy_8(r, row + i);
    }
}

/* Rows 0..size/2-1 are sorted, and size/2..n-1 are: they become one. n is a multiple of 8, and size a power of two of
 * at least 32. */
static void merge(vector *row, unsigned n, unsigned size)
{
    unsigned quarter = size / 4, apart = quarter / 2;

    for (unsigned i = 0; i < quarter; i++)
        two_levels(row, n, i, i + quarter, size - 1 - i, size - 1 - i - quarter);
    for (; apart > 8; apart /= 4)
        two_strides(row, n, apart / 2);
    last_strides(row, n, apart == 8);
}

/* Room for infinite rows that make n a multiple of 8 is there. */
static void sort_rows(vector *row, unsigned voters)
{
    unsigned n = (voters + 7) / 8 * 8;

    for (unsigned i = voters; i < n; i++)
        row[i] = fill(INFINITY);
    for (unsigned i = 0; i < n; i += 16)
        sort_16(row + i, n - i);
    for (unsigned size = 32; size / 2 < n; size *= 2) {
        for (unsigned base = 0; base + size / 2 < n; base += size)
            merge(row + base, n - base < size ? n - base : size, size);
    }
}
