/* SPDX-License-Identifier: MIT
 *
 * tile.c — the online softmax over chunks of keys (docs/kernels.md). Rows sit in the lanes, so
 * maxima and sums never cross lanes.
 *
 * Two forms: in F32, where K and V are unpacked chunk by chunk, and in 16-bit fixed point over a
 * pack, where a chunk is a few parts of packed groups and each part has a maximum of its own, so
 * that no probability is lost below the resolution of the whole row.
 */
#include <math.h>

#include "attend/tile.h"
#include "base/attn_rows.h"
#include "base/util.h"
#include "kernels/kernels.h"
#include "kernels/read_rows.h"

#define SUM_KEYS 16 /* keys summed before they are added to a row's sum */

sti_tile_work *sti_tile_work_new(const st_attn *a, const sti_pack *pack)
{
    sti_tile_work *w = sti_calloc(sizeof *w);
    size_t dk = (size_t)a->d_k, dv = (size_t)a->d_v;
    if (w == NULL)
        return NULL;
    w->a = a;
    w->pack = pack;
    w->qt = sti_alloc((dk + 1) * STI_TILE_ROWS * sizeof(float));
    w->out = sti_alloc(dv * STI_TILE_ROWS * sizeof(float));
    w->s = sti_alloc(STI_CHUNK_PARTS * STK_GROUP * STI_TILE_ROWS * sizeof(float));
    w->row_buf = sti_alloc(dk * sizeof(float) + (dk + 1) * sizeof(int16_t));
    if (pack == NULL) {
        w->k_buf = sti_alloc(STI_CHUNK_KEYS * dk * sizeof(float));
        w->v_buf = sti_alloc(STI_CHUNK_KEYS * dv * sizeof(float));
    } else {
        w->p = sti_alloc(STI_CHUNK_PARTS * STK_GROUP * STI_TILE_ROWS * sizeof *w->p);
        w->part_max = sti_alloc(STI_CHUNK_PARTS * STI_TILE_ROWS * sizeof(float));
        w->part_sum = sti_alloc(STI_CHUNK_PARTS * STI_TILE_ROWS * sizeof(float));
    }
    if (w->qt && w->out && w->s && w->row_buf &&
        (pack ? w->p && w->part_max && w->part_sum : w->k_buf && w->v_buf))
        return w;
    sti_tile_work_free(w);
    return NULL;
}

void sti_tile_work_free(sti_tile_work *w)
{
    if (w == NULL)
        return;
    sti_hide_free(&w->hide);
    sti_free(w->qt);
    sti_free(w->out);
    sti_free(w->s);
    sti_free(w->k_buf);
    sti_free(w->v_buf);
    sti_free(w->p);
    sti_free(w->part_max);
    sti_free(w->part_sum);
    sti_free(w->row_buf);
    sti_free(w->seg_sum);
    sti_free(w->chunk_factor);
    sti_free(w->seg_chunk);
    sti_pieces_free(&w->pieces);
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

/* Row r of the tile into its lane. */
static void load_query(sti_tile_work *w, const sti_tile *tile, int r)
{
    const st_attn *a = w->a;
    int R = w->R;
    sti_read_row(w->row_buf, &a->q, tile->head[r], tile->row[r], a->d_k);
    for (int c = 0; c < a->d_k; c++)
        w->row_buf[c] *= a->scale;
    if (w->pack == NULL) {
        for (int c = 0; c < a->d_k; c++)
            w->qt[c * R + r] = w->row_buf[c];
    } else {
        int16_t *row = (int16_t *)(w->row_buf + a->d_k), *qt = (int16_t *)w->qt;
        row[w->pack->dp - 1] = 0;
        sti_kernels()->packk_f32_row(row, &w->q_scale[r], w->row_buf, a->d_k);
        for (int c = 0; c < w->pack->dp; c += 2)
            memcpy(qt + (c * R + 2 * r), row + c, 2 * sizeof *row);
    }
}

static void load_rows(sti_tile_work *w, const sti_tile *tile)
{
    const st_attn *a = w->a;
    int R = w->R = tile->n <= 16 ? 16 : 32;
    w->n = tile->n;
    w->all_lo = 0;
    w->all_hi = INT64_MAX;
    if (tile->n < R) {
        memset(w->qt, 0, (size_t)((a->d_k + 1) * R) * sizeof(float));
        memset(w->q_scale, 0, sizeof w->q_scale);
    }
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
        load_query(w, tile, r);
    }
}

