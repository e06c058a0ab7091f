/* SPDX-License-Identifier: MIT
 *
 * layer.c — the path of a micro-batch through one layer.
 */
#include <string.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "ggml/layer.h"
#include "ggml/token_rows.h"
#include "ggml/value_size.h"

#define MATCH_SAMPLES 32 /* keys compared with the cache before a summary is trusted again */

sti_layer *sti_layers_get(sti_layers *all, int layer, const void *cache)
{
    for (int64_t i = 0; i < all->n; i++)
        if (all->item[i].layer == layer && all->item[i].cache == cache)
            return &all->item[i];
    for (int64_t i = 0; i < all->n; i++)
        if (all->item[i].layer == layer && all->item[i].cache == NULL) {
            all->item[i].cache = cache;
            return &all->item[i];
        }
    if (!sti_grow((void **)&all->item, &all->cap, all->n + 1, sizeof *all->item))
        return NULL;
    all->item[all->n] = (sti_layer){.layer = layer, .cache = cache};
    return &all->item[all->n++];
}

void sti_layers_free(sti_layers *all)
{
    for (int64_t i = 0; i < all->n; i++)
        if (all->item[i].keys != NULL) {
            sti_stats_keys_bytes(-(int64_t)st_keys_bytes(all->item[i].keys));
            st_keys_free(all->item[i].keys);
        }
    sti_free(all->item);
}

/* Adds the time since *since to *ns and moves *since on. */
static void lap(int64_t *since, int64_t *ns)
{
    int64_t now = sti_now_ns();
    *ns += now - *since;
    *since = now;
}

st_status sti_layer_make_keys(sti_layer *l, int n_kv_head, int d_k, int bk, const sti_settings *s,
                              st_error *err)
{
    st_keys_free(l->keys);
    l->keys = NULL;
    STI_TRY(st_keys_create(n_kv_head, d_k, bk, &l->keys, err));
    l->n_kv_head = n_kv_head;
    l->d_k = d_k;
    l->bk = bk;
    if (s->p.lean)
        st_keys_set_lean(l->keys);
    /* where the length is known: no growing by half, which copies and could leave a third unused */
    if (s->p.n_tok > 0 && !st_keys_reserve(l->keys, s->p.n_tok))
        return sti_fail_mem(err, (size_t)s->p.n_tok * (size_t)d_k);
    return ST_OK;
}

/* A loaded summary belongs to this very cache: another one would be thrown away without a word, and
 * the run would go on as no uninterrupted one does. */
static st_status check_restored(const sti_layer *l, const st_attn *a, int bk, st_error *err)
{
    if (!l->restored || l->keys == NULL || st_keys_count(l->keys) == 0)
        return ST_OK;
    if (l->n_kv_head == a->n_kv_head && l->d_k == a->d_k && l->bk == bk &&
        st_keys_count(l->keys) == a->first_query &&
        st_keys_match(l->keys, a, MATCH_SAMPLES, l->n_call))
        return ST_OK;
    return sti_fail(err, ST_ERR_FORMAT, -1,
                    "layer %d: the loaded summary is not of the keys in the cache", l->layer);
}

/* Brings the summary up to date with the cache. */
static st_status update_keys(sti_layer *l, const st_attn *a, const sti_settings *s, st_pool *pool,
                             st_ggml_stats *stats, st_error *err)
{
    int bk = s->p.select.bk;
    int64_t before = l->keys != NULL ? (int64_t)st_keys_bytes(l->keys) : 0;
    st_status status = ST_OK;
    STI_TRY(check_restored(l, a, bk, err));
    if (l->keys == NULL || l->n_kv_head != a->n_kv_head || l->d_k != a->d_k || l->bk != bk)
        status = sti_layer_make_keys(l, a->n_kv_head, a->d_k, bk, s, err);
    if (status != ST_OK) {
        st_keys_free(l->keys);
        l->keys = NULL;
        sti_stats_keys_bytes(-before);
        return status;
    }
    st_keys_truncate(l->keys, a->first_query);
    l->n_saved = sti_min(l->n_saved, st_keys_count(l->keys));
    if (!st_keys_match(l->keys, a, MATCH_SAMPLES, l->n_call++)) {
        st_keys_truncate(l->keys, 0);
        l->n_saved = 0;
        stats->n_rebuilt++;
    }
    status = st_keys_append(l->keys, a, pool, err);
    sti_stats_keys_bytes((int64_t)st_keys_bytes(l->keys) - before);
    return status;
}

/* ---- certificate ----------------------------------------------------------------------------- */

