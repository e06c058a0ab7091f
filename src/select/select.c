/* SPDX-License-Identifier: MIT
 *
 * select.c — the one call behind which all methods stand: spreads heads and query blocks over the
 * threads, joins always-kept and chosen blocks, and packs the result.
 */
#include <string.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "select/mass.h"
#include "select/methods.h"
#include "select/order.h"
#include "select/settle.h"
#include "select/weighed.h"

/* One task: (head, unit of `unit` neighbouring query blocks). Row of the selection:
 * head * nbq + block. */
struct job {
    const st_attn *a;
    st_select_params p;
    const st_keys *keys;
    st_selection *sel;
    sti_frame *frame; /* [nbq] */
    int unit;
    int64_t n_unit;  /* of a head */
    int64_t *offset; /* [n_row + 1] where a row may be written into sel->indices */
    int64_t *count;  /* [n_row] */
    float *gain;     /* where budgets are pooled: beside sel->indices, of the kept candidates */
    const st_group_sums *left; /* NULL: nobody asks what was weighed */
    sti_weighed weighed;
    sti_work **work; /* [n_thread] */
    bool *failed;    /* [n_thread] */
};

/* Blocks that weigh together (all that scan does, and all that a mass budget can use), or propose
 * together if those are more. */
static int unit_size(const st_select_params *p)
{
    int share = R16 / sti_sampled(p);
    return p->method == ST_SELECT_SCAN || p->mass > 0.0f ? share
           : share > STI_PROPOSE                         ? share
                                                         : STI_PROPOSE;
}

static void use_method(struct job *j, st_select_method method)
{
    j->p.method = method;
    j->unit = unit_size(&j->p);
    j->n_unit = sti_n_unit(j->sel, j->unit);
}

/* All frames of a unit together, or each alone if they have too little in common. */
static bool choose_unit(sti_work *w, sti_unit *u, int h)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < u->n; i++)
        least = sti_min(least, sti_frame_candidates(u->frame[i]));
    if (u->n > 1 && u->hi - u->lo < least / 2) {
        bool ok = true;
        for (int i = 0; i < u->n; i++) {
            sti_unit one = sti_unit_part(u, i, i + 1);
            ok = choose_unit(w, &one, h) && ok;
            u->n_kept[i] = one.n_kept[0];
        }
        return ok;
    }
    return w->p->method == ST_SELECT_SCAN ? sti_select_scan(w, u, h, w->p->rows)
                                          : sti_select_stream(w, u, h);
}

static int64_t choose_alone(sti_work *w, const sti_frame *f, int h, int32_t *kept)
{
    switch (w->p->method) {
    case ST_SELECT_EXACT: return sti_select_exact(w, f, h, kept);
    case ST_SELECT_HIP: return sti_select_hip(w, f, h, kept);
    default: return sti_select_window(w, f, h, kept);
    }
}

/* The candidates of f kept without looking; -1 where there is something to choose. */
static int64_t choose_nothing(const sti_work *w, const sti_frame *f, int32_t *kept)
{
    int64_t n = sti_frame_candidates(f);
    if (f->budget == 0)
        return 0;
    if (f->budget < n || sti_frame_pooled(f) || w->p->mass > 0.0f)
        return -1;
    for (int64_t i = 0; i < n; i++)
        kept[i] = (int32_t)(f->cand_lo + i);
    return n;
}

/* The always-kept blocks around the chosen ones of row `row`, query block b of the selection. */
static void close_row(struct job *j, int64_t row, int64_t b)
{
    const sti_frame *f = &j->frame[b];
    int32_t *out = j->sel->indices + j->offset[row];
    int64_t m = 0;
    for (int64_t i = f->blk_lo; i < f->cand_lo; i++)
        out[m++] = (int32_t)i;
    m += j->count[row];
    for (int64_t i = f->cand_hi; i < f->blk_hi; i++)
        out[m++] = (int32_t)i;
    j->count[row] = m;
}

