/* SPDX-License-Identifier: MIT
 *
 * cmd_reason.c — sparsetrace reason: what the sentences of a chain of thought do. Each trace goes
 * the same way: sentences, the model's run if there is one, tags, phases, quality, print. A trace
 * that cannot be read is named and costs itself alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "budget_args.h"
#include "cmd.h"
#include "out.h"
#include "reason_model.h"
#include "reason_out.h"
#include "split_args.h"

struct reason_args {
    const char *file, *jsonl, *field, *tags, *tagger, *model, *hidden, *out;
    split_args split;
    budget_args budget;
    int64_t layer, cert_rows, n_thread;
    bool json, csv, sentences, quiet, given;
};

struct job {
    const struct reason_args *args;
    st_split_params split;
    st_texts *texts;
    st_tagger *tagger;
    const char *tagger_name;
    st_tag_file *tags; /* NULL: the tagger tags */
    reason_model model;
    hidden_file hidden;
    int64_t n_trace, n_failed;
};

static int parse(struct reason_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"-f", "FILE", ARG_TEXT, &a->file, 0, 0,
         "a text: reasoning between <think> and </think>, or as a whole;\n- is standard input"},
        {"--jsonl", "FILE", ARG_TEXT, &a->jsonl, 0, 0, "one text a line; - is standard input"},
        {"--field", "NAME", ARG_TEXT, &a->field, 0, 0,
         "the text's field in a line (the first there is of full_text,\n"
         "text, solution, content, messages)"},
        SPLIT_OPTIONS(a->split),
        {"--given", NULL, ARG_FLAG, &a->given, 0, 0,
         "--jsonl: the sentences are those that the line lists as \"sentences\""},
        {"--tags", "FILE", ARG_TEXT, &a->tags, 0, 0,
         "tags from elsewhere: a labeller's JSON, JSONL, or a plain list"},
        {"--tagger", "FILE", ARG_TEXT, &a->tagger, 0, 0,
         "other weights than the built-in ones (train_tagger.py)"},
        {"-m", "MODEL", ARG_TEXT, &a->model, 0, 0,
         "GGUF model that reads the text once, with sparse attention: anchors,\n"
         "receiver heads, what the answer stands on; better tags for a model we know"},
        {"-o", "OUT", ARG_TEXT, &a->out, 0, 0,
         "keep the trace: a file, with --jsonl a folder of one file a text"},
        BUDGET_OPTIONS(a->budget),
        {"--cert-rows", "N", ARG_INT, &a->cert_rows, 0, 65536,
         "rows a layer that are certified by exact attention (8)"},
        {"--layer", "N", ARG_INT, &a->layer, 0, 100000, "--hidden: after which layer"},
        {"--hidden", "FILE", ARG_TEXT, &a->hidden, 0, 0,
         "write the sentences' hidden states, for train_tagger.py"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 512, "default: all processors"},
        {"--quiet", NULL, ARG_FLAG, &a->quiet, 0, 0, "no progress"},
        {"--sentences", NULL, ARG_FLAG, &a->sentences, 0, 0, "list every sentence with its tag"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print one JSON object a trace, one a line"},
        {"--csv", NULL, ARG_FLAG, &a->csv, 0, 0, "print one row a sentence"},
    };
    const arg_verb verb = {
        "reason", "-f TEXT | --jsonl FILE [options]",
        "Splits a chain of thought into sentences, says what each one does, finds its phases, and\n"
        "measures its quality: by the text alone, or with -m MODEL by a model's attention too\n"
        "(97 % pruned, key blocks of one token, unless a budget says else).",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, NULL, &n_word);
    if (code >= 0)
        return code;
    if ((a->file != NULL) == (a->jsonl != NULL))
        return args_complain("reason", "reason wants a text: either -f FILE or --jsonl FILE");
    if ((a->field != NULL || a->given) && a->jsonl == NULL)
        return args_complain("reason", "%s belongs to --jsonl", a->given ? "--given" : "--field");
    if (a->json && a->csv)
        return args_complain("reason", "--json and --csv are two formats: give one");
    if (a->model == NULL && (a->hidden != NULL || a->layer >= 0 || a->out != NULL))
        return args_complain("reason", "--hidden, --layer and -o belong to -m MODEL");
    if (a->hidden != NULL && a->layer < 0)
        return args_complain("reason", "--hidden wants --layer N");
    return -1;
}

/* ---- one trace ------------------------------------------------------------------------------- */

