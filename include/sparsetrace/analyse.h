/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/analyse.h — what a trace says of the way from one passage to another: routes, and
 * passages found by their text.
 *
 * A route leads from a source span of tokens, through layers, heads and the residual stream, to a
 * target span. docs/method/routes.md has the definition, what it shares with attention rollout,
 * attention flow and information-flow routes, and what it cannot see. In short, for each layer:
 *
 *     F'(x) = (F(x) + sum over heads h and key blocks c of m(h, b, c) / n_head * F(c)) / (1 + a)
 *
 * where F(x) is the share of the state at x that came from the source, m the stored mass, b the
 * query block of x, F(c) the mean over c's tokens, and a the sum of all m / n_head that occur. A
 * route is one term of this recurrence written out over all layers; its weight is the product of
 * its factors. The weights of all routes add up to the flow.
 *
 * By value (st_route_weight) the mean mass m / n_head is weighed by the size of what the head
 * writes by the read, |m v W_O|, where the run recorded it: a read of much that writes little then
 * moves little. What attention as a whole has against the residual stream stays as it is.
 *
 * Masses are of blocks, so places are cells: runs of tokens that share their query block and their
 * key block (bq 32, bk 16: key blocks). Tokens of a cell are not told apart. Weights are of
 * attention mass, not of effect: a head may read and write nothing of use. Only denying the route
 * in a run can tell.
 */
#ifndef SPARSETRACE_ANALYSE_H
#define SPARSETRACE_ANALYSE_H

#include "sparsetrace/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- routes ---------------------------------------------------------------------------------- */

typedef enum st_route_weight {
    ST_ROUTE_WEIGHT_AUTO = 0, /* value if every recorded layer has sizes of values, else mass */
    ST_ROUTE_WEIGHT_VALUE,    /* ST_ERR_ARG if a layer has none */
    ST_ROUTE_WEIGHT_MASS
} st_route_weight;

typedef struct st_route_head {
    int layer, head; /* the model's numbers */
    double share;    /* of the flow, moved from one cell to another by this head; as a parameter:
                        ignored. A route with several moves counts for each: the shares of all
                        heads may add up to more than 1 */
} st_route_head;

#define ST_ROUTES_MAX 1000

typedef struct st_route_params {
    int64_t source_begin, source_end; /* tokens [begin, end) */
    int64_t target_begin, target_end; /* 0, 0: the last token */
    int64_t n_route;                  /* routes wanted, 0..ST_ROUTES_MAX */
    /* false: attention to the first key block, the sink, moves nothing, as if it were not there.
     * A source in that block then goes nowhere */
    bool sink;
    /* only these heads move anything; the weights of their edges stay what they are. NULL, 0: all
     */
    const st_route_head *head;
    int64_t n_head;
    st_route_weight by; /* what edges weigh by */
} st_route_params;

/* No source yet; the last token; 10 routes; sink left out; all heads; weights AUTO. */
ST_API st_route_params st_route_params_default(void);

/* One move: in this layer, this head of the cell [query_begin, query_end) reads from the cell
 * [key_begin, key_end). */
typedef struct st_route_hop {
    int layer, head;                /* the model's numbers */
    int64_t query_begin, query_end; /* tokens */
    int64_t key_begin, key_end;     /* tokens */
    double mass;   /* as stored: mean over the rows of the query block, on the key block */
    double weight; /* share of the reader's state after the layer that this move is, 0..1 */
    double size;   /* of what the head writes by a read of this key block with all its mass
                      (st_trace_layer.value); -1: not recorded */
} st_route_hop;

typedef struct st_route {
    double weight;           /* share of the target's state that came this way, 0..1 */
    int64_t n_hop;           /* 0: source and target share a cell, and the state stayed there */
    const st_route_hop *hop; /* [n_hop] from the source on: rising layers */
} st_route;

/* Where the flow is after a layer. The three add up to 1; a cell that touches both spans counts as
 * source. */
typedef struct st_route_layer {
    int layer; /* the model's number */
    double at_source, between, at_target;
} st_route_layer;

typedef struct st_routes {
    double flow; /* share of the target's state that came from the source, 0..1; 0: the lists of
                    routes and heads are empty, the shares of the layers 0 */
    int64_t n_layer;
    const st_route_layer *layer; /* [n_layer] the recorded layers, rising */
    int64_t n_head;
    const st_route_head *head; /* [n_head] those of a share above 0, heaviest first */
    int64_t n_route;
    const st_route *route; /* [n_route] heaviest first: no other route is heavier than the last */
    /* tokens whose cells count as source and as target */
    int64_t source_begin, source_end, target_begin, target_end;
    bool by_value; /* the weights are by value */
} st_routes;

/* Finds the flow and the heaviest routes. Moves inside a cell, by whichever head, count as staying.
 * Layers, heads and query blocks that are not recorded move nothing; n_head of the formula is the
 * number of recorded heads. Time: two passes over the stored entries and a search that touches only
 * what the routes cross; memory 16 bytes for each layer and cell. The trace may be one that was not
 * validated: entries out of range are left out. Safe from several threads on one trace. *routes is
 * the caller's (st_routes_free), NULL on failure. Errors: ST_ERR_ARG (a span is empty or outside
 * the tokens, the source begins behind the target, a head that is not recorded, n_route,
 * weights by value that were not recorded), ST_ERR_MEM. */
ST_API st_status st_routes_find(const st_trace *trace, const st_route_params *params,
                                st_routes **routes, st_error *err);
ST_API void st_routes_free(st_routes *routes);

/* ---- passages by their text ------------------------------------------------------------------ */

/* Where `text` (n_bytes > 0 of any bytes) occurs in the trace's text, counting occurrences that do
 * not overlap, from the front. *count gets their number (also on failure; may be NULL). which >= 1:
 * the one of this number; 0: the only one. *begin, *end: the tokens that share a byte with it.
 * Errors: ST_ERR_ARG (the trace has no text; it does not occur; it occurs several times and which
 * is 0; there are fewer than which; the message says how many), ST_ERR_MEM. */
ST_API st_status st_trace_find_text(const st_trace *trace, const char *text, int64_t n_bytes,
                                    int64_t which, int64_t *begin, int64_t *end, int64_t *count,
                                    st_error *err);

#ifdef __cplusplus
}
#endif
#endif
