/* SPDX-License-Identifier: MIT
 *
 * test_backend.c — the backend beside ggml's own CPU kernel on single attention nodes: every
 * operand type and feature with everything kept, what is declined, and what becomes of the
 * summaries when the cache grows, is rewound or edited.
 */
#include "../unit/check.h"
#include "op.h"
#include "sparsetrace/ggml.h"

static ggml_backend_dev_t device;
static ggml_backend_t ours, cpu;

static const op_shape base = {.d_k = 64,
                              .d_v = 64,
                              .n_head = 6,
                              .n_kv_head = 2,
                              .n_tok = 70,
                              .n_kv = 300,
                              .n_stream = 1,
                              .type_k = GGML_TYPE_F16,
                              .type_v = GGML_TYPE_F16,
                              .mask = true};

static bool precise; /* F32 products */

static void configure(int64_t k, bool exact, const st_sink *sink)
{
    st_ggml_params p = st_ggml_params_default();
    p.select.k = k;
    p.exact = exact;
    p.n_tok = 300;
    p.precise = precise;
    CHECK_STATUS(st_ggml_configure(&p, sink, NULL), ST_OK);
}

/* Relative distance of two outputs (Euclid over everything). */
static double distance(const float *a, const float *b, int64_t n)
{
    double diff = 0.0, norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(diff / (norm + 1e-30));
}

#define FIXED_POINT 5e-4 /* what 16-bit fixed point may differ by */

/* With everything kept, and in exact mode, both give what ggml gives, with F32 products to
 * `tolerance`. ggml rounds queries (to F16 or the cache's own type) and sums values in F16, so that
 * tolerance is theirs, not ours. */
static void check_same(op *o, const char *what, double tolerance)
{
    float *want, *got;
    CHECK(ggml_backend_dev_supports_op(device, o->node));
    want = op_compute(o, cpu);
    for (int way = 0; way < 4; way++) {
        bool exact = way % 2 == 1;
        double d;
        precise = way >= 2;
        configure(1 << 20, exact, NULL);
        got = op_compute(o, ours);
        CHECK(want != NULL && got != NULL);
        if (want == NULL || got == NULL)
            continue;
        d = distance(got, want, ggml_nelements(o->node));
        if (!(d < (precise ? tolerance : fmax(tolerance, FIXED_POINT))))
            printf("%s%s%s: distance %g\n", what, exact ? " (exact)" : "",
                   precise ? " (precise)" : "", d);
        CHECK(d < (precise ? tolerance : fmax(tolerance, FIXED_POINT)));
        free(got);
    }
    free(want);
}

static void check_shape(op_shape s, const char *what, double tolerance)
{
    op o = op_new(s);
    check_same(&o, what, tolerance);
    op_free(&o);
}

static void test_types(void)
{
    static const struct {
        enum ggml_type type;
        double tolerance;
    } type[] = {{GGML_TYPE_F32, 1e-5},  {GGML_TYPE_F16, 2e-3},  {GGML_TYPE_BF16, 1e-2},
                {GGML_TYPE_Q8_0, 2e-2}, {GGML_TYPE_Q5_1, 2e-2}, {GGML_TYPE_Q4_0, 2e-2}};
    for (size_t i = 0; i < sizeof type / sizeof *type; i++) {
        op_shape s = base;
        s.type_k = s.type_v = type[i].type;
        check_shape(s, ggml_type_name(type[i].type), type[i].tolerance);
    }
    op_shape s = base;
    s.type_k = GGML_TYPE_Q8_0;
    check_shape(s, "Q8_0 keys, F16 values", 2e-2);
}

static void test_features(void)
{
    op_shape s = base;
    s.type_k = s.type_v = GGML_TYPE_F32;
    s.n_kv_head = 6;
    check_shape(s, "no grouping", 1e-5);
    s.n_kv_head = 1;
    check_shape(s, "one KV head", 1e-5);
    s = base;
    s.type_k = s.type_v = GGML_TYPE_F32;
    s.softcap = 8.0f;
    check_shape(s, "soft-cap", 1e-5);
    s.softcap = 0.0f;
    s.sinks = true;
    check_shape(s, "learned sinks", 1e-5);
    s.sinks = false;
    s.d_v = 32;
    check_shape(s, "d_v below d_k", 1e-5);
    s.d_k = 40;
    s.d_v = 72;
    check_shape(s, "odd sizes", 1e-5);
    s = base;
    s.type_k = s.type_v = GGML_TYPE_F32;
    s.n_tok = 1;
    check_shape(s, "one token", 1e-5);
    s.n_tok = 300;
    check_shape(s, "prompt from the start", 1e-5);
    s.n_kv = s.n_tok = 1;
    check_shape(s, "the first token", 1e-5);
    s = base;
    s.type_k = s.type_v = GGML_TYPE_F32;
    s.n_stream = 3;
    check_shape(s, "three streams", 1e-5);
    s.n_stream = 1;
    s.mask = false;
    check_shape(s, "no mask", 1e-5);
}

