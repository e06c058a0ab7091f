/* SPDX-License-Identifier: MIT
 *
 * unit.h — neighbouring query blocks of one head that share the 16 lanes of a row tile: each gives
 * some sampled rows. STI_PROPOSE blocks (those with the same number / STI_PROPOSE) descend the
 * pyramid together; then 16 / rows of them at a time weigh what was proposed, and each keeps its
 * own best.
 *
 *      edge: sink, cut |  shared: candidates of all frames  | edge: windows, diagonals
 *                     lo                                   hi
 */
#ifndef STI_UNIT_H
#define STI_UNIT_H

#include "select/frame.h"

#define R16 16 /* lanes of a row tile */
#define STI_PROPOSE 8

/* Where a query block puts what was weighed (weighed.h). */
typedef struct sti_weighed_list {
    int64_t room;   /* blocks; 0: nowhere */
    int n_lane;     /* lanes of an array, at least the query block's sampled rows */
    int32_t *block; /* [room] */
    float *share;   /* [room, n_lane] */
    float *always;  /* [n_lane] */
    int64_t *n;
} sti_weighed_list;

typedef struct sti_unit {
    int n; /* frames, >= 1 */
    const sti_frame *frame[R16];
    int32_t *kept[R16]; /* out: kept candidates; room for the frame's budget */
    float *gain[R16]; /* out, of a pooled frame: what each is worth (settle.h), and kept is in that
                         order; NULL of others, whose kept is ascending */
    int64_t n_kept[R16];    /* out */
    sti_weighed_list weighed[R16];
    int64_t lo, hi;         /* shared candidates; hi > lo */
    int64_t blk_lo, blk_hi; /* blocks that some frame sees */
    int64_t quota;          /* the largest of the frames' */
} sti_unit;

/* A unit of these frames; hi <= lo if they have no candidate in common. */
static inline sti_unit sti_unit_make(const sti_frame *const *frame, int n)
{
    sti_unit u = {.n = n, .lo = 0, .hi = INT64_MAX, .blk_lo = INT64_MAX};
    for (int i = 0; i < n; i++) {
        const sti_frame *f = u.frame[i] = frame[i];
        u.lo = f->cand_lo > u.lo ? f->cand_lo : u.lo;
        u.hi = f->cand_hi < u.hi ? f->cand_hi : u.hi;
        u.blk_lo = f->blk_lo < u.blk_lo ? f->blk_lo : u.blk_lo;
        u.blk_hi = f->blk_hi > u.blk_hi ? f->blk_hi : u.blk_hi;
        u.quota = f->quota > u.quota ? f->quota : u.quota;
    }
    return u;
}

#endif
