/* SPDX-License-Identifier: MIT
 *
 * answer.c — teacher forcing: one sequence of prompt and answer, the dense pass, pruned passes
 * beside it.
 *
 * The dense pass also tells what the answer's rows read: rows before them run as plain exact
 * attention, they themselves run over a selection that keeps every block, which is exact too and
 * gives the mass block by block.
 */
#include <math.h>

#include "base/util.h"
#include "engine/engine_int.h"
#include "engine/needle.h"

struct st_answer {
    st_run *run;
    st_ggml_params ggml;
    int64_t n_tok, exact_below; /* of the sequence that runs */
    int n_answer, n_vocab;
    float *dense; /* [n_answer, n_vocab] */
    int32_t *top;
    sti_needle needle;
    sti_tally tally; /* of the pass at hand */
};

st_answer_params st_answer_params_default(void)
{
    st_select_params s = st_select_params_default();
    return (st_answer_params){.run = st_run_params_default(),
                              .block_q = s.bq,
                              .block_k = s.bk,
                              .cert_rows = 8,
                              .retrieval = 0.1};
}

/* ---- sinks ----------------------------------------------------------------------------------- */

static st_status note_chunk(void *ctx, const st_chunk *c, st_error *err)
{
    st_answer *a = ctx;
    return sti_needle_note(&a->needle, c) ? ST_OK : sti_fail_mem(err, sizeof *a->needle.item);
}

static st_status count_chunk(void *ctx, const st_chunk *c, st_error *err)
{
    st_answer *a = ctx;
    st_sink tally = sti_tally_sink(&a->tally);
    sti_needle_count(&a->needle, c);
    return tally.chunk(tally.ctx, c, err);
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* The most probable token at each position, ties to the lower id; the least lead of one over the
 * second, in nats (differences of logits are those of log-probabilities). */
static double find_top(const float *logits, int n, int n_vocab, int32_t *top)
{
    float least = INFINITY;
    for (int i = 0; i < n; i++) {
        const float *x = logits + (int64_t)i * n_vocab;
        float second = -INFINITY;
        top[i] = 0;
        for (int32_t v = 1; v < n_vocab; v++) {
            bool more = x[v] > x[top[i]];
            float other = more ? x[top[i]] : x[v];
            second = other > second ? other : second;
            top[i] = more ? v : top[i];
        }
        least = fminf(least, x[top[i]] - second);
    }
    return (double)least;
}

static st_status dense_pass(st_answer *a, st_answer_pass *result, st_error *err)
{
    st_ggml_params p = a->ggml;
    st_sink sink = {note_chunk, a};
    st_pass pass;
    double margin;
    if (a->needle.n_span > 0) {
        p.exact_below = sti_max(a->needle.first_row, a->exact_below);
        p.select.method = ST_SELECT_WINDOW;
        p.select.window_blk = (int)sti_ceil_div(a->n_tok, p.select.bk);
        p.select.k = p.select.window_blk;
        p.cert_rows = 0;
    } else {
        p.exact = true;
    }
    STI_TRY(st_run_pass(a->run, &p, a->needle.n_span > 0 ? &sink : NULL, "dense run", &pass, err));
    memcpy(a->dense, pass.logits, (size_t)a->n_answer * (size_t)a->n_vocab * sizeof *a->dense);
    margin = find_top(a->dense, a->n_answer, a->n_vocab, a->top);
    *result = (st_answer_pass){.n_answer = a->n_answer,
                               .top = a->top,
                               .margin = margin,
                               .n_same = a->n_answer,
                               .recall = 1.0,
                               .n_retrieval = a->needle.n,
                               .n_needle_kept = a->needle.n,
                               .seconds = pass.seconds};
    return ST_OK;
}

static st_status check(const st_answer_params *p, int64_t n_tok, int64_t n_answer, st_error *err)
{
    if (n_answer < 1 || n_answer >= n_tok || n_answer > 4096)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "n_answer is %lld of n_tok %lld, must be 1..4096 and less than all",
                        (long long)n_answer, (long long)n_tok);
    for (int64_t i = 0; i < p->n_needle; i++)
        if (p->needle[2 * i] < 0 || p->needle[2 * i] >= p->needle[2 * i + 1] ||
            p->needle[2 * i + 1] > n_tok)
            return sti_fail(err, ST_ERR_ARG, i, "needle %lld is tokens %lld:%lld of %lld",
                            (long long)i, (long long)p->needle[2 * i],
                            (long long)p->needle[2 * i + 1], (long long)n_tok);
    return ST_OK;
}

