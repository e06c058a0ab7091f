/* SPDX-License-Identifier: MIT
 *
 * tracer.c — the main job from end to end: dense run, budget, recorded run, comparison,
 * certificate, file.
 */
#include <math.h>
#include <string.h>
#include <sys/resource.h>

#include "base/util.h"
#include "engine/output_gram.h"
#include "engine/surprise.h"
#include "engine/tracer.h"

#define DENSE_MAX_TOK 16384 /* up to here the default comparison is with a dense run */

st_trace_params st_trace_params_default(void)
{
    return (st_trace_params){.select = st_select_params_default(),
                             .cert_rows = 32,
                             .run = st_run_params_default(),
                             .checkpoint_every = 600.0};
}

const char *st_against_name(st_against against)
{
    static const char *const name[] = {"default", "dense", "stable", "none"};
    return (unsigned)against < sizeof name / sizeof *name ? name[against] : "unknown";
}

static double since(int64_t start)
{
    return (double)(llama_time_us() - start) * 1e-6;
}

/* A pass of `run`, or its result where a checkpoint has it. */
static st_status pass_of(sti_tracer *t, st_run *run, sti_tally *tally, const char *what,
                         st_pass *pass, st_error *err)
{
    sti_plan plan = {.run = run, .ggml = &t->ggml, .tally = tally, .what = what};
    int64_t start = llama_time_us();
    t->report->n_run++;
    STI_TRY(sti_checkpoint_pass(t->checkpoint, &plan, pass, err));
    t->earlier += fmax(pass->seconds - since(start), 0.0);
    return ST_OK;
}

st_status sti_tracer_pass(sti_tracer *t, double k, sti_tally *tally, const char *what,
                          st_pass *pass, st_error *err)
{
    t->ggml.select.k = k;
    return pass_of(t, t->run, tally, what, pass, err);
}

st_status sti_tracer_keep(sti_tracer *t, const st_pass *pass, st_error *err)
{
    size_t bytes = (size_t)pass->n_last * (size_t)pass->n_vocab * sizeof(float);
    if (t->reference == NULL)
        t->reference = sti_alloc(bytes);
    if (t->reference == NULL)
        return sti_fail_mem(err, bytes);
    memcpy(t->reference, pass->logits, bytes);
    return ST_OK;
}

bool sti_tracer_agrees(const sti_tracer *t, const st_agreement *next)
{
    return next->top_a == next->top_b || next->margin_a < t->report->floor_margin;
}

/* ---- the floor: what two exact paths differ by ----------------------------------------------- */

/* Measured on short prompts (docs/method/fidelity.md); a logit moves by about sqrt(2 KL) nats. */
static void assume_floor(sti_tracer *t)
{
    const char *weights = t->model->info.weights;
    double kl = strstr(weights, "F32") != NULL   ? 1e-5
                : strstr(weights, "F16") != NULL ? 1e-3
                                                 : 1e-2;
    t->report->floor_kl = kl;
    t->report->floor_margin = 2.0 * sqrt(kl);
}

/* Runs ggml's own attention and keeps its predictions as the reference until the dense run has
 * come. */
static st_status stock_run(sti_tracer *t, const int32_t *token, int64_t n_tok, st_error *err)
{
    st_run_params rp = t->p->run;
    st_run *run = NULL;
    st_pass pass;
    st_status status = ST_OK;
    rp.stock_attention = true;
    if (!sti_checkpoint_has_next(t->checkpoint))
        STI_TRY(sti_run_create(t->model, token, n_tok, &rp, t->checkpoint != NULL, &run, err));
    status = pass_of(t, run, NULL, "stock attention", &pass, err);
    if (status == ST_OK)
        status = sti_tracer_keep(t, &pass, err);
    st_run_free(run);
    return status;
}

static void measure_floor(sti_tracer *t, const st_pass *dense)
{
    st_agreement there, back;
    st_compare(t->reference, dense->logits, dense->n_last, dense->n_vocab, &there);
    st_compare(dense->logits, t->reference, dense->n_last, dense->n_vocab, &back);
    t->report->floor_kl = there.kl;
    t->report->floor_margin = there.top_a == there.top_b ? fabs(there.margin_a - back.margin_a)
                                                         : there.margin_a + back.margin_a;
    t->report->floor_measured = true;
}

static st_status dense_run(sti_tracer *t, st_error *err)
{
    st_pass pass;
    t->ggml.exact = true;
    STI_TRY(sti_tracer_pass(t, t->ggml.select.k, NULL, "dense run", &pass, err));
    t->ggml.exact = false;
    t->report->seconds_dense = pass.seconds;
    if (t->p->measure_floor)
        measure_floor(t, &pass);
    return sti_tracer_keep(t, &pass, err);
}

