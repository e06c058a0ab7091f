/* SPDX-License-Identifier: MIT
 *
 * attend.c — sparse and exact attention as loops over tiles.
 *
 * Sparse: a task is one head's query block; its rows share a selection and go through in tiles
 * of 32. Short query blocks go through beside their neighbours, which read much the same keys: 16
 * rows to a tile, each with its own keys of the groups that any of them reads. Exact: a task is a
 * tile of 32 (row, head) pairs of one KV head, rows outermost, so that grouped heads share the keys
 * they read and a single decoded row still fills the lanes.
 */
#include "attend/group_rows.h"
#include "attend/job.h"
#include "base/attn_rows.h"
#include "base/util.h"

#define SHARED_ROWS 16 /* of several query blocks in a tile */

struct attend {
    sti_job job;
    sti_pack pack;           /* unless a->precise */
    int kv;                  /* the KV head at hand */
    const st_selection *sel; /* sparse only, as are the next two */
    int n_shared;            /* query blocks of a task: those whose number / n_shared is the same */
    int64_t n_strip;         /* tasks of one head */
    const st_attend_out *out;
    sti_group_rows groups; /* sparse only */
    int64_t n_tile;        /* exact only: tiles of one KV head */
};

static void store(const struct attend *x, const sti_tile_work *w, const sti_tile *tile)
{
    const st_attend_out *out = x->out;
    for (int r = 0; r < tile->n; r++) {
        if (out->out != NULL)
            sti_tile_output(
                w, r, out->out + tile->row[r] * out->stride_tok + tile->head[r] * out->stride_head);
        if (out->lse != NULL)
            out->lse[tile->head[r] * x->job.a->n_q + tile->row[r]] = sti_tile_lse(w, r);
    }
}

static st_status check_out(const st_attn *a, const st_attend_out *out, st_error *err)
{
    if (out->out != NULL && a->v.data == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "output is wanted, but v.data is NULL");
    return ST_OK;
}

/* Runs n_task tasks of each KV head, one head after the other: its packed keys stay in the cache.
 * `want` says which keys it needs. */
static st_status run(struct attend *x, const st_attn *a, st_pool *pool, int64_t n_task,
                     void (*want)(struct attend *), sti_task_fn fn, st_error *err)
{
    bool ok = a->precise || sti_pack_begin(&x->pack, a, pool);
    ok = sti_job_begin(&x->job, a, a->precise ? NULL : &x->pack, pool) && ok;
    ok = ok && sti_group_rows_begin(&x->groups, x->out->groups, a->n_head, n_task);
    for (int t = 0; ok && x->groups.out != NULL && t < x->job.n_thread; t++) {
        x->job.thread[t].work->pieces.group = x->groups.out->group;
        x->job.thread[t].work->pieces.n_group = x->groups.out->n_group;
    }
    for (x->kv = 0; ok && x->kv < a->n_kv_head; x->kv++) {
        if (!a->precise) {
            sti_pack_head(&x->pack, x->kv);
            want(x);
            ok = sti_pack_fill(&x->pack, x->out->out != NULL);
        }
        if (ok) {
            sti_pool_run(pool, n_task, fn, x);
            sti_group_rows_fold(&x->groups, x->kv * (a->n_head / a->n_kv_head),
                                n_task / (a->n_head / a->n_kv_head));
        }
    }
    ok = sti_job_end(&x->job, ok);
    sti_pack_end(&x->pack);
    sti_group_rows_end(&x->groups);
    return ok ? ST_OK
              : sti_fail_mem(err, (size_t)(a->d_k + a->d_v) * STI_CHUNK_KEYS * sizeof(float));
}

/* ---- sparse ---------------------------------------------------------------------------------- */

/* A task: n query blocks of a head, rows [row, row_end) of the call. Of query block i: entries
 * begin[i] to begin[i + 1] of the selection, lanes lane[i] to lane[i + 1]. */
