/* SPDX-License-Identifier: MIT
 *
 * graph.h — a context's nodes, one after the other: splits attention into rows that go the sparse
 * and rows that go the exact way; matrix products go to linear.h.
 */
#ifndef STI_GRAPH_H
#define STI_GRAPH_H

#include "ggml/layer.h"
#include "ggml/linear.h"
#include "ggml/mask.h"

typedef struct sti_graph {
    st_pool *pool;
    int n_thread;
    sti_layers layers;
    sti_mask_cache masks;
    sti_linear *linear;
    int first_layer, last_layer; /* of the graph run at hand, -1: none */
    struct sti_graph *older;     /* list of all that live */
} sti_graph;

sti_graph *sti_graph_new(void);
void sti_graph_free(sti_graph *g);
/* The one made last of those that live; NULL: none. */
sti_graph *sti_graph_newest(void);
st_status sti_graph_set_threads(sti_graph *g, int n_thread, st_error *err);

/* Computes one node, GGML_OP_FLASH_ATTN_EXT or GGML_OP_MUL_MAT. */
st_status sti_graph_node(sti_graph *g, struct ggml_tensor *op, const sti_settings *s,
                         st_error *err);

#endif
