/* SPDX-License-Identifier: MIT
 *
 * mass.c — integer scores to softmax mass, and the final ranking by it.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "select/mass.h"
#include "select/methods.h"
#include "select/order.h"
#include "select/weighed.h"

void sti_dots(sti_work *w, int32_t *dot, const int8_t *tile_q, const sti_vectors *x,
              const int32_t *idx, int64_t n)
{
    sti_kernels()->idot_i8_r16(dot, tile_q, x->v, w->keys->dp, x->sum, idx, n, w->keys->dp);
}

void sti_scores(sti_work *w, float *t, const sti_vectors *x, const int32_t *idx, int64_t n)
{
    sti_dots(w, w->dot_r, w->tile.q, x, idx, n);
    sti_kernels()->scale_i32_r16(t, w->dot_r, x->scale, idx, w->tile.q_scale, w->tile.base, n);
}

sti_vectors sti_fetch_keys(sti_work *w, int kv, int64_t first, const int32_t *idx, int64_t n)
{
    const sti_vectors *all = &w->keys->head[kv].key;
    sti_vectors *x = &w->fetched;
    int dp = w->keys->dp;
    if (!w->keys->lean && idx == NULL)
        return (sti_vectors){
            .v = all->v + first * dp, .scale = all->scale + first, .sum = all->sum + first};
    for (int64_t i = 0; i < n; i++)
        sti_key_int8(w->keys, w->a, kv, idx != NULL ? idx[i] : first + i, x->v + i * dp,
                     &x->scale[i], &x->sum[i]);
    return *x;
}

/* Scores of keys [key, key + n), capped, -inf where a lane does not see the key. */
static void masked_scores(sti_work *w, float *t, int kv, int64_t key, int64_t n)
{
    const sti_row_tile *q = &w->tile;
    sti_vectors x = sti_fetch_keys(w, kv, key, NULL, n);
    sti_scores(w, t, &x, NULL, n);
    if (w->a->softcap > 0.0f)
        sti_kernels()->softcap_f32_r16(t, n, w->a->softcap);
    for (int64_t i = 0; i < n; i++) {
        if (key + i >= q->all_lo && key + i < q->all_hi)
            continue;
        for (int r = 0; r < R16; r++)
            if (key + i < q->lo[r] || key + i >= q->hi[r])
                t[i * R16 + r] = -INFINITY;
    }
}

/* Keys of blocks [begin, end) */
static int64_t keys_between(const sti_work *w, int64_t begin, int64_t end)
{
    int64_t bk = w->p->bk;
    return sti_max(sti_min(end * bk, w->a->n_k) - begin * bk, 0);
}

static int64_t block_keys(const sti_work *w, int64_t block)
{
    return keys_between(w, block, block + 1);
}

bool sti_unit_reserve(sti_work *w, const sti_unit *u, int64_t n)
{
    int64_t edge = u->blk_hi - u->blk_lo - (u->hi - u->lo);
    return sti_work_reserve(w, sti_max(edge * w->p->bk, n + edge));
}

void sti_edge_mass(sti_work *w, const sti_unit *u, int h, float *known)
{
    const sti_kernel_table *k = sti_kernels();
    const float *sink = w->a->sinks != NULL ? &w->a->sinks[h] : NULL;
    int kv = sti_kv_head(w->a, h);
    int64_t n = 0, n_key = 0, at = 0, left = keys_between(w, u->blk_lo, u->lo);
    float *top = w->tile.top;
    w->n_left = u->lo - u->blk_lo;
    for (int64_t b = u->blk_lo; b < u->lo; b++)
        w->block[n++] = (int32_t)b;
    for (int64_t b = u->hi; b < u->blk_hi; b++)
        w->block[n++] = (int32_t)b;
    w->n_block = n;
    for (int r = 0; r < R16; r++)
        top[r] = sink != NULL ? *sink : -INFINITY;
    n_key = left + keys_between(w, u->hi, u->blk_hi);
    masked_scores(w, w->t_r, kv, u->blk_lo * w->p->bk, left);
    masked_scores(w, w->t_r + left * R16, kv, u->hi * w->p->bk, n_key - left);
    k->max_f32_r16(top, w->t_r, n_key);
    for (int r = 0; r < R16; r++) {
        top[r] = top[r] == -INFINITY ? 0.0f : top[r];
        known[r] = sink != NULL ? *sink : -INFINITY;
    }
    k->fexp_f32_r16(known, top, 1);
    k->fexp_f32_r16(w->t_r, top, n_key);
    memset(w->mass_r, 0, (size_t)n * R16 * sizeof(float));
    for (int64_t i = 0; i < n; at += block_keys(w, w->block[i++]))
        k->lanesum_f32_r16(w->mass_r + i * R16, w->t_r + at * R16, block_keys(w, w->block[i]));
    k->lanesum_f32_r16(known, w->mass_r, n);
}

