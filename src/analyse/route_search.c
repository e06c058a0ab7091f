/* SPDX-License-Identifier: MIT
 *
 * route_search.c — the heaviest routes, one after the other, heaviest first.
 *
 * Best-first from the target back to the source. A part of a route is worth its own weight times
 * that of the heaviest way from the source to where it stands (A*, and the estimate is exact), so
 * only parts of routes that will be given out are taken up, and what has been completed is never
 * beaten by what has not.
 */
#include "analyse/route_net.h"

typedef struct part {
    double weight, worth;
    int64_t cell, layer; /* stands at this cell in front of this layer (by position) */
    int64_t next;        /* the part that it goes on to, -1: the target */
    int head;            /* of the hop from here to there, by number; -1: stays */
    double mass, hop_weight, size;
} part;

typedef struct search {
    sti_net *net;
    const double *best;
    part *part;
    int64_t n, cap;
    int64_t *heap;
    int64_t n_heap, heap_cap;
} search;

/* ---- a heap of parts ------------------------------------------------------------------------- */

/* Of equal worth the one nearer to the source goes first, then the older one. */
static bool ahead(const search *s, int64_t a, int64_t b)
{
    const part *x = &s->part[a], *y = &s->part[b];
    if (x->worth != y->worth)
        return x->worth > y->worth;
    return x->layer != y->layer ? x->layer < y->layer : a < b;
}

static void swap(search *s, int64_t i, int64_t j)
{
    int64_t keep = s->heap[i];
    s->heap[i] = s->heap[j];
    s->heap[j] = keep;
}

static st_status push(search *s, part p, st_error *err)
{
    int64_t i = s->n_heap;
    if (!sti_grow((void **)&s->part, &s->cap, s->n + 1, sizeof *s->part) ||
        !sti_grow((void **)&s->heap, &s->heap_cap, i + 1, sizeof *s->heap))
        return sti_fail_mem(err, (size_t)(s->n + 1) * sizeof *s->part);
    s->part[s->n] = p;
    s->heap[i] = s->n++;
    s->n_heap++;
    for (; i > 0 && ahead(s, s->heap[i], s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(s, i, (i - 1) / 2);
    return ST_OK;
}

static int64_t pop(search *s)
{
    int64_t top = s->heap[0], i = 0;
    s->heap[0] = s->heap[--s->n_heap];
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= s->n_heap)
            return top;
        if (child + 1 < s->n_heap && ahead(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!ahead(s, s->heap[child], s->heap[i]))
            return top;
        swap(s, i, child);
        i = child;
    }
}

/* ---- one step back --------------------------------------------------------------------------- */

/* The part that comes to `at` from cell y, over `edge` of a reader's state. The heaviest child is
 * worth what its parent is worth; rounding must not say otherwise, or equal routes would be
 * explored side by side without end. */
static st_status step(search *s, int64_t at, int64_t y, double edge, const sti_read *read,
                      st_error *err)
{
    const part *to = &s->part[at];
    part p = {
        .weight = to->weight * edge, .cell = y, .layer = to->layer - 1, .next = at, .head = -1};
    p.worth = p.weight * s->best[p.layer * s->net->n_cell + y];
    if (p.worth <= 0.0)
        return ST_OK;
    if (p.worth >= to->worth * (1.0 - 1e-12))
        p.worth = to->worth;
    if (read != NULL) {
        p.head = s->net->layer.head[read->head];
        p.mass = read->mass;
        p.hop_weight = edge;
        p.size = s->net->layer.value != NULL
                     ? (double)s->net->layer.value[read->head * s->net->info.nbk + read->c]
                     : -1.0;
    }
    return push(s, p, err);
}

static st_status expand(search *s, int64_t at, st_error *err)
{
    sti_net *n = s->net;
    int64_t x = s->part[at].cell, blk = n->cell[x] / n->info.bq;
    double stay, norm;
    STI_TRY(sti_net_layer(n, s->part[at].layer - 1, err));
    STI_TRY(sti_net_block(n, blk, err));
    norm = sti_net_norm(n, x);
    stay = sti_net_base(n, x);
    for (int64_t i = 0; i < n->n_far + n->n_near; i++) {
        const sti_read *r = i < n->n_far ? &n->far[i] : &n->near[i - n->n_far];
        int64_t end = sti_net_end(n, x, r->c);
        for (int64_t y = n->key[r->c]; y < end; y++) {
            double w = r->weight * sti_net_share(n, y, n->key[r->c], end);
            if (y == x)
                stay += w;
            else
                STI_TRY(step(s, at, y, w / norm, r, err));
        }
    }
    return step(s, at, x, stay / norm, NULL, err);
}

/* ---- routes ---------------------------------------------------------------------------------- */

static st_status give_out(search *s, int64_t from, st_route *route, st_error *err)
{
    const sti_net *n = s->net;
    st_route_hop *hop;
    int64_t n_hop = 0;
    for (int64_t i = from; s->part[i].next >= 0; i = s->part[i].next)
        n_hop += s->part[i].head >= 0;
    hop = sti_calloc((size_t)n_hop * sizeof *hop);
    if (hop == NULL)
        return sti_fail_mem(err, (size_t)n_hop * sizeof *hop);
    *route = (st_route){.weight = s->part[from].worth, .n_hop = n_hop, .hop = hop};
    for (int64_t i = from; s->part[i].next >= 0; i = s->part[i].next) {
        const part *p = &s->part[i];
        int64_t reader = s->part[p->next].cell;
        st_trace_layer layer;
        if (p->head < 0)
            continue;
        STI_TRY(st_trace_get_layer(n->trace, p->layer, &layer, err));
        *hop++ = (st_route_hop){.layer = layer.layer,
                                .head = p->head,
                                .query_begin = n->cell[reader],
                                .query_end = n->cell[reader + 1],
                                .key_begin = n->cell[p->cell],
                                .key_end = n->cell[p->cell + 1],
                                .mass = p->mass,
                                .weight = p->hop_weight,
                                .size = p->size};
    }
    return ST_OK;
}

static st_status run(search *s, const double *target, st_routes *out, st_error *err)
{
    const sti_net *n = s->net;
    int64_t n_layer = n->info.n_layer;
    st_route *route = sti_calloc((size_t)n->params->n_route * sizeof *route);
    if (route == NULL)
        return sti_fail_mem(err, (size_t)n->params->n_route * sizeof *route);
    out->route = route;
    for (int64_t x = 0; x < n->n_cell; x++) {
        double worth = target[x] * s->best[n_layer * n->n_cell + x];
        if (worth > 0.0)
            STI_TRY(push(s,
                         (part){.weight = target[x],
                                .worth = worth,
                                .cell = x,
                                .layer = n_layer,
                                .next = -1,
                                .head = -1},
                         err));
    }
    while (s->n_heap > 0 && out->n_route < n->params->n_route) {
        int64_t at = pop(s);
        if (s->part[at].layer == 0)
            STI_TRY(give_out(s, at, &route[out->n_route++], err));
        else
            STI_TRY(expand(s, at, err));
    }
    return ST_OK;
}

st_status sti_route_search(sti_net *net, const double *best, const double *target, st_routes *out,
                           st_error *err)
{
    search s = {.net = net, .best = best};
    st_status status = run(&s, target, out, err);
    sti_free(s.part);
    sti_free(s.heap);
    return status;
}
