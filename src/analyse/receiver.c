/* SPDX-License-Identifier: MIT
 *
 * receiver.c — vertical scores, receiver heads, anchors.
 *
 * The definitions are those of the header and of nobody else; tests/python/test_groups.py has them
 * in NumPy and SciPy.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/util.h"
#include "sparsetrace/groups.h"

void st_vertical_scores(const float *mean, int64_t n, int64_t near, double *score)
{
    for (int64_t j = 0; j < n; j++) {
        double sum = 0.0;
        int64_t count = 0;
        for (int64_t i = j + near; i < n; i++) {
            double x = (double)mean[i * n + j];
            sum += isnan(x) ? 0.0 : x;
            count += !isnan(x);
        }
        score[j] = count > 0 ? sum / (double)count : NAN;
    }
}

double st_kurtosis(const double *x, int64_t n)
{
    double mean = 0.0, m2 = 0.0, m4 = 0.0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i])) {
            mean += x[i];
            count++;
        }
    if (count == 0)
        return NAN;
    mean /= (double)count;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i])) {
            double d2 = (x[i] - mean) * (x[i] - mean);
            m2 += d2 / (double)count;
            m4 += d2 * d2 / (double)count;
        }
    if (m2 <= (DBL_EPSILON * mean) * (DBL_EPSILON * mean))
        return NAN;
    return m4 / (m2 * m2) - 3.0;
}

/* ---- heads of traces ------------------------------------------------------------------------- */

st_status st_trace_vertical(const st_trace *t, int64_t i, int64_t h, int64_t near, double *score,
                            st_error *err)
{
    st_trace_info info;
    float *mean;
    size_t bytes;
    st_status status;
    st_trace_get_info(t, &info);
    bytes = (size_t)(info.n_group * info.n_group) * sizeof *mean;
    mean = sti_alloc(bytes);
    if (mean == NULL)
        return sti_fail_mem(err, bytes);
    status = st_trace_group_matrix(t, i, h, mean, err);
    if (status == ST_OK)
        st_vertical_scores(mean, info.n_group, near, score);
    sti_free(mean);
    return status;
}

static int64_t count_heads(const st_trace *t)
{
    st_trace_layer l;
    int64_t n = 0;
    for (int64_t i = 0; st_trace_get_layer(t, i, &l, NULL) == ST_OK; i++)
        n += l.n_head;
    return n;
}

static st_status check_trace(const st_trace *t, int64_t number, st_error *err)
{
    if (st_trace_groups(t) != NULL)
        return ST_OK;
    return sti_fail(err, ST_ERR_ARG, number,
                    "trace %lld has no groups of tokens: record it with them", (long long)number);
}

/* What a head's kurtosis is made of. */
struct sum {
    double kurtosis;
    int64_t n;
};

/* Adds a trace; the first one names the heads. */
static st_status add_trace(const st_trace *t, int64_t number, int64_t near, st_receiver *receiver,
                           int64_t n, struct sum *sum, st_error *err)
{
    st_trace_info info;
    st_trace_layer l;
    int64_t at = 0;
    double *score;
    st_status status = ST_OK;
    STI_TRY(check_trace(t, number, err));
    st_trace_get_info(t, &info);
    if (count_heads(t) != n)
        return sti_fail(err, ST_ERR_ARG, number,
                        "trace %lld has %lld recorded heads, the first one %lld", (long long)number,
                        (long long)count_heads(t), (long long)n);
    score = sti_alloc((size_t)info.n_group * sizeof *score);
    if (score == NULL)
        return sti_fail_mem(err, (size_t)info.n_group * sizeof *score);
    for (int64_t i = 0; status == ST_OK && i < info.n_layer; i++) {
        st_trace_get_layer(t, i, &l, NULL);
        for (int64_t h = 0; status == ST_OK && h < l.n_head; h++, at++) {
            double k;
            if (number == 0)
                receiver[at] = (st_receiver){.layer = l.layer, .head = l.head[h]};
            else if (receiver[at].layer != l.layer || receiver[at].head != l.head[h])
                status = sti_fail(err, ST_ERR_ARG, number, "trace %lld records other heads",
                                  (long long)number);
            if (status == ST_OK)
                status = st_trace_vertical(t, i, h, near, score, err);
            k = status == ST_OK ? st_kurtosis(score, info.n_group) : NAN;
            sum[at].kurtosis += isnan(k) ? 0.0 : k;
            sum[at].n += !isnan(k);
        }
    }
    sti_free(score);
    return status;
}

static int by_kurtosis(const void *x, const void *y)
{
    const st_receiver *a = x, *b = y;
    if (isnan(a->kurtosis) != isnan(b->kurtosis))
        return isnan(a->kurtosis) ? 1 : -1;
    if (a->kurtosis != b->kurtosis && !isnan(a->kurtosis))
        return a->kurtosis < b->kurtosis ? 1 : -1;
    return a->layer != b->layer ? a->layer - b->layer : a->head - b->head;
}