/* ---- the recorded run ------------------------------------------------------------------------ */

static st_status write_tokens(st_trace_writer *w, const st_model *m, const int32_t *token,
                              int64_t n_tok, st_error *err)
{
    int64_t *ptr = sti_alloc((size_t)(n_tok + 1) * sizeof *ptr), cap = 0, n = 0;
    char *text = NULL;
    st_status status = ptr != NULL ? ST_OK : sti_fail_mem(err, (size_t)(n_tok + 1) * sizeof *ptr);
    for (int64_t i = 0; status == ST_OK && i < n_tok; i++) {
        char piece[256];
        int len = st_model_piece(m, token[i], piece, sizeof piece);
        ptr[i] = n;
        if (!sti_grow((void **)&text, &cap, n + len + 1, 1)) {
            status = sti_fail_mem(err, (size_t)(n + len + 1));
        } else {
            if (len <= (int)sizeof piece)
                memcpy(text + n, piece, (size_t)len);
            else
                st_model_piece(m, token[i], text + n, len);
            n += len;
        }
    }
    if (status == ST_OK) {
        ptr[n_tok] = n;
        status = st_trace_writer_tokens(w, token, ptr, text != NULL ? text : "", err);
    }
    sti_free(ptr);
    sti_free(text);
    return status;
}

static void fill_report(sti_tracer *t, const sti_tally *tally, const st_pass *pass)
{
    st_trace_report *r = t->report;
    r->k = fmin(t->ggml.select.k, (double)sti_ceil_div(r->n_tok, r->block_k));
    r->scanned = tally->scanned;
    r->seconds_final = pass->seconds;
    r->seconds_select = (double)pass->stats.select_ns * 1e-9;
    r->seconds_attend = (double)pass->stats.attend_ns * 1e-9;
    r->seconds_certify = (double)pass->stats.certify_ns * 1e-9;
    r->seconds_linear = (double)pass->stats.linear_ns * 1e-9;
    r->seconds_keys = (double)pass->stats.keys_ns * 1e-9;
    r->recall_last = sti_tally_last_recall(tally);
    sti_tally_pairs(tally, &r->kept_pairs, &r->causal_pairs, &r->n_exact_layer);
    r->pruned_fraction =
        r->causal_pairs > 0 ? 1.0 - (double)r->kept_pairs / (double)r->causal_pairs : 0.0;
    if (t->reference != NULL) {
        st_compare(t->reference, pass->logits, pass->n_last, pass->n_vocab, &r->next);
        r->agree = sti_tracer_agrees(t, &r->next);
    } else {
        st_compare(pass->logits, pass->logits, pass->n_last, pass->n_vocab, &r->next);
    }
}

static void fill_resources(st_trace_report *r, int64_t start)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    r->peak_rss_bytes = (int64_t)usage.ru_maxrss * 1024;
    r->seconds_total = since(start);
}

/* Before the run: what is salvaged of it should still say what it was. A recording that goes on has
 * it. */
static st_status write_recipe(sti_tracer *t, st_trace_writer *w, const int32_t *token,
                              int64_t n_tok, st_error *err)
{
    st_trace_mark mark;
    if (sti_checkpoint_mark(t->checkpoint, &mark))
        return ST_OK;
    char *recipe = sti_recipe_json(t->model, token, n_tok, t->p, t->ggml.select.k);
    st_status status =
        recipe != NULL ? st_trace_writer_json(w, "recipe", recipe, err) : sti_fail_mem(err, 4096);
    sti_free(recipe);
    return status;
}

static st_status write_result(sti_tracer *t, st_trace_writer *w, st_error *err)
{
    char *result;
    st_status status = st_trace_report_json(t->model, t->report, &result, err);
    if (status == ST_OK)
        status = st_trace_writer_json(w, "result", result, err);
    st_text_free(result);
    return status;
}

/* What the recorded run gives beside the trace. */
static st_status collect(sti_tracer *t, sti_surprise *surprise, st_error *err)
{
    if (t->p->hidden_out != NULL)
        STI_TRY(st_run_hidden(t->run, &t->p->hidden, t->p->hidden_out, err));
    return t->p->surprise != NULL ? sti_surprise_begin(surprise, t->run, err) : ST_OK;
}

