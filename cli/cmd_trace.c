/* SPDX-License-Identifier: MIT
 *
 * cmd_trace.c — sparsetrace trace: the main job.
 */
#include <stdlib.h>
#include <string.h>

#include "budget_args.h"
#include "cmd.h"
#include "edit_args.h"
#include "group_args.h"
#include "out.h"
#include "paths.h"
#include "prompt_args.h"

struct trace_args {
    prompt_args prompt;
    const char *out;
    const char *layers, *heads, *rows, *groups, *against, *weights, *ctk, *ctv, *checkpoint;
    budget_args budget;
    edit_args edits;
    int64_t n_thread, cert_rows, seed, ubatch;
    double max_kl, every;
    bool lse, value, json, quiet, strict, floor, verbose, resume;
};

static int parse(struct trace_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        PROMPT_OPTIONS(&a->prompt),
        {"-o", "OUT", ARG_TEXT, &a->out, 0, 0, "write the trace to this file"},
        BUDGET_OPTIONS(a->budget),
        {"--max-kl", "NATS", ARG_REAL, &a->max_kl, 1e-9, 1e9,
         "--k auto: also keep the next token's distribution this near (KL)"},
        {"--against", "WHAT", ARG_TEXT, &a->against, 0, 0,
         "what the next token must agree with: dense (an exact run; default up to\n"
         "16,384 tokens), stable (the run with 2k; default beyond), none"},
        EDIT_OPTIONS(&a->edits),
        {"--layers", "LIST", ARG_TEXT, &a->layers, 0, 0,
         "record only these layers, e.g. 0,5,10-14"},
        {"--heads", "LIST", ARG_TEXT, &a->heads, 0, 0, "record only these heads of each layer"},
        {"--rows", "A:B", ARG_TEXT, &a->rows, 0, 0,
         "record only what these rows (tokens) read; negative from the end, e.g. -64:"},
        {"--groups", "FILE", ARG_TEXT, &a->groups, 0, 0,
         "record attention from group to group of tokens: spans of the prompt's bytes, one a\n"
         "line, first byte and one past the last (sentences, say)"},
        {"--lse", NULL, ARG_FLAG, &a->lse, 0, 0, "record the log-sum-exp of every row"},
        {"--values", NULL, ARG_FLAG, &a->value, 0, 0,
         "record the size of what a head writes by each read: weights of sparsetrace route"},
        {"--cert-rows", "N", ARG_INT, &a->cert_rows, 0, 65536,
         "rows a layer that are certified by exact attention (32)"},
        {"--seed", "N", ARG_INT, &a->seed, 0, 0, "moves the certified rows (0)"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 512, "default: all processors"},
        {"--ctk", "TYPE", ARG_TEXT, &a->ctk, 0, 0,
         "type of the K cache (f16; f32, bf16, q8_0, ...)"},
        {"--ctv", "TYPE", ARG_TEXT, &a->ctv, 0, 0, "type of the V cache (f16)"},
        {"--ubatch", "N", ARG_INT, &a->ubatch, 1, 1 << 20, "tokens of a micro-batch (2048)"},
        {"--weights", "TYPE", ARG_TEXT, &a->weights, 0, 0,
         "bf16 (default: quantised weights are converted once, into the cache), f32, as-is"},
        {"--floor", NULL, ARG_FLAG, &a->floor, 0, 0,
         "measure what two exact attention paths differ by (one more run)"},
        {"--checkpoint", "FILE", ARG_TEXT, &a->checkpoint, 0, 0,
         "keep in this file what an interrupted run can go on from"},
        {"--checkpoint-every", "S", ARG_REAL, &a->every, 0, 1e9,
         "seconds from one write of it to the next (600); 0: every micro-batch"},
        {"--resume", NULL, ARG_FLAG, &a->resume, 0, 0,
         "go on from --checkpoint; everything else as it was"},
        {"--strict", NULL, ARG_FLAG, &a->strict, 0, 0, "exit 3 if the next token changed"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print the report as one JSON object"},
        {"--quiet", NULL, ARG_FLAG, &a->quiet, 0, 0, "no progress bar"},
        {"--verbose", NULL, ARG_FLAG, &a->verbose, 0, 0, "libllama's own log on stderr"},
    };
    const arg_verb verb = {
        "trace",
        "-m MODEL (-f FILE | -p TEXT | --tokens FILE | --data FILE) [-o OUT] [options]",
        "Runs the model over the prompt with block-sparse attention, keeping for each head and\n"
        "query block the key blocks that carry the mass, and reports how faithful that was.\n"
        "Without a budget the smallest one is looked for that keeps the next token (--k auto).",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    const char *word[1];
    int n_word, code = args_parse(&verb, argc, argv, word, &n_word);
    if (code >= 0)
        return code;
    code = prompt_args_check(&a->prompt, "trace");
    if (code >= 0)
        return code;
    if (a->checkpoint != NULL && a->out == NULL)
        return args_complain("trace", "--checkpoint goes with a trace that is written: -o OUT");
    if (a->checkpoint == NULL && (a->resume || a->every >= 0))
        return args_complain("trace", "%s goes with --checkpoint FILE",
                             a->resume ? "--resume" : "--checkpoint-every");
    return PATHS_APART("trace", "-o", a->out, a->prompt.model, a->prompt.file, a->prompt.tokens,
                       a->prompt.data, a->edits.file, a->groups, a->checkpoint);
}

static int parse_against(const char *text, st_against *against)
{
    if (text == NULL)
        return -1;
    for (int i = ST_AGAINST_DENSE; i <= ST_AGAINST_NONE; i++)
        if (strcmp(text, st_against_name((st_against)i)) == 0) {
            *against = (st_against)i;
            return -1;
        }
    return args_complain("trace", "--against: \"%s\" is not dense, stable or none", text);
}

static int parse_weights(const char *text, st_weights *weights)
{
    static const char *const name[] = {"bf16", "f32", "as-is"};
    for (int i = 0; text != NULL && i < 3; i++)
        if (strcmp(text, name[i]) == 0) {
            *weights = (st_weights)i;
            return -1;
        }
    return text == NULL
               ? -1
               : args_complain("trace", "--weights: \"%s\" is not bf16, f32 or as-is", text);
}

/* Everything that can be wrong without the model. Lists are freed by the caller. */
static int settings(const struct trace_args *a, st_trace_params *p, st_model_params *mp,
                    int32_t **layers, int32_t **heads)
{
    int code = budget_args_apply(&a->budget, "trace", &p->select, &p->budget, &p->pruned);
    if (code < 0)
        code = parse_against(a->against, &p->against);
    if (code < 0)
        code = parse_weights(a->weights, &mp->weights);
    if (code >= 0)
        return code;
    if (p->budget == ST_BUDGET_AUTO && p->against == ST_AGAINST_NONE)
        return args_complain("trace", "--k auto needs something to agree with: not --against none");
    if (a->max_kl > 0 && p->budget != ST_BUDGET_AUTO)
        return args_complain("trace", "--max-kl goes with --k auto, which looks for the budget");
    p->max_kl = a->max_kl;
    if (a->strict && p->against == ST_AGAINST_NONE)
        return args_complain("trace", "--strict needs something to agree with: not --against none");
    if (a->floor && p->against != ST_AGAINST_DEFAULT && p->against != ST_AGAINST_DENSE)
        return args_complain("trace", "--floor compares with a dense run: --against dense");
    if (a->layers != NULL && !args_numbers(a->layers, layers, &p->record.n_layer))
        return args_complain("trace", "--layers: \"%s\" is not a list like 0,5,10-14", a->layers);
    if (a->heads != NULL && !args_numbers(a->heads, heads, &p->record.n_head))
        return args_complain("trace", "--heads: \"%s\" is not a list like 0,5,10-14", a->heads);
    p->record.layer = *layers;
    p->record.head = *heads;
    p->record.lse = a->lse;
    p->value = a->value;
    p->cert_rows = (int)a->cert_rows;
    p->seed = (uint64_t)a->seed;
    p->measure_floor = a->floor;
    p->checkpoint = a->checkpoint;
    p->checkpoint_every = a->every >= 0 ? a->every : p->checkpoint_every;
    p->resume = a->resume;
    if (a->floor)
        p->against = ST_AGAINST_DENSE;
    p->run.n_ubatch = (int)a->ubatch;
    p->run.type_k = a->ctk != NULL ? a->ctk : p->run.type_k;
    p->run.type_v = a->ctv != NULL ? a->ctv : p->run.type_v;
    mp->n_thread = (int)a->n_thread;
    mp->verbose = a->verbose;
    return -1;
}

/* ---- the report ------------------------------------------------------------------------------ */

static void print_agreement(const st_model *m, const st_trace_report *r)
{
    char a[OUT_TOKEN], b[OUT_TOKEN];
    const char *other = r->against == ST_AGAINST_DENSE ? "dense" : "with 2k";
    if (r->against == ST_AGAINST_NONE) {
        out_row("next token", "%s %.1f %% (compared with nothing)", out_token(m, r->next.top_b, b),
                100 * r->next.p_b);
        return;
    }
    out_row("next token", "%s: %s %s %.1f %%, sparse %s %.1f %%",
            r->next.top_a == r->next.top_b ? "kept"
            : r->agree                     ? "within the noise floor"
                                           : "CHANGED",
            other, out_token(m, r->next.top_a, a), 100 * r->next.p_a,
            out_token(m, r->next.top_b, b), 100 * r->next.p_b);
    out_row("", "KL %.3g nats, margin %.2f nats (noise floor %s: KL %.1g, margin %.2g)", r->next.kl,
            r->next.margin_a, r->floor_measured ? "measured" : "assumed", r->floor_kl,
            r->floor_margin);
    out_row("", "last %d positions: %d of %d next tokens the same, mean KL %.3g",
            r->next.n_compared, r->next.n_same, r->next.n_compared, r->next.kl_mean);
}

static void print_certificate(const st_trace_report *r)
{
    if (!r->has_cert) {
        out_row("recall", "not certified");
        return;
    }
    out_row(
        "recall",
        "%.1f %% of the exact mass kept, 95 %% interval %.1f..%.1f (%lld certified rows a layer)",
        100 * r->cert.recall_mean, 100 * r->cert.recall_ci95[0], 100 * r->cert.recall_ci95[1],
        (long long)r->cert.n_row);
    out_row("",
            "5th percentile %.1f %%, worst head %.1f %% (L%d.H%d), last row %.1f %%, output error "
            "%.1f %%",
            100 * r->cert.recall_p5, 100 * r->cert.recall_worst, r->cert.worst_layer,
            r->cert.worst_head, 100 * r->recall_last, 100 * r->cert.err_mean);
}

static void print_report(const st_model *m, const st_trace_report *r, const char *out)
{
    st_model_info info;
    char a[32], b[32], c[32], d[48], name[128];
    st_model_get_info(m, &info);
    printf("%s\n", r->against == ST_AGAINST_NONE    ? "next token not compared"
                   : !r->agree                      ? "NOT FAITHFUL: the next token changed"
                   : r->next.top_a == r->next.top_b ? "next token kept"
                                                    : "next token within the noise floor");
    out_row("model", "%s (%s, %s weights)", out_clean(name, sizeof name, info.name), info.arch,
            info.weights);
    out_row("tokens", "%s", out_count(a, r->n_tok));
    if (r->n_exact_layer > 0)
        out_row("layers x heads", "%d x %d, of which %d layers attend exactly", r->n_layer,
                r->n_head, r->n_exact_layer);
    else
        out_row("layers x heads", "%d x %d", r->n_layer, r->n_head);
    snprintf(d, sizeof d, ", or fewer for a mass of %g", r->mass);
    out_row("k", "%g key blocks of %d tokens per query block of %d%s (select: %s%s)",
            r->k, r->block_k, r->block_q, r->budget == ST_BUDGET_MASS ? d : "",
            st_select_method_name(r->select), r->scanned ? ", fell back to scan" : "");
    out_row("kept", "%s of %s causal token pairs%s", out_count(a, r->kept_pairs),
            out_count(b, r->causal_pairs), r->n_exact_layer > 0 ? " (of the other layers)" : "");
    out_row("pruned", "%.2f %% of the causal pairs", 100 * r->pruned_fraction);
    print_agreement(m, r);
    print_certificate(r);
    out_row("seconds", "%.1f in all, %d runs: dense %.1f, search %.1f, recorded %.1f",
            r->seconds_total, r->n_run, r->seconds_dense, r->seconds_search, r->seconds_final);
    if (r->seconds_linear > 0)
        snprintf(d, sizeof d, ", matrix products %.2f (%s)", r->seconds_linear, st_ggml_linear());
    out_row("", "(recorded run: keys %.2f, select %.2f, attend %.2f, certify %.2f%s)",
            r->seconds_keys, r->seconds_select, r->seconds_attend, r->seconds_certify,
            r->seconds_linear > 0 ? d : "");
    out_row("peak memory", "%s", out_bytes(c, r->peak_rss_bytes));
    if (out != NULL)
        out_row("trace", "%s, %s", out, out_bytes(c, r->trace_bytes));
}

static int finish(const struct trace_args *a, const st_model *m, const st_trace_report *r)
{
    st_error err;
    char *json;
    if (a->json) {
        if (st_trace_report_json(m, r, &json, &err) != ST_OK)
            return out_failed(&err);
        printf("%s\n", json);
        st_text_free(json);
    } else {
        print_report(m, r, a->out);
        if (a->out != NULL)
            printf("\nwhat was read: sparsetrace info %s\n", a->out);
    }
    return a->strict && r->against != ST_AGAINST_NONE && !r->agree ? EXIT_CHANGED : EXIT_OK;
}

static int failed(const struct trace_args *a, const st_trace_report *r, const st_error *err)
{
    out_failed(err);
    if (r->checkpoint_left)
        fprintf(stderr, "sparsetrace: the same command with --resume goes on from %s\n",
                a->checkpoint);
    else if (r->part_left)
        fprintf(stderr,
                "sparsetrace: what was recorded is in %s.part; "
                "sparsetrace check %s.part --salvage OUT makes a trace of it\n",
                a->out, a->out);
    return EXIT_FAILED;
}

/* What is to be recorded, now that the model and the prompt are known. -1 to go on. */
static int check_record(const struct trace_args *a, const st_model_info *info, int64_t n_tok,
                        st_trace_options *o)
{
    if (a->rows != NULL && !args_span(a->rows, n_tok, &o->row_begin, &o->row_end))
        return args_complain("trace", "--rows: \"%s\" is no span within %lld tokens", a->rows,
                             (long long)n_tok);
    if (o->n_layer > 0 && o->layer[o->n_layer - 1] >= info->n_layer) /* the list ascends */
        return args_complain("trace", "--layers: the model has no layer %d, only 0..%d",
                             o->layer[o->n_layer - 1], info->n_layer - 1);
    if (o->n_head > 0 && o->head[o->n_head - 1] >= info->n_head)
        return args_complain("trace", "--heads: the model has no head %d, only 0..%d",
                             o->head[o->n_head - 1], info->n_head - 1);
    return -1;
}

/* --groups into what is recorded; *group is free()d by the caller. */
static st_status read_groups(struct trace_args *a, const st_model *model, const int32_t *token,
                             int64_t n_tok, st_trace_options *o, st_group **group, st_error *err)
{
    int64_t n = 0;
    bool ids = a->prompt.tokens != NULL; /* bytes then count in what the tokens spell */
    char *text = ids ? NULL : prompt_args_text(&a->prompt, &n, err);
    st_status status = ids || text != NULL ? ST_OK : err->status;
    if (status == ST_OK)
        status = group_args_read(a->groups, model, text, n, token, n_tok, group, &o->n_group, err);
    o->group = *group;
    free(text);
    return status;
}

/* Names for passages into the finished trace, if the prompt's data has any. */
static st_status write_spans(const struct trace_args *a, const st_model *model,
                             const int32_t *token, int64_t n_tok, st_error *err)
{
    char *spans = prompt_args_spans(&a->prompt, model, token, n_tok);
    st_status status = ST_OK;
    if (spans != NULL && a->out != NULL)
        status = st_trace_note(a->out, "spans", spans, err);
    free(spans);
    return status;
}

static int run(struct trace_args *a, st_trace_params *p, st_model_params *mp)
{
    out_bar bar = {.quiet = a->quiet};
    st_model *model;
    int32_t *token = NULL;
    st_edit *edit = NULL;
    st_group *group = NULL;
    int64_t n_tok = 0;
    st_trace_report report = {.part_left = false};
    st_model_info info;
    st_error err = {.status = ST_OK};
    st_status status;
    int code = EXIT_FAILED;
    mp->progress = p->run.progress = (st_progress){out_progress, &bar};
    out_catch_interrupt();
    status = st_model_open(a->prompt.model, mp, &model, &err);
    if (status == ST_OK)
        status = prompt_args_read(&a->prompt, model, &token, &n_tok, &err);
    if (status == ST_OK) {
        st_model_get_info(model, &info);
        code = check_record(a, &info, n_tok, &p->record);
        if (code >= 0)
            goto done;
        budget_args_blocks(&a->budget, n_tok, st_model_exact_below(model, n_tok, &p->run),
                           &p->select);
        if (n_tok > info.n_ctx_train)
            fprintf(stderr, "sparsetrace: note: %lld tokens, but the model was trained on %d\n",
                    (long long)n_tok, info.n_ctx_train);
        if (a->groups != NULL)
            status = read_groups(a, model, token, n_tok, &p->record, &group, &err);
        if (status == ST_OK)
            status = edit_args_read(&a->edits, n_tok, &edit, &p->n_edit, &err);
        p->edit = edit;
    }
    if (status == ST_OK)
        status = st_trace_model(model, token, n_tok, p, a->out, &report, &err);
    if (status == ST_OK)
        status = write_spans(a, model, token, n_tok, &err);
    out_progress_end(&bar);
    code = status == ST_OK ? finish(a, model, &report) : failed(a, &report, &err);
done:
    free(edit);
    free(group);
    prompt_args_free(&a->prompt);
    st_tokens_free(token);
    st_model_free(model);
    return code;
}

int cmd_trace(int argc, char **argv)
{
    struct trace_args a = {.budget = budget_args_default(), .cert_rows = 32, .every = -1};
    st_trace_params p = st_trace_params_default();
    st_model_params mp = st_model_params_default();
    int32_t *layers = NULL, *heads = NULL;
    int code;
    a.budget.pool_auto = true;
    code = parse(&a, argc, argv);
    if (code < 0)
        code = settings(&a, &p, &mp, &layers, &heads);
    if (code < 0)
        code = run(&a, &p, &mp);
    free(layers);
    free(heads);
    return code;
}
