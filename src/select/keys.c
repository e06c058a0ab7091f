/* SPDX-License-Identifier: MIT
 *
 * keys.c — builds and grows the summary of the keys (docs/method/selection.md, "Build").
 *
 * Everything here is elementwise or summed in a stated order, without contraction, so the same keys
 * and queries give the same bytes on every machine, however they were cut into calls.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "kernels/read_rows.h"
#include "select/keys.h"

#define LEAF_BATCH 256 /* leaves whose full-precision statistics are held at once */
#define KEY_TASK 256   /* keys quantised by one task */

/* ---- memory ---------------------------------------------------------------------------------- */

static bool vectors_grow(sti_vectors *x, int64_t n, int dp)
{
    return sti_grow((void **)&x->v, &x->cap_v, n, (size_t)dp) &&
           sti_grow((void **)&x->scale, &x->cap_scale, n, sizeof *x->scale) &&
           sti_grow((void **)&x->sum, &x->cap_sum, n, sizeof *x->sum);
}

static void vectors_free(sti_vectors *x)
{
    sti_free(x->v);
    sti_free(x->scale);
    sti_free(x->sum);
}

static size_t vectors_bytes(const sti_vectors *x, int dp)
{
    return (size_t)x->cap_v * (size_t)dp + (size_t)(x->cap_scale + x->cap_sum) * 4;
}

static bool level_grow(sti_level *l, int64_t n, int dp)
{
    return vectors_grow(&l->mean, n, dp) && vectors_grow(&l->mid, n, dp) &&
           vectors_grow(&l->half, n, dp) && vectors_grow(&l->exemplar_key, n, dp) &&
           sti_grow((void **)&l->var, &l->cap_var, n, sizeof *l->var) &&
           sti_grow((void **)&l->exemplar, &l->cap_exemplar, n, sizeof *l->exemplar);
}

/* One block of memory for the four vectors of a node. */
static bool node_alloc(sti_node *x, int d)
{
    if (x->mean == NULL) {
        x->mean = sti_alloc((size_t)d * 4 * sizeof(float));
        if (x->mean == NULL)
            return false;
        x->var = x->mean + d;
        x->min = x->var + d;
        x->max = x->min + d;
    }
    return true;
}

st_status st_keys_create(int n_kv_head, int d_k, int bk, st_keys **keys, st_error *err)
{
    st_keys *s;
    *keys = NULL;
    if (n_kv_head < 1 || d_k < 1 || d_k > 2048 || bk < 1 || bk > 1024)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "n_kv_head is %d, d_k %d, bk %d; must be >= 1, 1..2048, 1..1024", n_kv_head,
                        d_k, bk);
    s = sti_calloc(sizeof *s);
    if (s == NULL)
        return sti_fail_mem(err, sizeof *s);
    s->n_kv_head = n_kv_head;
    s->d = d_k;
    s->dp = (int)sti_round_up(d_k, 16);
    s->bk = bk;
    s->head = sti_calloc((size_t)n_kv_head * sizeof *s->head);
    for (int h = 0; s->head != NULL && h < n_kv_head; h++) {
        s->head[h].centre = sti_calloc((size_t)d_k * sizeof(float));
        s->head[h].w_sum = sti_calloc((size_t)d_k * sizeof(double));
        if (s->head[h].centre == NULL || s->head[h].w_sum == NULL)
            break;
        if (h == n_kv_head - 1) {
            *keys = s;
            return ST_OK;
        }
    }
    st_keys_free(s);
    return sti_fail_mem(err, (size_t)n_kv_head * (sizeof *s->head + (size_t)d_k * 12));
}

void st_keys_free(st_keys *s)
{
    if (s == NULL)
        return;
    for (int h = 0; s->head != NULL && h < s->n_kv_head; h++) {
        sti_key_head *x = &s->head[h];
        for (int l = 0; l < STI_LEVEL_MAX; l++) {
            vectors_free(&x->level[l].mean);
            vectors_free(&x->level[l].mid);
            vectors_free(&x->level[l].half);
            vectors_free(&x->level[l].exemplar_key);
            sti_free(x->level[l].var);
            sti_free(x->level[l].exemplar);
            sti_free(x->pending[l].mean);
        }
        vectors_free(&x->key);
        sti_free(x->centre);
        sti_free(x->w_sum);
    }
    sti_free(s->head);
    sti_free(s);
}

