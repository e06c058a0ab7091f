/* SPDX-License-Identifier: MIT
 *
 * overview.c — one walk over the selection that leaves, of every head, a picture and seven numbers.
 */
#include <math.h>

#include "trace/trace_int.h"
#include "view/overview.h"

#define CELLS_MAX 256
#define SENTENCE_CELLS 1024 /* rows and columns of the matrix of sentences */
#define RECEIVER_GAP 4      /* key blocks between a reader and what counts as read from afar */
#define NEEDLE_GAP 128      /* tokens at the end that may be the question about the needle */
#define NEEDLE_GAP_BLK 4    /* ... and query blocks */
#define NEEDLE_NEAR 31      /* tokens around a needle that are no other one */

const char *st_view_measure_name(st_view_measure measure)
{
    static const char *const name[] = {"recall",  "sink",   "window",  "far",
                                       "entropy", "needle", "kurtosis"};
    return measure >= 0 && measure < ST_VIEW_MEASURE_COUNT ? name[measure] : "?";
}

/* What one head's rows add up to. */
struct sums {
    const st_trace *trace;
    int cells_q, cells_k;
    int64_t n_row; /* query blocks that have entries */
    double sink, window, far, entropy;
    double *map;         /* [cells_q, cells_k] */
    int64_t *rows_in;    /* [cells_q] */
    double *column;      /* [nbk] mass read from afar */
    int64_t *begin_here; /* [nbk + 1] rows by the last key block that is far for them */
};

static bool in_window(const st_trace_info *i, int64_t blk, int64_t c)
{
    return (c + 1) * i->bk > blk * i->bq - i->bk;
}

/* ---- one head -------------------------------------------------------------------------------- */

static void clear(struct sums *s)
{
    const st_trace_info *i = &s->trace->info;
    s->n_row = 0;
    s->sink = s->window = s->far = s->entropy = 0;
    memset(s->map, 0, (size_t)s->cells_q * (size_t)s->cells_k * sizeof *s->map);
    memset(s->rows_in, 0, (size_t)s->cells_q * sizeof *s->rows_in);
    memset(s->column, 0, (size_t)i->nbk * sizeof *s->column);
    memset(s->begin_here, 0, (size_t)(i->nbk + 1) * sizeof *s->begin_here);
}

static void add_row(struct sums *s, const sti_entries *e, int64_t blk)
{
    const st_trace_info *i = &s->trace->info;
    int64_t row = blk * s->cells_q / i->nbq;
    int64_t n_far = sti_clamp(blk * i->bq / i->bk - RECEIVER_GAP + 1, 0, i->nbk);
    double sum = 0, plogp = 0;
    for (int64_t j = 0; j < e->n; j++) {
        int64_t c = e->indices[j];
        double m;
        if (!sti_entry_ok(s->trace, e, j))
            continue;
        m = (double)sti_f16_f32(e->mass[j]);
        sum += m;
        plogp += m > 0 ? m * log2(m) : 0;
        if (c == 0)
            s->sink += m;
        else if (in_window(i, blk, c))
            s->window += m;
        else
            s->far += m;
        if (c < n_far)
            s->column[c] += m;
        s->map[row * s->cells_k + c * s->cells_k / i->nbk] += m;
    }
    s->entropy += sum > 0 ? log2(sum) - plogp / sum : 0;
    s->rows_in[row]++;
    s->begin_here[n_far]++;
    s->n_row++;
}

static float kurtosis(const struct sums *s)
{
    int64_t n = 0, rows = 0;
    double mean = 0, m2 = 0, m4 = 0;
    for (int64_t c = s->trace->info.nbk - 1; c >= 1; c--) {
        rows += s->begin_here[c + 1];
        if (rows == 0)
            continue;
        s->column[c] /= (double)rows;
        mean += s->column[c];
        n++;
    }
    if (n < 2) /* the columns that count are 1 .. n */
        return NAN;
    mean /= (double)n;
    for (int64_t c = 1; c <= n; c++) {
        double d = (s->column[c] - mean) * (s->column[c] - mean);
        m2 += d / (double)n;
        m4 += d * d / (double)n;
    }
    return m2 > 0 ? (float)(m4 / (m2 * m2) - 3) : NAN;
}

static float recall(const sti_layer *l, int head)
{
    int64_t n = l->cert_rows == NULL ? 0 : l->cert_recall->shape[1];
    double sum = 0;
    if (n == 0 || head < 0 || head >= l->n_head)
        return NAN;
    for (int64_t r = 0; r < n; r++)
        sum += (double)((const float *)l->cert_recall->data)[head * n + r];
    return (float)(sum / (double)n);
}

static void finish_map(const struct sums *s, uint8_t *map)
{
    for (int64_t q = 0; q < s->cells_q; q++)
        for (int64_t k = 0; k < s->cells_k; k++) {
            double x = s->map[q * s->cells_k + k] / (double)sti_max(1, s->rows_in[q]);
            map[q * s->cells_k + k] = (uint8_t)lrint(255 * sqrt(fmin(x, 1)));
        }
}

