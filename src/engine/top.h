/* SPDX-License-Identifier: MIT
 *
 * top.h — predictions kept by their likeliest tokens, to compare others with.
 */
#ifndef STI_TOP_H
#define STI_TOP_H

#include "sparsetrace/base.h"

typedef struct sti_top {
    int64_t n_tok, n_vocab, n_top;
    double temperature;
    int32_t *id;   /* [n_tok, n_top] */
    float *log_p;  /* [n_tok, n_top] */
    float *rest;   /* [n_tok] the probability of all others */
    int32_t *heap; /* scratch */
} sti_top;

st_status sti_top_make(sti_top *t, int64_t n_tok, int64_t n_vocab, int64_t n_top,
                       double temperature, st_error *err);
void sti_top_free(sti_top *t);

/* Keeps softmax(logits / temperature) at pos. ST_ERR_MODEL: it is not a number. */
st_status sti_top_keep(sti_top *t, int64_t pos, const float *logits, st_error *err);

/* KL(kept at pos || softmax(logits / temperature)) over the kept tokens and all others as one:
 * never more than over all tokens. NaN if one of the logits is. */
double sti_top_kl(const sti_top *t, int64_t pos, const float *logits);

#endif
