/* SPDX-License-Identifier: MIT
 *
 * cmd_watch.c — sparsetrace watch: a chain of thought while it grows. Text is cut as it comes; a
 * sentence is whole once something stands behind it. Each new one is read by the model, if there is
 * one, and tagged together with the last ones before it, so that tagging it does not cost more as
 * the text grows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "cmd.h"
#include "watch.h"

#define WINDOW 256      /* sentences that are tagged together */
#define CHUNK 65536     /* bytes of a read */
#define SURE 0.5f       /* rules see no tag that is less probable */
#define PAUSE_US 200000 /* --follow: between two looks at the file */

/* The first option that only a model obeys and that was typed; NULL: none. */
static const char *typed_for_model(const watch_model_args *m)
{
    return m->k > 0            ? "--k"
           : m->select != NULL ? "--select"
           : m->block_q > 0    ? "--block-q"
           : m->block_k > 0    ? "--block-k"
           : m->max_tok > 0    ? "--max-tokens"
                               : NULL;
}

static int parse(struct watch_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"-f", "FILE", ARG_TEXT, &a->file, 0, 0, "the text (standard input)"},
        {"--follow", NULL, ARG_FLAG, &a->follow, 0, 0,
         "at the file's end wait for more, until Ctrl-C or </think>"},
        {"--rules", "FILE", ARG_TEXT, &a->rules, 0, 0, "rules to flag by, not the usual ones"},
        SPLIT_OPTIONS(a->split),
        {"--tagger", "FILE", ARG_TEXT, &a->tagger, 0, 0,
         "other weights than the built-in ones (train_tagger.py)"},
        {"-m", "MODEL", ARG_TEXT, &a->model.path, 0, 0,
         "GGUF model that reads along, with sparse attention: who leans on whom,\n"
         "anchors, surprise; better tags for a model we know"},
        {"--k", "N", ARG_INT, &a->model.k, 1, 1 << 24,
         "-m: key blocks that each query block looks at (64)"},
        {"--select", "METHOD", ARG_TEXT, &a->model.select, 0, 0,
         "-m: stream (default), auto, scan, flat, exact, hip, window"},
        {"--block-q", "N", ARG_INT, &a->model.block_q, 1, 1024, "-m: rows of a query block (4)"},
        {"--block-k", "N", ARG_INT, &a->model.block_k, 1, 1024, "-m: keys of a key block (1)"},
        {"--max-tokens", "N", ARG_INT, &a->model.max_tok, 64, 1 << 24,
         "-m: room for this many tokens; at more it ends (16384)"},
        {"--threads", "N", ARG_INT, &a->model.n_thread, 1, 512, "-m: default: all processors"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "one JSON object a line"},
    };
    const arg_verb verb = {
        "watch", "[-f FILE] [options]",
        "Follows a chain of thought while it is written: what each new sentence does, its phase,\n"
        "and a line that begins with ! where a rule fires; with -m MODEL also what it leans on,\n"
        "and the anchors so far.",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, NULL, &n_word);
    if (code >= 0)
        return code;
    if (a->follow && a->file == NULL)
        return args_complain("watch", "--follow wants -f FILE; standard input is followed anyway");
    if (a->model.path == NULL && typed_for_model(&a->model) != NULL)
        return args_complain("watch", "%s belongs to -m MODEL", typed_for_model(&a->model));
    return -1;
}

/* ---- a new sentence -------------------------------------------------------------------------- */

static bool tagged(const struct watch *w, int64_t i, const char *name)
{
    return strcmp(watch_tag_name(w, i), name) == 0;
}

static const char *phase_name(const struct watch *w, st_phase phase)
{
    return st_tagger_has_phases(w->tagger) ? st_phase_name(phase) : "-";
}

static double since(int64_t n, int64_t last)
{
    return (double)(last < 0 ? n : n - 1 - last);
}

