/* SPDX-License-Identifier: MIT
 *
 * hide.h — edits (edit.h) inside the attention of a tile: keys that some of its rows may not read.
 */
#ifndef STI_HIDE_H
#define STI_HIDE_H

#include "sparsetrace/attn.h"

/* An edit as it meets a tile: bit r of `rows` is set if it names row r. */
typedef struct sti_tile_edit {
    uint32_t rows;
    bool keep;
    int64_t key_begin, key_end;
} sti_tile_edit;

/* The edits that meet the tile at hand. */
typedef struct sti_hide {
    sti_tile_edit *edit;
    int64_t n, cap;
    uint32_t kept; /* rows that keep edits name: they see nothing else */
} sti_hide;

/* Collects those of a's edits that name a row: head [n] and row [n] of the tile. False: out of
 * memory. */
bool sti_hide_begin(sti_hide *h, const st_attn *a, const int *head, const int64_t *row, int n);

/* -inf into s [n, R] where a row may not read keys [key, key + n), n at most 128. */
void sti_hide_scores(const sti_hide *h, float *s, int R, int64_t key, int64_t n);

void sti_hide_free(sti_hide *h);

#endif
