/* SPDX-License-Identifier: MIT
 *
 * mass.c — integer scores to softmax mass, and the final ranking by it.
 */
#include <math.h>
#include <stdlib.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "select/mass.h"
#include "select/methods.h"

void sti_scores(sti_work *w, float *t, const int8_t *tile_q, const float *q_scale,
                const float *base, const sti_vectors *x, const int32_t *idx, int64_t n, bool add)
{
    const sti_kernel_table *k = sti_kernels();
    k->idot_i8_r16(w->dot_r, tile_q, x->v, w->keys->dp, x->sum, idx, n, w->keys->dp);
    k->scale_i32_r16(t, w->dot_r, x->scale, idx, q_scale, base, n, add);
}

/* Scores of keys [key, key + n), capped, -inf where a lane does not see the key. */
static void key_scores(sti_work *w, float *t, int kv, int64_t key, int64_t n, bool masked)
{
    const sti_vectors *all = &w->keys->head[kv].key;
    const sti_row_tile *q = &w->tile;
    sti_vectors x = {
        .v = all->v + key * w->keys->dp, .scale = all->scale + key, .sum = all->sum + key};
    sti_scores(w, t, q->q, q->q_scale, q->base, &x, NULL, n, false);
    if (w->a->softcap > 0.0f)
        sti_kernels()->softcap_f32_r16(t, n, w->a->softcap);
    if (masked)
        for (int64_t i = 0; i < n; i++)
            for (int r = 0; r < R16; r++)
                if (key + i < q->lo[r] || key + i >= q->hi[r])
                    t[i * R16 + r] = -INFINITY;
}

void sti_block_mass(sti_work *w, int kv, const int32_t *block, int64_t n, bool masked)
{
    const sti_kernel_table *k = sti_kernels();
    int64_t bk = w->p->bk;
    for (int64_t i = 0; i < n; i++) {
        float *max = w->max_r + i * R16, *sum = w->sum_r + i * R16;
        int64_t key = block[i] * bk, n_key = sti_min(bk, w->a->n_k - key);
        for (int r = 0; r < R16; r++) {
            max[r] = -INFINITY;
            sum[r] = 0.0f;
        }
        key_scores(w, w->t_r, kv, key, n_key, masked);
        k->max_f32_r16(max, w->t_r, n_key);
        k->expsum_f32_r16(w->t_r, sum, max, n_key);
    }
}

void sti_mass_raise(sti_mass *m, const float *max)
{
    _Alignas(64) float factor[R16], ignored[R16] = {0};
    memcpy(factor, m->max, sizeof factor);
    sti_kernels()->expsum_f32_r16(factor, ignored, max, 1);
    for (int r = 0; r < R16; r++) {
        m->sum[r] *= factor[r];
        m->max[r] = max[r];
    }
}

/* p[i] = sum_r[i] * exp(max_r[i] - max), in w->t_r */
static void block_exp(sti_work *w, const float *max, int64_t n)
{
    _Alignas(64) float ignored[R16] = {0};
    memcpy(w->t_r, w->max_r, (size_t)n * R16 * sizeof(float));
    sti_kernels()->expsum_f32_r16(w->t_r, ignored, max, n);
    for (int64_t i = 0; i < n * R16; i++)
        w->t_r[i] *= w->sum_r[i];
}

static void lane_add(float *sum, const float *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int r = 0; r < R16; r++)
            sum[r] += p[i * R16 + r];
}

void sti_mass_add(sti_work *w, sti_mass *m, int64_t n)
{
    _Alignas(64) float max[R16];
    memcpy(max, m->max, sizeof max);
    sti_kernels()->max_f32_r16(max, w->max_r, n);
    sti_mass_raise(m, max);
    block_exp(w, max, n);
    lane_add(m->sum, w->t_r, n);
}

