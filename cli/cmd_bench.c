/* SPDX-License-Identifier: MIT
 *
 * cmd_bench.c — sparsetrace bench: what this machine does with this model, in about a minute.
 *
 * Lengths double from 1,024 tokens. At each one three prefills: stock libllama, our exact
 * attention, our pruned attention. A prefill that is foreseen to pass the time limit is left out.
 */
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "cmd.h"
#include "out.h"
#include "sparsetrace/attend.h"

enum { STOCK, EXACT, PRUNED, N_WAY };

struct bench_args {
    const char *model;
    double pruned, seconds;
    int64_t most, n_thread;
    bool json;
};

struct row {
    int64_t n_tok;
    double k, pruned;
    double seconds[N_WAY]; /* 0: left out */
    st_ggml_stats stats[N_WAY];
};

struct bench {
    const struct bench_args *a;
    st_model *model;
    st_model_info info;
    double peak, start;
    double last[N_WAY]; /* seconds at half the length */
};

static int parse(struct bench_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"-m", "MODEL", ARG_TEXT, &a->model, 0, 0, "GGUF file"},
        {"--pruned", "SHARE", ARG_REAL, &a->pruned, 0.01, 0.9999,
         "share of the causal pairs that the pruned runs leave out (0.95)"},
        {"--most", "N", ARG_INT, &a->most, 1024, 1 << 20, "longest prompt, in tokens (8192)"},
        {"--seconds", "S", ARG_REAL, &a->seconds, 0.001, 1e6, "time limit (60)"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 1024, "default: all processors"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print the figures as one JSON object"},
    };
    const arg_verb verb = {
        "bench", "-m MODEL [options]",
        "Prefills random tokens with stock libllama, with exact and with pruned attention,\n"
        "and shows where the time goes and how near the machine's limit attention is.",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    const char *word[1];
    int n_word, code = args_parse(&verb, argc, argv, word, &n_word);
    if (code < 0 && a->model == NULL)
        return args_complain("bench", "which model? -m MODEL");
    return code;
}

/* One prefill; nothing is recorded. */
static st_status prefill(struct bench *b, const int32_t *token, struct row *row, int way,
                         st_error *err)
{
    st_run_params rp = st_run_params_default();
    st_ggml_params gp = st_ggml_params_default();
    st_pass pass;
    st_run *run;
    st_status status;
    rp.stock_attention = way == STOCK;
    rp.n_last = 1;
    gp.exact = way == EXACT;
    gp.exact_below = b->info.n_swa;
    gp.select.k = row->k;
    status = st_run_create(b->model, token, row->n_tok, &rp, &run, err);
    if (status != ST_OK)
        return status;
    status = st_run_pass(run, &gp, NULL, "", &pass, err);
    st_run_free(run);
    if (status == ST_OK) {
        b->last[way] = row->seconds[way] = pass.seconds;
        row->stats[way] = pass.stats;
    }
    return status;
}

/* Twice the length costs at most four times the time, and pruned about twice. The first pass is
 * always made. */
static bool fits(const struct bench *b, int way)
{
    if (b->last[PRUNED] == 0)
        return true;
    double foreseen = b->last[way] * (way == PRUNED ? 2.2 : 3.5);
    return out_seconds() - b->start + foreseen <= b->a->seconds;
}

static st_status length(struct bench *b, const int32_t *token, struct row *row, st_error *err)
{
    st_select_params sp = st_select_params_default();
    st_status status = ST_OK;
    double pruned = b->a->pruned;
    /* a short prompt cannot be pruned that far: then as far as it goes */
    while (st_select_k_for_pruned(&sp, 0, row->n_tok, b->info.n_swa, pruned, &row->k, err) != ST_OK)
        pruned -= 0.01;
    row->pruned = pruned;
    for (int way = N_WAY; way-- > 0 && status == ST_OK;)
        if (fits(b, way))
            status = prefill(b, token, row, way, err);
        else
            b->last[way] = 1e30; /* nor any longer one */
    return status;
}

static double gflops(const st_ggml_stats *s)
{
    return s->attend_ns > 0 ? s->attend_flop / (double)s->attend_ns : 0.0;
}

static void cell(double x, const char *fmt, int width)
{
    char text[32];
    snprintf(text, sizeof text, fmt, x);
    printf("%*s", width, x > 0 ? text : "-");
}

/* Who multiplied the weights. */
static const char *linear(const struct row *row, int n)
{
    return n > 0 && row[0].stats[PRUNED].n_linear > 0 ? st_ggml_linear() : "ggml";
}

