/* SPDX-License-Identifier: MIT
 *
 * divergence.c — how far from the exact run each form of budget takes a model: mean KL(exact ‖
 * pruned) over a prompt's last positions, beside the share of the causal pairs that was pruned.
 *
 *   bench_divergence MODEL.gguf N_LAST SHARE,... PROMPT.txt ...
 *
 * SHARE: of the causal pairs, to prune, e.g. 0.9,0.95,0.99; blocks are of the sizes that suit it
 * and the prompt (st_select_blocks_for_pruned). Forms: k alike for every query block, the same
 * growing along the prompt, pooled over heads and neighbours, pooled and growing; hip; and a mass,
 * halved until it prunes as much. In the environment, THREADS: how many (all processors); BLOCKS:
 * sizes instead, as in 16x8.
 * Prompts are read with special tokens written out, so a chat template can stand in the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sparsetrace/engine.h"

#define MOST_K 4096 /* of a mass */
#define MASS_STEPS 4

typedef struct form {
    const char *name;
    st_select_method method;
    bool pooled, grow;
} form;

static const form forms[] = {{"alike", ST_SELECT_STREAM, false, false},
                             {"growing", ST_SELECT_STREAM, false, true},
                             {"pooled", ST_SELECT_STREAM, true, false},
                             {"pooled, growing", ST_SELECT_STREAM, true, true},
                             {"hip, growing", ST_SELECT_HIP, false, true}};

struct job {
    st_run *run;
    st_ggml_params gp;
    float *exact;
    double all; /* flop of the exact run */
};

static void die(const st_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

/* One pruned pass: prints its line and returns its pruned share. */
static double pass(struct job *j, const char *name)
{
    st_pass pass;
    st_agreement to_exact;
    st_error err;
    double pruned;
    if (st_run_pass(j->run, &j->gp, NULL, "", &pass, &err) != ST_OK)
        die(&err);
    st_compare(j->exact, pass.logits, pass.n_last, pass.n_vocab, &to_exact);
    pruned = 1 - pass.stats.attend_flop / j->all;
    printf("  %3d x %-2d  %-15s %9.3f  %4.2f  %6.2f %%  %7.4f  %4d  %6.2f\n", j->gp.select.bq,
           j->gp.select.bk, name, j->gp.select.k, (double)j->gp.select.mass,
           100 * pruned, to_exact.kl_mean, to_exact.n_same, 1e-9 * (double)pass.stats.select_ns);
    fflush(stdout);
    return pruned;
}

/* A mass cannot name its pairs beforehand: bisected, so that the last ones lie near the share. */
static void masses(struct job *j, double share)
{
    double low = 0.02, high = 0.95;
    j->gp.select.method = ST_SELECT_STREAM;
    j->gp.select.pooled = false;
    j->gp.select.grow_tok = 0;
    j->gp.select.k = MOST_K;
    for (int i = 0; i < MASS_STEPS; i++) {
        double mass = (low + high) / 2;
        j->gp.select.mass = (float)mass;
        if (pass(j, "mass") < share)
            high = mass;
        else
            low = mass;
    }
    j->gp.select.mass = 0;
}

static void measure(struct job *j, int64_t n_tok, const char *shares, int n_last)
{
    st_pass exact;
    st_error err;
    char *rest;
    j->gp.exact = true;
    if (st_run_pass(j->run, &j->gp, NULL, "", &exact, &err) != ST_OK)
        die(&err);
    j->exact = malloc((size_t)exact.n_last * (size_t)exact.n_vocab * sizeof *j->exact);
    memcpy(j->exact, exact.logits, (size_t)exact.n_last * (size_t)exact.n_vocab * sizeof *j->exact);
    j->all = exact.stats.attend_flop;
    j->gp.exact = false;
    printf("%lld tokens, last %d\n   blocks  form                k  mass    pruned       KL  same  "
           "select s\n",
           (long long)n_tok, n_last);
    for (double share = strtod(shares, &rest); share > 0;
         share = strtod(rest + (*rest == ','), &rest)) {
        const char *blocks = getenv("BLOCKS");
        st_select_blocks_for_pruned(&j->gp.select, n_tok, j->gp.exact_below, share);
        if (blocks != NULL && sscanf(blocks, "%dx%d", &j->gp.select.bq, &j->gp.select.bk) != 2) {
            fprintf(stderr, "BLOCKS: \"%s\" is not as in 16x8\n", blocks);
            exit(2);
        }
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
            j->gp.select.method = forms[i].method;
            j->gp.select.pooled = forms[i].pooled;
            j->gp.select.grow_tok = forms[i].grow ? -1 : 0;
            if (st_select_k_for_pruned(&j->gp.select, 0, n_tok, j->gp.exact_below, share,
                                       &j->gp.select.k, &err) != ST_OK)
                die(&err);
            pass(j, forms[i].name);
        }
        masses(j, share);
    }
    free(j->exact);
}

int main(int argc, char **argv)
{
    static char text[1 << 22];
    st_model_params mp = st_model_params_default();
    st_run_params rp = st_run_params_default();
    st_model *model;
    st_error err;
    if (argc < 5) {
        fprintf(stderr, "usage: bench_divergence MODEL.gguf N_LAST SHARE,... PROMPT.txt ...\n");
        return 2;
    }
    mp.n_thread = getenv("THREADS") != NULL ? atoi(getenv("THREADS")) : 0;
    if (st_model_open(argv[1], &mp, &model, &err) != ST_OK)
        die(&err);
    rp.n_last = atoi(argv[2]);
    for (int i = 4; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
        int32_t *token;
        int64_t n_tok;
        struct job j = {.gp = st_ggml_params_default()};
        if (f != NULL)
            fclose(f);
        if (st_model_tokenize(model, text, (int64_t)n, true, &token, &n_tok, &err) != ST_OK ||
            st_run_create(model, token, n_tok, &rp, &j.run, &err) != ST_OK)
            die(&err);
        j.gp.exact_below = st_model_exact_below(model, n_tok, &rp);
        printf("%s, ", argv[i]);
        measure(&j, n_tok, argv[3], rp.n_last);
        st_run_free(j.run);
        st_tokens_free(token);
    }
    st_model_free(model);
    return 0;
}
