/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/attend.h — attention over a selection, exact attention, and the certificate that
 * compares the two on sampled rows.
 *
 * Equals this loop (attn.h has the meaning of s, cap, sinks and visibility), with F32 accumulation:
 *
 *   for each head h, row i of query block b:
 *       J     = visible keys of row i in the kept blocks of (h, b)
 *       lse   = log(sum_{j in J} exp(s[h][i][j]) [+ exp(sinks[h])])
 *       out   = sum_{j in J} exp(s[h][i][j] - lse) v[j]
 *       mass of kept block c = mean over the rows of b of sum_{j in J, j in c} exp(s[h][i][j] -
 * lse)
 *
 * Two identities hold and are tested: with every visible block selected the result is exact
 * attention; with fewer it is exact attention under a mask that is -inf outside the selection.
 */
#ifndef SPARSETRACE_ATTEND_H
#define SPARSETRACE_ATTEND_H

#include "sparsetrace/select.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where results go. Every pointer may be NULL: that result is not wanted. */
typedef struct st_attend_out {
    float *out; /* row i of head h at out + i * stride_tok + h * stride_head (elements), d_v wide */
    int64_t stride_tok, stride_head;
    float *lse;  /* [n_head, n_q], natural log */
    float *mass; /* [nnz of the selection], in the order of its indices */
    /* p of the kept keys, exp(s - lse); where sel->share is there, times the row's. Summed
     * while the probabilities are at hand; what is held is [rows' groups + edges of query blocks,
     * n_group] for each head, never a row of attention. */
    const st_group_sums *groups;
} st_attend_out;

/* Attention over `sel` (made for the same `a`). Errors: ST_ERR_ARG (shapes, blocks or groups do
 * not fit), ST_ERR_MEM. */
ST_API st_status st_attend(const st_attn *a, const st_selection *sel, st_pool *pool,
                           const st_attend_out *out, st_error *err);

/* Exact attention. out->mass and out->groups must be NULL: for these use st_attend over
 * st_select_all. */
ST_API st_status st_attend_exact(const st_attn *a, st_pool *pool, const st_attend_out *out,
                                 st_error *err);

/* Exact attention that also tells what it read: *sel gets, for each head and query block, the at
 * most k_max blocks of most mass (ascending, mass above 0, ties to the lower block), sel->mass the
 * mean exact mass on each. For layers that are not pruned. *sel is the caller's. */
ST_API st_status st_attend_exact_heaviest(const st_attn *a, int bq, int bk, int64_t k_max,
                                          st_pool *pool, const st_attend_out *out,
                                          st_selection **sel, st_error *err);

/* Operations (two a multiply-add) per second that one thread makes with the instructions of the
 * fixed-point kernels, operands in registers: the machine's limit for st_attend. Measured, about
 * 0.1 s. */
ST_API double st_attend_peak(void);

/* Exact attention of n_row rows against what the sparse run did there.
 *   rows     [n_row] ascending row numbers, 0 <= rows < a->n_q
 *   recall   [n_head, n_row] exact mass of the kept blocks, 0..1                    (may be NULL)
 *   err_rel  [n_head, n_row] |out_sparse - out_exact| / |out_exact|, Euclid, at most 1e6
 *                                                                                   (may be NULL)
 * `sparse` is the filled output of st_attend. Costs O(n_row * n_k * d). Errors: ST_ERR_ARG (a row
 * that is not within the queries: its index is the error's position; a bias; err_rel without v or
 * the sparse output; what st_attn_check and a selection of another shape give), ST_ERR_MEM. */
ST_API st_status st_certify(const st_attn *a, const st_selection *sel, const st_attend_out *sparse,
                            const int64_t *rows, int64_t n_row, st_pool *pool, float *recall,
                            float *err_rel, st_error *err);

#ifdef __cplusplus
}
#endif
#endif