/* The last token of the answer predicts nothing that is compared, so it does not run. */
st_status st_answer_create(st_model *model, const int32_t *token, int64_t n_tok, int64_t n_answer,
                           const st_answer_params *p, st_answer **answer, st_answer_pass *dense,
                           st_error *err)
{
    st_run_params rp = p->run;
    st_answer_pass result;
    st_answer *a;
    st_status status;
    *answer = NULL;
    STI_TRY(check(p, n_tok, n_answer, err));
    a = sti_calloc(sizeof *a);
    if (a == NULL)
        return sti_fail_mem(err, sizeof *a);
    a->n_tok = n_tok - 1;
    a->exact_below = st_model_exact_below(model, a->n_tok, &p->run);
    a->n_answer = (int)n_answer;
    a->n_vocab = model->info.n_vocab;
    a->ggml = st_ggml_params_default();
    a->ggml.select.bq = p->block_q;
    a->ggml.select.bk = p->block_k;
    a->ggml.cert_rows = p->cert_rows;
    a->ggml.seed = p->seed;
    a->ggml.brief = true;
    a->needle = (sti_needle){.span = p->needle,
                             .n_span = p->n_needle,
                             .bk = p->block_k,
                             .first_row = n_tok - 1 - n_answer,
                             .least = p->retrieval};
    a->dense = sti_alloc((size_t)n_answer * (size_t)a->n_vocab * sizeof *a->dense);
    a->top = sti_alloc((size_t)n_answer * sizeof *a->top);
    rp.n_last = (int)n_answer;
    rp.n_more = 0;
    status = a->dense != NULL && a->top != NULL
                 ? st_select_params_check(&a->ggml.select, err)
                 : sti_fail_mem(err, (size_t)n_answer * (size_t)a->n_vocab * sizeof *a->dense);
    if (status == ST_OK)
        status = st_run_create(model, token, a->n_tok, &rp, &a->run, err);
    if (status == ST_OK)
        status = dense_pass(a, &result, err);
    if (status != ST_OK) {
        st_answer_free(a);
        return status;
    }
    if (dense != NULL)
        *dense = result;
    *answer = a;
    return ST_OK;
}

void st_answer_free(st_answer *a)
{
    if (a == NULL)
        return;
    st_run_free(a->run);
    sti_needle_free(&a->needle);
    sti_tally_free(&a->tally);
    sti_free(a->dense);
    sti_free(a->top);
    sti_free(a);
}

static st_status fill(st_answer *a, const st_pass *pass, st_answer_pass *result, st_error *err)
{
    st_agreement next;
    st_certificate cert;
    bool has_cert;
    int n_exact;
    double margin;
    STI_TRY(sti_tally_certificate(&a->tally, &has_cert, &cert, err));
    margin = find_top(pass->logits, a->n_answer, a->n_vocab, a->top);
    st_compare(a->dense, pass->logits, a->n_answer, a->n_vocab, &next);
    *result = (st_answer_pass){.n_answer = a->n_answer,
                               .top = a->top,
                               .n_same = next.n_same,
                               .kl = next.kl_mean,
                               .margin = margin,
                               .k = a->ggml.select.k,
                               .recall = has_cert ? cert.recall_mean : -1.0,
                               .n_retrieval = a->needle.n_retrieval,
                               .n_needle_kept = a->needle.n_kept,
                               .seconds = pass->seconds};
    sti_tally_pairs(&a->tally, &result->kept_pairs, &result->causal_pairs, &n_exact);
    return ST_OK;
}

st_status st_answer_run(st_answer *a, const st_select_params *select, st_answer_pass *result,
                        st_error *err)
{
    st_sink sink = {count_chunk, a};
    st_pass pass;
    if (select->bq != a->ggml.select.bq || select->bk != a->ggml.select.bk)
        return sti_fail(err, ST_ERR_ARG, -1, "blocks are %d x %d, the answer's are %d x %d",
                        select->bq, select->bk, a->ggml.select.bq, a->ggml.select.bk);
    STI_TRY(st_select_params_check(select, err));
    sti_tally_free(&a->tally);
    a->needle.n_retrieval = a->needle.n_kept = 0;
    a->ggml.select = *select;
    a->ggml.exact_below = a->exact_below;
    if (select->method == ST_SELECT_WINDOW)
        a->ggml.select.window_blk += (int)sti_clamp((int64_t)select->k - st_select_min_k(select), 0,
                                                    (1 << 20) - 1 - select->window_blk);
    STI_TRY(
        st_run_pass(a->run, &a->ggml, &sink, st_select_method_name(select->method), &pass, err));
    return fill(a, &pass, result, err);
}