size_t st_keys_bytes(const st_keys *s)
{
    size_t bytes = sizeof *s;
    for (int h = 0; h < s->n_kv_head; h++) {
        const sti_key_head *x = &s->head[h];
        bytes += sizeof *x + (size_t)s->d * 12 + vectors_bytes(&x->key, s->dp);
        for (int l = 0; l < STI_LEVEL_MAX; l++) {
            const sti_level *v = &x->level[l];
            bytes += vectors_bytes(&v->mean, s->dp) + vectors_bytes(&v->mid, s->dp) +
                     vectors_bytes(&v->half, s->dp) + vectors_bytes(&v->exemplar_key, s->dp) +
                     (size_t)(v->cap_exemplar + v->cap_var) * 4;
            bytes += x->pending[l].mean != NULL ? (size_t)s->d * 16 : 0;
        }
    }
    return bytes;
}

int64_t st_keys_count(const st_keys *s)
{
    return s->n_key;
}

static void forget_all(st_keys *s)
{
    s->n_key = s->n_int8 = s->n_leaf = 0;
    for (int h = 0; h < s->n_kv_head; h++)
        for (int l = 0; l < STI_LEVEL_MAX; l++) {
            s->head[h].level[l].n = 0;
            s->head[h].pending[l].filled = false;
        }
}

static void forget_weights(st_keys *s)
{
    for (int h = 0; h < s->n_kv_head; h++) {
        memset(s->head[h].w_sum, 0, (size_t)s->d * sizeof(double));
        s->head[h].w_count = 0;
    }
}

void st_keys_truncate(st_keys *s, int64_t n_tok)
{
    if (n_tok >= s->n_key)
        return;
    if (n_tok <= 0)
        forget_weights(s);
    if (n_tok / s->bk - 1 < s->n_leaf || n_tok < 2 * (int64_t)s->bk) {
        forget_all(s); /* a leaf is cut: rebuild at the next append */
        s->scan = false;
        return;
    }
    s->n_key = n_tok;
    s->n_int8 = sti_min(s->n_int8, n_tok);
}

/* ---- one vector, one node -------------------------------------------------------------------- */

/* Quantises x [d] into place i; the padding up to dp is zero. */
static void vectors_put(sti_vectors *to, int64_t i, const float *x, int d, int dp)
{
    int8_t *v = to->v + i * dp;
    sti_kernels()->quant_i8_row(v, &to->scale[i], &to->sum[i], x, d);
    memset(v + d, 0, (size_t)(dp - d));
}

/* Key `key` relative to the centre. */
static void centred_key(float *out, const st_keys *s, const st_attn *a, int h, int64_t key)
{
    const float *centre = s->head[h].centre;
    sti_read_row(out, &a->k, h, key, s->d);
    for (int c = 0; c < s->d; c++)
        out[c] -= centre[c];
}

void sti_key_int8(const st_keys *s, const st_attn *a, int h, int64_t key, int8_t *v, float *scale,
                  int32_t *sum)
{
    float x[2048];
    centred_key(x, s, a, h, key);
    sti_kernels()->quant_i8_row(v, scale, sum, x, s->d);
    memset(v + s->d, 0, (size_t)(s->dp - s->d));
}

/* sum_c w[c] x[c] / sum_c w[c], c ascending; 0 where no channel has weight. */
static float weighted_mean(const float *w, const float *x, int d)
{
    float sum = 0.0f, weight = 0.0f;
    for (int c = 0; c < d; c++) {
        sum += w[c] * x[c];
        weight += w[c];
    }
    return weight > 0.0f ? sum / weight : 0.0f;
}

