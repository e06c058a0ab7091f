/* SPDX-License-Identifier: MIT
 *
 * cmd_reason.c — sparsetrace reason: what the sentences of a chain of thought do. Each trace goes
 * the same way: sentences, tags, phases, quality, print. A trace that cannot be read is named and
 * costs itself alone.
 */
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "cmd.h"
#include "out.h"
#include "reason_model.h"
#include "reason_out.h"

struct reason_args {
    const char *file, *jsonl, *field, *split, *regex, *tags, *tagger, *model, *hidden;
    int64_t layer, k, n_thread;
    bool json, csv, sentences, quiet;
};

struct job {
    const struct reason_args *args;
    st_split_params split;
    st_tagger *tagger;
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
        {"--split", "HOW", ARG_TEXT, &a->split, 0, 0, "thought-anchors (default), newline, regex"},
        {"--regex", "RE", ARG_TEXT, &a->regex, 0, 0,
         "what stands between sentences, for --split regex"},
        {"--tags", "FILE", ARG_TEXT, &a->tags, 0, 0,
         "tags from elsewhere: a labeller's JSON, JSONL, or a plain list"},
        {"--tagger", "FILE", ARG_TEXT, &a->tagger, 0, 0,
         "other weights than the built-in ones (train_tagger.py)"},
        {"-m", "MODEL", ARG_TEXT, &a->model, 0, 0,
         "GGUF model whose hidden states --tagger or --hidden wants"},
        {"--layer", "N", ARG_INT, &a->layer, 0, 100000, "after which layer (the tagger's own)"},
        {"--k", "K", ARG_INT, &a->k, 1, 1000000,
         "sparse attention: key blocks per query block (exact attention)"},
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
        "judges it as far as the text alone allows.",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, NULL, &n_word);
    if (code >= 0)
        return code;
    if ((a->file != NULL) == (a->jsonl != NULL))
        return args_complain("reason", "reason wants a text: either -f FILE or --jsonl FILE");
    if (a->field != NULL && a->jsonl == NULL)
        return args_complain("reason", "--field belongs to --jsonl");
    if (a->json && a->csv)
        return args_complain("reason", "--json and --csv are two formats: give one");
    if (a->model == NULL && (a->hidden != NULL || a->layer >= 0 || a->k > 0))
        return args_complain("reason", "--hidden, --layer and --k belong to -m MODEL");
    if (a->hidden != NULL && a->layer < 0)
        return args_complain("reason", "--hidden wants --layer N");
    return -1;
}

