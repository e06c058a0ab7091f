/* SPDX-License-Identifier: MIT
 *
 * tile.c — the online softmax over chunks of keys (docs/kernels.md). Rows sit in the lanes, so
 * maxima and sums never cross lanes; K and V are unpacked chunk by chunk and used for all rows of
 * the tile.
 */
#include <math.h>

#include "attend/tile.h"
#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "kernels/read_rows.h"

#define SUM_KEYS 16 /* keys summed before they are added to a row's sum */

sti_tile_work *sti_tile_work_new(const st_attn *a)
{
    sti_tile_work *w = sti_calloc(sizeof *w);
    size_t dk = (size_t)a->d_k, dv = (size_t)a->d_v;
    if (w == NULL)
        return NULL;
    w->a = a;
    w->qt = sti_alloc(dk * STI_TILE_ROWS * sizeof(float));
    w->out = sti_alloc(dv * STI_TILE_ROWS * sizeof(float));
    w->s = sti_alloc(STI_CHUNK_KEYS * STI_TILE_ROWS * sizeof(float));
    w->k_buf = sti_alloc(STI_CHUNK_KEYS * dk * sizeof(float));
    w->v_buf = sti_alloc(STI_CHUNK_KEYS * dv * sizeof(float));
    w->row_buf = sti_alloc(dk * sizeof(float));
    if (w->qt && w->out && w->s && w->k_buf && w->v_buf && w->row_buf)
        return w;
    sti_tile_work_free(w);
    return NULL;
}

void sti_tile_work_free(sti_tile_work *w)
{
    if (w == NULL)
        return;
    sti_free(w->qt);
    sti_free(w->out);
    sti_free(w->s);
    sti_free(w->k_buf);
    sti_free(w->v_buf);
    sti_free(w->row_buf);
    sti_free(w->seg_sum);
    sti_free(w->chunk_factor);
    sti_free(w->seg_chunk);
    sti_free(w);
}

/* ---- the kernels for the tile's width -------------------------------------------------------- */

static void run_qk(sti_tile_work *w, float *s, const float *k, int64_t n, int64_t ld)
{
    const sti_kernel_table *t = sti_kernels();
    (w->R == 16 ? t->qk_f32_r16 : t->qk_f32_r32)(s, w->qt, k, n, w->a->d_k, ld);
    if (w->a->softcap > 0.0f)
        (w->R == 16 ? t->softcap_f32_r16 : t->softcap_f32_r32)(s, n, w->a->softcap);
}

static void run_max(const sti_tile_work *w, float *max, const float *s, int64_t n)
{
    const sti_kernel_table *t = sti_kernels();
    (w->R == 16 ? t->max_f32_r16 : t->max_f32_r32)(max, s, n);
}

static void run_expsum(const sti_tile_work *w, float *s, float *sum, const float *max, int64_t n)
{
    const sti_kernel_table *t = sti_kernels();
    (w->R == 16 ? t->expsum_f32_r16 : t->expsum_f32_r32)(s, sum, max, n);
}

/* Exponentials of n scored keys; their sums are added to sum and to the rows' sums, SUM_KEYS at a
 * time: so these do not depend on how keys were cut into segments, and everything kept equals exact
 * attention to the bit. */
static void run_sums(sti_tile_work *w, float *s, float *sum, int64_t n)
{
    for (int64_t i = 0; i < n; i += SUM_KEYS) {
        _Alignas(64) float part[STI_TILE_ROWS] = {0};
        run_expsum(w, s + i * w->R, part, w->max, sti_min(SUM_KEYS, n - i));
        for (int r = 0; r < w->R; r++) {
            sum[r] += part[r];
            w->sum[r] += part[r];
        }
    }
}

static void run_pv(sti_tile_work *w, const float *p, const float *v, int64_t n, int64_t ld)
{
    const sti_kernel_table *t = sti_kernels();
    (w->R == 16 ? t->pv_f32_r16 : t->pv_f32_r32)(w->out, p, v, n, w->a->d_v, ld);
}

/* ---- one tile -------------------------------------------------------------------------------- */

