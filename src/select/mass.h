/* SPDX-License-Identifier: MIT
 *
 * mass.h — attention mass by integer scores, per lane of the row tile: of given key blocks, of
 * several together, and the ranking that keeps the heaviest candidates.
 */
#ifndef STI_MASS_H
#define STI_MASS_H

#include "select/work.h"

/* t[i][r] = score of vector idx[i] (NULL: i) of x for lane r, with the rows in `tile_q`. */
void sti_scores(sti_work *w, float *t, const int8_t *tile_q, const float *q_scale,
                const float *base, const sti_vectors *x, const int32_t *idx, int64_t n, bool add);

/* Exact (int8) mass of each block: w->max_r[i], w->sum_r[i] for i < n. `masked`: apply visibility.
 */
void sti_block_mass(sti_work *w, int kv, const int32_t *block, int64_t n, bool masked);

/* Adds n masses (max_r, sum_r) to m. Uses w->t_r. */
void sti_mass_add(sti_work *w, sti_mass *m, int64_t n);

/* Rescales m to the maximum `max` (per lane >= m->max). */
void sti_mass_raise(sti_mass *m, const float *max);

/* The mass of the always-kept blocks of f, and of the learned sink if there is one. */
sti_mass sti_always_mass(sti_work *w, const sti_frame *f, int h);

/* Keeps the frame's budget of the n candidate blocks (ascending) by exact mass, ascending into
 * kept; returns how many. `outside`: what is not in the candidates, the always-kept mass and (as
 * far as it is known) that of pruned nodes; only a mass budget cares about the difference. */
int64_t sti_rank(sti_work *w, const sti_frame *f, int h, const sti_mass *always,
                 const sti_mass *outside, const int32_t *candidate, int64_t n, int32_t *kept);

/* The heaviest candidates by w->score, the part of sti_rank that other scores share: share_r
 * [n][16] and always [16] are shares of the mass per lane (w->tile.n of them), for a mass budget.
 */
int64_t sti_keep(sti_work *w, const sti_frame *f, const float *share_r, const float *always,
                 const int32_t *candidate, int64_t n, int32_t *kept);

/* Indices of the `keep` largest of w->score[n], ties to the lower index, ascending into out. Uses
 * w->u_r. */
int64_t sti_top(sti_work *w, int64_t n, int64_t keep, int32_t *out);

#endif
