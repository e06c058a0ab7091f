/* SPDX-License-Identifier: MIT
 *
 * settle.c — where to cut lists of falling worth so that together they take what there is.
 */
#include <stdbool.h>
#include <string.h>

#include "select/settle.h"

/* Floats >= 0 as integers in the same order. */
static int32_t bits(float x)
{
    int32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* How many of a list are worth at least `limit`, known to be between x->few and x->many. */
static int64_t count(const sti_pooled *x, int32_t limit)
{
    int64_t lo = x->few, hi = x->many;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (bits(x->gain[mid]) >= limit)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* What all lists take at a limit; x->keep of each. */
static int64_t take(sti_pooled *list, int64_t n_list, int32_t limit)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n_list; i++) {
        list[i].keep = count(&list[i], limit);
        sum += list[i].keep * list[i].cost;
    }
    return sum;
}

void sti_settle(sti_pooled *list, int64_t n_list, int64_t budget)
{
    int32_t lo = 0, hi = INT32_MAX; /* at hi it fits: nothing is worth that much */
    int64_t left;
    for (int64_t i = 0; i < n_list; i++) {
        list[i].few = 0;
        list[i].many = list[i].n;
    }
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        bool fits = take(list, n_list, mid) <= budget;
        for (int64_t i = 0; i < n_list; i++) /* a lower limit takes more, a higher one less */
            *(fits ? &list[i].few : &list[i].many) = list[i].keep;
        if (fits)
            hi = mid;
        else
            lo = mid + 1;
    }
    left = budget - take(list, n_list, lo);
    for (int64_t i = 0; i < n_list; i++) {
        sti_pooled *x = &list[i];
        while (x->keep < x->n && bits(x->gain[x->keep]) == lo - 1 && x->cost <= left) {
            x->keep++;
            left -= x->cost;
        }
    }
}