/* Mass of a block that every row sees whole. */
static void block_mass(sti_work *w, float *mass, int kv, int64_t block, const float *slope,
                       const float *base)
{
    const sti_kernel_table *k = sti_kernels();
    int64_t key = block * w->p->bk, n = block_keys(w, block);
    sti_vectors x = sti_fetch_keys(w, kv, key, NULL, n);
    if (w->a->softcap > 0.0f) {
        masked_scores(w, w->t_r, kv, key, n);
        k->fexp_f32_r16(w->t_r, w->tile.top, n);
        memset(mass, 0, R16 * sizeof *mass);
        k->lanesum_f32_r16(mass, w->t_r, n);
        return;
    }
    k->imass_i8_r16(mass, w->tile.q, x.v, w->keys->dp, x.sum, x.scale, slope, base, n, w->keys->dp);
}

/* Asks for a block's keys: the caches do not foresee them. */
static void read_ahead(const sti_work *w, int kv, int64_t block)
{
    int64_t bytes = (int64_t)w->p->bk * w->keys->dp;
    const int8_t *at = w->keys->head[kv].key.v + block * bytes;
    for (int64_t i = 0; !w->keys->lean && i < bytes; i += 64)
        __builtin_prefetch(at + i);
}

void sti_candidate_mass(sti_work *w, int h, const int32_t *candidate, int64_t n)
{
    const sti_row_tile *q = &w->tile;
    int64_t left = w->n_left, right = w->n_block - left;
    int kv = sti_kv_head(w->a, h);
    float slope[R16], base[R16];
    memmove(w->block + left + n, w->block + left, (size_t)right * sizeof *w->block);
    memmove(w->mass_r + (left + n) * R16, w->mass_r + left * R16,
            (size_t)(right * R16) * sizeof *w->mass_r);
    memcpy(w->block + left, candidate, (size_t)n * sizeof *candidate);
    w->n_block += n;
    for (int r = 0; r < R16; r++) {
        slope[r] = q->q_scale[r] * STK_E_SLOPE;
        base[r] = (q->base[r] - q->top[r]) * STK_E_SLOPE + STK_E_ONE;
    }
    for (int64_t i = left; i < left + n; i++) {
        if (i + 2 < left + n)
            read_ahead(w, kv, w->block[i + 2]);
        block_mass(w, w->mass_r + i * R16, kv, w->block[i], slope, base);
    }
}

/* ---- ranking --------------------------------------------------------------------------------- */

/* How many of the ordered candidates a mass budget needs: the fewest that bring the mean over rows
 * of the kept share to p, and all that some row reads with more than 1 - p. share_r [n][16], always
 * [16]: shares, in lanes [lane0, lane1). */