/* -inf where a row does not see keys [key, key + n). */
static void hide_keys(const sti_tile_work *w, float *s, int64_t key, int64_t n)
{
    int32_t first[STI_TILE_ROWS], last[STI_TILE_ROWS]; /* visible: first <= j < last */
    if (key >= w->all_lo && key + n <= w->all_hi)
        return;
    for (int r = 0; r < w->R; r++) {
        first[r] = (int32_t)sti_clamp(w->lo[r] - key, 0, n);
        last[r] = (int32_t)sti_clamp(w->hi[r] - key, 0, n);
    }
    for (int32_t j = 0; j < n; j++)
        for (int r = 0; r < w->R; r++) {
            float x = s[j * w->R + r];
            x = j >= first[r] ? x : -INFINITY;
            s[j * w->R + r] = j < last[r] ? x : -INFINITY;
        }
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
    sti_hide_scores(&w->hide, s, w->R, seg->key, n);
}

/* Raises the running maximum to cover s [n, R] and brings sum and output onto it. */
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
        inv[r] = r < w->n && w->sum[r] > 0.0f ? 1.0f / w->sum[r] : 0.0f;
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

/* One past the last segment of the chunk that begins at segment i. Of a shared tile it ends where
 * it would for any other set of rows: so does a row's rounding. */
static int64_t chunk_end(const sti_tile_work *w, const sti_tile *tile, const sti_segment *seg,
                         int64_t i, int64_t n_seg)
{
    int64_t n = 0, first = i, group = -1;
    for (; i < n_seg; i++)
        if (w->pack == NULL) {
            n += seg[i].end - seg[i].key;
            if (n > STI_CHUNK_KEYS && i > first)
                break;
        } else if (seg[i].key / STK_GROUP != group) {
            group = seg[i].key / STK_GROUP;
            if (++n > STI_CHUNK_PARTS ||
                (tile->shared && seg[i].key / STI_CHUNK_KEYS != seg[first].key / STI_CHUNK_KEYS))
                break;
        }
    return i;
}

static bool run_chunk(sti_tile_work *w, const sti_tile *tile, const sti_segment *seg, int64_t begin,
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
        if (w->pieces.group != NULL &&
            !sti_pieces_add(&w->pieces, w->R, seg[i].key, seg[i].end, w->s + n * w->R))
            return false;
    }
    n = 0;
    for (int64_t i = begin; values && i < end; n += run.end - run.key) {
        i = join(seg, i, end, &run);
        segment_values(w, tile, w->s + n * w->R, &run);
    }
    return true;
}

/* ---- a chunk in fixed point -------------------------------------------------------------------
 */

/* A packed group, and the segments [seg, seg_end) that lie in it. */
typedef struct part {
    int64_t key, slot, seg, seg_end;
} part;

static int64_t slot_of(const sti_tile_work *w, const sti_segment *seg)
{
    return w->pack->slot[seg->key / STK_GROUP];
}

static const int16_t *packed_keys(const sti_tile_work *w, int64_t slot)
{
    return w->pack->k + slot * STK_GROUP * w->pack->dp;
}

static const int16_t *packed_values(const sti_tile_work *w, int64_t slot)
{
    return w->pack->v + slot * STK_GROUP * w->a->d_v;
}

/* Segments [i, end) by groups. Returns how many groups. */
static int64_t cut_parts(const sti_tile_work *w, const sti_segment *seg, int64_t i, int64_t end,
                         part *parts)
{
    int64_t n = 0;
    for (; i < end; i++) {
        int64_t key = seg[i].key / STK_GROUP * STK_GROUP;
        if (n == 0 || parts[n - 1].key != key)
            parts[n++] = (part){key, slot_of(w, &seg[i]), i, i};
        parts[n - 1].seg_end = i + 1;
    }
    return n;
}

/* Bits [first, end) of 16, clipped. */
static int32_t bits(int64_t first, int64_t end)
{
    first = sti_clamp(first, 0, STK_GROUP);
    end = sti_clamp(end, first, STK_GROUP);
    return (int32_t)((1u << end) - (1u << first));
}

#define DROP_KEYS(R)                                                                               \
    static void drop_keys##R(float *restrict s, const int32_t *restrict keep)                      \
    {                                                                                              \
        for (int j = 0; j < STK_GROUP; j++)                                                        \
            for (int r = 0; r < R; r++) {                                                          \
                float x = s[j * R + r];                                                            \
                s[j * R + r] = keep[r] & 1 << j ? x : -INFINITY;                                   \
            }                                                                                      \
    }

DROP_KEYS(16)
DROP_KEYS(32)