static void print_table(const struct bench *b, const struct row *row, int n, int n_thread)
{
    double limit = b->peak * n_thread * 1e-9;
    char buf[32];
    printf("%s, %s weights (products by %s), %d thread%s, %s kernels: at most %.0f GFLOP/s in "
           "attention\n\n",
           b->info.name, b->info.weights, linear(row, n), n_thread, n_thread > 1 ? "s" : "",
           st_cpu_name(), limit);
    printf("          prefill, seconds          x stock        GFLOP/s of attention   select/\n");
    printf("  tokens   stock  exact pruned   exact pruned    exact     pruned  (k)     attend\n");
    for (int i = 0; i < n; i++) {
        const double *s = row[i].seconds;
        const st_ggml_stats *t = &row[i].stats[PRUNED];
        printf("%8s", out_count(buf, row[i].n_tok));
        cell(s[STOCK], "%.2f", 8);
        cell(s[EXACT], "%.2f", 7);
        cell(s[PRUNED], "%.2f", 7);
        cell(s[EXACT] > 0 ? s[STOCK] / s[EXACT] : 0, "%.1f", 8);
        cell(s[PRUNED] > 0 ? s[STOCK] / s[PRUNED] : 0, "%.1f", 7);
        cell(gflops(&row[i].stats[EXACT]), "%.0f", 6);
        cell(gflops(&row[i].stats[EXACT]) / limit * 100, "%.0f %%", 5);
        cell(gflops(t), "%.0f", 6);
        cell(gflops(t) / limit * 100, "%.0f %%", 5);
        snprintf(buf, sizeof buf, "(%g)", row[i].k);
        printf(" %5s", buf);
        cell(t->attend_ns > 0 ? (double)t->select_ns / (double)t->attend_ns : 0, "%.2f", 8);
        printf("\n");
    }
    if (n > 0)
        printf("\nPruned: %.1f %% of the causal pairs or as near as the length allows. Random "
               "tokens.\n",
               100 * b->a->pruned);
}

static void json_times(const char *name, double seconds, const st_ggml_stats *s)
{
    printf(",\"%s\":", name);
    if (seconds == 0) {
        printf("null");
        return;
    }
    printf("{\"seconds\":%.4f", seconds);
    if (s != NULL)
        printf(",\"linear\":%.4f,\"attend\":%.4f,\"select\":%.4f,\"keys\":%.4f,\"mask\":%.4f,"
               "\"attend_gflops\":%.2f",
               (double)s->linear_ns * 1e-9, (double)s->attend_ns * 1e-9,
               (double)s->select_ns * 1e-9, (double)s->keys_ns * 1e-9, (double)s->mask_ns * 1e-9,
               gflops(s));
    printf("}");
}

static void print_json(const struct bench *b, const struct row *row, int n, int n_thread)
{
    printf("{\"model\":");
    out_json_string(stdout, b->info.name, (int64_t)strlen(b->info.name));
    printf(",\"sha256\":\"%s\",\"weights\":\"%s\",\"cpu\":\"%s\",\"threads\":%d", b->info.sha256,
           b->info.weights, st_cpu_name(), n_thread);
    printf(",\"linear\":\"%s\",\"peak_gflops_per_thread\":%.2f,\"lengths\":[", linear(row, n),
           b->peak * 1e-9);
    for (int i = 0; i < n; i++) {
        printf("%s{\"n_tok\":%lld,\"k\":%.17g,\"pruned\":%.4f", i > 0 ? "," : "",
               (long long)row[i].n_tok, row[i].k, row[i].pruned);
        json_times("stock", row[i].seconds[STOCK], NULL);
        json_times("exact", row[i].seconds[EXACT], &row[i].stats[EXACT]);
        json_times("pruned_run", row[i].seconds[PRUNED], &row[i].stats[PRUNED]);
        printf("}");
    }
    printf("]}\n");
}

/* The same tokens every time; special ones stand at a vocabulary's ends. */
static int32_t *random_tokens(const st_model_info *info, int64_t n)
{
    int32_t *token = out_need((size_t)n * sizeof *token);
    uint32_t state = 1, vocab = (uint32_t)info->n_vocab;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        token[i] = (int32_t)(vocab / 8 + (state >> 8) % (vocab / 2 + 1));
    }
    return token;
}

int cmd_bench(int argc, char **argv)
{
    struct bench_args a = {.pruned = 0.95, .seconds = 60, .most = 8192};
    struct bench b = {.a = &a, .start = out_seconds()};
    struct row row[32] = {0};
    st_model_params mp = st_model_params_default();
    st_status status;
    st_error err;
    int32_t *token = NULL;
    int n = 0, n_thread, code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    mp.n_thread = (int)a.n_thread;
    status = st_model_open(a.model, &mp, &b.model, &err);
    if (status == ST_OK) {
        st_model_get_info(b.model, &b.info);
        b.peak = st_attend_peak();
        b.start = out_seconds(); /* converting weights is done once, and not what is measured */
        token = random_tokens(&b.info, a.most);
        for (int64_t n_tok = 1024; n_tok <= a.most && status == ST_OK; n_tok *= 2, n++) {
            row[n].n_tok = n_tok;
            status = length(&b, token, &row[n], &err);
            if (row[n].seconds[PRUNED] == 0)
                break;
        }
    }
    n_thread = b.model != NULL ? b.info.n_thread : 0;
    if (status != ST_OK)
        code = out_failed(&err);
    else
        (a.json ? print_json : print_table)(&b, row, n, n_thread);
    free(token);
    st_model_free(b.model);
    return status != ST_OK ? code : EXIT_OK;
}
