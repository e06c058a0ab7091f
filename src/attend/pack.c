/* SPDX-License-Identifier: MIT
 *
 * pack.c — fills the packed groups. Each is packed by one task from its own 16 keys alone, so it
 * has the same bytes whatever else was wanted.
 */
#include "attend/pack.h"
#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/read_rows.h"

#define TASK_GROUPS 32

struct fill {
    sti_pack *p;
    int32_t *group; /* [n_slot] */
    float *buf;     /* [n_thread, STK_GROUP, max(d_k, d_v)] */
    int64_t buf_floats;
};

bool sti_pack_begin(sti_pack *p, const st_attn *a, st_pool *pool)
{
    int64_t n_group = sti_ceil_div(a->n_k, STK_GROUP);
    *p = (sti_pack){.a = a, .pool = pool, .n_group = n_group, .dp = (a->d_k + 1) / 2 * 2};
    p->slot = sti_pool_take(pool, STI_SCRATCH_MAP, (size_t)n_group * sizeof *p->slot);
    return p->slot != NULL;
}

void sti_pack_head(sti_pack *p, int kv)
{
    p->kv = kv;
    p->n_slot = 0;
    memset(p->slot, 0xff, (size_t)p->n_group * sizeof *p->slot);
}

void sti_pack_want(sti_pack *p, int64_t lo, int64_t hi)
{
    for (int64_t g = lo / STK_GROUP; g * STK_GROUP < hi; g++)
        p->slot[g] = 0;
}

/* n keys from `key` on; meanwhile their values and the keys from `next` on are fetched. */
static void pack_keys(const sti_pack *p, int16_t *k, float *scale, int64_t key, int64_t n,
                      int64_t next, float *buf)
{
    const sti_kernel_table *t = sti_kernels();
    const st_rows *x = &p->a->k;
    stk_packk_fn *fn = x->dtype == ST_DTYPE_F16    ? t->packk_f16_row
                       : x->dtype == ST_DTYPE_BF16 ? t->packk_bf16_row
                       : x->dtype == ST_DTYPE_Q8_0 ? t->packk_q8_0_row
                                                   : t->packk_f32_row;
    for (int64_t j = 0; j < n; j++) {
        const void *row = sti_row_at(x, p->kv, key + j);
        if (p->v != NULL)
            sti_row_ask(&p->a->v, p->kv, key + j, p->a->d_v);
        sti_row_ask(x, p->kv, sti_min(next + j, p->a->n_k - 1), p->a->d_k);
        if (x->dtype == ST_DTYPE_OTHER) {
            sti_read_row(buf, x, p->kv, key + j, p->a->d_k);
            row = buf;
        }
        fn(k + j * p->dp, &scale[j], row, p->a->d_k);
    }
}

static void pack_values(const sti_pack *p, int16_t *v, float *scale, int64_t key, int64_t n,
                        float *buf)
{
    const sti_kernel_table *t = sti_kernels();
    const st_rows *x = &p->a->v;
    int64_t d = p->a->d_v;
    stk_packv_fn *fn = x->dtype == ST_DTYPE_F16    ? t->packv_f16_g16
                       : x->dtype == ST_DTYPE_BF16 ? t->packv_bf16_g16
                       : x->dtype == ST_DTYPE_Q8_0 ? t->packv_q8_0_g16
                                                   : t->packv_f32_g16;
    if (x->dtype == ST_DTYPE_OTHER) {
        for (int64_t j = 0; j < n; j++)
            sti_read_row(buf + j * d, x, p->kv, key + j, d);
        fn(v, scale, buf, n, d, d * (int64_t)sizeof *buf);
        return;
    }
    fn(v, scale, sti_row_at(x, p->kv, key), n, d, x->stride_tok_bytes);
}

/* One group; the keys behind the last one stay zero. */
static void fill_group(const struct fill *f, int64_t slot, float *buf)
{
    sti_pack *p = f->p;
    const st_attn *a = p->a;
    int64_t key = (int64_t)f->group[slot] * STK_GROUP, n = sti_min(STK_GROUP, a->n_k - key);
    int64_t next = (int64_t)f->group[sti_min(slot + 1, p->n_slot - 1)] * STK_GROUP;
    int16_t *k = p->k + slot * STK_GROUP * p->dp;
    float *k_scale = p->k_scale + slot * STK_GROUP;
    if (n < STK_GROUP || p->dp != a->d_k) {
        memset(k, 0, (size_t)p->dp * STK_GROUP * sizeof *k);
        memset(k_scale, 0, STK_GROUP * sizeof *k_scale);
    }
    pack_keys(p, k, k_scale, key, n, next, buf);
    if (p->v != NULL)
        pack_values(p, p->v + slot * STK_GROUP * a->d_v, p->v_scale + slot * a->d_v, key, n, buf);
}

static void fill_task(void *ctx, int64_t task, int thread)
{
    const struct fill *f = ctx;
    int64_t end = sti_min((task + 1) * TASK_GROUPS, f->p->n_slot);
    for (int64_t s = task * TASK_GROUPS; s < end; s++)
        fill_group(f, s, f->buf + thread * f->buf_floats);
}

/* Cuts one piece of scratch into the arrays, each at a multiple of 64 bytes. */
static bool place_arrays(sti_pack *p, struct fill *f, bool values)
{
    int64_t n = p->n_slot, d_v = values ? p->a->d_v : 0;
    size_t k = (size_t)(n * STK_GROUP * p->dp) * sizeof *p->k;
    size_t v = (size_t)(n * STK_GROUP * d_v) * sizeof *p->v;
    size_t k_scale = (size_t)(n * STK_GROUP) * sizeof *p->k_scale;
    size_t v_scale = (size_t)sti_round_up(n * d_v, 16) * sizeof *p->v_scale;
    size_t group = (size_t)sti_round_up(n, 16) * sizeof *f->group;
    size_t buf = (size_t)(f->buf_floats * st_pool_size(p->pool)) * sizeof *f->buf;
    char *at;
    sti_pool_give(p->pool, p->k);
    at = sti_pool_take(p->pool, STI_SCRATCH_PACK, k + v + k_scale + v_scale + group + buf);
    p->k = (int16_t *)at;
    if (at == NULL)
        return false;
    at += k;
    p->v = values ? (int16_t *)at : NULL;
    at += v;
    p->k_scale = (float *)at;
    at += k_scale;
    p->v_scale = (float *)at;
    at += v_scale;
    f->group = (int32_t *)at;
    at += group;
    f->buf = (float *)at;
    return true;
}

bool sti_pack_fill(sti_pack *p, bool values)
{
    const st_attn *a = p->a;
    struct fill f = {.p = p, .buf_floats = (int64_t)STK_GROUP * sti_max(a->d_k, a->d_v)};
    for (int64_t i = 0; i < p->n_group; i++)
        if (p->slot[i] == 0)
            p->slot[i] = (int32_t)p->n_slot++;
    if (!place_arrays(p, &f, values))
        return false;
    for (int64_t i = 0; i < p->n_group; i++)
        if (p->slot[i] >= 0)
            f.group[p->slot[i]] = (int32_t)i;
    sti_pool_run(p->pool, sti_ceil_div(p->n_slot, TASK_GROUPS), fill_task, &f);
    return true;
}

void sti_pack_end(sti_pack *p)
{
    sti_pool_give(p->pool, p->k);
    sti_pool_give(p->pool, p->slot);
}