/* -inf where a row does not see a key, or where no segment gives it to the row. */
static void drop_keys(const sti_tile_work *w, const sti_tile *tile, float *s, const part *x,
                      const sti_segment *seg)
{
    int32_t keep[STI_TILE_ROWS] = {0}, all = bits(0, STK_GROUP);
    bool seen = w->a->bias != NULL || (x->key >= w->all_lo && x->key + STK_GROUP <= w->all_hi);
    if (seen && !tile->shared && seg[x->seg].end - seg[x->seg].key == STK_GROUP)
        return;
    for (int64_t i = x->seg; i < x->seg_end; i++) {
        int32_t own = bits(seg[i].key - x->key, seg[i].end - x->key);
        int begin = tile->shared ? seg[i].lane : 0, end = tile->shared ? seg[i].lane_end : w->R;
        for (int r = begin; r < end; r++)
            keep[r] |= own;
    }
    if (!seen)
        for (int r = 0; r < w->R; r++)
            keep[r] &= bits(w->lo[r] - x->key, w->hi[r] - x->key);
    for (int r = 0; r < w->n; r++)
        all &= keep[r];
    if (all != bits(0, STK_GROUP))
        (w->R == 16 ? drop_keys16 : drop_keys32)(s, keep);
}

/* Scores of a part's 16 keys into s [STK_GROUP, R]; -inf where they are not read. `ahead`: packed
 * numbers that are wanted next. */
static void part_scores(sti_tile_work *w, const sti_tile *tile, float *s, const part *x,
                        const sti_segment *seg, const int16_t *ahead)
{
    const sti_kernel_table *t = sti_kernels();
    const sti_pack *p = w->pack;
    int64_t n = sti_min(STK_GROUP, w->a->n_k - x->key);
    (w->R == 16 ? t->iqk_i16_r16 : t->iqk_i16_r32)(s, (const int16_t *)w->qt, w->q_scale,
                                                   packed_keys(w, x->slot),
                                                   p->k_scale + x->slot * STK_GROUP, p->dp, ahead);
    if (w->a->softcap > 0.0f)
        (w->R == 16 ? t->softcap_f32_r16 : t->softcap_f32_r32)(s, STK_GROUP, w->a->softcap);
    if (w->a->bias != NULL)
        add_bias(w, tile, s, x->key, n);
    drop_keys(w, tile, s, x, seg);
    sti_hide_scores(&w->hide, s, w->R, x->key, n);
}

static void part_values(sti_tile_work *w, const int16_t *p, const float *f, const part *x,
                        const int16_t *ahead)
{
    const sti_kernel_table *t = sti_kernels();
    int64_t d = w->a->d_v;
    (w->R == 16 ? t->ipv_i16_r16 : t->ipv_i16_r32)(w->out, p, f, packed_values(w, x->slot),
                                                   w->pack->v_scale + x->slot * d, d, ahead);
}

/* Part by part, so that a row's sum does not depend on how keys were cut into segments. */
#define ADD_SUM(R)                                                                                 \
    static void add_sum##R(float *restrict sum, float *restrict all, const float *restrict f,      \
                           const float *restrict part_sum)                                         \
    {                                                                                              \
        for (int r = 0; r < R; r++) {                                                              \
            sum[r] = f[r] * part_sum[r] * (1.0f / 32767.0f);                                       \
            all[r] += sum[r];                                                                      \
        }                                                                                          \
    }

ADD_SUM(16)
ADD_SUM(32)

/* Is segment i of the part all that its rows read of the part? */
static bool alone(const sti_tile *tile, const part *x, const sti_segment *seg, int64_t i)
{
    if (!tile->shared)
        return x->seg_end - x->seg == 1;
    return (i == x->seg || seg[i - 1].lane != seg[i].lane) &&
           (i + 1 == x->seg_end || seg[i + 1].lane != seg[i].lane);
}

/* The sums of a part's segments: sum [R] is the part's, p [STK_GROUP / 2, R, 2] and f as below. */
static void segment_sums(sti_tile_work *w, const sti_tile *tile, const part *x,
                         const sti_segment *seg, const float *sum, const int16_t *p, const float *f)
{
    const sti_kernel_table *t = sti_kernels();
    for (int64_t i = x->seg; i < x->seg_end; i++) {
        _Alignas(64) float own[STI_TILE_ROWS];
        float *to = w->seg_sum + i * w->R;
        const float *from = sum;
        if (!alone(tile, x, seg, i)) {
            (w->R == 16 ? t->keysum_i16_r16 : t->keysum_i16_r32)(own, p, f, seg[i].key - x->key,
                                                                 seg[i].end - x->key);
            for (int r = 0; r < w->R; r++)
                own[r] *= 1.0f / 32767.0f;
            from = own;
        }
        memcpy(to, from, (size_t)w->R * sizeof *to);
    }
}

