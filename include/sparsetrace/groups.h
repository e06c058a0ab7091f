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
 * span: those that share a byte with it and with no span before it; may be the same array as bytes.
 * Errors: ST_ERR_ARG with the span's number: out of order, beyond the text, or without a token of
 * its own. */
ST_API st_status st_groups_from_bytes(const st_group *bytes, int64_t n, const int64_t *piece_ptr,
                                      int64_t n_tok, st_group *token, st_error *err);

#ifdef __cplusplus
}
#endif
#endif
