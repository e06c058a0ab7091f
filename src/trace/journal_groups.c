/* SPDX-License-Identifier: MIT
 *
 * journal_groups.c — attention from group to group, out of chunks. A chunk has sums over its own
 * rows; a group that several micro-batches share gets the sum of them all, and becomes a mean over
 * the rows that were run and the tokens of the other group.
 */
#include "trace/journal.h"

st_status sti_group_walk_init(sti_group_walk *w, const sti_journal *j, const st_group *group,
                              int64_t n_group, st_error *err)
{
    size_t n = (size_t)n_group;
    *w = (sti_group_walk){.journal = j, .group = group, .n_group = n_group};
    w->sum = sti_alloc(n * sizeof *w->sum);
    w->index = sti_alloc(n * sizeof *w->index);
    w->mean = sti_alloc(n * sizeof *w->mean);
    return w->sum && w->index && w->mean ? ST_OK : sti_fail_mem(err, n * sizeof *w->sum);
}

void sti_group_walk_free(sti_group_walk *w)
{
    sti_free(w->sum);
    sti_free(w->index);
    sti_free(w->mean);
}

void sti_group_walk_start(sti_group_walk *w, const sti_journal_layer *layer, int64_t head)
{
    w->layer = layer;
    w->head = head;
    w->next = 0;
    w->chunk = 0;
}

/* Adds the chunk's sums of group g; gives the rows of g that it ran. */
static int64_t add_chunk(sti_group_walk *w, const sti_chunk *c, int64_t g)
{
    int64_t row = w->head * c->h.n_group + g - c->h.first_group;
    for (int64_t i = c->group_indptr[row]; i < c->group_indptr[row + 1]; i++)
        if (c->group_indices[i] < w->n_group)
            w->sum[c->group_indices[i]] += (double)c->group_sum[i];
    return sti_min(c->h.first_query + c->h.n_q, w->group[g].end) -
           sti_max(c->h.first_query, w->group[g].begin);
}

sti_group_row sti_group_walk_next(sti_group_walk *w)
{
    sti_group_row row = {.n = 0, .indices = w->index, .mean = w->mean};
    int64_t g = w->next++, n_run = 0;
    memset(w->sum, 0, (size_t)w->n_group * sizeof *w->sum);
    for (int64_t i = w->chunk; i < w->layer->n_chunk; i++) {
        sti_chunk c = sti_journal_chunk(w->journal, w->layer->chunk[i]);
        if (c.h.first_query >= w->group[g].end)
            break;
        if (c.h.first_query + c.h.n_q <= w->group[g].begin)
            w->chunk = i + 1;
        else
            n_run += add_chunk(w, &c, g);
    }
    for (int64_t j = 0; j < w->n_group; j++) {
        double pairs = (double)n_run * (double)(w->group[j].end - w->group[j].begin);
        float mean = w->sum[j] > 0 ? (float)(w->sum[j] / pairs) : 0;
        if (mean == 0)
            continue;
        w->index[row.n] = (int32_t)j;
        w->mean[row.n++] = mean < 1 ? mean : 1;
    }
    return row;
}
