/* SPDX-License-Identifier: MIT
 *
 * order.h — which scores are the largest, and in which order. Ties go to the lower index, NaN comes
 * last.
 */
#ifndef STI_ORDER_H
#define STI_ORDER_H

#include "select/work.h"

/* Indices of the `keep` largest of score[n], ascending, into out [min(keep, n)]. Returns how many.
 * n at most what was reserved. */
int64_t sti_top(sti_work *w, const float *score, int64_t n, int64_t keep, int32_t *out);

/* The same, the largest score first. */
int64_t sti_top_ordered(sti_work *w, const float *score, int64_t n, int64_t keep, int32_t *out);

/* Ascending; all different. item: scratch [2 n]. */
void sti_sort_blocks(int32_t *block, int64_t n, uint64_t *item);

#endif
