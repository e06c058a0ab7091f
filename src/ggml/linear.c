/* SPDX-License-Identifier: MIT
 *
 * linear.c — rows go to threads in chunks: each is rounded to BF16 and multiplied by all weights in
 * one call of oneDNN, which runs on the calling thread alone. Where the processor does not multiply
 * BF16, rounded rows and weights are written out as F32, weights a panel at a time, and multiplied
 * so: the products are the same numbers.
 *
 * The library is opened when the first model is planned, by the name below: the runpath of our
 * program has the pinned package, and an installed one is found as well. Without it, nothing is
 * lost but time.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "ggml/host.h"
#include "ggml/linear.h"

#ifndef ST_HAVE_ONEDNN

bool sti_linear_supported(const struct ggml_tensor *op)
{
    (void)op;
    return false;
}

const char *st_ggml_linear(void)
{
    return NULL;
}

st_status sti_linear_node(sti_linear **linear, const struct ggml_tensor *op, st_pool *pool,
                          st_error *err)
{
    (void)linear, (void)op, (void)pool;
    return sti_fail(err, ST_ERR_MODEL, -1, "built without oneDNN");
}

void sti_linear_free(sti_linear *linear)
{
    (void)linear;
}

#else

#include <oneapi/dnnl/dnnl.h>

#define LIBRARY "libdnnl.so.3"

enum {
    CHUNK = 256,     /* rows of a task: 0.8 MB in BF16 at 1,536 inputs, which stays in L2 */
    F32_CHUNK = 240, /* the most of them as F32 ... */
    F32_STEP = 12,   /* ... and what they are a multiple of: only then does oneDNN's AVX2 kernel sum
                        a row alike whatever is beside it */
    PANEL = 256,     /* outputs of a call, of weights written out as F32 */
    MIN_ROWS = 32    /* below, reading the weights is all the time there is */
};

/* ---- the library ----------------------------------------------------------------------------- */

/* Its functions, and OpenMP's, which it stands on. */
#define FUNCTIONS(X)                                                                               \
    X(dnnl_version)                                                                                \
    X(dnnl_set_max_cpu_isa)                                                                        \
    X(dnnl_get_effective_cpu_isa)                                                                  \
    X(dnnl_engine_create)                                                                          \
    X(dnnl_stream_create)                                                                          \
    X(dnnl_stream_destroy)                                                                         \
    X(dnnl_stream_wait)                                                                            \
    X(dnnl_memory_desc_create_with_strides)                                                        \
    X(dnnl_memory_desc_destroy)                                                                    \
    X(dnnl_memory_desc_get_size)                                                                   \
    X(dnnl_memory_create)                                                                          \
    X(dnnl_memory_destroy)                                                                         \
    X(dnnl_primitive_attr_create)                                                                  \
    X(dnnl_primitive_attr_destroy)                                                                 \
    X(dnnl_primitive_attr_set_scratchpad_mode)                                                     \
    X(dnnl_matmul_primitive_desc_create)                                                           \
    X(dnnl_reorder_primitive_desc_create)                                                          \
    X(dnnl_primitive_desc_query_md)                                                                \
    X(dnnl_primitive_desc_destroy)                                                                 \
    X(dnnl_primitive_create)                                                                       \
    X(dnnl_primitive_destroy)                                                                      \
    X(dnnl_primitive_execute)

#define MEMBER(name) __typeof__(name) *name;
static struct {
    FUNCTIONS(MEMBER)
    void (*omp_set_num_threads)(int n);
    int (*omp_get_max_threads)(void);
    dnnl_engine_t engine;
    bool bf16;     /* the processor multiplies it */
    char name[32]; /* empty: not here */
} lib;

static bool find(void *handle, const char *symbol, void *fn)
{
    void *found = dlsym(handle, symbol);
    memcpy(fn, &found, sizeof found);
    return found != NULL;
}

static void open_library(void)
{
    bool avx512 = strcmp(st_cpu_name(), "avx512") == 0, avx2 = strcmp(st_cpu_name(), "avx2") == 0;
    void *handle = avx512 || avx2 ? dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL) : NULL;
    bool whole = handle != NULL;
    const dnnl_version_t *version;