/* sum_c w[c] (x[c] - y[c])^2 in 16 lanes (c mod 16), then a tree: one order for every machine. */
static float weighted_distance(const float *w, const float *x, const float *y, int d)
{
    float lane[16] = {0};
    for (int c0 = 0; c0 < d; c0 += 16)
        for (int l = 0; l < 16 && c0 + l < d; l++) {
            float diff = x[c0 + l] - y[c0 + l];
            lane[l] += w[c0 + l] * (diff * diff);
        }
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

/* Statistics of a leaf's bk centred keys x [bk, d], the first of which is key number key0. */
static void leaf_make(sti_node *node, const float *x, const float *w, int bk, int d, int64_t key0)
{
    float best = -1.0f;
    for (int c = 0; c < d; c++) {
        node->mean[c] = node->var[c] = 0.0f;
        node->min[c] = INFINITY;
        node->max[c] = -INFINITY;
    }
    for (int t = 0; t < bk; t++)
        for (int c = 0; c < d; c++) {
            float v = x[t * d + c];
            node->mean[c] += v;
            node->min[c] = v < node->min[c] ? v : node->min[c];
            node->max[c] = v > node->max[c] ? v : node->max[c];
        }
    for (int c = 0; c < d; c++)
        node->mean[c] /= (float)bk;
    for (int t = 0; t < bk; t++)
        for (int c = 0; c < d; c++) {
            float diff = x[t * d + c] - node->mean[c];
            node->var[c] += diff * diff;
        }
    for (int c = 0; c < d; c++)
        node->var[c] /= (float)bk;
    node->exemplar = key0;
    for (int t = 0; t < bk; t++) {
        float dist = weighted_distance(w, x + t * d, node->mean, d);
        if (dist > best) {
            best = dist;
            node->exemplar = key0 + t;
        }
    }
}

/* Stores a node's int8 form as the next one of its level. */
static bool level_put(const st_keys *s, const st_attn *a, int h, int l, const sti_node *node,
                      const float *w, float *tmp)
{
    sti_level *level = &s->head[h].level[l];
    sti_vectors *x = &level->exemplar_key;
    int64_t i = level->n;
    int d = s->d, dp = s->dp;
    if (!level_grow(level, i + 1, dp))
        return false;
    vectors_put(&level->mean, i, node->mean, d, dp);
    level->var[i] = weighted_mean(w, node->var, d);
    for (int c = 0; c < d; c++)
        tmp[c] = (node->max[c] + node->min[c]) * 0.5f;
    vectors_put(&level->mid, i, tmp, d, dp);
    for (int c = 0; c < d; c++)
        tmp[c] = (node->max[c] - node->min[c]) * 0.5f;
    vectors_put(&level->half, i, tmp, d, dp);
    level->exemplar[i] = (int32_t)node->exemplar;
    sti_key_int8(s, a, h, node->exemplar, x->v + i * dp, &x->scale[i], &x->sum[i]);
    level->n = i + 1;
    return true;
}

/* left <- left joined with right; w decides which exemplar stays. tmp: [2 d]. */
static void node_join(sti_node *left, const sti_node *right, const float *w, float *tmp,
                      const st_keys *s, const st_attn *a, int h)
{
    int d = s->d;
    for (int c = 0; c < d; c++) {
        float diff = (left->mean[c] - right->mean[c]) * 0.5f;
        left->mean[c] = (left->mean[c] + right->mean[c]) * 0.5f;
        left->var[c] = (left->var[c] + right->var[c]) * 0.5f + diff * diff;
        left->min[c] = right->min[c] < left->min[c] ? right->min[c] : left->min[c];
        left->max[c] = right->max[c] > left->max[c] ? right->max[c] : left->max[c];
    }
    centred_key(tmp, s, a, h, left->exemplar);
    centred_key(tmp + d, s, a, h, right->exemplar);
    if (weighted_distance(w, tmp + d, left->mean, d) > weighted_distance(w, tmp, left->mean, d))
        left->exemplar = right->exemplar;
}

/* ---- appending ------------------------------------------------------------------------------- */

struct append {
    st_keys *s;
    const st_attn *a;
    int64_t key_end;   /* keys to take in: [.., key_end) */
    int64_t leaf0;     /* first leaf of the batch */
    int64_t n_leaf;    /* leaves of the batch */
    int64_t int8_from; /* first key to quantise */
    int64_t n_key_task;
    int64_t *next_row; /* [n_kv_head] rows already in w_sum */
    float *w;          /* [n_kv_head, LEAF_BATCH, d] */
    float *stat;       /* [n_kv_head, LEAF_BATCH, 4 d] mean, var, min, max */
    int64_t *exemplar; /* [n_kv_head, LEAF_BATCH] */
    float *scratch;    /* [n_thread, (bk + 2) d] */
    bool failed;
};

static void add_row_weight(double *sum, const struct append *p, int h, int64_t row, float *tmp)
{
    int group = p->a->n_head / p->a->n_kv_head;
    for (int g = 0; g < group; g++) {
        sti_read_row(tmp, &p->a->q, h * group + g, row, p->s->d);
        for (int c = 0; c < p->s->d; c++)
            sum[c] += (double)tmp[c] * (double)tmp[c];
    }
}

/* Weights for the batch's leaves: mean q^2 of the rows up to each leaf's last key. */
static void weights_task(void *ctx, int64_t h, int thread)
{
    struct append *p = ctx;
    st_keys *s = p->s;
    sti_key_head *x = &s->head[h];
    int group = p->a->n_head / p->a->n_kv_head, d = s->d;
    float *tmp = p->scratch + (int64_t)thread * (s->bk + 2) * d;
    for (int64_t j = 0; j < p->n_leaf; j++) {
        float *w = p->w + (h * LEAF_BATCH + j) * d;
        int64_t end = (p->leaf0 + j + 2) * s->bk; /* one past the leaf's last key */
        while (p->next_row[h] < p->a->n_q && p->a->first_query + p->next_row[h] < end) {
            add_row_weight(x->w_sum, p, (int)h, p->next_row[h]++, tmp);
            x->w_count += group;
        }
        if (x->w_count > 0) {
            for (int c = 0; c < d; c++)
                w[c] = (float)(x->w_sum[c] / (double)x->w_count);
        } else if (j > 0) {
            memcpy(w, w - d, (size_t)d * sizeof *w);
        } else { /* keys before the first row ever seen: all rows of this call */
            double sum[2048] = {0};
            for (int64_t i = 0; i < p->a->n_q; i++)
                add_row_weight(sum, p, (int)h, i, tmp);
            for (int c = 0; c < d; c++)
                w[c] = (float)(sum[c] / (double)(p->a->n_q * group));
        }
    }
}

static void rest_of_rows_task(void *ctx, int64_t h, int thread)
{
    struct append *p = ctx;
    sti_key_head *x = &p->s->head[h];
    float *tmp = p->scratch + (int64_t)thread * (p->s->bk + 2) * p->s->d;
    for (; p->next_row[h] < p->a->n_q; p->next_row[h]++) {
        add_row_weight(x->w_sum, p, (int)h, p->next_row[h], tmp);
        x->w_count += p->a->n_head / p->a->n_kv_head;
    }
}

static sti_node stat_node(const struct append *p, int64_t h, int64_t j)
{
    int64_t d = p->s->d;
    float *m = p->stat + (h * LEAF_BATCH + j) * 4 * d;
    return (sti_node){.mean = m, .var = m + d, .min = m + 2 * d, .max = m + 3 * d};
}

static void leaf_task(void *ctx, int64_t task, int thread)
{
    struct append *p = ctx;
    const st_keys *s = p->s;
    int64_t h = task / p->n_leaf, j = task % p->n_leaf;
    int64_t key0 = (p->leaf0 + j + 1) * s->bk;
    float *x = p->scratch + (int64_t)thread * (s->bk + 2) * s->d;
    sti_node node = stat_node(p, h, j);
    for (int t = 0; t < s->bk; t++)
        centred_key(x + t * s->d, s, p->a, (int)h, key0 + t);
    leaf_make(&node, x, p->w + (h * LEAF_BATCH + j) * s->d, s->bk, s->d, key0);
    p->exemplar[h * LEAF_BATCH + j] = node.exemplar;
}

/* Puts the batch's leaves into the pyramid one by one, joining upwards while a left child waits. */
static void join_task(void *ctx, int64_t h, int thread)
{
    struct append *p = ctx;
    st_keys *s = p->s;
    sti_key_head *x = &s->head[h];
    float *tmp = p->scratch + (int64_t)thread * (s->bk + 2) * s->d;
    for (int64_t j = 0; j < p->n_leaf; j++) {
        const float *w = p->w + (h * LEAF_BATCH + j) * s->d;
        sti_node node = stat_node(p, h, j);
        node.exemplar = p->exemplar[h * LEAF_BATCH + j];
        for (int l = 0;; l++) {
            sti_node *left = &x->pending[l];
            if (!level_put(s, p->a, (int)h, l, &node, w, tmp) || !node_alloc(left, s->d)) {
                p->failed = true;
                return;
            }
            if (!left->filled) {
                memcpy(left->mean, node.mean, (size_t)s->d * 4 * sizeof(float));
                left->exemplar = node.exemplar;
                left->filled = true;
                break;
            }
            node_join(left, &node, w, tmp, s, p->a, (int)h);
            left->filled = false;
            node = *left;
        }
    }
}

static void int8_task(void *ctx, int64_t task, int thread)
{
    struct append *p = ctx;
    st_keys *s = p->s;
    int64_t h = task / p->n_key_task, part = task % p->n_key_task;
    int64_t from = p->int8_from + part * KEY_TASK, to = sti_min(from + KEY_TASK, p->key_end);
    sti_vectors *x = &s->head[h].key;
    (void)thread;
    for (int64_t key = from; key < to; key++)
        sti_key_int8(s, p->a, (int)h, key, x->v + key * s->dp, &x->scale[key], &x->sum[key]);
}

/* centre = mean key of leaf 0 */
static void find_centre(st_keys *s, const st_attn *a, float *tmp)
{
    for (int h = 0; h < s->n_kv_head; h++) {
        float *centre = s->head[h].centre;
        memset(centre, 0, (size_t)s->d * sizeof *centre);
        for (int t = 0; t < s->bk; t++) {
            sti_read_row(tmp, &a->k, h, s->bk + t, s->d);
            for (int c = 0; c < s->d; c++)
                centre[c] += tmp[c];
        }
        for (int c = 0; c < s->d; c++)
            centre[c] /= (float)s->bk;
    }
}

static bool append_leaves(struct append *p, st_pool *pool)
{
    st_keys *s = p->s;
    int64_t n_leaf = p->key_end / s->bk - 1;
    while (s->n_leaf < n_leaf) {
        p->leaf0 = s->n_leaf;
        p->n_leaf = sti_min(n_leaf - s->n_leaf, LEAF_BATCH);
        sti_pool_run(pool, s->n_kv_head, weights_task, p);
        sti_pool_run(pool, s->n_kv_head * p->n_leaf, leaf_task, p);
        sti_pool_run(pool, s->n_kv_head, join_task, p);
        if (p->failed)
            return false;
        s->n_leaf += p->n_leaf;
    }
    sti_pool_run(pool, s->n_kv_head, rest_of_rows_task, p);
    return true;
}

static bool append_int8(struct append *p, st_pool *pool)
{
    st_keys *s = p->s;
    for (int h = 0; !s->lean && h < s->n_kv_head; h++)
        if (!vectors_grow(&s->head[h].key, p->key_end, s->dp))
            return false;
    p->int8_from = s->n_int8;
    p->n_key_task = sti_ceil_div(p->key_end - s->n_int8, KEY_TASK);
    if (!s->lean)
        sti_pool_run(pool, s->n_kv_head * p->n_key_task, int8_task, p);
    s->n_int8 = p->key_end;
    return true;
}

static bool append_alloc(struct append *p, st_pool *pool)
{
    const st_keys *s = p->s;
    size_t batch = (size_t)s->n_kv_head * LEAF_BATCH, d = (size_t)s->d;
    p->next_row = sti_calloc((size_t)s->n_kv_head * sizeof *p->next_row);
    p->w = sti_alloc(batch * d * sizeof *p->w);
    p->stat = sti_alloc(batch * 4 * d * sizeof *p->stat);
    p->exemplar = sti_alloc(batch * sizeof *p->exemplar);
    p->scratch = sti_alloc((size_t)st_pool_size(pool) * ((size_t)s->bk + 2) * d * sizeof(float));
    return p->next_row && p->w && p->stat && p->exemplar && p->scratch;
}

static void append_free(struct append *p)
{
    sti_free(p->next_row);
    sti_free(p->w);
    sti_free(p->stat);
    sti_free(p->exemplar);
    sti_free(p->scratch);
}

st_status st_keys_append(st_keys *s, const st_attn *a, st_pool *pool, st_error *err)
{
    struct append p = {.s = s, .a = a, .key_end = a->n_k};
    bool ok;
    STI_TRY(st_attn_check(a, err));
    if (a->n_kv_head != s->n_kv_head || a->d_k != s->d)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "keys are [%d, .., %d], the summary was made for [%d, .., %d]",
                        a->n_kv_head, a->d_k, s->n_kv_head, s->d);
    if (a->n_k < s->n_key)
        return sti_fail(err, ST_ERR_ARG, -1, "%lld keys given, but %lld were already taken in",
                        (long long)a->n_k, (long long)s->n_key);
    ok = append_alloc(&p, pool);
    if (ok && s->n_int8 == 0 && a->n_k >= 2 * (int64_t)s->bk)
        find_centre(s, a, p.scratch);
    ok = ok && append_leaves(&p, pool);
    if (ok && a->n_k >= 2 * (int64_t)s->bk)
        ok = append_int8(&p, pool);
    append_free(&p);
    if (!ok) {
        forget_all(s);
        return sti_fail_mem(err, (size_t)s->n_kv_head * (size_t)a->n_k * ((size_t)s->dp + 8));
    }
    s->n_key = a->n_k;
    return ST_OK;
}