static void select_task(void *ctx, int64_t task, int thread)
{
    struct job *j = ctx;
    sti_work *w = j->work[thread];
    bool alone = j->p.method == ST_SELECT_EXACT || j->p.method == ST_SELECT_HIP ||
                 j->p.method == ST_SELECT_WINDOW;
    int h = (int)(task / j->n_unit), n = 0;
    int64_t begin, end, which[R16], row0 = h * j->sel->nbq;
    const sti_frame *frame[R16];
    sti_unit u;
    sti_unit_blocks(j->sel, j->unit, task % j->n_unit, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const sti_frame *f = &j->frame[b];
        int32_t *kept = j->sel->indices + j->offset[row0 + b] + (f->cand_lo - f->blk_lo);
        int64_t n_kept = choose_nothing(w, f, kept);
        if (n_kept < 0 && alone) {
            n_kept = choose_alone(w, f, h, kept);
            j->failed[thread] = j->failed[thread] || n_kept < 0;
        } else if (n_kept < 0) {
            frame[n] = f;
            which[n++] = b;
        }
        j->count[row0 + b] = sti_max(n_kept, 0);
    }
    if (n > 0) {
        u = sti_unit_make(frame, n);
        u.weighed = j->left != NULL ? &j->weighed : NULL;
        u.number = task % j->n_unit;
        for (int i = 0; i < n; i++) {
            int64_t at = j->offset[row0 + which[i]];
            u.kept[i] = j->sel->indices + at + (frame[i]->cand_lo - frame[i]->blk_lo);
            if (sti_frame_pooled(frame[i]))
                u.gain[i] = j->gain + at;
            u.row[i] = row0 + which[i];
        }
        if (!choose_unit(w, &u, h)) {
            j->failed[thread] = true;
            return;
        }
        for (int i = 0; i < n; i++)
            j->count[row0 + which[i]] = u.n_kept[i];
    }
    for (int64_t b = begin; b < end && !j->p.pooled; b++)
        close_row(j, row0 + b, b);
}

/* ---- pooled budgets -------------------------------------------------------------------------- */

static void pool_task(void *ctx, int64_t pool, int thread)
{
    struct job *j = ctx;
    int64_t begin, end, n = 0, budget = 0, most = 0, n_head = j->sel->n_head;
    sti_pooled *list;
    uint64_t *item;
    sti_unit_blocks(j->sel, STI_POOL, pool, &begin, &end);
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
            close_row(j, row, b);
        }
    sti_free(list);
    sti_free(item);
}

/* Room for what all units weigh, none of it noted yet. */
static bool weighed_alloc(struct job *j)
{
    sti_weighed_free(&j->weighed);
    j->weighed = (sti_weighed){
        .a = j->a, .p = &j->p, .sel = j->sel, .frame = j->frame, .left = j->left};
    return sti_weighed_alloc(&j->weighed, j->unit);
}

static bool run(struct job *j, st_pool *pool)
{
    if (j->left != NULL && !weighed_alloc(j))
        return false;
    sti_pool_run(pool, j->sel->n_head * j->n_unit, select_task, j);
    if (j->p.pooled)
        sti_pool_run(pool, sti_n_unit(j->sel, STI_POOL), pool_task, j);
    for (int t = 0; t < st_pool_size(pool); t++)
        if (j->failed[t])
            return false;
    return true;
}

/* ---- auto: is stream good enough here? ------------------------------------------------------- */

/* A head may miss this share of the mass that scan keeps; all heads together this much on average.
 */
#define SHORT_HEAD 0.05f
#define SHORT_MEAN 0.02f

struct check {
    struct job *job;
    const int64_t *block; /* query blocks looked at */
    float *missed;        /* [n_block * n_head] */
};

static void check_task(void *ctx, int64_t task, int thread)
{
    struct check *c = ctx;
    struct job *j = c->job;
    sti_work *w = j->work[thread];
    int h = (int)(task % j->sel->n_head);
    int64_t qb = c->block[task / j->sel->n_head], own = (int64_t)h * j->sel->nbq + qb;
    sti_frame as_many = j->frame[qb];
    const sti_frame *f = &as_many;
    int64_t n_before = f->cand_lo - f->blk_lo, n_after = f->blk_hi - f->cand_hi;
    int32_t *scan = sti_alloc((size_t)f->budget * sizeof *scan);
    float by_scan, by_stream;
    c->missed[task] = 0.0f;
    as_many.budget = j->count[own] - n_before - n_after;
    sti_unit u = sti_unit_make(&f, 1);
    u.kept[0] = scan;
    if (scan == NULL || !sti_select_scan(w, &u, h, R16)) {
        j->failed[thread] = true;
    } else {
        by_scan = sti_scan_share(w, f, h, scan, u.n_kept[0]);
        by_stream = sti_scan_share(w, f, h, j->sel->indices + j->offset[own] + n_before,
                                   j->count[own] - n_before - n_after);
        c->missed[task] = by_scan - by_stream;
    }
    sti_free(scan);
}

/* Spot check on the last query block (it holds the row that predicts the next token) and on one
 * more. */
