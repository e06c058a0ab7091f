/* SPDX-License-Identifier: MIT
 *
 * prefill.c — the whole prefill of a prompt, three ways in one run: stock libllama (its flash
 * attention), our exact attention, our pruned attention (not recorded; budgets pooled and growing,
 * as `trace` has them by default, K in the mean). Same weights, cache type, threads, micro-batch.
 * Shortest of N repetitions each.
 *
 *   bench_prefill MODEL.gguf K REPEATS THREADS STOCK_MAX_TOK PROMPT.txt ...
 *
 * Prompts above STOCK_MAX_TOK tokens run pruned only: the others are quadratic.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sparsetrace/engine.h"

static void die(const st_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static int32_t *read_prompt(const st_model *model, const char *path, int64_t *n_tok)
{
    static char text[1 << 22];
    int32_t *token;
    st_error err;
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
    if (f != NULL)
        fclose(f);
    if (st_model_tokenize(model, text, (int64_t)n, true, &token, n_tok, &err) != ST_OK)
        die(&err);
    return token;
}

/* Shortest of `repeats` passes; the last position's logits go to *logits (free()). */
static double measure(st_model *model, const int32_t *token, int64_t n_tok, bool stock,
                      const st_ggml_params *gp, int repeats, float **logits, int *n_vocab)
{
    st_run_params rp = st_run_params_default();
    double best = 1e30;
    st_run *run;
    st_error err;
    rp.stock_attention = stock;
    rp.n_last = 1;
    if (st_run_create(model, token, n_tok, &rp, &run, &err) != ST_OK)
        die(&err);
    for (int i = 0; i < repeats; i++) {
        st_pass pass;
        if (st_run_pass(run, gp, NULL, "", &pass, &err) != ST_OK)
            die(&err);
        best = pass.seconds < best ? pass.seconds : best;
        *n_vocab = pass.n_vocab;
        if (i == 0) {
            *logits = malloc((size_t)pass.n_vocab * sizeof **logits);
            for (int v = 0; v < pass.n_vocab; v++)
                (*logits)[v] = pass.logits[v];
        }
    }
    st_run_free(run);
    return best;
}

static void bench(st_model *model, const char *path, int64_t k, int repeats, int64_t stock_max)
{
    st_model_info info;
    st_ggml_params gp = st_ggml_params_default();
    float *stock = NULL, *exact = NULL, *pruned;
    double s_stock = 0, s_exact = 0, s_pruned;
    st_agreement next = {0};
    int64_t n_tok;
    int n_vocab;
    int32_t *token = read_prompt(model, path, &n_tok);
    st_model_get_info(model, &info);
    gp.exact_below = info.n_swa;
    gp.select.k = k;
    gp.select.pooled = true;
    gp.select.grow_tok = -1;
    if (n_tok <= stock_max) {
        s_stock = measure(model, token, n_tok, true, &gp, repeats, &stock, &n_vocab);
        gp.exact = true;
        s_exact = measure(model, token, n_tok, false, &gp, repeats, &exact, &n_vocab);
        gp.exact = false;
    }
    s_pruned = measure(model, token, n_tok, false, &gp, repeats, &pruned, &n_vocab);
    printf("%8lld  %8.2f  %8.2f  %8.2f", (long long)n_tok, s_stock, s_exact, s_pruned);
    if (stock != NULL) {
        st_compare(stock, pruned, 1, n_vocab, &next);
        printf("  %11.2f  %12.2f  %4s  %.3f", s_stock / s_exact, s_stock / s_pruned,
               next.top_a == next.top_b ? "yes" : "NO", next.kl);
    }
    printf("\n");
    fflush(stdout);
    free(stock);
    free(exact);
    free(pruned);
    st_tokens_free(token);
}

int main(int argc, char **argv)
{
    st_model_params mp = st_model_params_default();
    st_model *model;
    st_error err;
    if (argc < 7) {
        fprintf(stderr, "usage: %s MODEL.gguf K REPEATS THREADS STOCK_MAX_TOK PROMPT.txt ...\n",
                argv[0]);
        return 2;
    }
    mp.n_thread = atoi(argv[4]);
    if (st_model_open(argv[1], &mp, &model, &err) != ST_OK)
        die(&err);
    printf("seconds, %s thread(s), k %s; ratios to stock libllama\n", argv[4], argv[2]);
    printf("  tokens     stock     exact    pruned  stock/exact  stock/pruned  kept  KL\n");
    for (int i = 6; i < argc; i++)
        bench(model, argv[i], atoll(argv[2]), atoi(argv[3]), atoll(argv[5]));
    st_model_free(model);
    return 0;
}
