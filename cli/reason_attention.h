/* SPDX-License-Identifier: MIT
 *
 * reason_attention.h — what a run's attention says of a trace's sentences.
 */
#ifndef CLI_REASON_ATTENTION_H
#define CLI_REASON_ATTENTION_H

#include "reason_model.h"

#define REASON_HEADS 20  /* receiver heads: the authors' choice */
#define REASON_ANCHORS 5 /* listed */
#define REASON_READERS 3 /* named of each anchor */

typedef struct reason_anchor {
    int64_t sentence, n_reader;
    struct {
        int64_t sentence;
        double mean; /* of A over the receiver heads */
    } reader[REASON_READERS];
} reason_anchor;

typedef struct reason_attention {
    reason_run run;
    st_receiver head[REASON_HEADS];
    int64_t n_head;
    double *receiver; /* [n] by the definition */
    double *judged;   /* [n] the same, NaN where too few sentences could look back */
    float *mean;      /* [n, n] A, over all heads */
    st_flow *flow;    /* [n] */
    reason_anchor anchor[REASON_ANCHORS];
    int64_t n_anchor;
} reason_attention;

/* Receiver heads, scores, anchors with their readers, and the mean matrix, out of a->run. flow has
 * room and is not filled. Free with reason_attention_free, on failure too; it frees the run. */
st_status reason_attention_read(reason_attention *a, st_error *err);
void reason_attention_free(reason_attention *a);

/* judged [n] = receiver [n], but NaN for the last sentences: one near the end is judged by a
 * handful of neighbours, and is no anchor unless enough far ones could have looked back at it. */
void reason_mask_late(const double *receiver, int64_t n, double *judged);

#endif
