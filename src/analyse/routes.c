/* SPDX-License-Identifier: MIT
 *
 * routes.c — the flow from a source to a target, layer by layer: forward, what share of each cell's
 * state came from the source; backward, what share of the target's state will come from each cell.
 * Their product is the flow through a cell. Both passes are linear in the stored entries.
 */
#include <stdlib.h>

#include "analyse/route_net.h"

/* Everything of one call; a row of flow and best is [n_cell]. */
typedef struct flow {
    sti_net net;
    double *flow;                /* [n_layer + 1, n_cell] F after so many layers */
    double *best;                /* the same: weight of the heaviest single way */
    double *after, *before;      /* [n_cell] B behind and in front of a layer */
    double *key_flow, *key_best; /* [nbk] F of key blocks; their heaviest cell by its share */
    double *back;                /* [nbk] what readers behind a key block hand back to it */
    double *target;              /* [n_cell] B at the end */
    double *head;                /* of one layer: what each head moved */
    int64_t head_cap, shares_cap;
    st_route_layer *layers;
    st_route_head *shares;
    int64_t n_share;
} flow;

st_route_params st_route_params_default(void)
{
    return (st_route_params){.n_route = 10};
}

/* ---- the door -------------------------------------------------------------------------------- */

static st_status check_head(const st_trace *t, int64_t n_layer, const st_route_head *head,
                            int64_t at, st_error *err)
{
    st_trace_layer layer;
    for (int64_t i = 0; i < n_layer; i++)
        if (st_trace_get_layer(t, i, &layer, NULL) == ST_OK && layer.layer == head->layer)
            for (int64_t h = 0; h < layer.n_head; h++)
                if (layer.head[h] == head->head)
                    return ST_OK;
    return sti_fail(err, ST_ERR_ARG, at, "head %d of layer %d is not recorded", head->head,
                    head->layer);
}

static st_status check_span(const char *what, int64_t begin, int64_t end, int64_t n_tok,
                            st_error *err)
{
    if (begin >= 0 && begin < end && end <= n_tok)
        return ST_OK;
    return sti_fail(err, ST_ERR_ARG, -1, "the %s is tokens [%lld, %lld) of %lld", what,
                    (long long)begin, (long long)end, (long long)n_tok);
}

/* AUTO becomes what it comes to. */
static st_status check_weight(const st_trace *t, int64_t n_layer, st_route_params *p, st_error *err)
{
    st_trace_layer layer;
    if (p->by == ST_ROUTE_WEIGHT_MASS)
        return ST_OK;
    if (p->by != ST_ROUTE_WEIGHT_AUTO && p->by != ST_ROUTE_WEIGHT_VALUE)
        return sti_fail(err, ST_ERR_ARG, -1, "no weight %d", (int)p->by);
    for (int64_t i = 0; i < n_layer; i++) {
        STI_TRY(st_trace_get_layer(t, i, &layer, err));
        if (layer.value != NULL)
            continue;
        if (p->by == ST_ROUTE_WEIGHT_VALUE)
            return sti_fail(err, ST_ERR_ARG, layer.layer,
                            "layer %d has no sizes of values: they were not recorded", layer.layer);
        p->by = ST_ROUTE_WEIGHT_MASS;
        return ST_OK;
    }
    p->by = ST_ROUTE_WEIGHT_VALUE;
    return ST_OK;
}

