/* SPDX-License-Identifier: MIT
 *
 * chain.h — a chain of states: where each place has a score for each state and each step one for
 * each pair. The tagger's and the phases' arithmetic.
 */
#ifndef STI_CHAIN_H
#define STI_CHAIN_H

#include "base/util.h"

typedef struct sti_chain {
    int n_state;
    const float *start; /* [n_state], log */
    const float *step;  /* [n_state, n_state], log, from row to column */
    int64_t n;
    const double *score; /* [n, n_state], log; a state with -inf is impossible */
} sti_chain;

/* prob [n, n_state]: P(state at i | all scores). stay [n], or NULL: P(state i = state i - 1), 0 at
 * the first. Forward and backward sums, scaled at each place. Only ST_ERR_MEM. */
st_status sti_chain_posterior(const sti_chain *c, double *prob, double *stay, st_error *err);

/* path [n]: the most probable sequence of states; ties to the lower state. Only ST_ERR_MEM. */
st_status sti_chain_best(const sti_chain *c, int32_t *path, st_error *err);

#endif