bool st_keys_match(const st_keys *s, const st_attn *a, int n_sample, uint64_t seed)
{
    int8_t v[2048 + 16];
    if (a->n_k < s->n_key || a->n_kv_head != s->n_kv_head || a->d_k != s->d)
        return false;
    for (int i = 0; i < n_sample && (s->lean ? s->n_leaf : s->n_int8) > 0; i++) {
        int h = (int)(sti_mix(seed + (uint64_t)i * 2) % (uint64_t)s->n_kv_head);
        uint64_t mix = sti_mix(seed + (uint64_t)i * 2 + 1);
        const sti_level *leaf = &s->head[h].level[0];
        const sti_vectors *known = s->lean ? &leaf->exemplar_key : &s->head[h].key;
        int64_t at = (int64_t)(mix % (uint64_t)(s->lean ? s->n_leaf : s->n_int8));
        float scale;
        int32_t sum;
        sti_key_int8(s, a, h, s->lean ? leaf->exemplar[at] : at, v, &scale, &sum);
        if (memcmp(v, known->v + at * s->dp, (size_t)s->d) != 0 || scale != known->scale[at])
            return false;
    }
    return true;
}

bool st_keys_set_lean(st_keys *s)
{
    s->lean = s->lean || s->n_key == 0;
    return s->lean;
}

bool st_keys_reserve(st_keys *s, int64_t n_tok)
{
    bool ok = true;
    for (int h = 0; h < s->n_kv_head; h++) {
        int64_t n = n_tok / s->bk;
        ok = ok && (s->lean || vectors_grow(&s->head[h].key, n_tok, s->dp));
        for (int l = 0; ok && l < STI_LEVEL_MAX && n > 0; l++, n /= 2)
            ok = level_grow(&s->head[h].level[l], n, s->dp);
    }
    return ok;
}
