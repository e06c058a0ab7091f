/* SPDX-License-Identifier: MIT
 *
 * surprise.h — the surprise of every token of a run, taken while it runs.
 */
#ifndef STI_SURPRISE_H
#define STI_SURPRISE_H

#include "base/util.h"
#include "sparsetrace/engine.h"

typedef struct sti_surprise {
    const int32_t *token; /* [n_tok] the run's */
    int64_t n_tok, n_vocab;
    float *out; /* [n_tok] */
} sti_surprise;

/* From the run's next pass on; s must live as long as the passes. */
st_status sti_surprise_begin(sti_surprise *s, st_run *run, st_error *err);

/* -ln p(token) by one prediction [n_vocab]. */
double sti_surprise_of(const float *logits, int64_t n_vocab, int32_t token);

#endif
