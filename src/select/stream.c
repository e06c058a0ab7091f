/* SPDX-License-Identifier: MIT
 *
 * stream.c — the hierarchical estimator (docs/method/selection.md, "Descend"). Two beam descents
 * through the pyramid, one by exemplars and one by channel bounds, propose leaves; the exact mass
 * of the union decides. `flat` is the same with every leaf on the first frontier.
 */
#include <math.h>
#include <string.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "select/mass.h"
#include "select/methods.h"
#include "select/order.h"

enum descent { BY_EXEMPLAR, BY_BOUNDS };

/* Above this many candidate keys a beam of twice the width keeps the needle (measured: docs). */
#define WIDE_BEAM_TOK 32768

/* Where budgets are pooled, more candidates are looked at: one query block may take many. */
#define POOL_BEAM 4

struct range {
    int64_t lo, hi; /* candidate leaves */
};

static int64_t nodes_touched(struct range leaves, int level)
{
    return ((leaves.hi - 1) >> level) - (leaves.lo >> level) + 1;
}

static bool inside(struct range leaves, int level, int64_t node)
{
    return (node << level) >= leaves.lo && ((node + 1) << level) <= leaves.hi;
}

static int64_t beam_width(const sti_work *w, const sti_unit *u)
{
    int64_t beam = w->p->beam;
    if (w->p->pooled)
        beam *= POOL_BEAM;
    else if ((u->hi - u->lo) * w->p->bk >= WIDE_BEAM_TOK)
        beam *= 2;
    return sti_max(beam, u->quota);
}

/* Masses of nodes into t_r, as if each were one leaf. */
static void node_masses(sti_work *w, const sti_level *level, enum descent by, const int32_t *node,
                        int64_t n)
{
    const sti_kernel_table *k = sti_kernels();
    const sti_row_tile *q = &w->tile;
    float cap = w->a->softcap;
    if (by == BY_EXEMPLAR) {
        sti_dots(w, w->dot_r, q->q, &level->mean, node, n);
        k->gauss_i32_r16(w->t_r, w->dot_r, level->mean.scale, level->var, node, q->q_scale, q->base,
                         q->q2, q->q2_root, n, (float)log((double)w->p->bk));
        sti_scores(w, w->u_r, &level->exemplar_key, node, n);
    } else {
        sti_dots(w, w->dot_r, q->q, &level->mid, node, n);
        sti_dots(w, w->dot2_r, q->q_abs, &level->half, node, n);
        k->bound_i32_r16(w->t_r, w->dot_r, level->mid.scale, w->dot2_r, level->half.scale, node,
                         q->q_scale, q->base, n);
    }
    if (cap > 0.0f)
        k->softcap_f32_r16(w->t_r, n, cap);
    if (cap > 0.0f && by == BY_EXEMPLAR)
        k->softcap_f32_r16(w->u_r, n, cap);
    if (by == BY_EXEMPLAR)
        k->fexp2_f32_r16(w->t_r, w->u_r, q->top, n);
    else
        k->fexp_f32_r16(w->t_r, q->top, n);
}

/* Row-normalised mass of the nodes into w->score. */
static void node_shares(sti_work *w, const float *known, int64_t n)
{
    const sti_kernel_table *k = sti_kernels();
    _Alignas(64) float total[R16], inv[R16];
    memcpy(total, known, sizeof total);
    k->lanesum_f32_r16(total, w->t_r, n);
    for (int r = 0; r < R16; r++)
        inv[r] = total[r] > 0.0f ? w->tile.weight[r] / total[r] : 0.0f;
    k->score_f32_r16(w->score, w->t_r, inv, n);
}

/* Adds the mass of the nodes that were not chosen (chosen: their positions) to known. */
static void keep_pruned_mass(sti_work *w, float *known, int64_t n, const int32_t *chosen,
                             int64_t n_chosen)
{
    for (int64_t c = 0; c < n_chosen; c++)
        memset(w->t_r + chosen[c] * (int64_t)R16, 0, R16 * sizeof *w->t_r);
    sti_kernels()->lanesum_f32_r16(known, w->t_r, n);
}

/* The next frontier: children of the nodes in `node` that touch the range. Ascending stays
 * ascending. */
static int64_t expand(int32_t *out, const int32_t *node, int64_t n, struct range leaves, int level)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 2 * (int64_t)node[i]; c <= 2 * (int64_t)node[i] + 1; c++)
            if ((c << level) < leaves.hi && ((c + 1) << level) > leaves.lo)
                out[m++] = (int32_t)c;
    return m;
}

/* Splits the frontier: nodes inside the range into `full`, returns how many; the (at most two)
 * half-visible nodes at its edges go on for free, outside the beam: inside it they would eat it. */
static int64_t split_edges(const int32_t *frontier, int64_t n, struct range leaves, int level,
                           int32_t *full, int64_t *left_edge, int64_t *right_edge)
{
    int64_t m = 0;
    *left_edge = *right_edge = -1;
    for (int64_t i = 0; i < n; i++) {
        if (inside(leaves, level, frontier[i]))
            full[m++] = frontier[i];
        else if (((int64_t)frontier[i] << level) < leaves.lo)
            *left_edge = frontier[i];
        else
            *right_edge = frontier[i];
    }
    return m;
}

/* Leaves that a descent proposes: at a small budget, all that the least beam reaches. */
static int64_t n_proposed(const sti_work *w, const sti_unit *u)
{
    int64_t n = (int64_t)ceil((double)w->p->rerank * (double)u->quota);
    return sti_max(n, 2 * (w->p->pooled ? POOL_BEAM : 1) * (int64_t)w->p->beam);
}

