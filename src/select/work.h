/* SPDX-License-Identifier: MIT
 *
 * work.h — what one thread needs while it selects for one head and query block: the sampled rows as
 * int8 tiles, and scratch arrays that grow to the largest block seen.
 */
#ifndef STI_WORK_H
#define STI_WORK_H

#include "select/frame.h"
#include "select/keys.h"

#define R16 ST_SELECT_ROWS_MAX

/* The sampled rows of a frame, in the lanes of a tile; lanes without a row have weight 0. */
typedef struct sti_row_tile {
    int n;
    int64_t row[R16];         /* index into a's rows */
    int64_t lo[R16], hi[R16]; /* visible keys */
    float weight[R16];        /* 1 for a row, 0 for an empty lane */
    int8_t *q, *q_abs, *q_sq; /* [dp / 4][16][4]: q, |q|, q^2 in int8 */
    float q_scale[R16], sq_scale[R16];
    float base[R16]; /* q . centre: what the relative keys leave out */
    float zero[R16];
} sti_row_tile;

/* Unnormalised mass of some keys, per lane: sum exp(score - max). */
typedef struct sti_mass {
    float max[R16], sum[R16];
} sti_mass;

/* Arrays of up to `cap` items; `_r` ones have 16 lanes an item. */
typedef struct sti_work {
    const st_attn *a;
    const st_select_params *p;
    const st_keys *keys; /* NULL for methods that need none */
    sti_row_tile tile;
    float *q_row; /* [dp] */
    int64_t cap;
    int32_t *dot_r;
    float *t_r, *u_r, *s2_r;
    float *max_r, *sum_r; /* per candidate block */
    float *score;
    int32_t *list[4]; /* a method's own */
    int32_t *gather;  /* of the helpers in mass.c and node scoring: lives only inside one of them */
} sti_work;

sti_work *sti_work_new(const st_attn *a, const st_select_params *p, const st_keys *keys);
void sti_work_free(sti_work *w);
/* Room for n items in every array. False: out of memory. */
bool sti_work_reserve(sti_work *w, int64_t n);

/* Fills w->tile for head h: R = min(p->rows, rows) rows, row number (j + 1) * n / R - 1 for j =
 * 0..R-1, so the last is always there; q times scale, quantised. */
void sti_work_sample(sti_work *w, const sti_frame *f, int h);

#endif
