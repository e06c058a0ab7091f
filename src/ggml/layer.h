/* SPDX-License-Identifier: MIT
 *
 * layer.h — one layer's attention over one micro-batch: summary of the keys, selection, attention,
 * certificate, sink; and what is remembered of each layer between micro-batches.
 */
#ifndef STI_LAYER_H
#define STI_LAYER_H

#include "ggml/settings.h"
#include "sparsetrace/attend.h"

/* What is remembered of one layer of one stream. */
typedef struct sti_layer {
    int layer;
    const void *cache; /* first key in memory: tells streams and contexts apart; NULL: loaded, and
                          no graph has shown it yet */
    st_keys *keys;
    int n_kv_head, d_k, bk; /* that keys was made for */
    bool windowed; /* its rows were once seen to move their first key: sliding or chunked attention
                    */
    int32_t last_lo, last_hi; /* of the last row seen */
    uint64_t n_call;
    int64_t n_saved; /* keys of the summary that the last save has */
    bool restored;   /* loaded, and not yet proven by the cache */
} sti_layer;

/* All layers of a context. */
typedef struct sti_layers {
    sti_layer *item;
    int64_t n, cap;
} sti_layers;

/* Finds or adds; one that was loaded takes the cache it is asked for with. NULL: out of memory. The
 * pointer is good until the next call. */
sti_layer *sti_layers_get(sti_layers *all, int layer, const void *cache);
void sti_layers_free(sti_layers *all);

/* A new summary of the shape, as the settings want it. Errors: ST_ERR_MEM; what there is then may
 * be of any size. */
st_status sti_layer_make_keys(sti_layer *l, int n_kv_head, int d_k, int bk, const sti_settings *s,
                              st_error *err);

/* Causal rows of one sequence: sparse. a->first_query is their position among the keys. */
st_status sti_layer_sparse(sti_layer *l, const st_attn *a, const st_attend_out *out,
                           const sti_settings *s, st_pool *pool, st_error *err);

/* Anything else: exact. `causal`: rows have rising positions, so the sink gets a record of what
 * they read. */
st_status sti_layer_exact(sti_layer *l, const st_attn *a, const st_attend_out *out, bool causal,
                          const sti_settings *s, st_pool *pool, st_error *err);

#endif