static st_status check(const st_trace *t, st_route_params *p, st_error *err)
{
    st_trace_info info;
    st_trace_get_info(t, &info);
    if (p->target_begin == 0 && p->target_end == 0) {
        p->target_begin = info.n_tok - 1;
        p->target_end = info.n_tok;
    }
    STI_TRY(check_span("source", p->source_begin, p->source_end, info.n_tok, err));
    STI_TRY(check_span("target", p->target_begin, p->target_end, info.n_tok, err));
    if (p->source_begin >= p->target_end)
        return sti_fail(err, ST_ERR_ARG, p->source_begin,
                        "the source begins at token %lld, behind the target, which ends before "
                        "token %lld: nothing flows backwards",
                        (long long)p->source_begin, (long long)p->target_end);
    if (p->n_route < 0 || p->n_route > ST_ROUTES_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "%lld routes are wanted, must be 0..%d",
                        (long long)p->n_route, ST_ROUTES_MAX);
    if (p->n_head < 0 || (p->n_head > 0 && p->head == NULL))
        return sti_fail(err, ST_ERR_ARG, -1, "the list of heads is NULL");
    for (int64_t i = 0; i < p->n_head; i++)
        STI_TRY(check_head(t, info.n_layer, &p->head[i], i, err));
    return check_weight(t, info.n_layer, p, err);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* F and the heaviest way of each key block, from those of its cells. */
static void gather_keys(flow *f, const double *value, const double *best)
{
    const sti_net *n = &f->net;
    for (int64_t c = 0; c < n->info.nbk; c++) {
        f->key_flow[c] = f->key_best[c] = 0.0;
        for (int64_t y = n->key[c]; y < n->key[c + 1]; y++) {
            double share = sti_net_share(n, y, n->key[c], n->key[c + 1]);
            f->key_flow[c] += share * value[y];
            f->key_best[c] = share * best[y] > f->key_best[c] ? share * best[y] : f->key_best[c];
        }
    }
}

static void forward_cell(flow *f, int64_t x, double sum, double heaviest, const double *value,
                         const double *best, double *value_after, double *best_after)
{
    const sti_net *n = &f->net;
    double stay = sti_net_base(n, x);
    for (int64_t i = 0; i < n->n_near; i++) {
        const sti_read *r = &n->near[i];
        int64_t end = sti_net_end(n, x, r->c);
        for (int64_t y = n->key[r->c]; y < end; y++) {
            double w = r->weight * sti_net_share(n, y, n->key[r->c], end);
            sum += w * value[y];
            stay += y == x ? w : 0.0;
            heaviest = y != x && w * best[y] > heaviest ? w * best[y] : heaviest;
        }
    }
    heaviest = stay * best[x] > heaviest ? stay * best[x] : heaviest;
    value_after[x] = (sti_net_base(n, x) * value[x] + sum) / sti_net_norm(n, x);
    best_after[x] = heaviest / sti_net_norm(n, x);
}

static st_status forward(flow *f, int64_t i, st_error *err)
{
    sti_net *n = &f->net;
    const double *value = f->flow + i * n->n_cell, *best = f->best + i * n->n_cell;
    double *value_after = f->flow + (i + 1) * n->n_cell,
           *best_after = f->best + (i + 1) * n->n_cell;
    gather_keys(f, value, best);
    STI_TRY(sti_net_layer(n, i, err));
    for (int64_t b = 0; b < n->info.nbq; b++) {
        double sum = 0.0, heaviest = 0.0;
        STI_TRY(sti_net_block(n, b, err));
        for (int64_t k = 0; k < n->n_far; k++) {
            const sti_read *r = &n->far[k];
            double way = r->weight * f->key_best[r->c];
            sum += r->weight * f->key_flow[r->c];
            heaviest = way > heaviest ? way : heaviest;
        }
        for (int64_t x = n->query[b]; x < n->query[b + 1]; x++)
            forward_cell(f, x, sum, heaviest, value, best, value_after, best_after);
    }
    return ST_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* What cell x hands back to the cells it read near by; what each head moved. */
static void backward_cell(flow *f, int64_t x, double given, const double *value)
{
    const sti_net *n = &f->net;
    f->before[x] += given * sti_net_base(n, x);
    for (int64_t i = 0; i < n->n_near; i++) {
        const sti_read *r = &n->near[i];
        int64_t end = sti_net_end(n, x, r->c);
        for (int64_t y = n->key[r->c]; y < end; y++) {
            double back = given * r->weight * sti_net_share(n, y, n->key[r->c], end);
            f->before[y] += back;
            f->head[r->head] += y != x ? back * value[y] : 0.0;
        }
    }
}

static st_status backward(flow *f, int64_t i, st_error *err)
{
    sti_net *n = &f->net;
    const double *value = f->flow + i * n->n_cell;
    gather_keys(f, value, value);
    STI_TRY(sti_net_layer(n, i, err));
    if (!sti_grow((void **)&f->head, &f->head_cap, n->layer.n_head, sizeof *f->head))
        return sti_fail_mem(err, (size_t)n->layer.n_head * sizeof *f->head);
    memset(f->head, 0, (size_t)n->layer.n_head * sizeof *f->head);
    memset(f->before, 0, (size_t)n->n_cell * sizeof *f->before);
    memset(f->back, 0, (size_t)n->info.nbk * sizeof *f->back);
    for (int64_t b = 0; b < n->info.nbq; b++) {
        double given = 0.0;
        for (int64_t x = n->query[b]; x < n->query[b + 1]; x++)
            given += f->after[x];
        if (given <= 0.0) /* nothing of it goes on to the target */
            continue;
        STI_TRY(sti_net_block(n, b, err));
        given = 0.0;
        for (int64_t x = n->query[b]; x < n->query[b + 1]; x++) {
            double here = f->after[x] / sti_net_norm(n, x);
            given += here;
            backward_cell(f, x, here, value);
        }
        for (int64_t k = 0; k < n->n_far; k++) {
            const sti_read *r = &n->far[k];
            f->back[r->c] += given * r->weight;
            f->head[r->head] += given * r->weight * f->key_flow[r->c];
        }
    }
    for (int64_t c = 0; c < n->info.nbk; c++)
        for (int64_t y = n->key[c]; y < n->key[c + 1]; y++)
            f->before[y] += f->back[c] * sti_net_share(n, y, n->key[c], n->key[c + 1]);
    return ST_OK;
}

/* ---- what the two passes say ----------------------------------------------------------------- */

static void note_layer(flow *f, int64_t i, double total)
{
    const sti_net *n = &f->net;
    const st_route_params *p = n->params;
    const double *value = f->flow + (i + 1) * n->n_cell;
    st_route_layer at = {.layer = n->layer.layer};
    for (int64_t x = 0; x < n->n_cell && total > 0.0; x++) {
        double through = f->after[x] * value[x] / total;
        if (sti_net_overlap(n, x, p->source_begin, p->source_end) > 0)
            at.at_source += through;
        else if (sti_net_overlap(n, x, p->target_begin, p->target_end) > 0)
            at.at_target += through;
        else
            at.between += through;
    }
    f->layers[i] = at;
}

static st_status note_heads(flow *f, double total, st_error *err)
{
    const st_trace_layer *layer = &f->net.layer;
    for (int64_t h = 0; h < layer->n_head; h++) {
        if (f->head[h] <= 0.0 || total <= 0.0)
            continue;
        if (!sti_grow((void **)&f->shares, &f->shares_cap, f->n_share + 1, sizeof *f->shares))
            return sti_fail_mem(err, (size_t)(f->n_share + 1) * sizeof *f->shares);
        f->shares[f->n_share++] = (st_route_head){layer->layer, layer->head[h], f->head[h] / total};
    }
    return ST_OK;
}

static int by_share(const void *a, const void *b)
{
    const st_route_head *x = a, *y = b;
    if (x->share != y->share)
        return x->share < y->share ? 1 : -1;
    return x->layer != y->layer ? (x->layer > y->layer) - (x->layer < y->layer)
                                : (x->head > y->head) - (x->head < y->head);
}

static st_status run_passes(flow *f, st_routes *out, st_error *err)
{
    sti_net *n = &f->net;
    int64_t n_layer = n->info.n_layer;
    for (int64_t i = 0; i < n_layer; i++)
        STI_TRY(forward(f, i, err));
    for (int64_t x = 0; x < n->n_cell; x++)
        out->flow += f->target[x] * f->flow[n_layer * n->n_cell + x];
    memcpy(f->after, f->target, (size_t)n->n_cell * sizeof *f->after);
    for (int64_t i = n_layer - 1; i >= 0; i--) {
        double *swap = f->after;
        STI_TRY(backward(f, i, err));
        note_layer(f, i, out->flow);
        STI_TRY(note_heads(f, out->flow, err));
        f->after = f->before;
        f->before = swap;
    }
    if (f->n_share > 1)
        qsort(f->shares, (size_t)f->n_share, sizeof *f->shares, by_share);
    return ST_OK;
}

/* ---- a call ---------------------------------------------------------------------------------- */

static st_status reals(double **p, int64_t n, st_error *err)
{
    *p = (uint64_t)n <= SIZE_MAX / 2 / sizeof **p ? sti_calloc((size_t)n * sizeof **p) : NULL;
    return *p != NULL ? ST_OK : sti_fail_mem(err, (size_t)n * sizeof **p);
}

static st_status prepare(flow *f, st_error *err)
{
    sti_net *n = &f->net;
    const st_route_params *p = n->params;
    STI_TRY(reals(&f->flow, (n->info.n_layer + 1) * n->n_cell, err));
    STI_TRY(reals(&f->best, (n->info.n_layer + 1) * n->n_cell, err));
    STI_TRY(reals(&f->after, n->n_cell, err));
    STI_TRY(reals(&f->before, n->n_cell, err));
    STI_TRY(reals(&f->target, n->n_cell, err));
    STI_TRY(reals(&f->key_flow, n->info.nbk, err));
    STI_TRY(reals(&f->key_best, n->info.nbk, err));
    STI_TRY(reals(&f->back, n->info.nbk, err));
    f->layers = sti_calloc((size_t)n->info.n_layer * sizeof *f->layers);
    if (f->layers == NULL)
        return sti_fail_mem(err, (size_t)n->info.n_layer * sizeof *f->layers);
    for (int64_t x = 0; x < n->n_cell; x++) {
        double size = (double)(n->cell[x + 1] - n->cell[x]);
        f->flow[x] = (double)sti_net_overlap(n, x, p->source_begin, p->source_end) / size;
        f->best[x] = f->flow[x];
        f->target[x] = (double)sti_net_overlap(n, x, p->target_begin, p->target_end) /
                       (double)(p->target_end - p->target_begin);
    }
    return ST_OK;
}

static void flow_free(flow *f)
{
    sti_net_free(&f->net);
    sti_free(f->flow);
    sti_free(f->best);
    sti_free(f->after);
    sti_free(f->before);
    sti_free(f->key_flow);
    sti_free(f->key_best);
    sti_free(f->back);
    sti_free(f->target);
    sti_free(f->head);
    sti_free(f->layers);
    sti_free(f->shares);
}

/* The ends of the cells that hold tokens begin and end - 1. */
static void widen(const sti_net *n, int64_t begin, int64_t end, int64_t *first, int64_t *last)
{
    for (int64_t x = 0; x < n->n_cell; x++) {
        if (n->cell[x] <= begin)
            *first = n->cell[x];
        if (n->cell[x] < end)
            *last = n->cell[x + 1];
    }
}

static st_status find(flow *f, const st_route_params *p, const st_trace *trace, st_routes *out,
                      st_error *err)
{
    STI_TRY(sti_net_init(&f->net, trace, p, err));
    if (f->net.info.n_layer == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "the trace records no layer");
    STI_TRY(prepare(f, err));
    STI_TRY(run_passes(f, out, err));
    widen(&f->net, p->source_begin, p->source_end, &out->source_begin, &out->source_end);
    widen(&f->net, p->target_begin, p->target_end, &out->target_begin, &out->target_end);
    if (out->flow > 0.0)
        STI_TRY(sti_route_search(&f->net, f->best, f->target, out, err));
    out->by_value = p->by == ST_ROUTE_WEIGHT_VALUE;
    out->n_layer = f->net.info.n_layer;
    out->layer = f->layers;
    out->n_head = f->n_share;
    out->head = f->shares;
    f->layers = NULL; /* the result's now */
    f->shares = NULL;
    return ST_OK;
}

st_status st_routes_find(const st_trace *trace, const st_route_params *params, st_routes **routes,
                         st_error *err)
{
    st_route_params p = *params;
    flow f = {0};
    st_status status;
    *routes = NULL;
    STI_TRY(check(trace, &p, err));
    *routes = sti_calloc(sizeof **routes);
    if (*routes == NULL)
        return sti_fail_mem(err, sizeof **routes);
    status = find(&f, &p, trace, *routes, err);
    flow_free(&f);
    if (status != ST_OK) {
        st_routes_free(*routes);
        *routes = NULL;
    }
    return status;
}

void st_routes_free(st_routes *r)
{
    if (r == NULL)
        return;
    for (int64_t i = 0; i < r->n_route; i++)
        sti_free((void *)r->route[i].hop);
    sti_free((void *)r->route);
    sti_free((void *)r->layer);
    sti_free((void *)r->head);
    sti_free(r);
}