/* `next`: the segment after the chunk, NULL at the end. While a part is computed, the one after it
 * comes into the cache: packed groups lie anywhere. */
static bool run_chunk_fixed(sti_tile_work *w, const sti_tile *tile, const sti_segment *seg,
                            int64_t begin, int64_t end, const sti_segment *next, int32_t chunk,
                            bool values, bool shares)
{
    const sti_kernel_table *t = sti_kernels();
    _Alignas(64) float ignored[STI_TILE_ROWS] = {0};
    part parts[STI_CHUNK_PARTS];
    int64_t n = cut_parts(w, seg, begin, end, parts), R = w->R;
    const int16_t *after = packed_keys(w, next != NULL ? slot_of(w, next) : parts[n - 1].slot);
    for (int64_t i = 0; i < n; i++) {
        const int16_t *ahead = i + 1 < n ? packed_keys(w, parts[i + 1].slot)
                               : values  ? packed_values(w, parts[0].slot)
                                         : after;
        part_scores(w, tile, w->s, &parts[i], seg, ahead);
        (R == 16 ? t->prob_i16_r16 : t->prob_i16_r32)(w->p + i * STK_GROUP * R, w->part_max + i * R,
                                                      w->part_sum + i * R, w->s);
    }
    raise_max(w, w->part_max, n);
    if (shares)
        memcpy(w->chunk_factor + (int64_t)chunk * R, w->max, (size_t)R * sizeof(float));
    run_expsum(w, w->part_max, ignored, w->max, n); /* now each part's factor */
    for (int64_t i = 0; i < n; i++) {
        _Alignas(64) float sum[STI_TILE_ROWS];
        (R == 16 ? add_sum16 : add_sum32)(sum, w->sum, w->part_max + i * R, w->part_sum + i * R);
        if (shares)
            segment_sums(w, tile, &parts[i], seg, sum, w->p + i * STK_GROUP * R,
                         w->part_max + i * R);
    }
    for (int64_t i = begin; shares && i < end; i++)
        w->seg_chunk[i] = chunk;
    for (int64_t i = 0; w->pieces.group != NULL && i < n; i++)
        if (!sti_pieces_add_fixed(&w->pieces, w->R, parts[i].key, parts[i].key + STK_GROUP,
                                  w->p + i * STK_GROUP * R, w->part_max + i * R))
            return false;
    for (int64_t i = 0; values && i < n; i++)
        part_values(w, w->p + i * STK_GROUP * R, w->part_max + i * R, &parts[i],
                    i + 1 < n ? packed_values(w, parts[i + 1].slot) : after);
    return true;
}

/* ---- all chunks -------------------------------------------------------------------------------
 */

bool sti_tile_run(sti_tile_work *w, const sti_tile *tile, const sti_segment *seg, int64_t n_seg,
                  bool values, bool shares)
{
    int32_t chunk = 0;
    if ((shares && !reserve_shares(w, n_seg)) ||
        !sti_hide_begin(&w->hide, w->a, tile->head, tile->row, tile->n))
        return false;
    load_rows(w, tile);
    sti_pieces_start(&w->pieces);
    for (int64_t i = 0; i < n_seg; chunk++) {
        int64_t end = chunk_end(w, tile, seg, i, n_seg);
        const sti_segment *next = end < n_seg ? &seg[end] : NULL;
        if (!(w->pack == NULL
                  ? run_chunk(w, tile, seg, i, end, chunk, values, shares)
                  : run_chunk_fixed(w, tile, seg, i, end, next, chunk, values, shares)))
            return false;
        if (w->pieces.group != NULL && !sti_pieces_end_chunk(&w->pieces))
            return false;
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

bool sti_tile_group_total(sti_tile_work *w, int begin, int end, const float *weight, float *total)
{
    float unit = w->pack == NULL ? 1.0f : 1.0f / 32767.0f;
    return sti_pieces_total(&w->pieces, w->R, begin, end, w->chunk_factor, unit, weight, total);
}

float sti_tile_share_sum(const sti_tile_work *w, int64_t i, int lane, int lane_end)
{
    const float *sum = w->seg_sum + i * w->R;
    const float *factor = w->chunk_factor + (int64_t)w->seg_chunk[i] * w->R;
    float x[STI_TILE_ROWS] = {0};
    int n = lane_end - lane, half = 1;
    for (int r = 0; r < n; r++)
        x[r] = sum[lane + r] * factor[lane + r];
    while (2 * half < n)
        half *= 2;
    for (; n > 1 && half > 0; half /= 2)
        for (int r = 0; r < half; r++)
            x[r] += x[r + half];
    return x[0];
}