#define FIND(name) whole = whole && find(handle, #name, &lib.name);
    FUNCTIONS(FIND)
    FIND(omp_set_num_threads)
    FIND(omp_get_max_threads)
    if (whole && avx2) /* the machine's level, or what it pretends to be */
        lib.dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    lib.bf16 = whole && (lib.dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) ==
                            dnnl_cpu_isa_avx512_core_bf16;
    if (!whole || !(lib.bf16 || avx2) ||
        (version = lib.dnnl_version())->major != DNNL_VERSION_MAJOR ||
        lib.dnnl_engine_create(&lib.engine, dnnl_cpu, 0) != dnnl_success) {
        if (handle != NULL)
            dlclose(handle);
        return;
    }
    snprintf(lib.name, sizeof lib.name, "oneDNN %d.%d%s", version->major, version->minor,
             lib.bf16 ? "" : ", F32");
}

const char *st_ggml_linear(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_library);
    return lib.name[0] != '\0' ? lib.name : NULL;
}

static st_status fail(st_error *err, dnnl_status_t status)
{
    return status == dnnl_out_of_memory
               ? sti_fail(err, ST_ERR_MEM, -1, "oneDNN: out of memory")
               : sti_fail(err, ST_ERR_MODEL, -1, "oneDNN: status %d", (int)status);
}

/* ---- products of one shape ------------------------------------------------------------------- */

/* y [n_row, n_out] = x [n_row, n_in] w^T, w [n_out, n_in]; a row of y every y_stride values. With
 * BF16 instructions x is rounded from F32 first. */
struct product {
    struct product *next;
    int64_t n_row, n_in, n_out, y_stride;
    dnnl_memory_desc_t x_f32, x, w, y;
    const_dnnl_memory_desc_t scratch; /* the multiplication's */
    dnnl_primitive_desc_t round_desc, multiply_desc;
    dnnl_primitive_t round, multiply;
};

struct sti_linear {
    struct product *first;
};

static void free_product(struct product *p)
{
    dnnl_memory_desc_t desc[] = {p->x_f32, p->x, p->w, p->y};
    if (p->round != NULL)
        lib.dnnl_primitive_destroy(p->round);
    if (p->multiply != NULL)
        lib.dnnl_primitive_destroy(p->multiply);
    if (p->round_desc != NULL)
        lib.dnnl_primitive_desc_destroy(p->round_desc);
    if (p->multiply_desc != NULL)
        lib.dnnl_primitive_desc_destroy(p->multiply_desc);
    for (size_t i = 0; i < sizeof desc / sizeof *desc; i++)
        if (desc[i] != NULL)
            lib.dnnl_memory_desc_destroy(desc[i]);
    sti_free(p);
}

static dnnl_status_t describe(dnnl_memory_desc_t *desc, dnnl_data_type_t type, int64_t rows,
                              int64_t columns, int64_t row_stride, int64_t column_stride)
{
    dnnl_dims_t shape = {rows, columns}, stride = {row_stride, column_stride};
    return lib.dnnl_memory_desc_create_with_strides(desc, 2, shape, type, stride);
}

static dnnl_status_t describe_operands(struct product *p)
{
    dnnl_data_type_t type = lib.bf16 ? dnnl_bf16 : dnnl_f32;
    dnnl_status_t s = describe(&p->x_f32, dnnl_f32, p->n_row, p->n_in, p->n_in, 1);
    if (s == dnnl_success)
        s = describe(&p->x, type, p->n_row, p->n_in, p->n_in, 1);
    if (s == dnnl_success)
        s = describe(&p->w, type, p->n_in, p->n_out, 1, p->n_in);
    if (s == dnnl_success)
        s = describe(&p->y, dnnl_f32, p->n_row, p->n_out, p->y_stride, 1);
    return s;
}