static bool stream_is_short(struct job *j, st_pool *pool)
{
    int64_t nbq = j->sel->nbq,
            block[2] = {nbq - 1, (int64_t)(sti_mix((uint64_t)nbq) % (uint64_t)nbq)};
    int n_head = j->sel->n_head, n_block = 0;
    struct check c = {.job = j, .block = block};
    float sum = 0.0f;
    bool is_short = false;
    for (int i = 0; i < (nbq > 1 ? 2 : 1); i++)
        if (j->frame[block[i]].budget > 0)
            block[n_block++] = block[i];
    c.missed = sti_calloc((size_t)(n_block * n_head) * sizeof *c.missed);
    if (c.missed == NULL || n_block == 0) {
        sti_free(c.missed);
        return false;
    }
    sti_pool_run(pool, (int64_t)n_block * n_head, check_task, &c);
    for (int i = 0; i < n_block * n_head; i++) {
        is_short = is_short || c.missed[i] > SHORT_HEAD;
        sum += c.missed[i];
    }
    sti_free(c.missed);
    for (int t = 0; t < st_pool_size(pool); t++)
        is_short = is_short || j->failed[t]; /* out of memory: the scan will say so */
    return is_short || sum > SHORT_MEAN * (float)(n_block * n_head);
}

static bool run_auto(struct job *j, st_keys *keys, st_pool *pool)
{
    use_method(j, keys->scan ? ST_SELECT_SCAN : ST_SELECT_STREAM);
    if (!run(j, pool))
        return false;
    if (!keys->scan && stream_is_short(j, pool)) {
        keys->scan = true;
        use_method(j, ST_SELECT_SCAN);
        if (!run(j, pool))
            return false;
    }
    j->sel->scanned = keys->scan;
    return true;
}

/* ---- the call -------------------------------------------------------------------------------- */

static st_selection *selection_new(const st_attn *a, int bq, int bk)
{
    st_selection *sel = sti_calloc(sizeof *sel);
    if (sel == NULL)
        return NULL;
    sel->n_head = a->n_head;
    sel->bq = bq;
    sel->bk = bk;
    sel->first_blk = a->first_query / bq;
    sel->nbq = (a->first_query + a->n_q - 1) / bq - sel->first_blk + 1;
    sel->nbk = sti_ceil_div(a->n_k, bk);
    sel->indptr = sti_calloc(((size_t)a->n_head * (size_t)sel->nbq + 1) * sizeof *sel->indptr);
    if (sel->indptr == NULL) {
        st_selection_free(sel);
        return NULL;
    }
    return sel;
}

void st_selection_free(st_selection *sel)
{
    if (sel == NULL)
        return;
    sti_free(sel->indptr);
    sti_free(sel->indices);
    sti_free(sel->mass);
    sti_free(sel->share);
    sti_free(sel);
}

/* Closes the gaps that tasks left in their places. */
static void pack(st_selection *sel, const int64_t *offset, const int64_t *count)
{
    int64_t n = 0, n_task = sel->n_head * sel->nbq;
    for (int64_t t = 0; t < n_task; t++) {
        memmove(sel->indices + n, sel->indices + offset[t],
                (size_t)count[t] * sizeof *sel->indices);
        sel->indptr[t] = n;
        n += count[t];
    }
    sel->indptr[n_task] = n;
}

static bool job_alloc(struct job *j, st_pool *pool)
{
    int64_t n_task = j->sel->n_head * j->sel->nbq;
    j->frame = sti_alloc((size_t)j->sel->nbq * sizeof *j->frame);
    j->offset = sti_alloc((size_t)(n_task + 1) * sizeof *j->offset);
    j->count = sti_alloc((size_t)n_task * sizeof *j->count);
    j->work = sti_calloc((size_t)st_pool_size(pool) * sizeof *j->work);
    j->failed = sti_calloc((size_t)st_pool_size(pool) * sizeof *j->failed);
    if (!(j->frame && j->offset && j->count && j->work && j->failed))
        return false;
    for (int64_t b = 0; b < j->sel->nbq; b++)
        j->frame[b] = sti_frame_make(j->a, &j->p, j->sel->first_blk + b);
    use_method(j, j->p.method);
    j->offset[0] = 0;
    for (int64_t t = 0; t < n_task; t++) {
        const sti_frame *f = &j->frame[t % j->sel->nbq];
        j->offset[t + 1] = j->offset[t] + sti_frame_always(f) + f->budget;
    }
    j->sel->indices = sti_alloc((size_t)j->offset[n_task] * sizeof *j->sel->indices);
    if (j->p.pooled && (j->gain = sti_alloc((size_t)j->offset[n_task] * sizeof *j->gain)) == NULL)
        return false;
    if (j->left != NULL) {
        j->sel->share = sti_alloc((size_t)(j->a->n_head * j->a->n_q) * sizeof *j->sel->share);
        if (j->sel->share == NULL)
            return false;
    }
    for (int t = 0; t < st_pool_size(pool); t++)
        if ((j->work[t] = sti_work_new(j->a, &j->p, j->keys)) == NULL)
            return false;
    return j->sel->indices != NULL;
}

