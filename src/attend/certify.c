/* SPDX-License-Identifier: MIT
 *
 * certify.c — exact attention of a few rows beside what the sparse run gave for them. A task is a
 * tile of (row, head) pairs that share a KV head.
 */
#include <math.h>

#include "attend/job.h"
#include "base/attn_rows.h"
#include "base/util.h"

struct certify {
    sti_job job;
    const st_selection *sel;
    const st_attend_out *sparse;
    const int64_t *rows;
    int64_t n_row;
    float *recall, *err_rel;
    float *out_buf; /* [n_thread, d_v] */
};

/* Share of lane r's exact mass on the blocks kept for head h and query block qb. */
static float kept_share(const sti_job_thread *t, int64_t n_seg, const st_selection *sel, int h,
                        int64_t qb, int r)
{
    int64_t row = (int64_t)h * sel->nbq + qb - sel->first_blk;
    int64_t i = sel->indptr[row], end = sel->indptr[row + 1];
    double share = 0.0;
    for (int64_t s = 0; s < n_seg; s++) {
        while (i < end && sel->indices[i] < t->seg[s].item)
            i++;
        if (i < end && sel->indices[i] == t->seg[s].item)
            share += sti_tile_share(t->work, s, r);
    }
    return share > 1.0 ? 1.0f : (float)share;
}

static float relative_error(const float *x, const float *exact, int d)
{
    double diff = 0.0, norm = 0.0;
    for (int c = 0; c < d; c++) {
        diff += ((double)x[c] - exact[c]) * ((double)x[c] - exact[c]);
        norm += (double)exact[c] * exact[c];
    }
    if (diff == 0.0)
        return 0.0f;
    return norm * 1e12 < diff ? 1e6f
                              : (float)sqrt(diff / norm); /* finite, whatever the exact norm */
}

/* Lane r of tile t of a KV head: the sampled row (its place in rows) and the head. Rows outermost,
 * so that rows which fit together in a tile read the keys once. */
static int64_t sample_of(const struct certify *c, int kv, int64_t t, int r, int *head)
{
    int group = c->job.a->n_head / c->job.a->n_kv_head;
    int64_t pair = t * STI_TILE_ROWS + r;
    *head = kv * group + (int)(pair % group);
    return pair / group;
}

static void certify_task(void *ctx, int64_t task, int thread)
{
    struct certify *c = ctx;
    const st_attn *a = c->job.a;
    sti_job_thread *t = &c->job.thread[thread];
    int kv = (int)(task % a->n_kv_head);
    int64_t nr = task / a->n_kv_head, n_seg;
    int64_t n_pair = c->n_row * (a->n_head / a->n_kv_head);
    float *exact = c->out_buf + (int64_t)thread * a->d_v;
    sti_tile tile = {.n = (int)sti_min(STI_TILE_ROWS, n_pair - nr * STI_TILE_ROWS)};
    for (int r = 0; r < tile.n; r++)
        tile.row[r] = c->rows[sample_of(c, kv, nr, r, &tile.head[r])];
    n_seg = sti_visible_segments(t, a, &tile, c->sel->bk);
    if (n_seg < 0 || !sti_tile_run(t->work, &tile, t->seg, n_seg, c->err_rel != NULL, true)) {
        t->failed = true;
        return;
    }
    for (int r = 0; r < tile.n; r++) {
        int h;
        int64_t i = sample_of(c, kv, nr, r, &h), row = tile.row[r];
        const float *got =
            c->sparse->out + row * c->sparse->stride_tok + h * c->sparse->stride_head;
        if (c->recall != NULL)
            c->recall[h * c->n_row + i] =
                kept_share(t, n_seg, c->sel, h, (a->first_query + row) / c->sel->bq, r);
        if (c->err_rel != NULL) {
            sti_tile_output(t->work, r, exact);
            c->err_rel[h * c->n_row + i] = relative_error(got, exact, a->d_v);
        }
    }
}

st_status st_certify(const st_attn *a, const st_selection *sel, const st_attend_out *sparse,
                     const int64_t *rows, int64_t n_row, st_pool *pool, float *recall,
                     float *err_rel, st_error *err)
{
    struct certify c = {.sel = sel, .sparse = sparse, .rows = rows, .n_row = n_row};
    int64_t n_tile;
    bool ok;
    c.recall = recall;
    c.err_rel = err_rel;
    STI_TRY(st_attn_check(a, err));
    STI_TRY(sti_check_selection(a, sel, err));
    for (int64_t i = 0; i < n_row; i++)
        if (rows[i] < 0 || rows[i] >= a->n_q)
            return sti_fail(err, ST_ERR_ARG, i, "rows[%lld] is %lld, must be 0..%lld", (long long)i,
                            (long long)rows[i], (long long)a->n_q - 1);
    if (a->bias != NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "bias is given: nothing was selected there");
    if (err_rel != NULL && (a->v.data == NULL || sparse->out == NULL))
        return sti_fail(err, ST_ERR_ARG, -1,
                        "err_rel is wanted, but v or the sparse output is NULL");
    n_tile = sti_ceil_div(n_row * (a->n_head / a->n_kv_head), STI_TILE_ROWS);
    c.out_buf = sti_alloc((size_t)st_pool_size(pool) * (size_t)a->d_v * sizeof *c.out_buf);
    ok = sti_job_begin(&c.job, a, NULL, pool) && c.out_buf != NULL;
    if (ok)
        sti_pool_run(pool, n_tile * a->n_kv_head, certify_task, &c);
    sti_free(c.out_buf);
    if (!sti_job_end(&c.job, ok))
        return sti_fail_mem(err, (size_t)a->n_k * sizeof(float) * STI_TILE_ROWS / (size_t)sel->bk);
    return ST_OK;
}
