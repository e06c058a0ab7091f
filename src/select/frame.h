/* SPDX-License-Identifier: MIT
 *
 * frame.h — the geometry of one query block: its rows, the key blocks they see, which of those are
 * always kept, and which are candidates for the budget. Depends on positions only, never on values.
 *
 *      blk_lo        cand_lo                         cand_hi            blk_hi
 *        | sink, cut   |  candidates: all rows see all   | window, diagonal |
 */
#ifndef STI_FRAME_H
#define STI_FRAME_H

#include "sparsetrace/select.h"

typedef struct sti_frame {
    int64_t number; /* of the query block, absolute */
    int64_t row0;   /* first row (index into a's rows) */
    int n_row;
    int64_t blk_lo, blk_hi;   /* visible key blocks [blk_lo, blk_hi); equal: nothing is visible */
    int64_t cand_lo, cand_hi; /* candidates; blk_lo <= cand_lo <= cand_hi <= blk_hi */
    int64_t quota; /* its part of the budget: k less the always-kept, grown, 0..candidates */
    int64_t budget; /* candidates it may keep: the quota, or more where budgets are pooled */
} sti_frame;

/* The frame of absolute query block `qb`, which must hold at least one row of a. */
sti_frame sti_frame_make(const st_attn *a, const st_select_params *p, int64_t qb);

static inline int64_t sti_frame_candidates(const sti_frame *f)
{
    return f->cand_hi - f->cand_lo;
}
static inline int64_t sti_frame_always(const sti_frame *f)
{
    return f->blk_hi - f->blk_lo - sti_frame_candidates(f);
}

/* Its budget is settled among the frames of its pool (settle.h). */
static inline bool sti_frame_pooled(const sti_frame *f)
{
    return f->budget > f->quota;
}

#endif
