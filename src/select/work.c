/* SPDX-License-Identifier: MIT
 *
 * work.c — scratch memory and the tile of sampled rows.
 */
#include <math.h>

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
    w->q_row = sti_calloc(dp * 2 * sizeof(float));
    w->tile.q = sti_calloc(dp * R16 * 3);
    if (w->q_row == NULL || w->tile.q == NULL) {
        sti_work_free(w);
        return NULL;
    }
    w->tile.q_abs = w->tile.q + dp * R16;
    w->tile.q_sq = w->tile.q_abs + dp * R16;
    return w;
}

static void free_arrays(sti_work *w)
{
    sti_free(w->dot_r);
    sti_free(w->t_r);
    sti_free(w->u_r);
    sti_free(w->s2_r);
    sti_free(w->max_r);
    sti_free(w->sum_r);
    sti_free(w->score);
    sti_free(w->gather);
    for (int i = 0; i < 4; i++)
        sti_free(w->list[i]);
}

void sti_work_free(sti_work *w)
{
    if (w == NULL)
        return;
    free_arrays(w);
    sti_free(w->q_row);
    sti_free(w->tile.q);
    sti_free(w);
}

bool sti_work_reserve(sti_work *w, int64_t n)
{
    size_t lanes = (size_t)n * R16 * sizeof(float);
    if (n <= w->cap)
        return true;
    free_arrays(w);
    w->cap = 0;
    w->dot_r = sti_alloc(lanes);
    w->t_r = sti_alloc(lanes);
    w->u_r = sti_alloc(lanes);
    w->s2_r = sti_alloc(lanes);
    w->max_r = sti_alloc(lanes);
    w->sum_r = sti_alloc(lanes);
    w->score = sti_alloc((size_t)n * sizeof(float));
    w->gather = sti_alloc((size_t)n * sizeof(int32_t));
    for (int i = 0; i < 4; i++)
        w->list[i] = sti_alloc((size_t)n * sizeof(int32_t));
    if (!(w->dot_r && w->t_r && w->u_r && w->s2_r && w->max_r && w->sum_r && w->score &&
          w->gather && w->list[0] && w->list[1] && w->list[2] && w->list[3]))
        return false;
    w->cap = n;
    return true;
}

/* Puts one int8 row into lane r of a tile. */
static void tile_put(int8_t *tile, const int8_t *row, int dp, int r)
{
    for (int c = 0; c < dp; c++)
        tile[(c / 4 * R16 + r) * 4 + c % 4] = row[c];
}

/* q . centre in double, ascending: the same on every machine. */
static float dot_centre(const float *q, const float *centre, int d)
{
    double sum = 0.0;
    for (int c = 0; c < d; c++)
        sum += (double)q[c] * (double)centre[c];
    return (float)sum;
}

static void sample_lane(sti_work *w, int h, int r)
{
    sti_row_tile *t = &w->tile;
    const float *centre = w->keys->head[sti_kv_head(w->a, h)].centre;
    int d = w->a->d_k, dp = w->keys->dp;
    float *q = w->q_row, *sq = w->q_row + dp;
    int8_t row[2048] = {0};
    int32_t sum;
    sti_read_row(q, &w->a->q, h, t->row[r], d);
    for (int c = 0; c < d; c++) {
        q[c] *= w->a->scale;
        sq[c] = q[c] * q[c];
    }
    t->base[r] = dot_centre(q, centre, d);
    sti_kernels()->quant_i8_row(row, &t->q_scale[r], &sum, q, d);
    tile_put(t->q, row, dp, r);
    for (int c = 0; c < d; c++)
        row[c] = (int8_t)(row[c] < 0 ? -row[c] : row[c]);
    tile_put(t->q_abs, row, dp, r);
    sti_kernels()->quant_i8_row(row, &t->sq_scale[r], &sum, sq, d);
    tile_put(t->q_sq, row, dp, r);
}

void sti_work_sample(sti_work *w, const sti_frame *f, int h)
{
    sti_row_tile *t = &w->tile;
    int n = f->n_row < w->p->rows ? f->n_row : w->p->rows;
    if (t->n > n) /* lanes of an earlier, fuller tile */
        memset(t->q, 0, (size_t)w->keys->dp * R16 * 3);
    t->n = n;
    for (int r = 0; r < R16; r++) {
        t->weight[r] = r < n ? 1.0f : 0.0f;
        t->row[r] = f->row0 + (r < n ? (int64_t)(r + 1) * f->n_row / n - 1 : 0);
        t->lo[r] = sti_row_lo(w->a, t->row[r]);
        t->hi[r] = sti_row_hi(w->a, t->row[r]);
        t->q_scale[r] = t->sq_scale[r] = t->base[r] = t->zero[r] = 0.0f;
        if (r < n)
            sample_lane(w, h, r);
    }
}
