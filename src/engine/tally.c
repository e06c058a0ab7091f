/* SPDX-License-Identifier: MIT
 *
 * tally.c — what a pass adds up while it runs.
 */
#include <string.h>

#include "base/util.h"
#include "engine/tally.h"

/* Finds or adds. NULL: out of memory. */
static sti_tally_layer *find_layer(sti_tally *t, int layer, int n_head)
{
    for (int64_t i = 0; i < t->n_layer; i++)
        if (t->layer[i].layer == layer)
            return &t->layer[i];
    if (!sti_grow((void **)&t->layer, &t->cap_layer, t->n_layer + 1, sizeof *t->layer))
        return NULL;
    t->layer[t->n_layer] = (sti_tally_layer){.layer = layer, .n_head = n_head, .last_recall = -1.0};
    return &t->layer[t->n_layer++];
}

static bool need_rows(sti_tally_layer *l, int64_t n)
{
    return sti_grow((void **)&l->recall, &l->cap_recall, n * l->n_head, sizeof *l->recall) &&
           sti_grow((void **)&l->err, &l->cap_err, n * l->n_head, sizeof *l->err);
}

static bool add_samples(sti_tally_layer *l, const st_chunk *c)
{
    int64_t n = l->n_row + c->n_cert, h = l->n_head;
    if (!need_rows(l, n))
        return false;
    for (int64_t i = 0; i < c->n_cert; i++)
        for (int64_t k = 0; k < h; k++) {
            l->recall[(l->n_row + i) * h + k] = c->cert_recall[k * c->n_cert + i];
            l->err[(l->n_row + i) * h + k] = c->cert_err[k * c->n_cert + i];
        }
    l->n_row = n;
    if (c->last_recall != NULL) {
        l->last_recall = 0.0;
        for (int64_t k = 0; k < h; k++)
            l->last_recall += (double)c->last_recall[k] / (double)h;
    }
    return true;
}

static st_status add_chunk(void *ctx, const st_chunk *c, st_error *err)
{
    sti_tally *t = ctx;
    int64_t known = t->n_layer;
    sti_tally_layer *l = find_layer(t, c->layer, c->sel->n_head);
    if (l == NULL || !add_samples(l, c))
        return sti_fail_mem(err, (size_t)(c->n_cert * c->sel->n_head) * sizeof(float));
    t->went_on = t->went_on || (known == t->n_layer && c->first_query > 0);
    l->pruned = l->pruned || c->kind == ST_CHUNK_SPARSE;
    l->kept_pairs += c->kept_pairs;
    l->visible_pairs += c->visible_pairs;
    t->scanned = t->scanned || c->sel->scanned;
    return t->writer != NULL ? st_trace_writer_add(t->writer, c, err) : ST_OK;
}

st_sink sti_tally_sink(sti_tally *t)
{
    return (st_sink){add_chunk, t};
}

void sti_tally_free(sti_tally *t)
{
    for (int64_t i = 0; i < t->n_layer; i++) {
        sti_free(t->layer[i].recall);
        sti_free(t->layer[i].err);
    }
    sti_free(t->layer);
    *t = (sti_tally){0};
}

/* ---- saving and loading ---------------------------------------------------------------------- */

struct tally_head {
    int64_t n_layer, scanned, went_on;
};

struct layer_head {
    int64_t layer, n_head, pruned, kept_pairs, visible_pairs;
    int64_t from, n_row; /* samples of rows [from, n_row) follow: recall, then err */
    double last_recall;
};

static st_status save_layer(sti_tally_layer *l, bool whole, const st_out *out, st_error *err)
{
    struct layer_head h = {.layer = l->layer,
                           .n_head = l->n_head,
                           .pruned = l->pruned,
                           .kept_pairs = l->kept_pairs,
                           .visible_pairs = l->visible_pairs,
                           .from = whole ? 0 : l->n_saved,
                           .n_row = l->n_row,
                           .last_recall = l->last_recall};
    int64_t at = h.from * l->n_head;
    size_t bytes = (size_t)(l->n_row * l->n_head - at) * sizeof(float);
    STI_TRY(out->write(out->ctx, &h, sizeof h, err));
    if (bytes > 0) {
        STI_TRY(out->write(out->ctx, l->recall + at, bytes, err));
        STI_TRY(out->write(out->ctx, l->err + at, bytes, err));
    }
    l->n_saved = l->n_row;
    return ST_OK;
}

st_status sti_tally_save(sti_tally *t, bool whole, const st_out *out, st_error *err)
{
    struct tally_head h = {t->n_layer, t->scanned, t->went_on};
    STI_TRY(out->write(out->ctx, &h, sizeof h, err));
    for (int64_t i = 0; i < t->n_layer; i++)
        STI_TRY(save_layer(&t->layer[i], whole, out, err));
    return ST_OK;
}