/* The rows that certified ones are drawn from, [first, end), cut into n strata whose lengths differ
 * by one at most: so each row stands for as many as any other, and the plain mean of what they show
 * is unbiased. Rows that are exact anyway have none; the last row of the sequence stands apart. */
struct strata {
    int64_t first, end, n;
};

static struct strata strata_of(const sti_settings *s)
{
    struct strata x = {.end = s->p.n_tok - 1};
    x.first = sti_clamp(s->p.exact_below, 0, sti_max(x.end, 0));
    x.n = sti_clamp(s->p.cert_rows, 0, sti_max(x.end - x.first, 0));
    return x;
}

static int64_t stratum_begin(const struct strata *x, int64_t i)
{
    return x->first + i * (x->end - x->first) / x->n;
}

/* Rows of this micro-batch to certify: one of each stratum that falls in it. rows: room for
 * cert_rows + 1. */
static int64_t certified_rows(const sti_settings *s, int layer, const st_attn *a, int64_t *rows)
{
    struct strata x = strata_of(s);
    int64_t n = 0, begin = a->first_query, end = begin + a->n_q;
    for (int64_t i = 0; i < x.n; i++) {
        int64_t from = stratum_begin(&x, i), size = stratum_begin(&x, i + 1) - from;
        int64_t row = from + (int64_t)(sti_mix(s->p.seed ^ (uint64_t)layer << 40 ^ (uint64_t)i) %
                                       (uint64_t)size);
        if (row >= begin && row < end)
            rows[n++] = row - begin;
    }
    return n;
}

/* Everything the sink is told of a micro-batch; freed by record_free. */
struct record {
    float *mass, *lse, *recall, *err_rel;
    float *last_recall, *last_err; /* [n_head] each, one piece of memory */
    int64_t *rows;
    int64_t n_row;
    bool has_last;
    st_group_sums groups;
    float *value;
};

static void record_free(struct record *r)
{
    sti_free(r->mass);
    sti_free(r->lse);
    sti_free(r->recall);
    sti_free(r->err_rel);
    sti_free(r->last_recall);
    sti_free(r->rows);
    sti_free(r->groups.sum);
    sti_free(r->value);
}

/* Room for what the rows give from group to group, if that is wanted. */
static bool groups_alloc(st_group_sums *g, const st_attn *a, const sti_settings *s)
{
    if (s->p.n_group == 0)
        return true;
    *g = (st_group_sums){.group = s->p.group, .n_group = s->p.n_group};
    g->n =
        st_groups_touched(g->group, g->n_group, a->first_query, a->first_query + a->n_q, &g->first);
    g->sum = sti_alloc((size_t)(a->n_head * g->n * g->n_group) * sizeof *g->sum);
    return g->sum != NULL;
}

static bool record_alloc(struct record *r, const st_attn *a, int64_t nnz, const sti_settings *s)
{
    size_t samples = (size_t)a->n_head * ((size_t)s->p.cert_rows + 1);
    r->mass = sti_alloc((size_t)nnz * sizeof *r->mass);
    r->lse = s->p.lse ? sti_alloc((size_t)a->n_head * (size_t)a->n_q * sizeof *r->lse) : NULL;
    r->recall = sti_alloc(samples * sizeof *r->recall);
    r->err_rel = sti_alloc(samples * sizeof *r->err_rel);
    r->rows = sti_alloc(((size_t)s->p.cert_rows + 1) * sizeof *r->rows);
    r->last_recall = sti_alloc((size_t)a->n_head * 2 * sizeof *r->last_recall);
    r->last_err = r->last_recall + a->n_head;
    return groups_alloc(&r->groups, a, s) && r->mass && (r->lse || !s->p.lse) && r->recall &&
           r->err_rel && r->rows && r->last_recall;
}

/* Exact attention of the certified rows, and of the sequence's last row if it is here. */
static st_status certify(struct record *r, const st_attn *a, const st_attend_out *sparse,
                         const st_selection *sel, const sti_settings *s, int layer, st_pool *pool,
                         st_error *err)
{
    int64_t last = s->p.n_tok - 1 - a->first_query;
    r->n_row = certified_rows(s, layer, a, r->rows);
    r->has_last = s->p.cert_rows > 0 && last >= 0 && last < a->n_q;
    STI_TRY(st_certify(a, sel, sparse, r->rows, r->n_row, pool, r->recall, r->err_rel, err));
    return st_certify(a, sel, sparse, &last, r->has_last, pool, r->last_recall, r->last_err, err);
}