static void load_rows(sti_tile_work *w, const sti_tile *tile)
{
    const st_attn *a = w->a;
    int R = w->R = tile->n <= 16 ? 16 : 32;
    w->all_lo = 0;
    w->all_hi = INT64_MAX;
    memset(w->qt, 0, (size_t)(a->d_k * R) * sizeof(float));
    memset(w->out, 0, (size_t)(a->d_v * R) * sizeof(float));
    for (int r = 0; r < R; r++) {
        bool used = r < tile->n;
        w->max[r] = used && a->sinks != NULL ? a->sinks[tile->head[r]] : -INFINITY;
        w->sum[r] = used && a->sinks != NULL ? 1.0f : 0.0f;
        w->lo[r] = w->hi[r] = 0;
        if (!used)
            continue;
        w->lo[r] = sti_row_lo(a, tile->row[r]);
        w->hi[r] = sti_row_hi(a, tile->row[r]);
        w->all_lo = sti_max(w->all_lo, w->lo[r]);
        w->all_hi = sti_min(w->all_hi, w->hi[r]);
        sti_read_row(w->row_buf, &a->q, tile->head[r], tile->row[r], a->d_k);
        for (int c = 0; c < a->d_k; c++)
            w->qt[c * R + r] = w->row_buf[c] * a->scale;
    }
}

/* -inf where a row does not see keys [key, key + n). */
static void hide_keys(const sti_tile_work *w, float *s, int64_t key, int64_t n)
{
    if (key >= w->all_lo && key + n <= w->all_hi)
        return;
    for (int64_t j = 0; j < n; j++)
        for (int r = 0; r < w->R; r++)
            if (key + j < w->lo[r] || key + j >= w->hi[r])
                s[j * w->R + r] = -INFINITY;
}

static void add_bias(const sti_tile_work *w, const sti_tile *tile, float *s, int64_t key, int64_t n)
{
    const st_attn *a = w->a;
    for (int r = 0; r < tile->n; r++) {
        const char *row = (const char *)a->bias + tile->row[r] * a->stride_bias_bytes;
        float slope = a->slope != NULL ? a->slope[tile->head[r]] : 1.0f;
        for (int64_t j = 0; j < n; j++) {
            uint16_t half;
            memcpy(&half, row + (key + j) * 2, 2);
            if (half == 0xfc00) /* -inf hides the key whatever the slope */
                s[j * w->R + r] = -INFINITY;
            else if (half != 0)
                s[j * w->R + r] += slope * sti_f16_f32(half);
        }
    }
}

/* Scores of one segment into s. */
static void segment_scores(sti_tile_work *w, const sti_tile *tile, float *s, const sti_segment *seg)
{
    int64_t n = seg->end - seg->key, ld;
    const float *k = sti_read_rows(w->k_buf, &w->a->k, sti_kv_head(w->a, tile->head[0]), seg->key,
                                   n, w->a->d_k, &ld);
    run_qk(w, s, k, n, ld);
    if (w->a->bias != NULL)
        add_bias(w, tile, s, seg->key, n);
    else
        hide_keys(w, s, seg->key, n);
}

/* Raises the running maximum to cover n scored keys and brings sum and output onto it. */
static void raise_max(sti_tile_work *w, const float *s, int64_t n)
{
    const sti_kernel_table *t = sti_kernels();
    _Alignas(64) float max[STI_TILE_ROWS], factor[STI_TILE_ROWS], ignored[STI_TILE_ROWS] = {0};
    memcpy(max, w->max, sizeof max);
    run_max(w, max, s, n);
    if (memcmp(max, w->max, (size_t)w->R * sizeof *max) == 0)
        return;
    memcpy(factor, w->max, sizeof factor);
    run_expsum(w, factor, ignored, max, 1);
    for (int r = 0; r < w->R; r++)
        w->sum[r] *= factor[r];
    (w->R == 16 ? t->rescale_f32_r16 : t->rescale_f32_r32)(w->out, factor, w->a->d_v);
    memcpy(w->max, max, sizeof max);
}

static void segment_values(sti_tile_work *w, const sti_tile *tile, const float *p,
                           const sti_segment *seg)
{
    int64_t n = seg->end - seg->key, ld;
    const float *v = sti_read_rows(w->v_buf, &w->a->v, sti_kv_head(w->a, tile->head[0]), seg->key,
                                   n, w->a->d_v, &ld);
    run_pv(w, p, v, n, ld);
}

