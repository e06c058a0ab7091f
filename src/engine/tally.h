/* SPDX-License-Identifier: MIT
 *
 * tally.h — a sink that counts token pairs and gathers the certificate's samples, layer by layer,
 * and hands every chunk on to a trace writer if there is one.
 */
#ifndef STI_TALLY_H
#define STI_TALLY_H

#include "sparsetrace/ggml.h"

typedef struct sti_tally_layer {
    int layer;
    int n_head;
    bool pruned; /* at least one of its micro-batches ran over a selection */
    int64_t kept_pairs, visible_pairs;
    float *recall, *err; /* [n_row, n_head], as they come */
    int64_t n_row, cap_recall, cap_err;
    double last_recall; /* mean over heads at the last row, -1: not seen */
    int64_t n_saved;    /* rows that the last save has */
} sti_tally_layer;

typedef struct sti_tally {
    sti_tally_layer *layer;
    int64_t n_layer, cap_layer;
    st_trace_writer *writer; /* not owned; NULL: none */
    bool scanned;
    bool went_on; /* some layer came a second time: the first micro-batch is whole */
} sti_tally;

st_sink sti_tally_sink(sti_tally *t);
void sti_tally_free(sti_tally *t);

/* Saves the counts, and of the samples those that came since the last save (whole: all). Errors:
 * out's. */
st_status sti_tally_save(sti_tally *t, bool whole, const st_out *out, st_error *err);
/* Takes in a save, or several in a row. The bytes may be anyone's: ST_ERR_FORMAT with the place. */
st_status sti_tally_load(sti_tally *t, const void *data, size_t bytes, st_error *err);

/* Sums over the pruned layers; n_exact: layers that were never pruned. */
void sti_tally_pairs(const sti_tally *t, int64_t *kept, int64_t *visible, int *n_exact);

/* The certificate of the samples. *has: there were any. */
st_status sti_tally_certificate(const sti_tally *t, bool *has, st_certificate *cert, st_error *err);

/* Recall at the sequence's last row, mean over heads of the pruned layers; -1: not certified. */
double sti_tally_last_recall(const sti_tally *t);

#endif
