/* SPDX-License-Identifier: MIT
 *
 * reason_attention.c — receiver heads, anchors, and who leans on them, of one trace.
 */
#include "reason_attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_READERS 20

static st_status find_heads(reason_attention *a, st_error *err)
{
    const st_trace *trace = a->run.trace;
    st_receiver *all;
    int64_t n;
    st_status status = st_receivers_find(&trace, 1, ST_NEAR, &all, &n, err);
    if (status != ST_OK)
        return status;
    while (n > 0 && isnan(all[n - 1].kurtosis))
        n--;
    a->n_head = n < REASON_HEADS ? n : REASON_HEADS;
    memcpy(a->head, all, (size_t)a->n_head * sizeof *all);
    st_receivers_free(all);
    return ST_OK;
}

/* Who looks back at the anchor most, in the receiver heads' mean matrix. column: room for n. */
static void find_readers(const float *mean, int64_t n, double *column, reason_anchor *anchor)
{
    int64_t reader[REASON_READERS];
    for (int64_t i = 0; i < n; i++)
        column[i] = i < anchor->sentence + ST_NEAR || mean[i * n + anchor->sentence] <= 0.0f
                        ? (double)NAN
                        : (double)mean[i * n + anchor->sentence];
    anchor->n_reader = st_anchors(column, n, REASON_READERS, reader);
    for (int64_t k = 0; k < anchor->n_reader; k++) {
        anchor->reader[k].sentence = reader[k];
        anchor->reader[k].mean = column[reader[k]];
    }
}

void reason_mask_late(const double *receiver, int64_t n, double *judged)
{
    int64_t least = n / 4 < LEAST_READERS ? n / 4 : LEAST_READERS;
    for (int64_t j = 0; j < n; j++)
        judged[j] = n - ST_NEAR - j < least ? (double)NAN : receiver[j];
}

static st_status find_anchors(reason_attention *a, st_error *err)
{
    int64_t n = a->run.n, sentence[REASON_ANCHORS];
    double *column = out_need((size_t)n * sizeof *column);
    st_status status =
        st_receiver_scores(a->run.trace, a->head, a->n_head, ST_NEAR, a->receiver, err);
    if (status == ST_OK) /* a->mean as scratch: its own content comes later */
        status = st_group_mean(a->run.trace, a->head, a->n_head, a->mean, err);
    if (status == ST_OK) {
        reason_mask_late(a->receiver, n, a->judged);
        a->n_anchor = st_anchors(a->judged, n, REASON_ANCHORS, sentence);
    }
    for (int64_t k = 0; k < a->n_anchor; k++) {
        a->anchor[k].sentence = sentence[k];
        find_readers(a->mean, n, column, &a->anchor[k]);
    }
    free(column);
    return status;
}

st_status reason_attention_read(reason_attention *a, st_error *err)
{
    size_t n = (size_t)a->run.n;
    st_status status = ST_OK;
    a->receiver = out_need(n * sizeof *a->receiver);
    a->mean = out_need(n * n * sizeof *a->mean);
    a->flow = out_need(n * sizeof *a->flow);
    a->judged = out_need(n * sizeof *a->judged);
    for (size_t i = 0; i < n; i++)
        a->receiver[i] = a->judged[i] = (double)NAN;
    status = find_heads(a, err);
    if (status == ST_OK && a->n_head > 0) /* none: too few sentences */
        status = find_anchors(a, err);
    if (status == ST_OK)
        status = st_group_mean(a->run.trace, NULL, 0, a->mean, err);
    return status;
}

void reason_attention_free(reason_attention *a)
{
    reason_run_free(&a->run);
    free(a->receiver);
    free(a->judged);
    free(a->mean);
    free(a->flow);
    *a = (reason_attention){.n_head = 0};
}
