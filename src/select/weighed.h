/* SPDX-License-Identifier: MIT
 *
 * weighed.h — what a selection weighed. For each query block many more blocks are weighed than it
 * keeps; their shares of the mass are known by then, and summed by groups of tokens they tell what
 * pruning leaves out.
 */
#ifndef STI_WEIGHED_H
#define STI_WEIGHED_H

#include "select/unit.h"

/* Lists of all (head, query block) rows; row t has room for begin[t + 1] - begin[t] blocks. */
typedef struct sti_weighed {
    int n_lane;     /* sampled rows of a full query block */
    int64_t *begin; /* [n_row + 1] */
    int64_t *n;     /* [n_row]; 0: nothing was weighed, all candidates are kept or none */
    float *always;  /* [n_row, n_lane] share of the always-kept blocks */
    int32_t *block; /* ascending within a row */
    float *share;   /* [.., n_lane] of the mass of all that was weighed */
    float *rows;    /* [n_head, bq, n_lane] scratch */
} sti_weighed;

/* Room for the rows of n_head heads with these frames: all that `stream` weighs, and of other
 * methods the heaviest. False: out of memory; free accepts what there is. */
bool sti_weighed_alloc(sti_weighed *w, const sti_frame *frame, int64_t nbq, int n_head,
                       const st_select_params *p);
void sti_weighed_free(sti_weighed *w);

/* Where row t puts its list. */
sti_weighed_list sti_weighed_slot(const sti_weighed *w, int64_t t);

/* Adds what head h weighed and did not keep to left->sum, and fills sel->share. `sel` is packed. */
void sti_weighed_left(const sti_weighed *w, const st_attn *a, const st_group_sums *left,
                      st_selection *sel, int h);

#endif
