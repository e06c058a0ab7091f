/* SPDX-License-Identifier: MIT
 *
 * trace_prompt.c — the library in one page: trace a prompt and print what its last token reads.
 *
 *   example_trace_prompt MODEL.gguf PROMPT.txt OUT.trace
 */
#include <stdio.h>
#include <stdlib.h>

#include "sparsetrace/engine.h"

static int fail(const st_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return 1;
}

/* The key block that the last token reads the most, sink and window aside. */
static int print_heaviest(const char *path)
{
    st_trace *trace;
    st_trace_info info;
    st_trace_part last_row = {0};
    st_error err;
    double *share;
    int64_t best = 1, n;
    if (st_trace_open(path, &trace, &err) != ST_OK)
        return fail(&err);
    st_trace_get_info(trace, &info);
    last_row.row_begin = info.n_tok - 1;
    last_row.row_end = info.n_tok;
    share = calloc((size_t)info.nbk, sizeof *share);
    if (share == NULL || st_trace_reads(trace, &last_row, share, &err) != ST_OK)
        return fail(&err);
    for (int64_t b = 1; b < info.nbk - 4; b++)
        if (share[b] > share[best])
            best = b;
    if (best * info.bk < info.n_tok) {
        int64_t end = (best + 1) * info.bk < info.n_tok ? (best + 1) * info.bk : info.n_tok;
        const char *text = st_trace_text(trace, best * info.bk, end, &n);
        printf("far from both ends, the last token reads most (%.1f %%): %.*s\n", 100 * share[best],
               (int)n, text);
    }
    free(share);
    st_trace_free(trace);
    return 0;
}

int main(int argc, char **argv)
{
    static char text[1 << 20];
    st_model_params mp = st_model_params_default();
    st_trace_params tp = st_trace_params_default();
    st_trace_report report;
    st_model *model = NULL;
    int32_t *token;
    int64_t n_tok;
    st_error err;
    FILE *f = argc == 4 ? fopen(argv[2], "rb") : NULL;
    size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
    if (f == NULL) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT.txt OUT.trace\n", argv[0]);
        return 2;
    }
    fclose(f);
    if (st_model_open(argv[1], &mp, &model, &err) != ST_OK ||
        st_model_tokenize(model, text, (int64_t)n, true, &token, &n_tok, &err) != ST_OK ||
        st_trace_model(model, token, n_tok, &tp, argv[3], &report, &err) != ST_OK)
        return fail(&err);
    printf("%lld tokens, k = %g, %.1f %% of the causal pairs pruned, next token %s\n",
           (long long)n_tok, report.k, 100 * report.pruned_fraction,
           report.agree ? "kept" : "changed");
    st_tokens_free(token);
    st_model_free(model);
    return print_heaviest(argv[3]);
}
