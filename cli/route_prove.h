/* SPDX-License-Identifier: MIT
 *
 * route_prove.h — are the routes that were found how the model comes to its next token?
 */
#ifndef CLI_ROUTE_PROVE_H
#define CLI_ROUTE_PROVE_H

#include "route_run.h"

typedef struct route_prove_args {
    int64_t n_random, seed;
    bool each;
} route_prove_args;

/* Proofs of routes: `all` of their hops together, each once, and `each` [n_route] route by itself
 * if that was asked for, else NULL. A route without hops has a proof with nothing in it. */
typedef struct route_proofs {
    const st_model *model; /* the one that the trace was made with; NULL: nothing was proved */
    st_proof all, *each;
    int64_t n_each;
} route_proofs;

/* Runs the opened model. On failure nothing is left to free. */
st_status route_prove(const route_prove_args *args, route_run *run, const st_trace *trace,
                      const st_routes *routes, route_proofs *proofs, st_error *err);
void route_proofs_free(route_proofs *proofs);

#endif
