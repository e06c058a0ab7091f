/* SPDX-License-Identifier: MIT
 *
 * query.c — the rows of a part of a trace, and the two questions asked most: what does this part
 * read, and who reads that span.
 */
#include "trace/trace_int.h"

/* ---- walking over a part --------------------------------------------------------------------- */

static bool wanted(const int32_t *list, int64_t n, int32_t x)
{
    if (n == 0)
        return true;
    for (int64_t i = 0; i < n; i++)
        if (list[i] == x)
            return true;
    return false;
}

static bool has_layer(const st_trace *t, int32_t layer)
{
    for (int64_t i = 0; i < t->info.n_layer; i++)
        if (t->recorded[i]->pub.layer == layer)
            return true;
    return false;
}

/* Whether a layer of the part records the head. */
static bool has_head(const st_trace *t, const st_trace_part *p, int32_t head)
{
    for (int64_t i = 0; i < t->info.n_layer; i++) {
        const st_trace_layer *l = &t->recorded[i]->pub;
        if (wanted(p->layer, p->n_layer, l->layer) && wanted(l->head, l->n_head, head))
            return true;
    }
    return false;
}

static st_status check_part(const st_trace *t, const st_trace_part *p, st_error *err)
{
    if (p->n_layer < 0 || p->n_head < 0 || (p->n_layer > 0 && p->layer == NULL) ||
        (p->n_head > 0 && p->head == NULL))
        return sti_fail(err, ST_ERR_ARG, -1, "the part's list of layers or heads is NULL");
    for (int64_t i = 0; i < p->n_layer; i++)
        if (!has_layer(t, p->layer[i]))
            return sti_fail(err, ST_ERR_ARG, i, "layer %d is not recorded", p->layer[i]);
    for (int64_t i = 0; i < p->n_head; i++)
        if (!has_head(t, p, p->head[i]))
            return sti_fail(err, ST_ERR_ARG, i, "head %d is not recorded", p->head[i]);
    if ((p->row_begin != 0 || p->row_end != 0) &&
        (p->row_begin < 0 || p->row_begin >= p->row_end || p->row_end > t->info.n_tok))
        return sti_fail(err, ST_ERR_ARG, -1, "rows [%lld, %lld) of %lld tokens",
                        (long long)p->row_begin, (long long)p->row_end, (long long)t->info.n_tok);
    return ST_OK;
}

/* Moves to the next (layer, head) of the part; false at the end. */
static bool next_head(sti_walk *w)
{
    const st_trace *t = w->trace;
    for (;;) {
        if (w->layer != NULL && ++w->h < w->layer->pub.n_head) {
            if (wanted(w->part->head, w->part->n_head, w->layer->pub.head[w->h]))
                return true;
            continue;
        }
        do {
            if (++w->i >= t->info.n_layer)
                return false;
        } while (!wanted(w->part->layer, w->part->n_layer, t->recorded[w->i]->pub.layer));
        w->layer = t->recorded[w->i];
        w->h = -1;
    }
}

void sti_walk_rewind(sti_walk *w)
{
    w->i = -1;
    w->h = -1;
    w->layer = NULL;
    w->blk = w->blk_end;
}

bool sti_walk_next(sti_walk *w)
{
    if (w->blk + 1 < w->blk_end) {
        w->blk++;
        return true;
    }
    w->blk = w->blk_begin;
    return w->n_row > 0 && next_head(w);
}

st_status sti_walk_init(sti_walk *w, const st_trace *t, const st_trace_part *part, st_error *err)
{
    static const st_trace_part all;
    *w = (sti_walk){.trace = t, .part = part == NULL ? &all : part};
    STI_TRY(check_part(t, w->part, err));
    w->blk_begin = t->blk_begin;
    w->blk_end = t->blk_end;
    if (w->part->row_end > 0) {
        w->blk_begin = sti_max(w->blk_begin, w->part->row_begin / t->info.bq);
        w->blk_end = sti_min(w->blk_end, sti_ceil_div(w->part->row_end, t->info.bq));
    }
    sti_walk_rewind(w);
    while (next_head(w))
        w->n_head++;
    sti_walk_rewind(w);
    w->n_row = w->n_head * sti_max(0, w->blk_end - w->blk_begin);
    if (w->n_row == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "the part has no recorded query block");
    return ST_OK;
}

/* ---- questions ------------------------------------------------------------------------------- */

st_status st_trace_reads(const st_trace *t, const st_trace_part *part, double *reads, st_error *err)
{
    sti_walk w;
    STI_TRY(sti_walk_init(&w, t, part, err));
    memset(reads, 0, (size_t)t->info.nbk * sizeof *reads);
    while (sti_walk_next(&w)) {
        sti_entries e = sti_trace_entries(t, w.layer, w.h, w.blk);
        for (int64_t i = 0; i < e.n; i++)
            if (sti_entry_ok(t, &e, i))
                reads[e.indices[i]] += (double)sti_f16_f32(e.mass[i]);
    }
    for (int64_t c = 0; c < t->info.nbk; c++)
        reads[c] /= (double)w.n_row;
    return ST_OK;
}

st_status st_trace_readers(const st_trace *t, const st_trace_part *part, int64_t key_begin,
                           int64_t key_end, double *readers, st_error *err)
{
    sti_walk w;
    int64_t first, end;
    if (key_begin < 0 || key_begin >= key_end || key_end > t->info.n_tok)
        return sti_fail(err, ST_ERR_ARG, -1, "keys [%lld, %lld) of %lld tokens",
                        (long long)key_begin, (long long)key_end, (long long)t->info.n_tok);
    STI_TRY(sti_walk_init(&w, t, part, err));
    first = key_begin / t->info.bk;
    end = sti_ceil_div(key_end, t->info.bk);
    memset(readers, 0, (size_t)t->info.nbq * sizeof *readers);
    while (sti_walk_next(&w)) {
        sti_entries e = sti_trace_entries(t, w.layer, w.h, w.blk);
        for (int64_t i = 0; i < e.n; i++)
            if (sti_entry_ok(t, &e, i) && e.indices[i] >= first && e.indices[i] < end)
                readers[w.blk] += (double)sti_f16_f32(e.mass[i]) / (double)w.n_head;
    }
    return ST_OK;
}