st_status st_receivers_find(const st_trace *const *trace, int64_t n_trace, int64_t near,
                            st_receiver **receiver, int64_t *n, st_error *err)
{
    struct sum *sum;
    st_status status = ST_OK;
    *receiver = NULL;
    *n = 0;
    if (n_trace < 1 || near < 0)
        return sti_fail(err, ST_ERR_ARG, -1, "%lld traces, near %lld", (long long)n_trace,
                        (long long)near);
    *n = count_heads(trace[0]);
    *receiver = sti_alloc((size_t)*n * sizeof **receiver);
    sum = sti_calloc((size_t)*n * sizeof *sum);
    if (*receiver == NULL || sum == NULL)
        status = sti_fail_mem(err, (size_t)*n * sizeof **receiver);
    for (int64_t t = 0; status == ST_OK && t < n_trace; t++)
        status = add_trace(trace[t], t, near, *receiver, *n, sum, err);
    for (int64_t i = 0; status == ST_OK && i < *n; i++)
        (*receiver)[i].kurtosis = sum[i].n > 0 ? sum[i].kurtosis / (double)sum[i].n : NAN;
    sti_free(sum);
    if (status != ST_OK) {
        sti_free(*receiver);
        *receiver = NULL;
        *n = 0;
        return status;
    }
    qsort(*receiver, (size_t)*n, sizeof **receiver, by_kurtosis);
    return ST_OK;
}

void st_receivers_free(st_receiver *receiver)
{
    sti_free(receiver);
}

/* ---- scores of a trace ----------------------------------------------------------------------- */

/* Layer index and head position of a receiver. */
static bool find_head(const st_trace *t, const st_receiver *r, int64_t *i, int64_t *h)
{
    st_trace_layer l;
    for (*i = 0; st_trace_get_layer(t, *i, &l, NULL) == ST_OK; (*i)++)
        for (*h = 0; l.layer == r->layer && *h < l.n_head; (*h)++)
            if (l.head[*h] == r->head)
                return true;
    return false;
}

st_status st_receiver_scores(const st_trace *t, const st_receiver *receiver, int64_t n,
                             int64_t near, double *score, st_error *err)
{
    st_trace_info info;
    double *one;
    st_status status = ST_OK;
    st_trace_get_info(t, &info);
    STI_TRY(check_trace(t, 0, err));
    if (n < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "no receiver heads");
    one = sti_alloc((size_t)info.n_group * sizeof *one);
    if (one == NULL)
        return sti_fail_mem(err, (size_t)info.n_group * sizeof *one);
    for (int64_t j = 0; j < info.n_group; j++)
        score[j] = 0.0;
    for (int64_t k = 0; status == ST_OK && k < n; k++) {
        int64_t i, h;
        status = find_head(t, &receiver[k], &i, &h)
                     ? st_trace_vertical(t, i, h, near, one, err)
                     : sti_fail(err, ST_ERR_ARG, k, "L%d.H%d is not recorded", receiver[k].layer,
                                receiver[k].head);
        for (int64_t j = 0; status == ST_OK && j < info.n_group; j++)
            score[j] += one[j] / (double)n;
    }
    sti_free(one);
    return status;
}

/* Adds a head's matrix to sum [n_group, n_group]. one: room for another. */
static st_status add_matrix(const st_trace *t, int64_t i, int64_t h, float *one, float *sum,
                            int64_t cells, st_error *err)
{
    STI_TRY(st_trace_group_matrix(t, i, h, one, err));
    for (int64_t c = 0; c < cells; c++)
        sum[c] += one[c];
    return ST_OK;
}

static st_status add_matrices(const st_trace *t, const st_receiver *receiver, int64_t *n,
                              float *one, float *sum, int64_t cells, st_error *err)
{
    st_trace_layer l;
    int64_t h;
    if (receiver == NULL)
        *n = count_heads(t);
    for (int64_t i = 0; receiver == NULL && st_trace_get_layer(t, i, &l, NULL) == ST_OK; i++)
        for (h = 0; h < l.n_head; h++)
            STI_TRY(add_matrix(t, i, h, one, sum, cells, err));
    for (int64_t k = 0, i; receiver != NULL && k < *n; k++) {
        if (!find_head(t, &receiver[k], &i, &h))
            return sti_fail(err, ST_ERR_ARG, k, "L%d.H%d is not recorded", receiver[k].layer,
                            receiver[k].head);
        STI_TRY(add_matrix(t, i, h, one, sum, cells, err));
    }
    return *n > 0 ? ST_OK : sti_fail(err, ST_ERR_ARG, -1, "no heads to take the mean of");
}

st_status st_group_mean(const st_trace *t, const st_receiver *receiver, int64_t n, float *mean,
                        st_error *err)
{
    st_trace_info info;
    st_status status;
    float *one;
    size_t bytes;
    STI_TRY(check_trace(t, 0, err));
    st_trace_get_info(t, &info);
    bytes = (size_t)(info.n_group * info.n_group) * sizeof *mean;
    one = sti_alloc(bytes);
    if (one == NULL)
        return sti_fail_mem(err, bytes);
    memset(mean, 0, bytes);
    status = add_matrices(t, receiver, &n, one, mean, info.n_group * info.n_group, err);
    for (int64_t c = 0; status == ST_OK && c < info.n_group * info.n_group; c++)
        mean[c] /= (float)n;
    sti_free(one);
    return status;
}

int64_t st_anchors(const double *score, int64_t n, int64_t k, int64_t *anchor)
{
    int64_t found = 0;
    for (; found < k; found++) {
        int64_t best = -1;
        for (int64_t j = 0; j < n; j++) {
            bool taken = isnan(score[j]);
            for (int64_t i = 0; i < found && !taken; i++)
                taken = anchor[i] == j;
            if (!taken && (best < 0 || score[j] > score[best]))
                best = j;
        }
        if (best < 0)
            break;
        anchor[found] = best;
    }
    return found;
}
