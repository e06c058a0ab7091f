/* SPDX-License-Identifier: MIT
 *
 * methods.h — the ways to choose candidates. The ones for a unit fill kept and n_kept of every
 * frame; those for a frame write the kept candidate blocks, ascending, to `kept` (room for the
 * frame's budget) and return how many. False or -1: out of memory. Called only where the budget is
 * above 0 and below the number of candidates, or a mass is asked for.
 */
#ifndef STI_METHODS_H
#define STI_METHODS_H

#include "select/work.h"

bool sti_select_stream(sti_work *w, sti_unit *u, int h); /* and flat */

/* Blocks that one descent proposes for a unit, the most promising first, and what each is worth by
 * the descent's estimate (as a pooled frame's candidates: settle.h). */
typedef struct sti_proposal {
    int32_t *block;
    float *gain;
    int64_t n;
} sti_proposal;

/* Pooled: what a head of a unit may propose on average in a descent (0: by exemplars, 1: by
 * bounds), and the most it can in any. */
int64_t sti_proposes(const st_select_params *p, const sti_unit *u, int descent);
int64_t sti_proposals_most(const st_select_params *p, const sti_unit *u);

/* stream in two steps: propose by exemplars and by bounds, and choose among the union. The unit has
 * more frames than can weigh together. */
bool sti_propose_stream(sti_work *w, const sti_unit *u, int h, sti_proposal proposal[2]);
bool sti_weigh_stream(sti_work *w, sti_unit *u, int h, const sti_proposal proposal[2]);

bool sti_select_scan(sti_work *w, sti_unit *u, int h, int rows);
int64_t sti_select_hip(sti_work *w, const sti_frame *f, int h, int32_t *kept);
int64_t sti_select_exact(sti_work *w, const sti_frame *f, int h, int32_t *kept);
int64_t sti_select_window(sti_work *w, const sti_frame *f, int h, int32_t *kept);

/* Share of the exact (int8) mass that `kept` together with the always-kept blocks holds on 16
 * sampled rows, mean over rows; -1: out of memory. Costs a scan. */
float sti_scan_share(sti_work *w, const sti_frame *f, int h, const int32_t *kept, int64_t n);

#endif