static watch_state state_of(const struct watch *w, const st_quality *q, const char *phase)
{
    watch_state s = {.tag = watch_tag_name(w, w->n - 1), .phase = phase};
    int64_t last_doubt = -1, last_check = -1, last_result = -1;
    for (int64_t i = 0; i < w->n; i++) {
        if (tagged(w, i, "uncertainty_management")) {
            s.value[WATCH_DOUBTS]++;
            s.value[WATCH_DOUBTS_OF_10] += i >= w->n - 10;
            last_doubt = i;
        } else if (tagged(w, i, "self_checking")) {
            s.value[WATCH_CHECKS]++;
            last_check = i;
        } else if (tagged(w, i, "result_consolidation")) {
            s.value[WATCH_RESULTS]++;
            last_result = i;
        } else if (tagged(w, i, "final_answer_emission")) {
            s.value[WATCH_ANSWERS]++;
        }
    }
    s.value[WATCH_SENTENCES] = (double)w->n;
    s.value[WATCH_SINCE_DOUBT] = since(w->n, last_doubt);
    s.value[WATCH_SINCE_CHECK] = since(w->n, last_check);
    s.value[WATCH_SINCE_RESULT] = since(w->n, last_result);
    s.value[WATCH_REPEATED] = q->repeated_share;
    watch_model_state(&w->model, &s);
    return s;
}

/* The anchors as a set: a sum does not look at their order. */
static uint64_t anchor_mark(const watch_model *m)
{
    uint64_t mark = 0;
    for (int64_t k = 0; k < m->n_anchor; k++)
        mark += ((uint64_t)m->anchor[k].sentence + 1) * 0x9e3779b97f4a7c15u >> 3;
    return mark;
}

/* Tags the last sentences anew; prints the newest, those before it whose tag or phase
 * changed, the anchors if they are others now, and the rules that fire. */
static st_status look(struct watch *w, bool anchors, st_error *err)
{
    int n_tag = st_tagger_n_tag(w->tagger);
    int64_t from = w->n > WINDOW ? w->n - WINDOW : 0, n = w->n - from;
    int32_t tag[WINDOW];
    st_phase phase[WINDOW] = {0};
    float *prob = out_need((size_t)(n * n_tag) * sizeof *prob);
    const st_group *sentence = w->sentence + from;
    const float *hidden =
        w->model.n_hidden > 0 ? w->model.hidden + from * w->model.n_hidden : NULL;
    st_quality q;
    st_status status = st_tagger_run(w->tagger, w->text, sentence, n, hidden, tag, prob, err);
    if (status == ST_OK && st_tagger_has_phases(w->tagger))
        status = st_phases(w->tagger, prob, n, phase, NULL, NULL, err);
    if (status == ST_OK)
        status = st_quality_of_text(w->tagger, w->text, sentence, tag, n, &q, err);
    for (int64_t i = 0; status == ST_OK && i < n; i++) {
        bool newest = i == n - 1;
        if (!newest && w->tag[from + i] == tag[i] && w->phase[from + i] == phase[i])
            continue;
        w->tag[from + i] = tag[i];
        w->phase[from + i] = phase[i];
        watch_print_sentence(w, from + i, (double)prob[i * n_tag + tag[i]], phase_name(w, phase[i]),
                       !newest);
    }
    if (status == ST_OK && anchors)
        watch_print_anchors(w);
    if (status == ST_OK) {
        watch_state s = state_of(w, &q, phase_name(w, phase[n - 1]));
        if (prob[(n - 1) * n_tag + tag[n - 1]] < SURE)
            s.tag = "unsure";
        const char *name, *text;
        for (int at = 0; (name = watch_rules_next(w->rules, &s, &at, &text)) != NULL;)
            watch_print_flag(w, name, text);
    }
    free(prob);
    fflush(stdout);
    return status;
}

