/* SPDX-License-Identifier: MIT
 *
 * group_rows.h — where the tasks of an attention call put their sums by groups of rows.
 *
 * A group in the middle of a query block is one task's alone. Its first and last group may go on in
 * the blocks beside it, so their sums wait in strips of the task's own and are added up in the
 * order of tasks: results do not depend on threads.
 */
#ifndef STI_GROUP_ROWS_H
#define STI_GROUP_ROWS_H

#include "attend/tile.h"

typedef struct sti_group_rows {
    const st_group_sums *out; /* NULL: nothing is wanted */
    int64_t n_task;           /* of one KV head */
    float *strip;             /* [n_task, 2, n_group] */
    int64_t (*touched)[2];    /* [n_task] first and last group, numbers in out->group; last < first:
                                 none */
} sti_group_rows;

/* Zeroes out->sum. False: out of memory. end accepts a zeroed struct. */
bool sti_group_rows_begin(sti_group_rows *g, const st_group_sums *out, int n_head, int64_t n_task);
void sti_group_rows_end(sti_group_rows *g);

/* A task begins, over positions [begin, end) of one head. */
void sti_group_rows_task(sti_group_rows *g, int64_t task, int64_t begin, int64_t end);

/* Adds a tile of rows at positions [begin, begin + n) of `head`, of which w holds the shares, each
 * row's times its weight. weight [n], NULL: all 1. False: out of memory. */
bool sti_group_rows_add(sti_group_rows *g, int64_t task, int head, sti_tile_work *w, int64_t begin,
                        int n, const float *weight);

/* After the tasks of a KV head: head_of(task) = first_head + task / per_head. */
void sti_group_rows_fold(sti_group_rows *g, int first_head, int64_t per_head);

#endif