static int choose_split(const struct reason_args *a, st_split_params *p)
{
    static const char *const name[] = {"thought-anchors", "newline", "regex"};
    const char *how = a->split != NULL ? a->split : a->regex != NULL ? "regex" : name[0];
    *p = st_split_params_default();
    for (int i = 0; i < 3; i++)
        if (strcmp(how, name[i]) == 0) {
            p->how = (st_split)i;
            p->regex = a->regex;
            if ((p->how == ST_SPLIT_REGEX) == (a->regex != NULL))
                return -1;
            return args_complain("reason", "--split regex and --regex RE belong together");
        }
    return args_complain("reason", "--split: no way \"%s\" (thought-anchors, newline, regex)", how);
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

/* The tags, and before them the model's run where one is asked for. */
static st_status make_tags(struct job *j, int64_t at, reading *r, st_error *err)
{
    float *hidden = NULL;
    bool wanted = st_tagger_n_hidden(j->tagger) > 0 && j->tags == NULL;
    st_status status = ST_OK;
    if (wanted || j->args->hidden != NULL)
        status = reason_hidden(&j->model, r->text, r->sentence, r->n, &hidden, err);
    if (status == ST_OK && j->tags != NULL)
        status = take_tags(j, at, r, err);
    else if (status == ST_OK)
        status = st_tagger_run(j->tagger, r->text, r->sentence, r->n, wanted ? hidden : NULL,
                               r->tag, r->prob, err);
    if (status == ST_OK && j->args->hidden != NULL)
        hidden_file_add(&j->hidden, hidden, r->n, reason_n_hidden(&j->model));
    else
        free(hidden);
    return status;
}

static st_status read_trace(struct job *j, int64_t at, reading *r, st_error *err)
{
    st_status status = st_sentences(r->text, r->part, &j->split, &r->sentence, &r->n, err);
    size_t n = (size_t)r->n;
    if (status != ST_OK)
        return status;
    r->tag = out_need(n * sizeof *r->tag);
    r->prob = out_need(n * (size_t)st_tagger_n_tag(j->tagger) * sizeof *r->prob);
    r->phase = out_need(n * sizeof *r->phase);
    r->confidence = out_need(n * sizeof *r->confidence);
    r->boundary = out_need(n * sizeof *r->boundary);
    status = make_tags(j, at, r, err);
    if (status == ST_OK && st_tagger_has_phases(j->tagger)) {
        r->has_phases = true;
        status = st_phases(j->tagger, r->prob, r->n, r->phase, r->confidence, r->boundary, err);
    }
    if (status == ST_OK)
        status =
            st_quality_of_text(j->tagger, r->text, r->sentence, r->tag, r->n, &r->quality, err);
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
}

static void print_trace(const struct reason_args *a, const reading *r)
{
    if (a->json)
        reason_print_json(r);
    else if (a->csv)
        reason_print_csv(r);
    else
        reason_print_text(r, a->sentences);
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

static void read_text(struct job *j, const st_text *t)
{
    st_group part = {0, 0};
    for (int64_t k = 0; st_think_next(t->text, t->n_bytes, part.end, &part); k++) {
        char name[512];
        reading r = {.tagger = j->tagger,
                     .id = name,
                     .text = t->text,
                     .part = part,
                     .line = t->line,
                     .n_replaced = t->n_replaced};
        st_error err;
        name_trace(j, t, k, name, sizeof name);
        if (read_trace(j, j->n_trace++, &r, &err) == ST_OK)
            print_trace(j->args, &r);
        else
            complain(j, name, &err);
        free_reading(&r);
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
    if (j->args->csv)
        reason_print_csv_head();
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

/* The model, if the tagger or --hidden wants one. */
static int open_model(struct job *j)
{
    const struct reason_args *a = j->args;
    int64_t want = j->tags == NULL ? st_tagger_n_hidden(j->tagger) : 0;
    int layer = st_tagger_hidden_layer(j->tagger);
    st_model_params p = st_model_params_default();
    st_error err;
    if (a->model == NULL && want > 0)
        return args_complain("reason", "--tagger %s reads hidden states: give -m MODEL", a->tagger);
    if (a->model == NULL)
        return -1;
    if (want == 0 && a->hidden == NULL)
        return args_complain("reason",
                             "-m: this tagger reads text alone, and there is no --hidden");
    j->model.layer = a->layer >= 0 ? (int)a->layer : layer;
    j->model.k = a->k;
    if (want > 0 && j->model.layer != layer)
        return args_complain("reason", "--layer %d: --tagger %s reads layer %d", j->model.layer,
                             a->tagger, layer);
    p.n_thread = (int)a->n_thread;
    p.progress = (st_progress){out_progress, &j->model.bar};
    j->model.bar.quiet = a->quiet;
    out_catch_interrupt();
    if (st_model_open(a->model, &p, &j->model.model, &err) != ST_OK)
        return out_failed(&err);
    out_progress_end(&j->model.bar);
    if (want > 0 && want != reason_n_hidden(&j->model))
        return args_complain("reason",
                             "--tagger %s was trained on another model: it wants %lld numbers a "
                             "sentence, this one gives %lld",
                             a->tagger, (long long)want, (long long)reason_n_hidden(&j->model));
    return -1;
}

int cmd_reason(int argc, char **argv)
{
    struct reason_args a = {.layer = -1};
    struct job j = {.args = &a};
    st_error err;
    int code = parse(&a, argc, argv);
    if (code < 0)
        code = choose_split(&a, &j.split);
    if (code >= 0)
        return code;
    if (st_tagger_open(a.tagger, &j.tagger, &err) != ST_OK) {
        complain(&j, a.tagger != NULL ? a.tagger : "the built-in tagger", &err);
        return EXIT_FAILED;
    }
    code = open_tags(&j);
    if (code < 0)
        code = open_model(&j);
    if (code < 0)
        code = read_texts(&j);
    if (code == EXIT_OK && a.hidden != NULL &&
        hidden_file_write(&j.hidden, a.hidden, &err) != ST_OK)
        code = out_failed(&err);
    hidden_file_free(&j.hidden);
    st_model_free(j.model.model);
    st_tag_file_free(j.tags);
    st_tagger_free(j.tagger);
    return code;
}
