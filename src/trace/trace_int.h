/* SPDX-License-Identifier: MIT
 *
 * trace_int.h — an open trace as the files of this room share it, and the safe way over its rows.
 */
#ifndef STI_TRACE_INT_H
#define STI_TRACE_INT_H

#include "sparsetrace/trace.h"
#include "trace/tensors_int.h"

#define STI_F16_ONE 0x3c00 /* non-negative halves order as their bits do */

/* One entry of geometry.layers. */
typedef struct sti_layer {
    st_trace_layer pub; /* arrays NULL unless recorded */
    bool recorded;
    int64_t n_head; /* of the model */
    const st_tensor *head, *indptr, *indices, *mass, *lse, *value;
    const st_tensor *cert_rows, *cert_recall, *cert_err;        /* NULL: no samples */
    const st_tensor *group_indptr, *group_indices, *group_mean; /* NULL: no groups */
} sti_layer;

struct st_trace {
    st_tensors *file;
    st_trace_info info;
    int64_t blk_begin, blk_end; /* recorded query blocks */
    sti_layer *layer;           /* rising */
    int64_t n_layer;
    sti_layer **recorded; /* [info.n_layer] */
    const st_tensor *tokens, *piece_ptr, *text, *groups;
};

/* ---- entries that can be trusted ------------------------------------------------------------- */

typedef struct sti_entries {
    int64_t n;
    const int32_t *indices;
    const uint16_t *mass;
} sti_entries;

static inline sti_entries sti_trace_entries(const st_trace *t, const sti_layer *l, int64_t h,
                                            int64_t blk)
{
    sti_entries e;
    e.n = st_trace_row(&l->pub, t->info.nbq, h, blk, &e.indices, &e.mass);
    return e;
}

/* Whether entry i names a key block and a mass that there are. */
static inline bool sti_entry_ok(const st_trace *t, const sti_entries *e, int64_t i)
{
    return e->indices[i] >= 0 && e->indices[i] < t->info.nbk && e->mass[i] <= STI_F16_ONE;
}

/* ---- the rows of a part ---------------------------------------------------------------------- */

/* Walks over (layer, head, query block), the block fastest. */
typedef struct sti_walk {
    const st_trace *trace;
    const st_trace_part *part;
    int64_t blk_begin, blk_end;
    int64_t n_row;  /* rows in all */
    int64_t n_head; /* (layer, head) pairs in all */
    /* the row at hand */
    int64_t i; /* of trace->recorded */
    int64_t h; /* position in the layer's heads */
    int64_t blk;
    const sti_layer *layer;
} sti_walk;

/* Checks the part (NULL: all) and stands before its first row. Errors: ST_ERR_ARG. */
st_status sti_walk_init(sti_walk *w, const st_trace *t, const st_trace_part *part, st_error *err);
bool sti_walk_next(sti_walk *w);
void sti_walk_rewind(sti_walk *w);

#endif