struct strip {
    int head, n;
    int64_t row, row_end;
    int64_t begin[SHARED_ROWS + 1];
    int lane[SHARED_ROWS + 1];
};

static struct strip strip_of(const struct attend *x, int64_t task)
{
    const st_attn *a = x->job.a;
    const st_selection *sel = x->sel;
    struct strip s = {.head = (int)(task / x->n_strip)};
    int64_t number = sel->first_blk / x->n_shared + task % x->n_strip;
    int64_t qb = sti_max(number * x->n_shared, sel->first_blk);
    int64_t end = sti_min((number + 1) * x->n_shared, sel->first_blk + sel->nbq);
    int64_t at = s.head * sel->nbq + qb - sel->first_blk;
    s.n = (int)(end - qb);
    s.row = sti_max(qb * sel->bq - a->first_query, 0);
    s.row_end = sti_min(end * sel->bq - a->first_query, a->n_q);
    for (int i = 0; i <= s.n; i++) {
        s.begin[i] = sel->indptr[at + i];
        s.lane[i] =
            (int)sti_clamp((qb + i) * sel->bq - a->first_query - s.row, 0, s.row_end - s.row);
    }
    return s;
}

static int64_t strip_segments(const struct attend *x, sti_job_thread *t, const struct strip *s)
{
    const int32_t *block = x->sel->indices;
    return x->n_shared > 1
               ? sti_shared_segments(t, x->job.a, block, s->begin, s->lane, s->n, x->sel->bk)
               : sti_block_segments(t, x->job.a, block + s->begin[0], s->begin[1] - s->begin[0],
                                    x->sel->bk);
}

/* Adds the means over the rows of a query block, of which the tile has some. */
static void add_mass(float *mass, const sti_job_thread *t, int64_t n_seg, const sti_tile *tile,
                     int64_t n_row)
{
    for (int64_t i = 0; i < n_seg; i++) {
        const sti_segment *seg = &t->seg[i];
        int begin = tile->shared ? seg->lane : 0, end = tile->shared ? seg->lane_end : tile->n;
        mass[seg->item] += sti_tile_share_sum(t->work, i, begin, end) /
                           (float)(tile->shared ? end - begin : n_row);
    }
}

static void sparse_task(void *ctx, int64_t i_task, int thread)
{
    struct attend *x = ctx;
    const st_attn *a = x->job.a;
    sti_job_thread *t = &x->job.thread[thread];
    struct strip s = strip_of(x, x->kv * (a->n_head / a->n_kv_head) * x->n_strip + i_task);
    int64_t n_seg = strip_segments(x, t, &s), n_row = s.row_end - s.row;
    float *mass = x->out->mass != NULL ? x->out->mass + s.begin[0] : NULL;
    const float *share = x->sel->share != NULL ? x->sel->share + s.head * a->n_q : NULL;
    bool shares = mass != NULL || x->groups.out != NULL;
    if (mass != NULL)
        memset(mass, 0, (size_t)(s.begin[s.n] - s.begin[0]) * sizeof *mass);
    sti_group_rows_task(&x->groups, i_task, a->first_query + s.row, a->first_query + s.row_end);
    for (int64_t row = s.row; row < s.row_end; row += STI_TILE_ROWS) {
        sti_tile tile = {.n = (int)sti_min(STI_TILE_ROWS, s.row_end - row),
                         .shared = x->n_shared > 1};
        for (int r = 0; r < tile.n; r++) {
            tile.head[r] = s.head;
            tile.row[r] = row + r;
        }
        if (n_seg < 0 ||
            !sti_tile_run(t->work, &tile, t->seg, n_seg, x->out->out != NULL, shares) ||
            !sti_group_rows_add(&x->groups, i_task, s.head, t->work, a->first_query + row, tile.n,
                                share != NULL ? share + row : NULL)) {
            t->failed = true;
            return;
        }
        store(x, t->work, &tile);
        if (mass != NULL)
            add_mass(mass, t, n_seg, &tile, n_row);
    }
}

