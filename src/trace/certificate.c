/* SPDX-License-Identifier: MIT
 *
 * certificate.c — the summary of the certified rows: a pure function, so that whoever reads a trace
 * can compute it again. The formulas are in docs/trace-format.md, section 5.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/util.h"
#include "sparsetrace/trace.h"

static st_status check_samples(const st_cert_samples *s, st_error *err)
{
    if (s->n_head < 1 || s->n_row < 1 || s->recall == NULL || s->err == NULL)
        return sti_fail(err, ST_ERR_ARG, s->layer, "layer %d has no certificate samples", s->layer);
    for (int64_t i = 0; i < s->n_head * s->n_row; i++) {
        if (!(s->recall[i] >= 0 && s->recall[i] <= 1))
            return sti_fail(err, ST_ERR_ARG, i, "layer %d: recall sample %lld is %g, not 0..1",
                            s->layer, (long long)i, (double)s->recall[i]);
        if (!(s->err[i] >= 0 && s->err[i] <= FLT_MAX))
            return sti_fail(err, ST_ERR_ARG, i, "layer %d: error sample %lld is %g", s->layer,
                            (long long)i, (double)s->err[i]);
    }
    return ST_OK;
}

static double mean(const float *x, int64_t n, int64_t stride)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i * stride];
    return sum / (double)n;
}

/* Variance of a layer's mean over its strata, from the differences of neighbours. */
static double variance_of_mean(const st_cert_samples *s)
{
    double sum = 0, last = 0, n = (double)s->n_row;
    for (int64_t i = 0; i < s->n_row; i++) {
        double x = mean(s->recall + i, s->n_head, s->n_row);
        sum += i == 0 ? 0 : (x - last) * (x - last);
        last = x;
    }
    return sum / (2 * n * (n - 1));
}

static int compare_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics, as numpy.percentile does by default. */
static st_status percentile(const st_cert_samples *layer, int64_t n_layer, double share,
                            double *out, st_error *err)
{
    int64_t n = 0, lo;
    double at;
    float *all;
    for (int64_t l = 0; l < n_layer; l++)
        n += layer[l].n_head * layer[l].n_row;
    all = sti_alloc((size_t)n * sizeof *all);
    if (all == NULL)
        return sti_fail_mem(err, (size_t)n * sizeof *all);
    n = 0;
    for (int64_t l = 0; l < n_layer; l++) {
        int64_t m = layer[l].n_head * layer[l].n_row;
        memcpy(all + n, layer[l].recall, (size_t)m * sizeof *all);
        n += m;
    }
    qsort(all, (size_t)n, sizeof *all, compare_float);
    at = share * (double)(n - 1);
    lo = (int64_t)at;
    *out = (double)all[lo];
    if (lo + 1 < n)
        *out += (at - (double)lo) * ((double)all[lo + 1] - (double)all[lo]);
    sti_free(all);
    return ST_OK;
}

static void worst_head(const st_cert_samples *layer, int64_t n_layer, st_certificate *c)
{
    c->recall_worst = 2; /* above any */
    for (int64_t l = 0; l < n_layer; l++) {
        for (int64_t h = 0; h < layer[l].n_head; h++) {
            double m = mean(layer[l].recall + h * layer[l].n_row, layer[l].n_row, 1);
            if (m < c->recall_worst) {
                c->recall_worst = m;
                c->worst_layer = layer[l].layer;
                c->worst_head = (int)h;
            }
        }
    }
}

st_status st_certificate_compute(const st_cert_samples *layer, int64_t n_layer,
                                 st_certificate *cert, st_error *err)
{
    st_certificate c = {.n_layer = n_layer};
    double variance = 0, half;
    bool spread_known = true;
    *cert = (st_certificate){.n_layer = 0};
    if (n_layer < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "there are no certificate samples");
    for (int64_t l = 0; l < n_layer; l++) {
        STI_TRY(check_samples(&layer[l], err));
        c.n_head += layer[l].n_head;
        c.n_row = sti_max(c.n_row, layer[l].n_row);
        spread_known = spread_known && layer[l].n_row >= 2;
    }
    for (int64_t l = 0; l < n_layer; l++) {
        double w = (double)layer[l].n_head / (double)c.n_head;
        int64_t n = layer[l].n_head * layer[l].n_row;
        c.recall_mean += w * mean(layer[l].recall, n, 1);
        c.err_mean += w * mean(layer[l].err, n, 1);
        if (spread_known)
            variance += w * w * variance_of_mean(&layer[l]);
    }
    half = 1.96 * sqrt(variance);
    c.recall_ci95[0] = spread_known ? fmax(0, c.recall_mean - half) : 0;
    c.recall_ci95[1] = spread_known ? fmin(1, c.recall_mean + half) : 1;
    STI_TRY(percentile(layer, n_layer, 0.05, &c.recall_p5, err));
    worst_head(layer, n_layer, &c);
    *cert = c;
    return ST_OK;
}
