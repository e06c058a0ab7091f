/* SPDX-License-Identifier: MIT
 *
 * reason_read.c — a chain of thought: sentences, the model's run if there is one, tags, phases,
 * quality.
 */
#include "reason_read.h"

#include <stdlib.h>
#include <string.h>

/* ---- one trace ------------------------------------------------------------------------------- */

static st_status take_tags(const reason_reader *x, int64_t at, reading *r, st_error *err)
{
    int64_t n, n_tag = st_tagger_n_tag(x->tagger);
    const int32_t *tag = st_tag_file_get(x->tags, r->id, at, &n);
    if (tag == NULL || n != r->n) {
        *err = (st_error){ST_ERR_FORMAT, r->line, ""};
        if (tag == NULL)
            snprintf(err->message, sizeof err->message, "%.200s has no tags for it", x->tags_path);
        else
            snprintf(err->message, sizeof err->message,
                     "it has %lld sentences, %.200s has %lld tags for it", (long long)r->n,
                     x->tags_path, (long long)n);
        return ST_ERR_FORMAT;
    }
    memset(r->prob, 0, (size_t)(n * n_tag) * sizeof *r->prob);
    for (int64_t i = 0; i < n; i++) {
        r->tag[i] = tag[i];
        if (tag[i] >= 0)
            r->prob[i * n_tag + tag[i]] = 1.0f;
    }
    r->given = true;
    return ST_OK;
}

/* The tags; hidden states only for a tagger that reads them. */
static st_status make_tags(const reason_reader *x, reading *r, st_error *err)
{
    bool wanted = st_tagger_n_hidden(x->tagger) > 0 && r->attention != NULL;
    return st_tagger_run(x->tagger, r->text, r->sentence, r->n,
                         wanted ? r->attention->run.hidden : NULL, r->tag, r->prob, err);
}

/* The reading as the trace's document. */
static st_status keep_reading(const reading *r, const char *path, st_error *err)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    st_status status;
    if (f == NULL) {
        *err = (st_error){ST_ERR_MEM, -1, "out of memory"};
        return ST_ERR_MEM;
    }
    reason_print_json(f, r);
    fclose(f);
    status = st_trace_note(path, "reasoning", text, err);
    free(text);
    return status;
}

/* What the run says of the sentences, once they have tags. */
static st_status judge(const reading *r, st_quality *q, st_error *err)
{
    reason_attention *a = r->attention;
    st_attention attention;
    st_status status = reason_attention_read(a, err);
    if (status != ST_OK)
        return status;
    attention = (st_attention){a->mean, a->judged, a->run.token, a->run.surprise};
    return st_quality_of_attention(r->tagger, r->text, r->sentence, r->tag, r->n, &attention,
                                   a->flow, q, err);
}

static st_status cut(const reason_reader *x, reading *r, st_error *err)
{
    st_text text = {.text = r->text, .line = r->line};
    if (x->given != NULL)
        return st_texts_sentences(x->given, &text, r->part, &r->sentence, &r->n, err);
    return st_sentences(r->text, r->part, &x->split, &r->sentence, &r->n, err);
}

static void make_room(reading *r)
{
    size_t n = (size_t)r->n;
    r->tag = out_need(n * sizeof *r->tag);
    r->prob = out_need(n * (size_t)st_tagger_n_tag(r->tagger) * sizeof *r->prob);
    r->phase = out_need(n * sizeof *r->phase);
    r->confidence = out_need(n * sizeof *r->confidence);
    r->boundary = out_need(n * sizeof *r->boundary);
}

st_status reason_read(reason_reader *x, int64_t at, const char *keep, reading *r, st_error *err)
{
    st_status status;
    r->tagger = x->tagger;
    r->tagger_name = x->tagger_name;
    r->model_name = x->model.info.name;
    status = cut(x, r, err);
    if (status != ST_OK)
        return status;
    make_room(r);
    if (x->tags != NULL) /* before the run: there may be none for it */
        status = take_tags(x, at, r, err);
    if (status == ST_OK && x->model.model != NULL && r->n > 0) {
        r->attention = out_need(sizeof *r->attention);
        *r->attention = (reason_attention){.n_head = 0};
        status =
            reason_run_make(&x->model, r->text, r->sentence, r->n, keep, &r->attention->run, err);
    }
    if (status == ST_OK && x->tags == NULL)
        status = make_tags(x, r, err);
    if (status == ST_OK && st_tagger_has_phases(x->tagger)) {
        r->has_phases = true;
        status = st_phases(x->tagger, r->prob, r->n, r->phase, r->confidence, r->boundary, err);
    }
    if (status == ST_OK)
        status =
            st_quality_of_text(x->tagger, r->text, r->sentence, r->tag, r->n, &r->quality, err);
    if (status == ST_OK && r->attention != NULL)
        status = judge(r, &r->quality, err);
    if (status == ST_OK && r->attention != NULL && keep != NULL)
        status = keep_reading(r, keep, err);
    return status;
}

void reason_free(reading *r)
{
    st_sentences_free(r->sentence);
    free(r->tag);
    free(r->prob);
    free(r->phase);
    free(r->confidence);
    free(r->boundary);
    if (r->attention != NULL)
        reason_attention_free(r->attention);
    free(r->attention);
}
