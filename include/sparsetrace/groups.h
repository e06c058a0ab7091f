/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/groups.h — what attention from group to group says of a text: receiver heads,
 * anchors, dependencies. A group is a run of tokens (st_group in attn.h); here it is a sentence,
 * mostly.
 *
 * Definitions follow "Thought Anchors" (arXiv 2506.19143), section 5, and its authors' code.
 * A[i][j] is the mean attention of sentence i's tokens to sentence j's, which a trace records
 * (st_trace_options.group, st_trace_group_matrix).
 */
#ifndef SPARSETRACE_GROUPS_H
#define SPARSETRACE_GROUPS_H

#include "sparsetrace/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- groups of tokens out of spans of bytes -------------------------------------------------- */

/* bytes [n]: spans of a text, as st_groups_check wants them; piece_ptr [n_tok + 1]: token i is the
 * text's bytes piece_ptr[i] .. piece_ptr[i + 1] (never falling). token [n] gets the tokens of each
 * span: those that share a byte with it and with no span before it, and empty ones between them;
 * may be the same array as bytes. Errors: ST_ERR_ARG with the span's number: out of order, beyond
 * the text, or without a token of its own. */
ST_API st_status st_groups_from_bytes(const st_group *bytes, int64_t n, const int64_t *piece_ptr,
                                      int64_t n_tok, st_group *token, st_error *err);

/* ---- receiver heads -------------------------------------------------------------------------- */

#define ST_NEAR 4 /* sentences nearer than this do not count: the authors' choice */

/* Vertical scores of one head: score[j] = mean over i >= j + near of mean[i * n + j], NaN left out;
 * NaN where nothing is left (the last `near` at least). mean: [n, n], score: [n]. */
ST_API void st_vertical_scores(const float *mean, int64_t n, int64_t near, double *score);

/* Fisher's excess kurtosis of x [n], biased, NaN left out: m4 / m2^2 - 3 of the central moments; as
 * scipy.stats.kurtosis(x, nan_policy="omit"). NaN if there is nothing, or all are the same. */
ST_API double st_kurtosis(const double *x, int64_t n);

/* Vertical scores of a head of a trace (i, h: as for st_trace_group_matrix). score: [n_group].
 * Errors: those of st_trace_group_matrix, ST_ERR_MEM. */
ST_API st_status st_trace_vertical(const st_trace *trace, int64_t i, int64_t h, int64_t near,
                                   double *score, st_error *err);

typedef struct st_receiver {
    int layer, head; /* the model's numbers */
    double kurtosis; /* of the vertical scores, mean over the traces where it is a number; NaN: none
                      */
} st_receiver;

/* All recorded heads of the traces, the most receiving first: falling kurtosis, NaN last, ties by
 * layer and head. The traces are of one model and record the same heads. *receiver [*n] is the
 * caller's (st_receivers_free). Errors: ST_ERR_ARG (no trace, one without groups, other heads; the
 * position is the trace's number), ST_ERR_MEM. */
ST_API st_status st_receivers_find(const st_trace *const *trace, int64_t n_trace, int64_t near,
                                   st_receiver **receiver, int64_t *n, st_error *err);
ST_API void st_receivers_free(st_receiver *receiver);

/* Receiver scores of a trace's groups: score[j] = mean over the n heads of their vertical scores,
 * NaN if one of them is. score: [n_group]. Errors: ST_ERR_ARG (a head that is not recorded; no
 * groups), ST_ERR_MEM. */
ST_API st_status st_receiver_scores(const st_trace *trace, const st_receiver *receiver, int64_t n,
                                    int64_t near, double *score, st_error *err);

/* mean[i * n_group + j] = mean of A[i][j] over these n heads; receiver NULL: over all recorded ones
 * (n is then ignored). mean: [n_group, n_group]. Errors: as st_receiver_scores. */
ST_API st_status st_group_mean(const st_trace *trace, const st_receiver *receiver, int64_t n,
                               float *mean, st_error *err);

/* Anchors: the (at most) k groups of the highest score, highest first, NaN left out, ties to the
 * earlier one. Gives their number. */