/* Edits of the layer's rows beside ggml's kernel under a mask with the same holes; edits of another
 * layer change nothing. */
static void test_edits(void)
{
    static const st_edit edit[] = {{ST_EDIT_DENY, 3, -1, 240, 300, 17, 90},
                                   {ST_EDIT_KEEP, -1, -1, 280, 290, 100, 250},
                                   {ST_EDIT_DENY, 4, -1, 0, 300, 0, 300}};
    op o = op_new(base);
    float *want, *got;
    for (int way = 0; way < 4; way++) {
        st_ggml_params p = st_ggml_params_default();
        p.select.k = 1 << 20;
        p.exact = way % 2 == 1;
        p.n_tok = 300;
        p.edit = edit;
        p.n_edit = way < 2 ? 3 : 0;
        op_causal_mask(&o);
        for (int64_t row = 0; way < 2 && row < 70; row++) /* position 230 + row */
            for (int64_t key = 0; key < 300; key++)
                if ((row >= 10 && key >= 17 && key < 90) ||
                    (row >= 50 && row < 60 && (key < 100 || key >= 250)))
                    *op_mask_at(&o, row, key) = 0xfc00;
        want = op_compute(&o, cpu);
        op_causal_mask(&o);
        CHECK_STATUS(st_ggml_configure(&p, NULL, NULL), ST_OK);
        got = op_compute(&o, ours);
        CHECK(want != NULL && got != NULL && distance(got, want, ggml_nelements(o.node)) < 2e-3);
        free(want);
        free(got);
    }
    configure(8, false, NULL);
    op_free(&o);
}

/* Masks that are not plainly causal. */
static void test_masks(void)
{
    op_shape s = base;
    op o;
    s.type_k = s.type_v = GGML_TYPE_F32;
    o = op_new(s);
    for (int64_t i = 0; i < s.n_tok; i++) /* sliding window of 50 */
        for (int64_t j = 0; j < s.n_kv - s.n_tok + i - 49; j++)
            *op_mask_at(&o, i, j) = 0xfc00;
    check_same(&o, "sliding window", 1e-5);
    op_causal_mask(&o);
    for (int64_t i = 0; i < s.n_tok; i++) /* two sequences: the second starts at cell 256 */
        for (int64_t j = 0; j < s.n_kv; j++)
            if ((s.n_kv - s.n_tok + i >= 256) != (j >= 256))
                *op_mask_at(&o, i, j) = 0xfc00;
    check_same(&o, "two sequences", 1e-5);
    op_causal_mask(&o);
    for (int64_t i = 0; i < s.n_tok; i++) /* two interleaved sequences */
        for (int64_t j = 0; j < s.n_kv; j++)
            if ((i + s.n_kv - s.n_tok + j) % 2)
                *op_mask_at(&o, i, j) = 0xfc00;
    check_same(&o, "interleaved sequences", 1e-5);
    op_causal_mask(&o);
    for (int64_t i = 0; i < s.n_tok; i++) /* cells freed in the middle, the last rows are padding */
        for (int64_t j = 0; j < s.n_kv; j++)
            if ((j > 100 && j < 120) || i >= s.n_tok - 3)
                *op_mask_at(&o, i, j) = 0xfc00;
    check_same(&o, "holes", 1e-5);
    for (int64_t i = 0; i < s.n_tok; i++) /* every row sees everything: not causal */
        for (int64_t j = 0; j < s.n_kv; j++)
            *op_mask_at(&o, i, j) = 0;
    check_same(&o, "not causal", 1e-5);
    op_free(&o);
    s.max_bias = 8.0f; /* ALiBi: the mask holds minus the distance */
    o = op_new(s);
    for (int64_t i = 0; i < s.n_tok; i++)
        for (int64_t j = 0; j <= s.n_kv - s.n_tok + i; j++)
            *op_mask_at(&o, i, j) = sti_f32_f16((float)(j - (s.n_kv - s.n_tok + i)));
    check_same(&o, "ALiBi", 1e-5);
    op_free(&o);
}

