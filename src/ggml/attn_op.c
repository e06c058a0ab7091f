/* SPDX-License-Identifier: MIT
 *
 * attn_op.c — reads a flash-attention node: which operands it has, and whether they are of our
 * kind.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/util.h"
#include "ggml/attn_op.h"
#include "ggml/host.h"

enum { SRC_Q, SRC_K, SRC_V, SRC_MASK, SRC_SINKS };

static float op_param(const struct ggml_tensor *op, int i)
{
    float f;
    memcpy(&f, (const char *)op->op_params + (size_t)i * sizeof f, sizeof f);
    return f;
}

static bool cache_supported(const struct ggml_tensor *x)
{
    const struct ggml_type_traits *traits = sti_host_type_traits(x->type);
    if (x->type != GGML_TYPE_F32 && traits->to_float == NULL)
        return false;
    return x->nb[0] == traits->type_size && x->ne[0] % traits->blck_size == 0 && x->ne[0] >= 1 &&
           x->ne[0] <= 2048 &&
           (x->type != GGML_TYPE_F32 || (x->nb[1] % 4 == 0 && x->nb[2] % 4 == 0));
}

bool sti_op_supported(const struct ggml_tensor *op)
{
    const struct ggml_tensor *q = op->src[SRC_Q], *k = op->src[SRC_K], *v = op->src[SRC_V];
    const struct ggml_tensor *mask = op->src[SRC_MASK], *sinks = op->src[SRC_SINKS];
    if (q == NULL || k == NULL || v == NULL || !cache_supported(k) || !cache_supported(v))
        return false;
    if (q->type != GGML_TYPE_F32 || q->nb[0] != 4 || q->nb[1] % 4 != 0 || q->nb[2] % 4 != 0)
        return false;
    if (op->type != GGML_TYPE_F32 || op->nb[0] != 4 || q->ne[0] != k->ne[0])
        return false;
    if (k->ne[2] != v->ne[2] || q->ne[2] % k->ne[2] != 0 || k->ne[1] != v->ne[1])
        return false;
    if (k->ne[3] != q->ne[3] || v->ne[3] != q->ne[3] || k->ne[1] > INT32_MAX)
        return false;
    if (mask != NULL && (mask->type != GGML_TYPE_F16 || mask->nb[0] != 2 || mask->ne[2] != 1 ||
                         mask->ne[0] < k->ne[1] || mask->ne[1] < q->ne[1]))
        return false;
    return sinks == NULL || (sinks->type == GGML_TYPE_F32 && sinks->ne[0] >= q->ne[2]);
}

static st_rows operand(const struct ggml_tensor *x, int64_t stream)
{
    st_rows r = {.data = (const char *)x->data + stream * (int64_t)x->nb[3],
                 .stride_tok_bytes = (int64_t)x->nb[1],
                 .stride_head_bytes = (int64_t)x->nb[2]};
    switch (x->type) {
    case GGML_TYPE_F32: r.dtype = ST_DTYPE_F32; break;
    case GGML_TYPE_F16: r.dtype = ST_DTYPE_F16; break;
    case GGML_TYPE_BF16: r.dtype = ST_DTYPE_BF16; break;
    case GGML_TYPE_Q8_0: r.dtype = ST_DTYPE_Q8_0; break;
    default:
        r.dtype = ST_DTYPE_OTHER;
        r.to_f32 = sti_host_type_traits(x->type)->to_float;
        break;
    }
    return r;
}

st_attn sti_op_problem(const struct ggml_tensor *op, int64_t stream)
{
    const struct ggml_tensor *q = op->src[SRC_Q], *k = op->src[SRC_K], *v = op->src[SRC_V];
    const struct ggml_tensor *sinks = op->src[SRC_SINKS];
    return (st_attn){.n_q = q->ne[1],
                     .n_k = k->ne[1],
                     .n_head = (int)q->ne[2],
                     .n_kv_head = (int)k->ne[2],
                     .d_k = (int)k->ne[0],
                     .d_v = (int)v->ne[0],
                     .q = operand(q, stream),
                     .k = operand(k, stream),
                     .v = operand(v, stream),
                     .scale = op_param(op, 0),
                     .softcap = op_param(op, 2),
                     .sinks = sinks != NULL ? sinks->data : NULL};
}

bool sti_op_alibi(const struct ggml_tensor *op, float *slope)
{
    float max_bias = op_param(op, 1), m0, m1;
    int64_t n_head = op->src[SRC_Q]->ne[2], log2_floor = 1;
    if (!(max_bias > 0.0f))
        return false;
    while (log2_floor * 2 <= n_head)
        log2_floor *= 2;
    m0 = powf(2.0f, -max_bias / (float)log2_floor);
    m1 = powf(2.0f, -max_bias / 2.0f / (float)log2_floor);
    for (int64_t h = 0; h < n_head; h++)
        slope[h] =
            h < log2_floor ? powf(m0, (float)(h + 1)) : powf(m1, (float)(2 * (h - log2_floor) + 1));
    return true;
}

st_attend_out sti_op_output(const struct ggml_tensor *op, int64_t stream)
{
    return (st_attend_out){.out = (float *)((char *)op->data + stream * (int64_t)op->nb[3]),
                           .stride_tok = (int64_t)op->nb[2] / 4,
                           .stride_head = (int64_t)op->nb[1] / 4};
}

int sti_op_cache_layer(const struct ggml_tensor *op)
{
    const struct ggml_tensor *k = op->src[SRC_K];
    const char *name = k->view_src != NULL ? k->view_src->name : k->name, *at;
    if (strncmp(name, "cache_", 6) != 0 || (at = strstr(name, "_l")) == NULL)
        return -1;
    return at[2] >= '0' && at[2] <= '9' ? atoi(at + 2) : -1;
}
