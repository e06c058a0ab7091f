/* SPDX-License-Identifier: MIT
 *
 * op.h — a GGML_OP_FLASH_ATTN_EXT node with operands of its own, to be computed by any backend.
 */
#ifndef OP_H
#define OP_H

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

typedef struct op_shape {
    int d_k, d_v, n_head, n_kv_head, n_tok, n_kv, n_stream;
    int n_cache; /* cells of the cache; k and v are views of the first n_kv */
    enum ggml_type type_k, type_v;
    float softcap, max_bias;
    bool mask, sinks;
} op_shape;

typedef struct op {
    op_shape s;
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *q, *cache_k, *cache_v, *mask, *sinks, *node;
    struct ggml_cgraph *graph;
} op;

static uint64_t op_state = 7;

static inline float op_random(void)
{
    float sum = 0.0f; /* near enough to normal */
    for (int i = 0; i < 6; i++) {
        op_state = sti_mix(op_state);
        sum += (float)(op_state >> 40) / (float)(1 << 24) - 0.5f;
    }
    return sum * 1.41f;
}

/* Random values in whatever type. */
static inline void op_fill(struct ggml_tensor *t, float scale)
{
    int64_t n = ggml_nelements(t);
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = op_random() * scale * (i % 97 == 0 ? 4.0f : 1.0f);
    if (t->type == GGML_TYPE_F32)
        memcpy(t->data, x, (size_t)n * sizeof *x);
    else
        ggml_quantize_chunk(t->type, x, t->data, 0, n / t->ne[0], t->ne[0], NULL);
    free(x);
}

/* Row i of stream s sees cells 0 .. n_kv - n_tok + i. */
static inline void op_causal_mask(op *o)
{
    uint16_t *m = o->mask->data;
    for (int64_t s = 0; s < o->s.n_stream; s++)
        for (int64_t i = 0; i < o->s.n_tok; i++)
            for (int64_t j = 0; j < o->s.n_kv; j++)
                m[(s * o->s.n_tok + i) * o->s.n_kv + j] =
                    j <= o->s.n_kv - o->s.n_tok + i ? 0 : 0xfc00;
}

static inline uint16_t *op_mask_at(op *o, int64_t row, int64_t key)
{
    return (uint16_t *)o->mask->data + row * o->s.n_kv + key;
}

/* View of the first n_kv cells of a cache, in the order the node wants: [d, n_kv, n_kv_head,
 * n_stream]. */
static inline struct ggml_tensor *op_view(struct ggml_context *ctx, struct ggml_tensor *cache,
                                          int d, const op_shape *s)
{
    struct ggml_tensor *v =
        ggml_view_4d(ctx, cache, d, s->n_kv_head, s->n_kv, s->n_stream,
                     ggml_row_size(cache->type, d), cache->nb[1], cache->nb[2], 0);
    return ggml_permute(ctx, v, 0, 2, 1, 3);
}

static inline op op_new(op_shape s)
{
    struct ggml_init_params p = {64 * ggml_tensor_overhead() + ggml_graph_overhead(), NULL, true};
    op o = {.s = s};
    struct ggml_tensor *q;
    s.n_cache = s.n_cache > 0 ? s.n_cache : s.n_kv;
    o.ctx = ggml_init(p);
    q = o.q = ggml_new_tensor_4d(o.ctx, GGML_TYPE_F32, s.d_k, s.n_head, s.n_tok, s.n_stream);
    o.cache_k =
        ggml_new_tensor_3d(o.ctx, s.type_k, (int64_t)s.d_k * s.n_kv_head, s.n_cache, s.n_stream);
    o.cache_v =
        ggml_new_tensor_3d(o.ctx, s.type_v, (int64_t)s.d_v * s.n_kv_head, s.n_cache, s.n_stream);
    ggml_set_name(o.cache_k, "cache_k_l3");
    ggml_set_name(o.cache_v, "cache_v_l3");
    if (s.mask)
        o.mask = ggml_new_tensor_4d(o.ctx, GGML_TYPE_F16, s.n_kv, s.n_tok, 1, s.n_stream);
    if (s.sinks)
        o.sinks = ggml_new_tensor_1d(o.ctx, GGML_TYPE_F32, s.n_head);
    q = ggml_permute(o.ctx, q, 0, 2, 1, 3);
    o.node = ggml_flash_attn_ext(o.ctx, q, op_view(o.ctx, o.cache_k, s.d_k, &s),
                                 op_view(o.ctx, o.cache_v, s.d_v, &s), o.mask,
                                 1.0f / sqrtf((float)s.d_k), s.max_bias, s.softcap);
    if (s.sinks)
        ggml_flash_attn_ext_add_sinks(o.node, o.sinks);
    o.graph = ggml_new_graph(o.ctx);
    ggml_build_forward_expand(o.graph, o.node);
    o.buffer = ggml_backend_alloc_ctx_tensors_from_buft(o.ctx, ggml_backend_cpu_buffer_type());
    op_fill(o.q, 1.0f);
    op_fill(o.cache_k, 1.0f);
    op_fill(o.cache_v, 1.0f);
    if (s.mask)
        op_causal_mask(&o);
    if (s.sinks)
        op_fill(o.sinks, 2.0f);
    return o;
}

static inline void op_free(op *o)
{
    ggml_backend_buffer_free(o->buffer);
    ggml_free(o->ctx);
}

/* Computes the node on a backend into out [n_stream, n_tok, n_head, d_v] (free()); NULL if it
 * failed. */
static inline float *op_compute(op *o, ggml_backend_t backend)
{
    float *out;
    memset(o->node->data, 0xff, ggml_nbytes(o->node));
    if (ggml_backend_graph_compute(backend, o->graph) != GGML_STATUS_SUCCESS)
        return NULL;
    out = malloc(ggml_nbytes(o->node));
    memcpy(out, o->node->data, ggml_nbytes(o->node));
    return out;
}

#endif
