/* SPDX-License-Identifier: MIT
 *
 * dependency.h — the score of one far pair of groups, for whole traces and for growing texts.
 */
#ifndef STI_DEPENDENCY_H
#define STI_DEPENDENCY_H

#include "sparsetrace/groups.h"

/* Of the pair (i, j): groups.h names them. */
typedef struct sti_dependency_means {
    double plain, column; /* mean B, mean v[j] */
    double root, top;     /* mean sqrt B, mean of the layers' largest B */
} sti_dependency_means;

/* B of one head; v NaN: there is none. */
static inline float sti_dependency_smooth(float a, double v)
{
    return v > 0.0 ? a + (float)(0.5 * v) : a;
}

double sti_dependency_score(const double *weight, int64_t distance, const sti_dependency_means *m);

/* Puts an edge into a list [n] of at most k, by falling score, ties as they come; gives the list's
 * new length. */
int64_t sti_dependency_insert(st_dependency *list, int64_t n, int64_t k, st_dependency edge);

#endif
