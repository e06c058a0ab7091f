/* SPDX-License-Identifier: MIT
 *
 * suppress.c — sentence after sentence denied to all that comes behind it. The plain run leaves its
 * cache; each source runs on from its first token. Sources go from the last to the first: a run
 * spoils the cache behind its source only, which no later run needs.
 */
#include <math.h>

#include "base/util.h"
#include "engine/engine_int.h"
#include "engine/top.h"

#define BATCH                                                                                      \
    512 /* runs begin at multiples of it: every token is always in the same micro-batch,           \
           so that what nothing reached comes out to the bit as in the plain run */

struct suppress {
    const st_suppress_params *p;
    const st_group *span;
    int64_t n, n_tok, n_batch;
    st_run *run;
    st_ggml_params ggml;
    sti_top top;
    float *kl;           /* [n_tok] ln(KL + 1e-9) of the source at hand */
    int64_t from;        /* where the run at hand begins */
    int64_t done, total; /* tokens of all runs, for progress */
    char what[64];
    st_suppress_report *report;
};

st_suppress_params st_suppress_params_default(void)
{
    st_suppress_params p = {.select = st_select_params_default(),
                            .pruned = 0.97,
                            .temperature = 0.6,
                            .n_top = 256,
                            .run = st_run_params_default()};
    p.select.method = ST_SELECT_SCAN;
    return p;
}

void st_suppress_center(const float *effect, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = 0.0;
        int64_t count = 0;
        for (int64_t j = 0; j < n; j++)
            if (!isnan(effect[i * n + j])) {
                sum += (double)effect[i * n + j];
                count++;
            }
        for (int64_t j = 0; j < n; j++)
            out[i * n + j] = effect[i * n + j] - (count > 0 ? (float)(sum / (double)count) : 0.0f);
    }
}

/* ---- runs ------------------------------------------------------------------------------------ */

static int64_t begin_of(const struct suppress *x, int64_t j)
{
    return x->span[j].begin / x->n_batch * x->n_batch;
}

/* The job's progress out of a run's. */
static bool progress(void *ctx, const char *what, int64_t done, int64_t total)
{
    const struct suppress *x = ctx;
    const st_progress *to = &x->p->run.progress;
    (void)what;
    (void)total;
    return to->fn == NULL || to->fn(to->ctx, x->what, x->done + done - x->from, x->total);
}

static st_status keep_plain(void *ctx, int64_t pos, int64_t n, const float *logits, st_error *err)
{
    struct suppress *x = ctx;
    for (int64_t i = 0; i < n; i++)
        STI_TRY(sti_top_keep(&x->top, pos + i, logits + i * x->top.n_vocab, err));
    return ST_OK;
}

static st_status compare(void *ctx, int64_t pos, int64_t n, const float *logits, st_error *err)
{
    struct suppress *x = ctx;
    for (int64_t i = 0; i < n; i++) {
        double kl = sti_top_kl(&x->top, pos + i, logits + i * x->top.n_vocab);
        if (isnan(kl))
            return sti_fail(err, ST_ERR_MODEL, pos + i,
                            "the model's prediction after token %lld is not a number",
                            (long long)(pos + i));
        x->kl[pos + i] = (float)log(kl + 1e-9);
    }
    return ST_OK;
}

static st_status plain_run(struct suppress *x, st_error *err)
{
    st_pass pass;
    snprintf(x->what, sizeof x->what, "plain run");
    STI_TRY(st_run_predictions(x->run, 0, keep_plain, x, err));
    STI_TRY(st_run_pass(x->run, &x->ggml, NULL, x->what, &pass, err));
    x->done += x->n_tok;
    x->report->seconds_plain = pass.seconds;
    return ST_OK;
}

/* Column j of effect. */
static st_status suppress_one(struct suppress *x, int64_t j, float *effect, st_error *err)
{
    st_edit deny = {.kind = ST_EDIT_DENY,
                    .layer = -1,
                    .head = -1,
                    .q_begin = x->span[j].begin,
                    .q_end = x->n_tok,
                    .key_begin = x->span[j].begin,
                    .key_end = x->span[j].end};
    int64_t from = begin_of(x, j);
    st_pass pass;
    snprintf(x->what, sizeof x->what, "sentence %lld of %lld", (long long)j + 1, (long long)x->n);
    x->from = from;
    x->ggml.edit = &deny;
    x->ggml.n_edit = 1;
    STI_TRY(st_run_predictions(x->run, x->span[j].begin, compare, x, err));
    STI_TRY(st_run_again(x->run, &x->ggml, NULL, from, x->what, &pass, err));
    x->done += x->n_tok - from;
    x->report->n_tok_run += x->n_tok - pass.first;
    x->report->n_run++;
    for (int64_t i = j + 1; i < x->n; i++) {
        double sum = 0.0;
        for (int64_t t = x->span[i].begin; t < x->span[i].end; t++)
            sum += (double)x->kl[t];
        effect[i * x->n + j] = (float)(sum / (double)(x->span[i].end - x->span[i].begin));
    }
    return ST_OK;
}

