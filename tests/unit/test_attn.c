/* SPDX-License-Identifier: MIT
 *
 * test_attn.c — the door of every attention call: each rule of attn.h, broken by one field at a
 * time, is refused with a message that names the field; the ends of each range are let in.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "check.h"

#define N_Q 3
#define N_K 5
#define TOK_MAX INT32_MAX

static float data[1];
static int32_t lo[N_Q], hi[N_Q];

static void decode(const void *row, float *out, int64_t n)
{
    (void)row;
    memset(out, 0, (size_t)n * sizeof *out);
}

/* Nothing is read through the operands, so one float stands for all of them. */
static st_attn sound(void)
{
    return (st_attn){.n_q = N_Q,
                     .n_k = N_K,
                     .n_head = 6,
                     .n_kv_head = 2,
                     .d_k = 64,
                     .d_v = 32,
                     .first_query = 2,
                     .q = st_rows_contiguous(data, ST_DTYPE_F32, N_Q, 64),
                     .k = st_rows_contiguous(data, ST_DTYPE_F16, N_K, 64),
                     .v = st_rows_contiguous(data, ST_DTYPE_BF16, N_K, 32),
                     .scale = 0.125f};
}

static bool accepts(const st_attn *a)
{
    st_error err = {.status = ST_ERR_MODEL, .position = 77, .message = "untouched"};
    return st_attn_check(a, &err) == ST_OK && st_attn_check(a, NULL) == ST_OK &&
           err.status == ST_ERR_MODEL && err.position == 77 &&
           strcmp(err.message, "untouched") == 0;
}

/* Refused as a bad argument, with and without a place for the message, which names the field. */
static bool refuses_at(const st_attn *a, const char *field, int64_t position)
{
    st_error err = {.message = ""};
    bool ok = st_attn_check(a, &err) == ST_ERR_ARG && st_attn_check(a, NULL) == ST_ERR_ARG &&
              err.status == ST_ERR_ARG && err.position == position &&
              strstr(err.message, field) != NULL && strchr(err.message, '\n') == NULL;
    if (!ok)
        printf("wanted \"%s\" at %lld, got \"%s\" at %lld\n", field, (long long)position,
               err.message, (long long)err.position);
    return ok;
}

static bool refuses(const st_attn *a, const char *field)
{
    return refuses_at(a, field, -1);
}

/* `WITH(field, value) statement`: runs the statement once, with `a` the sound problem but for this
 * field. */
#define WITH(field, value)                                                                         \
    for (st_attn a = sound(), *once = &a; once != NULL && (a.field = (value), true); once = NULL)

static void test_sizes(void)
{
    static const int64_t bad[] = {0, -1, (int64_t)TOK_MAX + 1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        WITH(n_q, bad[i]) CHECK(refuses(&a, "n_q"));
        WITH(n_k, bad[i]) CHECK(refuses(&a, "n_k"));
    }
    WITH(n_k, TOK_MAX) CHECK(accepts(&a));
    WITH(n_q, 1) CHECK(accepts(&a));
}

static void test_heads(void)
{
    static const int bad[] = {0, -2, 5, 7};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        WITH(n_head, bad[i]) CHECK(refuses(&a, "n_head"));
    WITH(n_kv_head, 0) CHECK(refuses(&a, "n_kv_head"));
    WITH(n_kv_head, -2) CHECK(refuses(&a, "n_kv_head"));
    WITH(n_kv_head, 4) CHECK(refuses(&a, "n_kv_head"));
    WITH(n_kv_head, 12) CHECK(refuses(&a, "n_kv_head")); /* more than heads */
    WITH(n_kv_head, 6) CHECK(accepts(&a));
    WITH(n_kv_head, 1) CHECK(accepts(&a));
}

static void test_widths(void)
{
    static const int bad[] = {0, -1, 2049};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        WITH(d_k, bad[i]) CHECK(refuses(&a, "d_k"));
        WITH(d_v, bad[i]) CHECK(refuses(&a, "d_v"));
    }
    WITH(d_k, 1) CHECK(accepts(&a));
    WITH(d_k, 2048) CHECK(accepts(&a));
    WITH(d_v, 1) CHECK(accepts(&a));
    WITH(d_v, 2048) CHECK(accepts(&a));
}

static void test_first_query(void)
{
    WITH(first_query, -1) CHECK(refuses(&a, "first_query"));
    WITH(first_query, INT64_MAX) CHECK(refuses(&a, "first_query"));
    WITH(first_query, (int64_t)TOK_MAX - N_Q + 1) CHECK(refuses(&a, "first_query"));
    WITH(first_query, 0) CHECK(accepts(&a));
    WITH(first_query, TOK_MAX - N_Q)
    {
        a.n_k = TOK_MAX;
        CHECK(accepts(&a));
    }
}

static void test_scores(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        WITH(scale, bad[i]) CHECK(refuses(&a, "scale"));
        WITH(softcap, bad[i]) CHECK(refuses(&a, "softcap"));
    }
    WITH(softcap, -1.0f) CHECK(refuses(&a, "softcap"));
    WITH(softcap, 30.0f) CHECK(accepts(&a));
    WITH(scale, -1.0f) CHECK(accepts(&a));
    WITH(scale, 0.0f) CHECK(accepts(&a));
}

static void test_data(void)
{
    WITH(q.data, NULL) CHECK(refuses(&a, "q.data"));
    WITH(k.data, NULL) CHECK(refuses(&a, "k.data"));
    WITH(v.data, NULL) CHECK(accepts(&a)); /* st_select alone */
}

