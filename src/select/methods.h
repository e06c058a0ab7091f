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
bool sti_select_scan(sti_work *w, sti_unit *u, int h, int rows);
int64_t sti_select_hip(sti_work *w, const sti_frame *f, int h, int32_t *kept);
int64_t sti_select_exact(sti_work *w, const sti_frame *f, int h, int32_t *kept);
int64_t sti_select_window(sti_work *w, const sti_frame *f, int h, int32_t *kept);

/* Share of the exact (int8) mass that `kept` together with the always-kept blocks holds on 16
 * sampled rows, mean over rows; -1: out of memory. Costs a scan. */
float sti_scan_share(sti_work *w, const sti_frame *f, int h, const int32_t *kept, int64_t n);

#endif
