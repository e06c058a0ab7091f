/* SPDX-License-Identifier: MIT
 *
 * settle.h — one budget for all heads of neighbouring query blocks. Some heads read a few blocks
 * and others many, so equal budgets waste pairs on the first and starve the second. Each query
 * block's candidates come in falling order of what they are worth; the pool cuts all lists at one
 * worth.
 */
#ifndef STI_SETTLE_H
#define STI_SETTLE_H

#include <stdint.h>

#define STI_POOL 8 /* query blocks of a pool: those with the same number / STI_POOL */

typedef struct sti_pooled {
    const float *gain; /* [n] falling, >= 0 */
    int64_t n;
    int64_t cost; /* rows of the query block: what one candidate takes of the budget */
    int64_t keep; /* out: how many from the front */
    int64_t few, many; /* scratch */
} sti_pooled;

/* Keeps the best of all lists within `budget`: everything above the least limit that fits, then of
 * the next best, in the order of the lists, what still fits. */
void sti_settle(sti_pooled *list, int64_t n_list, int64_t budget);

#endif
