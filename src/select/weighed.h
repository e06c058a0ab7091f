/* SPDX-License-Identifier: MIT
 *
 * weighed.h — what a selection weighed and left out, by groups of tokens. Of each query block many
 * more blocks are weighed than it keeps, and their shares of the mass are known by then. A unit
 * sums up at once what none of its query blocks can keep any more; of what they may still lose when
 * pooled budgets are settled, each has a list, which is summed up at the end.
 */
#ifndef STI_WEIGHED_H
#define STI_WEIGHED_H

#include "select/work.h"

/* Of all (head, query block) rows of a selection and the units that choose for them. */
typedef struct sti_weighed {
    const st_attn *a;
    const st_select_params *p;
    const st_selection *sel;
    const sti_frame *frame;    /* [nbq] */
    const st_group_sums *left; /* out */
    int n_lane;                /* sampled rows of a full query block */
    int64_t *begin;            /* [n_row + 1] where a row's list lies */
    int64_t *n;                /* [n_row] its length; -1: nothing was weighed */
    int32_t *block;            /* of lists; the best first */
    float *share;              /* [.., n_lane] of the mass of all that was weighed */
    float *kept;               /* [n_row, n_lane] share of what is certain to stay */
    int64_t n_unit;            /* of a head */
    int64_t *first, *touched;  /* [n_unit], [n_unit + 1] groups with rows in it; sums before it */
    float *sum;                /* [n_head, touched[n_unit], n_group] what units left out */
    int32_t *group_at;         /* [nbk] the group of a key block; -1 - the first of several */
} sti_weighed;

/* Room for what units of `unit` query blocks weigh, with a .. left set; nothing is weighed yet.
 * False: out of memory; free accepts what there is. */
bool sti_weighed_alloc(sti_weighed *w, int unit);
void sti_weighed_free(sti_weighed *w);

/* Frame i of u was ranked: of its candidates, [begin, end) of work->block, it keeps the positions
 * u->kept[i] (0: begin). Masses times inv [16] are shares; always [16]: that of the other blocks.
 * Takes all that is not left out from the frame's lanes of work->mass_r. */
void sti_weighed_frame(sti_weighed *w, sti_work *work, const sti_unit *u, int i,
                       const float *always, const float *inv, int64_t begin, int64_t end);

/* All frames of u were ranked and noted: what remains in mass_r is left out. */
void sti_weighed_unit(sti_weighed *w, sti_work *work, const sti_unit *u, int h, const float *inv);

/* Fills left->sum of head h and its rows of sel->share. The selection is packed. */
void sti_weighed_left(const sti_weighed *w, int h);

#endif