/* What cannot be done faithfully is left to ggml. */
static void test_declined(void)
{
    op o = op_new(base);
    struct ggml_tensor was = *o.mask;
    CHECK(ggml_backend_dev_supports_op(device, o.node));
    o.mask->ne[2] = 2; /* a mask per head */
    CHECK(!ggml_backend_dev_supports_op(device, o.node));
    *o.mask = was;
    o.node->src[1]->nb[0] = 128; /* a transposed cache */
    CHECK(!ggml_backend_dev_supports_op(device, o.node));
    o.node->src[1]->nb[0] = 2;
    o.node->src[0]->ne[2] = 5; /* heads that do not divide */
    CHECK(!ggml_backend_dev_supports_op(device, o.node));
    o.node->src[0]->ne[2] = base.n_head;
    o.node->src[0]->type = GGML_TYPE_F16;
    CHECK(!ggml_backend_dev_supports_op(device, o.node));
    o.node->src[0]->type = GGML_TYPE_F32;
    o.node->op = GGML_OP_MUL_MAT; /* not ours */
    CHECK(!ggml_backend_dev_supports_op(device, o.node));
    o.node->op = GGML_OP_FLASH_ATTN_EXT;
    CHECK(ggml_backend_dev_supports_op(device, o.node));
    st_ggml_params p = st_ggml_params_default();
    p.enabled = false;
    CHECK_STATUS(st_ggml_configure(&p, NULL, NULL), ST_OK);
    CHECK(!ggml_backend_dev_supports_op(device, o.node));
    configure(8, false, NULL);
    op_free(&o);
}

/* ---- pruned runs ----------------------------------------------------------------------------- */

/* The same node on a backend without a past. */
static float *compute_fresh(op *o)
{
    ggml_backend_t fresh = ggml_backend_dev_init(device, NULL);
    float *out = op_compute(o, fresh);
    ggml_backend_free(fresh);
    return out;
}

static bool identical(float *a, float *b, const op *o)
{
    bool same = a != NULL && b != NULL && memcmp(a, b, ggml_nbytes(o->node)) == 0;
    free(a);
    free(b);
    return same;
}

/* A node of n_tok rows over the first n_kv cells of another node's cache: the same memory, as in a
 * model. */
static op over_cache_of(op *owner, int n_tok, int n_kv)
{
    op_shape s = owner->s;
    op o;
    s.n_tok = n_tok;
    s.n_kv = n_kv;
    o = op_new(s);
    o.node->src[1]->data = owner->cache_k->data;
    o.node->src[2]->data = owner->cache_v->data;
    return o;
}

/* A cache that is rewound or edited behind our back gives what a fresh backend gives. */
static void test_cache_edits(void)
{
    op_shape s = base;
    op o, next;
    st_ggml_stats stats;
    st_ggml_params p = st_ggml_params_default();
    float *got;
    s.n_tok = s.n_kv = 257;
    s.n_cache = 320;
    o = op_new(s);
    configure(6, false, NULL);
    st_ggml_take_stats(&stats);
    CHECK(identical(op_compute(&o, ours), compute_fresh(&o), &o));
    st_ggml_take_stats(&stats);
    CHECK_EQ(stats.n_sparse, 2);
    CHECK(stats.keys_bytes > 0);
    CHECK(identical(op_compute(&o, ours), compute_fresh(&o), &o)); /* the prompt again: rewound */
    op_fill(o.cache_k, 1.0f); /* another prompt in the same cells */
    CHECK(identical(op_compute(&o, ours), compute_fresh(&o), &o));
    st_ggml_take_stats(&stats);
    CHECK_EQ(stats.n_rebuilt, 0); /* a run from the start needs no detective */

    /* one more token: the summary is trusted, until the keys under it change (a shift, an edit) */
    next = over_cache_of(&o, 1, 258);
    p.select.k = 6;
    p.select.method = ST_SELECT_SCAN; /* whose choice does not depend on the queries of the past */
    CHECK_STATUS(st_ggml_configure(&p, NULL, NULL), ST_OK);
    got = op_compute(&next, ours);
    st_ggml_take_stats(&stats);
    CHECK_EQ(stats.n_rebuilt, 0);
    CHECK(identical(got, compute_fresh(&next), &next));
    op_fill(o.cache_k, 1.0f);
    st_ggml_take_stats(&stats);
    got = op_compute(&next, ours);
    st_ggml_take_stats(&stats);
    CHECK_EQ(stats.n_rebuilt, 1);
    CHECK(identical(got, compute_fresh(&next), &next));
    op_free(&next);
    op_free(&o);
}

