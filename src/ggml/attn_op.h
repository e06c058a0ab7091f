/* SPDX-License-Identifier: MIT
 *
 * attn_op.h — a GGML_OP_FLASH_ATTN_EXT node as an attention problem. ggml writes shapes the other
 * way round: q [d, n_tok, n_head, n_stream], k and v [d, n_kv, n_kv_head, n_stream], mask [n_kv,
 * n_tok, 1, n_stream], output [d_v, n_head, n_tok, n_stream].
 */
#ifndef STI_ATTN_OP_H
#define STI_ATTN_OP_H

#include <ggml.h>

#include "sparsetrace/attend.h"

/* Whether this backend computes the node faithfully; if not, ggml's own kernel does. */
bool sti_op_supported(const struct ggml_tensor *op);

/* Stream `stream` of the node as a problem over all n_kv cells, visibility left open (lo, hi, bias
 * NULL). */
st_attn sti_op_problem(const struct ggml_tensor *op, int64_t stream);

/* ALiBi: fills slope [n_head] and returns true, or returns false if the node has none. */
bool sti_op_alibi(const struct ggml_tensor *op, float *slope);

/* Where the stream's output goes. */
st_attend_out sti_op_output(const struct ggml_tensor *op, int64_t stream);

/* The layer that owns the cache the node reads, from the cache tensor's name (cache_k_l12); -1 if
 * it reads no cache. */
int sti_op_cache_layer(const struct ggml_tensor *op);

#endif
