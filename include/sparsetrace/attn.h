/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/attn.h — one attention problem: the operands of one layer, as select.h and attend.h
 * take them.
 *
 *   out[h][i] = sum_j p[h][i][j] v[g(h)][j],   p = softmax over the visible j of s,
 *   s[h][i][j] = cap(scale * q[h][i] . k[g(h)][j]),   g(h) = h / (n_head / n_kv_head)
 *
 * cap(x) = x, or softcap * tanh(x / softcap) if softcap > 0. With sinks, exp(sinks[h]) is added to
 * the softmax's denominator (learned attention sinks: mass that goes to no key).
 *
 * Positions: key j has position j; query row i has position first_query + i. Query block b holds
 * the rows whose position / bq == b, key block c the keys with j / bk == c, so blocks do not depend
 * on how a sequence was cut into calls.
 */
#ifndef SPARSETRACE_ATTN_H
#define SPARSETRACE_ATTN_H

#include "sparsetrace/edit.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One operand `[n_head, n_tok, d]` with free strides; a row's d elements are contiguous.
 * The memory stays the caller's. */
typedef struct st_rows {
    const void *data;
    st_dtype dtype;
    st_to_f32_fn to_f32;       /* only for ST_DTYPE_OTHER, else ignored */
    int64_t stride_head_bytes; /* from one head to the next  */
    int64_t stride_tok_bytes;  /* from one token to the next */
} st_rows;

/* A contiguous `[n_head, n_tok, d]` operand. dtype is not ST_DTYPE_OTHER; for ST_DTYPE_Q8_0 d is a
 * multiple of 32. */
ST_API st_rows st_rows_contiguous(const void *data, st_dtype dtype, int64_t n_tok, int64_t d);

typedef struct st_attn {
    int64_t n_q, n_k; /* query rows >= 1, keys >= 1 */
    int n_head;       /* a multiple of n_kv_head */
    int n_kv_head;
    int d_k, d_v; /* 1..2048 */
    int64_t first_query;
    st_rows q; /* [n_head,    n_q, d_k] */
    st_rows k; /* [n_kv_head, n_k, d_k] */
    st_rows v; /* [n_kv_head, n_k, d_v]; data may be NULL for st_select alone */
    float scale;
    float softcap;      /* 0: none */
    bool precise;       /* attend with F32 products, not 16-bit fixed point (attend.h) */
    const float *sinks; /* [n_head] or NULL */

    /* Visible keys of row i: lo[i] <= j < hi[i], 0 <= lo <= hi <= n_k. Both NULL: causal, that is
     * lo = 0 and hi = first_query + i + 1 (then first_query + n_q <= n_k). A row that sees nothing
     * gives out = 0, lse = -inf. */
    const int32_t *lo, *hi; /* [n_q] */

    /* Additive bias, for attention but not for choosing blocks (st_select): s += slope[h] *
     * bias[i][j], F16 [n_q, n_k]; -inf hides a key. NULL: none. lo and hi may be given too (every
     * key outside them must be hidden by the bias); without them every key counts as visible. slope
     * NULL: 1 for all. */
    const uint16_t *bias;
    int64_t stride_bias_bytes;
    const float *slope; /* [n_head] */

    /* Edits, for attention but not for choosing blocks: keys that some rows do not see, whatever
     * else holds. Their layer is not looked at: leave out those of other layers. */
    const st_edit *edit; /* [n_edit] or NULL */
    int64_t n_edit;
} st_attn;

/* A group of tokens: positions [begin, end). A sentence, say. */
typedef struct st_group {
    int64_t begin, end;
} st_group;

/* ST_OK if the n groups lie one behind the other within 0..n_tok, none of them empty; gaps are
 * fine. Else ST_ERR_ARG with the number of the first group that breaks this as its position. */
ST_API st_status st_groups_check(const st_group *group, int64_t n, int64_t n_tok, st_error *err);

/* The groups that have a position in [begin, end): *first and how many. group as above. */
ST_API int64_t st_groups_touched(const st_group *group, int64_t n, int64_t begin, int64_t end,
                                 int64_t *first);

/* Attention from group to group:
 *
 *   sum[h][i][j] = sum over rows r of group first + i, and keys c of group j, of p[h][r][c]
 *
 * over the rows of one call: a group that reaches beyond them has its other part in other calls. */
typedef struct st_group_sums {
    const st_group *group; /* [n_group] in: passes st_groups_check */
    int64_t n_group;
    int64_t first, n; /* in: st_groups_touched of the call's positions */
    float *sum;       /* [n_head, n, n_group], filled in; the caller's */
} st_group_sums;

/* ST_OK if every rule of st_attn holds, else ST_ERR_ARG with a message that names the field.
 * O(n_q). */
ST_API st_status st_attn_check(const st_attn *a, st_error *err);

#ifdef __cplusplus
}
#endif
#endif