/* Whether a layer that is to be recorded has come by. */
static bool any_chosen(const st_trace_options *o, const sti_tally *tally)
{
    bool any = o->n_layer == 0;
    for (int64_t i = 0; i < tally->n_layer; i++)
        for (int64_t k = 0; k < o->n_layer; k++)
            any = any || o->layer[k] == tally->layer[i].layer;
    return any;
}

static st_status recorded_run(sti_tracer *t, st_trace_writer *writer, const int32_t *token,
                              int64_t n_tok, int64_t start, st_error *err)
{
    sti_tally tally = {.writer = writer};
    sti_output_grams grams = {0};
    sti_surprise surprise = {token, n_tok, t->model->info.n_vocab, t->p->surprise};
    st_trace_report *r = t->report;
    st_pass pass;
    st_status status = writer != NULL ? write_recipe(t, writer, token, n_tok, err) : ST_OK;
    if (status == ST_OK)
        status = collect(t, &surprise, err);
    if (status == ST_OK && t->p->value && writer != NULL)
        status = sti_output_grams_read(t->model, &grams, err);
    t->ggml.gram = grams.layer;
    t->ggml.n_gram = grams.n;
    if (status == ST_OK)
        status = sti_tracer_pass(t, t->ggml.select.k, &tally, "recorded run", &pass, err);
    sti_output_grams_free(&grams);
    r->part_left = writer != NULL && (status == ST_OK || tally.went_on);
    if (status == ST_OK && !any_chosen(&t->p->record, &tally)) {
        status = sti_fail(err, ST_ERR_ARG, t->p->record.layer[0],
                          "the chosen layers have no attention that can be traced: layer %d%s",
                          t->p->record.layer[0], t->p->record.n_layer > 1 ? ", ..." : "");
        r->part_left = false;
    }
    if (status == ST_OK)
        status = sti_tally_certificate(&tally, &r->has_cert, &r->cert, err);
    if (status == ST_OK) {
        fill_report(t, &tally, &pass);
        fill_resources(r, start);
    }
    sti_tally_free(&tally);
    if (status == ST_OK && writer != NULL)
        status = write_result(t, writer, err);
    if (status == ST_OK && writer != NULL)
        status = st_trace_writer_finish(writer, &r->trace_bytes, err);
    fill_resources(r, start);
    return status;
}

/* ---- the call -------------------------------------------------------------------------------- */

static void begin_report(sti_tracer *t, int64_t n_tok)
{
    st_trace_report *r = t->report;
    st_run_params rp = t->p->run;
    rp.every = rp.every || t->p->surprise != NULL;
    *r = (st_trace_report){.n_tok = n_tok,
                           .n_layer = t->model->info.n_layer,
                           .n_head = t->model->info.n_head,
                           .block_q = t->p->select.bq,
                           .block_k = t->p->select.bk,
                           .select = t->p->select.method,
                           .budget = t->p->budget,
                           .mass = t->p->budget == ST_BUDGET_MASS ? (double)t->p->select.mass : 0.0,
                           .against = t->p->against};
    if (r->against == ST_AGAINST_DEFAULT)
        r->against = n_tok <= DENSE_MAX_TOK ? ST_AGAINST_DENSE : ST_AGAINST_STABLE;
    t->ggml = st_ggml_params_default();
    t->ggml.select = t->p->select;
    t->ggml.exact_below = st_model_exact_below(t->model, n_tok, &rp);
    t->ggml.n_tok = n_tok;
    t->ggml.cert_rows = t->p->cert_rows;
    t->ggml.seed = t->p->seed;
    t->ggml.lse = t->p->record.lse;
    t->ggml.edit = t->p->edit;
    t->ggml.n_edit = t->p->n_edit;
    t->ggml.group = t->p->record.group;
    t->ggml.n_group = t->p->record.n_group;
    t->ggml.row = t->p->row;
    t->ggml.n_row = t->p->n_row;
    t->ggml.exact = t->p->n_row > 0 && t->p->row_exact;
    assume_floor(t);
}

static st_status create_run(sti_tracer *t, const int32_t *token, int64_t n_tok, st_error *err)
{
    st_run_params rp = t->p->run;
    rp.every = rp.every || t->p->surprise != NULL;
    return sti_run_create(t->model, token, n_tok, &rp, t->checkpoint != NULL, &t->run, err);
}