static int64_t fewest_for_mass(float p, const float *share_r, const float *always, int lane0,
                               int lane1, const int32_t *order, int64_t n, int32_t *kept)
{
    float have = 0.0f, want = p * (float)(lane1 - lane0);
    int64_t n_kept = 0;
    for (int r = lane0; r < lane1; r++)
        have += always[r];
    for (int64_t i = 0; i < n; i++) {
        const float *share = share_r + (int64_t)order[i] * R16;
        float strongest = 0.0f, total = 0.0f;
        for (int r = lane0; r < lane1; r++) {
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
                 int lane0, int lane1, int64_t n, int32_t *kept)
{
    int64_t n_kept;
    if (w->p->mass > 0.0f) {
        n_kept = sti_top_ordered(w, w->score, n, f->budget, kept);
        n_kept = fewest_for_mass(w->p->mass, share_r, always, lane0, lane1, kept, n_kept, kept);
        sti_sort_blocks(kept, n_kept, w->item);
    } else {
        n_kept = sti_top(w, w->score, n, f->budget, kept);
    }
    return n_kept;
}

/* The best candidates, best first, and what each is worth: its share of the mass times the share
 * that is missing without it and those after it, means over lanes [lane0, lane1). That is half of
 * what it takes off the square of the missing mass. always [16]: shares. */
static int64_t keep_by_gain(sti_work *w, const sti_frame *f, const float *always, int lane0,
                            int lane1, int64_t n, int32_t *kept, float *gain)
{
    int64_t n_kept = sti_top_ordered(w, w->score, n, f->budget, kept);
    float missing = 0.0f, lanes = (float)(lane1 - lane0), to_mean = 1.0f / (lanes * lanes);
    for (int r = lane0; r < lane1; r++)
        missing += 1.0f - always[r];
    for (int64_t i = 0; i < n_kept; i++) {
        float share = w->score[kept[i]];
        gain[i] = missing > 0.0f ? share * missing * to_mean : 0.0f;
        missing -= share;
    }
    return n_kept;
}

/* What lies outside the candidates of a frame: [0, begin) and [end, n_block) of w->block. */
static void add_always(const sti_work *w, float *sum, int64_t begin, int64_t end)
{
    const sti_kernel_table *k = sti_kernels();
    k->lanesum_f32_r16(sum, w->mass_r, begin);
    k->lanesum_f32_r16(sum, w->mass_r + end * R16, w->n_block - end);
}

/* Lanes [lane0, lane1) choose for frame i; 1 / inv is what these lanes have seen. */
static void rank_frame(sti_work *w, sti_unit *u, int i, const float *sink, const float *pruned,
                       float *inv)
{
    const sti_kernel_table *k = sti_kernels();
    const sti_frame *f = u->frame[i];
    int lane0 = w->tile.first[i], lane1 = w->tile.first[i + 1];
    int64_t begin = 0, end, n;
    _Alignas(64) float always[R16], total[R16], own[R16] = {0};
    while (begin < w->n_block && w->block[begin] < f->cand_lo)
        begin++;
    for (end = begin; end < w->n_block && w->block[end] < f->cand_hi;)
        end++;
    n = end - begin;
    memcpy(always, sink, sizeof always);
    add_always(w, always, begin, end);
    for (int r = 0; r < R16; r++)
        total[r] = always[r] + (w->p->mass > 0.0f ? pruned[r] : 0.0f);
    k->lanesum_f32_r16(total, w->mass_r + begin * R16, n);
    for (int r = lane0; r < lane1; r++)
        inv[r] = own[r] = total[r] > 0.0f ? 1.0f / total[r] : 0.0f;
    k->score_f32_r16(w->score, w->mass_r + begin * R16, own, n);
    k->rescale_f32_r16(always, own, 1);
    if (w->p->mass > 0.0f) {
        memcpy(w->t_r, w->mass_r + begin * R16, (size_t)(n * R16) * sizeof *w->t_r);
        k->rescale_f32_r16(w->t_r, own, n);
    }
    u->n_kept[i] = u->gain[i] != NULL
                       ? keep_by_gain(w, f, always, lane0, lane1, n, u->kept[i], u->gain[i])
                       : sti_keep(w, f, w->t_r, always, lane0, lane1, n, u->kept[i]);
    if (u->weighed != NULL)
        sti_weighed_frame(u->weighed, w, u, i, always, own, begin, end);
    for (int64_t c = 0; c < u->n_kept[i]; c++)
        u->kept[i][c] = w->block[begin + u->kept[i][c]];
}

void sti_rank(sti_work *w, sti_unit *u, int h, const float *pruned)
{
    _Alignas(64) float sink[R16], inv[R16] = {0};
    for (int r = 0; r < R16; r++)
        sink[r] = w->a->sinks != NULL ? w->a->sinks[h] : -INFINITY;
    sti_kernels()->fexp_f32_r16(sink, w->tile.top, 1);
    for (int i = 0; i < u->n; i++)
        rank_frame(w, u, i, sink, pruned, inv);
    if (u->weighed != NULL)
        sti_weighed_unit(u->weighed, w, u, h, inv);
}

float sti_scan_share(sti_work *w, const sti_frame *f, int h, const int32_t *kept, int64_t n)
{
    _Alignas(64) float total[R16], have[R16] = {0};
    sti_unit u = sti_unit_make(&f, 1);
    int64_t k = 0, n_cand = u.hi - u.lo;
    float share = 0.0f;
    if (!sti_unit_reserve(w, &u, n_cand))
        return -1.0f;
    sti_work_sample(w, &u, h, R16, false);
    sti_edge_mass(w, &u, h, have);
    for (int64_t i = 0; i < n_cand; i++)
        w->list[0][i] = (int32_t)(u.lo + i);
    sti_candidate_mass(w, h, w->list[0], n_cand);
    memcpy(total, have, sizeof total);
    for (int64_t i = 0; i < n_cand; i++) {
        const float *mass = w->mass_r + (w->n_left + i) * R16;
        sti_kernels()->lanesum_f32_r16(total, mass, 1);
        if (k < n && kept[k] == w->list[0][i]) {
            sti_kernels()->lanesum_f32_r16(have, mass, 1);
            k++;
        }
    }
    for (int r = 0; r < w->tile.n; r++)
        share += total[r] > 0.0f ? have[r] / total[r] : 1.0f;
    return share / (float)w->tile.n;
}
