/* SPDX-License-Identifier: MIT
 *
 * mass.h — attention mass by integer scores, per lane of the row tile, and the ranking that keeps
 * the heaviest candidates. All masses of a unit are relative to exp(tile.top).
 */
#ifndef STI_MASS_H
#define STI_MASS_H

#include "select/work.h"

/* Keys idx[0..n) of a KV head (NULL: first, first + 1, ..), in this order, n at most what was
 * reserved. Lives until the next call. */
sti_vectors sti_fetch_keys(sti_work *w, int kv, int64_t first, const int32_t *idx, int64_t n);

/* dot[i][r] = vector idx[i] (NULL: i) of x times lane r of tile_q. */
void sti_dots(sti_work *w, int32_t *dot, const int8_t *tile_q, const sti_vectors *x,
              const int32_t *idx, int64_t n);

/* t[i][r] = score of vector idx[i] (NULL: i) of x for lane r. */
void sti_scores(sti_work *w, float *t, const sti_vectors *x, const int32_t *idx, int64_t n);

/* Masses of the blocks outside the unit's shared range, per lane as far as it sees them: sets
 * tile.top, w->block, n_left and mass_r (the blocks after the shared range stand at once behind the
 * ones before it). known[r] = their sum, the learned sink included. */
void sti_edge_mass(sti_work *w, const sti_unit *u, int h, float *known);

/* Puts the n shared candidates (ascending blocks) between the edge blocks, with their exact mass.
 */
void sti_candidate_mass(sti_work *w, int h, const int32_t *candidate, int64_t n);

/* Every frame keeps its budget of its candidates in w->block by mass; a pooled one says what each
 * is worth. `pruned` [16]: mass of what is in none of them, as far as it is known; only a mass
 * budget cares. */
void sti_rank(sti_work *w, sti_unit *u, int h, const float *pruned);

/* Positions of the heaviest of n candidates by w->score, the part of sti_rank that other scores
 * share: share_r [n][16] and always [16] are shares of the mass in lanes [lane0, lane1), for a mass
 * budget. */
int64_t sti_keep(sti_work *w, const sti_frame *f, const float *share_r, const float *always,
                 int lane0, int lane1, int64_t n, int32_t *kept);

/* Room that a unit needs for its edges and n shared candidates. False: out of memory. */
bool sti_unit_reserve(sti_work *w, const sti_unit *u, int64_t n);

#endif