sti_mass sti_always_mass(sti_work *w, const sti_frame *f, int h)
{
    sti_mass m;
    int kv = sti_kv_head(w->a, h);
    int64_t n = 0;
    for (int r = 0; r < R16; r++) {
        m.max[r] = w->a->sinks != NULL ? w->a->sinks[h] : -INFINITY;
        m.sum[r] = w->a->sinks != NULL ? 1.0f : 0.0f;
    }
    for (int64_t b = f->blk_lo; b < f->blk_hi; b++)
        if (b < f->cand_lo || b >= f->cand_hi)
            w->gather[n++] = (int32_t)b;
    sti_block_mass(w, kv, w->gather, n, true);
    sti_mass_add(w, &m, n);
    return m;
}

/* ---- ranking --------------------------------------------------------------------------------- */

/* True if candidate x stands behind candidate y. */
static bool behind(const float *score, int32_t x, int32_t y)
{
    return score[x] < score[y] || (score[x] == score[y] && x > y);
}

/* Heap of the best so far, the last of them on top. */
static void sift(const float *score, int32_t *heap, int64_t n, int64_t i)
{
    for (;;) {
        int64_t c = 2 * i + 1;
        int32_t x = heap[i];
        if (c >= n)
            return;
        if (c + 1 < n && behind(score, heap[c + 1], heap[c]))
            c++;
        if (!behind(score, heap[c], x))
            return;
        heap[i] = heap[c];
        heap[c] = x;
        i = c;
    }
}

/* The best `keep`, best first. */
static int64_t top_ordered(const float *score, int64_t n, int64_t keep, int32_t *heap)
{
    keep = sti_min(keep, n);
    for (int64_t i = 0; i < keep; i++)
        heap[i] = (int32_t)i;
    for (int64_t i = keep / 2 - 1; i >= 0; i--)
        sift(score, heap, keep, i);
    for (int64_t i = keep; i < n && keep > 0; i++)
        if (behind(score, heap[0], (int32_t)i)) {
            heap[0] = (int32_t)i;
            sift(score, heap, keep, 0);
        }
    for (int64_t left = keep - 1; left > 0; left--) {
        int32_t x = heap[0];
        heap[0] = heap[left];
        heap[left] = x;
        sift(score, heap, left, 0);
    }
    return keep;
}

static int by_number(const void *x, const void *y)
{
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return (a > b) - (a < b);
}

/* The keep-th largest of x[0..n), 1 <= keep <= n; reorders x. No NaN. */
static float kth_largest(float *x, int64_t n, int64_t keep)
{
    int64_t lo = 0, hi = n - 1, at = keep - 1;
    while (lo < hi) {
        float a = x[lo], b = x[lo + (hi - lo) / 2], c = x[hi];
        float pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i <= j) {
                float t = x[i];
                x[i++] = x[j];
                x[j--] = t;
            }
        }
        if (at <= j)
            hi = j;
        else if (at >= i)
            lo = i;
        else
            break;
    }
    return x[at];
}

int64_t sti_top(sti_work *w, int64_t n, int64_t keep, int32_t *out)
{
    float *copy = w->u_r, least;
    int64_t n_equal = keep, n_out = 0;
    if (keep >= n) {
        for (int64_t i = 0; i < n; i++)
            out[i] = (int32_t)i;
        return n;
    }
    if (keep == 0)
        return 0;
    for (int64_t i = 0; i < n; i++) {
        w->score[i] = w->score[i] == w->score[i] ? w->score[i] : -INFINITY; /* NaN comes last */
        copy[i] = w->score[i];
    }
    least = kth_largest(copy, n, keep);
    for (int64_t i = 0; i < n; i++)
        n_equal -= w->score[i] > least;
    for (int64_t i = 0; i < n; i++)
        if (w->score[i] > least || (w->score[i] == least && n_equal-- > 0))
            out[n_out++] = (int32_t)i;
    return n_out;
}

/* How many of the ordered candidates a mass budget needs: the fewest that bring the mean over rows
 * of the kept share to p, and all that some row reads with more than 1 - p. share_r [n][16], always
 * [16]: shares. */