/* Token by token over a growing cache: the summary grows along and chooses as a fresh one would. */
static void test_growing(void)
{
    op_shape s = base;
    st_ggml_stats stats;
    st_ggml_params p = st_ggml_params_default();
    op whole;
    s.n_cache = 256;
    s.n_tok = s.n_kv = 200;
    whole = op_new(s);
    p.select.k = 6;
    p.select.method = ST_SELECT_SCAN;
    CHECK_STATUS(st_ggml_configure(&p, NULL, NULL), ST_OK);
    free(op_compute(&whole, ours));
    st_ggml_take_stats(&stats);
    for (int n = 201; n < 240; n++) {
        op o = over_cache_of(&whole, 1, n);
        float *got = op_compute(&o, ours);
        CHECK(identical(got, compute_fresh(&o), &o));
        op_free(&o);
    }
    st_ggml_take_stats(&stats);
    CHECK_EQ(stats.n_rebuilt, 0);
    op_free(&whole);
}

/* A window whose rows come one at a time shows from one graph to the next; keys removed at the
 * front do not look like one. */
static void test_window_by_steps(void)
{
    enum { WINDOW = 150 };
    for (int removed = 0; removed < 2; removed++) {
        ggml_backend_t fresh = ggml_backend_dev_init(device, NULL);
        op_shape s = base;
        st_ggml_stats stats;
        op whole;
        s.n_cache = 256;
        s.n_tok = s.n_kv = 100;
        whole = op_new(s);
        configure(6, false, NULL);
        free(op_compute(&whole, fresh));
        st_ggml_take_stats(&stats);
        for (int n = 101; n < 200; n++) {
            op o = over_cache_of(&whole, 1, n);
            for (int j = 0; j < (removed ? (n > 150 ? 40 : 0) : n - WINDOW); j++)
                *op_mask_at(&o, 0, j) = 0xfc00;
            free(op_compute(&o, fresh));
            op_free(&o);
        }
        st_ggml_take_stats(&stats);
        CHECK_EQ(stats.n_sparse + stats.n_exact, 99);
        if (removed)
            CHECK_EQ(stats.n_exact, 0);
        else /* the step at which the window first moves, and all after it */
            CHECK_EQ(stats.n_exact, 200 - (WINDOW + 1));
        op_free(&whole);
        ggml_backend_free(fresh);
    }
}

/* ---- the sink -------------------------------------------------------------------------------- */

struct seen {
    int n_chunk, n_sparse, n_exact, n_cert, layer;
    int64_t rows, kept, visible;
    bool sound;
    bool cert_spread; /* row i of n certified ones lies in the i-th n-th of the rows but the last */
};

static st_status look(void *ctx, const st_chunk *c, st_error *err)
{
    struct seen *s = ctx;
    (void)err;
    s->n_chunk++;
    s->n_sparse += c->kind == ST_CHUNK_SPARSE;
    s->n_exact += c->kind == ST_CHUNK_EXACT;
    s->n_cert += (int)c->n_cert;
    s->layer = c->layer;
    s->rows += c->n_q;
    s->kept += c->kept_pairs;
    s->visible += c->visible_pairs;
    for (int64_t row = 0; row < c->sel->n_head * c->sel->nbq; row++) {
        double sum = 0.0;
        for (int64_t i = c->sel->indptr[row]; i < c->sel->indptr[row + 1]; i++)
            sum += c->mass[i];
        s->sound = s->sound && sum > 0.3 && sum < 1.0001;
    }
    s->cert_spread = c->n_cert > 0;
    for (int64_t i = 0; i < c->n_cert; i++)
        s->cert_spread = s->cert_spread && c->cert_rows[i] >= i * (c->n_q - 1) / c->n_cert &&
                         c->cert_rows[i] < (i + 1) * (c->n_q - 1) / c->n_cert;
    for (int64_t i = 0; i < c->n_cert; i++)
        s->sound = s->sound && c->cert_rows[i] >= c->first_query &&
                   c->cert_rows[i] < c->first_query + c->n_q && c->cert_recall[i] > 0.0f &&
                   c->cert_recall[i] <= 1.0f;
    return ST_OK;
}

/* ctx: blocks read, pairs kept and visible, chunks. */
static st_status look_briefly(void *ctx, const st_chunk *c, st_error *err)
{
    int64_t *sum = ctx;
    (void)err;
    sum[0] += c->sel->indptr[c->sel->n_head * c->sel->nbq];
    sum[1] += c->kept_pairs;
    sum[2] += c->visible_pairs;
    sum[3] += c->kind == ST_CHUNK_EXACT && c->lse == NULL && c->groups == NULL;
    return ST_OK;
}

