/* SPDX-License-Identifier: MIT
 *
 * reason_model.c — one run of a model over a trace: hidden states of its sentences.
 */
#include <stdlib.h>
#include <string.h>

#include "reason_model.h"
#include "sparsetrace/groups.h"

int64_t reason_n_hidden(const reason_model *m)
{
    st_model_info info;
    st_model_get_info(m->model, &info);
    return 2 * (int64_t)info.n_embd;
}

/* piece_ptr [n_tok + 1] (free()): where each token's bytes begin. ST_ERR_MODEL if the tokens do not
 * spell the text: a tokenizer that normalises it. */
static st_status place_tokens(const st_model *model, const int32_t *token, int64_t n_tok,
                              int64_t n_bytes, int64_t **piece_ptr, st_error *err)
{
    int64_t *p = out_need(((size_t)n_tok + 1) * sizeof *p);
    char piece[512];
    p[0] = 0;
    for (int64_t i = 0; i < n_tok; i++)
        p[i + 1] = p[i] + st_model_piece(model, token[i], piece, sizeof piece);
    *piece_ptr = p;
    if (p[n_tok] == n_bytes)
        return ST_OK;
    *err = (st_error){ST_ERR_MODEL, -1, ""};
    snprintf(
        err->message, sizeof err->message,
        "the model's tokens spell %lld bytes of a text of %lld: its tokenizer changes the text",
        (long long)p[n_tok], (long long)n_bytes);
    return ST_ERR_MODEL;
}

static st_status run_model(reason_model *m, const int32_t *token, int64_t n_tok,
                           const st_group *group, int64_t n, float *hidden, st_error *err)
{
    st_hidden_params hp = {.layer = m->layer, .span = group, .n_span = n};
    st_run_params rp = st_run_params_default();
    st_ggml_params gp = st_ggml_params_default();
    st_pass pass;
    st_run *run;
    st_status status;
    rp.progress = (st_progress){out_progress, &m->bar};
    gp.exact = m->k == 0;
    gp.select.k = m->k > 0 ? m->k : gp.select.k;
    status = st_run_create(m->model, token, n_tok, &rp, &run, err);
    if (status == ST_OK)
        status = st_run_hidden(run, &hp, hidden, err);
    if (status == ST_OK)
        status = st_run_pass(run, &gp, NULL, "reading", &pass, err);
    st_run_free(run);
    out_progress_end(&m->bar);
    return status;
}

st_status reason_hidden(reason_model *m, const char *text, const st_group *sentence, int64_t n,
                        float **hidden, st_error *err)
{
    int64_t n_bytes = n > 0 ? sentence[n - 1].end : 0, n_tok, *piece_ptr = NULL;
    st_group *group = out_need((size_t)n * sizeof *group);
    int32_t *token = NULL;
    st_status status = ST_OK;
    *hidden = out_need((size_t)(n * reason_n_hidden(m)) * sizeof **hidden);
    if (n > 0)
        status = st_model_tokenize(m->model, text, n_bytes, false, &token, &n_tok, err);
    if (status == ST_OK && n > 0)
        status = place_tokens(m->model, token, n_tok, n_bytes, &piece_ptr, err);
    if (status == ST_OK && n > 0)
        status = st_groups_from_bytes(sentence, n, piece_ptr, n_tok, group, err);
    if (status == ST_OK && n > 0)
        status = run_model(m, token, n_tok, group, n, *hidden, err);
    if (status != ST_OK) {
        free(*hidden);
        *hidden = NULL;
    }
    st_tokens_free(token);
    free(piece_ptr);
    free(group);
    return status;
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

st_status hidden_file_write(const hidden_file *f, const char *path, st_error *err)
{
    return st_tensors_write(path, f->tensor, f->n, NULL, 0, err);
}

void hidden_file_free(hidden_file *f)
{
    for (int64_t i = 0; i < f->n; i++) {
        free((void *)(uintptr_t)f->tensor[i].name);
        free((void *)(uintptr_t)f->tensor[i].data);
    }
    free(f->tensor);
}
