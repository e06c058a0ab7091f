/* SPDX-License-Identifier: MIT
 *
 * test_state.c — a context's layers saved between micro-batches and loaded into another context:
 * that goes on to the bit as the first one does; and where it is not the same cache, or not the
 * same bytes, it says so.
 */
#include "../unit/check.h"
#include "ggml/state.h"
#include "op.h"

#define N_CACHE 512
#define STEP 70

static ggml_backend_dev_t device;

typedef struct bytes {
    uint8_t *data;
    size_t n;
} bytes;

static st_status collect(void *ctx, const void *data, size_t n, st_error *err)
{
    bytes *b = ctx;
    (void)err;
    b->data = realloc(b->data, b->n + n);
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return ST_OK;
}

static bytes save(bool whole)
{
    bytes b = {NULL, 0};
    st_out out = {collect, &b};
    CHECK_STATUS(sti_state_save(whole, &out, NULL), ST_OK);
    return b;
}

/* Micro-batch i of a sequence whose cache is `whole`'s; with a window its first key moves. */
static op micro_batch(const op *whole, int i, int window)
{
    op_shape s = whole->s;
    op o;
    s.n_tok = STEP;
    s.n_kv = (i + 1) * STEP;
    op_state = (uint64_t)i; /* the queries follow from i */
    o = op_new(s);
    o.node->src[1]->data = whole->cache_k->data;
    o.node->src[2]->data = whole->cache_v->data;
    for (int row = 0; window > 0 && row < STEP; row++)
        for (int key = 0; key <= i * STEP + row - window; key++)
            *op_mask_at(&o, row, key) = 0xfc00;
    return o;
}

/* Rows and selections that a run saw. */
static st_status note(void *ctx, const st_chunk *c, st_error *err)
{
    uint64_t *sum = ctx;
    (void)err;
    *sum = sti_mix(*sum ^ (uint64_t)c->first_query ^ (uint64_t)c->kind << 40);
    for (int64_t i = 0; i < c->sel->indptr[c->sel->n_head * c->sel->nbq]; i++)
        *sum = sti_mix(*sum ^ (uint64_t)c->sel->indices[i]);
    return ST_OK;
}

static float *compute(const op *whole, int i, int window, ggml_backend_t backend)
{
    op o = micro_batch(whole, i, window);
    float *out = op_compute(&o, backend);
    op_free(&o);
    return out;
}

static bool lean;

static void configure(st_select_method method, int window, st_sink *sink)
{
    st_ggml_params p = st_ggml_params_default();
    p.select.k = 6;
    p.select.method = method;
    p.exact_below = window;
    p.lean = lean;
    p.n_tok = 6 * STEP;
    CHECK_STATUS(st_ggml_configure(&p, sink, NULL), ST_OK);
}

static op cache_new(void)
{
    return op_new((op_shape){.d_k = 64,
                             .d_v = 64,
                             .n_head = 6,
                             .n_kv_head = 2,
                             .n_tok = STEP,
                             .n_kv = STEP,
                             .n_cache = N_CACHE,
                             .n_stream = 1,
                             .type_k = GGML_TYPE_F16,
                             .type_v = GGML_TYPE_F16,
                             .mask = true});
}

/* Runs 6 micro-batches, saving after some; another context takes over after `at` of them. */
static void test_goes_on(st_select_method method, int window, int at)
{
    op whole = cache_new();
    ggml_backend_t first = ggml_backend_dev_init(device, NULL), second;
    uint64_t want_sum = 1, got_sum = 1;
    st_sink sink = {note, &want_sum};
    bytes saved[6];
    float *want[6];
    st_ggml_stats stats;
    int n_saved = 0;
    size_t n = whole.s.n_head * (size_t)whole.s.d_v * STEP * sizeof(float);
    configure(method, window, NULL);
    for (int i = 0; i < at; i++) {
        free(compute(&whole, i, window, first));
        if (i % 2 == 1 || i == at - 1) {
            saved[n_saved] = save(n_saved == 0);
            n_saved++;
        }
    }
    configure(method, window, &sink);
    for (int i = at; i < 6; i++)
        want[i] = compute(&whole, i, window, first);
    second = ggml_backend_dev_init(device, NULL);
    for (int i = 0; i < n_saved; i++) {
        CHECK_STATUS(sti_state_load(saved[i].data, saved[i].n, NULL), ST_OK);
        free(saved[i].data);
    }
    sink.ctx = &got_sum;
    configure(method, window, &sink);
    st_ggml_take_stats(&stats);
    for (int i = at; i < 6; i++) {
        float *got = compute(&whole, i, window, second);
        CHECK(got != NULL && want[i] != NULL && memcmp(got, want[i], n) == 0);
        free(got);
        free(want[i]);
    }
    st_ggml_take_stats(&stats);
    CHECK_EQ(stats.n_rebuilt, 0);
    CHECK(got_sum == want_sum && got_sum != 1);
    ggml_backend_free(second);
    ggml_backend_free(first);
    op_free(&whole);
    st_ggml_take_stats(&stats);
    CHECK_EQ(stats.keys_bytes, 0);
}

