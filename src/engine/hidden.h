/* SPDX-License-Identifier: MIT
 *
 * hidden.h — the collector of hidden states that a run carries.
 */
#ifndef STI_HIDDEN_H
#define STI_HIDDEN_H

#include <ggml.h>

#include "sparsetrace/engine.h"

typedef struct sti_hidden {
    st_hidden_params params;
    int64_t n_embd, at, begin, n_batch, n_seen; /* at: span of the next token */
    float *out;                                 /* the caller's; NULL: nothing is collected */
    float *row;                                 /* ours (sti_free) */
    char node[32];
} sti_hidden;

st_status sti_hidden_set(sti_hidden *h, const st_hidden_params *p, int n_layer, int n_embd,
                         int64_t n_tok, float *out, st_error *err);
/* A pass: start, for each micro-batch wants and take (begin and n_batch set before), end. */
void sti_hidden_start(sti_hidden *h);
bool sti_hidden_wants(const sti_hidden *h, const struct ggml_tensor *t);
bool sti_hidden_take(sti_hidden *h, const struct ggml_tensor *t);
st_status sti_hidden_end(const sti_hidden *h, int64_t n_tok, st_error *err);

#endif
