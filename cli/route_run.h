/* SPDX-License-Identifier: MIT
 *
 * route_run.h — the model of a trace, opened to run the trace's own tokens again.
 */
#ifndef CLI_ROUTE_RUN_H
#define CLI_ROUTE_RUN_H

#include "out.h"
#include "sparsetrace/analyse.h"
#include "sparsetrace/engine.h"

typedef struct route_run {
    const char *path; /* of the model; NULL: nothing is run */
    int64_t n_thread, exact_max;
    out_bar bar;
    st_model *model;
    /* as the trace's recipe has them */
    st_select_params select; /* for runs that are not exact */
    char type_k[16], type_v[16];
    st_edit *edit; /* [n_edit] */
    int64_t n_edit;
} route_run;

/* ST_ERR_ARG of `option`, because of `why`. */
st_status route_refuse(st_error *err, const char *option, const char *why);

/* Opens the model, which must be the one that the trace names (by sha256), with the weights it had.
 * option: for messages. */
st_status route_run_open(route_run *run, const char *option, const st_trace *trace, st_error *err);
void route_run_close(route_run *run);

/* The trace's tokens run again, their rows in the target span and in the hops of the routes
 * recorded token by token, into a trace of its own (*fine, the caller's) whose file is gone
 * already. Errors: as st_trace_model and st_trace_open; ST_ERR_LIMIT: too many rows. */
st_status route_refine(route_run *run, const st_trace *trace, const st_routes *routes,
                       const st_route_params *p, st_trace **fine, st_error *err);

#endif
