/* SPDX-License-Identifier: MIT
 *
 * hip.c — the baseline: a tree of representative keys, written afresh from the description of HiP
 * attention (arXiv 2406.09827), our reading. The candidates are cut into 2 k' chunks (k': the
 * searched budget); the key in the middle of a chunk stands for it, its score is the largest over
 * the sampled rows; the best k' chunks are halved, and so on until every chunk is one block.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "select/mass.h"
#include "select/methods.h"
#include "select/order.h"

/* Chunk i holds blocks [from[i], to[i]). Scores into w->score. */
static void score_chunks(sti_work *w, int kv, const int32_t *from, const int32_t *to, int64_t n)
{
    const sti_row_tile *q = &w->tile;
    int32_t *centre = w->gather;
    for (int64_t i = 0; i < n; i++)
        centre[i] = (int32_t)(((int64_t)from[i] + to[i]) * w->p->bk / 2);
    if (w->keys->lean) {
        sti_vectors x = sti_fetch_keys(w, kv, 0, centre, n);
        sti_scores(w, w->t_r, &x, NULL, n);
    } else {
        sti_scores(w, w->t_r, &w->keys->head[kv].key, centre, n);
    }
    for (int64_t i = 0; i < n; i++) {
        w->score[i] = -INFINITY;
        for (int r = 0; r < q->n; r++)
            if (w->t_r[i * R16 + r] > w->score[i])
                w->score[i] = w->t_r[i * R16 + r];
    }
}

int64_t sti_select_hip(sti_work *w, const sti_frame *f, int h, int32_t *kept)
{
    int64_t cand = sti_frame_candidates(f), n = sti_min(2 * f->budget, cand);
    sti_unit u = sti_unit_make(&f, 1);
    int32_t *from, *to, *best;
    if (!sti_work_reserve(w, sti_max(n, 1)))
        return -1;
    sti_work_sample(w, &u, h, R16, false);
    from = w->list[0];
    to = w->list[1];
    best = w->list[2];
    for (int64_t i = 0; i < n; i++) {
        from[i] = (int32_t)(f->cand_lo + i * cand / n);
        to[i] = (int32_t)(f->cand_lo + (i + 1) * cand / n);
    }
    for (;;) {
        int64_t n_best, m = 0;
        bool single = true;
        score_chunks(w, sti_kv_head(w->a, h), from, to, n);
        n_best = sti_top(w, w->score, n, f->budget, best);
        for (int64_t i = 0; i < n_best; i++)
            single = single && to[best[i]] - from[best[i]] == 1;
        if (single) {
            for (int64_t i = 0; i < n_best; i++)
                kept[i] = from[best[i]];
            return n_best;
        }
        /* halve into list 3 (starts) and gather (ends): the halves of 2 k' chunks at most */
        for (int64_t i = 0; i < n_best; i++) {
            int32_t a = from[best[i]], b = to[best[i]], mid = a + (b - a) / 2;
            if (mid > a) {
                w->list[3][m] = a;
                w->gather[m++] = mid;
            }
            w->list[3][m] = mid;
            w->gather[m++] = b;
        }
        memcpy(from, w->list[3], (size_t)m * sizeof *from);
        memcpy(to, w->gather, (size_t)m * sizeof *to);
        n = m;
    }
}
