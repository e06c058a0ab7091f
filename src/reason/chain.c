/* SPDX-License-Identifier: MIT
 *
 * chain.c — forward-backward and Viterbi over a linear chain.
 */
#include <math.h>

#include "reason/chain.h"

/* exp(score - the place's best score): at least one state is 1. */
static void weigh(const sti_chain *c, int64_t i, double *weight)
{
    const double *s = c->score + i * c->n_state;
    double best = s[0];
    for (int z = 1; z < c->n_state; z++)
        best = s[z] > best ? s[z] : best;
    for (int z = 0; z < c->n_state; z++)
        weight[z] = exp(s[z] - best);
}

static void scale(double *x, int n)
{
    double sum = 0.0;
    for (int z = 0; z < n; z++)
        sum += x[z];
    for (int z = 0; z < n; z++)
        x[z] /= sum;
}

/* forward [n, L]: P(state at i | scores up to i). */
static void sum_forward(const sti_chain *c, const double *step, const double *weight,
                        double *forward)
{
    int L = c->n_state;
    for (int64_t i = 0; i < c->n; i++) {
        double *f = forward + i * L;
        for (int z = 0; z < L; z++) {
            double sum = 0.0;
            for (int y = 0; y < L && i > 0; y++)
                sum += f[y - L] * step[y * L + z];
            f[z] = (i > 0 ? sum : exp((double)c->start[z])) * weight[i * L + z];
        }
        scale(f, L);
    }
}

/* Turns prob, which holds the forward sums, into posteriors from the end on. `after` is what the
 * scores behind a place say of its state, up to a factor. */
static void sum_backward(const sti_chain *c, const double *step, const double *weight,
                         double *after, double *prob, double *stay)
{
    int L = c->n_state;
    double *next = after + L;
    for (int z = 0; z < L; z++)
        after[z] = 1.0;
    for (int64_t i = c->n - 1; i >= 0; i--) {
        double *p = prob + i * L, same = 0.0, all = 0.0;
        for (int z = 0; z < L; z++)
            next[z] = weight[i * L + z] * after[z];
        for (int y = 0; y < L && i > 0; y++)
            for (int z = 0; z < L; z++) {
                double pair = p[y - L] * step[y * L + z] * next[z];
                all += pair;
                same += y == z ? pair : 0.0;
            }
        if (stay != NULL)
            stay[i] = i > 0 ? same / all : 0.0;
        for (int z = 0; z < L; z++)
            p[z] *= after[z];
        scale(p, L);
        for (int y = 0; y < L; y++) {
            after[y] = 0.0;
            for (int z = 0; z < L; z++)
                after[y] += step[y * L + z] * next[z];
        }
        scale(after, L);
    }
}

st_status sti_chain_posterior(const sti_chain *c, double *prob, double *stay, st_error *err)
{
    size_t L = (size_t)c->n_state, n = (size_t)c->n,
           want = (n * L + L * L + 2 * L) * sizeof(double);
    double *weight = sti_alloc(want), *step, *after;
    if (weight == NULL)
        return sti_fail_mem(err, want);
    step = weight + n * L;
    after = step + L * L;
    for (size_t i = 0; i < L * L; i++)
        step[i] = exp((double)c->step[i]);
    for (int64_t i = 0; i < c->n; i++)
        weigh(c, i, weight + i * c->n_state);
    sum_forward(c, step, weight, prob);
    sum_backward(c, step, weight, after, prob, stay);
    sti_free(weight);
    return ST_OK;
}

st_status sti_chain_best(const sti_chain *c, int32_t *path, st_error *err)
{
    int L = c->n_state;
    size_t n = (size_t)c->n, bytes = n * (size_t)L * sizeof(int32_t);
    int32_t *from = sti_alloc(bytes);
    double *best = sti_alloc(2 * (size_t)L * sizeof *best), *now = best;
    if (from == NULL || best == NULL) {
        sti_free(from);
        sti_free(best);
        return sti_fail_mem(err, bytes);
    }
    for (int64_t i = 0; i < c->n; i++) {
        double *before = now;
        now = i % 2 == 0 ? best : best + L;
        for (int z = 0; z < L; z++) {
            int32_t y = 0;
            for (int32_t x = 1; x < L && i > 0; x++)
                if (before[x] + (double)c->step[x * L + z] > before[y] + (double)c->step[y * L + z])
                    y = x;
            from[i * L + z] = y;
            now[z] = c->score[i * L + z] +
                     (i > 0 ? before[y] + (double)c->step[y * L + z] : (double)c->start[z]);
        }
    }
    for (int64_t i = c->n - 1; i >= 0; i--) {
        if (i == c->n - 1) {
            path[i] = 0;
            for (int32_t z = 1; z < L; z++)
                if (now[z] > now[path[i]])
                    path[i] = z;
        } else {
            path[i] = from[(i + 1) * L + path[i + 1]];
        }
    }
    sti_free(from);
    sti_free(best);
    return ST_OK;
}