/* Made with one OpenMP thread in force, which is then how many it runs on. */
static dnnl_status_t make_primitives(struct product *p)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = lib.dnnl_primitive_attr_create(&attr);
    if (s == dnnl_success)
        s = lib.dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (s == dnnl_success)
        s = lib.dnnl_matmul_primitive_desc_create(&p->multiply_desc, lib.engine, p->x, p->w, NULL,
                                                  p->y, attr);
    if (s == dnnl_success)
        s = lib.dnnl_primitive_create(&p->multiply, p->multiply_desc);
    if (s == dnnl_success && lib.bf16)
        s = lib.dnnl_reorder_primitive_desc_create(&p->round_desc, p->x_f32, lib.engine, p->x,
                                                   lib.engine, NULL);
    if (s == dnnl_success && lib.bf16)
        s = lib.dnnl_primitive_create(&p->round, p->round_desc);
    if (attr != NULL)
        lib.dnnl_primitive_attr_destroy(attr);
    if (s == dnnl_success)
        p->scratch =
            lib.dnnl_primitive_desc_query_md(p->multiply_desc, dnnl_query_scratchpad_md, 0);
    return s;
}

static struct product *find_product(const sti_linear *l, int64_t n_row, int64_t n_in, int64_t n_out,
                                    int64_t y_stride)
{
    struct product *p = l->first;
    while (p != NULL && (p->n_row != n_row || p->n_in != n_in || p->n_out != n_out ||
                         p->y_stride != y_stride))
        p = p->next;
    return p;
}

static st_status get_product(sti_linear *l, int64_t n_row, int64_t n_in, int64_t n_out,
                             int64_t y_stride, const struct product **found, st_error *err)
{
    struct product *p = find_product(l, n_row, n_in, n_out, y_stride);
    dnnl_status_t s;
    *found = p;
    if (p != NULL)
        return ST_OK;
    p = sti_calloc(sizeof *p);
    if (p == NULL)
        return sti_fail_mem(err, sizeof *p);
    p->n_row = n_row;
    p->n_in = n_in;
    p->n_out = n_out;
    p->y_stride = y_stride;
    s = describe_operands(p);
    if (s == dnnl_success)
        s = make_primitives(p);
    if (s != dnnl_success) {
        free_product(p);
        return fail(err, s);
    }
    p->next = l->first;
    l->first = p;
    *found = p;
    return ST_OK;
}

/* ---- one node -------------------------------------------------------------------------------- */

/* A panel is all outputs where nothing has to be written out. */
struct job {
    const struct product *product[2][2]; /* [of the last chunk][of the last panel] */
    const struct ggml_type_traits *bf16;
    int64_t n_row, n_in, n_out, chunk, n_chunk, panel, n_panel;
    const float *x;
    const char *w; /* BF16 */
    float *y;
    char *scratch; /* [n_thread]: a chunk as it is multiplied; a panel; its outputs, where they have
                      more rows than are wanted; what the multiplication asks for */
    size_t rows_bytes, panel_bytes, out_bytes, scratch_bytes;
    dnnl_status_t *status; /* [n_chunk] */
};

struct operand {
    int arg;
    const_dnnl_memory_desc_t desc;
    void *data;
};

/* Runs a primitive on the calling thread. */
static dnnl_status_t execute(dnnl_primitive_t primitive, const struct operand *operand, int n)
{
    dnnl_exec_arg_t arg[4] = {{0}};
    dnnl_stream_t stream = NULL;
    dnnl_status_t s = lib.dnnl_stream_create(&stream, lib.engine, dnnl_stream_default_flags);
    for (int i = 0; i < n && s == dnnl_success; i++) {
        arg[i].arg = operand[i].arg;
        s = lib.dnnl_memory_create(&arg[i].memory, operand[i].desc, lib.engine, operand[i].data);
    }
    if (s == dnnl_success)
        s = lib.dnnl_primitive_execute(primitive, stream, n, arg);
    if (s == dnnl_success)
        s = lib.dnnl_stream_wait(stream);
    for (int i = 0; i < n; i++)
        if (arg[i].memory != NULL)
            lib.dnnl_memory_destroy(arg[i].memory);
    if (stream != NULL)
        lib.dnnl_stream_destroy(stream);
    return s;
}

static size_t thread_bytes(const struct job *j)
{
    return j->rows_bytes + j->panel_bytes + j->out_bytes + j->scratch_bytes;
}

