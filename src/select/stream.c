/* SPDX-License-Identifier: MIT
 *
 * stream.c — the hierarchical estimator (docs/method/selection.md, "Descend"). Two beam descents
 * through the pyramid, one by exemplars and one by channel bounds, propose leaves; the exact mass
 * of the union decides. `flat` is the same with every leaf on the first frontier.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "select/mass.h"
#include "select/methods.h"

enum descent { BY_EXEMPLAR, BY_BOUNDS };

/* Above this many candidate keys a beam of twice the width keeps the needle (measured: docs). */
#define WIDE_BEAM_TOK 32768

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

static int64_t beam_width(const sti_work *w, const sti_frame *f)
{
    int64_t beam = w->p->beam;
    if (sti_frame_candidates(f) * w->p->bk >= WIDE_BEAM_TOK)
        beam *= 2;
    return sti_max(beam, f->budget);
}

/* Scores of nodes as if each were one leaf: t_r, and for exemplars u_r as a second key beside it.
 */
static void node_scores(sti_work *w, const sti_level *level, const sti_vectors *key,
                        enum descent by, const int32_t *node, int64_t n)
{
    const sti_kernel_table *k = sti_kernels();
    const sti_row_tile *q = &w->tile;
    float cap = w->a->softcap;
    if (by == BY_EXEMPLAR) {
        int32_t *exemplar = w->gather;
        for (int64_t i = 0; i < n; i++)
            exemplar[i] = level->exemplar[node[i]];
        sti_scores(w, w->t_r, q->q, q->q_scale, q->base, &level->mean, node, n, false);
        sti_scores(w, w->s2_r, q->q_sq, q->sq_scale, q->zero, &level->var, node, n, false);
        k->exemplar_f32_r16(w->t_r, w->s2_r, n, (float)log((double)w->p->bk));
        sti_scores(w, w->u_r, q->q, q->q_scale, q->base, key, exemplar, n, false);
    } else {
        sti_scores(w, w->t_r, q->q, q->q_scale, q->base, &level->mid, node, n, false);
        sti_scores(w, w->t_r, q->q_abs, q->q_scale, q->zero, &level->half, node, n, true);
    }
    if (cap > 0.0f) {
        k->softcap_f32_r16(w->t_r, n, cap);
        if (by == BY_EXEMPLAR)
            k->softcap_f32_r16(w->u_r, n, cap);
    }
}

/* Row-normalised mass of the scored nodes into w->score; their unnormalised mass stays in t_r,
 * relative to known->max, which is raised. */
static void node_mass(sti_work *w, sti_mass *known, enum descent by, int64_t n)
{
    const sti_kernel_table *k = sti_kernels();
    _Alignas(64) float max[R16], ignored[R16] = {0}, total[R16], inv[R16];
    memcpy(max, known->max, sizeof max);
    k->max_f32_r16(max, w->t_r, n);
    if (by == BY_EXEMPLAR)
        k->max_f32_r16(max, w->u_r, n);
    sti_mass_raise(known, max);
    k->expsum_f32_r16(w->t_r, ignored, max, n);
    if (by == BY_EXEMPLAR) {
        k->expsum_f32_r16(w->u_r, ignored, max, n);
        for (int64_t i = 0; i < n * R16; i++)
            w->t_r[i] += w->u_r[i];
    }
    memcpy(total, known->sum, sizeof total);
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < R16; r++)
            total[r] += w->t_r[i * R16 + r];
    for (int r = 0; r < R16; r++)
        inv[r] = total[r] > 0.0f ? w->tile.weight[r] / total[r] : 0.0f;
    k->score_f32_r16(w->score, w->t_r, inv, n);
}

/* Adds the mass of the nodes that were not chosen (chosen: ascending positions) to known. */
static void keep_pruned_mass(const sti_work *w, sti_mass *known, int64_t n, const int32_t *chosen,
                             int64_t n_chosen)
{
    int64_t c = 0;
    for (int64_t i = 0; i < n; i++) {
        if (c < n_chosen && chosen[c] == i) {
            c++;
            continue;
        }
        for (int r = 0; r < R16; r++)
            known->sum[r] += w->t_r[i * R16 + r];
    }
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

/* One descent: leaves it proposes, ascending, into `out` (uses lists 1 and 2). `known` starts as
 * the always- kept mass and ends with the mass of everything pruned on the way. */
static int64_t descend(sti_work *w, const sti_frame *f, int kv, enum descent by, sti_mass *known,
                       int32_t *out)
{
    const sti_key_head *head = &w->keys->head[kv];
    struct range leaves = {f->cand_lo - 1, f->cand_hi - 1};
    int64_t beam = beam_width(w, f), n = 0;
    int32_t *frontier = w->list[1], *full = w->list[2];
    int level = 0;
    if (w->p->method != ST_SELECT_FLAT)
        while (nodes_touched(leaves, level) > 2 * beam)
            level++;
    for (int64_t node = leaves.lo >> level; node <= (leaves.hi - 1) >> level; node++)
        frontier[n++] = (int32_t)node;
    for (;; level--) {
        int64_t left, right, keep = level > 0 ? beam : w->p->rerank * f->budget, n_keep, n_next = 0;
        int64_t n_full = split_edges(frontier, n, leaves, level, full, &left, &right);
        node_scores(w, &head->level[level], &head->key, by, full, n_full);
        node_mass(w, known, by, n_full);
        n_keep = sti_top(w, n_full, keep, out);
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

int64_t sti_select_stream(sti_work *w, const sti_frame *f, int h, int32_t *kept)
{
    int kv = sti_kv_head(w->a, h);
    sti_mass always, outside, ignored;
    int64_t cand = sti_frame_candidates(f);
    int64_t items = w->p->method == ST_SELECT_FLAT ? cand : 4 * beam_width(w, f) + 4;
    int64_t n_ex, n_bd, n;
    items = sti_max(items, 2 * sti_min(w->p->rerank * f->budget, cand));
    items = sti_max(items, sti_max(sti_frame_always(f), w->p->bk));
    if (!sti_work_reserve(w, items))
        return -1;
    sti_work_sample(w, f, h);
    always = outside = ignored = sti_always_mass(w, f, h);
    n_ex = descend(w, f, kv, BY_EXEMPLAR, &outside, w->list[0]);
    n_bd = descend(w, f, kv, BY_BOUNDS, &ignored, w->list[3]);
    n = unite(w->list[1], w->list[0], n_ex, w->list[3], n_bd);
    for (int64_t i = 0; i < n; i++)
        w->list[1][i]++; /* leaf to block */
    return sti_rank(w, f, h, &always, w->p->mass > 0.0f ? &outside : &always, w->list[1], n, kept);
}
