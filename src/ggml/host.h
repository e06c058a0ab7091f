/* SPDX-License-Identifier: MIT
 *
 * host.h — the few functions of ggml that the backend calls. A program that contains ggml links
 * host_linked.c; the loadable plug-in (plugin.c) finds them in whatever ggml has loaded it, so that
 * one shared object serves every build of ggml with the same backend interface.
 */
#ifndef STI_HOST_H
#define STI_HOST_H

#include <ggml-backend.h>
#include <ggml.h>

ggml_backend_buffer_type_t sti_host_cpu_buffer_type(void);
const struct ggml_type_traits *sti_host_type_traits(enum ggml_type type);
int sti_host_graph_size(struct ggml_cgraph *graph);
struct ggml_tensor *sti_host_graph_node(struct ggml_cgraph *graph, int i);

#endif
