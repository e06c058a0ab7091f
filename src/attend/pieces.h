/* SPDX-License-Identifier: MIT
 *
 * pieces.h — what a tile of rows gives to each group of keys (st_group). A piece is the part of a
 * group that lies in one chunk of keys; its exponentials are summed while they are at hand, and
 * become shares of a row only at the end, when the row's maximum and sum are known.
 */
#ifndef STI_PIECES_H
#define STI_PIECES_H

#include "sparsetrace/attend.h"

/* Scratch of one thread. Sums have the rows in their lanes: 0 to 15 in sum[0], 16 to 31 in sum[1],
 * where a tile is that wide. */
typedef struct sti_pieces {
    const st_group *group; /* ascending; NULL: nothing is wanted */
    int64_t n_group;
    int64_t n;       /* pieces */
    int64_t *column; /* [n] the piece's group */
    float *sum[2];   /* [n, 16] each, relative to the maximum of its chunk */
    int64_t n_chunk;
    int64_t *chunk_end; /* [n_chunk] one past its last piece */
    float *share;       /* [n] */
    int64_t room[2];    /* pieces that there is room for, in tiles of 16 and of 32 rows */
    int64_t cap_column, cap_sum[2], cap_chunk, cap_share;
} sti_pieces;

/* Before a tile's first key. */
void sti_pieces_start(sti_pieces *p);
void sti_pieces_free(sti_pieces *p);

/* Keys [lo, hi), which follow those of the last call: s [hi - lo, R] are their exponentials.
 * False, here and below: out of memory. */
bool sti_pieces_add(sti_pieces *p, int R, int64_t lo, int64_t hi, const float *s);
/* The same in fixed point: keys [lo, hi) of one packed group; prob [STK_GROUP / 2, R, 2] has all of
 * the group's, f [R] the factors that bring them onto the chunk's maximum. */
bool sti_pieces_add_fixed(sti_pieces *p, int R, int64_t lo, int64_t hi, const int16_t *prob,
                          const float *f);
bool sti_pieces_end_chunk(sti_pieces *p);

/* After the last chunk: adds to total[column] the shares of lanes [begin, end), summed. factor
 * [n_chunk, R] makes a share of each lane's sum in a chunk; unit: what 1 in a sum stands for;
 * weight [R]: of the lanes, NULL: 1. */
bool sti_pieces_total(sti_pieces *p, int R, int begin, int end, const float *factor, float unit,
                      const float *weight, float *total);

#endif
