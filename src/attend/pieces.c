/* SPDX-License-Identifier: MIT
 *
 * pieces.c — sums by groups of keys. Keys come in rising order, so a tile has at most one piece for
 * each group and chunk, and a search for the next group starts where the last one ended.
 */
#include "attend/pieces.h"
#include "base/util.h"
#include "kernels/kernels.h"

#define LANES 16

void sti_pieces_start(sti_pieces *p)
{
    p->n = p->n_chunk = 0;
}

void sti_pieces_free(sti_pieces *p)
{
    sti_free(p->column);
    sti_free(p->sum[0]);
    sti_free(p->sum[1]);
    sti_free(p->chunk_end);
    sti_free(p->share);
}

/* The first group that ends behind `key`; nearly always the one at hand or the next. */
static int64_t group_behind(const sti_pieces *p, int64_t key)
{
    int64_t lo = p->n > 0 ? p->column[p->n - 1] : 0, hi = p->n_group;
    for (int step = 0; step < 2 && lo < hi && p->group[lo].end <= key; step++)
        lo++;
    if (lo == hi || p->group[lo].end > key)
        return lo;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (p->group[mid].end <= key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Room for `more` pieces. */
static bool reserve(sti_pieces *p, int R, int64_t more)
{
    int64_t n = p->n + more;
    if (n <= p->room[R > LANES])
        return true;
    n += n / 2;
    if (!sti_grow((void **)&p->column, &p->cap_column, n, sizeof *p->column))
        return false;
    for (int half = 0; half < R / LANES; half++)
        if (!sti_grow((void **)&p->sum[half], &p->cap_sum[half], n * LANES, sizeof *p->sum[half]))
            return false;
    p->room[R > LANES] = n;
    return true;
}

/* Adds lanes [R] to the sums of group g in the chunk at hand: to its last piece, or as a new one.
 */
static void add_piece(sti_pieces *p, int R, int64_t g, const float *lanes)
{
    int64_t before = p->n_chunk > 0 ? p->chunk_end[p->n_chunk - 1] : 0;
    bool again = p->n > before && p->column[p->n - 1] == g;
    int64_t i = again ? p->n - 1 : p->n++;
    p->column[i] = g;
    for (int half = 0; half < R / LANES; half++) {
        float *sum = p->sum[half] + i * LANES;
        const float *from = lanes + half * LANES;
        if (again)
            for (int r = 0; r < LANES; r++)
                sum[r] += from[r];
        else
            memcpy(sum, from, LANES * sizeof *sum);
    }
}

bool sti_pieces_add(sti_pieces *p, int R, int64_t lo, int64_t hi, const float *s)
{
    if (!reserve(p, R, hi - lo))
        return false;
    for (int64_t g = group_behind(p, lo); g < p->n_group && p->group[g].begin < hi; g++) {
        int64_t end = sti_min(p->group[g].end, hi);
        float lanes[2 * LANES] = {0};
        for (int64_t j = sti_max(p->group[g].begin, lo); j < end; j++)
            for (int r = 0; r < R; r++)
                lanes[r] += s[(j - lo) * R + r];
        add_piece(p, R, g, lanes);
    }
    return true;
}

bool sti_pieces_add_fixed(sti_pieces *p, int R, int64_t lo, int64_t hi, const int16_t *prob,
                          const float *f)
{
    const sti_kernel_table *t = sti_kernels();
    int64_t first = lo / STK_GROUP * STK_GROUP;
    if (!reserve(p, R, STK_GROUP))
        return false;
    for (int64_t g = group_behind(p, lo); g < p->n_group && p->group[g].begin < hi; g++) {
        int64_t begin = sti_max(p->group[g].begin, lo) - first;
        int64_t end = sti_min(p->group[g].end, hi) - first;
        _Alignas(64) float lanes[2 * LANES];
        (R == LANES ? t->keysum_i16_r16 : t->keysum_i16_r32)(lanes, prob, f, begin, end);
        add_piece(p, R, g, lanes);
    }
    return true;
}

bool sti_pieces_end_chunk(sti_pieces *p)
{
    if (!sti_grow((void **)&p->chunk_end, &p->cap_chunk, p->n_chunk + 1, sizeof *p->chunk_end))
        return false;
    p->chunk_end[p->n_chunk++] = p->n;
    return true;
}

bool sti_pieces_total(sti_pieces *p, int R, int begin, int end, const float *factor, float unit,
                      const float *weight, float *total)
{
    const sti_kernel_table *t = sti_kernels();
    if (!sti_grow((void **)&p->share, &p->cap_share, p->n, sizeof *p->share))
        return false;
    for (int64_t c = 0, i = 0; c < p->n_chunk; i = p->chunk_end[c++])
        for (int half = begin / LANES; half * LANES < end; half++) {
            _Alignas(64) float lanes[LANES] = {0};
            for (int r = (int)sti_max(begin, half * LANES); r < sti_min(end, (half + 1) * LANES);
                 r++)
                lanes[r - half * LANES] =
                    factor[c * R + r] * unit * (weight != NULL ? weight[r] : 1.0f);
            t->score_f32_r16(p->share, p->sum[half] + i * LANES, lanes, p->chunk_end[c] - i);
            for (int64_t k = i; k < p->chunk_end[c]; k++)
                total[p->column[k]] += p->share[k - i];
        }
    return true;
}