static st_status give(const sti_settings *s, const sti_layer *l, const st_attn *a,
                      const st_selection *sel, st_chunk_kind kind, const float *mass,
                      struct record *r, st_ggml_stats *stats, st_error *err)
{
    st_chunk c = {.layer = l->layer,
                  .kind = kind,
                  .first_query = a->first_query,
                  .n_q = a->n_q,
                  .sel = sel,
                  .mass = mass,
                  .lse = r->lse,
                  .n_cert = r->n_row,
                  .cert_rows = r->rows,
                  .cert_recall = r->recall,
                  .cert_err = r->err_rel,
                  .last_recall = r->has_last ? r->last_recall : NULL,
                  .last_err = r->has_last ? r->last_err : NULL,
                  .groups = r->groups.n_group > 0 ? &r->groups : NULL,
                  .value = r->value};
    int64_t since = sti_now_ns();
    st_status status;
    st_selection_pairs(sel, a, &c.kept_pairs, &c.visible_pairs);
    if (kind == ST_CHUNK_EXACT)
        c.kept_pairs = c.visible_pairs;
    for (int64_t i = 0; i < r->n_row; i++)
        r->rows[i] += a->first_query;
    status = s->sink.chunk(s->sink.ctx, &c, err);
    lap(&since, &stats->sink_ns);
    return status;
}

static double attend_flop(const st_attn *a, int64_t pairs)
{
    return 2.0 * (double)(a->d_k + a->d_v) * (double)pairs;
}

/* ---- the two paths --------------------------------------------------------------------------- */

/* With what was weighed and left out the groups have all that is known of the exact attention. */
static void add_left(const st_group_sums *groups, const st_group_sums *left, int n_head)
{
    for (int64_t i = 0; i < n_head * groups->n * groups->n_group; i++)
        groups->sum[i] += left->sum[i];
}

/* left: of st_select_weighed; sum NULL: there are no groups. */
static st_status sparse_with_record(sti_layer *l, const st_attn *a, const st_attend_out *out,
                                    const st_selection *sel, const st_group_sums *left,
                                    const sti_settings *s, st_pool *pool, st_ggml_stats *stats,
                                    st_error *err)
{
    struct record r = {0};
    st_attend_out full = *out;
    int64_t nnz = sel->indptr[sel->n_head * sel->nbq], since = sti_now_ns();
    st_status status = ST_OK;
    if (!record_alloc(&r, a, nnz, s))
        status = sti_fail_mem(err, (size_t)nnz * sizeof *r.mass);
    full.mass = r.mass;
    full.lse = r.lse;
    full.groups = r.groups.n_group > 0 ? &r.groups : NULL;
    if (status == ST_OK)
        status = st_attend(a, sel, pool, &full, err);
    if (status == ST_OK && left->sum != NULL)
        add_left(&r.groups, left, a->n_head);
    lap(&since, &stats->attend_ns);
    if (status == ST_OK)
        status = certify(&r, a, &full, sel, s, l->layer, pool, err);
    if (status == ST_OK)
        status = sti_value_sizes(s, l->layer, a, s->p.select.bk, pool, &r.value, err);
    lap(&since, &stats->certify_ns);
    if (status == ST_OK)
        status = give(s, l, a, sel, ST_CHUNK_SPARSE, r.mass, &r, stats, err);
    record_free(&r);
    return status;
}

st_status sti_layer_sparse(sti_layer *l, const st_attn *a, const st_attend_out *out,
                           const sti_settings *s, st_pool *pool, st_error *err)
{
    st_ggml_stats stats = {.n_sparse = 1};
    st_selection *sel = NULL;
    st_group_sums left = {.n = 0};
    bool told = s->sink.chunk != NULL && s->p.n_row == 0; /* of blocks, not of rows */
    int64_t since = sti_now_ns();
    st_status status = update_keys(l, a, s, pool, &stats, err);
    lap(&since, &stats.keys_ns);
    if (status == ST_OK && told && !groups_alloc(&left, a, s))
        status = sti_fail_mem(err, (size_t)a->n_head * (size_t)s->p.n_group * sizeof(float));
    if (status == ST_OK)
        status = st_select_weighed(a, &s->p.select, l->keys, pool,
                                   left.sum != NULL ? &left : NULL, &sel, err);
    if (status == ST_OK)
        status = st_selection_keep(sel, a, err);
    lap(&since, &stats.select_ns);
    if (status == ST_OK) {
        int64_t kept, visible;
        st_selection_pairs(sel, a, &kept, &visible);
        stats.n_scanned = sel->scanned;
        stats.attend_flop = attend_flop(a, kept);
        since = sti_now_ns();
        if (told) {
            status = sparse_with_record(l, a, out, sel, &left, s, pool, &stats, err);
        } else {
            status = st_attend(a, sel, pool, out, err);
            lap(&since, &stats.attend_ns);
        }
        if (status == ST_OK && s->sink.chunk != NULL && s->p.n_row > 0)
            status = sti_token_rows_give(s, l->layer, a, pool, err);
    }
    sti_free(left.sum);
    st_selection_free(sel);
    sti_stats_add(&stats);
    return status;
}

