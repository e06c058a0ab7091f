/* SPDX-License-Identifier: MIT
 *
 * settle.c — where to cut lists of falling worth so that together they take what there is.
 */
#include <string.h>

#include "select/settle.h"

/* Floats >= 0 as integers in the same order. */
static int32_t bits(float x)
{
    int32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* How many of a list are worth at least `limit`. */
static int64_t count(const sti_pooled *list, int32_t limit)
{
    int64_t lo = 0, hi = list->n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (bits(list->gain[mid]) >= limit)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int64_t taken(const sti_pooled *list, int64_t n_list, int32_t limit)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n_list; i++)
        sum += count(&list[i], limit) * list[i].cost;
    return sum;
}

void sti_settle(sti_pooled *list, int64_t n_list, int64_t budget)
{
    int32_t lo = 0, hi = INT32_MAX; /* at hi it fits: nothing is worth that much */
    int64_t left;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (taken(list, n_list, mid) <= budget)
            hi = mid;
        else
            lo = mid + 1;
    }
    left = budget - taken(list, n_list, lo);
    for (int64_t i = 0; i < n_list; i++) {
        sti_pooled *x = &list[i];
        x->keep = count(x, lo);
        while (x->keep < x->n && bits(x->gain[x->keep]) == lo - 1 && x->cost <= left) {
            x->keep++;
            left -= x->cost;
        }
    }
}
