/* SPDX-License-Identifier: MIT
 *
 * value_size.c — sizes of values from the cache, once, when the sequence ends: |W_O v|^2 = v' G v,
 * with G = W_O' W_O of the head. The cache has all values then, so nothing is carried from one
 * micro-batch to the next.
 */
#include <math.h>
#include <string.h>

#include "base/util.h"
#include "ggml/value_size.h"
#include "kernels/read_rows.h"

#define TASK_BLK 32 /* key blocks of a task */
#define D_MAX 2048

struct job {
    const st_attn *a;
    const float *gram; /* [n_head, d_v, d_v] */
    int64_t bk, nbk, n_part;
    float *size;
};

/* |W_O v| */
static float size_of(const float *gram, const float *v, int64_t d)
{
    float y[D_MAX], sum = 0.0f;
    memset(y, 0, (size_t)d * sizeof *y);
    for (int64_t j = 0; j < d; j++)
        for (int64_t i = 0; i < d; i++)
            y[i] += v[j] * gram[j * d + i];
    for (int64_t i = 0; i < d; i++)
        sum += y[i] * v[i];
    return sum > 0.0f ? sqrtf(sum) : 0.0f; /* rounding may take it below */
}

static void size_block(const struct job *x, int64_t kv, int64_t blk)
{
    const st_attn *a = x->a;
    int64_t group = a->n_head / a->n_kv_head, d = a->d_v;
    int64_t end = sti_min((blk + 1) * x->bk, a->n_k);
    float v[D_MAX];
    for (int64_t t = blk * x->bk; t < end; t++) {
        sti_read_row(v, &a->v, kv, t, d);
        for (int64_t h = kv * group; h < (kv + 1) * group; h++)
            x->size[h * x->nbk + blk] += size_of(x->gram + h * d * d, v, d);
    }
    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        x->size[h * x->nbk + blk] /= (float)(end - blk * x->bk);
}

static void size_task(void *ctx, int64_t task, int thread)
{
    const struct job *x = ctx;
    int64_t kv = task / x->n_part, first = task % x->n_part * TASK_BLK;
    (void)thread;
    for (int64_t blk = first; blk < sti_min(first + TASK_BLK, x->nbk); blk++)
        size_block(x, kv, blk);
}

st_status sti_value_sizes(const sti_settings *s, int layer, const st_attn *a, int bk, st_pool *pool,
                          float **size, st_error *err)
{
    struct job x = {.a = a, .bk = bk, .nbk = sti_ceil_div(s->p.n_tok, bk)};
    const st_output_gram *g = layer < s->p.n_gram ? &s->p.gram[layer] : NULL;
    *size = NULL;
    if (g == NULL || g->gram == NULL || a->first_query + a->n_q != s->p.n_tok)
        return ST_OK;
    if (g->n_head != a->n_head || g->d_v != a->d_v || a->n_k < s->p.n_tok)
        return sti_fail(err, ST_ERR_MODEL, -1,
                        "layer %d: the output matrix is of %d heads of %d, its attention has %d of "
                        "%d",
                        layer, g->n_head, g->d_v, a->n_head, a->d_v);
    x.gram = g->gram;
    x.n_part = sti_ceil_div(x.nbk, TASK_BLK);
    x.size = *size = sti_calloc((size_t)a->n_head * (size_t)x.nbk * sizeof *x.size);
    if (x.size == NULL)
        return sti_fail_mem(err, (size_t)a->n_head * (size_t)x.nbk * sizeof *x.size);
    sti_pool_run(pool, x.n_part * a->n_kv_head, size_task, &x);
    return ST_OK;
}