static void sum_head(struct sums *s, const sti_layer *l, int64_t h, st_overview_head *out,
                     uint8_t *map)
{
    double n;
    clear(s);
    for (int64_t blk = s->trace->blk_begin; blk < s->trace->blk_end; blk++) {
        sti_entries e = sti_trace_entries(s->trace, l, h, blk);
        if (e.n > 0)
            add_row(s, &e, blk);
    }
    n = s->n_row > 0 ? (double)s->n_row : NAN;
    out->layer = l->pub.layer;
    out->head = l->pub.head[h];
    out->map = map;
    out->measure[ST_VIEW_RECALL] = recall(l, out->head);
    out->measure[ST_VIEW_SINK] = (float)(s->sink / n);
    out->measure[ST_VIEW_WINDOW] = (float)(s->window / n);
    out->measure[ST_VIEW_FAR] = (float)(s->far / n);
    out->measure[ST_VIEW_ENTROPY] = (float)(s->entropy / n);
    out->measure[ST_VIEW_KURTOSIS] = kurtosis(s);
    finish_map(s, map);
}

/* ---- the needle ------------------------------------------------------------------------------ */

static double mass_on(const st_trace *t, const sti_entries *e, int64_t c)
{
    for (int64_t j = 0; j < e->n; j++)
        if (e->indices[j] == c && sti_entry_ok(t, e, j))
            return (double)sti_f16_f32(e->mass[j]);
    return 0;
}

/* score [nbk]: the sum over heads of the squared mass that query block blk puts on each key block.
 */
static void score_needles(const st_trace *t, int64_t blk, double *score)
{
    memset(score, 0, (size_t)t->info.nbk * sizeof *score);
    for (int64_t i = 0; i < t->info.n_layer; i++)
        for (int64_t h = 0; h < t->recorded[i]->pub.n_head; h++) {
            sti_entries e = sti_trace_entries(t, t->recorded[i], h, blk);
            for (int64_t j = 0; j < e.n; j++) {
                double m = (double)sti_f16_f32(e.mass[j]);
                if (sti_entry_ok(t, &e, j))
                    score[e.indices[j]] += m * m;
            }
        }
}

/* Finds the needles (score: [nbk], scratch) and each head's mass on the first. */
static void find_needles(const st_trace *t, st_overview *o, double *score)
{
    const st_trace_info *i = &t->info;
    int64_t blk = t->blk_end - 1, at = 0;
    int64_t gap = sti_min(sti_max(NEEDLE_GAP_BLK * (int64_t)i->bq, NEEDLE_GAP), i->n_tok / 4);
    int64_t near = sti_max(1, NEEDLE_NEAR / i->bk);
    score_needles(t, blk, score);
    while (o->info.n_needle < ST_VIEW_NEEDLES) {
        int64_t best = 0;
        for (int64_t c = 1; (c + 1) * i->bk <= blk * i->bq - gap; c++)
            if (score[c] > 0 && (best == 0 || score[c] > score[best]))
                best = c;
        if (best == 0)
            break;
        o->info.needle[o->info.n_needle++] = best;
        for (int64_t c = sti_max(1, best - near); c <= sti_min(i->nbk - 1, best + near); c++)
            score[c] = 0;
    }
    for (int64_t l = 0; l < i->n_layer; l++)
        for (int64_t h = 0; h < t->recorded[l]->pub.n_head; h++) {
            sti_entries e = sti_trace_entries(t, t->recorded[l], h, blk);
            o->head[at++].measure[ST_VIEW_NEEDLE] =
                o->info.n_needle == 0 ? NAN : (float)mass_on(t, &e, o->info.needle[0]);
        }
}

/* ---- all heads ------------------------------------------------------------------------------- */

static st_overview *allocate(int64_t n_head, int cells_q, int cells_k)
{
    st_overview *o = sti_calloc(sizeof *o);
    if (o == NULL)
        return NULL;
    o->info = (st_overview_info){.n_head = n_head, .cells_q = cells_q, .cells_k = cells_k};
    o->head = sti_calloc((size_t)n_head * sizeof *o->head);
    o->map = sti_calloc((size_t)n_head * (size_t)cells_q * (size_t)cells_k);
    if (o->head != NULL && o->map != NULL)
        return o;
    st_overview_free(o);
    return NULL;
}

static void fill(struct sums *s, st_overview *o)
{
    const st_trace *t = s->trace;
    int64_t at = 0, cells = (int64_t)s->cells_q * s->cells_k;
    for (int64_t i = 0; i < t->info.n_layer; i++)
        for (int64_t h = 0; h < t->recorded[i]->pub.n_head; h++, at++)
            sum_head(s, t->recorded[i], h, &o->head[at], o->map + at * cells);
    find_needles(t, o, s->column);
}

