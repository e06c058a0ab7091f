/* SPDX-License-Identifier: MIT
 *
 * host_linked.c — ggml linked into the same program.
 */
#include "ggml/host.h"
#include "sparsetrace/ggml.h"

ggml_backend_buffer_type_t sti_host_cpu_buffer_type(void)
{
    return ggml_backend_cpu_buffer_type();
}

const struct ggml_type_traits *sti_host_type_traits(enum ggml_type type)
{
    return ggml_get_type_traits(type);
}

int sti_host_graph_size(struct ggml_cgraph *graph)
{
    return ggml_graph_n_nodes(graph);
}

struct ggml_tensor *sti_host_graph_node(struct ggml_cgraph *graph, int i)
{
    return ggml_graph_node(graph, i);
}

void st_ggml_register(void)
{
    static bool done;
    if (!done)
        ggml_backend_register(st_ggml_reg());
    done = true;
}
