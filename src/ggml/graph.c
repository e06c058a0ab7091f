/* SPDX-License-Identifier: MIT
 *
 * graph.c — decides, row by row, what a mask means.
 *
 * A row is causal if its last visible key is one further than that of the row before or after it
 * (or if it is alone): then that key is its own position. Runs of such rows over one sequence are
 * pruned; windows, masks with holes or values, and rows without an order are attended exactly.
 */
#include <pthread.h>
#include <string.h>

#include "base/util.h"
#include "ggml/attn_op.h"
#include "ggml/graph.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sti_graph *newest;

sti_graph *sti_graph_new(void)
{
    sti_graph *g = sti_calloc(sizeof *g);
    if (g != NULL) {
        g->n_thread = 1;
        g->first_layer = g->last_layer = -1;
        pthread_mutex_lock(&lock);
        g->older = newest;
        newest = g;
        pthread_mutex_unlock(&lock);
    }
    return g;
}

sti_graph *sti_graph_newest(void)
{
    sti_graph *g;
    pthread_mutex_lock(&lock);
    g = newest;
    pthread_mutex_unlock(&lock);
    return g;
}

static void forget(const sti_graph *g)
{
    sti_graph **at = &newest;
    pthread_mutex_lock(&lock);
    while (*at != g)
        at = &(*at)->older;
    *at = g->older;
    pthread_mutex_unlock(&lock);
}

void sti_graph_free(sti_graph *g)
{
    if (g == NULL)
        return;
    forget(g);
    sti_layers_free(&g->layers);
    sti_mask_cache_free(&g->masks);
    sti_linear_free(g->linear);
    st_pool_free(g->pool);
    sti_free(g);
}

st_status sti_graph_set_threads(sti_graph *g, int n_thread, st_error *err)
{
    st_pool *pool;
    if (n_thread < 1 || n_thread == g->n_thread)
        return ST_OK;
    STI_TRY(st_pool_create(n_thread, &pool, err));
    st_pool_free(g->pool);
    g->pool = pool;
    g->n_thread = n_thread;
    return ST_OK;
}

/* The node's layer: its cache's, or, where several layers share a cache, the next in order. The
 * first layer of a run coming round again starts a new run. */