ST_API int64_t st_anchors(const double *score, int64_t n, int64_t k, int64_t *anchor);

/* ---- dependencies ---------------------------------------------------------------------------- */

/* Group `to` leans on the earlier group `from`. */
typedef struct st_dependency {
    int64_t to, from;
    double score; /* 0..1: logistic model of "a labeller would draw this edge" */
} st_dependency;

/* What the score is made of, for to = i, from = j, over all recorded layers and heads of the trace:
 *   x0 = ln(i - j)                               x1 = ln(mean B[i][j] + 1e-6)
 *   x2 = x1 - ln(mean v[j] + 1e-6)               x3 = ln(mean sqrt(B[i][j]) + 1e-3)
 *   x4 = ln(mean over layers of max over heads B[i][j] + 1e-6)
 * v: the head's vertical scores, 0 where there is none; B = A[i][j] + v[j] / 2, since a pair of
 * which a pruned run knows nothing is not a pair of which nothing was read
 * (docs/method/receivers.md). score = 1 / (1 + exp(-(w . x + w[5]))). */
#define ST_DEPENDENCY_WEIGHTS 6

/* The weights of bench/anchors.py on the traces and the model named in docs/method/receivers.md. */
ST_API const double *st_dependency_weights(void);

/* For each group the at most k groups, `near` or more before it, that it leans on most: by rising
 * `to`, then falling score, ties to the earlier one. weight [ST_DEPENDENCY_WEIGHTS], NULL: those
 * above. *edge [*n] is the caller's (st_dependencies_free). Time O(heads n_group^2). Errors:
 * ST_ERR_ARG (no groups, near < 1, k < 1), ST_ERR_MEM. */
ST_API st_status st_dependencies_find(const st_trace *trace, const double *weight, int64_t near,
                                      int64_t k, st_dependency **edge, int64_t *n, st_error *err);
ST_API void st_dependencies_free(st_dependency *edge);

/* ---- a text that grows ----------------------------------------------------------------------- */

/* The same of a text that comes a group at a time (live.h). Memory 8 (n_layer n_head + 5) bytes a
 * group; each call costs O(n_layer n_head) for each group so far. */
typedef struct st_growing st_growing;

/* near: ST_NEAR. Errors: ST_ERR_ARG, ST_ERR_MEM. */
ST_API st_status st_growing_create(int n_layer, int n_head, int64_t near, st_growing **growing,
                                   st_error *err);
ST_API void st_growing_free(st_growing *growing);
ST_API void st_growing_clear(st_growing *growing); /* no groups any more */
ST_API int64_t st_growing_count(const st_growing *growing);

/* Takes the next group in: row [n_layer, n_head, n + 1], with n = st_growing_count, is A[n][0..n]
 * of every head (st_live_group.row). Errors: ST_ERR_ARG (a value below 0 or not finite; nothing was
 * taken), ST_ERR_MEM (no groups are left then). */
ST_API st_status st_growing_add(st_growing *growing, const float *row, st_error *err);

/* receiver [k]: the at most k heads of highest kurtosis so far, as st_receivers_find orders them,
 * those without left out; *n how many. Not from several threads at once. Errors: ST_ERR_MEM. */
ST_API st_status st_growing_receivers(const st_growing *growing, int64_t k, st_receiver *receiver,
                                      int64_t *n, st_error *err);

/* As st_receiver_scores, of the groups so far: score [st_growing_count]. Errors: ST_ERR_ARG (a head
 * that the model does not have). */
ST_API st_status st_growing_scores(const st_growing *growing, const st_receiver *receiver,
                                   int64_t n, double *score, st_error *err);

/* edge [k]: the at most k groups that the newest one leans on most, as st_dependencies_find scores
 * them, by what is known so far (v[j] is of the groups up to the newest). Gives their number. */
ST_API int64_t st_growing_lean(const st_growing *growing, const double *weight, int64_t k,
                               st_dependency *edge);

#ifdef __cplusplus
}
#endif
#endif
