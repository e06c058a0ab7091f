/* SPDX-License-Identifier: MIT
 *
 * reason_model.h — what a model's own run over a trace gives `sparsetrace reason`.
 */
#ifndef CLI_REASON_MODEL_H
#define CLI_REASON_MODEL_H

#include "out.h"
#include "sparsetrace/reason.h"

typedef struct reason_model {
    st_model *model; /* NULL: none was asked for */
    int layer;       /* whose hidden states are taken */
    int64_t k;       /* key blocks per query block; 0: exact attention */
    out_bar bar;
} reason_model;

/* Runs the model over the text up to the last sentence, once. *hidden [n, 2, n_embd]: mean of each
 * sentence's tokens, last token (free()); NULL on failure. */
st_status reason_hidden(reason_model *m, const char *text, const st_group *sentence, int64_t n,
                        float **hidden, st_error *err);

int64_t reason_n_hidden(const reason_model *m); /* 2 n_embd */

/* Hidden states of many traces, for tools/reason/train_tagger.py --hidden: kept, then written as
 * one safetensors file with a tensor "trace.<number from 0>" each. */
typedef struct hidden_file {
    st_tensor *tensor;
    int64_t n, cap;
} hidden_file;

/* Takes `hidden` over; the trace has the number f->n. */
void hidden_file_add(hidden_file *f, float *hidden, int64_t n, int64_t n_hidden);
st_status hidden_file_write(const hidden_file *f, const char *path, st_error *err);
void hidden_file_free(hidden_file *f);

#endif
