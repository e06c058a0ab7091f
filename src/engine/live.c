/* SPDX-License-Identifier: MIT
 *
 * live.c — a run that goes on as its text grows. It is an ordinary run with room for more tokens
 * than it has; each call decodes the next ones, and the sink adds up what they read.
 */
#include <math.h>
#include <string.h>

#include "base/util.h"
#include "engine/engine_int.h"
#include "engine/surprise.h"
#include "sparsetrace/live.h"

/* Tokens of a micro-batch: a sentence is one, a prompt a few. Predictions of all have room. */
#define LIVE_UBATCH 256

struct st_live {
    st_model *model;
    st_run *run;
    st_live_params p;
    st_group *group; /* [n_group] */
    int64_t n_group, cap_group, n_tok;
    float *row; /* [n_layer, n_head, n_group] sums, then means */
    int64_t cap_row;
    float *hidden, *before; /* [2, n_embd]; [n_vocab] the prediction of the next token */
    const int32_t *token;   /* of the call at hand, the first at position n_tok */
    int64_t n_new, n_cost, kept_pairs, visible_pairs;
    double cost;
};

st_live_params st_live_params_default(void)
{
    st_live_params p = {.select = st_select_params_default(),
                        .max_tok = 16384,
                        .layer = -1,
                        .surprise = true,
                        .type_k = "f16",
                        .type_v = "f16"};
    p.select.bq = 4;
    p.select.bk = 1;
    p.select.k = 64;
    return p;
}

/* ---- what a decode hands over ---------------------------------------------------------------- */

static const st_group *newest(const st_live *l)
{
    return &l->group[l->n_group - 1];
}

static st_status take_chunk(void *ctx, const st_chunk *c, st_error *err)
{
    st_live *l = ctx;
    const st_group_sums *g = c->groups;
    int64_t n_head = l->model->info.n_head, last;
    if (c->kind == ST_CHUNK_SPARSE) {
        l->kept_pairs += c->kept_pairs;
        l->visible_pairs += c->visible_pairs;
    }
    if (g == NULL || c->layer < 0 || c->layer >= l->model->info.n_layer ||
        c->sel->n_head > n_head)
        return sti_fail(err, ST_ERR_MODEL, c->layer, "layer %d is not of the model's shape",
                        c->layer);
    last = l->n_group - 1 - g->first;
    if (last < 0 || last >= g->n) /* rows before the group */
        return ST_OK;
    for (int64_t h = 0; h < c->sel->n_head; h++) {
        const float *from = g->sum + (h * g->n + last) * g->n_group;
        float *to = l->row + (c->layer * n_head + h) * l->n_group;
        for (int64_t j = 0; j < l->n_group; j++)
            to[j] += from[j];
    }
    return ST_OK;
}

static void add_cost(st_live *l, int64_t pos, const float *logits)
{
    if (pos < newest(l)->begin || pos >= newest(l)->end)
        return;
    l->cost += sti_surprise_of(logits, l->model->info.n_vocab, l->token[pos - l->n_tok]);
    l->n_cost++;
}