/* A chunk's rows, of which there are n; those that only fill it up are 0. */
static dnnl_status_t round_rows(const struct job *j, const struct product *p, const float *x,
                                int64_t n, char *rows)
{
    const struct operand round[] = {{DNNL_ARG_FROM, p->x_f32, (void *)x},
                                    {DNNL_ARG_TO, p->x, rows}};
    char *narrow = rows + j->rows_bytes; /* the panel, which is not there yet */
    if (lib.bf16)
        return execute(p->round, round, 2);
    j->bf16->from_float_ref(x, narrow, n * j->n_in);
    j->bf16->to_float(narrow, (float *)rows, n * j->n_in);
    memset((float *)rows + n * j->n_in, 0, (size_t)((p->n_row - n) * j->n_in) * sizeof(float));
    return dnnl_success;
}

static dnnl_status_t multiply_panel(const struct job *j, const struct product *p, int64_t panel,
                                    int64_t n, char *rows, float *y)
{
    const char *w = j->w + (size_t)(panel * j->panel * j->n_in) * sizeof(ggml_bf16_t);
    char *wide = rows + j->rows_bytes, *out = wide + j->panel_bytes;
    bool filled = n < p->n_row;
    const struct operand multiply[] = {
        {DNNL_ARG_SRC, p->x, rows},
        {DNNL_ARG_WEIGHTS, p->w, lib.bf16 ? (void *)w : wide},
        {DNNL_ARG_DST, p->y, filled ? (void *)out : y + panel * j->panel},
        {DNNL_ARG_SCRATCHPAD, p->scratch, out + j->out_bytes}};
    dnnl_status_t s;
    if (!lib.bf16)
        j->bf16->to_float(w, (float *)wide, p->n_out * j->n_in);
    s = execute(p->multiply, multiply, 4);
    for (int64_t r = 0; filled && s == dnnl_success && r < n; r++)
        memcpy(y + r * j->n_out + panel * j->panel, (float *)out + r * p->y_stride,
               (size_t)p->n_out * sizeof(float));
    return s;
}

/* No signal is handled meanwhile: oneDNN's F32 kernel keeps its operands where the stack pointer
 * points, in the heap, and a handler's frame would be written below, over what is not its own. */
