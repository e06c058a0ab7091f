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
#include "paths.h"
#include "reason_read.h"
#include "split_args.h"

#define CERT_ROWS 8

struct reason_args {
    const char *file, *jsonl, *field, *tags, *tagger, *model, *hidden, *out;
    split_args split;
    budget_args budget;
    int64_t layer, cert_rows, n_thread;
    bool json, csv, sentences, quiet, given, compare;
    const char *side[2]; /* --compare */
};

struct job {
    const struct reason_args *args;
    reason_reader reader;
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
        BUDGET_OPTIONS_WITH(a->budget, "on with --pruned", "off",
                            "stream (default), auto, scan, flat, exact, hip, window",
                            "4; 1 at 98 % or where a row keeps fewer than 40 keys", "1"),
        {"--cert-rows", "N", ARG_INT, &a->cert_rows, 0, 65536,
         "rows a layer that are attended exactly, for the certificate (8)"},
        {"--layer", "N", ARG_INT, &a->layer, 0, 100000, "--hidden: after which layer"},
        {"--hidden", "FILE", ARG_TEXT, &a->hidden, 0, 0,
         "write the sentences' hidden states, for train_tagger.py"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 512, "default: all processors"},
        {"--quiet", NULL, ARG_FLAG, &a->quiet, 0, 0, "no progress"},
        {"--compare", NULL, ARG_FLAG, &a->compare, 0, 0,
         "two traces of one problem, files A and B, side by side"},
        {"--sentences", NULL, ARG_FLAG, &a->sentences, 0, 0, "list every sentence with its tag"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print one JSON object a trace, one a line"},
        {"--csv", NULL, ARG_FLAG, &a->csv, 0, 0, "print one row a sentence"},
    };
    const arg_verb verb = {
        "reason", "-f TEXT | --jsonl FILE | --compare A B [options]",
        "Splits a chain of thought into sentences, says what each one does, finds its phases, and\n"
        "measures its quality: by the text alone, or with -m MODEL by a model's attention too\n"
        "(97 % pruned, key blocks of one token, unless a budget says else).",
        option, sizeof option / sizeof *option, 0, 2};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, a->side, &n_word);
    if (code >= 0)
        return code;
    if (a->compare && (n_word != 2 || a->file != NULL || a->jsonl != NULL || a->csv || a->out))
        return args_complain("reason", "--compare wants two files, without -f, --jsonl, --csv, -o");
    if (!a->compare && n_word > 0)
        return args_complain("reason", "unexpected \"%s\": a text goes with -f", a->side[0]);
    if (!a->compare && (a->file != NULL) == (a->jsonl != NULL))
        return args_complain("reason", "reason wants a text: either -f FILE or --jsonl FILE");
    if ((a->field != NULL || a->given) && a->jsonl == NULL)
        return args_complain("reason", "%s belongs to --jsonl", a->given ? "--given" : "--field");
    if (a->json && a->csv)
        return args_complain("reason", "--json and --csv are two formats: give one");
    if (a->model == NULL && (a->hidden != NULL || a->layer >= 0 || a->out != NULL))
        return args_complain("reason", "--hidden, --layer and -o belong to -m MODEL");
    if (a->model == NULL && (a->cert_rows >= 0 || budget_args_typed(&a->budget) != NULL))
        return args_complain("reason", "%s belongs to -m MODEL",
                             a->cert_rows >= 0 ? "--cert-rows" : budget_args_typed(&a->budget));
    if (a->hidden != NULL && a->compare)
        return args_complain("reason", "--hidden and --compare exclude each other");
    if (a->hidden != NULL && a->layer < 0)
        return args_complain("reason", "--hidden wants --layer N");
    code = PATHS_APART("reason", "-o", a->out, a->file, a->jsonl, a->tags, a->tagger, a->model);
    return code < 0 ? PATHS_APART("reason", "--hidden", a->hidden, a->file, a->jsonl, a->tags,
                                  a->tagger, a->model, a->out)
                    : code;
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
    fflush(stdout); /* the next one may take its time */
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

/* The path of a further part is known only now. */
static bool would_overwrite(struct job *j, int64_t part, const char *out)
{
    const struct reason_args *a = j->args;
    bool is = part > 0 && a->jsonl == NULL &&
              PATHS_APART("reason", "-o", out, a->file, a->tags, a->tagger, a->model) >= 0;
    j->n_failed += is;
    return is;
}

/* A text without a sentence is read, but nothing runs that could be kept. */
static void miss(struct job *j, const reading *r, const char *out)
{
    st_error err;
    if (r->n > 0 || out == NULL)
        return;
    snprintf(err.message, sizeof err.message, "no sentence in it: %.400s is not written", out);
    complain(j, r->id, &err);
}

