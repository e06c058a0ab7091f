/* SPDX-License-Identifier: MIT
 *
 * watch_model.c — a model reads along, a sentence at a time: each is turned into tokens by itself,
 * with the white space before it, so that what the model sees does not depend on how the text came.
 */
#include "watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "reason_attention.h"
#include "text_tokens.h"

/* ---- opening --------------------------------------------------------------------------------- */

int watch_model_open(watch_model *m, const watch_model_args *a)
{
    st_model_params p = st_model_params_default();
    st_error err;
    if (a->path == NULL)
        return -1;
    p.n_thread = (int)a->n_thread;
    p.progress = (st_progress){out_progress, &m->bar};
    if (st_model_open(a->path, &p, &m->model, &err) != ST_OK)
        return out_failed(&err);
    out_progress_end(&m->bar);
    st_model_get_info(m->model, &m->info);
    return -1;
}

static int64_t or_usual(int64_t typed, int64_t usual)
{
    return typed > 0 ? typed : usual;
}

int watch_model_begin(watch_model *m, const watch_model_args *a, int layer, int64_t n_hidden)
{
    st_live_params p = st_live_params_default();
    st_error err;
    if (m->model == NULL)
        return -1;
    if (a->select != NULL && st_select_method_parse(a->select, &p.select.method, &err) != ST_OK)
        return args_complain("watch", "--select: %s", err.message);
    p.select.bq = (int)or_usual(a->block_q, 4);
    p.select.bk = (int)or_usual(a->block_k, 1);
    p.select.k = (double)or_usual(a->k, 64);
    if (p.select.k < (double)st_select_min_k(&p.select))
        return args_complain(
            "watch", "--k is %g, but %lld blocks are always kept (sink, window, diagonal)",
            p.select.k, (long long)st_select_min_k(&p.select));
    p.max_tok = or_usual(a->max_tok, 16384);
    p.layer = n_hidden > 0 ? layer : -1;
    m->n_hidden = n_hidden; /* no progress: Ctrl-C waits for the end of a sentence */
    if (st_growing_create(m->info.n_layer, m->info.n_head, ST_NEAR, &m->growing, &err) != ST_OK ||
        st_live_open(m->model, &p, &m->live, &err) != ST_OK)
        return out_failed(&err);
    return -1;
}

void watch_model_free(watch_model *m)
{
    st_live_free(m->live);
    st_growing_free(m->growing);
    st_model_free(m->model);
    free(m->hidden);
    free(m->read);
    free(m->receiver);
    free(m->judged);
}

void watch_model_forget(watch_model *m)
{
    if (m->live == NULL)
        return;
    st_live_forget_groups(m->live);
    st_growing_clear(m->growing);
    m->n = m->n_head = m->n_anchor = 0;
}

/* ---- reading on ------------------------------------------------------------------------------ */

static void *larger(void *old, size_t n, size_t cap, size_t size)
{
    void *x = out_need(cap * size);
    if (n > 0)
        memcpy(x, old, n * size);
    free(old);
    return x;
}

static void need(watch_model *m)
{
    size_t n = (size_t)m->n, cap = 2 * n + 64;
    if (m->n < m->cap)
        return;
    m->read = larger(m->read, n, cap, sizeof *m->read);
    m->hidden = larger(m->hidden, n * (size_t)m->n_hidden, cap * (size_t)m->n_hidden + 1,
                       sizeof *m->hidden);
    m->receiver = larger(m->receiver, n, cap, sizeof *m->receiver);
    m->judged = larger(m->judged, n, cap, sizeof *m->judged);
    m->cap = (int64_t)cap;
}

/* The tokens of the text behind what was read, up to the sentence's end; *group: the sentence's. */
static st_status make_tokens(const watch_model *m, const char *text, st_group sentence,
                             int32_t **token, int64_t *n, st_group *group, st_error *err)
{
    st_group part = {sentence.begin - m->fed, sentence.end - m->fed};
    return text_tokens(m->model, text + m->fed, &part, 1, token, n, group, err);
}

/* ---- receiver heads, anchors, who leans on them ---------------------------------------------- */

