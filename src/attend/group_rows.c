/* SPDX-License-Identifier: MIT
 *
 * group_rows.c — rows of a tile to rows of groups.
 */
#include "attend/group_rows.h"
#include "base/util.h"

bool sti_group_rows_begin(sti_group_rows *g, const st_group_sums *out, int n_head, int64_t n_task)
{
    *g = (sti_group_rows){.out = out, .n_task = n_task};
    if (out == NULL || out->n == 0) {
        g->out = NULL;
        return true;
    }
    memset(out->sum, 0, (size_t)(n_head * out->n * out->n_group) * sizeof *out->sum);
    g->strip = sti_alloc((size_t)(n_task * 2 * out->n_group) * sizeof *g->strip);
    g->touched = sti_alloc((size_t)n_task * sizeof *g->touched);
    return g->strip != NULL && g->touched != NULL;
}

void sti_group_rows_end(sti_group_rows *g)
{
    sti_free(g->strip);
    sti_free(g->touched);
}

static float *strip(const sti_group_rows *g, int64_t task, int which)
{
    return g->strip + (task * 2 + which) * g->out->n_group;
}

void sti_group_rows_task(sti_group_rows *g, int64_t task, int64_t begin, int64_t end)
{
    int64_t first, n;
    if (g->out == NULL)
        return;
    n = st_groups_touched(g->out->group, g->out->n_group, begin, end, &first);
    g->touched[task][0] = first;
    g->touched[task][1] = first + n - 1;
    memset(strip(g, task, 0), 0, (size_t)g->out->n_group * 2 * sizeof *g->strip);
}

/* Where the task's sums of row group i go. */
static float *place(const sti_group_rows *g, int64_t task, int head, int64_t i)
{
    if (i == g->touched[task][0])
        return strip(g, task, 0);
    if (i == g->touched[task][1])
        return strip(g, task, 1);
    return g->out->sum + (head * g->out->n + i - g->out->first) * g->out->n_group;
}

bool sti_group_rows_add(sti_group_rows *g, int64_t task, int head, sti_tile_work *w, int64_t begin,
                        int n, const float *weight)
{
    int64_t first, count;
    if (g->out == NULL)
        return true;
    count = st_groups_touched(g->out->group, g->out->n_group, begin, begin + n, &first);
    for (int64_t i = first; i < first + count; i++) {
        int lo = (int)(sti_max(g->out->group[i].begin, begin) - begin);
        int hi = (int)(sti_min(g->out->group[i].end, begin + n) - begin);
        if (!sti_tile_group_total(w, lo, hi, weight, place(g, task, head, i)))
            return false;
    }
    return true;
}

void sti_group_rows_fold(sti_group_rows *g, int first_head, int64_t per_head)
{
    if (g->out == NULL)
        return;
    for (int64_t t = 0; t < g->n_task; t++) {
        int64_t first = g->touched[t][0], last = g->touched[t][1];
        for (int which = 0; which < sti_min(last - first + 1, 2); which++) {
            int64_t i = (which == 0 ? first : last) - g->out->first;
            const float *from = strip(g, t, which);
            float *to =
                g->out->sum + ((first_head + t / per_head) * g->out->n + i) * g->out->n_group;
            for (int64_t c = 0; c < g->out->n_group; c++)
                to[c] += from[c];
        }
    }
}
