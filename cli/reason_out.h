/* SPDX-License-Identifier: MIT
 *
 * reason_out.h — one trace as `sparsetrace reason` read it, and the three ways to print it.
 */
#ifndef CLI_REASON_OUT_H
#define CLI_REASON_OUT_H

#include "sparsetrace/reason.h"

typedef struct reading {
    const st_tagger *tagger;
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
} reading;

void reason_print_text(const reading *r, bool sentences);
void reason_print_json(const reading *r); /* one line */
void reason_print_csv_head(void);
void reason_print_csv(const reading *r);

#endif
