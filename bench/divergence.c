/* SPDX-License-Identifier: MIT
 *
 * divergence.c — how far from the exact run each form of budget takes a model: mean KL(exact ‖
 * pruned) over a prompt's last positions, beside the share of the causal pairs that was pruned.
 *
 *   bench_divergence MODEL.gguf N_LAST PROMPT.txt ...
 *
 * Forms: k alike for every query block, k pooled over heads and neighbours, the same growing
 * along the prompt, a mass; and hip.
 * Prompts are read with special tokens written out, so a chat template can stand in the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sparsetrace/engine.h"

#define MOST_K 128 /* of a mass */

typedef struct form {
    st_select_method method;
    int64_t k;
    bool pooled, grow;
    float mass;
} form;

static const form forms[] = {
    {ST_SELECT_STREAM, 5, false, false, 0},        {ST_SELECT_STREAM, 5, true, false, 0},
    {ST_SELECT_STREAM, 5, true, true, 0},          {ST_SELECT_STREAM, 6, false, false, 0},
    {ST_SELECT_STREAM, 6, true, false, 0},         {ST_SELECT_STREAM, 6, true, true, 0},
    {ST_SELECT_STREAM, 8, false, false, 0},        {ST_SELECT_STREAM, 8, true, false, 0},
    {ST_SELECT_STREAM, 8, true, true, 0},          {ST_SELECT_STREAM, 13, false, false, 0},
    {ST_SELECT_STREAM, 13, true, false, 0},        {ST_SELECT_STREAM, 13, true, true, 0},
    {ST_SELECT_STREAM, 26, false, false, 0},       {ST_SELECT_STREAM, 26, true, false, 0},
    {ST_SELECT_STREAM, 26, true, true, 0},         {ST_SELECT_STREAM, MOST_K, false, false, .3},
    {ST_SELECT_STREAM, MOST_K, false, false, .45}, {ST_SELECT_STREAM, MOST_K, false, false, .6},
    {ST_SELECT_STREAM, MOST_K, false, false, .75}, {ST_SELECT_STREAM, MOST_K, false, false, .85},
    {ST_SELECT_HIP, 8, false, false, 0},           {ST_SELECT_HIP, 8, false, true, 0},
    {ST_SELECT_HIP, 26, false, false, 0},          {ST_SELECT_HIP, 26, false, true, 0},
};

static void die(const st_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static void measure(st_run *run, const st_model_info *info, int64_t n_tok, const char *path)
{
    st_ggml_params gp = st_ggml_params_default();
    st_pass pass;
    st_error err;
    double all;
    float *exact;
    gp.exact = true;
    gp.exact_below = info->n_swa;
    if (st_run_pass(run, &gp, NULL, "", &pass, &err) != ST_OK)
        die(&err);
    exact = malloc((size_t)pass.n_last * (size_t)pass.n_vocab * sizeof *exact);
    memcpy(exact, pass.logits, (size_t)pass.n_last * (size_t)pass.n_vocab * sizeof *exact);
    all = pass.stats.attend_flop;
    printf("%s, %lld tokens, last %d\n", path, (long long)n_tok, pass.n_last);
    printf("  method    k  pooled  grow  mass   pruned      KL  same  select s\n");
    gp.exact = false;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        st_agreement to_exact;
        gp.select.method = forms[i].method;
        gp.select.k = forms[i].k;
        gp.select.pooled = forms[i].pooled;
        gp.select.grow_tok = forms[i].grow ? -1 : 0;
        gp.select.mass = forms[i].mass;
        if (st_run_pass(run, &gp, NULL, "", &pass, &err) != ST_OK)
            die(&err);
        st_compare(exact, pass.logits, pass.n_last, pass.n_vocab, &to_exact);
        printf("  %-7s %3lld  %-6s  %-4s  %4.2f  %6.2f %%  %6.4f  %4d  %8.2f\n",
               st_select_method_name(forms[i].method), (long long)forms[i].k,
               forms[i].pooled ? "yes" : "no", forms[i].grow ? "yes" : "no", (double)forms[i].mass,
               100 - 100 * pass.stats.attend_flop / all, to_exact.kl_mean, to_exact.n_same,
               1e-9 * (double)pass.stats.select_ns);
        fflush(stdout);
    }
    free(exact);
}

int main(int argc, char **argv)
{
    static char text[1 << 22];
    st_model_params mp = st_model_params_default();
    st_run_params rp = st_run_params_default();
    st_model_info info;
    st_model *model;
    st_error err;
    if (argc < 4) {
        fprintf(stderr, "usage: bench_divergence MODEL.gguf N_LAST PROMPT.txt ...\n");
        return 2;
    }
    if (st_model_open(argv[1], &mp, &model, &err) != ST_OK)
        die(&err);
    st_model_get_info(model, &info);
    rp.n_last = atoi(argv[2]);
    for (int i = 3; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
        int32_t *token;
        int64_t n_tok;
        st_run *run;
        if (f != NULL)
            fclose(f);
        if (st_model_tokenize(model, text, (int64_t)n, true, &token, &n_tok, &err) != ST_OK ||
            st_run_create(model, token, n_tok, &rp, &run, &err) != ST_OK)
            die(&err);
        measure(run, &info, n_tok, argv[i]);
        st_run_free(run);
        st_tokens_free(token);
    }
    st_model_free(model);
    return 0;
}
