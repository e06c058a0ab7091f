/* SPDX-License-Identifier: MIT
 *
 * attn_rows.h — reading an st_attn: where a row lies, and which keys it sees.
 */
#ifndef STI_ATTN_ROWS_H
#define STI_ATTN_ROWS_H

#include "sparsetrace/attn.h"

static inline const void *sti_row_at(const st_rows *x, int64_t head, int64_t tok)
{
    return (const char *)x->data + head * x->stride_head_bytes + tok * x->stride_tok_bytes;
}

/* First visible key of row i, and one past the last (no bias: attn.h). */
static inline int64_t sti_row_lo(const st_attn *a, int64_t i)
{
    return a->lo != NULL ? a->lo[i] : 0;
}
static inline int64_t sti_row_hi(const st_attn *a, int64_t i)
{
    if (a->hi != NULL)
        return a->hi[i];
    return a->bias != NULL ? a->n_k : a->first_query + i + 1;
}

static inline int sti_kv_head(const st_attn *a, int head)
{
    return head / (a->n_head / a->n_kv_head);
}

/* attn.c: ST_OK if `out`, NULL or not, goes with the call's positions. */
st_status sti_group_sums_check(const st_attn *a, const st_group_sums *out, st_error *err);

#endif