static st_status take_predictions(void *ctx, int64_t pos, int64_t n, const float *logits,
                                  st_error *err)
{
    st_live *l = ctx;
    int64_t n_vocab = l->model->info.n_vocab, end = l->n_tok + l->n_new;
    for (int64_t i = 0; i < n && pos + i + 1 < end; i++)
        add_cost(l, pos + i + 1, logits + i * n_vocab);
    if (pos + n == end)
        memcpy(l->before, logits + (n - 1) * n_vocab, (size_t)n_vocab * sizeof *l->before);
    if (isnan(l->cost))
        return sti_fail(err, ST_ERR_MODEL, pos,
                        "the model's prediction after token %lld or a later one is not a number",
                        (long long)pos);
    return ST_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static st_status check_params(const st_live_params *p, const st_model_info *info, st_error *err)
{
    STI_TRY(st_select_params_check(&p->select, err));
    if (p->max_tok < 64 || p->max_tok > (int64_t)1 << 24)
        return sti_fail(err, ST_ERR_ARG, -1, "max_tok is %lld, must be 64..%d",
                        (long long)p->max_tok, 1 << 24);
    if (p->select.grow_tok != 0)
        return sti_fail(err, ST_ERR_ARG, -1, "budgets cannot grow along a text of unknown length");
    if (p->layer < -1 || p->layer >= info->n_layer - 1)
        return sti_fail(err, ST_ERR_ARG, p->layer, "layer is %d, must be -1..%d", p->layer,
                        info->n_layer - 2);
    return ST_OK;
}

static st_status make_run(st_live *l, st_error *err)
{
    st_run_params rp = st_run_params_default();
    st_ggml_params gp = st_ggml_params_default();
    st_sink sink = {take_chunk, l};
    int32_t *token = sti_calloc((size_t)l->p.max_tok * sizeof *token);
    st_status status;
    if (token == NULL)
        return sti_fail_mem(err, (size_t)l->p.max_tok * sizeof *token);
    rp.n_ubatch = LIVE_UBATCH;
    rp.n_last = 1;
    rp.type_k = l->p.type_k;
    rp.type_v = l->p.type_v;
    rp.every = l->p.surprise;
    rp.progress = l->p.progress;
    status = st_run_create(l->model, token, l->p.max_tok, &rp, &l->run, err);
    sti_free(token);
    STI_TRY(status);
    if (l->p.surprise)
        STI_TRY(st_run_predictions(l->run, 0, take_predictions, l, err));
    return sti_run_begin(l->run, &gp, &sink, err);
}

st_status st_live_open(st_model *model, const st_live_params *p, st_live **live, st_error *err)
{
    st_live *l;
    st_status status;
    *live = NULL;
    STI_TRY(check_params(p, &model->info, err));
    l = sti_calloc(sizeof *l);
    if (l == NULL)
        return sti_fail_mem(err, sizeof *l);
    l->model = model;
    l->p = *p;
    l->hidden = sti_calloc((size_t)model->info.n_embd * 2 * sizeof *l->hidden);
    l->before = sti_alloc((size_t)model->info.n_vocab * sizeof *l->before);
    status = l->hidden != NULL && l->before != NULL
                 ? make_run(l, err)
                 : sti_fail_mem(err, (size_t)model->info.n_vocab * sizeof *l->before);
    if (status != ST_OK) {
        st_live_free(l);
        return status;
    }
    *live = l;
    return ST_OK;
}

void st_live_free(st_live *l)
{
    if (l == NULL)
        return;
    st_run_free(l->run);
    sti_free(l->group);
    sti_free(l->row);
    sti_free(l->hidden);
    sti_free(l->before);
    sti_free(l);
}

/* ---- reading on ------------------------------------------------------------------------------ */

static st_status check_add(const st_live *l, const int32_t *token, int64_t n, st_group group,
                           st_error *err)
{
    if (n < 1 || group.begin < 0 || group.end <= group.begin || group.end > n)
        return sti_fail(err, ST_ERR_ARG, -1, "%lld tokens, of them the group [%lld, %lld)",
                        (long long)n, (long long)group.begin, (long long)group.end);
    if (l->n_tok + n > l->p.max_tok)
        return sti_fail(err, ST_ERR_LIMIT, l->p.max_tok,
                        "the text has more than the %lld tokens that there is room for",
                        (long long)l->p.max_tok);
    return sti_check_tokens(l->model, token, n, err);
}

/* Room for one more group, and its row of zeros. */
static st_status begin_group(st_live *l, st_group group, st_error *err)
{
    int64_t cells = (int64_t)l->model->info.n_layer * l->model->info.n_head * (l->n_group + 1);
    if (!sti_grow((void **)&l->group, &l->cap_group, l->n_group + 1, sizeof *l->group) ||
        !sti_grow((void **)&l->row, &l->cap_row, cells, sizeof *l->row))
        return sti_fail_mem(err, (size_t)cells * sizeof *l->row);
    l->group[l->n_group++] = (st_group){l->n_tok + group.begin, l->n_tok + group.end};
    memset(l->row, 0, (size_t)cells * sizeof *l->row);
    l->cost = 0.0;
    l->n_cost = l->kept_pairs = l->visible_pairs = 0;
    return ST_OK;
}

static st_status decode(st_live *l, const int32_t *token, int64_t n, st_error *err)
{
    const st_sink sink = {take_chunk, l};
    st_hidden_params hidden = {.layer = l->p.layer, .span = newest(l), .n_span = 1};
    st_ggml_params gp = st_ggml_params_default();
    gp.select = l->p.select;
    gp.cert_rows = 0;
    gp.exact_below = l->model->info.n_swa; /* a sentence may be too short to show a window */
    gp.group = l->group;
    gp.n_group = l->n_group;
    if (l->p.layer >= 0)
        STI_TRY(st_run_hidden(l->run, &hidden, l->hidden, err));
    return sti_run_more(l->run, &gp, &sink, l->n_tok, token, n, err);
}

/* Sums over pairs of tokens become means. */
static void make_means(st_live *l)
{
    int64_t n_row = newest(l)->end - newest(l)->begin;
    int64_t n_head = (int64_t)l->model->info.n_layer * l->model->info.n_head;
    for (int64_t j = 0; j < l->n_group; j++) {
        float scale = 1.0f / (float)(n_row * (l->group[j].end - l->group[j].begin));
        for (int64_t h = 0; h < n_head; h++)
            l->row[h * l->n_group + j] *= scale;
    }
}

st_status st_live_add(st_live *l, const int32_t *token, int64_t n, st_group group,
                      st_live_group *out, st_error *err)
{
    STI_TRY(check_add(l, token, n, group, err));
    STI_TRY(begin_group(l, group, err));
    l->token = token;
    l->n_new = n;
    if (l->p.surprise && l->n_tok > 0)
        add_cost(l, l->n_tok, l->before);
    STI_TRY(decode(l, token, n, err));
    l->n_tok += n;
    make_means(l);
    *out = (st_live_group){.n_tok = l->n_tok,
                           .number = l->n_group - 1,
                           .row = l->row,
                           .hidden = l->p.layer >= 0 ? l->hidden : NULL,
                           .surprise = l->n_cost > 0 ? (float)(l->cost / (double)l->n_cost) : NAN,
                           .kept_pairs = l->kept_pairs,
                           .causal_pairs = l->visible_pairs};
    return ST_OK;
}

void st_live_forget_groups(st_live *l)
{
    l->n_group = 0;
}