static int node_layer(sti_graph *g, const struct ggml_tensor *op)
{
    int owner = sti_op_cache_layer(op);
    if (owner < 0)
        return -1;
    if (g->first_layer < 0 || owner == g->first_layer)
        g->first_layer = g->last_layer = owner;
    else
        g->last_layer = owner > g->last_layer ? owner : g->last_layer + 1;
    return g->last_layer;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool is_causal_row(const sti_mask *m, int64_t i)
{
    if (m->hi[i] <= m->lo[i])
        return false;
    if (m->n_row == 1)
        return true;
    return (i > 0 && m->hi[i] == m->hi[i - 1] + 1) ||
           (i + 1 < m->n_row && m->hi[i + 1] == m->hi[i] + 1);
}

/* Rows of one sequence move their first key: a window. Also seen from one graph run to the next,
 * for rows that come one at a time; there only a step of one, since a larger one may be keys that
 * were removed. */
static bool moves_first_key(const sti_mask *m, sti_layer *l)
{
    bool moves = m->hi[0] == l->last_hi + 1 && m->lo[0] == l->last_lo + 1;
    for (int64_t i = 1; i < m->n_row; i++)
        moves = moves || (m->hi[i] == m->hi[i - 1] + 1 && m->lo[i] > m->lo[i - 1]);
    l->last_lo = m->lo[m->n_row - 1];
    l->last_hi = m->hi[m->n_row - 1];
    return moves;
}

static bool is_sparse_row(const sti_mask *m, int64_t i, const sti_layer *l, const sti_settings *s)
{
    return m->intervals && !s->p.exact && !l->windowed && is_causal_row(m, i) &&
           m->hi[i] - m->lo[i] > s->p.exact_below;
}

/* One past the last row of the run that starts at i: all of one kind; sparse ones of one sequence,
 * exact ones split where the order of positions breaks, unless they have none. */
static int64_t run_end(const sti_mask *m, int64_t i, const sti_layer *l, const sti_settings *s)
{
    bool sparse = is_sparse_row(m, i, l, s), causal = is_causal_row(m, i);
    int64_t j = i + 1;
    for (; j < m->n_row; j++) {
        if (is_sparse_row(m, j, l, s) != sparse || is_causal_row(m, j) != causal)
            break;
        if (causal && m->hi[j] != m->hi[j - 1] + 1)
            break;
        if (sparse && m->lo[j] != m->lo[i])
            break;
    }
    return j;
}

/* The rows of a layer that was loaded follow those it had seen. */
static st_status check_restored(const sti_layer *l, const sti_mask *m, st_error *err)
{
    if (!l->restored || l->last_hi == 0 || !m->intervals || m->hi[0] == l->last_hi + 1)
        return ST_OK;
    return sti_fail(err, ST_ERR_FORMAT, -1,
                    "layer %d: the loaded rows end at %d, the cache goes on with row %d", l->layer,
                    l->last_hi, m->hi[0] - 1);
}

/* The problem cut down to rows [i, j): keys up to the last that any of them sees. */
static st_attn sub_problem(const st_attn *whole, const sti_mask *m, int64_t i, int64_t j)
{
    st_attn a = *whole;
    int64_t n_k = 1, lo = 0;
    a.q.data = (const char *)a.q.data + i * a.q.stride_tok_bytes;
    a.n_q = j - i;
    for (int64_t r = i; r < j; r++) {
        n_k = sti_max(n_k, m->hi[r]);
        lo = sti_max(lo, m->lo[r]);
    }
    a.n_k = n_k;
    a.first_query = sti_max(m->hi[i] - 1, 0);
    if (a.bias != NULL)
        a.bias = (const uint16_t *)((const char *)a.bias + i * a.stride_bias_bytes);
    if (a.bias != NULL || lo > 0 || !is_causal_row(m, i)) {
        a.lo = m->lo + i;
        a.hi = m->hi + i;
    }
    return a;
}

/* Whether exact rows leave a record: not those of a dense run, but for rows token by token. */
static bool wants_chunks(const sti_settings *s)
{
    return !s->p.exact || s->p.n_row > 0;
}

/* The sink follows one sequence: the one that starts at the first key of stream 0. */
static st_status run_rows(sti_graph *g, sti_layer *l, const st_attn *whole,
                          const st_attend_out *out, const sti_mask *m, int64_t stream,
                          const sti_settings *s, st_error *err)
{
    for (int64_t i = 0; i < m->n_row;) {
        int64_t j = run_end(m, i, l, s);
        st_attn a = sub_problem(whole, m, i, j);
        st_attend_out part = *out;
        sti_settings here = *s;
        part.out += i * part.stride_tok;
        if (stream > 0 || (m->lo[i] > 0 && !l->windowed))
            here.sink.chunk = NULL;
        if (whole->bias == NULL && is_sparse_row(m, i, l, s))
            STI_TRY(sti_layer_sparse(l, &a, &part, &here, g->pool, err));
        else
            STI_TRY(sti_layer_exact(l, &a, &part, is_causal_row(m, i) && wants_chunks(s), &here,
                                    g->pool, err));
        i = j;
    }
    return ST_OK;
}

/* Gives a its own list of the edits that name the layer; sti_free. */
static st_status layer_edits(st_attn *a, const sti_settings *s, int layer, st_error *err)
{
    st_edit *edit;
    if (s->p.n_edit == 0 || layer < 0)
        return ST_OK;
    edit = sti_alloc((size_t)s->p.n_edit * sizeof *edit);
    if (edit == NULL)
        return sti_fail_mem(err, (size_t)s->p.n_edit * sizeof *edit);
    for (int64_t i = 0; i < s->p.n_edit; i++)
        if (s->p.edit[i].layer < 0 || s->p.edit[i].layer == layer)
            edit[a->n_edit++] = s->p.edit[i];
    a->edit = edit;
    return ST_OK;
}

static st_status run_stream(sti_graph *g, struct ggml_tensor *op, int64_t stream, int layer,
                            const sti_settings *s, st_error *err)
{
    const struct ggml_tensor *mask = op->src[3];
    st_attn a = sti_op_problem(op, stream);
    st_attend_out out = sti_op_output(op, stream);
    sti_layer *l = sti_layers_get(&g->layers, layer, a.k.data);
    st_ggml_stats stats = {.mask_ns = -sti_now_ns()};
    const sti_mask *m = sti_mask_get(&g->masks, mask, stream, a.n_q, a.n_k, layer, g->pool);
    float *slope = sti_alloc((size_t)a.n_head * sizeof *slope);
    st_status status = ST_OK;
    stats.mask_ns += sti_now_ns();
    sti_stats_add(&stats);
    sti_note_heads(layer, a.n_head);
    if (l == NULL || m == NULL || slope == NULL) {
        status = sti_fail_mem(err, (size_t)a.n_q * 8);
    } else {
        bool alibi = sti_op_alibi(op, slope);
        a.precise = s->p.precise;
        if (alibi || !m->intervals) {
            a.bias = (const uint16_t *)((const char *)mask->data +
                                        stream % mask->ne[3] * (int64_t)mask->nb[3]);
            a.stride_bias_bytes = (int64_t)mask->nb[1];
            a.slope = alibi ? slope : NULL;
        }
        status = check_restored(l, m, err);
        if (status == ST_OK)
            status = layer_edits(&a, s, layer, err);
        if (m->intervals && moves_first_key(m, l))
            l->windowed = true;
        if (status == ST_OK)
            status = run_rows(g, l, &a, &out, m, stream, s, err);
        l->restored = false;
    }
    sti_free((void *)a.edit);
    sti_free(slope);
    return status;
}

static st_status run_product(sti_graph *g, const struct ggml_tensor *op, st_error *err)
{
    st_ggml_stats stats = {.n_linear = 1};
    int64_t since = sti_now_ns();
    st_status status = sti_linear_node(&g->linear, op, g->pool, err);
    stats.linear_ns = sti_now_ns() - since;
    sti_stats_add(&stats);
    return status;
}

st_status sti_graph_node(sti_graph *g, struct ggml_tensor *op, const sti_settings *s, st_error *err)
{
    int layer;
    if (op->op == GGML_OP_MUL_MAT)
        return run_product(g, op, err);
    layer = node_layer(g, op);
    for (int64_t stream = 0; stream < op->src[0]->ne[3]; stream++)
        STI_TRY(run_stream(g, op, stream, layer, s, err));
    return ST_OK;
}
