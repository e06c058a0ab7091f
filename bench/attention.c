/* SPDX-License-Identifier: MIT
 *
 * attention.c — attention alone on random operands, one thread by default: every cache type, dense
 * shapes and a pruned one, beside the machine's limit (st_attend_peak). Operations: 2 (d_k + d_v) a
 * pair of a row and a key that it sees and that is kept.
 *
 *   bench_attention [THREADS [REPEATS]]
 *   bench_attention ladder
 *   bench_attention beside LIBGGML.so [THREADS [REPEATS]]
 *
 * ladder: one rung a line, d 64, F16, one thread; run it at each ST_CPU.
 * beside: ours and another library's flash attention (any build of ggml, say ik_llama.cpp's) in
 * turn over the same operands, and the ratio of each pair of runs, median; dense shapes also say
 * how far the outputs are apart. The pruned shape stands beside the other's rate over the full one.
 *
 * full: 512 rows that see all of 8,192 keys. causal: 4,096 rows of 4,096. pruned: the last 2,048
 * rows of 32,768, 61 blocks of 16 keys kept, 97 % pruned; half of the blocks are anywhere, half the
 * same for neighbours, which is about what a model's selections share.
 */
#include <dlfcn.h>
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

enum { N_HEAD = 9, N_KV_HEAD = 3 };

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

/* One cell of a table: operands, where the output goes, pairs that count. */
struct cell {
    const struct shape *shape;
    int d;
    st_dtype dtype;
    st_attn a;
    void *q, *k, *v;
    int32_t *lo, *hi;
    float *out; /* [n_q, N_HEAD, d] */
    st_attend_out o;
    st_selection *sel;
    double gflop;
};

static struct cell *cell_new(const struct shape *s, st_dtype dtype, int d)
{
    struct cell *c = sti_calloc(sizeof *c);
    int64_t pairs = 0, visible;
    *c = (struct cell){.shape = s, .d = d, .dtype = dtype};
    c->a = (st_attn){.n_q = s->n_q,
                     .n_k = s->n_k,
                     .n_head = N_HEAD,
                     .n_kv_head = N_KV_HEAD,
                     .d_k = d,
                     .d_v = d,
                     .first_query = s->n_k - s->n_q,
                     .precise = precise,
                     .scale = 1.0f / sqrtf((float)d)};
    c->q = operand(&c->a.q, ST_DTYPE_F32, N_HEAD, s->n_q, d);
    c->k = operand(&c->a.k, dtype, N_KV_HEAD, s->n_k, d);
    c->v = operand(&c->a.v, dtype, N_KV_HEAD, s->n_k, d);
    c->out = sti_alloc((size_t)(N_HEAD * s->n_q * d) * sizeof *c->out);
    c->lo = sti_calloc((size_t)s->n_q * sizeof *c->lo);
    c->hi = sti_alloc((size_t)s->n_q * sizeof *c->hi);
    c->o = (st_attend_out){.out = c->out, .stride_tok = N_HEAD * d, .stride_head = d};
    c->sel = s->pruned ? draw(&c->a) : NULL;
    for (int64_t i = 0; i < s->n_q; i++) {
        c->hi[i] = (int32_t)(s->see_all ? s->n_k : c->a.first_query + i + 1);
        pairs += N_HEAD * (int64_t)c->hi[i];
    }
    c->a.lo = c->lo;
    c->a.hi = c->hi;
    if (c->sel != NULL) {
        st_selection_pairs(c->sel, &c->a, &pairs, &visible);
        c->o.mass = sti_alloc((size_t)c->sel->indptr[N_HEAD * c->sel->nbq] * sizeof *c->o.mass);
    }
    c->gflop = 4e-9 * d * (double)pairs;
    return c;
}

static void cell_free(struct cell *c)
{
    sti_free(c->q);
    sti_free(c->k);
    sti_free(c->v);
    sti_free(c->out);
    sti_free(c->lo);
    sti_free(c->hi);
    sti_free(c->o.mass);
    st_selection_free(c->sel);
    sti_free(c);
}