/* The load is good, the cache is not what it was. */
static void test_other_cache(void)
{
    op whole = cache_new();
    ggml_backend_t first = ggml_backend_dev_init(device, NULL), second;
    bytes b;
    st_error err = {.message = ""};
    configure(ST_SELECT_STREAM, 0, NULL);
    for (int i = 0; i < 3; i++)
        free(compute(&whole, i, 0, first));
    b = save(true);
    second = ggml_backend_dev_init(device, NULL);
    CHECK_STATUS(sti_state_load(b.data, b.n, NULL), ST_OK);
    CHECK(compute(&whole, 4, 0, second) == NULL); /* rows are missing */
    CHECK_STATUS(st_ggml_take_error(&err), ST_ERR_FORMAT);
    CHECK(strstr(err.message, "the cache goes on with row 280") != NULL);
    ggml_backend_free(second);

    second = ggml_backend_dev_init(device, NULL);
    CHECK_STATUS(sti_state_load(b.data, b.n, NULL), ST_OK);
    op_fill(whole.cache_k, 1.0f); /* other keys */
    CHECK(compute(&whole, 3, 0, second) == NULL);
    CHECK_STATUS(st_ggml_take_error(&err), ST_ERR_FORMAT);
    CHECK(strstr(err.message, "not of the keys in the cache") != NULL);
    ggml_backend_free(second);
    ggml_backend_free(first);
    free(b.data);
    op_free(&whole);
}

/* Cut anywhere, or a byte changed anywhere: refused with a place, or taken in. */
static void test_bad_bytes(void)
{
    op whole = cache_new();
    ggml_backend_t first = ggml_backend_dev_init(device, NULL), second;
    st_error err;
    bytes b, late;
    configure(ST_SELECT_STREAM, 0, NULL);
    free(compute(&whole, 0, 0, first));
    b = save(true);
    free(compute(&whole, 1, 0, first));
    late = save(false);
    second = ggml_backend_dev_init(device, NULL);
    CHECK_STATUS(sti_state_load(late.data, late.n, &err), ST_ERR_FORMAT); /* out of turn */
    ggml_backend_free(second);
    for (size_t n = 0; n < b.n; n += n < 200 ? 1 : 613) {
        uint8_t *own = malloc(n + 1);
        memcpy(own, b.data, n);
        second = ggml_backend_dev_init(device, NULL);
        CHECK_STATUS(sti_state_load(own, n, &err), ST_ERR_FORMAT);
        CHECK(err.position >= 0 && err.position <= (int64_t)n);
        ggml_backend_free(second);
        free(own);
    }
    for (size_t at = 0; at < b.n; at += at < 300 ? 1 : 211)
        for (int bit = 0; bit < 8; bit += 7) {
            st_status status;
            second = ggml_backend_dev_init(device, NULL);
            b.data[at] ^= (uint8_t)(1 << bit);
            status = sti_state_load(b.data, b.n, &err);
            CHECK(status == ST_OK || status == ST_ERR_FORMAT);
            if (status == ST_OK) { /* whatever it says, the next rows are computed or refused */
                free(compute(&whole, 1, 0, second));
                st_ggml_take_error(NULL);
            }
            b.data[at] ^= (uint8_t)(1 << bit);
            ggml_backend_free(second);
        }
    ggml_backend_free(first);
    CHECK_STATUS(sti_state_load(b.data, b.n, &err), ST_ERR_ARG); /* no context lives */
    free(b.data);
    free(late.data);
    op_free(&whole);
}

int main(void)
{
    st_ggml_register();
    device = ggml_backend_dev_by_name("sparsetrace");
    CHECK(device != NULL);
    for (int at = 1; at < 6; at++) {
        test_goes_on(ST_SELECT_STREAM, 0, at);
        test_goes_on(ST_SELECT_AUTO, 0, at);
        test_goes_on(ST_SELECT_HIP, 0, at);
        test_goes_on(ST_SELECT_STREAM, 100, at);
        lean = true;
        test_goes_on(ST_SELECT_AUTO, 0, at);
        lean = false;
    }
    test_other_cache();
    test_bad_bytes();
    return check_report();
}