static st_status refuse(void *ctx, const st_chunk *c, st_error *err)
{
    (void)ctx;
    return sti_fail(err, ST_ERR_IO, c->first_query, "the sink is full");
}

static void test_sink(void)
{
    op_shape s = base;
    struct seen seen = {.sound = true};
    st_sink sink = {look, &seen}, full = {refuse, NULL};
    st_error err;
    op o;
    s.n_tok = s.n_kv = 300;
    o = op_new(s);
    configure(6, false, &sink);
    free(op_compute(&o, ours));
    CHECK_EQ(seen.n_sparse, 1);
    CHECK_EQ(seen.layer, 3);
    CHECK_EQ(seen.rows, 300);
    CHECK_EQ(seen.visible, 6 * st_causal_pairs(0, 300));
    CHECK(seen.kept < seen.visible && seen.sound);
    CHECK_EQ(seen.n_cert, 32); /* one in each stratum; the last row comes apart from them */
    CHECK(seen.cert_spread);
    seen = (struct seen){.sound = true};
    configure(6, true, &sink); /* exact mode gives the sink nothing */
    free(op_compute(&o, ours));
    CHECK_EQ(seen.n_chunk, 0);
    for (int64_t i = 0; i < s.n_tok; i++) /* a window: exact, recorded */
        for (int64_t j = 0; j < i - 30; j++)
            *op_mask_at(&o, i, j) = 0xfc00;
    configure(6, false, &sink);
    free(op_compute(&o, ours));
    CHECK(seen.n_exact > 0 && seen.n_sparse == 0 && seen.rows == 300 && seen.sound);
    {
        st_ggml_params p = st_ggml_params_default();
        int64_t sum[4] = {0};
        st_sink brief = {look_briefly, sum};
        float *told = op_compute(&o, ours), *briefly;
        p.n_tok = 300;
        p.precise = precise;
        p.brief = true;
        CHECK_STATUS(st_ggml_configure(&p, &brief, NULL), ST_OK);
        briefly = op_compute(&o, ours); /* the same output, and pairs, without what was read */
        CHECK(distance(told, briefly, 300 * 6 * 64) < 1e-3);
        CHECK(sum[0] == 0 && sum[3] > 0 && sum[1] == sum[2]);
        CHECK_EQ(2 * sum[2], seen.visible); /* which was told twice */
        free(told);
        free(briefly);
    }
    op_causal_mask(&o);
    o.node->op_params[1] =
        0x41000000; /* ALiBi (max_bias 8.0): exact, and no pair is seen that is hidden */
    seen = (struct seen){.sound = true};
    configure(6, false, &sink);
    free(op_compute(&o, ours));
    CHECK(seen.n_exact == 1 && seen.n_sparse == 0);
    CHECK_EQ(seen.visible, 6 * st_causal_pairs(0, 300));
    o.node->op_params[1] = 0;
    configure(6, false, &full); /* a sink that fails stops the graph and says why */
    ggml_backend_t fresh = ggml_backend_dev_init(device, NULL);
    CHECK(ggml_backend_graph_compute(fresh, o.graph) != GGML_STATUS_SUCCESS);
    CHECK_EQ(st_ggml_take_error(&err), ST_ERR_IO);
    CHECK(strcmp(err.message, "the sink is full") == 0);
    CHECK_EQ(st_ggml_take_error(&err), ST_OK);
    ggml_backend_free(fresh);
    op_free(&o);
}

int main(void)
{
    ggml_backend_reg_t reg;
    st_ggml_register();
    reg = ggml_backend_reg_by_name("sparsetrace");
    CHECK(reg != NULL && ggml_backend_reg_dev_count(reg) == 1);
    device = ggml_backend_reg_dev_get(reg, 0);
    ours = ggml_backend_dev_init(device, NULL);
    cpu = ggml_backend_cpu_init();
    ((void (*)(ggml_backend_t, int))ggml_backend_reg_get_proc_address(
        reg, "ggml_backend_set_n_threads"))(ours, 2);
    test_types();
    test_features();
    test_masks();
    test_edits();
    test_declined();
    test_cache_edits();
    test_growing();
    test_window_by_steps();
    test_sink();
    ggml_backend_free(ours);
    ggml_backend_free(cpu);
    return check_report();
}
