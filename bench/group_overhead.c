/* SPDX-License-Identifier: MIT
 *
 * group_overhead.c — what sums from group to group add to the time of attention: random operands of
 * SmolLM2's shape (9 heads, 3 KV heads, d 64, F16), the last micro-batch of 2,048 rows, with the
 * masses that a trace records. Runs with and without groups take turns; median and quartiles of the
 * ratios of neighbours.
 *
 *   bench_group_overhead [TOKENS [GROUPS [THREADS [REPEATS]]]]     (5000 250 1 21)
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"
#include "sparsetrace/attend.h"

enum { HEADS = 9, KV_HEADS = 3, D = 64, ROWS = 2048 };

static uint64_t state = 1;

static float uniform(void)
{
    state = sti_mix(state);
    return (float)(state >> 40) * 0x1p-24f - 0.5f;
}

static uint16_t *random_f16(int64_t n)
{
    uint16_t *x = sti_alloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = sti_f32_f16(uniform());
    return x;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* so that other work here disturbs less */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Keeps of each row of blocks the first, the last three, and each other one with chance `share`. */
static void prune(st_selection *sel, double share)
{
    int64_t n = 0, begin = 0;
    for (int64_t row = 0; row < sel->n_head * sel->nbq; row++) {
        int64_t end = sel->indptr[row + 1];
        for (int64_t i = begin; i < end; i++)
            if (i == begin || i + 3 >= end || (double)uniform() + 0.5 < share)
                sel->indices[n++] = sel->indices[i];
        begin = end;
        sel->indptr[row + 1] = n;
    }
}

static void check(st_status status, const st_error *err)
{
    if (status != ST_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static double attend(const st_attn *a, const st_selection *sel, st_pool *pool,
                     const st_attend_out *out)
{
    st_error err;
    double since = now();
    check(st_attend(a, sel, pool, out, &err), &err);
    return now() - since;
}

static void measure(const st_attn *a, int bq, int bk, double share, st_group_sums *sums,
                    st_pool *pool, int repeats, st_attend_out out)
{
    double *ratio = sti_alloc((size_t)repeats * sizeof *ratio),
           *time = sti_alloc((size_t)repeats * 8);
    st_selection *sel;
    st_error err;
    int64_t kept, visible;
    check(st_select_all(a, bq, bk, &sel, &err), &err);
    prune(sel, share);
    st_selection_pairs(sel, a, &kept, &visible);
    out.mass = sti_alloc((size_t)sel->indptr[sel->n_head * sel->nbq] * sizeof *out.mass);
    for (int i = -1; i < repeats; i++) { /* the first ones warm up */
        double plain = attend(a, sel, pool, &out), grouped;
        out.groups = sums;
        grouped = attend(a, sel, pool, &out);
        out.groups = NULL;
        if (i >= 0) {
            time[i] = plain;
            ratio[i] = grouped / plain;
        }
    }
    qsort(ratio, (size_t)repeats, sizeof *ratio, by_size);
    qsort(time, (size_t)repeats, sizeof *time, by_size);
    printf(
        "%3d x %2d  %5.1f %% pruned  %8.2f CPU ms without  + %4.1f %%  (quartiles %.1f .. %.1f)\n",
        bq, bk, 100.0 * (1.0 - (double)kept / (double)visible), 1e3 * time[repeats / 2],
        100.0 * (ratio[repeats / 2] - 1.0), 100.0 * (ratio[repeats / 4] - 1.0),
        100.0 * (ratio[repeats * 3 / 4] - 1.0));
    st_selection_free(sel);
    sti_free(out.mass);
    sti_free(ratio);
    sti_free(time);
}

int main(int argc, char **argv)
{
    int64_t n_tok = argc > 1 ? atoll(argv[1]) : 5000, n_group = argc > 2 ? atoll(argv[2]) : 250;
    int threads = argc > 3 ? atoi(argv[3]) : 1, repeats = argc > 4 ? atoi(argv[4]) : 21;
    int64_t n_q = sti_min(n_tok, ROWS);
    st_attn a = {.n_q = n_q,
                 .n_k = n_tok,
                 .n_head = HEADS,
                 .n_kv_head = KV_HEADS,
                 .d_k = D,
                 .d_v = D,
                 .first_query = n_tok - n_q,
                 .scale = 2.0f};
    uint16_t *q = random_f16(HEADS * n_q * D), *k = random_f16(KV_HEADS * n_tok * D);
    uint16_t *v = random_f16(KV_HEADS * n_tok * D);
    float *out = sti_alloc((size_t)(HEADS * n_q * D) * sizeof *out);
    st_group *group = sti_alloc((size_t)n_group * sizeof *group);
    st_group_sums sums = {.group = group, .n_group = n_group};
    st_pool *pool;
    st_error err;
    if (n_group < 1 || n_group > n_tok || repeats < 1)
        return 2;
    check(st_pool_create(threads, &pool, &err), &err);
    a.q = st_rows_contiguous(q, ST_DTYPE_F16, n_q, D);
    a.k = st_rows_contiguous(k, ST_DTYPE_F16, n_tok, D);
    a.v = st_rows_contiguous(v, ST_DTYPE_F16, n_tok, D);
    for (int64_t g = 0; g < n_group; g++)
        group[g] = (st_group){g * n_tok / n_group, (g + 1) * n_tok / n_group};
    sums.n = st_groups_touched(group, n_group, a.first_query, n_tok, &sums.first);
    sums.sum = sti_alloc((size_t)(HEADS * sums.n * n_group) * sizeof *sums.sum);
    printf("%lld tokens, %lld groups, %s kernels, %d thread(s), %d pairs of runs\n",
           (long long)n_tok, (long long)n_group, st_cpu_name(), threads, repeats);
    st_attend_out o = {.out = out, .stride_tok = HEADS * D, .stride_head = D};
    measure(&a, 32, 16, 2.0, &sums, pool, repeats, o);
    measure(&a, 32, 16, 0.05, &sums, pool, repeats, o);
    measure(&a, 32, 16, 0.02, &sums, pool, repeats, o);
    measure(&a, 8, 4, 0.02, &sums, pool, repeats, o);
    sti_free(q);
    sti_free(k);
    sti_free(v);
    sti_free(out);
    sti_free(group);
    sti_free(sums.sum);
    st_pool_free(pool);
    return 0;
}
