/* SPDX-License-Identifier: MIT
 *
 * tracer.h — one tracing job, as budget.c (which k?) and tracer.c (everything around it) share it.
 */
#ifndef STI_TRACER_H
#define STI_TRACER_H

#include "engine/checkpoint.h"

typedef struct sti_tracer {
    st_model *model;
    st_run *run;
    const st_trace_params *p;
    st_trace_report *report;
    st_ggml_params ggml; /* of the next pass; ggml.select.k is the budget being tried */
    float
        *reference; /* [n_last, n_vocab] predictions that count as right (dense, or 2k), or NULL */
    sti_checkpoint *checkpoint; /* NULL: none */
    double earlier;             /* seconds of passes that an earlier process spent */
} sti_tracer;

/* A pass with budget k and, if tally is not NULL, a record of it. pass->logits are good until the
 * next pass. */
st_status sti_tracer_pass(sti_tracer *t, double k, sti_tally *tally, const char *what,
                          st_pass *pass, st_error *err);

/* Keeps a pass's predictions as the reference. */
st_status sti_tracer_keep(sti_tracer *t, const st_pass *pass, st_error *err);

/* Whether a run's next token is the reference's, or the two lie closer than two exact paths do. */
bool sti_tracer_agrees(const sti_tracer *t, const st_agreement *next);

/* The budget to run with, into t->ggml.select. */
st_status sti_find_budget(sti_tracer *t, st_error *err);

#endif