/* The layer at data + *at. */
static st_status load_layer(sti_tally *t, const uint8_t *data, size_t bytes, size_t *at,
                            st_error *err)
{
    struct layer_head h;
    sti_tally_layer *l;
    size_t sample;
    if (bytes - *at < sizeof h)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)bytes, "counts that are cut short");
    memcpy(&h, data + *at, sizeof h);
    if (h.layer < 0 || h.layer > 65535 || h.n_head < 1 || h.n_head > 65535 || h.from < 0 ||
        h.n_row < h.from || h.n_row > INT32_MAX || h.kept_pairs < 0 ||
        h.visible_pairs < h.kept_pairs || !(h.last_recall >= -1.0 && h.last_recall <= 2.0))
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)*at, "counts that make no sense");
    sample = (size_t)((h.n_row - h.from) * h.n_head) * sizeof(float);
    if ((bytes - *at - sizeof h) / 2 < sample)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)bytes, "counts that are cut short");
    l = find_layer(t, (int)h.layer, (int)h.n_head);
    if (l != NULL && (l->n_head != h.n_head || l->n_row != h.from))
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)*at, "counts out of turn");
    if (l == NULL || !need_rows(l, h.n_row))
        return sti_fail_mem(err, 2 * sample);
    if (sample > 0) {
        memcpy(l->recall + h.from * h.n_head, data + *at + sizeof h, sample);
        memcpy(l->err + h.from * h.n_head, data + *at + sizeof h + sample, sample);
    }
    l->pruned = h.pruned != 0;
    l->kept_pairs = h.kept_pairs;
    l->visible_pairs = h.visible_pairs;
    l->last_recall = h.last_recall;
    l->n_row = l->n_saved = h.n_row;
    *at += sizeof h + 2 * sample;
    return ST_OK;
}

st_status sti_tally_load(sti_tally *t, const void *data, size_t bytes, st_error *err)
{
    struct tally_head h;
    size_t at = sizeof h;
    if (bytes < sizeof h)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)bytes, "counts that are cut short");
    memcpy(&h, data, sizeof h);
    t->scanned = h.scanned != 0;
    t->went_on = h.went_on != 0;
    for (int64_t i = 0; i < h.n_layer; i++)
        STI_TRY(load_layer(t, data, bytes, &at, err));
    if (at != bytes || h.n_layer != t->n_layer)
        return sti_fail(err, ST_ERR_FORMAT, (int64_t)at, "counts that end elsewhere");
    return ST_OK;
}

/* ---- what it comes to ------------------------------------------------------------------------ */

void sti_tally_pairs(const sti_tally *t, int64_t *kept, int64_t *visible, int *n_exact)
{
    *kept = *visible = 0;
    *n_exact = 0;
    for (int64_t i = 0; i < t->n_layer; i++) {
        const sti_tally_layer *l = &t->layer[i];
        *n_exact += !l->pruned;
        *kept += l->pruned ? l->kept_pairs : 0;
        *visible += l->pruned ? l->visible_pairs : 0;
    }
}

/* [n_row, n_head] to [n_head, n_row] */
static void transpose(float *out, const float *in, int64_t n_row, int64_t n_head)
{
    for (int64_t i = 0; i < n_row; i++)
        for (int64_t h = 0; h < n_head; h++)
            out[h * n_row + i] = in[i * n_head + h];
}

double sti_tally_last_recall(const sti_tally *t)
{
    double sum = 0.0;
    int64_t n = 0;
    for (int64_t i = 0; i < t->n_layer; i++)
        if (t->layer[i].last_recall >= 0.0) {
            sum += t->layer[i].last_recall * t->layer[i].n_head;
            n += t->layer[i].n_head;
        }
    return n > 0 ? sum / (double)n : -1.0;
}

st_status sti_tally_certificate(const sti_tally *t, bool *has, st_certificate *cert, st_error *err)
{
    st_cert_samples *s = sti_calloc((size_t)t->n_layer * sizeof *s);
    float **buf = sti_calloc((size_t)t->n_layer * sizeof *buf);
    int64_t n = 0;
    st_status status = s && buf ? ST_OK : sti_fail_mem(err, (size_t)t->n_layer * sizeof *s);
    for (int64_t i = 0; status == ST_OK && i < t->n_layer; i++) {
        const sti_tally_layer *l = &t->layer[i];
        int64_t samples = l->n_row * l->n_head;
        if (samples == 0)
            continue;
        buf[n] = sti_alloc((size_t)samples * 2 * sizeof(float));
        if (buf[n] == NULL) {
            status = sti_fail_mem(err, (size_t)samples * 2 * sizeof(float));
            break;
        }
        transpose(buf[n], l->recall, l->n_row, l->n_head);
        transpose(buf[n] + samples, l->err, l->n_row, l->n_head);
        s[n] = (st_cert_samples){.layer = l->layer,
                                 .n_head = l->n_head,
                                 .n_row = l->n_row,
                                 .recall = buf[n],
                                 .err = buf[n] + samples};
        n++;
    }
    *has = n > 0;
    if (status == ST_OK && n > 0)
        status = st_certificate_compute(s, n, cert, err);
    for (int64_t i = 0; buf != NULL && i < t->n_layer; i++)
        sti_free(buf[i]);
    sti_free(buf);
    sti_free(s);
    return status;
}
