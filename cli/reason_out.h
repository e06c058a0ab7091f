/* SPDX-License-Identifier: MIT
 *
 * reason_out.h — one trace as `sparsetrace reason` read it, and the three ways to print it.
 */
#ifndef CLI_REASON_OUT_H
#define CLI_REASON_OUT_H

#include <stdio.h>

#include "reason_attention.h"

typedef struct reading {
    const st_tagger *tagger;
    const char *tagger_name; /* "text", the model whose hidden states it read, or its file */
    const char *model_name;
    const char *id;   /* what the trace is called in the output */
    const char *text; /* `part` of it was read */
    st_group part;
    int64_t line, n_replaced;
    bool given; /* the tags come from elsewhere: they have no probability */
    int64_t n;
    st_group *sentence;
    int32_t *tag; /* -1: not in the taxonomy */
    float *prob;  /* [n, n_tag] */
    bool has_phases;
    st_phase *phase;
    float *confidence, *boundary;
    st_quality quality;
    reason_attention *attention; /* NULL: no model ran */
} reading;

void reason_print_text(const reading *r, bool sentences);
void reason_print_json(FILE *f, const reading *r); /* one line, without its end */

/* Two traces of one problem side by side. */
void reason_print_pair(const reading *a, const reading *b);
void reason_print_json_pair(const reading *a, const reading *b);
/* At most REASON_CELLS letters, one a phase. */
#define REASON_CELLS 64
void reason_strip(const reading *r, char strip[REASON_CELLS + 1]);
void reason_print_csv_head(bool attention);
void reason_print_csv(const reading *r);

/* Of sentence i. */
const char *reason_tag_name(const reading *r, int64_t i);
double reason_tag_prob(const reading *r, int64_t i);
int64_t reason_text_bytes(const reading *r, int64_t i);
/* One past the last sentence of the phase that sentence i is in. */
int64_t reason_phase_end(const reading *r, int64_t i);
double reason_phase_confidence(const reading *r, int64_t begin, int64_t end); /* mean */

#endif
