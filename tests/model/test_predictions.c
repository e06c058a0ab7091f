/* SPDX-License-Identifier: MIT
 *
 * test_predictions.c — predictions handed over while a pass runs are those that it keeps of its
 * last positions, whatever the micro-batches; and the surprise of every token follows from them.
 */
#include <math.h>

#include "base/util.h"
#include "llama_host.h"

#define N_TOK 200
#define UBATCH 48

static st_model *model;
static int32_t *text;
static float *all; /* [N_TOK, n_vocab] what a pass keeps if it is asked for all positions */

static st_run *make_run(bool every, int n_last)
{
    st_run_params p = st_run_params_default();
    st_run *run = NULL;
    p.every = every;
    p.n_last = n_last;
    p.n_ubatch = UBATCH;
    CHECK_STATUS(st_run_create(model, text, N_TOK, &p, &run, NULL), ST_OK);
    return run;
}

static st_status exact_pass(st_run *run, st_pass *pass, st_error *err)
{
    st_ggml_params p = st_ggml_params_default();
    p.exact = true;
    return st_run_pass(run, &p, NULL, "pass", pass, err);
}

static void keep_all(void)
{
    st_run *run = make_run(false, N_TOK);
    st_pass pass;
    CHECK_STATUS(exact_pass(run, &pass, NULL), ST_OK);
    all = malloc((size_t)N_TOK * (size_t)pass.n_vocab * sizeof *all);
    memcpy(all, pass.logits, (size_t)N_TOK * (size_t)pass.n_vocab * sizeof *all);
    st_run_free(run);
}

/* ---- what comes is what is kept -------------------------------------------------------------- */

struct seen {
    int64_t next, n_call, stop_at;
    double difference;
};

static st_status look(void *ctx, int64_t pos, int64_t n, const float *logits, st_error *err)
{
    struct seen *s = ctx;
    int64_t n_vocab = model->info.n_vocab;
    CHECK_EQ(pos, s->next);
    CHECK(n >= 1 && n <= UBATCH && pos + n <= N_TOK);
    for (int64_t i = 0; i < n * n_vocab; i++)
        s->difference = fmax(s->difference, fabs((double)logits[i] - all[pos * n_vocab + i]));
    s->next = pos + n;
    s->n_call++;
    return s->stop_at > 0 && s->next >= s->stop_at
               ? sti_fail(err, ST_ERR_LIMIT, pos, "enough at %lld", (long long)pos)
               : ST_OK;
}

static void check_from(int64_t from, int n_last, int64_t n_call)
{
    st_run *run = make_run(true, n_last);
    struct seen seen = {.next = from};
    double kept = 0.0;
    st_pass pass;
    CHECK_STATUS(st_run_predictions(run, from, look, &seen, NULL), ST_OK);
    CHECK_STATUS(exact_pass(run, &pass, NULL), ST_OK);
    CHECK_EQ(seen.next, N_TOK);
    CHECK_EQ(seen.n_call, n_call);
    CHECK(seen.difference <= 0.05);
    CHECK_EQ(pass.n_last, n_last);
    for (int64_t i = 0; i < (int64_t)n_last * pass.n_vocab; i++)
        kept = fmax(
            kept, fabs((double)pass.logits[i] - all[(int64_t)(N_TOK - n_last) * pass.n_vocab + i]));
    printf("from %lld, last %d: kept ones differ by %.2g\n", (long long)from, n_last, kept);
    CHECK(kept <= 0.05); /* products of fewer rows round otherwise in BF16 */
    seen = (struct seen){.next = from};
    CHECK_STATUS(st_run_predictions(run, 0, NULL, NULL, NULL), ST_OK);
    CHECK_STATUS(exact_pass(run, &pass, NULL), ST_OK);
    CHECK_EQ(seen.n_call, 0);
    st_run_free(run);
}

static void check_stop(void)
{
    st_run *run = make_run(true, 4);
    struct seen seen = {.stop_at = 100};
    st_pass pass;
    st_error err;
    CHECK_STATUS(st_run_predictions(run, 0, look, &seen, NULL), ST_OK);
    CHECK_STATUS(exact_pass(run, &pass, &err), ST_ERR_LIMIT);
    CHECK_EQ(err.position, 96);
    CHECK_EQ(seen.n_call, 3);
    st_run_free(run);
}

static void check_refused(void)
{
    st_run *run = make_run(false, 4);
    CHECK_STATUS(st_run_predictions(run, 0, look, NULL, NULL), ST_ERR_ARG);
    st_run_free(run);
    run = make_run(true, 4);
    CHECK_STATUS(st_run_predictions(run, -1, look, NULL, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_run_predictions(run, N_TOK, look, NULL, NULL), ST_ERR_ARG);
    st_run_free(run);
}

/* ---- surprise -------------------------------------------------------------------------------- */

static double cost(int64_t i)
{
    const float *row = all + (i - 1) * model->info.n_vocab;
    double sum = 0.0;
    for (int v = 0; v < model->info.n_vocab; v++)
        sum += exp((double)row[v] - (double)row[text[i]]);
    return log(sum);
}

static void check_surprise(void)
{
    float surprise[N_TOK];
    st_trace_params p = st_trace_params_default();
    st_trace_report report;
    double worst = 0.0;
    p.budget = ST_BUDGET_K;
    p.select.k = N_TOK; /* everything */
    p.against = ST_AGAINST_NONE;
    p.run.n_ubatch = UBATCH;
    p.surprise = surprise;
    CHECK_STATUS(st_trace_model(model, text, N_TOK, &p, NULL, &report, NULL), ST_OK);
    CHECK(isnan(surprise[0]));
    for (int64_t i = 1; i < N_TOK; i++)
        worst = fmax(worst, fabs((double)surprise[i] - cost(i)));
    printf("surprise: worst difference %.2g nats\n", worst);
    CHECK(worst < 1e-3);
    p.checkpoint = "no-such-file";
    CHECK_STATUS(st_trace_model(model, text, N_TOK, &p, "no-such-trace", &report, NULL),
                 ST_ERR_ARG);
}

int main(void)
{
    int64_t n;
    model = host_open("ST_SMOLLM2", ST_WEIGHTS_BF16);
    text = host_text(model, &n);
    CHECK(n > N_TOK);
    keep_all();
    check_from(0, 1, 5);
    check_from(0, 60, 5);
    check_from(100, 7, 3);
    check_from(150, 120, 2); /* more is kept than handed over */
    check_stop();
    check_refused();
    check_surprise();
    free(all);
    st_tokens_free(text);
    st_model_free(model);
    return check_report();
}
