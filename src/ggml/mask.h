/* SPDX-License-Identifier: MIT
 *
 * mask.h — what a ggml mask lets each row see, as one interval of keys per row where it is one.
 */
#ifndef STI_MASK_H
#define STI_MASK_H

#include <ggml.h>

#include "sparsetrace/base.h"

/* Rows of one stream of a mask. lo, hi: [n_row] first visible key, one past the last (whatever lies
 * between); both 0 for a row that sees nothing. */
typedef struct sti_mask {
    const struct ggml_tensor *tensor; /* what it was read from */
    const void *data;
    int64_t n_kv, n_row, stream;
    int last_layer; /* the last layer that used it: a lower or equal one means a new graph run */
    bool intervals; /* every value is 0 inside [lo, hi) and -inf outside */
    int32_t *lo, *hi;
    int64_t cap_lo, cap_hi;
} sti_mask;

#define STI_MASK_CACHE 64 /* streams x kinds of masks */

/* The masks of a graph run. libllama gives all layers of one kind the same mask, and reading it is
 * the one step that touches n_row * n_kv values: it is done once per run. */
typedef struct sti_mask_cache {
    sti_mask mask[STI_MASK_CACHE];
    int next; /* to be replaced */
} sti_mask_cache;

/* Reads stream `stream` of `tensor` (F16 [n_kv, n_row, 1, n_stream], NULL: every row sees all n_kv
 * keys), or finds it in the cache. layer -1: unknown, always read. NULL: out of memory. */
const sti_mask *sti_mask_get(sti_mask_cache *cache, const struct ggml_tensor *tensor,
                             int64_t stream, int64_t n_row, int64_t n_kv, int layer, st_pool *pool);

void sti_mask_cache_free(sti_mask_cache *cache);

#endif