/* Everything before the recorded run. */
static st_status prepare(sti_tracer *t, const int32_t *token, int64_t n_tok, st_error *err)
{
    st_trace_report *r = t->report;
    int64_t search;
    double earlier;
    if (t->p->measure_floor && r->against != ST_AGAINST_DENSE)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "measuring the floor needs a dense run to compare with");
    if (t->p->measure_floor && t->p->n_edit > 0)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "ggml's own attention, which measuring the floor "
                        "compares with, cannot run under edits");
    if (t->p->budget == ST_BUDGET_PRUNED) /* out of reach? then before any run */
        STI_TRY(st_select_k_for_pruned(&t->p->select, 0, n_tok, t->ggml.exact_below, t->p->pruned,
                                       &t->ggml.select.k, err));
    if (t->p->measure_floor)
        STI_TRY(stock_run(t, token, n_tok, err));
    STI_TRY(create_run(t, token, n_tok, err));
    if (r->against == ST_AGAINST_DENSE)
        STI_TRY(dense_run(t, err));
    search = llama_time_us();
    earlier = t->earlier;
    STI_TRY(sti_find_budget(t, err));
    r->seconds_search = since(search) + t->earlier - earlier;
    return ST_OK;
}

/* Rows token by token: nothing else of the run is recorded, so nothing else may be wanted. */
static st_status check_rows(const st_trace_params *p, int64_t n_tok, st_error *err)
{
    if (p->n_row == 0)
        return ST_OK;
    if ((p->budget != ST_BUDGET_K && p->budget != ST_BUDGET_MASS) ||
        p->against != ST_AGAINST_NONE || p->checkpoint != NULL || p->record.n_group > 0)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "rows token by token want a budget k or a mass, nothing to agree with, no "
                        "checkpoint and no groups");
    return st_groups_check(p->row, p->n_row, n_tok, err);
}

/* The checkpoint, and the trace's writer: both before any run, so that a path that cannot be
 * written shows at once. */
static st_status open_files(sti_tracer *t, const int32_t *token, int64_t n_tok, const char *path,
                            st_trace_writer **w, st_error *err)
{
    const st_trace_params *p = t->p;
    st_trace_mark mark;
    if (p->checkpoint != NULL && (p->hidden_out != NULL || p->surprise != NULL))
        return sti_fail(err, ST_ERR_ARG, -1,
                        "a checkpoint keeps neither hidden states nor surprises");
    if (p->checkpoint != NULL && path == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "a checkpoint goes with a trace that is written");
    if (p->resume && p->checkpoint == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "resume from what? checkpoint is NULL");
    STI_TRY(
        sti_checkpoint_open(t->model, token, n_tok, p, t->report->against, &t->checkpoint, err));
    if (path == NULL)
        return ST_OK;
    if (sti_checkpoint_mark(t->checkpoint, &mark))
        return st_trace_writer_resume(path, n_tok, p->select.bq, p->select.bk, &p->record, &mark, w,
                                      err);
    STI_TRY(st_trace_writer_create(path, n_tok, p->n_row > 0 ? 1 : p->select.bq,
                                   p->n_row > 0 ? 1 : p->select.bk, &p->record, w, err));
    return write_tokens(*w, t->model, token, n_tok, err);
}

st_status st_trace_model(st_model *model, const int32_t *token, int64_t n_tok,
                         const st_trace_params *p, const char *path, st_trace_report *report,
                         st_error *err)
{
    sti_tracer t = {.model = model, .p = p, .report = report};
    int64_t start = llama_time_us();
    st_trace_writer *writer = NULL;
    st_trace_mark mark;
    st_status status = st_select_params_check(&p->select, err);
    bool recording, opened;
    begin_report(&t, n_tok);
    if (status == ST_OK)
        status = sti_check_tokens(model, token, n_tok, err);
    if (status == ST_OK)
        status =
            st_edits_check(p->edit, p->n_edit, model->info.n_layer, model->info.n_head, n_tok, err);
    if (status == ST_OK)
        status = check_rows(p, n_tok, err);
    if (status == ST_OK)
        status = open_files(&t, token, n_tok, path, &writer, err);
    opened = status == ST_OK;
    start -= (int64_t)(sti_checkpoint_seconds(t.checkpoint) * 1e6);
    if (status == ST_OK)
        status = prepare(&t, token, n_tok, err);
    if (status == ST_OK)
        status = recorded_run(&t, writer, token, n_tok, start, err);
    report->part_left = report->part_left && status != ST_OK;
    recording = sti_checkpoint_mark(t.checkpoint, &mark);
    report->checkpoint_left = sti_checkpoint_close(t.checkpoint, status == ST_OK) && opened;
    st_trace_writer_free(writer, report->part_left || recording);
    st_run_free(t.run);
    sti_free(t.reference);
    return status;
}
