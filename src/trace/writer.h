/* SPDX-License-Identifier: MIT
 *
 * writer.h — the inside of a trace writer, as writer.c and resume.c share it.
 */
#ifndef STI_WRITER_H
#define STI_WRITER_H

#include "trace/journal.h"

/* What is known of a layer so far; n_head 0: no chunk yet. */
typedef struct sti_layer_state {
    int64_t row_end, n_head;
} sti_layer_state;

struct st_trace_writer {
    char *path, *part;
    sti_journal_out out;
    sti_begin begin;
    st_group *group;       /* [begin.n_group] */
    int32_t *layer, *head; /* recorded ones; NULL: all */
    int64_t n_layer, n_head;
    sti_layer_state *state; /* [n_state] by layer number */
    int64_t n_state;
    int64_t pairs; /* visible ones of all chunks */
    bool has_tokens, finished;
    /* the chunk being encoded, reused from one to the next */
    sti_chunk_head h;
    int32_t *enc_head, *enc_indices, *enc_group_indices;
    int64_t *enc_indptr, *enc_group_indptr;
    uint16_t *enc_mass;
    float *enc_lse, *enc_recall, *enc_err, *enc_group_sum, *enc_value;
    int64_t cap_group_indices, cap_group_indptr, cap_group_sum, cap_value;
    int64_t cap_head, cap_indices, cap_indptr, cap_mass, cap_lse, cap_recall, cap_err;
};

/* A writer without a journal, its options checked. Freed by sti_writer_free_memory until it has
 * one. */
st_status sti_writer_new(const char *path, int64_t n_tok, int bq, int bk,
                         const st_trace_options *opt, st_trace_writer **w, st_error *err);
void sti_writer_free_memory(st_trace_writer *w);

/* NULL holds everything. */
bool sti_in_list(const int32_t *list, int64_t n, int64_t x);

#endif
