/* SPDX-License-Identifier: MIT
 *
 * problem.h — random attention problems for tests: heavy-tailed keys, so that selection has
 * something to find.
 */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <math.h>
#include <stdlib.h>

#include "base/util.h"
#include "sparsetrace/attend.h"

typedef struct problem {
    st_attn a;
    float *q, *k, *v;
} problem;

static uint64_t problem_state = 42;

static inline double problem_uniform(void)
{
    problem_state = sti_mix(problem_state);
    return (double)(problem_state >> 11) * 0x1p-53;
}

static inline float problem_normal(void)
{
    return (float)(sqrt(-2.0 * log(problem_uniform() + 1e-300)) *
                   cos(6.283185307179586 * problem_uniform()));
}

static inline int problem_below(int n)
{
    return (int)(problem_uniform() * n);
}

static inline float *problem_fill(int64_t n, bool heavy)
{
    float *x = malloc((size_t)n * sizeof *x + 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = problem_normal() * (heavy && problem_below(40) == 0 ? 4.0f : 1.0f);
    return x;
}

/* The last n_q of n_k causal rows, F32. */
static inline problem problem_new(int n_head, int n_kv_head, int64_t n_q, int64_t n_k, int d_k,
                                  int d_v)
{
    problem p = {.q = problem_fill(n_head * n_q * d_k, false),
                 .k = problem_fill(n_kv_head * n_k * d_k, true),
                 .v = problem_fill(n_kv_head * n_k * d_v, false)};
    p.a = (st_attn){.n_q = n_q,
                    .n_k = n_k,
                    .n_head = n_head,
                    .n_kv_head = n_kv_head,
                    .d_k = d_k,
                    .d_v = d_v,
                    .first_query = n_k - n_q,
                    .q = st_rows_contiguous(p.q, ST_DTYPE_F32, n_q, d_k),
                    .k = st_rows_contiguous(p.k, ST_DTYPE_F32, n_k, d_k),
                    .v = st_rows_contiguous(p.v, ST_DTYPE_F32, n_k, d_v),
                    .scale = 1.0f / sqrtf((float)d_k)};
    return p;
}

static inline void problem_free(problem *p)
{
    free(p->q);
    free(p->k);
    free(p->v);
}

#endif