/* The keys of all blocks that the KV head's heads keep. */
static void want_kept(struct attend *x)
{
    const st_selection *sel = x->sel;
    int64_t rows = x->job.a->n_head / x->job.a->n_kv_head * sel->nbq;
    for (int64_t i = sel->indptr[x->kv * rows]; i < sel->indptr[(x->kv + 1) * rows]; i++) {
        int64_t key = (int64_t)sel->indices[i] * sel->bk;
        sti_pack_want(&x->pack, key, sti_min(key + sel->bk, x->job.a->n_k));
    }
}

st_status st_attend(const st_attn *a, const st_selection *sel, st_pool *pool,
                    const st_attend_out *out, st_error *err)
{
    struct attend x = {.sel = sel, .out = out};
    STI_TRY(st_attn_check(a, err));
    STI_TRY(check_out(a, out, err));
    STI_TRY(sti_check_selection(a, sel, err));
    STI_TRY(sti_group_sums_check(a, out->groups, err));
    x.n_shared = a->precise ? 1 : sti_max(SHARED_ROWS / sel->bq, 1);
    x.n_strip = (sel->first_blk + sel->nbq - 1) / x.n_shared - sel->first_blk / x.n_shared + 1;
    return run(&x, a, pool, a->n_head / a->n_kv_head * x.n_strip, want_kept, sparse_task, err);
}

/* ---- exact ----------------------------------------------------------------------------------- */

/* Tile number t of KV head kv: (row, head of the group) pairs, rows outermost. */
static sti_tile exact_tile(const st_attn *a, int kv, int64_t t)
{
    int group = a->n_head / a->n_kv_head;
    int64_t pair = t * STI_TILE_ROWS, n_pair = a->n_q * group;
    sti_tile tile = {.n = (int)sti_min(STI_TILE_ROWS, n_pair - pair)};
    for (int r = 0; r < tile.n; r++, pair++) {
        tile.row[r] = pair / group;
        tile.head[r] = kv * group + (int)(pair % group);
    }
    return tile;
}

/* Late tiles come first: they see the most keys, and a big task at the end would leave threads
 * idle. */
static void exact_task(void *ctx, int64_t task, int thread)
{
    struct attend *x = ctx;
    const st_attn *a = x->job.a;
    sti_job_thread *t = &x->job.thread[thread];
    sti_tile tile = exact_tile(a, x->kv, x->n_tile - 1 - task);
    int64_t n_seg = sti_visible_segments(t, a, &tile, STI_CHUNK_KEYS);
    if (n_seg < 0 || !sti_tile_run(t->work, &tile, t->seg, n_seg, x->out->out != NULL, false)) {
        t->failed = true;
        return;
    }
    store(x, t->work, &tile);
}

/* Every key of sti_visible_segments, for any tile. */
static void want_visible(struct attend *x)
{
    const st_attn *a = x->job.a;
    int64_t lo = INT64_MAX, hi = 0;
    for (int64_t i = 0; i < a->n_q; i++)
        if (sti_row_lo(a, i) < sti_row_hi(a, i)) {
            lo = sti_min(lo, sti_row_lo(a, i));
            hi = sti_max(hi, sti_row_hi(a, i));
        }
    if (lo < hi)
        sti_pack_want(&x->pack, lo / STI_CHUNK_KEYS * STI_CHUNK_KEYS, hi);
}

st_status st_attend_exact(const st_attn *a, st_pool *pool, const st_attend_out *out, st_error *err)
{
    struct attend x = {.out = out};
    STI_TRY(st_attn_check(a, err));
    if (out->mass != NULL || out->groups != NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "mass and groups need a selection: use st_attend");
    STI_TRY(check_out(a, out, err));
    x.n_tile = sti_ceil_div(a->n_q * (a->n_head / a->n_kv_head), STI_TILE_ROWS);
    return run(&x, a, pool, x.n_tile, want_visible, exact_task, err);
}
