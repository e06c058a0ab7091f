/* SPDX-License-Identifier: MIT
 *
 * work.c — scratch memory and the tile of sampled rows.
 */
#include <math.h>
#include <string.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "kernels/read_rows.h"
#include "select/work.h"

sti_work *sti_work_new(const st_attn *a, const st_select_params *p, const st_keys *keys)
{
    sti_work *w = sti_calloc(sizeof *w);
    size_t dp = (size_t)sti_round_up(a->d_k, 16);
    if (w == NULL)
        return NULL;
    w->a = a;
    w->p = p;
    w->keys = keys;
    w->q_row = sti_calloc(dp * sizeof(float));
    w->tile.q = sti_calloc(dp * R16 * 2);
    if (w->q_row == NULL || w->tile.q == NULL) {
        sti_work_free(w);
        return NULL;
    }
    w->tile.q_abs = w->tile.q + dp * R16;
    return w;
}

static void free_arrays(sti_work *w)
{
    sti_free(w->dot_r);
    sti_free(w->dot2_r);
    sti_free(w->t_r);
    sti_free(w->u_r);
    sti_free(w->mass_r);
    sti_free(w->block);
    sti_free(w->score);
    sti_free(w->bits);
    sti_free(w->item);
    sti_free(w->gather);
    for (int i = 0; i < 4; i++)
        sti_free(w->list[i]);
}

void sti_work_free(sti_work *w)
{
    if (w == NULL)
        return;
    free_arrays(w);
    sti_free(w->fetched.v);
    sti_free(w->fetched.scale);
    sti_free(w->fetched.sum);
    sti_free(w->q_row);
    sti_free(w->tile.q);
    sti_free(w);
}

bool sti_work_reserve(sti_work *w, int64_t n)
{
    size_t lanes = (size_t)n * R16 * sizeof(float), ints = (size_t)n * sizeof(int32_t);
    bool ok = true;
    if (w->keys != NULL && w->keys->lean && w->fetched.cap_v < n) {
        sti_vectors *x = &w->fetched;
        if (!sti_grow((void **)&x->v, &x->cap_v, n, (size_t)w->keys->dp) ||
            !sti_grow((void **)&x->scale, &x->cap_scale, n, sizeof *x->scale) ||
            !sti_grow((void **)&x->sum, &x->cap_sum, n, sizeof *x->sum))
            return false;
    }
    if (n <= w->cap)
        return true;
    free_arrays(w);
    w->cap = 0;
    ok = (w->dot_r = sti_alloc(lanes)) != NULL && ok;
    ok = (w->dot2_r = sti_alloc(lanes)) != NULL && ok;
    ok = (w->t_r = sti_alloc(lanes)) != NULL && ok;
    ok = (w->u_r = sti_alloc(lanes)) != NULL && ok;
    ok = (w->mass_r = sti_alloc(lanes)) != NULL && ok;
    ok = (w->block = sti_alloc(ints)) != NULL && ok;
    ok = (w->score = sti_alloc(ints)) != NULL && ok;
    ok = (w->bits = sti_alloc(ints)) != NULL && ok;
    ok = (w->item = sti_alloc((size_t)n * 2 * sizeof *w->item)) != NULL && ok;
    ok = (w->gather = sti_alloc(ints)) != NULL && ok;
    for (int i = 0; i < 4; i++)
        ok = (w->list[i] = sti_alloc(ints)) != NULL && ok;
    w->cap = ok ? n : 0;
    return ok;
}

/* Puts one int8 row into lane r of a tile, four channels at a time. */
static void tile_put(int8_t *tile, const int8_t *row, int dp, int r)
{
    for (int c = 0; c < dp; c += 4)
        memcpy(tile + (c * R16 + 4 * r), row + c, 4);
}

/* q . centre in double, ascending: the same on every machine. */
static float dot_centre(const float *q, const float *centre, int d)
{
    double sum = 0.0;
    for (int c = 0; c < d; c++)
        sum += (double)q[c] * (double)centre[c];
    return (float)sum;
}

/* Sum of squares in 16 lanes (c mod 16), then a tree: one order for every machine. */
static float square_norm(const float *x, int d)
{
    float lane[16] = {0};
    for (int c0 = 0; c0 < d; c0 += 16)
        for (int l = 0; l < 16 && c0 + l < d; l++)
            lane[l] += x[c0 + l] * x[c0 + l];
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static void sample_lane(sti_work *w, int h, int r, int64_t row, bool nodes)
{
    sti_row_tile *t = &w->tile;
    int d = w->a->d_k, dp = w->keys->dp;
    int8_t v[2048];
    int32_t sum;
    sti_read_row(w->q_row, &w->a->q, h, row, d);
    for (int c = 0; c < d; c++)
        w->q_row[c] *= w->a->scale;
    /* the same for every key of the row: softmax does not see it, a cap or a learned sink does */
    if (w->a->softcap > 0.0f || w->a->sinks != NULL)
        t->base[r] = dot_centre(w->q_row, w->keys->head[sti_kv_head(w->a, h)].centre, d);
    if (nodes) {
        t->q2[r] = square_norm(w->q_row, d);
        t->q2_root[r] = sqrtf(t->q2[r]);
    }
    memset(v + d, 0, (size_t)(dp - d));
    sti_kernels()->quant_i8_row(v, &t->q_scale[r], &sum, w->q_row, d);
    tile_put(t->q, v, dp, r);
    t->lo[r] = sti_row_lo(w->a, row);
    t->hi[r] = sti_row_hi(w->a, row);
    t->all_lo = sti_max(t->all_lo, t->lo[r]);
    t->all_hi = sti_min(t->all_hi, t->hi[r]);
    t->weight[r] = 1.0f;
}

static void absolute(int8_t *restrict out, const int8_t *restrict x, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = (int8_t)(x[i] < 0 ? -x[i] : x[i]);
}

void sti_work_sample(sti_work *w, const sti_unit *u, int h, int rows, bool nodes)
{
    sti_row_tile *t = &w->tile;
    int64_t row[R16];
    int before = t->n, n = 0;
    t->all_lo = 0;
    t->all_hi = INT64_MAX;
    for (int r = 0; r < R16; r++) {
        t->weight[r] = t->q_scale[r] = t->q2[r] = t->q2_root[r] = t->base[r] = 0.0f;
        t->lo[r] = t->hi[r] = 0;
    }
    for (int i = 0; i < u->n; i++) {
        const sti_frame *f = u->frame[i];
        int m = f->n_row < rows ? f->n_row : rows;
        t->first[i] = n;
        for (int j = 0; j < m; j++)
            row[n++] = f->row0 + (int64_t)(j + 1) * f->n_row / m - 1;
    }
    t->first[u->n] = n;
    for (int r = 0; r < n; r++)
        sti_row_ask(&w->a->q, h, row[r], w->a->d_k); /* they lie far apart */
    for (int r = 0; r < n; r++)
        sample_lane(w, h, r, row[r], nodes);
    if (before > n) { /* lanes of an earlier, fuller tile */
        static const int8_t nothing[2048] = {0};
        for (int r = n; r < before; r++)
            tile_put(t->q, nothing, w->keys->dp, r);
    }
    if (nodes)
        absolute(t->q_abs, t->q, w->keys->dp * R16);
    t->n = n;
}
