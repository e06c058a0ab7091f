/* SPDX-License-Identifier: MIT
 *
 * frame.c — which key blocks a query block sees, keeps anyway, or may choose from.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "select/frame.h"

#define TAIL_TOK 64 /* last rows whose budget is doubled, at most a 32nd of the sequence */

/* Query blocks round in turn up and down, so that 8 neighbours have their sum. */
static int64_t in_turn(double budget, int64_t number)
{
    return (int64_t)(budget + (double)(2 * (5 * number % 8) + 1) / 16);
}

/* A growing budget at row `first`: seven times as much in the end as at first and twice that in the
 * tail, so that over all rows it is `searched`. */
static double grown(double searched, int64_t first, int64_t length)
{
    int64_t at = sti_min(first, length);
    int64_t tail = sti_min(TAIL_TOK, length / 32);
    double part = searched * (double)(length + 6 * at) / (double)(4 * length + 7 * tail);
    return first >= length - tail ? 2 * part : part;
}

/* Pooled, a query block may keep so many candidates, or four times its quota. */
#define POOL_MOST 64

sti_frame sti_frame_make(const st_attn *a, const st_select_params *p, int64_t qb)
{
    sti_frame f = {0};
    int64_t first = sti_max(qb * p->bq, a->first_query);
    int64_t last = sti_min((qb + 1) * p->bq, a->first_query + a->n_q);
    int64_t see_lo = INT64_MAX, see_hi = 0; /* seen by some row */
    int64_t all_lo = 0, all_hi = INT64_MAX; /* seen by every row that sees anything */
    double searched;

    f.number = qb;
    f.row0 = first - a->first_query;
    f.n_row = (int)(last - first);
    for (int64_t i = f.row0; i < f.row0 + f.n_row; i++) {
        int64_t lo = sti_row_lo(a, i), hi = sti_row_hi(a, i);
        if (lo >= hi)
            continue;
        see_lo = sti_min(see_lo, lo);
        see_hi = sti_max(see_hi, hi);
        all_lo = sti_max(all_lo, lo);
        all_hi = sti_min(all_hi, hi);
    }
    if (see_hi == 0)
        return f;
    f.blk_lo = see_lo / p->bk;
    f.blk_hi = sti_ceil_div(see_hi, p->bk);
    f.cand_lo = sti_max(f.blk_lo + p->sink_blk, sti_ceil_div(all_lo, p->bk));
    f.cand_hi = all_hi / p->bk - p->window_blk;
    if (f.cand_hi <= f.cand_lo)
        f.cand_lo = f.cand_hi = f.blk_hi;
    searched = fmax(floor(8 * p->k) / 8 - (double)sti_frame_always(&f), 0.0);
    if (p->grow_tok != 0)
        searched =
            grown(searched, first, p->grow_tok > 0 ? p->grow_tok : a->first_query + a->n_q);
    f.budget = f.quota = sti_min(in_turn(searched, qb), sti_frame_candidates(&f));
    if (p->pooled && searched > 0.0)
        f.budget = sti_min(sti_max(4 * f.quota, POOL_MOST), sti_frame_candidates(&f));
    return f;
}
