/* SPDX-License-Identifier: MIT
 *
 * cmd_suppress.c — sparsetrace suppress: one run for every sentence of a text, with that sentence
 * denied to all later ones. A long job: what is done is kept in OUT.part.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "budget_args.h"
#include "cmd.h"
#include "out.h"
#include "paths.h"
#include "split_args.h"
#include "suppress_file.h"
#include "text_tokens.h"

#define SAVE_EVERY 10.0 /* seconds */
#define LISTED 10       /* strongest effects */
#define FAR 4           /* sentences apart: nearer ones are not listed */

struct suppress_args {
    const char *model, *file, *out;
    split_args split;
    budget_args budget;
    double temperature;
    int64_t n_top, n_thread;
    bool exact, resume, json, quiet;
};

struct work {
    const struct suppress_args *args;
    st_suppress_params p;
    st_model *model;
    st_model_info info;
    st_text text;
    suppress_job job;
    st_suppress_report report;
    char part[4096], recipe[1024];
    double saved; /* when */
    out_bar bar;
};

static int parse(struct suppress_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"-m", "MODEL", ARG_TEXT, &a->model, 0, 0, "GGUF file"},
        {"-f", "FILE", ARG_TEXT, &a->file, 0, 0,
         "a text: reasoning between <think> and </think>, or as a whole"},
        {"-o", "OUT", ARG_TEXT, &a->out, 0, 0, "write the matrix to this safetensors file"},
        {"--resume", NULL, ARG_FLAG, &a->resume, 0, 0,
         "go on from OUT.part, which an interrupted job left"},
        SPLIT_OPTIONS(a->split),
        BUDGET_OPTIONS_WITH(a->budget, "off", "off",
                            "scan (default), stream, auto, flat, exact, hip, window", "4", "1"),
        {"--exact", NULL, ARG_FLAG, &a->exact, 0, 0, "exact attention: the truth, quadratic"},
        {"--temperature", "T", ARG_REAL, &a->temperature, 1e-3, 1e3, "of the predictions (0.6)"},
        {"--top", "N", ARG_INT, &a->n_top, 1, 1000000,
         "likeliest tokens that are compared one by one (256)"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 512, "default: all processors"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print the report as one JSON object"},
        {"--quiet", NULL, ARG_FLAG, &a->quiet, 0, 0, "no progress bar"},
    };
    const arg_verb verb = {
        "suppress", "-m MODEL -f FILE -o OUT [options]",
        "For every sentence of a chain of thought: what the model's predictions in all later\n"
        "ones lose if nothing may look at it. One run a sentence, from that sentence on\n"
        "(97 % pruned, key blocks of one token, unless a budget says else).",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, NULL, &n_word);
    if (code >= 0)
        return code;
    if (a->model == NULL || a->file == NULL || a->out == NULL)
        return args_complain("suppress", "suppress wants -m MODEL, -f FILE and -o OUT");
    return PATHS_APART("suppress", "-o", a->out, a->model, a->file);
}

static int settings(struct work *w)
{
    const struct suppress_args *a = w->args;
    st_budget budget;
    int code;
    w->p = st_suppress_params_default();
    code = budget_args_apply(&a->budget, "suppress", &w->p.select, &budget, &w->p.pruned);
    if (code >= 0)
        return code;
    if (budget == ST_BUDGET_AUTO)
        return args_complain("suppress", "--k auto is for trace: it compares with an exact run");
    if (a->exact && (a->budget.k != NULL || a->budget.pruned >= 0 || a->budget.mass >= 0))
        return args_complain("suppress", "--exact and a budget exclude each other");
    if (budget != ST_BUDGET_PRUNED)
        w->p.pruned = 0;
    w->p.exact = a->exact;
    w->p.temperature = a->temperature;
    w->p.n_top = (int)a->n_top;
    return -1;
}

/* ---- the job --------------------------------------------------------------------------------- */

/* What makes two jobs the same, but for the text, whose tokens are compared. */
static void write_recipe(struct work *w)
{
    const st_select_params *s = &w->p.select;
    snprintf(w->recipe, sizeof w->recipe,
             "{\"model_sha256\":\"%s\",\"weights\":\"%s\",\"exact\":%s,\"method\":\"%s\","
             "\"k\":%.17g,\"mass\":%.9g,\"pruned\":%.9g,\"block_q\":%d,\"block_k\":%d,\"rows\":%d,"
             "\"pooled\":%s,\"grow\":%s,"
             "\"temperature\":%.9g,\"top\":%d,\"version\":\"%s\"}",
             w->info.sha256, w->info.weights, w->p.exact ? "true" : "false",
             st_select_method_name(s->method), s->k, (double)s->mass, w->p.pruned, s->bq,
             s->bk, s->rows, s->pooled ? "true" : "false", s->grow_tok != 0 ? "true" : "false",
             w->p.temperature, w->p.n_top, st_version());
    w->job.recipe = w->recipe;
}