static int64_t fewest_for_mass(const sti_work *w, const float *share_r, const float *always,
                               const int32_t *order, int64_t n, int32_t *kept)
{
    float p = w->p->mass, have = 0.0f, want = p * (float)w->tile.n;
    int64_t n_kept = 0;
    for (int r = 0; r < w->tile.n; r++)
        have += always[r];
    for (int64_t i = 0; i < n; i++) {
        const float *share = share_r + (int64_t)order[i] * R16;
        float strongest = 0.0f, total = 0.0f;
        for (int r = 0; r < w->tile.n; r++) {
            strongest = share[r] > strongest ? share[r] : strongest;
            total += share[r];
        }
        if (have < want || strongest > 1.0f - p) {
            kept[n_kept++] = order[i];
            have += total;
        }
    }
    return n_kept;
}

int64_t sti_keep(sti_work *w, const sti_frame *f, const float *share_r, const float *always,
                 const int32_t *candidate, int64_t n, int32_t *kept)
{
    int64_t n_kept;
    if (w->p->mass > 0.0f) {
        n_kept = top_ordered(w->score, n, f->budget, kept);
        n_kept = fewest_for_mass(w, share_r, always, kept, n_kept, kept);
        qsort(kept, (size_t)n_kept, sizeof *kept, by_number);
    } else {
        n_kept = sti_top(w, n, f->budget, kept);
    }
    for (int64_t i = 0; i < n_kept; i++)
        kept[i] = candidate[kept[i]];
    return n_kept;
}

int64_t sti_rank(sti_work *w, const sti_frame *f, int h, const sti_mass *always,
                 const sti_mass *outside, const int32_t *candidate, int64_t n, int32_t *kept)
{
    _Alignas(64) float max[R16], inv[R16];
    sti_mass fixed = *always, total = *outside;
    sti_block_mass(w, sti_kv_head(w->a, h), candidate, n, false);
    memcpy(max, outside->max, sizeof max);
    sti_kernels()->max_f32_r16(max, w->max_r, n);
    sti_mass_raise(&fixed, max);
    sti_mass_raise(&total, max);
    block_exp(w, max, n);
    lane_add(total.sum, w->t_r, n);
    for (int r = 0; r < R16; r++)
        inv[r] = total.sum[r] > 0.0f ? w->tile.weight[r] / total.sum[r] : 0.0f;
    sti_kernels()->score_f32_r16(w->score, w->t_r, inv, n);
    if (w->p->mass > 0.0f) {
        sti_kernels()->rescale_f32_r16(w->t_r, inv, n);
        sti_kernels()->rescale_f32_r16(fixed.sum, inv, 1);
    }
    return sti_keep(w, f, w->t_r, fixed.sum, candidate, n, kept);
}

float sti_scan_share(sti_work *w, const sti_frame *f, int h, const int32_t *kept, int64_t n)
{
    _Alignas(64) float max[R16];
    int64_t n_cand = sti_frame_candidates(f), k = 0;
    float share = 0.0f;
    sti_mass have, total;
    if (!sti_work_reserve(w, sti_max(sti_max(n_cand, sti_frame_always(f)), w->p->bk)))
        return -1.0f;
    sti_work_sample(w, f, h);
    have = sti_always_mass(w, f, h);
    for (int64_t i = 0; i < n_cand; i++)
        w->list[0][i] = (int32_t)(f->cand_lo + i);
    sti_block_mass(w, sti_kv_head(w->a, h), w->list[0], n_cand, false);
    memcpy(max, have.max, sizeof max);
    sti_kernels()->max_f32_r16(max, w->max_r, n_cand);
    sti_mass_raise(&have, max);
    block_exp(w, max, n_cand);
    total = have;
    lane_add(total.sum, w->t_r, n_cand);
    for (int64_t i = 0; i < n_cand; i++)
        if (k < n && kept[k] == w->list[0][i]) {
            lane_add(have.sum, w->t_r + i * R16, 1);
            k++;
        }
    for (int r = 0; r < w->tile.n; r++)
        share += total.sum[r] > 0.0f ? have.sum[r] / total.sum[r] : 1.0f;
    return share / (float)w->tile.n;
}