static st_status take_tags(const struct job *j, int64_t at, reading *r, st_error *err)
{
    int64_t n, n_tag = st_tagger_n_tag(j->tagger);
    const int32_t *tag = st_tag_file_get(j->tags, r->id, at, &n);
    if (tag == NULL || n != r->n) {
        *err = (st_error){ST_ERR_FORMAT, r->line, ""};
        if (tag == NULL)
            snprintf(err->message, sizeof err->message, "%.200s has no tags for it", j->args->tags);
        else
            snprintf(err->message, sizeof err->message,
                     "it has %lld sentences, %.200s has %lld tags for it", (long long)r->n,
                     j->args->tags, (long long)n);
        return ST_ERR_FORMAT;
    }
    memset(r->prob, 0, (size_t)(n * n_tag) * sizeof *r->prob);
    for (int64_t i = 0; i < n; i++) {
        r->tag[i] = tag[i];
        if (tag[i] >= 0)
            r->prob[i * n_tag + tag[i]] = 1.0f;
    }
    r->given = true;
    return ST_OK;
}

/* The tags; hidden states only for a tagger that reads them. */
static st_status make_tags(struct job *j, int64_t at, reading *r, st_error *err)
{
    bool wanted = st_tagger_n_hidden(j->tagger) > 0 && r->attention != NULL;
    if (j->tags != NULL)
        return take_tags(j, at, r, err);
    return st_tagger_run(j->tagger, r->text, r->sentence, r->n,
                         wanted ? r->attention->run.hidden : NULL, r->tag, r->prob, err);
}

/* OUT, or a file in it: line-000012.trace, line-000012-2.trace for the line's second part. NULL:
 * the trace is not kept. */
static const char *trace_path(const struct job *j, const reading *r, int64_t part, char *buf,
                              size_t size)
{
    const char *out = j->args->out;
    char second[32] = "";
    if (out == NULL)
        return NULL;
    if (part > 0)
        snprintf(second, sizeof second, "-%lld", (long long)part + 1);
    if (j->args->jsonl != NULL)
        snprintf(buf, size, "%s/line-%06lld%s.trace", out, (long long)r->line, second);
    else
        snprintf(buf, size, "%s%s", out, second);
    return buf;
}

/* The reading as the trace's document. */
static st_status keep_reading(const reading *r, const char *path, st_error *err)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    st_status status;
    if (f == NULL) {
        *err = (st_error){ST_ERR_MEM, -1, "out of memory"};
        return ST_ERR_MEM;
    }
    reason_print_json(f, r);
    fclose(f);
    status = st_trace_note(path, "reasoning", text, err);
    free(text);
    return status;
}

/* What the run says of the sentences, once they have tags. */
static st_status judge(const reading *r, st_quality *q, st_error *err)
{
    reason_attention *a = r->attention;
    st_attention attention;
    st_status status = reason_attention_read(a, err);
    if (status != ST_OK)
        return status;
    attention = (st_attention){a->mean, a->judged, a->run.token, a->run.surprise};
    return st_quality_of_attention(r->tagger, r->text, r->sentence, r->tag, r->n, &attention,
                                   a->flow, q, err);
}

static st_status cut(const struct job *j, reading *r, st_error *err)
{
    st_text text = {.text = r->text, .line = r->line};
    if (j->args->given)
        return st_texts_sentences(j->texts, &text, r->part, &r->sentence, &r->n, err);
    return st_sentences(r->text, r->part, &j->split, &r->sentence, &r->n, err);
}

static void make_room(reading *r)
{
    size_t n = (size_t)r->n;
    r->tag = out_need(n * sizeof *r->tag);
    r->prob = out_need(n * (size_t)st_tagger_n_tag(r->tagger) * sizeof *r->prob);
    r->phase = out_need(n * sizeof *r->phase);
    r->confidence = out_need(n * sizeof *r->confidence);
    r->boundary = out_need(n * sizeof *r->boundary);
}

static st_status read_trace(struct job *j, int64_t at, const char *keep, reading *r, st_error *err)
{
    st_status status = cut(j, r, err);
    if (status != ST_OK)
        return status;
    make_room(r);
    if (j->model.model != NULL && r->n > 0) {
        r->attention = out_need(sizeof *r->attention);
        *r->attention = (reason_attention){.n_head = 0};
        status =
            reason_run_make(&j->model, r->text, r->sentence, r->n, keep, &r->attention->run, err);
    }
    if (status == ST_OK)
        status = make_tags(j, at, r, err);
    if (status == ST_OK && st_tagger_has_phases(j->tagger)) {
        r->has_phases = true;
        status = st_phases(j->tagger, r->prob, r->n, r->phase, r->confidence, r->boundary, err);
    }
    if (status == ST_OK)
        status =
            st_quality_of_text(j->tagger, r->text, r->sentence, r->tag, r->n, &r->quality, err);
    if (status == ST_OK && r->attention != NULL)
        status = judge(r, &r->quality, err);
    if (status == ST_OK && r->attention != NULL && keep != NULL)
        status = keep_reading(r, keep, err);
    return status;
}

