/* SPDX-License-Identifier: MIT
 *
 * mask.c — reads masks, and knows when one it has read is still the one in force.
 */
#include <string.h>

#include "base/util.h"
#include "ggml/mask.h"

#define F16_NEG_INF 0xfc00
#define WORD_NEG_INF 0xfc00fc00fc00fc00u
#define STEP 32 /* 64-bit words looked at together */

static const uint16_t *mask_row(const struct ggml_tensor *t, int64_t stream, int64_t row)
{
    return (const uint16_t *)((const char *)t->data + row * (int64_t)t->nb[1] +
                              stream % t->ne[3] * (int64_t)t->nb[3]);
}

/* First index in [i, n) whose value differs from `value`; n if none. */
static int64_t skip_value(const uint16_t *x, int64_t i, int64_t n, uint16_t value)
{
    uint64_t word = value == F16_NEG_INF ? WORD_NEG_INF : 0;
    for (; i + STEP * 4 <= n; i += STEP * 4) {
        uint64_t differ = 0, w[STEP];
        memcpy(w, x + i, sizeof w);
        for (int k = 0; k < STEP; k++)
            differ |= w[k] ^ word;
        if (differ != 0)
            break;
    }
    while (i < n && x[i] == value)
        i++;
    return i;
}

/* lo, hi of a row; true if it is 0 inside and -inf outside. */
static bool read_row(const uint16_t *x, int64_t n, int32_t *lo, int32_t *hi)
{
    int64_t first = skip_value(x, 0, n, F16_NEG_INF), end, rest;
    if (first == n) {
        *lo = *hi = 0;
        return true;
    }
    end = skip_value(x, first, n, 0);
    rest = skip_value(x, end, n, F16_NEG_INF);
    *lo = (int32_t)first;
    *hi = (int32_t)end;
    if (rest == n)
        return end > first;
    for (end = n; x[end - 1] == F16_NEG_INF;)
        end--;
    *hi = (int32_t)end;
    return false;
}

struct read {
    const struct ggml_tensor *tensor;
    sti_mask *mask;
    bool *odd; /* [n_task] */
};

#define ROWS_PER_TASK 64

static void read_task(void *ctx, int64_t task, int thread)
{
    struct read *r = ctx;
    sti_mask *m = r->mask;
    int64_t end = sti_min((task + 1) * ROWS_PER_TASK, m->n_row);
    (void)thread;
    r->odd[task] = false;
    for (int64_t i = task * ROWS_PER_TASK; i < end; i++)
        if (!read_row(mask_row(r->tensor, m->stream, i), m->n_kv, &m->lo[i], &m->hi[i]))
            r->odd[task] = true;
}

static bool read_mask(sti_mask *m, const struct ggml_tensor *tensor, st_pool *pool)
{
    int64_t n_task = sti_ceil_div(m->n_row, ROWS_PER_TASK);
    struct read r = {tensor, m, NULL};
    if (!sti_grow((void **)&m->lo, &m->cap_lo, m->n_row, sizeof *m->lo) ||
        !sti_grow((void **)&m->hi, &m->cap_hi, m->n_row, sizeof *m->hi))
        return false;
    m->intervals = true;
    if (tensor == NULL) {
        for (int64_t i = 0; i < m->n_row; i++) {
            m->lo[i] = 0;
            m->hi[i] = (int32_t)m->n_kv;
        }
        return true;
    }
    r.odd = sti_alloc((size_t)n_task * sizeof *r.odd);
    if (r.odd == NULL)
        return false;
    sti_pool_run(pool, n_task, read_task, &r);
    for (int64_t t = 0; t < n_task; t++)
        m->intervals = m->intervals && !r.odd[t];
    sti_free(r.odd);
    return true;
}

/* The edges of some rows still stand where they stood. Guards against a graph run that was cut
 * short. */
static bool edges_hold(const sti_mask *m, const struct ggml_tensor *tensor)
{
    int64_t step = sti_max(m->n_row / 16, 1);
    if (tensor == NULL)
        return true;
    for (int64_t i = 0; i < m->n_row; i += step) {
        const uint16_t *x = mask_row(tensor, m->stream, i);
        int64_t lo = m->lo[i], hi = m->hi[i];
        bool sees = hi > lo;
        if ((sees && (x[lo] == F16_NEG_INF || x[hi - 1] == F16_NEG_INF)) ||
            (lo > 0 && x[lo - 1] != F16_NEG_INF) || (hi < m->n_kv && x[hi] != F16_NEG_INF))
            return false;
    }
    return true;
}

const sti_mask *sti_mask_get(sti_mask_cache *cache, const struct ggml_tensor *tensor,
                             int64_t stream, int64_t n_row, int64_t n_kv, int layer, st_pool *pool)
{
    const void *data = tensor != NULL ? tensor->data : NULL;
    sti_mask *m = NULL;
    for (int i = 0; i < STI_MASK_CACHE && m == NULL; i++) {
        sti_mask *c = &cache->mask[i];
        if (c->n_row == n_row && c->n_kv == n_kv && c->tensor == tensor && c->data == data &&
            c->stream == stream)
            m = c;
    }
    if (m != NULL && layer > m->last_layer && edges_hold(m, tensor)) {
        m->last_layer = layer;
        return m;
    }
    if (m == NULL) {
        m = &cache->mask[cache->next];
        cache->next = (cache->next + 1) % STI_MASK_CACHE;
    }
    m->tensor = tensor;
    m->data = data;
    m->n_kv = n_kv;
    m->n_row = n_row;
    m->stream = stream;
    m->last_layer = layer;
    if (read_mask(m, tensor, pool))
        return m;
    m->n_row = -1; /* not usable */
    return NULL;
}

void sti_mask_cache_free(sti_mask_cache *cache)
{
    for (int i = 0; i < STI_MASK_CACHE; i++) {
        sti_free(cache->mask[i].lo);
        sti_free(cache->mask[i].hi);
    }
}
