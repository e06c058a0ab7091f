/* SPDX-License-Identifier: MIT
 *
 * reason_model.c — one run of a model over a trace. What it records is a trace file in any case:
 * the analyses read files; one that nobody keeps lies in a folder of its own for as long.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reason_model.h"
#include "text_tokens.h"

/* Kept key blocks of less mass are left out of a kept trace: with blocks of one key most are. */
#define MASS_FLOOR 0.002f

/* A matrix of them is kept for each head: gigabytes beyond this. */
#define SENTENCES_MOST 4000

int64_t reason_n_hidden(const reason_model *m)
{
    return 2 * (int64_t)m->info.n_embd;
}

/* ---- the run --------------------------------------------------------------------------------- */

/* Where the trace goes; in a folder of its own if nobody keeps it. *path is free()d. */
static st_status choose_path(reason_run *r, const char *keep, char **path, st_error *err)
{
    const char *folder = getenv("TMPDIR");
    size_t size = 4096;
    *path = out_need(size);
    if (keep != NULL) {
        snprintf(*path, size, "%s", keep);
        return ST_OK;
    }
    snprintf(*path, size, "%s/sparsetrace.XXXXXX",
             folder != NULL && *folder != '\0' ? folder : "/tmp");
    if (mkdtemp(*path) == NULL) {
        *err = (st_error){ST_ERR_IO, -1, ""};
        snprintf(err->message, sizeof err->message, "cannot make a folder like %.200s: %s", *path,
                 strerror(errno));
        return ST_ERR_IO;
    }
    r->scratch = out_need(size);
    snprintf(r->scratch, size, "%s", *path);
    snprintf(*path + strlen(*path), size - strlen(*path), "/trace");
    return ST_OK;
}

/* surprise [n] of the sentences out of that of the tokens; NaN ones (the first) left out. */
static void mean_surprise(const reason_run *r, const float *of_token)
{
    for (int64_t i = 0; i < r->n; i++) {
        double sum = 0.0;
        int64_t count = 0;
        for (int64_t t = r->token[i].begin; t < r->token[i].end; t++)
            if (!isnan(of_token[t])) {
                sum += (double)of_token[t];
                count++;
            }
        r->surprise[i] = count > 0 ? (float)(sum / (double)count) : NAN;
    }
}

/* A text too short to be pruned so far keeps all. */
static void set_budget(const reason_model *m, const reason_run *r, st_trace_params *p)
{
    double share = p->budget == ST_BUDGET_PRUNED ? p->pruned : 0;
    budget_args_sentence_rows(m->budget, share, r->n_tok, &p->select);
    if (budget_args_too_short(m->budget, &p->select, p->pruned, r->n_tok, m->info.n_swa)) {
        p->budget = ST_BUDGET_K;
        p->select.k = (double)r->n_tok;
    }
}

static st_status run_model(reason_model *m, const int32_t *token, const char *path, bool kept,
                           reason_run *r, st_error *err)
{
    st_trace_params p = m->params;
    float *of_token = out_need((size_t)r->n_tok * sizeof *of_token);
    st_status status;
    p.record.group = r->token;
    p.record.n_group = r->n;
    p.record.mass_floor = MASS_FLOOR;
    p.record.row_begin = kept ? 0 : r->n_tok - 1; /* the groups do not need the selection */
    p.record.row_end = kept ? 0 : r->n_tok;
    p.surprise = of_token;
    p.cert_rows = (int)m->cert_rows;
    set_budget(m, r, &p);
    if (m->layer >= 0) {
        r->hidden = out_need((size_t)(r->n * reason_n_hidden(m)) * sizeof *r->hidden);
        p.hidden = (st_hidden_params){.layer = m->layer, .span = r->token, .n_span = r->n};
        p.hidden_out = r->hidden;
    }
    status = st_trace_model(m->model, token, r->n_tok, &p, path, &r->report, err);
    out_progress_end(&m->bar);
    if (status == ST_OK) {
        mean_surprise(r, of_token);
        status = st_trace_open(path, &r->trace, err);
    }
    free(of_token);
    return status;
}