st_status st_overview_create(const st_trace *t, int cells, st_overview **overview, st_error *err)
{
    struct sums s = {.trace = t};
    st_overview *o = NULL;
    st_status status;
    int64_t n_head = 0;
    *overview = NULL;
    if (cells < 1 || cells > CELLS_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "cells is %d, must be 1..%d", cells, CELLS_MAX);
    for (int64_t i = 0; i < t->info.n_layer; i++)
        n_head += t->recorded[i]->pub.n_head;
    s.cells_q = (int)sti_min(cells, t->info.nbq);
    s.cells_k = (int)sti_min(cells, t->info.nbk);
    s.map = sti_alloc((size_t)s.cells_q * (size_t)s.cells_k * sizeof *s.map);
    s.rows_in = sti_alloc((size_t)s.cells_q * sizeof *s.rows_in);
    s.column = sti_alloc((size_t)t->info.nbk * sizeof *s.column);
    s.begin_here = sti_alloc((size_t)(t->info.nbk + 1) * sizeof *s.begin_here);
    if (s.map != NULL && s.rows_in != NULL && s.column != NULL && s.begin_here != NULL)
        o = allocate(n_head, s.cells_q, s.cells_k);
    if (o != NULL) {
        o->trace_bytes = t->info.bytes;
        fill(&s, o);
    }
    sti_free(s.map);
    sti_free(s.rows_in);
    sti_free(s.column);
    sti_free(s.begin_here);
    if (o == NULL)
        return sti_fail_mem(err, (size_t)t->info.nbk * sizeof *s.column);
    status = sti_sentences_create(t, SENTENCE_CELLS, &o->sentences, err);
    if (status == ST_OK)
        *overview = o;
    else
        st_overview_free(o);
    return status;
}

void st_overview_free(st_overview *o)
{
    if (o == NULL)
        return;
    sti_free(o->head);
    sti_free(o->map);
    sti_sentences_free(&o->sentences);
    sti_free(o);
}

void st_overview_get_info(const st_overview *o, st_overview_info *info)
{
    *info = o->info;
}

const st_overview_head *st_overview_at(const st_overview *o, int64_t i)
{
    return i >= 0 && i < o->info.n_head ? &o->head[i] : NULL;
}

/* ---- folding --------------------------------------------------------------------------------- */

static double level(uint8_t x)
{
    return (double)x * x / (255.0 * 255.0);
}

/* Half as many rows and columns: a cell is the mean over its (one or two) rows of the sum over its
 * columns. */
static void fold_map(const uint8_t *in, int64_t rows, int64_t columns, uint8_t *out)
{
    int64_t half = (columns + 1) / 2;
    for (int64_t q = 0; q < (rows + 1) / 2; q++)
        for (int64_t k = 0; k < half; k++) {
            int64_t n = sti_min(2, rows - 2 * q), m = sti_min(2, columns - 2 * k);
            double x = 0;
            for (int64_t i = 0; i < n * m; i++)
                x += level(in[(2 * q + i / m) * columns + 2 * k + i % m]) / (double)n;
            out[q * half + k] = (uint8_t)lrint(255 * sqrt(fmin(x, 1)));
        }
}

/* A copy with pictures of these sizes, still empty; NULL: out of memory. */
static st_overview *copy_heads(const st_overview *o, int cells_q, int cells_k)
{
    st_overview *f = allocate(o->info.n_head, cells_q, cells_k);
    for (int64_t i = 0; f != NULL && i < o->info.n_head; i++) {
        f->head[i] = o->head[i];
        f->head[i].map = f->map + i * cells_q * cells_k;
    }
    if (f != NULL) {
        f->info.n_needle = o->info.n_needle;
        memcpy(f->info.needle, o->info.needle, sizeof f->info.needle);
        f->trace_bytes = o->trace_bytes;
    }
    return f;
}

static st_overview *fold(const st_overview *o)
{
    const st_overview_info *i = &o->info;
    int cells_q = (i->cells_q + 1) / 2, cells_k = (i->cells_k + 1) / 2;
    st_overview *f = copy_heads(o, cells_q, cells_k);
    for (int64_t h = 0; f != NULL && h < i->n_head; h++)
        fold_map(o->head[h].map, i->cells_q, i->cells_k, f->map + h * cells_q * cells_k);
    return f;
}

st_status sti_overview_fold(const st_overview *o, int64_t bytes, st_overview **folded,
                            st_error *err)
{
    int64_t size = o->info.n_head * o->info.cells_q * o->info.cells_k;
    st_overview *f = copy_heads(o, o->info.cells_q, o->info.cells_k);
    if (f != NULL)
        memcpy(f->map, o->map, (size_t)size);
    while (f != NULL && f->info.n_head * f->info.cells_q * f->info.cells_k > bytes &&
           f->info.cells_q * f->info.cells_k > 1) {
        st_overview *coarser = fold(f);
        st_overview_free(f);
        f = coarser;
    }
    *folded = f;
    if (f == NULL)
        return sti_fail_mem(err, (size_t)size);
    return sti_sentences_fold(&o->sentences, bytes, &f->sentences, err);
}