static void multiply_chunk(void *ctx, int64_t chunk, int thread)
{
    const struct job *j = ctx;
    const struct product *const *p = j->product[chunk + 1 == j->n_chunk];
    char *rows = j->scratch + (size_t)thread * thread_bytes(j);
    int64_t first = chunk * j->chunk, n = sti_min(j->chunk, j->n_row - first);
    int threads = lib.omp_get_max_threads(); /* of the calling thread, which may be the user's */
    sigset_t all, before;
    dnnl_status_t s;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    lib.omp_set_num_threads(1);
    s = round_rows(j, p[1], j->x + first * j->n_in, n, rows);
    for (int64_t i = 0; i < j->n_panel && s == dnnl_success; i++)
        s = multiply_panel(j, p[i + 1 == j->n_panel], i, n, rows, j->y + first * j->n_out);
    j->status[chunk] = s;
    lib.omp_set_num_threads(threads);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The product of a chunk and a panel, each the last one or one before, if there is such a one. */
static st_status get_product_of(sti_linear *l, struct job *j, bool last_chunk, bool last_panel,
                                st_error *err)
{
    const struct product **p = &j->product[last_chunk][last_panel];
    int64_t n_row = last_chunk ? j->n_row - (j->n_chunk - 1) * j->chunk : j->chunk;
    int64_t n_out = last_panel ? j->n_out - (j->n_panel - 1) * j->panel : j->panel;
    int64_t filled = lib.bf16 ? n_row : sti_round_up(n_row, F32_STEP);
    if ((!last_chunk && j->n_chunk == 1) || (!last_panel && j->n_panel == 1))
        return ST_OK;
    STI_TRY(get_product(l, filled, j->n_in, n_out, filled > n_row ? n_out : j->n_out, p, err));
    if (lib.dnnl_memory_desc_get_size((*p)->scratch) > j->scratch_bytes)
        j->scratch_bytes = lib.dnnl_memory_desc_get_size((*p)->scratch);
    return ST_OK;
}

static st_status get_products(sti_linear *l, struct job *j, st_error *err)
{
    int threads = lib.omp_get_max_threads();
    st_status status = ST_OK;
    lib.omp_set_num_threads(1);
    for (int i = 0; i < 4 && status == ST_OK; i++)
        status = get_product_of(l, j, i / 2 == 1, i % 2 == 1, err);
    lib.omp_set_num_threads(threads);
    return status;
}

static st_status run_job(struct job *j, st_pool *pool, st_error *err)
{
    size_t bytes = thread_bytes(j) * (size_t)st_pool_size(pool);
    dnnl_status_t s = dnnl_success;
    j->scratch = sti_pool_take(pool, STI_SCRATCH_LINEAR, bytes);
    j->status = sti_calloc((size_t)j->n_chunk * sizeof *j->status);
    if (j->scratch == NULL || j->status == NULL)
        s = dnnl_out_of_memory;
    else
        sti_pool_run(pool, j->n_chunk, multiply_chunk, j);
    for (int64_t i = 0; s == dnnl_success && i < j->n_chunk; i++)
        s = j->status[i];
    sti_free(j->status);
    if (j->scratch != NULL)
        sti_pool_give(pool, j->scratch);
    return s == dnnl_success ? ST_OK : fail(err, s);
}

/* Nothing between its elements. */
static bool is_packed(const struct ggml_tensor *t)
{
    size_t bytes = t->type == GGML_TYPE_BF16 ? 2 : 4;
    for (int i = 0; i < GGML_MAX_DIMS; i++) {
        if (t->nb[i] != bytes)
            return false;
        bytes *= (size_t)t->ne[i];
    }
    return true;
}

bool sti_linear_supported(const struct ggml_tensor *op)
{
    const struct ggml_tensor *w = op->src[0], *x = op->src[1];
    return op->op == GGML_OP_MUL_MAT && w->type == GGML_TYPE_BF16 && x->type == GGML_TYPE_F32 &&
           op->type == GGML_TYPE_F32 && w->ne[2] == 1 && w->ne[3] == 1 && is_packed(w) &&
           is_packed(x) && is_packed(op) && x->ne[1] * x->ne[2] * x->ne[3] >= MIN_ROWS &&
           st_ggml_linear() != NULL;
}

/* Rows of a task: as many as suit the kernel, and every thread about as many. */
static int64_t f32_chunk(int64_t n_row, int n_thread)
{
    int64_t rounds = sti_ceil_div(n_row, (int64_t)F32_CHUNK * n_thread);
    return sti_min(sti_round_up(sti_ceil_div(n_row, rounds * n_thread), F32_STEP), F32_CHUNK);
}

st_status sti_linear_node(sti_linear **linear, const struct ggml_tensor *op, st_pool *pool,
                          st_error *err)
{
    const struct ggml_tensor *w = op->src[0], *x = op->src[1];
    struct job j = {.x = x->data, .w = w->data, .y = op->data};
    int64_t row_bytes = w->ne[0] * (int64_t)(lib.bf16 ? sizeof(uint16_t) : sizeof(float));
    if (*linear == NULL && (*linear = sti_calloc(sizeof **linear)) == NULL)
        return sti_fail_mem(err, sizeof **linear);
    j.bf16 = sti_host_type_traits(GGML_TYPE_BF16);
    j.n_in = w->ne[0];
    j.n_out = w->ne[1];
    j.n_row = x->ne[1] * x->ne[2] * x->ne[3];
    j.chunk = lib.bf16 ? CHUNK : f32_chunk(j.n_row, st_pool_size(pool));
    j.n_chunk = sti_ceil_div(j.n_row, j.chunk);
    j.panel = lib.bf16 ? j.n_out : PANEL;
    j.n_panel = sti_ceil_div(j.n_out, j.panel);
    j.rows_bytes = (size_t)sti_round_up(j.chunk * row_bytes, 64);
    if (!lib.bf16) {
        j.panel_bytes = (size_t)(PANEL * row_bytes);
        j.out_bytes = (size_t)F32_CHUNK * PANEL * sizeof(float);
    }
    STI_TRY(get_products(*linear, &j, err));
    j.scratch_bytes = (size_t)sti_round_up((int64_t)j.scratch_bytes, 4096);
    return run_job(&j, pool, err);
}

void sti_linear_free(sti_linear *l)
{
    if (l == NULL)
        return;
    while (l->first != NULL) {
        struct product *p = l->first;
        l->first = p->next;
        free_product(p);
    }
    sti_free(l);
}
#endif
