/* SPDX-License-Identifier: MIT
 *
 * order.c — the largest scores by halving the range of their bits; orders by places, then by
 * neighbours. Lists are short (a hundred or so) and many: heaps and comparisons alone would
 * mispredict their way through.
 */
#include <string.h>

#include "base/util.h"
#include "kernels/kernels.h"
#include "select/order.h"

#define FEW 12 /* items that insertion sorts faster */

static void sort_few(uint64_t *item, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        uint64_t x = item[i];
        int64_t j = i;
        for (; j > 0 && item[j - 1] > x; j--)
            item[j] = item[j - 1];
        item[j] = x;
    }
}

/* Ascending by the upper 32 bits; equal ones stay in their order. Byte by byte from the lowest,
 * back and forth between the halves of item [2 n]. Returns the half with the result. n > 0 */
static uint64_t *sort_bytes(uint64_t *item, int64_t n)
{
    uint64_t *from = item, *to = item + n;
    int32_t count[4][256] = {{0}};
    for (int64_t i = 0; i < n; i++)
        for (int b = 0; b < 4; b++)
            count[b][item[i] >> (32 + 8 * b) & 255]++;
    for (int b = 0; b < 4; b++) {
        int32_t at = 0;
        if (count[b][from[0] >> (32 + 8 * b) & 255] == n)
            continue;
        for (int v = 0; v < 256; v++) {
            int32_t here = count[b][v];
            count[b][v] = at;
            at += here;
        }
        for (int64_t i = 0; i < n; i++)
            to[count[b][from[i] >> (32 + 8 * b) & 255]++] = from[i];
        uint64_t *other = from;
        from = to;
        to = other;
    }
    return from;
}

static uint32_t upper(uint64_t item)
{
    return (uint32_t)(item >> 32);
}

/* Into to[n] by the 8 highest bits in which items differ. Returns how many the fullest of these 256
 * places got. */
static int32_t spread(uint64_t *to, const uint64_t *item, int64_t n)
{
    uint32_t lo = UINT32_MAX, hi = 0;
    int32_t count[257] = {0}, most = 0;
    int shift = 0;
    for (int64_t i = 0; i < n; i++) {
        lo = upper(item[i]) < lo ? upper(item[i]) : lo;
        hi = upper(item[i]) > hi ? upper(item[i]) : hi;
    }
    while ((hi - lo) >> shift > 255)
        shift++;
    for (int64_t i = 0; i < n; i++)
        count[((upper(item[i]) - lo) >> shift) + 1]++;
    for (int v = 1; v <= 256; v++) {
        most = count[v] > most ? count[v] : most;
        count[v] += count[v - 1];
    }
    for (int64_t i = 0; i < n; i++)
        to[count[(upper(item[i]) - lo) >> shift]++] = item[i];
    return most;
}

/* Ascending by the upper 32 bits; items where those are equal must have ascending lower ones. item
 * [2 n]. Returns the half with the result. */
static uint64_t *sort_items(uint64_t *item, int64_t n)
{
    if (n <= FEW) {
        sort_few(item, n);
        return item;
    }
    if (spread(item + n, item, n) > FEW)
        return sort_bytes(item, n);
    sort_few(item + n, n); /* each has a few steps to go */
    return item + n;
}

/* Different blocks as bits of a set that begins at block `first`. */
static void sort_in_set(int32_t *block, int64_t n, int32_t first, uint64_t *word, int64_t n_word)
{
    memset(word, 0, (size_t)n_word * sizeof *word);
    for (int64_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)(block[i] - first);
        word[at / 64] |= (uint64_t)1 << at % 64;
    }
    for (int64_t i = 0, m = 0; i < n_word; i++)
        for (uint64_t rest = word[i]; rest != 0; rest &= rest - 1)
            block[m++] = first + (int32_t)(64 * i) + __builtin_ctzll(rest);
}

void sti_sort_blocks(int32_t *block, int64_t n, uint64_t *item)
{
    int32_t first = INT32_MAX, last = INT32_MIN;
    for (int64_t i = 0; i < n; i++) {
        first = block[i] < first ? block[i] : first;
        last = block[i] > last ? block[i] : last;
    }
    if (n > 0 && (last - first) / 64 < 2 * n) { /* near enough to each other for the scratch */
        sort_in_set(block, n, first, item, (last - first) / 64 + 1);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        item[i] = (uint64_t)(uint32_t)block[i] << 32;
    item = sort_items(item, n);
    for (int64_t i = 0; i < n; i++)
        block[i] = (int32_t)(item[i] >> 32);
}

/* A float as an integer in the same order; NaN comes last. */
static int32_t ordered_bits(float x)
{
    int32_t b;
    memcpy(&b, &x, 4);
    b ^= (b >> 31) & 0x7fffffff;
    return x != x ? INT32_MIN : b;
}

/* All scores so, and the least and the largest of them. */
static void order(int32_t *restrict bits, const float *restrict score, int64_t n, int32_t *least,
                  int32_t *largest)
{
    int32_t lo = INT32_MAX, hi = INT32_MIN;
    for (int64_t i = 0; i < n; i++) {
        int32_t b = ordered_bits(score[i]);
        bits[i] = b;
        lo = b < lo ? b : lo;
        hi = b > hi ? b : hi;
    }
    *least = lo;
    *largest = hi;
}

/* Positions of what is above `limit` and of the first n_equal that equal it, `keep` in all. */
static int64_t collect(int32_t *restrict out, const int32_t *restrict bits, int64_t n,
                       int32_t limit, int64_t n_equal, int64_t keep)
{
    int64_t n_out = 0;
    for (int64_t i = 0; i < n && n_out < keep; i++) {
        bool equal = bits[i] == limit;
        out[n_out] = (int32_t)i;
        n_out += (bits[i] > limit) | (equal & (n_equal > 0));
        n_equal -= equal;
    }
    return n_out;
}

int64_t sti_top(sti_work *w, const float *score, int64_t n, int64_t keep, int32_t *out)
{
    const sti_kernel_table *k = sti_kernels();
    int32_t least, largest;
    int64_t lo, hi;
    if (keep >= n) {
        for (int64_t i = 0; i < n; i++)
            out[i] = (int32_t)i;
        return n;
    }
    if (keep == 0)
        return 0;
    order(w->bits, score, n, &least, &largest);
    /* a limit with `keep` above it; or, where ties forbid that, the least with fewer above it */
    for (lo = least, hi = largest; lo < hi;) {
        int64_t mid = lo + (hi - lo) / 2, above = k->above_i32_row(w->bits, (int32_t)mid, n);
        if (above == keep)
            lo = hi = mid;
        else if (above < keep)
            hi = mid;
        else
            lo = mid + 1;
    }
    return collect(out, w->bits, n, (int32_t)lo, keep - k->above_i32_row(w->bits, (int32_t)lo, n),
                   keep);
}

int64_t sti_top_ordered(sti_work *w, const float *score, int64_t n, int64_t keep, int32_t *out)
{
    uint64_t *item = w->item;
    keep = sti_top(w, score, n, keep, out);
    for (int64_t i = 0; i < keep; i++) /* falling scores as rising integers; ties by index */
        item[i] = (uint64_t)(uint32_t)(INT32_MAX - (int64_t)ordered_bits(score[out[i]])) << 32 |
                  (uint32_t)out[i];
    item = sort_items(item, keep);
    for (int64_t i = 0; i < keep; i++)
        out[i] = (int32_t)(uint32_t)item[i];
    return keep;
}