static bool wanted(const struct suppress *x, int64_t j)
{
    return x->p->have == NULL || !x->p->have[j];
}

/* The last span has nothing behind it: its column is NaN and needs no run. */
static st_status all_runs(struct suppress *x, float *effect, st_error *err)
{
    for (int64_t i = 0; i < x->n; i++)
        for (int64_t j = 0; j < x->n; j++)
            if (wanted(x, j))
                effect[i * x->n + j] = NAN;
    x->total = x->n_tok;
    for (int64_t j = 0; j + 1 < x->n; j++)
        x->total += wanted(x, j) ? x->n_tok - begin_of(x, j) : 0;
    if (x->total > x->n_tok)
        STI_TRY(plain_run(x, err));
    for (int64_t j = x->n - 1; j >= 0; j--) {
        if (!wanted(x, j))
            continue;
        if (j + 1 < x->n)
            STI_TRY(suppress_one(x, j, effect, err));
        if (x->p->done != NULL)
            STI_TRY(x->p->done(x->p->done_ctx, j, err));
    }
    return ST_OK;
}

/* ---- the call -------------------------------------------------------------------------------- */

static st_status check(const struct suppress *x, const st_model_info *info, st_error *err)
{
    const st_suppress_params *p = x->p;
    STI_TRY(st_select_params_check(&p->select, err));
    STI_TRY(st_groups_check(x->span, x->n, x->n_tok, err));
    if (!(p->temperature > 0.0 && isfinite(p->temperature)))
        return sti_fail(err, ST_ERR_ARG, -1, "temperature is %g, must be above 0", p->temperature);
    if (p->n_top < 1 || p->n_top >= info->n_vocab)
        return sti_fail(err, ST_ERR_ARG, -1, "n_top is %d, must be 1..%d", p->n_top,
                        info->n_vocab - 1);
    return ST_OK;
}

static st_status prepare(struct suppress *x, st_model *model, const int32_t *token, st_error *err)
{
    st_run_params rp = x->p->run;
    x->ggml = st_ggml_params_default();
    x->ggml.select = x->p->select;
    x->ggml.exact = x->p->exact;
    x->ggml.exact_below = model->info.n_swa;
    x->ggml.cert_rows = 0;
    if (!x->p->exact && x->p->pruned > 0.0)
        STI_TRY(st_select_k_for_pruned(&x->p->select, 0, x->n_tok, x->ggml.exact_below,
                                       x->p->pruned, &x->ggml.select.k, err));
    x->report->k = x->p->exact ? 0.0 : x->ggml.select.k;
    x->n_batch = rp.n_ubatch > 0 ? sti_round_up(rp.n_ubatch, 256) : BATCH;
    rp.n_ubatch = (int)x->n_batch;
    rp.n_last = 1;
    rp.n_more = 0;
    rp.every = true;
    rp.progress = (st_progress){progress, x};
    x->kl = sti_alloc((size_t)x->n_tok * sizeof *x->kl);
    if (x->kl == NULL)
        return sti_fail_mem(err, (size_t)x->n_tok * sizeof *x->kl);
    STI_TRY(
        sti_top_make(&x->top, x->n_tok, model->info.n_vocab, x->p->n_top, x->p->temperature, err));
    return st_run_create(model, token, x->n_tok, &rp, &x->run, err);
}

st_status st_suppress(st_model *model, const int32_t *token, int64_t n_tok, const st_group *span,
                      int64_t n, const st_suppress_params *p, float *effect,
                      st_suppress_report *report, st_error *err)
{
    struct suppress x = {.p = p, .span = span, .n = n, .n_tok = n_tok, .report = report};
    int64_t start = llama_time_us();
    st_status status;
    *report = (st_suppress_report){.k = 0};
    STI_TRY(sti_check_tokens(model, token, n_tok, err));
    STI_TRY(check(&x, &model->info, err));
    status = prepare(&x, model, token, err);
    if (status == ST_OK)
        status = all_runs(&x, effect, err);
    report->seconds = (double)(llama_time_us() - start) * 1e-6;
    st_run_free(x.run);
    sti_top_free(&x.top);
    sti_free(x.kl);
    return status;
}
