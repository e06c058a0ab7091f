/* SPDX-License-Identifier: MIT
 *
 * group_view.h — what the groups of a trace (sentences, mostly) say of one another, as an overview
 * carries it: receiver heads, receiver scores, who leans on whom, one matrix.
 */
#ifndef STI_GROUP_VIEW_H
#define STI_GROUP_VIEW_H

#include "base/util.h"
#include "sparsetrace/groups.h"

#define STI_SENTENCE_TENSORS 7

typedef struct sti_sentences {
    int64_t n;            /* 0: the trace has no groups, and nothing below is there */
    int32_t *span;        /* [n, 2] tokens */
    float *score;         /* [n] receiver scores, NaN where there is none */
    int64_t n_head;       /* receiver heads, at most 20 */
    int32_t *head;        /* [n_head, 2] layer, head; the most receiving first */
    float *kurtosis;      /* [n_head] */
    int64_t n_edge;       /* dependencies; none beyond 1,024 sentences: they take n^2 per head */
    int32_t *edge;        /* [n_edge, 2] to, from */
    float *edge_score;    /* [n_edge] */
    int64_t join, n_cell; /* so many sentences in a row and column; ceil(n / join) */
    uint16_t *matrix; /* [n_cell, n_cell] half floats: mean of A over the receiver heads and over
                         the cell's pairs of tokens */
} sti_sentences;

/* n_cell is at most `cells`. Errors: ST_ERR_MEM. */
st_status sti_sentences_create(const st_trace *t, int64_t cells, sti_sentences *s, st_error *err);
/* A copy whose matrix has at most `bytes` bytes (or one cell). Errors: ST_ERR_MEM. */
st_status sti_sentences_fold(const sti_sentences *in, int64_t bytes, sti_sentences *out,
                             st_error *err);
void sti_sentences_free(sti_sentences *s);

/* Its tensors, the last one with elements of 2 bytes, the others of 4; gives their number. They
 * point into s. */
int sti_sentences_tensors(const sti_sentences *s, st_tensor tensor[STI_SENTENCE_TENSORS]);

#endif
