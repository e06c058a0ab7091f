/* SPDX-License-Identifier: MIT
 *
 * weighed.c — from masses of weighed blocks to sums by groups of tokens.
 */
#include "select/weighed.h"
#include "base/util.h"
#include "kernels/kernels.h"

#define NO_GROUP INT32_MIN

/* Groups with rows of query blocks [begin, end) of the selection. */
static int64_t groups_of(const sti_weighed *w, int64_t begin, int64_t end, int64_t *first)
{
    const sti_frame *f = &w->frame[begin], *g = &w->frame[end - 1];
    return st_groups_touched(w->left->group, w->left->n_group, w->a->first_query + f->row0,
                             w->a->first_query + g->row0 + g->n_row, first);
}

/* Rows' lists: of pooled ones, whose kept blocks are not certain yet. */
static bool alloc_lists(sti_weighed *w)
{
    int64_t n_row = w->sel->n_head * w->sel->nbq, n;
    w->begin = sti_alloc((size_t)(n_row + 1) * sizeof *w->begin);
    w->n = sti_alloc((size_t)n_row * sizeof *w->n);
    w->kept = sti_alloc((size_t)(n_row * w->n_lane) * sizeof *w->kept);
    if (w->begin == NULL || w->n == NULL || w->kept == NULL)
        return false;
    w->begin[0] = 0;
    for (int64_t t = 0; t < n_row; t++) {
        const sti_frame *f = &w->frame[t % w->sel->nbq];
        w->begin[t + 1] = w->begin[t] + (sti_frame_pooled(f) ? f->budget : 0);
        w->n[t] = -1;
    }
    n = w->begin[n_row];
    w->block = sti_alloc((size_t)n * sizeof *w->block);
    w->share = sti_alloc((size_t)(n * w->n_lane) * sizeof *w->share);
    return w->block != NULL && w->share != NULL;
}

static bool alloc_sums(sti_weighed *w, int unit)
{
    int64_t nbk = w->sel->nbk, g = 0, begin, end;
    w->n_unit = sti_n_unit(w->sel, unit);
    w->first = sti_alloc((size_t)w->n_unit * sizeof *w->first);
    w->touched = sti_alloc((size_t)(w->n_unit + 1) * sizeof *w->touched);
    w->group_at = sti_alloc((size_t)nbk * sizeof *w->group_at);
    if (w->first == NULL || w->touched == NULL || w->group_at == NULL)
        return false;
    w->touched[0] = 0;
    for (int64_t u = 0; u < w->n_unit; u++) {
        sti_unit_blocks(w->sel, unit, u, &begin, &end);
        w->touched[u + 1] = w->touched[u] + groups_of(w, begin, end, &w->first[u]);
    }
    for (int64_t b = 0; b < nbk; b++) {
        const st_group *group = w->left->group;
        int64_t key = b * w->p->bk, last = sti_min(key + w->p->bk, w->a->n_k);
        while (g < w->left->n_group && group[g].end <= key)
            g++;
        w->group_at[b] = g == w->left->n_group || group[g].begin >= last ? NO_GROUP
                         : group[g].begin <= key && group[g].end >= last ? (int32_t)g
                                                                         : -1 - (int32_t)g;
    }
    w->sum = sti_calloc((size_t)(w->sel->n_head * w->touched[w->n_unit] * w->left->n_group) *
                        sizeof *w->sum);
    return w->sum != NULL;
}

bool sti_weighed_alloc(sti_weighed *w, int unit)
{
    w->n_lane = sti_sampled(w->p);
    return alloc_lists(w) && alloc_sums(w, unit);
}

