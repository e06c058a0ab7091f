/* SPDX-License-Identifier: MIT
 *
 * ruler_run.c — one sample: its prompt and answer as tokens, the dense pass, a pruned pass for each
 * setting, the scores.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ruler.h"

#define GREEDY_MOST 512
#define RANGE_STEPS 4 /* from the upper share of a range to the lower */

/* ---- prompts --------------------------------------------------------------------------------- */

int64_t ruler_count_tokens(void *ctx, const char *text, int64_t n_bytes)
{
    int32_t *token;
    int64_t n;
    if (st_model_tokenize(ctx, text, n_bytes, true, &token, &n, NULL) != ST_OK)
        return -1;
    st_tokens_free(token);
    return n;
}

st_status ruler_settle_chat(ruler_job *j, st_error *err)
{
    const char *when = j->a->chat != NULL ? j->a->chat : "auto";
    char *chat = NULL;
    int64_t n_chat;
    st_status status = ST_OK;
    j->chat = strcmp(when, "on") == 0 || (strcmp(when, "auto") == 0 && j->info.has_chat_template);
    if (j->chat)
        status = st_model_chat(j->model, "x", 1, &chat, &n_chat, err);
    if (status == ST_OK && j->chat)
        j->template_tok =
            ruler_count_tokens(j->model, chat, n_chat) - ruler_count_tokens(j->model, "x", 1);
    st_text_free(chat);
    return status;
}

/* input (as the user's message) + answer_prefix + more (free()). */
static st_status prompt_text(const ruler_job *j, const st_task_sample *s, const char *more,
                             char **text, int64_t *n, st_error *err)
{
    char *chat = NULL;
    int64_t n_input = (int64_t)strlen(s->input), n_prefix = (int64_t)strlen(s->answer_prefix);
    if (j->chat) {
        st_status status = st_model_chat(j->model, s->input, n_input, &chat, &n_input, err);
        if (status != ST_OK)
            return status;
    }
    *n = n_input + n_prefix + (int64_t)strlen(more);
    *text = out_need((size_t)*n + 1);
    memcpy(*text, chat != NULL ? chat : s->input, (size_t)n_input);
    memcpy(*text + n_input, s->answer_prefix, (size_t)n_prefix);
    strcpy(*text + n_input + n_prefix, more);
    st_text_free(chat);
    return ST_OK;
}

static st_status tokens_of(const ruler_job *j, const st_task_sample *s, const char *more,
                           int32_t **token, int64_t *n, st_error *err)
{
    char *text;
    int64_t n_bytes;
    st_status status = prompt_text(j, s, more, &text, &n_bytes, err);
    if (status != ST_OK)
        return status;
    status = st_model_tokenize(j->model, text, n_bytes, true, token, n, err);
    free(text);
    return status;
}

/* The prompt's tokens as they stand alone, since that is what a program that generates gives the
 * model, and the answer's behind them: as the whole text has them, where its tokens begin with the
 * prompt's, else the answer's own. */
static st_status sequence(const ruler_job *j, const st_task_sample *s, int32_t **token,
                          int64_t *n_prompt, int64_t *n_tok, st_error *err)
{
    int32_t *prompt = NULL, *all = NULL, *answer = NULL;
    int64_t n_all = 0, n_answer = 0;
    st_status status = tokens_of(j, s, "", &prompt, n_prompt, err);
    if (status == ST_OK)
        status = tokens_of(j, s, s->answer, &all, &n_all, err);
    if (status == ST_OK &&
        (n_all <= *n_prompt || memcmp(all, prompt, (size_t)*n_prompt * sizeof *all) != 0)) {
        status = st_model_tokenize(j->model, s->answer, (int64_t)strlen(s->answer), false, &answer,
                                   &n_answer, err);
    } else if (status == ST_OK) {
        n_answer = n_all - *n_prompt;
    }
    if (status == ST_OK) {
        *n_tok = *n_prompt + n_answer;
        *token = out_need((size_t)*n_tok * sizeof **token);
        memcpy(*token, prompt, (size_t)*n_prompt * sizeof *prompt);
        memcpy(*token + *n_prompt, answer != NULL ? answer : all + *n_prompt,
               (size_t)n_answer * sizeof *all);
    }
    st_tokens_free(prompt);
    st_tokens_free(all);
    st_tokens_free(answer);
    return status;
}

/* The evidence as token spans [2 n] (free()); pieces that are not found among the tokens are left
 * out. */
static int64_t *needles(const ruler_job *j, const st_task_sample *s, const int32_t *token,
                        int64_t n_prompt, int64_t *n)
{
    int64_t *span = out_need((size_t)(2 * s->n_evidence + 1) * sizeof *span);
    *n = 0;
    for (int64_t i = 0; i < s->n_evidence; i++)
        *n += st_model_locate(j->model, token, n_prompt, s->input + s->evidence[i].begin,
                              s->evidence[i].end - s->evidence[i].begin, &span[2 * *n],
                              &span[2 * *n + 1]);
    return span;
}

