/* SPDX-License-Identifier: MIT
 *
 * dependency.c — who leans on whom: three means over a trace's heads, a logistic score for each far
 * pair of groups, and the best few sources of each group.
 */
#include <math.h>

#include "analyse/dependency.h"
#include "base/util.h"

struct means {
    int64_t n;
    float *plain, *root, *top; /* [n, n] mean of B, of sqrt B, of the layers' largest B */
    float *one, *largest;      /* [n, n] of the head, of the layer at hand */
    double *vertical, *column; /* [n] of the head, mean of all; 0 where there is none */
};

static void means_free(struct means *m)
{
    sti_free(m->plain);
    sti_free(m->root);
    sti_free(m->top);
    sti_free(m->one);
    sti_free(m->largest);
    sti_free(m->vertical);
    sti_free(m->column);
}

static st_status means_alloc(struct means *m, int64_t n, st_error *err)
{
    size_t bytes = (size_t)(n * n) * sizeof(float);
    m->n = n;
    m->plain = sti_calloc(bytes);
    m->root = sti_calloc(bytes);
    m->top = sti_calloc(bytes);
    m->one = sti_alloc(bytes);
    m->largest = sti_alloc(bytes);
    m->vertical = sti_alloc((size_t)n * sizeof *m->vertical);
    m->column = sti_calloc((size_t)n * sizeof *m->column);
    return m->plain && m->root && m->top && m->one && m->largest && m->vertical && m->column
               ? ST_OK
               : sti_fail_mem(err, bytes);
}

/* The head at hand. Pairs nearer than `near` are not asked for. */
static void add_head(struct means *m, int64_t near)
{
    st_vertical_scores(m->one, m->n, near, m->vertical);
    for (int64_t j = 0; j < m->n; j++)
        m->column[j] += isnan(m->vertical[j]) ? 0.0 : m->vertical[j];
    for (int64_t i = 0; i < m->n * m->n; i++) {
        float b = sti_dependency_smooth(m->one[i], m->vertical[i % m->n]);
        m->plain[i] += b;
        m->root[i] += sqrtf(b);
        m->largest[i] = b > m->largest[i] ? b : m->largest[i];
    }
}

static st_status add_heads(struct means *m, const st_trace *t, int64_t near, st_error *err)
{
    st_trace_layer l;
    int64_t n_head = 0, n_layer = 0, cells = m->n * m->n;
    for (; st_trace_get_layer(t, n_layer, &l, NULL) == ST_OK; n_layer++) {
        memset(m->largest, 0, (size_t)cells * sizeof *m->largest);
        for (int64_t h = 0; h < l.n_head; h++, n_head++) {
            STI_TRY(st_trace_group_matrix(t, n_layer, h, m->one, err));
            add_head(m, near);
        }
        for (int64_t i = 0; i < cells; i++)
            m->top[i] += m->largest[i];
    }
    for (int64_t i = 0; n_head > 0 && i < cells; i++) {
        m->plain[i] /= (float)n_head;
        m->root[i] /= (float)n_head;
        m->top[i] /= (float)n_layer;
    }
    for (int64_t j = 0; n_head > 0 && j < m->n; j++)
        m->column[j] /= (double)n_head;
    return ST_OK;
}

const double *st_dependency_weights(void)
{
    static const double weight[ST_DEPENDENCY_WEIGHTS] = {0.6082, -2.928, 1.252,
                                                         2.848,  2.062,  -6.357};
    return weight;
}

double sti_dependency_score(const double *w, int64_t distance, const sti_dependency_means *m)
{
    double mean = log(m->plain + 1e-6);
    double x = w[0] * log((double)distance) + w[1] * mean +
               w[2] * (mean - log(m->column + 1e-6)) + w[3] * log(m->root + 1e-3) +
               w[4] * log(m->top + 1e-6) + w[5];
    return 1.0 / (1.0 + exp(-x));
}

int64_t sti_dependency_insert(st_dependency *list, int64_t n, int64_t k, st_dependency edge)
{
    int64_t at = n;
    while (at > 0 && list[at - 1].score < edge.score)
        at--;
    if (at == k)
        return n;
    n += n < k;
    memmove(list + at + 1, list + at, (size_t)(n - 1 - at) * sizeof *list);
    list[at] = edge;
    return n;
}

static double score_of(const struct means *m, const double *w, int64_t i, int64_t j)
{
    const sti_dependency_means x = {(double)m->plain[i * m->n + j], m->column[j],
                                    (double)m->root[i * m->n + j], (double)m->top[i * m->n + j]};
    return sti_dependency_score(w, i - j, &x);
}

st_status st_dependencies_find(const st_trace *t, const double *weight, int64_t near, int64_t k,
                               st_dependency **edge, int64_t *n, st_error *err)
{
    struct means m = {.n = 0};
    st_trace_info info;
    st_status status;
    *edge = NULL;
    *n = 0;
    st_trace_get_info(t, &info);
    if (info.n_group == 0 || near < 1 || k < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "%lld groups, near %lld, %lld edges a group",
                        (long long)info.n_group, (long long)near, (long long)k);
    k = sti_min(k, info.n_group);
    *edge = sti_alloc((size_t)(info.n_group * k) * sizeof **edge);
    status = *edge != NULL ? means_alloc(&m, info.n_group, err)
                           : sti_fail_mem(err, (size_t)(info.n_group * k) * sizeof **edge);
    if (status == ST_OK)
        status = add_heads(&m, t, near, err);
    for (int64_t i = 0; status == ST_OK && i < m.n; i++) {
        int64_t found = 0;
        for (int64_t j = 0; j + near <= i; j++) {
            double score = score_of(&m, weight != NULL ? weight : st_dependency_weights(), i, j);
            found = sti_dependency_insert(*edge + *n, found, k, (st_dependency){i, j, score});
        }
        *n += found;
    }
    means_free(&m);
    if (status != ST_OK) {
        sti_free(*edge);
        *edge = NULL;
    }
    return status;
}

void st_dependencies_free(st_dependency *edge)
{
    sti_free(edge);
}