st_status reason_run_make(reason_model *m, const char *text, const st_group *sentence, int64_t n,
                          const char *keep, reason_run *r, st_error *err)
{
    int32_t *token = NULL;
    char *path = NULL;
    st_status status;
    *r = (reason_run){.n = n};
    if (n > SENTENCES_MOST) {
        *err = (st_error){ST_ERR_LIMIT, n, ""};
        snprintf(err->message, sizeof err->message,
                 "%lld sentences, with -m at most %d: a matrix of them is kept for each head "
                 "(watch -m keeps none)",
                 (long long)n, SENTENCES_MOST);
        return ST_ERR_LIMIT;
    }
    r->token = out_need((size_t)n * sizeof *r->token);
    r->surprise = out_need((size_t)n * sizeof *r->surprise);
    status = text_tokens(m->model, text, sentence, n, &token, &r->n_tok, r->token, err);
    if (status == ST_OK)
        status = choose_path(r, keep, &path, err);
    if (status == ST_OK)
        status = run_model(m, token, path, keep != NULL, r, err);
    st_tokens_free(token);
    free(path);
    return status;
}

void reason_run_free(reason_run *r)
{
    char path[4096 + 16];
    st_trace_free(r->trace);
    if (r->scratch != NULL) {
        static const char *const name[] = {"trace", "trace.part", "trace.tmp"};
        for (int i = 0; i < 3; i++) {
            snprintf(path, sizeof path, "%s/%s", r->scratch, name[i]);
            unlink(path);
        }
        rmdir(r->scratch);
    }
    free(r->scratch);
    free(r->token);
    free(r->hidden);
    free(r->surprise);
    *r = (reason_run){.n = 0};
}

/* ---- for training ---------------------------------------------------------------------------- */

void hidden_file_add(hidden_file *f, float *hidden, int64_t n, int64_t n_hidden)
{
    st_tensor *t;
    char *name = out_need(32);
    if (f->n == f->cap) {
        f->cap = 2 * f->cap + 16;
        t = out_need((size_t)f->cap * sizeof *t);
        memcpy(t, f->tensor != NULL ? f->tensor : t, (size_t)f->n * sizeof *t);
        free(f->tensor);
        f->tensor = t;
    }
    snprintf(name, 32, "trace.%lld", (long long)f->n);
    f->tensor[f->n++] = (st_tensor){.name = name,
                                    .type = ST_TENSOR_F32,
                                    .n_dim = 2,
                                    .shape = {n, n_hidden},
                                    .data = hidden,
                                    .bytes = (size_t)(n * n_hidden) * sizeof *hidden};
}

st_status hidden_file_write(const hidden_file *f, const reason_model *m, const char *path,
                            st_error *err)
{
    char layer[16], attention[96];
    const st_select_params *s = &m->params.select;
    const char *meta[3][2] = {{"model", m->info.name}, {"layer", layer}, {"attention", attention}};
    snprintf(layer, sizeof layer, "%d", m->layer);
    if (m->params.budget == ST_BUDGET_PRUNED)
        snprintf(attention, sizeof attention, "%g pruned, blocks %d x %d, %s weights",
                 m->params.pruned, s->bq, s->bk, m->info.weights);
    else
        snprintf(attention, sizeof attention, "k %g, blocks %d x %d, %s weights", s->k, s->bq,
                 s->bk, m->info.weights);
    return st_tensors_write(path, f->tensor, f->n, meta, 3, err);
}

void hidden_file_free(hidden_file *f)
{
    for (int64_t i = 0; i < f->n; i++) {
        free((void *)(uintptr_t)f->tensor[i].name);
        free((void *)(uintptr_t)f->tensor[i].data);
    }
    free(f->tensor);
}