static void add_sentence(struct watch *w, st_group s)
{
    if (w->n == w->cap_n) {
        int64_t cap = 2 * w->cap_n + 64;
        st_group *sentence = out_need((size_t)cap * sizeof *sentence);
        int32_t *tag = out_need((size_t)cap * sizeof *tag);
        st_phase *phase = out_need((size_t)cap * sizeof *phase);
        if (w->n > 0) {
            memcpy(phase, w->phase, (size_t)w->n * sizeof *phase);
            memcpy(sentence, w->sentence, (size_t)w->n * sizeof *sentence);
            memcpy(tag, w->tag, (size_t)w->n * sizeof *tag);
        }
        free(w->sentence);
        free(w->tag);
        free(w->phase);
        w->sentence = sentence;
        w->tag = tag;
        w->phase = phase;
        w->cap_n = cap;
    }
    w->sentence[w->n] = s;
    w->tag[w->n++] = -1;
}

/* A new whole sentence: the model reads it, then it is tagged, and what has changed is said. */
static st_status read_sentence(struct watch *w, st_group s, st_error *err)
{
    uint64_t before = anchor_mark(&w->model);
    st_status status = watch_model_read(&w->model, w->text, s, err);
    if (status != ST_OK)
        return status;
    add_sentence(w, s);
    return look(w, anchor_mark(&w->model) != before, err);
}

/* ---- text as it comes ------------------------------------------------------------------------ */

/* Adds the sentences of what is new up to `end`; the last one is still growing unless `whole`. */
static st_status cut(struct watch *w, int64_t end, bool whole, st_error *err)
{
    st_group *sentence;
    int64_t n;
    st_status status = ST_OK;
    if (end <= w->done)
        return ST_OK;
    status = st_sentences(w->text, (st_group){w->done, end}, &w->split, &sentence, &n, err);
    for (int64_t i = 0; status == ST_OK && i < n - !whole; i++) {
        status = read_sentence(w, sentence[i], err);
        w->done = sentence[i].end;
    }
    st_sentences_free(sentence);
    return status;
}

/* Where the mark stands that opens reasoning at byte `begin`; -1: there is none. */
static int64_t opened_at(const struct watch *w, int64_t begin)
{
    static const int64_t n = sizeof "<think>" - 1;
    while (begin > 0 && strchr(" \t\r\n", w->text[begin - 1]) != NULL)
        begin--;
    return begin >= n && memcmp(w->text + begin - n, "<think>", (size_t)n) == 0 ? begin - n : -1;
}

/* A <think> came: what stood before it was no reasoning. That is known too late in a text that
 * grows: its sentences have been said, and must be, however much of it one read brings. */
static st_status forget(struct watch *w, int64_t mark, st_error *err)
{
    st_status status = w->grows ? cut(w, mark, true, err) : ST_OK;
    if (status == ST_OK && w->n > 0)
        printf(w->args->json ? "{\"think\":%lld}\n" : "------ <think> at byte %lld\n",
               (long long)mark);
    w->n = 0;
    if (status == ST_OK)
        watch_model_forget(&w->model);
    return status;
}

/* Cuts what is new. */
static st_status take(struct watch *w, bool end, st_error *err)
{
    st_group part = {0, 0};
    st_status status = ST_OK;
    if (w->n_bytes > 0) /* from <think> on if it is there, up to </think> */
        st_think_next(w->text, w->n_bytes, 0, &part);
    if (part.begin > w->done) {
        int64_t mark = opened_at(w, part.begin);
        if (mark >= w->done)
            status = forget(w, mark, err);
        w->done = part.begin;
    }
    return status == ST_OK ? cut(w, part.end, end, err) : status;
}

static void append(struct watch *w, const char *data, int64_t n)
{
    if (w->n_bytes + n + 1 > w->cap) {
        int64_t cap = 2 * (w->n_bytes + n) + CHUNK;
        char *text = out_need((size_t)cap);
        if (w->n_bytes > 0)
            memcpy(text, w->text, (size_t)w->n_bytes);
        free(w->text);
        w->text = text;
        w->cap = cap;
    }
    memcpy(w->text + w->n_bytes, data, (size_t)n);
    w->n_bytes += n;
    w->text[w->n_bytes] = '\0';
}

static bool closed(const struct watch *w)
{
    static const char mark[] = "</think>";
    for (int64_t i = 0; i + (int64_t)strlen(mark) <= w->n_bytes; i++)
        if (memcmp(w->text + i, mark, strlen(mark)) == 0)
            return true;
    return false;
}

