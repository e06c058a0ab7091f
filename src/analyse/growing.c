/* SPDX-License-Identifier: MIT
 *
 * growing.c — receiver heads, scores and dependencies of a text that grows by a group at a time. Of
 * each head the sums of its columns are kept, not the matrix: memory and a group's time go with the
 * groups so far, not with their square.
 */
#include <math.h>
#include <stdlib.h>

#include "analyse/dependency.h"
#include "base/util.h"

struct st_growing {
    int n_layer, n_head;
    int64_t near, n, cap; /* groups */
    double *sum;          /* [n_layer * n_head + 1, cap] of A[i][j] over i >= j + near; the last row
                             of the mean over all heads */
    double *plain, *root, *top, *score; /* [cap] the newest group's means; scratch */
};

st_status st_growing_create(int n_layer, int n_head, int64_t near, st_growing **growing,
                            st_error *err)
{
    *growing = NULL;
    if (n_layer < 1 || n_head < 1 || n_layer > 65536 || n_head > 65536 || near < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "%d layers of %d heads, near %lld", n_layer, n_head,
                        (long long)near);
    *growing = sti_calloc(sizeof **growing);
    if (*growing == NULL)
        return sti_fail_mem(err, sizeof **growing);
    (*growing)->n_layer = n_layer;
    (*growing)->n_head = n_head;
    (*growing)->near = near;
    return ST_OK;
}

void st_growing_free(st_growing *g)
{
    if (g == NULL)
        return;
    sti_free(g->sum);
    sti_free(g->plain);
    sti_free(g->root);
    sti_free(g->top);
    sti_free(g->score);
    sti_free(g);
}

void st_growing_clear(st_growing *g)
{
    g->n = 0;
}

static int64_t n_heads(const st_growing *g)
{
    return (int64_t)g->n_layer * g->n_head;
}

/* Room for one more group, whose column is zero. */
static bool need(st_growing *g)
{
    if (g->n == g->cap) {
        int64_t cap = 2 * g->cap + 64;
        double *sum = sti_alloc((size_t)((n_heads(g) + 1) * cap) * sizeof *sum);
        double **one[] = {&g->plain, &g->root, &g->top, &g->score};
        if (sum == NULL)
            return false;
        for (int64_t h = 0; g->n > 0 && h <= n_heads(g); h++)
            memcpy(sum + h * cap, g->sum + h * g->cap, (size_t)g->n * sizeof *sum);
        sti_free(g->sum);
        g->sum = sum;
        for (int i = 0; i < 4; i++) {
            sti_free(*one[i]);
            *one[i] = sti_alloc((size_t)cap * sizeof **one[i]);
        }
        g->cap = cap;
        if (!g->plain || !g->root || !g->top || !g->score)
            return false;
    }
    for (int64_t h = 0; h <= n_heads(g); h++)
        g->sum[h * g->cap + g->n] = 0.0;
    g->n++;
    return true;
}

/* Vertical score of group j by a row of sums; NaN: nobody could look at it. */
static double vertical(const st_growing *g, int64_t head, int64_t j)
{
    int64_t count = g->n - j - g->near;
    return count > 0 ? g->sum[head * g->cap + j] / (double)count : NAN;
}

/* The newest group's means over the heads, for its dependencies. */
static void add_means(st_growing *g, const float *row)
{
    for (int64_t j = 0; j < g->n; j++) {
        double plain = 0.0, root = 0.0, top = 0.0;
        for (int64_t l = 0; l < g->n_layer; l++) {
            float largest = 0.0f;
            for (int64_t h = 0; h < g->n_head; h++) {
                int64_t head = l * g->n_head + h;
                float x = sti_dependency_smooth(row[head * g->n + j], vertical(g, head, j));
                plain += (double)x;
                root += (double)sqrtf(x);
                largest = x > largest ? x : largest;
            }
            top += (double)largest;
        }
        g->plain[j] = plain / (double)n_heads(g);
        g->root[j] = root / (double)n_heads(g);
        g->top[j] = top / (double)g->n_layer;
    }
}

