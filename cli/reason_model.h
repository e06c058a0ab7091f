/* SPDX-License-Identifier: MIT
 *
 * reason_model.h — what a model's own run over a trace gives `sparsetrace reason`: one sparse run
 * for hidden states, surprise and the attention from sentence to sentence.
 */
#ifndef CLI_REASON_MODEL_H
#define CLI_REASON_MODEL_H

#include "budget_args.h"
#include "out.h"
#include "sparsetrace/groups.h"
#include "sparsetrace/reason.h"

typedef struct reason_model {
    st_model *model; /* NULL: none was asked for */
    st_model_info info;
    int layer; /* whose hidden states are taken; -1: none are */
    st_trace_params params;
    const budget_args *budget; /* as typed: short texts keep everything if it was not */
    int64_t cert_rows;         /* a layer */
    out_bar bar;
} reason_model;

int64_t reason_n_hidden(const reason_model *m); /* 2 n_embd */

/* One run over one trace. */
typedef struct reason_run {
    int64_t n, n_tok;
    st_group *token; /* [n] the sentences' tokens */
    float *hidden;   /* [n, 2, n_embd] mean of the tokens, last token; NULL: not asked for */
    float *surprise; /* [n] mean over the tokens of -ln p, nats */
    st_trace_report report;
    st_trace *trace;
    char *scratch; /* the folder of a trace that nobody keeps; NULL: it is kept */
} reason_run;

/* Runs the model over the text up to the last sentence, once; n >= 1. keep: where the trace goes,
 * NULL: it lasts as long as the run. Free with reason_run_free, on failure too. */
st_status reason_run_make(reason_model *m, const char *text, const st_group *sentence, int64_t n,
                          const char *keep, reason_run *run, st_error *err);
void reason_run_free(reason_run *run);

/* Hidden states of many traces, for tools/reason/train_tagger.py --hidden: kept, then written as
 * one safetensors file with a tensor "trace.<number from 0>" each. */
typedef struct hidden_file {
    st_tensor *tensor;
    int64_t n, cap;
} hidden_file;

/* Takes `hidden` over; the trace has the number f->n. */
void hidden_file_add(hidden_file *f, float *hidden, int64_t n, int64_t n_hidden);
st_status hidden_file_write(const hidden_file *f, const reason_model *m, const char *path,
                            st_error *err);
void hidden_file_free(hidden_file *f);

#endif