/* ---- scores ---------------------------------------------------------------------------------- */

static double score(const ruler_job *j, const st_task_sample *s, const int32_t *token, int n)
{
    char *text;
    int64_t at = 0;
    double x;
    for (int i = 0; i < n; i++)
        at += st_model_piece(j->model, token[i], NULL, 0);
    text = out_need((size_t)at + 1);
    at = 0;
    for (int i = 0; i < n; i++) {
        int room = st_model_piece(j->model, token[i], NULL, 0);
        at += st_model_piece(j->model, token[i], text + at, room);
    }
    text[at] = '\0';
    x = st_task_score(s, text);
    free(text);
    return x;
}

/* The score of greedy decoding; select NULL: with exact attention. */
static st_status greedy_score(ruler_job *j, const st_task_sample *s, const int32_t *token,
                              int64_t n_prompt, const st_select_params *select, double *x,
                              st_error *err)
{
    st_run_params rp = j->run;
    st_ggml_params gp = st_ggml_params_default();
    int32_t out[GREEDY_MOST];
    int n = 0, most = s->n_generate < GREEDY_MOST ? (int)s->n_generate : GREEDY_MOST;
    st_run *run;
    st_status status;
    rp.n_last = 1;
    rp.n_more = most;
    gp.exact = select == NULL;
    gp.exact_below = st_model_exact_below(j->model, n_prompt, &j->run);
    gp.select = select != NULL ? *select : gp.select;
    status = st_run_create(j->model, token, n_prompt, &rp, &run, err);
    if (status == ST_OK)
        status = st_run_greedy(run, &gp, "greedy", most, out, &n, err);
    if (status == ST_OK)
        *x = score(j, s, out, n);
    st_run_free(run);
    return status;
}

/* ---- one sample ------------------------------------------------------------------------------ */

bool ruler_parse_share(const char *text, double *least, double *most)
{
    char *end;
    *least = *most = strtod(text, &end);
    if (end != text && *end == '-') {
        text = end + 1;
        *most = strtod(text, &end);
    }
    return end != text && *end == '\0' && *least >= 0 && *least <= *most && *most < 1;
}

/* The budget that a setting with this share means for a row's tokens, in blocks of its sizes. */
static st_select_params select_of(const ruler_job *j, const ruler_setting *s, double pruned,
                                  const ruler_row *row)
{
    st_select_params p = s->select;
    int64_t n_tok = row->n_tok;
    p.bq = (int)row->block_q;
    p.bk = (int)row->block_k;
    if (pruned >= 0 &&
        st_select_k_for_pruned(&p, 0, n_tok, st_model_exact_below(j->model, n_tok, &j->run), pruned,
                               &p.k, NULL) != ST_OK)
        p.k = 0;
    if (pruned >= 0 && p.k <= (double)st_select_min_k(&p))
        p.k = (double)st_select_min_k(&p) + 1;
    return p;
}

ruler_row ruler_job_key(const ruler_job *j, int64_t length, const char *target)
{
    ruler_row row = {.chat = j->chat,
                     .seed = j->a->source.seed,
                     .length = length,
                     .block_q = j->a->block_q,
                     .block_k = j->a->block_k,
                     .sample_rows = j->a->sample_rows};
    snprintf(row.model, sizeof row.model, "%.12s", j->info.sha256);
    snprintf(row.target, sizeof row.target, "%s", target);
    if (row.block_q == 0) {
        st_select_params p = st_select_params_default();
        double least, most;
        if (ruler_parse_share(target, &least, &most))
            st_select_blocks_for_pruned(&p, length, st_model_exact_below(j->model, length, &j->run),
                                        most);
        row.block_q = p.bq;
        row.block_k = p.bk;
    }
    return row;
}

static ruler_row key_of(const ruler_job *j, const ruler_row *sample, const ruler_setting *s)
{
    ruler_row row = ruler_job_key(j, sample->length, s->target);
    memcpy(row.source, sample->source, sizeof row.source);
    memcpy(row.task, sample->task, sizeof row.task);
    row.index = sample->index;
    snprintf(row.select, sizeof row.select, "%s", st_select_method_name(s->select.method));
    row.greedy_dense = row.greedy_sparse = -1.0;
    return row;
}

bool ruler_all_done(const ruler_job *j, const ruler_row *sample)
{
    for (int i = 0; i < j->n_setting; i++) {
        ruler_row key = key_of(j, sample, &j->setting[i]);
        if (ruler_rows_find(&j->rows, &key) == NULL)
            return false;
    }
    return true;
}

/* A sample at work: its sequence, and the answer's dense run for blocks of one size. */
struct sample {
    const st_task_sample *s;
    int32_t *token;
    int64_t n_prompt, n_tok;
    st_answer_params params;
    st_answer *answer; /* NULL: not run yet */
    st_answer_pass dense;
    double dense_score, greedy_dense;
};

