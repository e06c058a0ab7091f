/* SPDX-License-Identifier: MIT
 *
 * weighed.c — from lists of weighed blocks to sums by groups of tokens.
 */
#include "select/weighed.h"
#include "base/util.h"

/* Blocks of a list, at least, beside those at the edges of its unit; `stream` weighs as many. */
#define LIST_LEAST 256

bool sti_weighed_alloc(sti_weighed *w, const sti_frame *frame, int64_t nbq, int n_head,
                       const st_select_params *p)
{
    int64_t n_row = n_head * nbq, edge = (int64_t)STI_PROPOSE * p->bq / p->bk + 1, n;
    w->n_lane = sti_min(p->rows, p->bq);
    w->begin = sti_alloc((size_t)(n_row + 1) * sizeof *w->begin);
    w->n = sti_calloc((size_t)n_row * sizeof *w->n);
    w->always = sti_alloc((size_t)(n_row * w->n_lane) * sizeof *w->always);
    w->rows = sti_alloc((size_t)(n_head * p->bq * w->n_lane) * sizeof *w->rows);
    if (w->begin == NULL || w->n == NULL || w->always == NULL || w->rows == NULL)
        return false;
    w->begin[0] = 0;
    for (int64_t t = 0; t < n_row; t++) {
        const sti_frame *f = &frame[t % nbq];
        int64_t room = sti_max(LIST_LEAST, 4 * f->quota) + edge;
        w->begin[t + 1] =
            w->begin[t] + (f->budget > 0 ? sti_min(room, sti_frame_candidates(f)) : 0);
    }
    n = w->begin[n_row];
    w->block = sti_alloc((size_t)n * sizeof *w->block);
    w->share = sti_alloc((size_t)(n * w->n_lane) * sizeof *w->share);
    return w->block != NULL && w->share != NULL;
}

void sti_weighed_free(sti_weighed *w)
{
    sti_free(w->begin);
    sti_free(w->n);
    sti_free(w->always);
    sti_free(w->block);
    sti_free(w->share);
    sti_free(w->rows);
}

sti_weighed_list sti_weighed_slot(const sti_weighed *w, int64_t t)
{
    return (sti_weighed_list){.room = w->begin[t + 1] - w->begin[t],
                              .n_lane = w->n_lane,
                              .block = w->block + w->begin[t],
                              .share = w->share + w->begin[t] * w->n_lane,
                              .always = w->always + t * w->n_lane,
                              .n = &w->n[t]};
}

/* ---- by groups ------------------------------------------------------------------------------- */

/* The rows of a query block, and the groups that they touch: group first + i has rows[i][r] rows
 * that are sampled by lane r. */
struct block_rows {
    int n_lane;
    int64_t row0, n_row; /* rows of the call */
    int64_t first, n;
    float *rows; /* [n, n_lane] */
};

/* The lane of row i of a block: the first that was sampled there or later. */
static int lane_of(const struct block_rows *b, int64_t i)
{
    return (int)(((i + 1) * b->n_lane - 1) / b->n_row);
}

static struct block_rows rows_of(const sti_weighed *w, const st_attn *a, const st_group_sums *left,
                                 const st_selection *sel, int64_t qb, float *rows)
{
    int64_t begin = sti_max(qb * sel->bq, a->first_query);
    int64_t end = sti_min((qb + 1) * sel->bq, a->first_query + a->n_q);
    struct block_rows b = {.row0 = begin - a->first_query, .n_row = end - begin, .rows = rows};
    b.n_lane = (int)sti_min(w->n_lane, b.n_row);
    b.n = st_groups_touched(left->group, left->n_group, begin, end, &b.first);
    memset(rows, 0, (size_t)(b.n * w->n_lane) * sizeof *rows);
    for (int64_t i = 0; i < b.n; i++) {
        const st_group *g = &left->group[b.first + i];
        for (int64_t p = sti_max(g->begin, begin); p < sti_min(g->end, end); p++)
            rows[i * w->n_lane + lane_of(&b, p - begin)] += 1.0f;
    }
    return b;
}

/* What the rows of group first + i read of a block with these shares. */
static float read_by(const struct block_rows *b, int n_lane, int64_t i, const float *share)
{
    float sum = 0.0f;
    for (int r = 0; r < b->n_lane; r++)
        sum += b->rows[i * n_lane + r] * share[r];
    return sum;
}

/* A block's share, spread evenly over its keys [key, end), to the groups from *j on: keys come
 * ascending. */
static void add_block(const struct block_rows *b, const st_group_sums *left, int h, int n_lane,
                      int64_t key, int64_t end, const float *share, int64_t *j)
{
    while (*j < left->n_group && left->group[*j].end <= key)
        ++*j;
    for (int64_t i = 0; i < b->n; i++) {
        float *sum = left->sum + (h * left->n + b->first + i - left->first) * left->n_group;
        float read = read_by(b, n_lane, i, share) / (float)(end - key);
        for (int64_t c = *j; c < left->n_group && left->group[c].begin < end; c++)
            sum[c] += read * (float)(sti_min(left->group[c].end, end) -
                                     sti_max(left->group[c].begin, key));
    }
}

/* Row t of the selection; kept [n_lane]: what it keeps. */
static void add_row(const sti_weighed *w, const struct block_rows *b, const st_group_sums *left,
                    const st_selection *sel, int64_t n_k, int h, int64_t t, float *kept)
{
    sti_weighed_list list = sti_weighed_slot(w, t);
    int64_t e = sel->indptr[t], end = sel->indptr[t + 1], j = 0;
    memcpy(kept, list.always, (size_t)w->n_lane * sizeof *kept);
    for (int64_t i = 0; i < *list.n; i++) {
        const float *share = list.share + i * w->n_lane;
        int64_t key = (int64_t)list.block[i] * sel->bk;
        while (e < end && sel->indices[e] < list.block[i])
            e++;
        if (e < end && sel->indices[e] == list.block[i])
            for (int r = 0; r < b->n_lane; r++)
                kept[r] += share[r];
        else
            add_block(b, left, h, w->n_lane, key, sti_min(key + sel->bk, n_k), share, &j);
    }
}

void sti_weighed_left(const sti_weighed *w, const st_attn *a, const st_group_sums *left,
                      st_selection *sel, int h)
{
    int64_t cells = left->n * left->n_group;
    float kept[R16], *rows = w->rows + (int64_t)h * sel->bq * w->n_lane;
    memset(left->sum + h * cells, 0, (size_t)cells * sizeof *left->sum);
    for (int64_t blk = 0; blk < sel->nbq; blk++) {
        int64_t t = h * sel->nbq + blk;
        struct block_rows b = rows_of(w, a, left, sel, sel->first_blk + blk, rows);
        if (w->n[t] > 0)
            add_row(w, &b, left, sel, a->n_k, h, t, kept);
        for (int64_t i = 0; i < b.n_row; i++)
            sel->share[h * a->n_q + b.row0 + i] = w->n[t] > 0 ? kept[lane_of(&b, i)] : 1.0f;
    }
}
