/* SPDX-License-Identifier: MIT
 *
 * pooled.c — budgets that the heads and neighbouring query blocks of a layer share. First they
 * propose: all heads of a unit descend, and what the descents found is cut at one worth, so that a
 * head that reads a few blocks has a few weighed. Then every query block ranks what was weighed,
 * and the pool cuts all lists at one worth again (settle.h).
 */
#include "base/util.h"
#include "kernels/kernels.h"
#include "select/choosing.h"
#include "select/order.h"
#include "select/settle.h"

/* ---- proposals ------------------------------------------------------------------------------- */

/* The query blocks of a unit that have something to settle: n = 0 if none, or if they go alone. */
static sti_unit proposing(const sti_choosing *j, int64_t unit)
{
    int64_t begin, end;
    const sti_frame *frame[R16];
    int n = 0;
    sti_unit u = {0};
    sti_choosing_blocks(j, unit, j->unit, &begin, &end);
    for (int64_t b = begin; b < end; b++)
        if (sti_frame_pooled(&j->frame[b]))
            frame[n++] = &j->frame[b];
    if (n > R16 / j->p.rows)
        u = sti_unit_make(frame, n);
    if (u.n > 0 && sti_unit_apart(&u))
        u.n = 0;
    return u;
}

static void propose_task(void *ctx, int64_t task, int thread)
{
    sti_choosing *j = ctx;
    sti_unit u = proposing(j, task % j->n_unit);
    if (u.n > 0 && !sti_propose_stream(j->work[thread], &u, (int)(task / j->n_unit),
                                       &j->proposal[2 * task]))
        j->failed[thread] = true;
}

/* One descent of all heads of a unit: together they propose n_head times what one may. */
static void settle_proposals(sti_choosing *j, int64_t unit, int descent, const sti_unit *u,
                             sti_pooled *list)
{
    int64_t n_head = j->sel->n_head, most = sti_proposes(&j->p, u, descent);
    for (int64_t h = 0; h < n_head; h++) {
        sti_proposal *x = &j->proposal[2 * (h * j->n_unit + unit) + descent];
        for (int64_t i = 0; i < x->n && i < j->p.beam; i++) /* so many of each head in any case */
            x->gain[i] = STK_FLT_MAX;
        list[h] = (sti_pooled){.gain = x->gain, .n = x->n, .cost = 1};
    }
    sti_settle(list, n_head, n_head * most);
    for (int64_t h = 0; h < n_head; h++)
        j->proposal[2 * (h * j->n_unit + unit) + descent].n = list[h].keep;
}

static void settle_task(void *ctx, int64_t unit, int thread)
{
    sti_choosing *j = ctx;
    sti_unit u = proposing(j, unit);
    sti_pooled *list;
    if (u.n == 0)
        return;
    list = sti_alloc((size_t)j->sel->n_head * sizeof *list);
    if (list == NULL) {
        j->failed[thread] = true;
        return;
    }
    for (int descent = 0; descent < 2; descent++)
        settle_proposals(j, unit, descent, &u, list);
    sti_free(list);
}

void sti_pooled_propose(sti_choosing *j, st_pool *pool)
{
    int64_t n = 2 * j->sel->n_head * j->n_unit, most = 0;
    float *gain;
    int32_t *block;
    for (int64_t unit = 0; unit < j->n_unit; unit++) {
        sti_unit u = proposing(j, unit);
        most = u.n > 0 ? sti_max(most, sti_proposals_most(&j->p, &u)) : most;
    }
    if (most == 0)
        return;
    j->proposal = sti_alloc((size_t)n * (sizeof *j->proposal + (size_t)most * 2 * sizeof *gain));
    if (j->proposal == NULL) {
        j->failed[0] = true;
        return;
    }
    gain = (float *)(j->proposal + n);
    block = (int32_t *)(gain + n * most);
    for (int64_t i = 0; i < n; i++)
        j->proposal[i] = (sti_proposal){.block = block + i * most, .gain = gain + i * most};
    sti_pool_run(pool, n / 2, propose_task, j);
    sti_pool_run(pool, j->n_unit, settle_task, j);
}

/* ---- budgets --------------------------------------------------------------------------------- */

static void pool_task(void *ctx, int64_t pool, int thread)
{
    sti_choosing *j = ctx;
    int64_t begin, end, n = 0, budget = 0, most = 0, n_head = j->sel->n_head;
    sti_pooled *list;
    uint64_t *item;
    sti_choosing_blocks(j, pool, STI_POOL, &begin, &end);
    for (int64_t b = begin; b < end; b++)
        most = sti_max(most, j->frame[b].budget);
    list = sti_alloc((size_t)((end - begin) * n_head) * sizeof *list);
    item = sti_alloc((size_t)most * 2 * sizeof *item);
    if (list == NULL || item == NULL) {
        sti_free(list);
        sti_free(item);
        j->failed[thread] = true;
        return;
    }
    for (int64_t b = begin; b < end; b++)
        for (int64_t h = 0; h < n_head && sti_frame_pooled(&j->frame[b]); h++) {
            int64_t row = h * j->sel->nbq + b;
            list[n++] = (sti_pooled){
                .gain = j->gain + j->offset[row], .n = j->count[row], .cost = j->frame[b].n_row};
            budget += j->frame[b].quota * j->frame[b].n_row;
        }
    sti_settle(list, n, budget);
    n = 0;
    for (int64_t b = begin; b < end; b++)
        for (int64_t h = 0; h < n_head; h++) {
            const sti_frame *f = &j->frame[b];
            int64_t row = h * j->sel->nbq + b;
            if (sti_frame_pooled(f)) {
                j->count[row] = list[n++].keep;
                sti_sort_blocks(j->sel->indices + j->offset[row] + (f->cand_lo - f->blk_lo),
                                j->count[row], item);
            }
            sti_choosing_close(j, row, b);
        }
    sti_free(list);
    sti_free(item);
}

void sti_pooled_settle(sti_choosing *j, st_pool *pool)
{
    const st_selection *sel = j->sel;
    int64_t last = sel->first_blk + sel->nbq - 1;
    sti_pool_run(pool, last / STI_POOL - sel->first_blk / STI_POOL + 1, pool_task, j);
}
