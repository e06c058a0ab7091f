/* SPDX-License-Identifier: MIT
 *
 * unit.h — neighbouring query blocks of one head that share the 16 lanes of a row tile: each gives
 * some sampled rows. STI_PROPOSE blocks (those with the same number / STI_PROPOSE), or as many as
 * have room for all their sampled rows if those are more, descend the pyramid together; then 16 /
 * (sampled rows) of them at a time weigh what was proposed, and each keeps its own best.
 *
 *      edge: sink, cut |  shared: candidates of all frames  | edge: windows, diagonals
 *                     lo                                   hi
 */
#ifndef STI_UNIT_H
#define STI_UNIT_H

#include "select/frame.h"

#define R16 16 /* lanes of a row tile */
#define STI_PROPOSE 8

typedef struct sti_unit {
    int n; /* frames, >= 1 */
    const sti_frame *frame[R16];
    int32_t *kept[R16]; /* out: kept candidates; room for the frame's budget */
    float *gain[R16]; /* out, of a pooled frame: what each is worth (settle.h), and kept is in that
                         order; NULL of others, whose kept is ascending */
    int64_t n_kept[R16];    /* out */
    struct sti_weighed *weighed; /* what it weighs is noted there (weighed.h); NULL: nowhere */
    int64_t row[R16];            /* then: the frame's row of the selection */
    int64_t number;              /* and the unit's number in its head */
    int64_t lo, hi;         /* shared candidates; hi > lo */
    int64_t blk_lo, blk_hi; /* blocks that some frame sees */
    int64_t quota;          /* the largest of the frames' */
} sti_unit;

/* Sampled rows of a full query block. */
static inline int sti_sampled(const st_select_params *p)
{
    return p->rows < p->bq ? p->rows : p->bq;
}

/* Units of `unit` query blocks (those with the same number / unit) in a head. */
static inline int64_t sti_n_unit(const st_selection *sel, int unit)
{
    return (sel->first_blk + sel->nbq - 1) / unit - sel->first_blk / unit + 1;
}

/* Query blocks [*begin, *end) of unit number u, as numbers in the selection. */
static inline void sti_unit_blocks(const st_selection *sel, int unit, int64_t u, int64_t *begin,
                                   int64_t *end)
{
    int64_t first = (sel->first_blk / unit + u) * unit - sel->first_blk;
    *begin = first > 0 ? first : 0;
    *end = first + unit < sel->nbq ? first + unit : sel->nbq;
}

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

/* Frames [begin, end) of a unit, with where they put what they choose. */
static inline sti_unit sti_unit_part(const sti_unit *u, int begin, int end)
{
    sti_unit part = sti_unit_make(u->frame + begin, end - begin);
    part.weighed = u->weighed;
    part.number = u->number;
    for (int i = begin; i < end; i++) {
        part.kept[i - begin] = u->kept[i];
        part.gain[i - begin] = u->gain[i];
        part.row[i - begin] = u->row[i];
    }
    return part;
}

#endif
