/* SPDX-License-Identifier: MIT
 *
 * route_net.c — cells, and the entries of a query block as weights.
 *
 * Weights by value are masses times sizes, in whatever unit the sizes have; the residual stream
 * gets the weight, in that unit, that leaves its share of the reader's state what it is by mass.
 *
 * A mass is a mean over all rows of a query block, but a key block inside the query block is seen
 * only by the rows from its first token on: they get the whole of it, and nothing flows backwards.
 */
#include "analyse/route_net.h"

/* Cuts the sequence at every block boundary. */
static st_status make_cells(sti_net *n, st_error *err)
{
    const st_trace_info *i = &n->info;
    int64_t at = 0, most = i->nbq + i->nbk;
    size_t bytes = (size_t)(most + 1) * sizeof *n->cell;
    n->cell = sti_alloc(bytes);
    n->key = sti_alloc((size_t)(i->nbk + 1) * sizeof *n->key);
    n->query = sti_alloc((size_t)(i->nbq + 1) * sizeof *n->query);
    if (n->cell == NULL || n->key == NULL || n->query == NULL)
        return sti_fail_mem(err, bytes);
    while (at < i->n_tok) {
        int64_t to_query = (at / i->bq + 1) * i->bq, to_key = (at / i->bk + 1) * i->bk;
        if (at % i->bq == 0)
            n->query[at / i->bq] = n->n_cell;
        if (at % i->bk == 0)
            n->key[at / i->bk] = n->n_cell;
        n->cell[n->n_cell++] = at;
        at = sti_min(to_query, to_key);
    }
    n->cell[n->n_cell] = i->n_tok;
    n->query[i->nbq] = n->n_cell;
    n->key[i->nbk] = n->n_cell;
    return ST_OK;
}

st_status sti_net_init(sti_net *net, const st_trace *trace, const st_route_params *params,
                       st_error *err)
{
    *net = (sti_net){.trace = trace, .params = params};
    st_trace_get_info(trace, &net->info);
    return make_cells(net, err);
}

void sti_net_free(sti_net *n)
{
    sti_free(n->cell);
    sti_free(n->key);
    sti_free(n->query);
    sti_free(n->far);
    sti_free(n->near);
    sti_free(n->base);
    sti_free(n->norm);
    sti_free(n->used);
}

static bool wanted(const st_route_params *p, int layer, int head)
{
    for (int64_t i = 0; i < p->n_head; i++)
        if (p->head[i].layer == layer && p->head[i].head == head)
            return true;
    return p->n_head == 0;
}

st_status sti_net_layer(sti_net *n, int64_t i, st_error *err)
{
    STI_TRY(st_trace_get_layer(n->trace, i, &n->layer, err));
    if (!sti_grow((void **)&n->used, &n->used_cap, n->layer.n_head, sizeof *n->used))
        return sti_fail_mem(err, (size_t)n->layer.n_head);
    for (int64_t h = 0; h < n->layer.n_head; h++)
        n->used[h] = wanted(n->params, n->layer.layer, n->layer.head[h]);
    return ST_OK;
}

static st_status add(sti_read **list, int64_t *n, int64_t *cap, sti_read read, st_error *err)
{
    if (!sti_grow((void **)list, cap, *n + 1, sizeof **list))
        return sti_fail_mem(err, (size_t)(*n + 1) * sizeof **list);
    (*list)[(*n)++] = read;
    return ST_OK;
}

/* What an entry's mass is weighed by. The trace may be one that was not validated. */
static double size_of(const sti_net *n, int64_t h, int64_t c)
{
    double size;
    if (n->params->by != ST_ROUTE_WEIGHT_VALUE)
        return 1.0;
    size = (double)n->layer.value[h * n->info.nbk + c];
    return size >= 0.0 && size <= 1e30 ? size : 0.0;
}

/* Takes in one entry: counts in the cells' norms, and is listed if its head is used. */
static st_status take(sti_net *n, int64_t h, int64_t c, double mass, st_error *err)
{
    int64_t first = n->query[n->blk], end = n->query[n->blk + 1];
    int64_t begin_tok = n->cell[first], end_tok = n->cell[end], key_tok = c * n->info.bk;
    bool near = sti_min(key_tok + n->info.bk, n->info.n_tok) > begin_tok;
    sti_read read = {c, (int)h, mass, mass / (double)n->layer.n_head};
    double by_mass;
    if (key_tok >= end_tok || (c == 0 && !n->params->sink))
        return ST_OK;
    if (key_tok > begin_tok)
        read.weight *= (double)(end_tok - begin_tok) / (double)(end_tok - key_tok);
    by_mass = read.weight;
    read.weight *= size_of(n, h, c);
    for (int64_t x = sti_max(first, n->key[c]); near && x < end; x++) {
        n->base[x - first] += by_mass;
        n->norm[x - first] += read.weight;
    }
    n->far_mass += near ? 0.0 : by_mass;
    n->far_sum += near ? 0.0 : read.weight;
    if (!n->used[h])
        return ST_OK;
    return near ? add(&n->near, &n->n_near, &n->near_cap, read, err)
                : add(&n->far, &n->n_far, &n->far_cap, read, err);
}

st_status sti_net_block(sti_net *n, int64_t blk, st_error *err)
{
    int64_t n_cell = n->query[blk + 1] - n->query[blk];
    n->blk = blk;
    n->n_far = n->n_near = 0;
    n->far_mass = n->far_sum = 0.0;
    if (!sti_grow((void **)&n->base, &n->base_cap, n_cell, sizeof *n->base) ||
        !sti_grow((void **)&n->norm, &n->norm_cap, n_cell, sizeof *n->norm))
        return sti_fail_mem(err, (size_t)n_cell * sizeof *n->norm);
    for (int64_t x = 0; x < n_cell; x++)
        n->base[x] = n->norm[x] = 0.0;
    for (int64_t h = 0; h < n->layer.n_head; h++) {
        const int32_t *index;
        const uint16_t *f16;
        int64_t n_entry = st_trace_row(&n->layer, n->info.nbq, h, blk, &index, &f16);
        for (int64_t i = 0; i < n_entry; i++) {
            double mass = (double)st_trace_mass(f16[i]);
            if (index[i] >= 0 && index[i] < n->info.nbk && mass > 0.0 && mass <= 1.0)
                STI_TRY(take(n, h, index[i], mass, err));
        }
    }
    for (int64_t x = 0; x < n_cell; x++) {
        double by_mass = n->base[x] + n->far_mass, reads = n->norm[x] + n->far_sum;
        bool same = n->params->by != ST_ROUTE_WEIGHT_VALUE || reads <= 0.0;
        n->base[x] = same ? 1.0 : reads / by_mass;
        n->norm[x] = n->base[x] + reads;
    }
    return ST_OK;
}
