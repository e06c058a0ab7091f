/* SPDX-License-Identifier: MIT
 *
 * route_net.h — a trace as a network of cells: what each cell of a layer reads, and with which
 * weight. Shared by the flow (routes.c) and the search (route_search.c), so that both speak of the
 * same numbers.
 */
#ifndef STI_ROUTE_NET_H
#define STI_ROUTE_NET_H

#include "base/util.h"
#include "sparsetrace/analyse.h"

/* One stored entry of a query block. */
typedef struct sti_read {
    int64_t c;           /* key block */
    int head;            /* position in the layer's heads */
    double mass, weight; /* as stored; divided by the number of heads, for the rows that see c, and
                            by value times its size */
} sti_read;

typedef struct sti_net {
    const st_trace *trace;
    const st_route_params *params;
    st_trace_info info;
    int64_t n_cell;
    int64_t *cell;  /* [n_cell + 1] first token */
    int64_t *key;   /* [nbk + 1] first cell of a key block */
    int64_t *query; /* [nbq + 1] first cell of a query block */
    /* the query block at hand */
    st_trace_layer layer;
    int64_t blk;
    sti_read *far, *near; /* of used heads: before the query block, and reaching into it */
    int64_t n_far, n_near, far_cap, near_cap;
    /* Of each cell of the query block: weight of the residual stream, 1 by mass; that and all its
     * reads. Between the two, sizes cancel: base / norm is what it is by mass. */
    double *base, *norm;
    double far_mass, far_sum; /* what all its cells read from before it, by mass and by weight */
    bool *used;               /* heads of the layer */
    int64_t base_cap, norm_cap, used_cap;
} sti_net;

/* Cells. params: checked already, AUTO no more, and must live as long as the net. */
st_status sti_net_init(sti_net *net, const st_trace *trace, const st_route_params *params,
                       st_error *err);
void sti_net_free(sti_net *net);

/* Turns to a recorded layer (by position), then to a query block of it. */
st_status sti_net_layer(sti_net *net, int64_t i, st_error *err);
st_status sti_net_block(sti_net *net, int64_t blk, st_error *err);

static inline double sti_net_base(const sti_net *net, int64_t x)
{
    return net->base[x - net->query[net->blk]];
}

static inline double sti_net_norm(const sti_net *net, int64_t x)
{
    return net->norm[x - net->query[net->blk]];
}

/* Whether cell x sees key block c. */
static inline bool sti_net_sees(const sti_net *net, int64_t x, int64_t c)
{
    return net->key[c] <= x;
}

/* One past the last cell of key block c that cell x sees: behind x itself there are none. */
static inline int64_t sti_net_end(const sti_net *net, int64_t x, int64_t c)
{
    return sti_min(net->key[c + 1], x + 1);
}

/* Share of cell y among the cells first .. end - 1, by tokens. */
static inline double sti_net_share(const sti_net *net, int64_t y, int64_t first, int64_t end)
{
    return (double)(net->cell[y + 1] - net->cell[y]) / (double)(net->cell[end] - net->cell[first]);
}

/* Tokens of [begin, end) in cell x. */
static inline int64_t sti_net_overlap(const sti_net *net, int64_t x, int64_t begin, int64_t end)
{
    return sti_max(0, sti_min(end, net->cell[x + 1]) - sti_max(begin, net->cell[x]));
}

/* The heaviest routes into `out`, whose flow is above 0. best: [n_layer + 1, n_cell], the weight of
 * the heaviest way from the source to each cell; target: [n_cell] weights of the target's cells. */
st_status sti_route_search(sti_net *net, const double *best, const double *target, st_routes *out,
                           st_error *err);

#endif
