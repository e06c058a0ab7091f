/* SPDX-License-Identifier: MIT
 *
 * choosing.h — one call of st_select on its way: what its tasks share. A task is a (head, unit of
 * neighbouring query blocks); row of the selection: head * nbq + block.
 */
#ifndef STI_CHOOSING_H
#define STI_CHOOSING_H

#include "select/methods.h"

typedef struct sti_choosing {
    const st_attn *a;
    st_select_params p;
    const st_keys *keys;
    st_selection *sel;
    sti_frame *frame; /* [nbq] */
    int unit;         /* query blocks of a unit */
    int64_t n_unit;   /* of a head */
    int64_t *offset;  /* [n_row + 1] where a row may be written into sel->indices */
    int64_t *count;   /* [n_row] */
    float *gain;      /* where budgets are pooled: beside sel->indices, of the kept candidates */
    sti_proposal *proposal; /* [n_head * n_unit][2], where a pool proposes (pooled.c); else NULL */
    sti_work **work;        /* [n_thread] */
    bool *failed;           /* [n_thread] */
} sti_choosing;

/* Query blocks [*begin, *end) of the unit-th group of `size` neighbours, as numbers in the
 * selection. */
void sti_choosing_blocks(const sti_choosing *j, int64_t unit, int size, int64_t *begin,
                         int64_t *end);

/* The always-kept blocks around the chosen ones of row `row`, query block b of the selection. */
void sti_choosing_close(sti_choosing *j, int64_t row, int64_t b);

/* Pooled budgets: before the tasks, proposals of all heads; after them, one cut for a pool's rows.
 * Failure: j->failed. */
void sti_pooled_propose(sti_choosing *j, st_pool *pool);
void sti_pooled_settle(sti_choosing *j, st_pool *pool);

#endif
