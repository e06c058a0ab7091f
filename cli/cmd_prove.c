/* SPDX-License-Identifier: MIT
 *
 * cmd_prove.c — sparsetrace prove: are these reads how the model comes to its next token?
 */

#include "cmd.h"
#include "out.h"
#include "prompt_args.h"
#include "proof_out.h"

struct prove_args {
    prompt_args prompt;
    const char *edges, *select;
    int64_t n_thread, n_random, seed, target, exact_max, k;
    st_select_method method;
    bool json, quiet;
};

static int parse(struct prove_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        PROMPT_OPTIONS(&a->prompt),
        {"--edges", "FILE", ARG_TEXT, &a->edges, 0, 0,
         "the reads, \"deny L.H:Q:K\" a line (keep is as good here)"},
        {"--target", "ID", ARG_INT, &a->target, 0, INT32_MAX,
         "the token whose probability counts (default: what the plain run predicts)"},
        {"--random", "N", ARG_INT, &a->n_random, 1, 10000, "drawn sets to compare with (20)"},
        {"--seed", "N", ARG_INT, &a->seed, 0, 0, "of the drawing (0)"},
        {"--exact-max", "N", ARG_INT, &a->exact_max, 0, INT32_MAX,
         "up to this many tokens, runs that deny are exact (16384)"},
        {"--k", "N", ARG_INT, &a->k, 1, INT32_MAX, "key blocks of runs that are not (64)"},
        {"--select", "METHOD", ARG_TEXT, &a->select, 0, 0,
         "how these choose them (stream; scan, flat, ...: see sparsetrace trace)"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 512, "default: all processors"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print the result as one JSON object"},
        {"--quiet", NULL, ARG_FLAG, &a->quiet, 0, 0, "no progress bar"},
    };
    const arg_verb verb = {
        "prove",
        "-m MODEL (-f FILE | -p TEXT | --tokens FILE | --data FILE) --edges FILE [options]",
        "Runs the model without the given reads, with little else than them, and with drawn ones\n"
        "in their place, and says whether they are how it comes to its next token.",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    const char *word[1];
    st_error err;
    int n_word, code = args_parse(&verb, argc, argv, word, &n_word);
    if (code < 0)
        code = prompt_args_check(&a->prompt, "prove");
    if (code < 0 && a->edges == NULL)
        code = args_complain("prove", "which reads? --edges FILE");
    if (code < 0 && a->select != NULL &&
        st_select_method_parse(a->select, &a->method, &err) != ST_OK)
        code = args_complain("prove", "--select: %s", err.message);
    return code;
}

static st_status prove(struct prove_args *a, st_model *model, st_proof *proof, out_bar *bar,
                       st_error *err)
{
    st_proof_params p = st_proof_params_default();
    st_edit *edge = NULL;
    int32_t *token = NULL;
    int64_t n_edge = 0, n_tok = 0;
    st_status status = prompt_args_read(&a->prompt, model, &token, &n_tok, err);
    p.n_random = (int)a->n_random;
    p.seed = (uint64_t)a->seed;
    p.target = (int32_t)a->target;
    p.exact_max_tok = (int)a->exact_max;
    p.select.k = a->k;
    p.select.method = a->method;
    p.run.progress = (st_progress){out_progress, bar};
    if (status == ST_OK)
        status = st_edits_read(a->edges, n_tok, &edge, &n_edge, err);
    if (status == ST_OK)
        status = st_prove(model, token, n_tok, edge, n_edge, &p, proof, err);
    st_edits_free(edge);
    st_tokens_free(token);
    return status;
}

int cmd_prove(int argc, char **argv)
{
    struct prove_args a = {
        .n_random = 20, .target = -1, .exact_max = 16384, .k = 64, .method = ST_SELECT_STREAM};
    st_model_params mp = st_model_params_default();
    st_model *model = NULL;
    st_proof proof;
    st_status status;
    st_error err;
    out_bar bar = {0};
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    bar.quiet = a.quiet;
    mp.n_thread = (int)a.n_thread;
    mp.progress = (st_progress){out_progress, &bar};
    out_catch_interrupt();
    status = st_model_open(a.prompt.model, &mp, &model, &err);
    if (status == ST_OK)
        status = prove(&a, model, &proof, &bar, &err);
    out_progress_end(&bar);
    if (status != ST_OK) {
        code = out_failed(&err);
    } else {
        (a.json ? proof_json : proof_table)(model, &proof);
        if (a.json)
            printf("\n");
        st_proof_free(&proof);
        code = EXIT_OK;
    }
    prompt_args_free(&a.prompt);
    st_model_free(model);
    return code;
}