static st_status follow(struct watch *w, st_error *err)
{
    char data[CHUNK];
    st_status status = ST_OK;
    while (status == ST_OK && !out_interrupted()) {
        ssize_t n = read(fileno(w->in), data, sizeof data);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            *err = (st_error){ST_ERR_IO, -1, ""};
            snprintf(err->message, sizeof err->message, "cannot read %.300s: %s",
                     w->in == stdin ? "standard input" : w->args->file, strerror(errno));
            return ST_ERR_IO;
        }
        if (n > 0) {
            append(w, data, n);
            status = w->grows ? take(w, false, err) : ST_OK;
        } else if (!w->args->follow || closed(w)) {
            break;
        } else {
            usleep(PAUSE_US);
        }
    }
    return status == ST_OK ? take(w, true, err) : status;
}

/* The tagger asked for, else the best one there is for the model. */
static int open_tagger(struct watch *w)
{
    const char *path = w->args->tagger;
    const st_model_info *info = &w->model.info;
    int64_t n_hidden;
    st_error err;
    st_status status =
        path != NULL || w->model.model == NULL
            ? st_tagger_open(path, &w->tagger, &err)
            : st_tagger_open_for(info->name, 2 * (int64_t)info->n_embd, &w->tagger, &err);
    if (status != ST_OK)
        return path != NULL ? out_failed_in(path, &err) : out_failed(&err);
    n_hidden = st_tagger_n_hidden(w->tagger);
    if (n_hidden > 0 && w->model.model == NULL)
        return args_complain("watch", "--tagger %s reads hidden states: give -m MODEL", path);
    if (n_hidden > 0 && n_hidden != 2 * (int64_t)info->n_embd)
        return args_complain("watch",
                             "--tagger %s was trained on another model: it wants %lld numbers a "
                             "sentence, this one gives %lld",
                             path, (long long)n_hidden, 2 * (long long)info->n_embd);
    return -1;
}

static int open_text(struct watch *w)
{
    const char *path = w->args->file;
    struct stat file;
    w->in = path == NULL || strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (w->in == NULL) {
        fprintf(stderr, "sparsetrace: cannot open %s: %s\n", path, strerror(errno));
        return EXIT_FAILED;
    }
    w->grows = w->args->follow || fstat(fileno(w->in), &file) != 0 || !S_ISREG(file.st_mode);
    return -1;
}

static int work(struct watch *w)
{
    const struct watch_args *a = w->args;
    st_error err;
    int code = watch_rules_open(a->rules, a->model.path != NULL, &w->rules, &err) == ST_OK
                   ? open_text(w)
                   : out_failed(&err);
    if (code < 0)
        code = watch_model_open(&w->model, &a->model);
    if (code < 0)
        code = open_tagger(w);
    if (code < 0 && a->rules != NULL && watch_rules_check(w->rules, w->tagger, &err) != ST_OK)
        code = out_failed(&err);
    if (code < 0)
        code = watch_model_begin(&w->model, &a->model, st_tagger_hidden_layer(w->tagger),
                                 st_tagger_n_hidden(w->tagger));
    if (code >= 0)
        return code;
    if (follow(w, &err) != ST_OK)
        return out_failed(&err);
    watch_print_end(w);
    return EXIT_OK;
}

int cmd_watch(int argc, char **argv)
{
    struct watch_args a = {.follow = false};
    struct watch w = {.args = &a};
    int code = parse(&a, argc, argv);
    if (code < 0)
        code = split_args_apply(&a.split, "watch", &w.split);
    if (code >= 0)
        return code;
    out_catch_interrupt();
    code = work(&w);
    if (w.in != NULL && w.in != stdin)
        fclose(w.in);
    free(w.text);
    free(w.sentence);
    free(w.tag);
    free(w.phase);
    st_tagger_free(w.tagger);
    watch_rules_free(w.rules);
    watch_model_free(&w.model);
    return code;
}