static st_status save(struct work *w, st_error *err)
{
    w->saved = out_seconds();
    return suppress_file_write(&w->job, w->part, err);
}

static st_status column_done(void *ctx, int64_t j, st_error *err)
{
    struct work *w = ctx;
    w->job.have[j] = true;
    return out_seconds() - w->saved > SAVE_EVERY ? save(w, err) : ST_OK;
}

/* The first reasoning part of the text, its sentences, their tokens. */
static st_status read_job(struct work *w, const st_split_params *split, st_group **sentence,
                          int32_t **token, st_error *err)
{
    suppress_job *j = &w->job;
    st_group part = {0, 0}, *span;
    st_status status;
    st_think_next(w->text.text, w->text.n_bytes, 0, &part);
    status = st_sentences(w->text.text, part, split, sentence, &j->n, err);
    if (status == ST_OK && j->n < 2) {
        *err = (st_error){ST_ERR_ARG, -1, ""};
        snprintf(err->message, sizeof err->message,
                 "%.300s has %lld sentences: nothing comes after the first", w->args->file,
                 (long long)j->n);
        status = ST_ERR_ARG;
    }
    if (status != ST_OK)
        return status;
    j->effect = out_need((size_t)(j->n * j->n) * sizeof *j->effect);
    j->have = out_need((size_t)j->n * sizeof *j->have);
    memset(j->have, 0, (size_t)j->n * sizeof *j->have);
    j->span = span = out_need((size_t)j->n * sizeof *span);
    j->byte = *sentence;
    status = text_tokens(w->model, w->text.text, *sentence, j->n, token, &j->n_tok, span, err);
    j->token = *token;
    return status;
}

static st_status check_part(struct work *w, st_error *err)
{
    bool there = access(w->part, F_OK) == 0;
    if (w->args->resume)
        return suppress_file_read(&w->job, w->part, err);
    if (!there)
        return ST_OK;
    *err = (st_error){ST_ERR_ARG, -1, ""};
    snprintf(err->message, sizeof err->message,
             "%.300s is there, of an interrupted job: --resume goes on from it, or remove it",
             w->part);
    return ST_ERR_ARG;
}

/* Keeps the sentences that are done. Of Ctrl-C this is all that is said: the token at which one
 * sentence's run stopped tells nothing. */
static void keep(struct work *w, st_error *err)
{
    st_error late;
    int64_t n_have = 0;
    for (int64_t j = 0; j < w->job.n; j++)
        n_have += w->job.have[j];
    if (n_have == 0 && err->status == ST_ERR_CANCELLED)
        snprintf(err->message, sizeof err->message, "stopped before a sentence was done");
    if (n_have == 0 || save(w, &late) != ST_OK)
        return;
    if (err->status == ST_ERR_CANCELLED)
        snprintf(err->message, sizeof err->message,
                 "stopped: %lld of %lld sentences are in %.300s; --resume goes on",
                 (long long)n_have, (long long)w->job.n, w->part);
    else
        fprintf(stderr, "sparsetrace: %lld of %lld sentences are in %s; --resume goes on\n",
                (long long)n_have, (long long)w->job.n, w->part);
}

static st_status run(struct work *w, st_error *err)
{
    st_status status;
    w->saved = out_seconds();
    w->p.have = w->job.have;
    w->p.done = column_done;
    w->p.done_ctx = w;
    if (budget_args_too_short(&w->args->budget, &w->p.select, w->p.pruned, w->job.n_tok,
                              w->info.n_swa)) {
        w->p.pruned = 0;
        w->p.select.k = (double)w->job.n_tok;
    }
    w->p.run.progress = (st_progress){out_progress, &w->bar};
    status = st_suppress(w->model, w->job.token, w->job.n_tok, w->job.span, w->job.n, &w->p,
                         w->job.effect, &w->report, err);
    out_progress_end(&w->bar);
    if (status == ST_OK)
        status = suppress_file_write(&w->job, w->args->out, err);
    if (status == ST_OK) {
        remove(w->part);
        return ST_OK;
    }
    keep(w, err);
    return status;
}

/* ---- the report ------------------------------------------------------------------------------ */

struct pair {
    int64_t target, source;
    float effect;
};

/* The strongest far effects, strongest first; gives their number. */
static int strongest(const suppress_job *j, struct pair *best)
{
    float *x = out_need((size_t)(j->n * j->n) * sizeof *x);
    int n = 0;
    st_suppress_center(j->effect, j->n, x);
    for (int64_t c = 0; c < j->n * j->n; c++) {
        struct pair p = {c / j->n, c % j->n, x[c]};
        int at = n;
        if (isnan(p.effect) || p.target - p.source < FAR)
            continue;
        while (at > 0 && best[at - 1].effect < p.effect)
            at--;
        if (at == LISTED)
            continue;
        n += n < LISTED;
        memmove(best + at + 1, best + at, (size_t)(n - 1 - at) * sizeof *best);
        best[at] = p;
    }
    free(x);
    return n;
}