static void free_reading(reading *r)
{
    st_sentences_free(r->sentence);
    free(r->tag);
    free(r->prob);
    free(r->phase);
    free(r->confidence);
    free(r->boundary);
    if (r->attention != NULL)
        reason_attention_free(r->attention);
    free(r->attention);
}

static void print_trace(const struct reason_args *a, const reading *r)
{
    if (a->json) {
        reason_print_json(stdout, r);
        putchar('\n');
    } else if (a->csv) {
        reason_print_csv(r);
    } else {
        reason_print_text(r, a->sentences);
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* "id", "line 3" where it has none, the file's name for a text as it is; "#2" for its second
 * reasoning part. */
static void name_trace(const struct job *j, const st_text *t, int64_t part, char *buf, size_t size)
{
    int n;
    if (*t->id != '\0')
        n = snprintf(buf, size, "%s", t->id);
    else if (t->line > 0)
        n = snprintf(buf, size, "line %lld", (long long)t->line);
    else
        n = snprintf(buf, size, "%s", j->args->file);
    if (part > 0 && n >= 0 && (size_t)n < size)
        snprintf(buf + n, size - (size_t)n, "#%lld", (long long)part + 1);
}

static void complain(struct job *j, const char *about, const st_error *err)
{
    char name[256];
    j->n_failed++;
    fflush(stdout);
    fprintf(stderr, "sparsetrace: %s: %s\n", out_clean(name, sizeof name, about), err->message);
}

static void keep_hidden(struct job *j, const reading *r)
{
    if (j->args->hidden == NULL || r->attention == NULL)
        return;
    hidden_file_add(&j->hidden, r->attention->run.hidden, r->n, reason_n_hidden(&j->model));
    r->attention->run.hidden = NULL;
}

static void read_text(struct job *j, const st_text *t)
{
    st_group part = {0, 0};
    for (int64_t k = 0; st_think_next(t->text, t->n_bytes, part.end, &part); k++) {
        char name[512], path[4096];
        if (j->args->given) /* labels may go on behind the reasoning */
            part.end = t->n_bytes;
        reading r = {.tagger = j->tagger,
                     .tagger_name = j->tagger_name,
                     .model_name = j->model.info.name,
                     .id = name,
                     .text = t->text,
                     .part = part,
                     .line = t->line,
                     .n_replaced = t->n_replaced};
        st_error err;
        name_trace(j, t, k, name, sizeof name);
        if (read_trace(j, j->n_trace++, trace_path(j, &r, k, path, sizeof path), &r, &err) ==
            ST_OK) {
            print_trace(j->args, &r);
            keep_hidden(j, &r);
        } else {
            complain(j, name, &err);
        }
        free_reading(&r);
        if (part.end >= t->n_bytes || out_interrupted())
            break;
    }
}

static int read_texts(struct job *j)
{
    const char *path = j->args->jsonl != NULL ? j->args->jsonl : j->args->file;
    st_text text;
    st_error err;
    if (st_texts_open(path, j->args->jsonl != NULL, j->args->field, &j->texts, &err) != ST_OK)
        return out_failed(&err);
    if (j->args->csv)
        reason_print_csv_head(j->model.model != NULL);
    while (!out_interrupted()) {
        st_status status = st_texts_next(j->texts, &text, &err);
        if (status == ST_OK && text.text == NULL)
            break;
        if (status == ST_OK)
            read_text(j, &text);
        else
            complain(j, path, &err);
    }
    st_texts_free(j->texts);
    return j->n_failed > 0 ? EXIT_FAILED : EXIT_OK;
}

static int open_tags(struct job *j)
{
    int64_t n_unknown;
    st_error err;
    if (j->args->tags == NULL)
        return -1;
    if (st_tag_file_open(j->args->tags, j->tagger, &j->tags, &n_unknown, &err) != ST_OK)
        return out_failed(&err);
    if (n_unknown > 0)
        fprintf(stderr, "sparsetrace: %s: %s; %lld such tags count as unknown\n", j->args->tags,
                err.message, (long long)n_unknown);
    return -1;
}

/* ---- the model and its tagger ---------------------------------------------------------------- */

static int budget(const struct reason_args *a, st_trace_params *p, bool *short_exact)
{
    int code = budget_args_apply(&a->budget, "reason", &p->select, &p->budget, &p->pruned);
    if (code < 0 && p->budget == ST_BUDGET_AUTO)
        return args_complain("reason", "--k auto is for trace: it compares with an exact run");
    p->against = ST_AGAINST_NONE;
    p->cert_rows = (int)a->cert_rows;
    *short_exact = !budget_args_given(&a->budget);
    return code;
}

static int open_model(struct job *j)
{
    const struct reason_args *a = j->args;
    st_model_params p = st_model_params_default();
    st_error err;
    int code;
    j->model.layer = -1;
    if (a->model == NULL)
        return -1;
    j->model.params = st_trace_params_default();
    code = budget(a, &j->model.params, &j->model.short_exact);
    if (code >= 0)
        return code;
    p.n_thread = (int)a->n_thread;
    p.progress = j->model.params.run.progress = (st_progress){out_progress, &j->model.bar};
    j->model.bar.quiet = a->quiet;
    out_catch_interrupt();
    if (st_model_open(a->model, &p, &j->model.model, &err) != ST_OK)
        return out_failed(&err);
    out_progress_end(&j->model.bar);
    st_model_get_info(j->model.model, &j->model.info);
    if (a->out != NULL && a->jsonl != NULL && mkdir(a->out, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "sparsetrace: cannot make the folder %s: %s\n", a->out, strerror(errno));
        return EXIT_FAILED;
    }
    return -1;
}

/* The tagger asked for, else the best one there is for the model; but of text alone if its hidden
 * states are wanted from another layer. */
static st_status choose_tagger(struct job *j, st_error *err)
{
    const struct reason_args *a = j->args;
    st_status status;
    if (a->tagger != NULL || j->model.model == NULL || a->tags != NULL)
        return st_tagger_open(a->tagger, &j->tagger, err);
    status = st_tagger_open_for(j->model.info.name, reason_n_hidden(&j->model), &j->tagger, err);
    if (status != ST_OK || a->layer < 0 || a->layer == st_tagger_hidden_layer(j->tagger))
        return status;
    st_tagger_free(j->tagger);
    return st_tagger_open(NULL, &j->tagger, err);
}

static int open_tagger(struct job *j)
{
    const struct reason_args *a = j->args;
    st_error err;
    st_status status = choose_tagger(j, &err);
    if (status != ST_OK) {
        complain(j, a->tagger != NULL ? a->tagger : "the built-in tagger", &err);
        return EXIT_FAILED;
    }
    j->tagger_name = a->tagger != NULL                   ? a->tagger
                     : st_tagger_n_hidden(j->tagger) > 0 ? st_tagger_model(j->tagger)
                                                         : "text";
    return -1;
}

/* Whose hidden states are taken: the tagger's layer, or --layer. */
static int choose_layer(struct job *j)
{
    const struct reason_args *a = j->args;
    int64_t want = j->tags == NULL ? st_tagger_n_hidden(j->tagger) : 0;
    int layer = st_tagger_hidden_layer(j->tagger);
    const char *name = st_tagger_model(j->tagger);
    if (a->model == NULL && want > 0)
        return args_complain("reason", "--tagger %s reads hidden states: give -m MODEL", a->tagger);
    if (a->model == NULL)
        return -1;
    if (a->hidden != NULL)
        j->model.layer = (int)a->layer;
    if (want == 0)
        return -1;
    if (a->layer >= 0 && a->layer != layer)
        return args_complain("reason", "--layer %lld: tagger %s reads layer %d",
                             (long long)a->layer, j->tagger_name, layer);
    j->model.layer = layer;
    if (want != reason_n_hidden(&j->model))
        return args_complain("reason",
                             "--tagger %s was trained on another model: it wants %lld numbers a "
                             "sentence, this one gives %lld",
                             a->tagger, (long long)want, (long long)reason_n_hidden(&j->model));
    if (*name != '\0' && strcmp(name, j->model.info.name) != 0)
        fprintf(stderr, "sparsetrace: note: tagger %s was trained on \"%s\"\n", a->tagger, name);
    return -1;
}

static int work(struct job *j)
{
    st_error err;
    int code = open_model(j);
    if (code < 0)
        code = open_tagger(j);
    if (code < 0)
        code = open_tags(j);
    if (code < 0)
        code = choose_layer(j);
    if (code < 0)
        code = read_texts(j);
    if (code == EXIT_OK && j->args->hidden != NULL &&
        hidden_file_write(&j->hidden, &j->model, j->args->hidden, &err) != ST_OK)
        code = out_failed(&err);
    return code;
}

int cmd_reason(int argc, char **argv)
{
    struct reason_args a = {.layer = -1, .cert_rows = 8, .budget = budget_args_sentences()};
    struct job j = {.args = &a};
    int code;
    code = parse(&a, argc, argv);
    if (code < 0)
        code = split_args_apply(&a.split, "reason", &j.split);
    if (code >= 0)
        return code;
    code = work(&j);
    hidden_file_free(&j.hidden);
    st_model_free(j.model.model);
    st_tag_file_free(j.tags);
    st_tagger_free(j.tagger);
    return code;
}