static void job_free(struct job *j, st_pool *pool)
{
    for (int t = 0; j->work != NULL && t < st_pool_size(pool); t++)
        sti_work_free(j->work[t]);
    sti_free(j->frame);
    sti_free(j->offset);
    sti_free(j->count);
    sti_free(j->work);
    sti_free(j->failed);
    sti_free(j->gain);
    sti_weighed_free(&j->weighed);
}

static bool needs_keys(st_select_method method)
{
    return method != ST_SELECT_EXACT && method != ST_SELECT_WINDOW;
}

/* Whether the method weighs more blocks than it keeps; edits hide pairs that it would weigh. */
static bool weighs(const st_attn *a, const st_select_params *p)
{
    if (a->n_edit > 0)
        return false;
    return p->method == ST_SELECT_STREAM || p->method == ST_SELECT_FLAT ||
           p->method == ST_SELECT_SCAN || p->method == ST_SELECT_AUTO;
}

static void left_task(void *ctx, int64_t head, int thread)
{
    struct job *j = ctx;
    (void)thread;
    sti_weighed_left(&j->weighed, (int)head);
}

static st_status select_with(const st_attn *a, const st_select_params *p, st_keys *keys,
                             st_pool *pool, const st_group_sums *left, st_selection **sel,
                             st_error *err)
{
    struct job j = {.a = a, .p = *p, .keys = keys, .left = left};
    bool ok;
    j.sel = selection_new(a, p->bq, p->bk);
    ok = j.sel != NULL && job_alloc(&j, pool);
    if (ok)
        ok = p->method == ST_SELECT_AUTO ? run_auto(&j, keys, pool) : run(&j, pool);
    if (ok) {
        pack(j.sel, j.offset, j.count);
        if (left != NULL)
            sti_pool_run(pool, a->n_head, left_task, &j);
    }
    job_free(&j, pool);
    if (!ok) {
        st_selection_free(j.sel);
        return sti_fail_mem(err, (size_t)a->n_head * (size_t)a->n_q * sizeof(int32_t));
    }
    *sel = j.sel;
    return ST_OK;
}

static st_status check_call(const st_attn *a, const st_select_params *p, const st_keys *keys,
                            st_error *err)
{
    STI_TRY(st_attn_check(a, err));
    STI_TRY(st_select_params_check(p, err));
    if (a->bias != NULL && p->method != ST_SELECT_WINDOW)
        return sti_fail(err, ST_ERR_ARG, -1, "bias is given: only method window goes with it");
    if (keys != NULL && (keys->n_kv_head != a->n_kv_head || keys->d != a->d_k || keys->bk != p->bk))
        return sti_fail(err, ST_ERR_ARG, -1,
                        "keys were made for %d KV heads, d %d, bk %d; not %d, %d, %d",
                        keys->n_kv_head, keys->d, keys->bk, a->n_kv_head, a->d_k, p->bk);
    if (keys != NULL && keys->n_key != a->n_k)
        return sti_fail(err, ST_ERR_ARG, -1, "keys took in %lld keys, n_k is %lld",
                        (long long)keys->n_key, (long long)a->n_k);
    return ST_OK;
}

st_status st_select_weighed(const st_attn *a, const st_select_params *p, st_keys *keys,
                            st_pool *pool, const st_group_sums *left, st_selection **sel,
                            st_error *err)
{
    st_keys *own = NULL;
    st_status status = ST_OK;
    *sel = NULL;
    STI_TRY(check_call(a, p, keys, err));
    STI_TRY(sti_group_sums_check(a, left, err));
    if (left != NULL && !weighs(a, p)) {
        memset(left->sum, 0, (size_t)(a->n_head * left->n * left->n_group) * sizeof *left->sum);
        left = NULL;
    }
    if (keys == NULL && needs_keys(p->method)) {
        STI_TRY(st_keys_create(a->n_kv_head, a->d_k, p->bk, &own, err));
        status = st_keys_append(own, a, pool, err);
        keys = own;
    }
    if (status == ST_OK)
        status = select_with(a, p, keys, pool, left, sel, err);
    st_keys_free(own);
    return status;
}

st_status st_select(const st_attn *a, const st_select_params *p, st_keys *keys, st_pool *pool,
                    st_selection **sel, st_error *err)
{
    return st_select_weighed(a, p, keys, pool, NULL, sel, err);
}

st_status st_select_all(const st_attn *a, int bq, int bk, st_selection **sel, st_error *err)
{
    st_select_params p = st_select_params_default();
    *sel = NULL;
    p.method = ST_SELECT_WINDOW;
    p.bq = bq;
    p.bk = bk;
    p.k = INT32_MAX;
    return st_select(a, &p, NULL, NULL, sel, err);
}