/* One descent: leaves it proposes, ascending, into `out` (uses lists 1 and 2). `known` [16] starts
 * as the mass outside the shared range and ends with that of everything pruned on the way. */
static int64_t descend(sti_work *w, const sti_unit *u, int kv, enum descent by, float *known,
                       int32_t *out)
{
    const sti_key_head *head = &w->keys->head[kv];
    struct range leaves = {u->lo - 1, u->hi - 1};
    int64_t beam = beam_width(w, u), n = 0;
    int32_t *frontier = w->list[1], *full = w->list[2];
    int level = 0;
    if (w->p->method != ST_SELECT_FLAT)
        while (nodes_touched(leaves, level) > 2 * beam)
            level++;
    for (int64_t node = leaves.lo >> level; node <= (leaves.hi - 1) >> level; node++)
        frontier[n++] = (int32_t)node;
    for (;; level--) {
        int64_t left, right, keep = level > 0 ? beam : n_proposed(w, u), n_keep, n_next = 0;
        int64_t n_full = split_edges(frontier, n, leaves, level, full, &left, &right);
        if (level == 0 && n_full <= keep) {
            memcpy(out, full, (size_t)n_full * sizeof *out);
            return n_full;
        }
        node_masses(w, &head->level[level], by, full, n_full);
        node_shares(w, known, n_full);
        n_keep = sti_top(w, w->score, n_full, keep, out);
        keep_pruned_mass(w, known, n_full, out, n_keep);
        for (int64_t i = 0; i < n_keep; i++)
            out[i] = full[out[i]];
        if (level == 0)
            return n_keep;
        if (left >= 0)
            full[n_next++] = (int32_t)left;
        for (int64_t i = 0; i < n_keep; i++)
            full[n_next++] = out[i];
        if (right >= 0)
            full[n_next++] = (int32_t)right;
        n = expand(frontier, full, n_next, leaves, level - 1);
    }
}

/* Joins two ascending lists, each number once; out may not overlap. */
static int64_t unite(int32_t *out, const int32_t *x, int64_t nx, const int32_t *y, int64_t ny)
{
    int64_t i = 0, j = 0, n = 0;
    while (i < nx || j < ny) {
        int32_t v = j >= ny || (i < nx && x[i] <= y[j]) ? x[i] : y[j];
        if (i < nx && x[i] == v)
            i++;
        if (j < ny && y[j] == v)
            j++;
        out[n++] = v;
    }
    return n;
}

/* Blocks proposed for the unit, ascending, into list 1; returns how many. pruned [16]: what the
 * first descent left out, per lane. */
static int64_t propose(sti_work *w, const sti_unit *u, int h, int rows, float *pruned)
{
    int kv = sti_kv_head(w->a, h);
    int64_t n_ex, n_bd, n;
    _Alignas(64) float known[R16], ignored[R16];
    sti_work_sample(w, u, h, rows, true);
    sti_edge_mass(w, u, h, known);
    memcpy(pruned, known, sizeof known);
    memcpy(ignored, known, sizeof known);
    n_ex = descend(w, u, kv, BY_EXEMPLAR, pruned, w->list[0]);
    n_bd = descend(w, u, kv, BY_BOUNDS, ignored, w->list[3]);
    n = unite(w->list[1], w->list[0], n_ex, w->list[3], n_bd);
    for (int64_t i = 0; i < n; i++)
        w->list[1][i]++; /* leaf to block */
    for (int r = 0; r < R16; r++)
        pruned[r] -= known[r];
    return n;
}

/* The frames from number i on that weigh together, with the shared range of u. Returns one past the
 * last. */
static int part_of_unit(sti_unit *part, const sti_unit *u, int i, int share)
{
    int end = i;
    while (end < u->n &&
           u->frame[end]->number % STI_PROPOSE / share == u->frame[i]->number % STI_PROPOSE / share)
        end++;
    *part = sti_unit_part(u, i, end);
    part->lo = u->lo;
    part->hi = u->hi;
    return end;
}

bool sti_select_stream(sti_work *w, sti_unit *u, int h)
{
    int64_t cand = u->hi - u->lo, n;
    int64_t items = w->p->method == ST_SELECT_FLAT ? cand : 4 * beam_width(w, u) + 4;
    int share = R16 / sti_sampled(w->p);
    _Alignas(64) float pruned[R16], known[R16];
    if (!sti_unit_reserve(w, u, sti_max(items, 2 * sti_min(n_proposed(w, u), cand))))
        return false;
    if (u->n <= share) { /* the same lanes propose and weigh */
        n = propose(w, u, h, w->p->rows, pruned);
        sti_candidate_mass(w, h, w->list[1], n);
        sti_rank(w, u, h, pruned);
        return true;
    }
    n = propose(w, u, h, R16 / STI_PROPOSE, pruned);
    for (int i = 0; i < u->n;) {
        sti_unit part;
        int end = part_of_unit(&part, u, i, share);
        sti_work_sample(w, &part, h, w->p->rows, false);
        sti_edge_mass(w, &part, h, known);
        sti_candidate_mass(w, h, w->list[1], n);
        sti_rank(w, &part, h, pruned);
        for (; i < end; i++)
            u->n_kept[i] = part.n_kept[i - (end - part.n)];
    }
    return true;
}