/* The pass that counts, and its budget; *seconds: of all that were tried. */
static st_status search(const ruler_job *j, const struct sample *x, const ruler_setting *setting,
                        const ruler_row *row, st_select_params *select, st_answer_pass *pass,
                        double *seconds, st_error *err)
{
    int n = setting->least < setting->pruned ? RANGE_STEPS : 0;
    *seconds = 0;
    for (int i = 0; i <= n; i++) {
        double down = n > 0 ? (double)i / n * (setting->pruned - setting->least) : 0;
        st_status status;
        *select = select_of(j, setting, setting->pruned - down, row);
        status = st_answer_run(x->answer, select, pass, err);
        if (status != ST_OK)
            return status;
        *seconds += pass->seconds;
        if (pass->n_same == pass->n_answer)
            break;
    }
    return ST_OK;
}

static st_status run_setting(ruler_job *j, struct sample *x, const ruler_setting *setting,
                             ruler_row *row, st_error *err)
{
    st_select_params select;
    st_answer_pass pass;
    st_status status = search(j, x, setting, row, &select, &pass, &row->seconds_sparse, err);
    if (status != ST_OK)
        return status;
    row->k = pass.k;
    row->sparse = score(j, x->s, pass.top, pass.n_answer);
    row->n_same = pass.n_same;
    row->kl = pass.kl;
    row->kept_pairs = pass.kept_pairs;
    row->causal_pairs = pass.causal_pairs;
    row->recall = pass.recall;
    row->n_retrieval = pass.n_retrieval;
    row->n_needle_kept = pass.n_needle_kept;
    if (j->a->greedy)
        status = greedy_score(j, x->s, x->token, x->n_prompt, &select, &row->greedy_sparse, err);
    if (status == ST_OK && !ruler_rows_add(&j->rows, row)) {
        *err = (st_error){.status = ST_ERR_IO, .position = -1};
        snprintf(err->message, sizeof err->message, "cannot write %s: %s", j->rows.path,
                 strerror(errno));
        status = ST_ERR_IO;
    }
    return status;
}

/* The dense run, for blocks of the row's sizes: another one for each. */
static st_status dense_run(ruler_job *j, struct sample *x, const ruler_row *row, st_error *err)
{
    bool first = x->answer == NULL;
    st_status status;
    st_answer_free(x->answer);
    x->params.block_q = (int)row->block_q;
    x->params.block_k = (int)row->block_k;
    status = st_answer_create(j->model, x->token, x->n_tok, x->n_tok - x->n_prompt, &x->params,
                              &x->answer, &x->dense, err);
    if (status == ST_OK)
        x->dense_score = score(j, x->s, x->dense.top, x->dense.n_answer);
    if (status == ST_OK && j->a->greedy && first)
        status = greedy_score(j, x->s, x->token, x->n_prompt, NULL, &x->greedy_dense, err);
    return status;
}

/* Setting i and those behind it with blocks of the same sizes, unless they are done. */
static st_status run_alike(ruler_job *j, struct sample *x, const ruler_row *sample, int i,
                           st_error *err)
{
    ruler_row like = key_of(j, sample, &j->setting[i]);
    bool ran = false;
    for (; i < j->n_setting; i++) {
        ruler_row row = key_of(j, sample, &j->setting[i]);
        st_status status = ST_OK;
        if (row.block_q != like.block_q || row.block_k != like.block_k ||
            ruler_rows_find(&j->rows, &row) != NULL)
            continue;
        if (!ran)
            status = dense_run(j, x, &row, err);
        ran = true;
        row.n_tok = x->n_tok - 1;
        row.n_answer = x->n_tok - x->n_prompt;
        row.dense = x->dense_score;
        row.greedy_dense = x->greedy_dense;
        row.seconds_dense = x->dense.seconds;
        row.margin = x->dense.margin;
        if (status == ST_OK)
            status = run_setting(j, x, &j->setting[i], &row, err);
        if (status != ST_OK)
            return status;
    }
    return ST_OK;
}

st_status ruler_run_sample(ruler_job *j, const st_task_sample *s, const ruler_row *sample,
                           st_error *err)
{
    struct sample x = {.s = s, .params = st_answer_params_default(), .greedy_dense = -1.0};
    int64_t *span = NULL;
    st_status status = sequence(j, s, &x.token, &x.n_prompt, &x.n_tok, err);
    x.params.run = j->run;
    x.params.cert_rows = (int)j->a->cert_rows;
    if (status == ST_OK)
        x.params.needle = span = needles(j, s, x.token, x.n_prompt, &x.params.n_needle);
    for (int i = 0; status == ST_OK && i < j->n_setting; i++)
        status = run_alike(j, &x, sample, i, err);
    st_answer_free(x.answer);
    free(span);
    free(x.token);
    return status;
}
