/* SPDX-License-Identifier: MIT
 *
 * test_routes.c — routes of traces small enough to be worked out by hand, and the identity that the
 * weights of all routes add up to the flow.
 */
#include <math.h>

#include "../format/sample_trace.h"
#include "check.h"
#include "sparsetrace/analyse.h"

enum { N_TOK = 8, MOST_BLOCKS = 4, MOST_HEADS = 2, MOST_LAYERS = 2 };

/* mass[l][h][b][c], below 0: not kept */
typedef float masses[MOST_LAYERS][MOST_HEADS][MOST_BLOCKS][MOST_BLOCKS];

static void nothing(masses m)
{
    for (int i = 0; i < MOST_LAYERS * MOST_HEADS * MOST_BLOCKS * MOST_BLOCKS; i++)
        ((float *)m)[i] = -1.0f;
}

static st_status add_layer(st_trace_writer *w, masses m, int l, int n_head, int bq, int bk)
{
    int64_t indptr[MOST_HEADS * MOST_BLOCKS + 1] = {0}, n = 0, nbq = N_TOK / bq;
    int32_t indices[MOST_HEADS * MOST_BLOCKS * MOST_BLOCKS];
    float mass[MOST_HEADS * MOST_BLOCKS * MOST_BLOCKS];
    st_selection sel = {.n_head = n_head,
                        .bq = bq,
                        .bk = bk,
                        .nbq = nbq,
                        .nbk = N_TOK / bk,
                        .indptr = indptr,
                        .indices = indices};
    st_chunk chunk = {
        .layer = 10 + l, .n_q = N_TOK, .sel = &sel, .mass = mass, .visible_pairs = 1000};
    for (int h = 0; h < n_head; h++)
        for (int64_t b = 0; b < nbq; b++) {
            for (int c = 0; c < N_TOK / bk; c++)
                if (m[l][h][b][c] >= 0.0f) {
                    mass[n] = m[l][h][b][c];
                    indices[n++] = c;
                }
            indptr[h * nbq + b + 1] = n;
        }
    return st_trace_writer_add(w, &chunk, NULL);
}

