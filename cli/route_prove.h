/* SPDX-License-Identifier: MIT
 *
 * route_prove.h — are the routes that were found how the model comes to its next token?
 */
#ifndef CLI_ROUTE_PROVE_H
#define CLI_ROUTE_PROVE_H

#include "sparsetrace/analyse.h"
#include "sparsetrace/engine.h"

typedef struct route_prove_args {
    const char *model;
    int64_t n_random, seed, n_thread;
    bool quiet;
} route_prove_args;

/* Opens the model the trace was made with, and proves the hops of all routes together, each once.
 * *model and *proof are the caller's on success (st_model_free, st_proof_free). */
st_status route_prove(const route_prove_args *args, const st_trace *trace, const st_routes *routes,
                      st_model **model, st_proof *proof, st_error *err);

#endif
