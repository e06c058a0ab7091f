/* SPDX-License-Identifier: MIT
 *
 * tally.c — what a pass adds up while it runs.
 */
#include <string.h>

#include "base/util.h"
#include "engine/tally.h"

static sti_tally_layer *find_layer(sti_tally *t, const st_chunk *c)
{
    for (int64_t i = 0; i < t->n_layer; i++)
        if (t->layer[i].layer == c->layer) {
            t->went_on = t->went_on || c->first_query > 0;
            return &t->layer[i];
        }
    if (!sti_grow((void **)&t->layer, &t->cap_layer, t->n_layer + 1, sizeof *t->layer))
        return NULL;
    t->layer[t->n_layer] =
        (sti_tally_layer){.layer = c->layer, .n_head = c->sel->n_head, .last_recall = -1.0};
    return &t->layer[t->n_layer++];
}

static bool add_samples(sti_tally_layer *l, const st_chunk *c)
{
    int64_t n = l->n_row + c->n_cert, h = l->n_head;
    if (!sti_grow((void **)&l->recall, &l->cap_recall, n * h, sizeof *l->recall) ||
        !sti_grow((void **)&l->err, &l->cap_err, n * h, sizeof *l->err))
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
    sti_tally_layer *l = find_layer(t, c);
    if (l == NULL || !add_samples(l, c))
        return sti_fail_mem(err, (size_t)(c->n_cert * c->sel->n_head) * sizeof(float));
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
