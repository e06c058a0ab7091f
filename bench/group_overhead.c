/* SPDX-License-Identifier: MIT
 *
 * group_overhead.c — what sums from group to group add to the time of attention, and of choosing
 * and attention: random operands of SmolLM2's shape (9 heads, 3 KV heads, d 64, F16), the last
 * micro-batch of 2,048 rows, with the masses that a trace records. Runs with and without groups
 * take turns; median and quartiles of the ratios of neighbours.
 *
 *   bench_group_overhead [TOKENS [GROUPS [THREADS [REPEATS]]]]     (5000 250 1 21)
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"
#include "sparsetrace/attend.h"
#include "sparsetrace/select.h"

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

static void check(st_status status, const st_error *err)
{
    if (status != ST_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

/* One layer's seconds: choosing, attending. */
struct lap {
    double select, attend;
};

static struct lap layer(const st_attn *a, const st_select_params *p, st_keys *keys,
                        const st_group_sums *groups, const st_group_sums *left, st_pool *pool,
                        const st_attend_out *where, double *pruned)
{
    st_attend_out out = *where;
    st_selection *sel;
    st_error err;
    struct lap lap;
    int64_t kept, visible;
    double since = now();
    check(st_select_weighed(a, p, keys, pool, left, &sel, &err), &err);
    lap.select = now() - since;
    out.mass = sti_alloc((size_t)sel->indptr[sel->n_head * sel->nbq] * sizeof *out.mass);
    out.groups = groups;
    since = now();
    check(st_attend(a, sel, pool, &out, &err), &err);
    for (int64_t i = 0; groups != NULL && i < a->n_head * groups->n * groups->n_group; i++)
        groups->sum[i] += left->sum[i];
    lap.attend = now() - since;
    st_selection_pairs(sel, a, &kept, &visible);
    *pruned = 1.0 - (double)kept / (double)visible;
    st_selection_free(sel);
    sti_free(out.mass);
    return lap;
}

static void line(const char *what, double *without, double *ratio, int n)
{
    qsort(without, (size_t)n, sizeof *without, by_size);
    qsort(ratio, (size_t)n, sizeof *ratio, by_size);
    printf("  %-10s %8.2f CPU ms without  + %4.1f %%  (quartiles %.1f .. %.1f)\n", what,
           1e3 * without[n / 2], 100.0 * (ratio[n / 2] - 1.0), 100.0 * (ratio[n / 4] - 1.0),
           100.0 * (ratio[n * 3 / 4] - 1.0));
}

static void measure(const st_attn *a, int bq, int bk, double share, const st_group_sums *groups,
                    const st_group_sums *left, st_pool *pool, int repeats, const st_attend_out *out)
{
    double *time[4], pruned;
    st_select_params p = st_select_params_default();
    st_keys *keys;
    st_error err;
    p.bq = bq;
    p.bk = bk;
    p.pooled = true;
    check(st_select_k_for_pruned(&p, a->first_query, a->n_q, 0, share, &p.k, &err), &err);
    check(st_keys_create(a->n_kv_head, a->d_k, bk, &keys, &err), &err);
    check(st_keys_append(keys, a, pool, &err), &err);
    for (int i = 0; i < 4; i++)
        time[i] = sti_alloc((size_t)repeats * sizeof **time);
    for (int i = -1; i < repeats; i++) { /* the first ones warm up */
        struct lap plain = layer(a, &p, keys, NULL, NULL, pool, out, &pruned);
        struct lap grouped = layer(a, &p, keys, groups, left, pool, out, &pruned);
        if (i < 0)
            continue;
        time[0][i] = plain.attend;
        time[1][i] = grouped.attend / plain.attend;
        time[2][i] = plain.select + plain.attend;
        time[3][i] = (grouped.select + grouped.attend) / (plain.select + plain.attend);
    }
    printf("%d x %d, %.1f %% pruned\n", bq, bk, 100.0 * pruned);
    line("attend", time[0], time[1], repeats);
    line("and select", time[2], time[3], repeats);
    for (int i = 0; i < 4; i++)
        sti_free(time[i]);
    st_keys_free(keys);
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
    st_group_sums sums = {.group = group, .n_group = n_group}, left;
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
    left = sums;
    left.sum = sti_alloc((size_t)(HEADS * sums.n * n_group) * sizeof *sums.sum);
    printf("%lld tokens, %lld groups, %s kernels, %d thread(s), %d pairs of runs\n",
           (long long)n_tok, (long long)n_group, st_cpu_name(), threads, repeats);
    st_attend_out o = {.out = out, .stride_tok = HEADS * D, .stride_head = D};
    measure(&a, 32, 16, 0.90, &sums, &left, pool, repeats, &o);
    measure(&a, 4, 1, 0.97, &sums, &left, pool, repeats, &o);
    measure(&a, 1, 1, 0.98, &sums, &left, pool, repeats, &o);
    measure(&a, 1, 1, 0.99, &sums, &left, pool, repeats, &o);
    sti_free(q);
    sti_free(k);
    sti_free(v);
    sti_free(out);
    sti_free(group);
    sti_free(sums.sum);
    sti_free(left.sum);
    st_pool_free(pool);
    return 0;
}
