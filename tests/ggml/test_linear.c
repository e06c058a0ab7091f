/* SPDX-License-Identifier: MIT
 *
 * test_linear.c — products with BF16 weights beside a sum in double: odd shapes, several chunks and
 * threads, signals meanwhile, what is declined.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "../unit/check.h"
#include "op.h"
#include "sparsetrace/ggml.h"

static ggml_backend_dev_t device;
static ggml_backend_t ours;

typedef struct product {
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *w, *x, *y;
    struct ggml_cgraph *graph;
} product;

static product make(enum ggml_type type, int n_in, int n_out, int n_row, int n_batch)
{
    struct ggml_init_params ip = {16 * ggml_tensor_overhead() + ggml_graph_overhead(), NULL, true};
    product p = {.ctx = ggml_init(ip)};
    p.w = ggml_new_tensor_2d(p.ctx, type, n_in, n_out);
    p.x = ggml_new_tensor_3d(p.ctx, GGML_TYPE_F32, n_in, n_row, n_batch);
    p.y = ggml_mul_mat(p.ctx, p.w, p.x);
    p.graph = ggml_new_graph(p.ctx);
    ggml_build_forward_expand(p.graph, p.y);
    p.buffer = ggml_backend_alloc_ctx_tensors_from_buft(p.ctx, ggml_backend_cpu_buffer_type());
    op_fill(p.w, 1.0f);
    op_fill(p.x, 1.0f);
    return p;
}

static void discard(product *p)
{
    ggml_backend_buffer_free(p->buffer);
    ggml_free(p->ctx);
}

static double bf16(const void *x, int64_t i)
{
    return (double)ggml_bf16_to_fp32(((const ggml_bf16_t *)x)[i]);
}

/* Furthest from the sum in double of the operands rounded to BF16, over the sum of magnitudes. */
static double worst(const product *p)
{
    int64_t n_in = p->w->ne[0], n_out = p->w->ne[1], n_row = p->x->ne[1] * p->x->ne[2];
    const float *x = p->x->data, *y = p->y->data;
    double most = 0.0;
    for (int64_t r = 0; r < n_row; r++)
        for (int64_t o = 0; o < n_out; o++) {
            double sum = 0.0, size = 0.0;
            for (int64_t i = 0; i < n_in; i++) {
                double xi = (double)ggml_bf16_to_fp32(ggml_fp32_to_bf16(x[r * n_in + i]));
                double term = xi * bf16(p->w->data, o * n_in + i);
                sum += term;
                size += fabs(term);
            }
            most = fmax(most, fabs(y[r * n_out + o] - sum) / size);
        }
    return most;
}

static void check_product(int n_in, int n_out, int n_row, int n_batch)
{
    product p = make(GGML_TYPE_BF16, n_in, n_out, n_row, n_batch);
    double got;
    CHECK(ggml_backend_dev_supports_op(device, p.y));
    memset(p.y->data, 0xff, ggml_nbytes(p.y)); /* NaN */
    CHECK_EQ(ggml_backend_graph_compute(ours, p.graph), GGML_STATUS_SUCCESS);
    got = worst(&p);
    if (!(got < 1e-6))
        printf("[%d, %d] x [%d, %d, %d]: off by %g\n", n_out, n_in, n_batch, n_row, n_in, got);
    CHECK(got < 1e-6);
    discard(&p);
}

/* A row's sums do not depend on what is computed beside it. */
static void check_row_alone(void)
{
    product a = make(GGML_TYPE_BF16, 576, 200, 300, 1), b = make(GGML_TYPE_BF16, 576, 200, 32, 1);
    memcpy(b.w->data, a.w->data, ggml_nbytes(a.w));
    memcpy(b.x->data, (float *)a.x->data + 250 * 576, ggml_nbytes(b.x));
    CHECK_EQ(ggml_backend_graph_compute(ours, a.graph), GGML_STATUS_SUCCESS);
    CHECK_EQ(ggml_backend_graph_compute(ours, b.graph), GGML_STATUS_SUCCESS);
    CHECK(memcmp((float *)a.y->data + 250 * 200, b.y->data, ggml_nbytes(b.y)) == 0);
    discard(&a);
    discard(&b);
}