st_status st_growing_add(st_growing *g, const float *row, st_error *err)
{
    int64_t n_head = n_heads(g);
    for (int64_t i = 0; i < n_head * (g->n + 1); i++)
        if (!(row[i] >= 0.0f) || isinf(row[i]))
            return sti_fail(err, ST_ERR_ARG, i, "row[%lld] is %g, must be a number and not below 0",
                            (long long)i, (double)row[i]);
    if (!need(g)) {
        size_t bytes = (size_t)((n_head + 1) * (2 * g->cap + 64)) * sizeof *g->sum;
        g->n = g->cap = 0;
        return sti_fail_mem(err, bytes);
    }
    for (int64_t j = 0; j + g->near < g->n; j++)
        for (int64_t h = 0; h < n_head; h++) {
            g->sum[h * g->cap + j] += (double)row[h * g->n + j];
            g->sum[n_head * g->cap + j] += (double)row[h * g->n + j] / (double)n_head;
        }
    add_means(g, row);
    return ST_OK;
}

int64_t st_growing_count(const st_growing *g)
{
    return g->n;
}

static int by_kurtosis(const void *x, const void *y)
{
    const st_receiver *a = x, *b = y;
    if (a->kurtosis != b->kurtosis)
        return a->kurtosis < b->kurtosis ? 1 : -1;
    return a->layer != b->layer ? a->layer - b->layer : a->head - b->head;
}

st_status st_growing_receivers(const st_growing *g, int64_t k, st_receiver *receiver, int64_t *n,
                               st_error *err)
{
    st_receiver *all = sti_alloc((size_t)n_heads(g) * sizeof *all);
    int64_t found = 0;
    *n = 0;
    if (all == NULL)
        return sti_fail_mem(err, (size_t)n_heads(g) * sizeof *all);
    for (int64_t h = 0; h < n_heads(g) && g->n > 0; h++) {
        for (int64_t j = 0; j < g->n; j++)
            g->score[j] = vertical(g, h, j);
        all[found] = (st_receiver){(int)(h / g->n_head), (int)(h % g->n_head),
                                   st_kurtosis(g->score, g->n)};
        found += !isnan(all[found].kurtosis);
    }
    qsort(all, (size_t)found, sizeof *all, by_kurtosis);
    *n = sti_min(found, sti_max(k, 0));
    memcpy(receiver, all, (size_t)*n * sizeof *all);
    sti_free(all);
    return ST_OK;
}

st_status st_growing_scores(const st_growing *g, const st_receiver *receiver, int64_t n,
                            double *score, st_error *err)
{
    for (int64_t k = 0; k < n; k++)
        if (receiver[k].layer < 0 || receiver[k].layer >= g->n_layer || receiver[k].head < 0 ||
            receiver[k].head >= g->n_head)
            return sti_fail(err, ST_ERR_ARG, k, "there is no head L%d.H%d", receiver[k].layer,
                            receiver[k].head);
    for (int64_t j = 0; j < g->n; j++) {
        double sum = 0.0;
        for (int64_t k = 0; k < n; k++)
            sum += vertical(g, (int64_t)receiver[k].layer * g->n_head + receiver[k].head, j);
        score[j] = n > 0 ? sum / (double)n : NAN;
    }
    return ST_OK;
}

int64_t st_growing_lean(const st_growing *g, const double *weight, int64_t k, st_dependency *edge)
{
    const double *w = weight != NULL ? weight : st_dependency_weights();
    int64_t i = g->n - 1, found = 0;
    for (int64_t j = 0; j + g->near <= i; j++) {
        const sti_dependency_means m = {g->plain[j], vertical(g, n_heads(g), j), g->root[j],
                                        g->top[j]};
        const st_dependency e = {i, j, sti_dependency_score(w, i - j, &m)};
        found = sti_dependency_insert(edge, found, k, e);
    }
    return found;
}