static void keep_hidden(struct job *j, const reading *r)
{
    if (j->args->hidden == NULL || r->attention == NULL)
        return;
    hidden_file_add(&j->hidden, r->attention->run.hidden, r->n, reason_n_hidden(&j->reader.model));
    r->attention->run.hidden = NULL;
}

static void read_text(struct job *j, const st_text *t)
{
    st_group part = {0, 0};
    for (int64_t k = 0; st_think_next(t->text, t->n_bytes, part.end, &part); k++) {
        char name[512], path[4096];
        if (j->args->given) /* labels may go on behind the reasoning */
            part.end = t->n_bytes;
        reading r = {.id = name,
                     .text = t->text,
                     .part = part,
                     .line = t->line,
                     .n_replaced = t->n_replaced};
        st_error err;
        const char *out = trace_path(j, &r, k, path, sizeof path);
        name_trace(j, t, k, name, sizeof name);
        if (would_overwrite(j, k, out))
            break;
        if (reason_read(&j->reader, j->n_trace++, out, &r, &err) == ST_OK) {
            print_trace(j->args, &r);
            keep_hidden(j, &r);
            miss(j, &r, out);
        } else {
            complain(j, name, &err);
        }
        reason_free(&r);
        if (part.end >= t->n_bytes || out_interrupted())
            break;
    }
}

static int read_texts(struct job *j)
{
    const char *path = j->args->jsonl != NULL ? j->args->jsonl : j->args->file;
    st_texts *texts;
    st_text text;
    st_error err;
    if (st_texts_open(path, j->args->jsonl != NULL, j->args->field, &texts, &err) != ST_OK)
        return out_failed(&err);
    j->reader.given = j->args->given ? texts : NULL;
    if (j->args->csv)
        reason_print_csv_head(j->reader.model.model != NULL);
    while (!out_interrupted()) {
        st_status status = st_texts_next(texts, &text, &err);
        if (status == ST_OK && text.text == NULL)
            break;
        if (status == ST_OK)
            read_text(j, &text);
        else
            complain(j, path, &err);
    }
    st_texts_free(texts);
    return j->n_failed > 0 ? EXIT_FAILED : EXIT_OK;
}

/* The first reasoning part of a file. */
static st_status read_side(struct job *j, int side, st_texts **texts, reading *r, st_error *err)
{
    const char *path = j->args->side[side];
    st_text text;
    st_status status = st_texts_open(path, false, NULL, texts, err);
    if (status == ST_OK)
        status = st_texts_next(*texts, &text, err);
    if (status != ST_OK)
        return status;
    *r = (reading){.id = path, .text = text.text};
    st_think_next(text.text, text.n_bytes, 0, &r->part);
    return reason_read(&j->reader, side, NULL, r, err);
}

static int compare(struct job *j)
{
    st_texts *texts[2] = {NULL, NULL};
    reading r[2] = {{.n = 0}, {.n = 0}};
    st_error err;
    bool ok = true;
    for (int i = 0; ok && i < 2; i++) {
        ok = read_side(j, i, &texts[i], &r[i], &err) == ST_OK;
        if (!ok)
            complain(j, j->args->side[i], &err);
    }
    if (ok && j->args->json)
        reason_print_json_pair(&r[0], &r[1]);
    else if (ok)
        reason_print_pair(&r[0], &r[1]);
    for (int i = 0; i < 2; i++) {
        reason_free(&r[i]);
        st_texts_free(texts[i]);
    }
    return ok ? EXIT_OK : EXIT_FAILED;
}

static int open_tags(struct job *j)
{
    int64_t n_unknown;
    st_error err;
    if (j->args->tags == NULL)
        return -1;
    j->reader.tags_path = j->args->tags;
    if (st_tag_file_open(j->args->tags, j->reader.tagger, &j->reader.tags, &n_unknown, &err) !=
        ST_OK)
        return out_failed(&err);
    if (n_unknown > 0)
        fprintf(stderr, "sparsetrace: %s: %s; %lld such tags count as unknown\n", j->args->tags,
                err.message, (long long)n_unknown);
    return -1;
}

/* ---- the model and its tagger ---------------------------------------------------------------- */

static int budget(const struct reason_args *a, st_trace_params *p)
{
    int code = budget_args_apply(&a->budget, "reason", &p->select, &p->budget, &p->pruned);
    if (code < 0 && p->budget == ST_BUDGET_AUTO)
        return args_complain("reason", "--k auto is for trace: it compares with an exact run");
    p->against = ST_AGAINST_NONE;
    return code;
}

