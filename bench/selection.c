/* SPDX-License-Identifier: MIT
 *
 * selection.c — how the time of choosing grows with the sequence: real queries over real keys, the
 * keys repeated with a few per cent of noise up to a million.
 *
 *   bench_selection FILE.safetensors [MAX_TOK [THREADS]]
 *
 * FILE holds q [n_head, n_q, d], already scaled, k and v [n_kv_head, n_k, d], F16 or F32. Its
 * n_q rows become the last of T tokens, T from n_k on doubling. Microseconds a head and query block
 * of 32: `stream` and attention over its choice with k = 8 blocks of 16 keys; with the k that
 * prunes 97 % of these rows' causal pairs, alike and with pooled budgets; `scan` with that k; exact
 * attention; and what taking in a key costs, in nanoseconds a KV head. Median of five.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "sparsetrace/attend.h"
#include "sparsetrace/select.h"
#include "sparsetrace/tensors.h"

enum { REPEATS = 5 };

struct problem {
    st_attn a;
    float *q, *k, *v; /* k, v: [n_kv_head, n_file, d] as in the file */
    int64_t n_file;
    uint16_t *big_k, *big_v; /* [n_kv_head, n_k, d] F16 */
    float *out;
    st_keys *keys;
    st_pool *pool;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_selection: %s\n", what);
    exit(2);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* A tensor of three indices as F32; shape out. */
static float *load(const st_tensors *file, const char *name, int64_t shape[3])
{
    const st_tensor *t = st_tensors_find(file, name);
    float *x;
    if (t == NULL || t->n_dim != 3 || (t->type != ST_TENSOR_F16 && t->type != ST_TENSOR_F32))
        die("q, k and v must be F16 or F32 and have three indices");
    int64_t n = t->shape[0] * t->shape[1] * t->shape[2];
    x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; x != NULL && i < n; i++)
        x[i] = t->type == ST_TENSOR_F32 ? ((const float *)t->data)[i]
                                        : sti_f16_f32(((const uint16_t *)t->data)[i]);
    memcpy(shape, t->shape, 3 * sizeof *shape);
    return x;
}

/* rows [n_head, n_file, d] repeated to n, each number off by up to 3 %. */
static uint16_t *repeat(const float *row, int64_t n_head, int64_t n_file, int64_t n, int64_t d)
{
    uint16_t *x = malloc((size_t)(n_head * n * d) * sizeof *x);
    uint64_t state = 1;
    if (x == NULL)
        die("out of memory");
    for (int64_t h = 0; h < n_head; h++)
        for (int64_t t = 0; t < n; t++)
            for (int64_t c = 0; c < d; c++) {
                float noise = (float)((state = sti_mix(state)) >> 40) * 0x1p-24f - 0.5f;
                float value = row[(h * n_file + t % n_file) * d + c];
                x[(h * n + t) * d + c] = sti_f32_f16(value * (1.0f + 0.06f * noise));
            }
    return x;
}

static void check(st_status status, const st_error *err)
{
    if (status != ST_OK)
        die(err->message);
}

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *x)
{
    qsort(x, REPEATS, sizeof *x, by_size);
    return x[REPEATS / 2];
}

/* Makes the problem T tokens long; nanoseconds a key and KV head of the summary. */
static double grow(struct problem *p, int64_t n_tok)
{
    st_error err;
    int64_t d = p->a.d_k, n_kv = p->a.n_kv_head;
    double since;
    free(p->big_k);
    free(p->big_v);
    st_keys_free(p->keys);
    p->big_k = repeat(p->k, n_kv, p->n_file, n_tok, d);
    p->big_v = repeat(p->v, n_kv, p->n_file, n_tok, p->a.d_v);
    p->a.n_k = n_tok;
    p->a.first_query = n_tok - p->a.n_q;
    p->a.k = st_rows_contiguous(p->big_k, ST_DTYPE_F16, n_tok, d);
    p->a.v = st_rows_contiguous(p->big_v, ST_DTYPE_F16, n_tok, p->a.d_v);
    check(st_keys_create((int)n_kv, (int)d, 16, &p->keys, &err), &err);
    since = now_us();
    check(st_keys_append(p->keys, &p->a, p->pool, &err), &err);
    return (now_us() - since) * 1e3 / (double)(n_tok * n_kv);
}