/* What holds for each of q, k and v. */
static void test_operand(st_rows *x, st_attn *a, const char *name, int *d)
{
    char field[16];
    st_attn before = *a;
    snprintf(field, sizeof field, "%s.dtype", name);
    x->dtype = (st_dtype)(ST_DTYPE_OTHER + 1);
    CHECK(refuses(a, field));
    x->dtype = (st_dtype)-1;
    CHECK(refuses(a, field));
    x->dtype = ST_DTYPE_OTHER;
    x->to_f32 = NULL;
    CHECK(refuses(a, "to_f32") && refuses(a, field));
    x->to_f32 = decode;
    CHECK(accepts(a));
    x->dtype = ST_DTYPE_Q8_0;
    CHECK(accepts(a));
    *d = 48;
    snprintf(field, sizeof field, "%s is Q8_0", name);
    CHECK(refuses(a, field));
    *a = before;
    x->dtype = ST_DTYPE_F32;
    snprintf(field, sizeof field, "%s is F32", name);
    for (int i = 1; i < 4; i++) {
        x->stride_tok_bytes = 256 + i;
        CHECK(refuses(a, field));
        x->stride_tok_bytes = 256;
        x->stride_head_bytes = 1024 + i;
        CHECK(refuses(a, field));
        x->stride_head_bytes = 1024;
        CHECK(accepts(a));
    }
    *a = before;
}

static void test_operands(void)
{
    st_attn a = sound();
    test_operand(&a.q, &a, "q", &a.d_k);
    test_operand(&a.k, &a, "k", &a.d_k);
    test_operand(&a.v, &a, "v", &a.d_v);
}

static void set_span(int row, int32_t from, int32_t to)
{
    for (int i = 0; i < N_Q; i++) {
        lo[i] = 0;
        hi[i] = N_K;
    }
    lo[row] = from;
    hi[row] = to;
}

static void test_causal(void)
{
    WITH(n_k, N_K - 1) CHECK(refuses(&a, "n_k"));
    WITH(first_query, 3) CHECK(refuses(&a, "3..5"));
    WITH(n_k, N_K) CHECK(accepts(&a));
}

static void test_spans(void)
{
    static const int32_t bad[][2] = {{-1, 3}, {3, 2}, {0, N_K + 1}, {N_K + 1, N_K + 1}, {0, -1}};
    static const int32_t good[][2] = {{0, 0}, {N_K, N_K}, {2, 2}, {0, N_K}, {4, 5}};
    st_attn a = sound();
    a.lo = lo;
    CHECK(refuses(&a, "lo and hi"));
    a.lo = NULL;
    a.hi = hi;
    CHECK(refuses(&a, "lo and hi"));
    a.lo = lo;
    for (int row = 0; row < N_Q; row++) {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            char name[16];
            set_span(row, bad[i][0], bad[i][1]);
            snprintf(name, sizeof name, "row %d", row);
            CHECK(refuses_at(&a, name, row));
        }
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
            set_span(row, good[i][0], good[i][1]);
            CHECK(accepts(&a));
        }
    }
    set_span(0, 0, 2); /* spans need not be causal, so there may be fewer keys than positions */
    a.first_query = 1000;
    CHECK(accepts(&a));
}

static void test_bias(void)
{
    uint16_t bias[N_Q * N_K] = {0};
    st_attn a = sound();
    a.bias = bias;
    a.stride_bias_bytes = N_K * 2;
    CHECK(accepts(&a));
    a.first_query = 1000; /* positions do not matter: every key counts as visible */
    CHECK(accepts(&a));
    a.lo = lo;
    a.hi = hi;
    set_span(0, 0, N_K);
    CHECK(accepts(&a)); /* both: the spans say where the bias need not be read */
    set_span(0, 0, N_K + 1);
    CHECK(refuses_at(&a, "row 0", 0));
    a.hi = NULL;
    CHECK(refuses(&a, "lo and hi"));
}

static void test_contiguous(void)
{
    static const struct {
        st_dtype dtype;
        int64_t row_bytes;
    } want[] = {
        {ST_DTYPE_F32, 256}, {ST_DTYPE_F16, 128}, {ST_DTYPE_BF16, 128}, {ST_DTYPE_Q8_0, 68}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        st_rows x = st_rows_contiguous(data, want[i].dtype, 10, 64);
        CHECK(x.data == data && x.dtype == want[i].dtype && x.to_f32 == NULL);
        CHECK_EQ(x.stride_tok_bytes, want[i].row_bytes);
        CHECK_EQ(x.stride_head_bytes, 10 * want[i].row_bytes);
        CHECK((const char *)sti_row_at(&x, 2, 3) - (const char *)data == 23 * want[i].row_bytes);
    }
}

/* Which keys a row sees, in the three ways of saying it; which KV head a head reads. */
static void test_reading(void)
{
    uint16_t bias[N_Q * N_K] = {0};
    st_attn a = sound();
    CHECK(sti_row_lo(&a, 1) == 0 && sti_row_hi(&a, 1) == 4);
    set_span(1, 2, 3);
    a.lo = lo;
    a.hi = hi;
    CHECK(sti_row_lo(&a, 1) == 2 && sti_row_hi(&a, 1) == 3);
    a.lo = a.hi = NULL;
    a.bias = bias;
    CHECK(sti_row_lo(&a, 1) == 0 && sti_row_hi(&a, 1) == N_K);
    CHECK(sti_kv_head(&a, 0) == 0 && sti_kv_head(&a, 2) == 0);
    CHECK(sti_kv_head(&a, 3) == 1 && sti_kv_head(&a, 5) == 1);
}

int main(void)
{
    st_attn a = sound();
    CHECK(accepts(&a));
    test_sizes();
    test_heads();
    test_widths();
    test_first_query();
    test_scores();
    test_data();
    test_operands();
    test_causal();
    test_spans();
    test_bias();
    test_contiguous();
    test_reading();
    return check_report();
}