static bool reserve_shares(sti_tile_work *w, int64_t n_seg)
{
    size_t lanes = STI_TILE_ROWS * sizeof(float);
    return sti_grow((void **)&w->seg_sum, &w->cap_seg, n_seg, lanes) &&
           sti_grow((void **)&w->chunk_factor, &w->cap_chunk, n_seg, lanes) &&
           sti_grow((void **)&w->seg_chunk, &w->cap_seg_chunk, n_seg, sizeof *w->seg_chunk);
}

/* The chunks' maxima become factors: exp(chunk maximum - final maximum) / sum. */
static void finish_shares(sti_tile_work *w, int64_t n_chunk)
{
    const sti_kernel_table *t = sti_kernels();
    _Alignas(64) float inv[STI_TILE_ROWS], ignored[STI_TILE_ROWS] = {0};
    for (int r = 0; r < w->R; r++)
        inv[r] = w->sum[r] > 0.0f ? 1.0f / w->sum[r] : 0.0f;
    run_expsum(w, w->chunk_factor, ignored, w->max, n_chunk);
    (w->R == 16 ? t->rescale_f32_r16 : t->rescale_f32_r32)(w->chunk_factor, inv, n_chunk);
}

/* Segments [i, end) that follow on one another as one: fewer, longer products. Returns the next i.
 */
static int64_t join(const sti_segment *seg, int64_t i, int64_t end, sti_segment *run)
{
    *run = seg[i++];
    for (; i < end && seg[i].key == run->end; i++)
        run->end = seg[i].end;
    return i;
}

/* One past the last segment of the chunk that begins at segment i. */
static int64_t chunk_end(const sti_segment *seg, int64_t i, int64_t n_seg)
{
    int64_t n = 0;
    for (; i < n_seg && n + seg[i].end - seg[i].key <= STI_CHUNK_KEYS; i++)
        n += seg[i].end - seg[i].key;
    return i;
}

static void run_chunk(sti_tile_work *w, const sti_tile *tile, const sti_segment *seg, int64_t begin,
                      int64_t end, int32_t chunk, bool values, bool shares)
{
    sti_segment run;
    int64_t n = 0;
    for (int64_t i = begin; i < end; n += run.end - run.key) {
        i = join(seg, i, end, &run);
        segment_scores(w, tile, w->s + n * w->R, &run);
    }
    raise_max(w, w->s, n);
    if (shares)
        memcpy(w->chunk_factor + (int64_t)chunk * w->R, w->max, (size_t)w->R * sizeof(float));
    n = 0;
    for (int64_t i = begin; i < end; n += seg[i].end - seg[i].key, i++) {
        _Alignas(64) float sum[STI_TILE_ROWS] = {0};
        run_sums(w, w->s + n * w->R, sum, seg[i].end - seg[i].key);
        if (shares) {
            memcpy(w->seg_sum + i * w->R, sum, (size_t)w->R * sizeof(float));
            w->seg_chunk[i] = chunk;
        }
    }
    n = 0;
    for (int64_t i = begin; values && i < end; n += run.end - run.key) {
        i = join(seg, i, end, &run);
        segment_values(w, tile, w->s + n * w->R, &run);
    }
}

bool sti_tile_run(sti_tile_work *w, const sti_tile *tile, const sti_segment *seg, int64_t n_seg,
                  bool values, bool shares)
{
    int32_t chunk = 0;
    if (shares && !reserve_shares(w, n_seg))
        return false;
    load_rows(w, tile);
    for (int64_t i = 0; i < n_seg; chunk++) {
        int64_t end = chunk_end(seg, i, n_seg);
        run_chunk(w, tile, seg, i, end, chunk, values, shares);
        i = end;
    }
    if (shares)
        finish_shares(w, chunk);
    return true;
}

float sti_tile_lse(const sti_tile_work *w, int r)
{
    return w->sum[r] > 0.0f ? w->max[r] + logf(w->sum[r]) : -INFINITY;
}

void sti_tile_output(const sti_tile_work *w, int r, float *dst)
{
    float inv = w->sum[r] > 0.0f ? 1.0f / w->sum[r] : w->sum[r]; /* NaN goes through */
    for (int c = 0; c < w->a->d_v; c++)
        dst[c] = w->out[c * w->R + r] * inv;
}

float sti_tile_share(const sti_tile_work *w, int64_t i, int r)
{
    return w->seg_sum[i * w->R + r] * w->chunk_factor[(int64_t)w->seg_chunk[i] * w->R + r];
}
