/* SPDX-License-Identifier: MIT
 *
 * overview.h — an overview as the files of this room share it.
 */
#ifndef STI_OVERVIEW_H
#define STI_OVERVIEW_H

#include "base/util.h"
#include "sparsetrace/view.h"
#include "view/group_view.h"

struct st_overview {
    st_overview_info info;
    int64_t trace_bytes;
    st_overview_head *head; /* [info.n_head] */
    uint8_t *map;           /* [info.n_head, cells_q, cells_k] */
    sti_sentences sentences;
};

/* The tensors of an overview, for sti_save_tensors: n_wide with elements of 4 bytes, then smaller
 * ones. The arrays `head` and `measure` are its own, the others the overview's. */
typedef struct sti_overview_tensors {
    int32_t *head;  /* [n_head, 2] */
    float *measure; /* [n_head, ST_VIEW_MEASURE_COUNT] */
    st_tensor tensor[3 + STI_SENTENCE_TENSORS];
    int64_t n_wide, n;
} sti_overview_tensors;

st_status sti_overview_tensors_make(const st_overview *o, sti_overview_tensors *t, st_error *err);
void sti_overview_tensors_free(sti_overview_tensors *t);

/* A copy whose pictures have at most `bytes` bytes in all (halved until they fit, at least 1 x 1),
 * and its matrix of sentences as many. */
st_status sti_overview_fold(const st_overview *o, int64_t bytes, st_overview **folded,
                            st_error *err);

/* The JSON document "view" of a file: {"needles": [...], "trace_bytes": ..., "measures": [...],
 * "join": ..., <more>}. `more` may be NULL. sti_free; NULL: out of memory. */
char *sti_overview_json(const st_overview *o, const char *more);

/* Header, then the tensors' data. Tensors in order of falling element size. */
st_status sti_save_tensors(const st_tensor *tensor, int64_t n, const char *const (*meta)[2],
                           int64_t n_meta, const st_out *out, st_error *err);

#endif