/* GFLOP/s of one run. */
static double run(struct cell *c, st_pool *pool)
{
    double since = now();
    st_error err;
    st_status status = c->sel != NULL ? st_attend(&c->a, c->sel, pool, &c->o, &err)
                                      : st_attend_exact(&c->a, pool, &c->o, &err);
    if (status != ST_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    return c->gflop / (now() - since);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

/* GFLOP/s, median. */
static double measure(const struct shape *s, st_dtype dtype, int d, st_pool *pool, int repeats)
{
    struct cell *c = cell_new(s, dtype, d);
    double *rate = sti_alloc((size_t)repeats * sizeof *rate), middle;
    run(c, pool); /* warms up */
    for (int i = 0; i < repeats; i++)
        rate[i] = run(c, pool);
    middle = median(rate, repeats);
    sti_free(rate);
    cell_free(c);
    return middle;
}

/* ---- beside another library ------------------------------------------------------------------ */

/* What of ggml.h is used, by its functions alone: structures differ from fork to fork. */
struct ggml_context;
struct ggml_tensor;
struct ggml_cgraph;
struct ggml_init_params {
    size_t mem_size;
    void *mem_buffer;
    bool no_alloc;
};

static struct {
    struct ggml_context *(*init)(struct ggml_init_params);
    void (*free)(struct ggml_context *);
    struct ggml_tensor *(*new_3d)(struct ggml_context *, int type, int64_t, int64_t, int64_t);
    void *(*data)(const struct ggml_tensor *);
    struct ggml_tensor *(*attend)(struct ggml_context *, struct ggml_tensor *q,
                                  struct ggml_tensor *k, struct ggml_tensor *v,
                                  struct ggml_tensor *mask, float scale, float max_bias,
                                  float softcap);
    struct ggml_cgraph *(*graph)(struct ggml_context *);
    void (*expand)(struct ggml_cgraph *, struct ggml_tensor *);
    int (*compute)(struct ggml_context *, struct ggml_cgraph *, int n_thread);
} ggml;

static void load_ggml(const char *path)
{
    const struct {
        const char *name;
        void *to;
    } use[] = {{"ggml_init", &ggml.init},
               {"ggml_free", &ggml.free},
               {"ggml_new_tensor_3d", &ggml.new_3d},
               {"ggml_get_data", &ggml.data},
               {"ggml_flash_attn_ext", &ggml.attend},
               {"ggml_new_graph", &ggml.graph},
               {"ggml_build_forward_expand", &ggml.expand},
               {"ggml_graph_compute_with_ctx", &ggml.compute}};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; library != NULL && i < sizeof use / sizeof *use; i++) {
        void *f = dlsym(library, use[i].name);
        if (f == NULL) {
            fprintf(stderr, "%s has no %s\n", path, use[i].name);
            exit(2);
        }
        memcpy(use[i].to, &f, sizeof f);
    }
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
}

/* The numbers of ggml's types. */
static int ggml_type(st_dtype dtype)
{
    return dtype == ST_DTYPE_F32 ? 0 : dtype == ST_DTYPE_F16 ? 1 : dtype == ST_DTYPE_Q8_0 ? 8 : 30;
}

struct peer {
    struct ggml_context *ctx;
    struct ggml_cgraph *graph;
    struct ggml_tensor *out;
};

/* The same attention as a graph of one operation. */
static struct peer peer_new(const struct cell *c)
{
    const st_attn *a = &c->a;
    int64_t d = c->d, padded = sti_round_up(a->n_q, 64);
    size_t kv = (size_t)(N_KV_HEAD * a->n_k) * sti_dtype_bytes(c->dtype, d);
    size_t q = (size_t)(N_HEAD * a->n_q * d) * sizeof(float);
    size_t mask = (size_t)(padded * a->n_k) * sizeof(uint16_t);
    struct ggml_init_params ip = {.mem_size = 2 * kv + 2 * q + mask + ((size_t)256 << 20)};
    struct peer p = {.ctx = ggml.init(ip)};
    struct ggml_tensor *tq = ggml.new_3d(p.ctx, 0, d, a->n_q, N_HEAD);
    struct ggml_tensor *tk = ggml.new_3d(p.ctx, ggml_type(c->dtype), d, a->n_k, N_KV_HEAD);
    struct ggml_tensor *tv = ggml.new_3d(p.ctx, ggml_type(c->dtype), d, a->n_k, N_KV_HEAD);
    struct ggml_tensor *tm = ggml.new_3d(p.ctx, 1, a->n_k, padded, 1);
    uint16_t *m = ggml.data(tm);
    memcpy(ggml.data(tq), c->q, q);
    memcpy(ggml.data(tk), c->k, kv);
    memcpy(ggml.data(tv), c->v, kv);
    for (int64_t i = 0; i < padded; i++)
        for (int64_t j = 0; j < a->n_k; j++)
            m[i * a->n_k + j] = i < a->n_q && j < c->hi[i] ? 0 : 0xfc00; /* F16 of -inf */
    p.out = ggml.attend(p.ctx, tq, tk, tv, tm, a->scale, 0.0f, 0.0f);
    p.graph = ggml.graph(p.ctx);
    ggml.expand(p.graph, p.out);
    return p;
}

/* GFLOP/s of one run, each in a context of its own: a run takes memory from it for good. */
static double peer_run(const struct cell *c, int threads, double *apart)
{
    struct peer p = peer_new(c);
    double since = now(), rate;
    int status = ggml.compute(p.ctx, p.graph, threads);
    rate = c->gflop / (now() - since);
    if (status != 0)
        exit(1);
    for (int64_t i = 0; apart != NULL && i < c->a.n_q * N_HEAD * c->d; i++)
        *apart = fmax(*apart, fabs((double)((float *)ggml.data(p.out))[i] - (double)c->out[i]));
    ggml.free(p.ctx);
    return rate;
}

static void beside(const struct shape *s, const struct shape *full, const struct type *t, int d,
                   st_pool *pool, int repeats)
{
    struct cell *c = cell_new(s, t->dtype, d);
    struct cell *theirs = s->pruned ? cell_new(full, t->dtype, d) : c;
    double *rate = sti_alloc((size_t)repeats * 3 * sizeof *rate), apart = 0.0;
    run(c, pool);
    peer_run(theirs, st_pool_size(pool), s->pruned ? NULL : &apart);
    for (int i = 0; i < repeats; i++) {
        rate[i] = run(c, pool);
        rate[repeats + i] = peer_run(theirs, st_pool_size(pool), NULL);
        rate[2 * repeats + i] = rate[i] / rate[repeats + i];
    }
    printf("%6d %8s %6s %8.0f %8.0f %8.2f", d, s->name, t->name, median(rate, repeats),
           median(rate + repeats, repeats), median(rate + 2 * repeats, repeats));
    if (!s->pruned)
        printf("   %.1e", apart);
    printf("\n");
    fflush(stdout);
    sti_free(rate);
    if (theirs != c)
        cell_free(theirs);
    cell_free(c);
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
    const char *library = NULL;
    double peak;
    int threads, repeats;
    st_pool *pool;
    st_error err;
    if (argc > 1 && strcmp(argv[1], "ladder") == 0)
        return ladder();
    if (argc > 2 && strcmp(argv[1], "beside") == 0) {
        library = argv[2];
        load_ggml(library);
        argc -= 2;
        argv += 2;
    }
    threads = argc > 1 ? atoi(argv[1]) : 1;
    repeats = argc > 2 ? atoi(argv[2]) : 5;
    peak = st_attend_peak() * threads * 1e-9;
    if (repeats < 1 || st_pool_create(threads, &pool, &err) != ST_OK)
        return 2;
    printf(
        "%s kernels, %d thread(s), at most %.0f GFLOP/s; GFLOP/s, in brackets the share of that\n",
        st_cpu_name(), threads, peak);
    if (library != NULL) {
        printf("%6s %8s %6s %8s %8s %8s   %s\n", "d", "shape", "cache", "ours", "theirs", "ratio",
               "apart");
        for (size_t w = 0; w < sizeof width / sizeof *width; w++)
            for (size_t t = 0; t < sizeof type / sizeof *type - 1; t++)
                for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
                    beside(&shape[s], &shape[0], &type[t], width[w], pool, repeats);
        st_pool_free(pool);
        return 0;
    }
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
