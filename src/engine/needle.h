/* SPDX-License-Identifier: MIT
 *
 * needle.h — which heads read the needle from the answer's rows, and whether a pruned pass leaves
 * it to them.
 */
#ifndef STI_NEEDLE_H
#define STI_NEEDLE_H

#include "engine/tally.h"

/* In one layer, one head and one query block: the needle's key block that its answer rows read most
 * in the dense pass. */
typedef struct sti_needle_case {
    int layer, head;
    int64_t query_blk;
    int32_t key_blk;
} sti_needle_case;

typedef struct sti_needle {
    const int64_t *span; /* [2 n_span] tokens, not owned */
    int64_t n_span;
    int bk;
    int64_t first_row; /* of the answer's rows */
    double least;      /* mass from which a head counts as retrieving */
    sti_needle_case *item;
    int64_t n, cap;
    /* the pass at hand: what is in pruned layers, and what of it was kept */
    int64_t n_retrieval, n_kept;
} sti_needle;

/* Notes the cases of a chunk of the dense pass in which every visible block is kept. False: out of
 * memory. */
bool sti_needle_note(sti_needle *n, const st_chunk *chunk);

/* Counts the cases of a pruned pass's chunk into n_retrieval and n_kept. */
void sti_needle_count(sti_needle *n, const st_chunk *chunk);

void sti_needle_free(sti_needle *n);

#endif
