/* SPDX-License-Identifier: MIT
 *
 * route_graph.h — routes as an attribution graph, for viewers of such graphs.
 */
#ifndef CLI_ROUTE_GRAPH_H
#define CLI_ROUTE_GRAPH_H

#include "sparsetrace/analyse.h"

/* Writes the JSON to path, beside it first. name: of the trace. */
st_status route_graph_write(const st_trace *trace, const st_routes *routes, const char *name,
                            const char *path, st_error *err);

#endif