/* The widest row of a, in key blocks, edges included. */
static int64_t widest_row(const st_attn *a, int bk)
{
    int64_t widest = 1;
    for (int64_t i = 0; i < a->n_q; i++)
        widest = sti_max(widest, (sti_row_hi(a, i) - sti_row_lo(a, i)) / bk + 2);
    return widest;
}

/* Tells the sink of rows whose reads nobody wants to know: how many pairs they have. */
static st_status give_brief(const sti_settings *s, const sti_layer *l, const st_attn *a,
                            st_ggml_stats *stats, st_error *err)
{
    const st_select_params *p = &s->p.select;
    int32_t none;
    struct record r = {0};
    st_selection sel = {.n_head = a->n_head, .bq = p->bq, .bk = p->bk, .indices = &none};
    st_status status;
    sel.first_blk = a->first_query / p->bq;
    sel.nbq = (a->first_query + a->n_q - 1) / p->bq - sel.first_blk + 1;
    sel.nbk = sti_ceil_div(a->n_k, p->bk);
    sel.indptr = sti_calloc(((size_t)a->n_head * (size_t)sel.nbq + 1) * sizeof *sel.indptr);
    if (sel.indptr == NULL)
        return sti_fail_mem(err, (size_t)a->n_head * (size_t)sel.nbq * sizeof *sel.indptr);
    status = give(s, l, a, &sel, ST_CHUNK_EXACT, NULL, &r, stats, err);
    sti_free(sel.indptr);
    return status;
}

st_status sti_layer_exact(sti_layer *l, const st_attn *a, const st_attend_out *out, bool causal,
                          const sti_settings *s, st_pool *pool, st_error *err)
{
    st_ggml_stats stats = {.n_exact = 1};
    const st_select_params *p = &s->p.select;
    int64_t since = sti_now_ns();
    st_status status;
    if (l->keys != NULL && causal && a->first_query == 0) {
        st_keys_truncate(l->keys, 0); /* another text begins: nothing of the last may steer it */
        l->n_saved = 0;
    }
    for (int64_t i = 0; i < a->n_q; i++)
        stats.attend_flop +=
            attend_flop(a, (int64_t)a->n_head * (sti_row_hi(a, i) - sti_row_lo(a, i)));
    if (s->sink.chunk == NULL || !causal || l->layer < 0 || s->p.brief || s->p.n_row > 0) {
        status = st_attend_exact(a, pool, out, err);
        lap(&since, &stats.attend_ns);
        if (status == ST_OK && s->sink.chunk != NULL && causal && l->layer >= 0)
            status = s->p.n_row > 0 ? sti_token_rows_give(s, l->layer, a, pool, err)
                                    : give_brief(s, l, a, &stats, err);
    } else {
        st_selection *sel = NULL;
        struct record r = {0};
        st_attend_out full = *out;
        int64_t k = (int64_t)p->k, k_max = a->bias != NULL ? k : sti_max(k, widest_row(a, p->bk));
        bool room = groups_alloc(&r.groups, a, s);
        if (s->p.lse)
            r.lse = sti_alloc((size_t)a->n_head * (size_t)a->n_q * sizeof *r.lse);
        full.lse = r.lse;
        full.groups = r.groups.n_group > 0 ? &r.groups : NULL;
        status = !room || (s->p.lse && r.lse == NULL)
                     ? sti_fail_mem(err, (size_t)a->n_head * (size_t)a->n_q * sizeof *r.lse)
                     : st_attend_exact_heaviest(a, p->bq, p->bk, k_max, pool, &full, &sel, err);
        lap(&since, &stats.attend_ns);
        if (status == ST_OK)
            status = sti_value_sizes(s, l->layer, a, p->bk, pool, &r.value, err);
        if (status == ST_OK)
            status = give(s, l, a, sel, ST_CHUNK_EXACT, sel->mass, &r, &stats, err);
        record_free(&r);
        st_selection_free(sel);
    }
    sti_stats_add(&stats);
    return status;
}
