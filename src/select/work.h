/* SPDX-License-Identifier: MIT
 *
 * work.h — what one thread needs while it selects for one unit: the sampled rows as int8 tiles, and
 * scratch arrays that grow to the largest unit seen.
 */
#ifndef STI_WORK_H
#define STI_WORK_H

#include "select/keys.h"
#include "select/unit.h"

/* The sampled rows of a unit, in the lanes of a tile. */
typedef struct sti_row_tile {
    int n;                    /* lanes in use */
    int first[R16 + 1];       /* frame i has lanes [first[i], first[i + 1]) */
    int64_t lo[R16], hi[R16]; /* visible keys; of an empty lane none */
    int64_t all_lo, all_hi;   /* keys that every lane in use sees */
    float weight[R16];        /* 1 for a row, 0 for an empty lane */
    int8_t *q, *q_abs;        /* [dp / 4][16][4]: q and |q| in int8; 0 in empty lanes */
    float q_scale[R16];
    float q2[R16], q2_root[R16]; /* |q|^2 and |q| */
    float base[R16]; /* q . centre, what the relative keys leave out; 0 where nothing asks for it */
    float
        top[R16]; /* masses are relative to exp(top): the largest score outside the shared range */
} sti_row_tile;

/* Arrays of up to `cap` items; `_r` ones have 16 lanes an item. */
typedef struct sti_work {
    const st_attn *a;
    const st_select_params *p;
    const st_keys *keys; /* NULL for methods that need none */
    sti_row_tile tile;
    float *q_row;        /* [dp] */
    sti_vectors fetched; /* keys quantised for the moment: st_keys_set_lean */
    int64_t cap;
    int32_t *dot_r, *dot2_r;
    float *t_r, *u_r;
    float *mass_r;           /* of the blocks in `block`, unnormalised */
    int32_t *block;          /* ascending: edge blocks, shared candidates, edge blocks */
    int64_t n_left, n_block; /* edge blocks before the shared ones; all */
    float *score;
    int32_t *bits;
    uint64_t *item; /* [2 cap] scratch of order.c */
    int32_t *list[4]; /* a method's own */
    int32_t *gather;  /* of hip.c: lives only inside one of its helpers */
} sti_work;

sti_work *sti_work_new(const st_attn *a, const st_select_params *p, const st_keys *keys);
void sti_work_free(sti_work *w);
/* Room for n items in every array. False: out of memory. */
bool sti_work_reserve(sti_work *w, int64_t n);

/* Fills w->tile for head h: of each frame at most `rows` rows, row number (j + 1) * n / R - 1 for j
 * = 0..R-1, so its last row is always there; q times scale, quantised. `nodes`: also what only
 * nodes are scored with: q_abs, q2, q2_root. */
void sti_work_sample(sti_work *w, const sti_unit *u, int h, int rows, bool nodes);

#endif