static void print_json(const struct work *w, const struct pair *best, int n)
{
    const suppress_job *j = &w->job;
    printf("{\"n_tok\":%lld,\"n_sentence\":%lld,\"n_run\":%lld,\"k\":%.17g,\"n_tok_run\":%lld,"
           "\"passes\":",
           (long long)j->n_tok, (long long)j->n, (long long)w->report.n_run, w->report.k,
           (long long)w->report.n_tok_run);
    out_json_real(stdout, (double)w->report.n_tok_run / (double)j->n_tok);
    printf(",\"seconds\":");
    out_json_real(stdout, w->report.seconds);
    printf(",\"seconds_plain\":");
    out_json_real(stdout, w->report.seconds_plain);
    printf(",\"recipe\":%s,\"strongest\":[", w->recipe);
    for (int i = 0; i < n; i++) {
        printf("%s{\"target\":%lld,\"source\":%lld,\"effect\":", i > 0 ? "," : "",
               (long long)best[i].target, (long long)best[i].source);
        out_json_real(stdout, (double)best[i].effect);
        putchar('}');
    }
    printf("]}\n");
}

static void print_sentence(const struct work *w, int64_t i)
{
    const st_group *b = &w->job.byte[i];
    printf("%5lld  ", (long long)i);
    out_snippet(stdout, w->text.text + b->begin, b->end - b->begin, 64);
    putchar('\n');
}

static void print_text(const struct work *w, const struct pair *best, int n)
{
    char a[32];
    out_row("sentences", "%lld", (long long)w->job.n);
    out_row("tokens", "%s", out_count(a, w->job.n_tok));
    out_row("runs", "%lld, %.1f times the tokens of one", (long long)w->report.n_run,
            (double)w->report.n_tok_run / (double)w->job.n_tok);
    out_row("seconds", "%.1f, of which the plain run %.1f", w->report.seconds,
            w->report.seconds_plain);
    out_row("matrix", "%s", w->args->out);
    printf("\nlost most without (effect: log KL above the row's mean):\n");
    for (int i = 0; i < n; i++) {
        printf("%6.2f  ", (double)best[i].effect);
        print_sentence(w, best[i].target);
        printf("     <- ");
        print_sentence(w, best[i].source);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static st_status work(struct work *w, const st_split_params *split, st_error *err)
{
    st_model_params mp = st_model_params_default();
    st_texts *texts = NULL;
    st_group *sentence = NULL;
    int32_t *token = NULL;
    struct pair best[LISTED + 1];
    st_status status = st_texts_open(w->args->file, false, NULL, &texts, err);
    if (status == ST_OK)
        status = st_texts_next(texts, &w->text, err);
    mp.n_thread = (int)w->args->n_thread;
    mp.progress = (st_progress){out_progress, &w->bar};
    if (status == ST_OK)
        status = st_model_open(w->args->model, &mp, &w->model, err);
    if (status == ST_OK) {
        st_model_get_info(w->model, &w->info);
        write_recipe(w);
        status = read_job(w, split, &sentence, &token, err);
    }
    if (status == ST_OK)
        status = check_part(w, err);
    if (status == ST_OK)
        status = run(w, err);
    if (status == ST_OK) {
        int n = strongest(&w->job, best);
        if (w->args->json)
            print_json(w, best, n);
        else
            print_text(w, best, n);
    }
    out_progress_end(&w->bar);
    free((void *)(uintptr_t)w->job.span);
    free(w->job.effect);
    free(w->job.have);
    st_tokens_free(token);
    st_sentences_free(sentence);
    st_model_free(w->model);
    st_texts_free(texts);
    return status;
}

int cmd_suppress(int argc, char **argv)
{
    struct suppress_args a = {.budget = budget_args_sentences(), .temperature = 0.6, .n_top = 256};
    struct work w = {.args = &a};
    st_split_params split;
    st_error err;
    int code;
    a.budget.select = "scan"; /* as st_suppress_params_default, and why: engine.h */
    a.budget.pooled = "off";  /* a block that a denied sentence pushes out stays its row's affair */
    code = parse(&a, argc, argv);
    if (code < 0)
        code = split_args_apply(&a.split, "suppress", &split);
    if (code < 0)
        code = settings(&w);
    if (code >= 0)
        return code;
    if ((size_t)snprintf(w.part, sizeof w.part, "%s.part", a.out) >= sizeof w.part)
        return args_complain("suppress", "-o: the path is too long");
    code = paths_writable(a.out);
    if (code >= 0)
        return code;
    w.bar.quiet = a.quiet;
    out_catch_interrupt();
    return work(&w, &split, &err) == ST_OK ? EXIT_OK : out_failed(&err);
}
