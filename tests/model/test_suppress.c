/* SPDX-License-Identifier: MIT
 *
 * test_suppress.c — suppression against runs of its own for every source: the whole text from an
 * empty cache under one edit, all predictions kept, divergences over the whole vocabulary.
 */
#include <math.h>

#include "base/util.h"
#include "llama_host.h"

#define N_TOK 400
#define N 5
#define UBATCH 256

static const st_group span[N] = {{10, 60}, {60, 64}, {150, 200}, {270, 300}, {330, 390}};
static st_model *model;
static int32_t *text;

static st_suppress_params params(bool exact)
{
    st_suppress_params p = st_suppress_params_default();
    p.exact = exact;
    p.n_top = 4000;
    p.run.n_ubatch = UBATCH;
    return p;
}

/* ---- the reference --------------------------------------------------------------------------- */

/* All predictions with source j denied (-1: none); free(). */
static float *predictions(int j)
{
    st_run_params rp = st_run_params_default();
    st_ggml_params gp = st_ggml_params_default();
    st_edit deny = {ST_EDIT_DENY, -1, -1, 0, N_TOK, 0, 0};
    st_run *run = NULL;
    st_pass pass;
    float *all;
    rp.n_last = N_TOK;
    rp.n_ubatch = UBATCH;
    gp.exact = true;
    if (j >= 0) {
        deny.q_begin = deny.key_begin = span[j].begin;
        deny.key_end = span[j].end;
        gp.edit = &deny;
        gp.n_edit = 1;
    }
    CHECK_STATUS(st_run_create(model, text, N_TOK, &rp, &run, NULL), ST_OK);
    CHECK_STATUS(st_run_pass(run, &gp, NULL, "reference", &pass, NULL), ST_OK);
    all = malloc((size_t)N_TOK * (size_t)pass.n_vocab * sizeof *all);
    memcpy(all, pass.logits, (size_t)N_TOK * (size_t)pass.n_vocab * sizeof *all);
    st_run_free(run);
    return all;
}

static double log_sum(const float *x)
{
    double sum = 0.0, most = -INFINITY;
    for (int v = 0; v < model->info.n_vocab; v++)
        most = fmax(most, (double)x[v]);
    for (int v = 0; v < model->info.n_vocab; v++)
        sum += exp(((double)x[v] - most) / 0.6);
    return most / 0.6 + log(sum);
}

static double kl(const float *a, const float *b)
{
    double za = log_sum(a), zb = log_sum(b), sum = 0.0;
    for (int v = 0; v < model->info.n_vocab; v++) {
        double p = (double)a[v] / 0.6 - za;
        sum += exp(p) * (p - ((double)b[v] / 0.6 - zb));
    }
    return fmax(sum, 0.0);
}

