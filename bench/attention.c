/* SPDX-License-Identifier: MIT
 *
 * attention.c — attention alone on random operands, one thread by default: every cache type, dense
 * shapes and a pruned one, beside the machine's limit (st_attend_peak). Operations: 2 (d_k + d_v) a
 * pair of a row and a key that it sees and that is kept.
 *
 *   bench_attention [THREADS [REPEATS]]
 *   bench_attention ladder
 *
 * ladder: one rung a line, d 64, F16, one thread; run it at each ST_CPU.
 *
 * full: 512 rows that see all of 8,192 keys. causal: 4,096 rows of 4,096. pruned: the last 2,048
 * rows of 32,768, 61 blocks of 16 keys kept, 97 % pruned; half of the blocks are anywhere, half the
 * same for neighbours, which is about what a model's selections share.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"
#include "sparsetrace/attend.h"

struct shape {
    const char *name;
    int64_t n_q, n_k;
    bool see_all, pruned;
};

struct type {
    const char *name;
    st_dtype dtype;
};

static uint64_t state = 1;
static bool precise; /* F32 products */

static float uniform(void)
{
    state = sti_mix(state);
    return (float)(state >> 40) * 0x1p-24f - 0.5f;
}

/* n rows of d elements of a type, random; *rows says where. Free it. */
static void *operand(st_rows *rows, st_dtype dtype, int64_t n_head, int64_t n, int64_t d)
{
    size_t row_bytes = sti_dtype_bytes(dtype, d);
    char *data = sti_alloc((size_t)(n_head * n) * row_bytes);
    for (int64_t i = 0; i < n_head * n; i++) {
        char *row = data + (size_t)i * row_bytes;
        for (int64_t c = 0; c < d; c++) {
            float x = uniform();
            uint16_t half =
                dtype == ST_DTYPE_BF16 ? (uint16_t)(sti_f32_bits(x) >> 16) : sti_f32_f16(x);
            if (dtype == ST_DTYPE_F32)
                memcpy(row + c * 4, &x, 4);
            else if (dtype != ST_DTYPE_Q8_0)
                memcpy(row + c * 2, &half, 2);
            else
                row[c / 32 * 34 + 2 + c % 32] = (char)(int8_t)(x * 254.0f);
        }
        for (int64_t b = 0; dtype == ST_DTYPE_Q8_0 && b < d / 32; b++) {
            uint16_t scale = sti_f32_f16(1.0f / 254.0f);
            memcpy(row + b * 34, &scale, 2);
        }
    }
    *rows = st_rows_contiguous(data, dtype, n, d);
    return data;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* 61 blocks of each query block: the first, the last four, the rest drawn. */
static st_selection *draw(const st_attn *a)
{
    enum { KEEP = 61, BQ = 32, BK = 16 };
    st_selection *sel;
    if (st_select_all(a, BQ, BK, &sel, NULL) != ST_OK)
        exit(1);
    int64_t n = 0, begin = 0;
    char *kept = calloc((size_t)sel->nbk, 1);
    for (int64_t t = 0; t < sel->n_head * sel->nbq; t++) {
        int64_t end = sel->indptr[t + 1], visible = end - begin, count = 5;
        memset(kept, 0, (size_t)sel->nbk);
        kept[0] = 1;
        for (int i = 1; i <= 4; i++)
            kept[visible - i] = 1;
        for (uint64_t i = 0; count < KEEP; i++) {
            uint64_t who = i % 2 == 0 ? (uint64_t)t : (uint64_t)(t % sel->nbq / 8) << 32;
            int64_t b = (int64_t)(sti_mix(who + (i << 40)) % (uint64_t)visible);
            count += !kept[b];
            kept[b] = 1;
        }
        for (int64_t b = 0; b < visible; b++)
            if (kept[b])
                sel->indices[n++] = (int32_t)b;
        begin = end;
        sel->indptr[t + 1] = n;
    }
    free(kept);
    return sel;
}

/* GFLOP/s, median. */
static double measure(const struct shape *s, st_dtype dtype, int d, st_pool *pool, int repeats)
{
    st_attn a = {.n_q = s->n_q,
                 .n_k = s->n_k,
                 .n_head = 9,
                 .n_kv_head = 3,
                 .d_k = d,
                 .d_v = d,
                 .first_query = s->n_k - s->n_q,
                 .precise = precise,
                 .scale = 1.0f / sqrtf((float)d)};
    void *q = operand(&a.q, ST_DTYPE_F32, 9, s->n_q, d), *k = operand(&a.k, dtype, 3, s->n_k, d);
    void *v = operand(&a.v, dtype, 3, s->n_k, d);
    float *out = sti_alloc((size_t)(9 * s->n_q * d) * sizeof *out);
    int32_t *lo = sti_calloc((size_t)s->n_q * sizeof *lo),
            *hi = sti_alloc((size_t)s->n_q * sizeof *hi);
    st_attend_out o = {.out = out, .stride_tok = 9 * d, .stride_head = d};
    st_selection *sel = s->pruned ? draw(&a) : NULL;
    int64_t pairs = 0, visible;
    double *rate = sti_alloc((size_t)repeats * sizeof *rate), median;
    for (int64_t i = 0; i < s->n_q; i++) {
        hi[i] = (int32_t)(s->see_all ? s->n_k : a.first_query + i + 1);
        pairs += 9 * (int64_t)hi[i];
    }
    a.lo = lo;
    a.hi = hi;
    if (sel != NULL) {
        st_selection_pairs(sel, &a, &pairs, &visible);
        o.mass = sti_alloc((size_t)sel->indptr[sel->n_head * sel->nbq] * sizeof *o.mass);
    }
    for (int i = -1; i < repeats; i++) { /* the first one warms up */
        double since = now();
        st_error err;
        st_status status =
            sel != NULL ? st_attend(&a, sel, pool, &o, &err) : st_attend_exact(&a, pool, &o, &err);
        if (status != ST_OK) {
            fprintf(stderr, "%s\n", err.message);
            exit(1);
        }
        if (i >= 0)
            rate[i] = 4.0 * d * (double)pairs / (now() - since) * 1e-9;
    }
    qsort(rate, (size_t)repeats, sizeof *rate, by_size);
    median = rate[repeats / 2];
    sti_free(q);
    sti_free(k);
    sti_free(v);
    sti_free(out);
    sti_free(lo);
    sti_free(hi);
    sti_free(o.mass);
    sti_free(rate);
    st_selection_free(sel);
    return median;
}

/* The kernels of this level, products in F32 and in 16-bit fixed point. */
static int ladder(void)
{
    static const struct shape shape = {"full", 512, 8192, true, false};
    for (int fixed = 0; fixed < 2; fixed++) {
        precise = !fixed;
        printf("%6s %s: %.0f GFLOP/s\n", st_cpu_name(), fixed ? "16-bit fixed point" : "F32",
               measure(&shape, ST_DTYPE_F16, 64, NULL, 3));
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct shape shape[] = {{"full", 512, 8192, true, false},
                                         {"causal", 4096, 4096, false, false},
                                         {"pruned", 2048, 32768, false, true}};
    static const struct type type[] = {{"f16", ST_DTYPE_F16},
                                       {"bf16", ST_DTYPE_BF16},
                                       {"q8_0", ST_DTYPE_Q8_0},
                                       {"f32", ST_DTYPE_F32}};
    static const int width[] = {64, 128, 256};
    int threads = argc > 1 ? atoi(argv[1]) : 1, repeats = argc > 2 ? atoi(argv[2]) : 5;
    double peak = st_attend_peak() * threads * 1e-9;
    st_pool *pool;
    st_error err;
    if (argc > 1 && strcmp(argv[1], "ladder") == 0)
        return ladder();
    if (repeats < 1 || st_pool_create(threads, &pool, &err) != ST_OK)
        return 2;
    printf(
        "%s kernels, %d thread(s), at most %.0f GFLOP/s; GFLOP/s, in brackets the share of that\n",
        st_cpu_name(), threads, peak);
    printf("%6s %8s", "d", "shape");
    for (size_t t = 0; t < sizeof type / sizeof *type; t++)
        printf(" %14s", type[t].name);
    printf("\n");
    for (size_t w = 0; w < sizeof width / sizeof *width; w++)
        for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
            printf("%6d %8s", width[w], shape[s].name);
            for (size_t t = 0; t < sizeof type / sizeof *type; t++) {
                double rate = measure(&shape[s], type[t].dtype, width[w], pool, repeats);
                printf("   %5.0f (%2.0f %%)", rate, 100 * rate / peak);
                fflush(stdout);
            }
            printf("\n");
        }
    st_pool_free(pool);
    return 0;
}
