/* SPDX-License-Identifier: MIT
 *
 * linear.h — matrix products with BF16 weights, by oneDNN where its shared library is found.
 *
 * Once attention is sparse these products are most of a run. ggml multiplies BF16 at two thirds of
 * the rate that the processor can; oneDNN comes nearer to it, with the same rounding (operands
 * BF16, sums F32), where there are instructions for BF16 and where there is AVX2 alone.
 */
#ifndef STI_LINEAR_H
#define STI_LINEAR_H

#include <ggml.h>

#include "sparsetrace/ggml.h"

/* Whether the node is GGML_OP_MUL_MAT of BF16 weights [n_out, n_in] with F32 rows [n_row, n_in],
 * n_row at least 32, and the library is here. Any thread. */
bool sti_linear_supported(const struct ggml_tensor *op);

/* What a context keeps between products. */
typedef struct sti_linear sti_linear;

/* Computes a node that is supported; *linear (NULL at first) is made at the first. Errors:
 * ST_ERR_MEM, ST_ERR_MODEL (oneDNN's status). */
st_status sti_linear_node(sti_linear **linear, const struct ggml_tensor *op, st_pool *pool,
                          st_error *err);
void sti_linear_free(sti_linear *linear);

#endif