static void find_readers(const watch_model *m, watch_anchor *a)
{
    a->n_reader = 0;
    for (int64_t i = a->sentence + 1; i < m->n; i++)
        for (int64_t k = 0; k < m->read[i].n_lean; k++) {
            int64_t at = a->n_reader;
            st_dependency edge = m->read[i].lean[k];
            if (edge.from != a->sentence)
                continue;
            while (at > 0 && a->reader[at - 1].score < edge.score)
                at--;
            if (at == WATCH_LEAN)
                continue;
            a->n_reader += a->n_reader < WATCH_LEAN;
            memmove(a->reader + at + 1, a->reader + at,
                    (size_t)(a->n_reader - 1 - at) * sizeof *a->reader);
            a->reader[at] = edge;
        }
}

static st_status find_anchors(watch_model *m, st_error *err)
{
    int64_t sentence[WATCH_ANCHORS];
    double sum = 0.0, best = 0.0;
    st_status status = st_growing_receivers(m->growing, WATCH_HEADS, m->head, &m->n_head, err);
    if (status == ST_OK)
        status = st_growing_scores(m->growing, m->head, m->n_head, m->receiver, err);
    if (status != ST_OK)
        return status;
    reason_mask_late(m->receiver, m->n, m->judged);
    m->n_anchor = st_anchors(m->judged, m->n, WATCH_ANCHORS, sentence);
    for (int64_t k = 0; k < m->n_anchor; k++) {
        m->anchor[k] = (watch_anchor){.sentence = sentence[k], .score = m->receiver[sentence[k]]};
        best += m->anchor[k].score;
        find_readers(m, &m->anchor[k]);
    }
    for (int64_t j = 0; j < m->n; j++)
        sum += isnan(m->judged[j]) ? 0.0 : m->judged[j];
    m->anchor_share = sum > 0.0 ? best / sum : (double)NAN;
    return ST_OK;
}

st_status watch_model_read(watch_model *m, const char *text, st_group sentence, st_error *err)
{
    int32_t *token = NULL;
    int64_t n;
    st_group group;
    st_live_group got;
    st_status status;
    if (m->live == NULL)
        return ST_OK;
    status = make_tokens(m, text, sentence, &token, &n, &group, err);
    if (status == ST_OK)
        status = st_live_add(m->live, token, n, group, &got, err);
    st_tokens_free(token);
    if (status == ST_OK)
        status = st_growing_add(m->growing, got.row, err);
    if (status != ST_OK)
        return status;
    need(m);
    if (m->n_hidden > 0)
        memcpy(m->hidden + m->n * m->n_hidden, got.hidden,
               (size_t)m->n_hidden * sizeof *m->hidden);
    m->read[m->n] = (watch_read){.surprise = got.surprise};
    m->read[m->n].n_lean = st_growing_lean(m->growing, NULL, WATCH_LEAN, m->read[m->n].lean);
    m->n++;
    m->fed = sentence.end;
    m->n_tok = got.n_tok;
    m->kept_pairs += got.kept_pairs;
    m->causal_pairs += got.causal_pairs;
    return find_anchors(m, err);
}

/* ---- for the rules --------------------------------------------------------------------------- */

static double mean_surprise(const watch_model *m)
{
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t i = 0; i < m->n - 1; i++)
        if (!isnan(m->read[i].surprise)) {
            sum += (double)m->read[i].surprise;
            count++;
        }
    return count > 0 ? sum / (double)count : (double)NAN;
}

static double or_none(double x)
{
    return isnan(x) ? -1.0 : x;
}

void watch_model_state(const watch_model *m, watch_state *s)
{
    const watch_read *last = m->n > 0 ? &m->read[m->n - 1] : NULL;
    int64_t newest = -1;
    for (int i = WATCH_FIRST_OF_MODEL; i < WATCH_VALUE_COUNT; i++)
        s->value[i] = -1.0;
    if (last == NULL)
        return;
    for (int64_t k = 0; k < m->n_anchor; k++)
        newest = m->anchor[k].sentence > newest ? m->anchor[k].sentence : newest;
    s->value[WATCH_SURPRISE] = or_none((double)last->surprise);
    s->value[WATCH_SURPRISE_RATIO] = or_none((double)last->surprise / mean_surprise(m));
    s->value[WATCH_LEANS] = last->n_lean > 0 ? last->lean[0].score : -1.0;
    s->value[WATCH_LEANS_BACK] = last->n_lean > 0 ? (double)(m->n - 1 - last->lean[0].from) : -1.0;
    s->value[WATCH_SINCE_ANCHOR] = newest < 0 ? -1.0 : (double)(m->n - 1 - newest);
    s->value[WATCH_ANCHOR_SHARE] = m->n_anchor > 0 ? or_none(m->anchor_share) : -1.0;
}