/* Microseconds of the whole of choosing, and (attend not NULL) of attending to the choice. */
static double choose(struct problem *p, st_select_params sp, double *attend)
{
    st_attend_out o = {
        .out = p->out, .stride_tok = p->a.n_head * p->a.d_v, .stride_head = p->a.d_v};
    double choosing[REPEATS], attending[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        st_selection *sel;
        st_error err;
        double t0 = now_us(), t1;
        check(st_select(&p->a, &sp, p->keys, p->pool, &sel, &err), &err);
        t1 = now_us();
        choosing[i] = t1 - t0;
        if (attend != NULL)
            check(st_attend(&p->a, sel, p->pool, &o, &err), &err);
        attending[i] = now_us() - t1;
        st_selection_free(sel);
    }
    if (attend != NULL)
        *attend = median(attending);
    return median(choosing);
}

static double exact(struct problem *p)
{
    st_attend_out o = {
        .out = p->out, .stride_tok = p->a.n_head * p->a.d_v, .stride_head = p->a.d_v};
    double time[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        st_error err;
        double since = now_us();
        check(st_attend_exact(&p->a, p->pool, &o, &err), &err);
        time[i] = now_us() - since;
    }
    return median(time);
}

static void row(struct problem *p, int64_t n_tok)
{
    double per = 1.0 / (double)(p->a.n_head * ((p->a.n_q + 31) / 32)), attend8, attend97, ignored;
    double key = grow(p, n_tok), stream8, stream97, pooled97, scan, dense;
    st_select_params sp = st_select_params_default();
    st_error err;
    sp.k = 8;
    stream8 = choose(p, sp, &attend8) * per;
    check(st_select_k_for_pruned(&sp, p->a.first_query, p->a.n_q, 0, 0.97, &sp.k, &err), &err);
    stream97 = choose(p, sp, &attend97) * per;
    sp.pooled = true;
    pooled97 = choose(p, sp, &ignored) * per;
    sp.pooled = false;
    sp.method = ST_SELECT_SCAN;
    scan = choose(p, sp, NULL) * per;
    dense = exact(p) * per;
    printf("%9lld %7.0f %8.1f %8.1f %8.3f %8.1f %8.1f %8.1f %6.2f %6.2f %9.1f %9.1f\n",
           (long long)n_tok, key, stream8, attend8 * per, sp.k, stream97, pooled97,
           attend97 * per, stream97 / (attend97 * per), pooled97 / (attend97 * per), scan, dense);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct problem p = {.n_file = 0};
    int64_t q[3], k[3], v[3], max = argc > 2 ? atoll(argv[2]) : 1 << 20;
    st_tensors *file;
    st_error err;
    if (argc < 2)
        die("which file?");
    check(st_tensors_open(argv[1], &file, &err), &err);
    check(st_pool_create(argc > 3 ? atoi(argv[3]) : 1, &p.pool, &err), &err);
    p.q = load(file, "q", q);
    p.k = load(file, "k", k);
    p.v = load(file, "v", v);
    if (p.q == NULL || p.k == NULL || p.v == NULL || k[0] != v[0] || k[1] != v[1] || q[2] != k[2])
        die("q, k and v do not fit each other");
    p.n_file = k[1];
    p.a = (st_attn){.n_q = q[1],
                    .n_head = (int)q[0],
                    .n_kv_head = (int)k[0],
                    .d_k = (int)k[2],
                    .d_v = (int)v[2],
                    .scale = 1.0f};
    p.a.q = st_rows_contiguous(p.q, ST_DTYPE_F32, q[1], q[2]);
    p.out = malloc((size_t)(q[0] * q[1] * v[2]) * sizeof *p.out);
    printf("%s kernels, %d thread(s); us a head and query block of 32 rows\n", st_cpu_name(),
           st_pool_size(p.pool));
    printf("%9s %7s %8s %8s %6s %8s %8s %8s %6s %6s %9s %9s\n", "tokens", "ns/key", "stream",
           "attend", "k 97 %", "stream", "pooled", "attend", "s/a", "p/a", "scan", "exact");
    for (int64_t n = p.n_file; n <= max; n *= 2)
        row(&p, n);
    return 0;
}