static double wanted(const float *plain, const float *denied, int i)
{
    double sum = 0.0;
    for (int64_t t = span[i].begin; t < span[i].end; t++)
        sum += log(kl(plain + t * model->info.n_vocab, denied + t * model->info.n_vocab) + 1e-9);
    return sum / (double)(span[i].end - span[i].begin);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static st_status count_up(void *ctx, int64_t j, st_error *err)
{
    int *order = ctx;
    (void)err;
    CHECK_EQ(j, N - 1 - order[0]);
    order[0]++;
    return ST_OK;
}

static void check_values(float *effect)
{
    float *plain = predictions(-1);
    st_suppress_params p = params(true);
    st_suppress_report r;
    int order[1] = {0};
    p.done = count_up;
    p.done_ctx = order;
    CHECK_STATUS(st_suppress(model, text, N_TOK, span, N, &p, effect, &r, NULL), ST_OK);
    CHECK_EQ(order[0], N);
    CHECK_EQ(r.n_run, N - 1);
    CHECK_EQ(r.n_tok_run, 3 * N_TOK + N_TOK - 256);
    for (int j = 0; j < N; j++) {
        float *denied = j + 1 < N ? predictions(j) : NULL;
        for (int i = 0; i < N; i++) {
            float x = effect[i * N + j];
            if (i <= j) {
                CHECK(isnan(x));
                continue;
            }
            printf("%d <- %d: %.4f, wanted %.4f\n", i, j, (double)x, wanted(plain, denied, i));
            CHECK(fabs((double)x - wanted(plain, denied, i)) < 0.02);
            CHECK(x > -20.0f); /* every source is seen by every later span */
        }
        free(denied);
    }
    free(plain);
}

/* Every block kept gives what exact attention gives. */
static void check_sparse(const float *effect)
{
    st_suppress_params p = params(false);
    st_suppress_report r;
    float x[N * N];
    bool have[N] = {false, false, true, true, true};
    p.pruned = 0;
    p.select.k = N_TOK;
    p.have = have;
    memcpy(x, effect, sizeof x);
    CHECK_STATUS(st_suppress(model, text, N_TOK, span, N, &p, x, &r, NULL), ST_OK);
    CHECK_EQ(r.n_run, 2);
    for (int c = 0; c < N * N; c++)
        CHECK(isnan(x[c]) == isnan(effect[c]) && !(fabsf(x[c] - effect[c]) > 0.1f));
}

static void check_have(const float *effect)
{
    st_suppress_params p = params(true);
    st_suppress_report r;
    float x[N * N];
    bool have[N] = {true, true, true, true, true};
    for (int c = 0; c < N * N; c++)
        x[c] = (float)c;
    p.have = have;
    CHECK_STATUS(st_suppress(model, text, N_TOK, span, N, &p, x, &r, NULL), ST_OK);
    CHECK_EQ(r.n_run, 0);
    for (int c = 0; c < N * N; c++)
        CHECK(x[c] == (float)c);
    have[3] = false; /* one column alone: as among all */
    CHECK_STATUS(st_suppress(model, text, N_TOK, span, N, &p, x, &r, NULL), ST_OK);
    CHECK_EQ(r.n_run, 1);
    CHECK(x[4 * N + 3] == effect[4 * N + 3]);
    CHECK(isnan(x[2 * N + 3]) && x[4 * N + 2] == (float)(4 * N + 2));
}

struct stop {
    int64_t last, total;
};

static bool until(void *ctx, const char *what, int64_t done, int64_t total)
{
    struct stop *s = ctx;
    CHECK(done >= s->last && done <= total);
    CHECK(s->total == 0 || s->total == total);
    s->last = done;
    s->total = total;
    return strncmp(what, "sentence 3", 10) != 0;
}

static st_status remember(void *ctx, int64_t j, st_error *err)
{
    (void)err;
    ((bool *)ctx)[j] = true;
    return ST_OK;
}

static void check_stop(const float *effect)
{
    st_suppress_params p = params(true);
    st_suppress_report r;
    struct stop stop = {0};
    bool done[N] = {false};
    float x[N * N];
    p.run.progress = (st_progress){until, &stop};
    p.done = remember;
    p.done_ctx = done;
    CHECK_STATUS(st_suppress(model, text, N_TOK, span, N, &p, x, &r, NULL), ST_ERR_CANCELLED);
    CHECK(done[4] && done[3] && !done[2] && !done[1] && !done[0]);
    CHECK(x[4 * N + 3] == effect[4 * N + 3]);
}

static void check_refused(void)
{
    st_suppress_params p = params(true);
    st_suppress_report r;
    st_error err;
    float x[4];
    const st_group wrong[2] = {{5, 9}, {8, 12}}, beyond[2] = {{5, 9}, {9, N_TOK + 1}};
    CHECK_STATUS(st_suppress(model, text, N_TOK, wrong, 2, &p, x, &r, &err), ST_ERR_ARG);
    CHECK_STATUS(st_suppress(model, text, N_TOK, beyond, 2, &p, x, &r, &err), ST_ERR_ARG);
    p.temperature = 0.0;
    CHECK_STATUS(st_suppress(model, text, N_TOK, span, 2, &p, x, &r, &err), ST_ERR_ARG);
    p = params(true);
    p.n_top = model->info.n_vocab;
    CHECK_STATUS(st_suppress(model, text, N_TOK, span, 2, &p, x, &r, &err), ST_ERR_ARG);
}

static void check_center(void)
{
    const float nan = NAN, x[9] = {nan, nan, nan, 2, nan, nan, 1, 4, nan};
    float y[9];
    st_suppress_center(x, 3, y);
    CHECK(isnan(y[0]) && isnan(y[4]) && isnan(y[8]));
    CHECK(y[3] == 0.0f && y[6] == -1.5f && y[7] == 1.5f);
}

int main(void)
{
    float effect[N * N];
    int64_t n;
    model = host_open("ST_SMOLLM2", ST_WEIGHTS_BF16);
    text = host_text(model, &n);
    CHECK(n > N_TOK);
    check_values(effect);
    check_sparse(effect);
    check_have(effect);
    check_stop(effect);
    check_refused();
    check_center();
    st_tokens_free(text);
    st_model_free(model);
    return check_report();
}
