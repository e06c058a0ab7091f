/* SPDX-License-Identifier: MIT
 *
 * top.c — the likeliest tokens of a prediction and the divergence from it. A whole prediction takes
 * four bytes for every token of the vocabulary, at every position; nearly all of its probability is
 * on a few.
 */
#include <math.h>

#include "base/util.h"
#include "engine/top.h"

#define LEAST 1e-30 /* probability of what has none left */

st_status sti_top_make(sti_top *t, int64_t n_tok, int64_t n_vocab, int64_t n_top,
                       double temperature, st_error *err)
{
    size_t cells = (size_t)(n_tok * n_top);
    *t = (sti_top){.n_tok = n_tok, .n_vocab = n_vocab, .n_top = n_top, .temperature = temperature};
    t->id = sti_alloc(cells * sizeof *t->id);
    t->log_p = sti_alloc(cells * sizeof *t->log_p);
    t->rest = sti_alloc((size_t)n_tok * sizeof *t->rest);
    t->heap = sti_alloc((size_t)n_top * sizeof *t->heap);
    return t->id && t->log_p && t->rest && t->heap
               ? ST_OK
               : sti_fail_mem(err, cells * (sizeof *t->id + sizeof *t->log_p));
}

void sti_top_free(sti_top *t)
{
    sti_free(t->id);
    sti_free(t->log_p);
    sti_free(t->rest);
    sti_free(t->heap);
}

/* ---- the largest ----------------------------------------------------------------------------- */

static void sift_down(int32_t *heap, int64_t n, int64_t at, const float *x)
{
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        int32_t keep = heap[at];
        if (child + 1 < n && x[heap[child + 1]] < x[heap[child]])
            child++;
        if (x[keep] <= x[heap[child]])
            return;
        heap[at] = heap[child];
        heap[child] = keep;
    }
}

/* heap [n_top]: the places of the largest x, the least of them first. */
static void find_largest(const sti_top *t, const float *x)
{
    int64_t n = t->n_top;
    for (int64_t i = 0; i < n; i++)
        t->heap[i] = (int32_t)i;
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sift_down(t->heap, n, i, x);
    for (int64_t i = n; i < t->n_vocab; i++)
        if (x[i] > x[t->heap[0]]) {
            t->heap[0] = (int32_t)i;
            sift_down(t->heap, n, 0, x);
        }
}

/* ---- probabilities --------------------------------------------------------------------------- */

/* ln sum exp(x / temperature). */
static double log_sum(const sti_top *t, const float *x)
{
    float scale = (float)(1.0 / t->temperature), most = -INFINITY;
    double sum = 0.0;
    for (int64_t i = 0; i < t->n_vocab; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < t->n_vocab; i++)
        sum += (double)expf((x[i] - most) * scale);
    return (double)most / t->temperature + log(sum);
}

static double rest_of(double named)
{
    return named < 1.0 - LEAST ? 1.0 - named : LEAST;
}

st_status sti_top_keep(sti_top *t, int64_t pos, const float *logits, st_error *err)
{
    double all = log_sum(t, logits), named = 0.0;
    if (!isfinite(all))
        return sti_fail(err, ST_ERR_MODEL, pos,
                        "the model's prediction after token %lld is not a number", (long long)pos);
    find_largest(t, logits);
    for (int64_t k = 0; k < t->n_top; k++) {
        double log_p = (double)logits[t->heap[k]] / t->temperature - all;
        t->id[pos * t->n_top + k] = t->heap[k];
        t->log_p[pos * t->n_top + k] = (float)log_p;
        named += exp(log_p);
    }
    t->rest[pos] = (float)rest_of(named);
    return ST_OK;
}

double sti_top_kl(const sti_top *t, int64_t pos, const float *logits)
{
    const int32_t *id = t->id + pos * t->n_top;
    const float *log_p = t->log_p + pos * t->n_top;
    double all = log_sum(t, logits), named = 0.0, kl = 0.0;
    for (int64_t k = 0; k < t->n_top; k++) {
        double log_q = (double)logits[id[k]] / t->temperature - all; /* rounded as log_p is */
        kl += exp((double)log_p[k]) * (double)(log_p[k] - (float)log_q);
        named += exp(log_q);
    }
    kl += (double)t->rest[pos] * log((double)(t->rest[pos] / (float)rest_of(named)));
    return kl > 0.0 || isnan(kl) ? kl : 0.0;
}
