/* SPDX-License-Identifier: MIT
 *
 * hidden.c — what a layer leaves in the residual stream, summed up per span of tokens while the
 * pass runs: nothing of size tokens x width is kept. libllama shows its nodes by name; "l_out-<i>"
 * is the stream after layer i.
 */
#include <ggml-backend.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "engine/hidden.h"

bool sti_hidden_wants(const sti_hidden *h, const struct ggml_tensor *t)
{
    return h->out != NULL && strcmp(t->name, h->node) == 0;
}

/* Adds one token's vector to its span. Tokens come in order, so a cursor finds the span. */
static void add_row(sti_hidden *h, int64_t pos, const float *row)
{
    const st_hidden_params *p = &h->params;
    float *mean, *last;
    while (h->at < p->n_span && p->span[h->at].end <= pos)
        h->at++;
    if (h->at == p->n_span || pos < p->span[h->at].begin)
        return;
    mean = h->out + h->at * 2 * h->n_embd;
    last = mean + h->n_embd;
    for (int64_t i = 0; i < h->n_embd; i++)
        mean[i] += row[i];
    if (pos == p->span[h->at].end - 1) {
        float scale = 1.0f / (float)(p->span[h->at].end - p->span[h->at].begin);
        memcpy(last, row, (size_t)h->n_embd * sizeof *row);
        for (int64_t i = 0; i < h->n_embd; i++)
            mean[i] *= scale;
    }
}

bool sti_hidden_take(sti_hidden *h, const struct ggml_tensor *t)
{
    if (t->type != GGML_TYPE_F32 || t->ne[0] != h->n_embd || t->ne[1] != h->n_batch)
        return false;
    for (int64_t i = 0; i < h->n_batch; i++) {
        ggml_backend_tensor_get(t, h->row, (size_t)i * t->nb[1], (size_t)h->n_embd * sizeof(float));
        add_row(h, h->begin + i, h->row);
    }
    h->n_seen += h->n_batch;
    return true;
}

static st_status check(const st_hidden_params *p, int n_layer, int64_t n_tok, st_error *err)
{
    int64_t before = 0;
    if (p->layer < 0 || p->layer >= n_layer - 1)
        return sti_fail(err, ST_ERR_ARG, p->layer, "layer is %d, must be 0..%d", p->layer,
                        n_layer - 2);
    if (p->n_span < 0 || (p->n_span > 0 && p->span == NULL))
        return sti_fail(err, ST_ERR_ARG, -1, "%lld spans and no list", (long long)p->n_span);
    for (int64_t i = 0; i < p->n_span; i++) {
        if (p->span[i].begin < before || p->span[i].end < p->span[i].begin ||
            p->span[i].end > n_tok)
            return sti_fail(err, ST_ERR_ARG, i,
                            "span %lld is [%lld, %lld): spans rise, do not overlap and end by %lld",
                            (long long)i, (long long)p->span[i].begin, (long long)p->span[i].end,
                            (long long)n_tok);
        before = p->span[i].end;
    }
    return ST_OK;
}

st_status sti_hidden_set(sti_hidden *h, const st_hidden_params *p, int n_layer, int n_embd,
                         int64_t n_tok, float *out, st_error *err)
{
    if (out == NULL) {
        h->out = NULL;
        return ST_OK;
    }
    STI_TRY(check(p, n_layer, n_tok, err));
    if (h->row == NULL)
        h->row = sti_alloc((size_t)n_embd * sizeof *h->row);
    if (h->row == NULL)
        return sti_fail_mem(err, (size_t)n_embd * sizeof *h->row);
    h->params = *p;
    h->n_embd = n_embd;
    h->out = out;
    snprintf(h->node, sizeof h->node, "l_out-%d", p->layer);
    return ST_OK;
}

void sti_hidden_start(sti_hidden *h)
{
    if (h->out != NULL)
        memset(h->out, 0, (size_t)(h->params.n_span * 2 * h->n_embd) * sizeof *h->out);
    h->at = h->n_seen = 0;
}

st_status sti_hidden_end(const sti_hidden *h, int64_t n_tok, st_error *err)
{
    if (h->out != NULL && h->n_seen != n_tok)
        return sti_fail(err, ST_ERR_MODEL, h->params.layer,
                        "the model shows no \"%s\" for %lld of %lld tokens", h->node,
                        (long long)(n_tok - h->n_seen), (long long)n_tok);
    return ST_OK;
}