void sti_weighed_free(sti_weighed *w)
{
    sti_free(w->begin);
    sti_free(w->n);
    sti_free(w->kept);
    sti_free(w->block);
    sti_free(w->share);
    sti_free(w->first);
    sti_free(w->touched);
    sti_free(w->group_at);
    sti_free(w->sum);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* The lane of row i of a frame with n_lane sampled rows: the first that is row i or later. */
static int lane_of(const sti_frame *f, int n_lane, int64_t i)
{
    return (int)(((i + 1) * n_lane - 1) / f->n_row);
}

/* rows[r]: how many rows of f that lane r of n_lane stands for are in the group. False: none. */
static bool rows_in_group(float *rows, const sti_weighed *w, const sti_frame *f, int n_lane,
                          int64_t group)
{
    const st_group *g = &w->left->group[group];
    int64_t row0 = w->a->first_query + f->row0;
    int64_t begin = sti_max(g->begin - row0, 0), end = sti_min(g->end - row0, f->n_row);
    memset(rows, 0, (size_t)n_lane * sizeof *rows);
    for (int64_t i = begin; i < end; i++)
        rows[lane_of(f, n_lane, i)] += 1.0f;
    return begin < end;
}

/* The same for a block that is not in one group as a whole; `first`: the first with a key of it. */
static void add_parts(const sti_weighed *w, float *sum, int64_t block, float share, int64_t first)
{
    const st_group *group = w->left->group;
    int64_t key = block * w->p->bk, end = sti_min(key + w->p->bk, w->a->n_k);
    share /= (float)(end - key);
    for (int64_t g = first; g < w->left->n_group && group[g].begin < end; g++)
        sum[g] += share * (float)(sti_min(group[g].end, end) - sti_max(group[g].begin, key));
}

/* A block's share, spread evenly over its keys, to the groups that have them. sum [n_group] */
static inline void add_block(const sti_weighed *w, float *sum, int64_t block, float share)
{
    int32_t g = w->group_at[block];
    if (g >= 0)
        sum[g] += share;
    else if (g != NO_GROUP)
        add_parts(w, sum, block, share, -1 - (int64_t)g);
}

/* ---- while units choose ---------------------------------------------------------------------- */

static inline void no_mass(float *mass, int n_lane)
{
    if (n_lane == 1) /* often: rows of their own; without a call */
        mass[0] = 0.0f;
    else
        memset(mass, 0, (size_t)n_lane * sizeof *mass);
}

void sti_weighed_frame(sti_weighed *w, sti_work *work, const sti_unit *u, int i,
                       const float *always, const float *inv, int64_t begin, int64_t end)
{
    int lane0 = work->tile.first[i], n_lane = work->tile.first[i + 1] - lane0;
    int64_t t = u->row[i], n = u->n_kept[i];
    bool certain = !sti_frame_pooled(u->frame[i]);
    float *kept = w->kept + t * w->n_lane, *share = w->share + w->begin[t] * w->n_lane;
    float *mass = work->mass_r + lane0;
    w->n[t] = certain ? 0 : n;
    memcpy(kept, always + lane0, (size_t)n_lane * sizeof *kept);
    for (int64_t c = 0; certain && c < n; c++) {
        const float *x = mass + (begin + u->kept[i][c]) * R16;
        for (int r = 0; r < n_lane; r++)
            kept[r] += x[r] * inv[lane0 + r];
    }
    for (int64_t c = 0; !certain && c < n; c++) {
        const float *x = mass + (begin + u->kept[i][c]) * R16;
        w->block[w->begin[t] + c] = work->block[begin + u->kept[i][c]];
        for (int r = 0; r < n_lane; r++)
            share[c * w->n_lane + r] = x[r] * inv[lane0 + r];
    }
    for (int64_t c = 0; c < n; c++)
        no_mass(mass + (begin + u->kept[i][c]) * R16, n_lane);
    for (int64_t at = 0; at < begin; at++)
        no_mass(mass + at * R16, n_lane);
    for (int64_t at = end; at < work->n_block; at++)
        no_mass(mass + at * R16, n_lane);
}

void sti_weighed_unit(sti_weighed *w, sti_work *work, const sti_unit *u, int h, const float *inv)
{
    int64_t n_sum = w->touched[w->n_unit], n_group = w->left->n_group, at = w->touched[u->number];
    for (int64_t g = 0; g < w->touched[u->number + 1] - at; g++) {
        _Alignas(64) float rows[R16] = {0};
        float *sum = w->sum + (h * n_sum + at + g) * n_group;
        bool any = false;
        for (int i = 0; i < u->n; i++) {
            int lane0 = work->tile.first[i], n_lane = work->tile.first[i + 1] - lane0;
            any |= rows_in_group(rows + lane0, w, u->frame[i], n_lane, w->first[u->number] + g);
        }
        if (!any)
            continue;
        for (int r = 0; r < R16; r++)
            rows[r] *= inv[r];
        sti_kernels()->score_f32_r16(work->score, work->mass_r, rows, work->n_block);
        for (int64_t i = 0; i < work->n_block; i++)
            if (work->score[i] > 0.0f)
                add_block(w, sum, work->block[i], work->score[i]);
    }
}

/* ---- at the end ------------------------------------------------------------------------------ */

/* What pooled row t lost of its list, and what it kept. */
static void end_list(const sti_weighed *w, int h, int64_t t, const sti_frame *f, int n_lane)
{
    const st_group_sums *left = w->left;
    int64_t n_kept = w->sel->indptr[t + 1] - w->sel->indptr[t] - sti_frame_always(f);
    int64_t row0 = w->a->first_query + f->row0, first, n_touched;
    const float *share = w->share + w->begin[t] * w->n_lane;
    float rows[R16];
    for (int64_t c = 0; c < n_kept; c++)
        for (int r = 0; r < n_lane; r++)
            w->kept[t * w->n_lane + r] += share[c * w->n_lane + r];
    n_touched = st_groups_touched(left->group, left->n_group, row0, row0 + f->n_row, &first);
    for (int64_t g = first; g < first + n_touched; g++) {
        float *sum = left->sum + (h * left->n + g - left->first) * left->n_group;
        rows_in_group(rows, w, f, n_lane, g);
        for (int64_t c = n_kept; c < w->n[t]; c++) {
            float x = 0.0f;
            for (int r = 0; r < n_lane; r++)
                x += rows[r] * share[c * w->n_lane + r];
            add_block(w, sum, w->block[w->begin[t] + c], x);
        }
    }
}

void sti_weighed_left(const sti_weighed *w, int h)
{
    const st_group_sums *left = w->left;
    int64_t n_group = left->n_group, n_sum = w->touched[w->n_unit];
    memset(left->sum + h * left->n * n_group, 0, (size_t)(left->n * n_group) * sizeof *left->sum);
    for (int64_t u = 0; u < w->n_unit; u++) {
        const float *from = w->sum + (h * n_sum + w->touched[u]) * n_group;
        float *to = left->sum + (h * left->n + w->first[u] - left->first) * n_group;
        for (int64_t c = 0; c < (w->touched[u + 1] - w->touched[u]) * n_group; c++)
            to[c] += from[c];
    }
    for (int64_t b = 0; b < w->sel->nbq; b++) {
        const sti_frame *f = &w->frame[b];
        int64_t t = h * w->sel->nbq + b;
        int n_lane = sti_min(w->n_lane, f->n_row);
        if (w->n[t] > 0)
            end_list(w, h, t, f, n_lane);
        for (int64_t i = 0; i < f->n_row; i++)
            w->sel->share[h * w->a->n_q + f->row0 + i] =
                w->n[t] >= 0 ? w->kept[t * w->n_lane + lane_of(f, n_lane, i)] : 1.0f;
    }
}