static int open_model(struct job *j)
{
    const struct reason_args *a = j->args;
    st_model_params p = st_model_params_default();
    st_error err;
    int code;
    j->reader.model.layer = -1;
    if (a->model == NULL)
        return -1;
    j->reader.model.params = st_trace_params_default();
    j->reader.model.budget = &a->budget;
    j->reader.model.cert_rows = a->cert_rows >= 0 ? a->cert_rows : CERT_ROWS;
    code = budget(a, &j->reader.model.params);
    if (code >= 0)
        return code;
    p.n_thread = (int)a->n_thread;
    p.progress = j->reader.model.params.run.progress =
        (st_progress){out_progress, &j->reader.model.bar};
    j->reader.model.bar.quiet = a->quiet;
    out_catch_interrupt();
    if (st_model_open(a->model, &p, &j->reader.model.model, &err) != ST_OK)
        return out_failed(&err);
    out_progress_end(&j->reader.model.bar);
    st_model_get_info(j->reader.model.model, &j->reader.model.info);
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
    if (a->tagger != NULL || j->reader.model.model == NULL || a->tags != NULL)
        return st_tagger_open(a->tagger, &j->reader.tagger, err);
    status = st_tagger_open_for(j->reader.model.info.name, reason_n_hidden(&j->reader.model),
                                &j->reader.tagger, err);
    if (status != ST_OK || a->layer < 0 || a->layer == st_tagger_hidden_layer(j->reader.tagger))
        return status;
    st_tagger_free(j->reader.tagger);
    return st_tagger_open(NULL, &j->reader.tagger, err);
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
    j->reader.tagger_name = a->tags != NULL     ? "given"
                            : a->tagger != NULL ? a->tagger
                            : st_tagger_n_hidden(j->reader.tagger) > 0
                                ? st_tagger_model(j->reader.tagger)
                                : "text";
    return -1;
}

/* Whose hidden states are taken: the tagger's layer, or --layer. */
static int choose_layer(struct job *j)
{
    const struct reason_args *a = j->args;
    int64_t want = j->reader.tags == NULL ? st_tagger_n_hidden(j->reader.tagger) : 0;
    int layer = st_tagger_hidden_layer(j->reader.tagger);
    const char *name = st_tagger_model(j->reader.tagger);
    if (a->model == NULL && want > 0)
        return args_complain("reason", "--tagger %s reads hidden states: give -m MODEL", a->tagger);
    if (a->model == NULL)
        return -1;
    if (a->hidden != NULL)
        j->reader.model.layer = (int)a->layer;
    if (want == 0)
        return -1;
    if (a->layer >= 0 && a->layer != layer)
        return args_complain("reason", "--layer %lld: tagger %s reads layer %d",
                             (long long)a->layer, j->reader.tagger_name, layer);
    j->reader.model.layer = layer;
    if (want != reason_n_hidden(&j->reader.model))
        return args_complain("reason",
                             "--tagger %s was trained on another model: it wants %lld numbers a "
                             "sentence, this one gives %lld",
                             a->tagger, (long long)want,
                             (long long)reason_n_hidden(&j->reader.model));
    if (*name != '\0' && strcmp(name, j->reader.model.info.name) != 0)
        fprintf(stderr, "sparsetrace: note: tagger %s was trained on \"%s\"\n", a->tagger, name);
    return -1;
}

/* It counts the traces: one that is missing would shift those behind it. */
static int write_hidden(const struct job *j, int code)
{
    st_error err;
    if (code == EXIT_OK)
        return hidden_file_write(&j->hidden, &j->reader.model, j->args->hidden, &err) == ST_OK
                   ? EXIT_OK
                   : out_failed(&err);
    if (j->hidden.n > 0)
        fprintf(stderr, "sparsetrace: %s is not written: not every trace could be read\n",
                j->args->hidden);
    return code;
}

static int work(struct job *j)
{
    int code = paths_writable(j->args->hidden);
    if (code < 0)
        code = open_model(j);
    if (code < 0)
        code = open_tagger(j);
    if (code < 0)
        code = open_tags(j);
    if (code < 0)
        code = choose_layer(j);
    if (code < 0)
        code = j->args->compare ? compare(j) : read_texts(j);
    return j->args->hidden != NULL ? write_hidden(j, code) : code;
}

int cmd_reason(int argc, char **argv)
{
    struct reason_args a = {.layer = -1, .cert_rows = -1, .budget = budget_args_sentences()};
    struct job j = {.args = &a};
    int code;
    code = parse(&a, argc, argv);
    if (code < 0)
        code = split_args_apply(&a.split, "reason", &j.reader.split);
    if (code >= 0)
        return code;
    code = work(&j);
    hidden_file_free(&j.hidden);
    st_model_free(j.reader.model.model);
    st_tag_file_free(j.reader.tags);
    st_tagger_free(j.reader.tagger);
    return code;
}