/* ---- signals --------------------------------------------------------------------------------- */

static pthread_t main_thread;
static volatile char *stack_begin, *stack_end;
static volatile sig_atomic_t n_signal, n_elsewhere, n_off_stack;

static void on_signal(int number)
{
    volatile char here = (char)number;
    n_signal++;
    if (!pthread_equal(pthread_self(), main_thread))
        n_elsewhere++;
    else if (&here < stack_begin || &here >= stack_end)
        n_off_stack++;
}

static void interrupt_every(int microseconds)
{
    struct itimerval t = {{0, microseconds}, {0, microseconds}};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pthread_attr_t attr;
    void *begin;
    size_t size;
    main_thread = pthread_self();
    CHECK_EQ(pthread_getattr_np(main_thread, &attr), 0);
    CHECK_EQ(pthread_attr_getstack(&attr, &begin, &size), 0);
    pthread_attr_destroy(&attr);
    stack_begin = begin;
    stack_end = stack_begin + size;
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &t, NULL), 0);
}

/* A kernel of the library's may keep its operands where the stack pointer points: in the heap. A
 * handler that ran then would write its frame over what lies below. */
static void check_signals(void)
{
    product p = make(GGML_TYPE_BF16, 1536, 576, 240, 1);
    interrupt_every(100);
    for (int i = 0; i < 40; i++)
        CHECK_EQ(ggml_backend_graph_compute(ours, p.graph), GGML_STATUS_SUCCESS);
    interrupt_every(0);
    CHECK(n_signal > 0);
    CHECK_EQ(n_elsewhere, 0);
    CHECK_EQ(n_off_stack, 0);
    CHECK(worst(&p) < 1e-6);
    discard(&p);
}

static void check_declined(enum ggml_type type, int n_row, const char *what)
{
    product p = make(type, 64, 64, n_row, 1);
    if (ggml_backend_dev_supports_op(device, p.y))
        printf("%s: not declined\n", what);
    CHECK(!ggml_backend_dev_supports_op(device, p.y));
    discard(&p);
}

static void configure(bool enabled, bool linear)
{
    st_ggml_params params = st_ggml_params_default();
    params.enabled = enabled;
    params.linear = linear;
    CHECK_STATUS(st_ggml_configure(&params, NULL, NULL), ST_OK);
}

int main(void)
{
    void (*set_threads)(ggml_backend_t backend, int n);
    st_ggml_register();
    device = ggml_backend_dev_by_name("sparsetrace");
    ours = ggml_backend_dev_init(device, NULL);
    if (st_ggml_linear() == NULL) {
        check_declined(GGML_TYPE_BF16, 64, "BF16 without oneDNN");
        printf("SKIP: no oneDNN here, or a processor without AVX2\n");
        return check_report() != 0 ? 1 : 77;
    }
    printf("%s\n", st_ggml_linear());
    set_threads = (void (*)(ggml_backend_t, int))ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads");
    for (int threads = 1; threads <= 3; threads++) {
        set_threads(ours, threads);
        check_product(64, 64, 32, 1);
        check_product(576, 192, 256, 1);
        check_product(100, 33, 257, 1);
        check_product(1, 1, 45, 1);
        check_product(130, 7, 1000, 1);
        check_product(48, 50, 20, 3);
        check_product(64, 600, 500, 1);
        check_row_alone();
        check_signals();
    }
    check_declined(GGML_TYPE_BF16, 31, "31 rows");
    check_declined(GGML_TYPE_F16, 64, "F16 weights");
    check_declined(GGML_TYPE_Q8_0, 64, "Q8_0 weights");
    configure(true, false);
    check_declined(GGML_TYPE_BF16, 64, "linear = false");
    configure(false, true);
    check_declined(GGML_TYPE_BF16, 64, "enabled = false");
    configure(true, true);
    check_product(64, 64, 64, 1);
    ggml_backend_free(ours);
    return check_report();
}