static st_trace *make(masses m, int n_layer, int n_head, int bq, int bk)
{
    const char *path = sample_path("routes.st");
    st_trace_writer *w;
    st_trace *t = NULL;
    CHECK_STATUS(st_trace_writer_create(path, N_TOK, bq, bk, NULL, &w, NULL), ST_OK);
    for (int l = 0; l < n_layer; l++)
        CHECK_STATUS(add_layer(w, m, l, n_head, bq, bk), ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    return t;
}

static st_routes *find(const st_trace *t, st_route_params p)
{
    st_routes *r = NULL;
    CHECK_STATUS(st_routes_find(t, &p, &r, NULL), ST_OK);
    return r;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12;
}

/* ---- a planted route of two hops ------------------------------------------------------------- */

/* Blocks of two. Everybody reads itself, but head 1 of the first layer takes block 1 to block 2 and
 * head 0 of the second takes block 2 to block 3. */
static st_trace *planted(void)
{
    masses m;
    nothing(m);
    for (int l = 0; l < 2; l++)
        for (int h = 0; h < 2; h++)
            for (int b = 0; b < 4; b++)
                m[l][h][b][b] = 1.0f;
    m[0][1][2][1] = m[0][1][2][2] = 0.5f;
    m[1][0][3][2] = 1.0f;
    m[1][0][3][3] = -1.0f;
    return make(m, 2, 2, 2, 2);
}

static void check_hop(const st_route_hop *h, int layer, int head, int64_t query, int64_t key,
                      double mass, double weight)
{
    CHECK_EQ(h->layer, layer);
    CHECK_EQ(h->head, head);
    CHECK_EQ(h->query_begin, query);
    CHECK_EQ(h->query_end, query + 2);
    CHECK_EQ(h->key_begin, key);
    CHECK_EQ(h->key_end, key + 2);
    CHECK(near(h->mass, mass));
    CHECK(near(h->weight, weight));
}

static void test_planted(void)
{
    st_trace *t = planted();
    st_route_params p = st_route_params_default();
    st_routes *r;
    p.source_begin = 2;
    p.source_end = 4;
    r = find(t, p);
    CHECK(near(r->flow, 0.03125)); /* (0.25 * 1) / 2, then (0.5 * that) / 2 */
    CHECK_EQ(r->n_route, 1);
    CHECK(near(r->route[0].weight, 0.03125));
    CHECK_EQ(r->route[0].n_hop, 2);
    check_hop(&r->route[0].hop[0], 10, 1, 4, 2, 0.5, 0.125);
    check_hop(&r->route[0].hop[1], 11, 0, 6, 4, 1.0, 0.25);
    CHECK_EQ(r->n_layer, 2);
    CHECK(near(r->layer[0].between, 1) && near(r->layer[0].at_source, 0));
    CHECK(near(r->layer[1].at_target, 1) && r->layer[1].layer == 11);
    CHECK_EQ(r->n_head, 2); /* both move all of it */
    CHECK(near(r->head[0].share, 1) && near(r->head[1].share, 1));
    CHECK_EQ(r->source_begin * 1000 + r->source_end * 100 + r->target_begin * 10 + r->target_end,
             2000 + 400 + 60 + 8);
    st_routes_free(r);
    p.source_end = 3; /* half of the block: half of the flow */
    r = find(t, p);
    CHECK(near(r->flow, 0.015625) && near(r->route[0].weight, 0.015625));
    st_routes_free(r);
    st_trace_free(t);
}

static void test_heads(void)
{
    static const st_route_head both[] = {{.layer = 10, .head = 1}, {.layer = 11, .head = 0}};
    st_trace *t = planted();
    st_route_params p = {.source_begin = 2, .source_end = 4, .n_route = 3, .head = both};
    st_routes *r;
    p.n_head = 2;
    r = find(t, p);
    CHECK(near(r->flow, 0.03125)); /* the others only stay, which the norm counts all the same */
    CHECK_EQ(r->n_route, 1);
    st_routes_free(r);
    p.n_head = 1; /* the second hop is cut */
    r = find(t, p);
    CHECK(r->flow == 0 && r->n_route == 0 && r->n_head == 0 && r->n_layer == 2);
    st_routes_free(r);
    st_trace_free(t);
}

/* ---- what must hold -------------------------------------------------------------------------- */

/* Rows of a query block see only what comes before them: mass on its second key block is the second
 * half's alone, twice as much. */
static void test_nothing_flows_backwards(void)
{
    masses m;
    st_trace *t;
    st_routes *r;
    st_route_params p = {
        .source_begin = 5, .source_end = 8, .target_begin = 4, .target_end = 6, .n_route = 10};
    nothing(m);
    m[0][0][0][0] = 1.0f;
    m[0][0][1][0] = 0.25f;
    m[0][0][1][2] = 0.5f;
    m[0][0][1][3] = 0.25f;
    t = make(m, 1, 1, 4, 2);
    r = find(t, p);
    CHECK(near(r->flow, 0.5)); /* (0.5 + 0.5 * 0.5) / 1.5 */
    st_routes_free(r);
    p.target_begin = p.target_end = 0; /* the last token */
    r = find(t, p);
    CHECK(near(r->flow, 0.875)); /* (1 + 0.5 * 0.5 + 0.5 * 1) / 2 */
    st_routes_free(r);
    st_trace_free(t);
}

/* The first key block moves nothing unless asked to. */
static void test_sink(void)
{
    masses m;
    st_trace *t;
    st_routes *r;
    st_route_params p = {.source_begin = 0, .source_end = 2, .n_route = 10};
    nothing(m);
    for (int b = 0; b < 4; b++)
        m[0][0][b][0] = 0.5f;
    m[0][0][3][2] = 0.5f;
    t = make(m, 1, 1, 2, 2);
    r = find(t, p);
    CHECK(r->flow == 0);
    st_routes_free(r);
    p.sink = true;
    r = find(t, p);
    CHECK(near(r->flow, 0.25)); /* 0.5 / (1 + 1) */
    st_routes_free(r);
    p.sink = false;
    p.source_begin = 4;
    p.source_end = 6;
    r = find(t, p);
    CHECK(near(r->flow, 0.5 / 1.5));
    st_routes_free(r);
    st_trace_free(t);
}

/* Every route of a dense little trace: the weights fall, and add up to the flow; so do the shares
 * of each layer to 1. */
static void test_routes_add_up(int bq, int bk)
{
    masses m;
    st_trace *t;
    st_routes *r;
    st_route_params p = {
        .source_begin = 3, .source_end = 6, .n_route = ST_ROUTES_MAX, .sink = true};
    double sum = 0;
    nothing(m);
    for (int l = 0; l < 2; l++)
        for (int h = 0; h < 2; h++)
            for (int b = 0; b < N_TOK / bq; b++)
                for (int c = 0; c * bk < (b + 1) * bq; c++)
                    m[l][h][b][c] = (float)(1 + (l * 7 + h * 5 + b * 3 + c * 11) % 13) / 64.0f;
    t = make(m, 2, 2, bq, bk);
    r = find(t, p);
    CHECK(r->n_route > 10 && r->n_route < ST_ROUTES_MAX);
    for (int64_t i = 0; i < r->n_route; i++) {
        sum += r->route[i].weight;
        CHECK(i == 0 || r->route[i].weight <= r->route[i - 1].weight * (1 + 1e-12));
    }
    CHECK(near(sum, r->flow));
    for (int64_t i = 0; i < r->n_layer; i++)
        CHECK(near(r->layer[i].at_source + r->layer[i].between + r->layer[i].at_target, 1));
    p.n_route = 4; /* fewer are the first of many */
    for (int64_t n = p.n_route; n > 0; n--) {
        st_routes *few = find(t, p);
        CHECK_EQ(few->n_route, p.n_route);
        CHECK(near(few->route[n - 1].weight, r->route[n - 1].weight));
        st_routes_free(few);
    }
    st_routes_free(r);
    st_trace_free(t);
}

static void test_bad_arguments(void)
{
    static const st_route_head far[] = {{.layer = 10, .head = 1}, {.layer = 12, .head = 0}};
    st_trace *t = planted();
    st_error err;
    st_routes *r = (st_routes *)t;
    const st_route_params bad[] = {
        {.source_begin = 2, .source_end = 2},
        {.source_begin = 3, .source_end = 2},
        {.source_begin = -1, .source_end = 2},
        {.source_begin = 2, .source_end = 9},
        {.source_begin = INT64_MIN, .source_end = INT64_MAX},
        {.source_begin = 2, .source_end = 4, .target_begin = 5, .target_end = 5},
        {.source_begin = 2, .source_end = 4, .target_begin = 5, .target_end = 9},
        {.source_begin = 4, .source_end = 6, .target_begin = 2, .target_end = 4},
        {.source_begin = 2, .source_end = 4, .n_route = -1},
        {.source_begin = 2, .source_end = 4, .n_route = ST_ROUTES_MAX + 1},
        {.source_begin = 2, .source_end = 4, .n_head = 1},
        {.source_begin = 2, .source_end = 4, .n_head = 2, .head = far},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(st_routes_find(t, &bad[i], &r, &err), ST_ERR_ARG);
        CHECK(r == NULL);
    }
    CHECK(strstr(err.message, "head 0 of layer 12") != NULL && err.position == 1);
    st_routes_free(NULL);
    st_trace_free(t);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_find_text(void)
{
    const char *path = sample_path("text.st");
    sample s = sample_default();
    st_trace *t;
    int64_t begin = -1, end = -1, n = -1;
    st_error err;
    CHECK_STATUS(sample_write(&s, path, NULL, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
    /* the text: " abb a" then the two halves of one character, then " abb abb ..." */
    CHECK_STATUS(st_trace_find_text(t, "\xc3\xa9", 2, 0, &begin, &end, &n, &err), ST_OK);
    CHECK(begin == 4 && end == 6 && n == 1);
    CHECK_STATUS(st_trace_find_text(t, "a\xc3", 2, 1, &begin, &end, &n, &err), ST_OK);
    CHECK(begin == 3 && end == 5);
    CHECK_STATUS(st_trace_find_text(t, "bb a", 4, 2, &begin, &end, &n, &err), ST_OK);
    CHECK(begin == 7 && end == 10);
    CHECK_STATUS(st_trace_find_text(t, "b", 1, 0, &begin, &end, &n, &err), ST_ERR_ARG);
    CHECK(n == 31 && strstr(err.message, "31 times") != NULL);
    CHECK_STATUS(st_trace_find_text(t, "b", 1, 32, &begin, &end, NULL, &err), ST_ERR_ARG);
    CHECK_STATUS(st_trace_find_text(t, "c", 1, 0, &begin, &end, &n, &err), ST_ERR_ARG);
    CHECK_EQ(n, 0);
    CHECK_STATUS(st_trace_find_text(t, "", 0, 0, &begin, &end, &n, &err), ST_ERR_ARG);
    CHECK_STATUS(st_trace_find_text(t, "b", 1, -1, &begin, &end, &n, &err), ST_ERR_ARG);
    st_trace_free(t);
    t = planted(); /* has no text */
    CHECK_STATUS(st_trace_find_text(t, "b", 1, 0, &begin, &end, &n, &err), ST_ERR_ARG);
    CHECK(strstr(err.message, "no text") != NULL);
    st_trace_free(t);
}

int main(void)
{
    test_planted();
    test_heads();
    test_nothing_flows_backwards();
    test_sink();
    test_routes_add_up(2, 2);
    test_routes_add_up(4, 2);
    test_routes_add_up(2, 4);
    test_bad_arguments();
    test_find_text();
    return check_report();
}
