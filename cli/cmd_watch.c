/* SPDX-License-Identifier: MIT
 *
 * cmd_watch.c — sparsetrace watch: a chain of thought while it grows. Text is cut as it comes; a
 * sentence is whole once something stands behind it. Each new one is tagged together with the last
 * ones before it, so that its cost does not grow with the text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "cmd.h"
#include "out.h"
#include "split_args.h"
#include "watch_rules.h"

#define WINDOW 256      /* sentences that are tagged together */
#define CHUNK 65536     /* bytes of a read */
#define SURE 0.5f       /* rules see no tag that is less probable */
#define PAUSE_US 200000 /* --follow: between two looks at the file */

struct watch_args {
    const char *file, *rules, *tagger;
    split_args split;
    bool follow, json;
};

struct watch {
    const struct watch_args *args;
    st_split_params split;
    st_tagger *tagger;
    watch_rules *rules;
    FILE *in;
    bool grows;                 /* not a file that is there as a whole */
    char *text;                 /* all of it so far */
    int64_t n_bytes, cap, done; /* up to `done` it is cut */
    st_group *sentence;         /* whole ones */
    int32_t *tag;
    int64_t n, cap_n;
};

static int parse(struct watch_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"-f", "FILE", ARG_TEXT, &a->file, 0, 0, "the text (standard input)"},
        {"--follow", NULL, ARG_FLAG, &a->follow, 0, 0,
         "at the file's end wait for more, until Ctrl-C or </think>"},
        {"--rules", "FILE", ARG_TEXT, &a->rules, 0, 0, "rules to flag by, not the usual ones"},
        SPLIT_OPTIONS(a->split),
        {"--tagger", "FILE", ARG_TEXT, &a->tagger, 0, 0, "other weights, of text alone"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "one JSON object a line"},
    };
    const arg_verb verb = {
        "watch", "[-f FILE] [options]",
        "Follows a chain of thought while it is written: what each new sentence does, its phase,\n"
        "and a line that begins with ! where a rule fires.",
        option, sizeof option / sizeof *option, 0, 0};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, NULL, &n_word);
    if (code >= 0)
        return code;
    if (a->follow && a->file == NULL)
        return args_complain("watch", "--follow wants -f FILE; standard input is followed anyway");
    return -1;
}

/* ---- what is printed ------------------------------------------------------------------------- */

static const char *tag_name(const struct watch *w, int64_t i)
{
    return st_tagger_tag(w->tagger, w->tag[i]);
}

static void print_sentence(const struct watch *w, int64_t i, double p, const char *phase,
                           bool again)
{
    const st_group *s = &w->sentence[i];
    if (w->args->json) {
        printf("{\"sentence\":%lld,\"begin\":%lld,\"end\":%lld,\"tag\":\"%s\",\"p\":", (long long)i,
               (long long)s->begin, (long long)s->end, tag_name(w, i));
        out_json_real(stdout, p);
        printf(",\"phase\":\"%s\",\"again\":%s,\"text\":", phase, again ? "true" : "false");
        out_json_string(stdout, w->text + s->begin, s->end - s->begin);
        printf("}\n");
        return;
    }
    printf("%s%5lld %-10s %-22s %.2f  ", again ? "~" : " ", (long long)i, phase, tag_name(w, i), p);
    out_snippet(stdout, w->text + s->begin, s->end - s->begin, 60);
    putchar('\n');
}

static void print_flag(const struct watch *w, const char *name, const char *text)
{
    if (w->args->json) {
        printf("{\"flag\":");
        out_json_string(stdout, name, (int64_t)strlen(name));
        printf(",\"sentence\":%lld,\"rule\":", (long long)w->n - 1);
        out_json_string(stdout, text, (int64_t)strlen(text));
        printf("}\n");
    } else {
        printf("!%5lld %s (%s)\n", (long long)w->n - 1, name, text);
    }
}

/* ---- a new sentence -------------------------------------------------------------------------- */

static bool tagged(const struct watch *w, int64_t i, const char *name)
{
    return strcmp(tag_name(w, i), name) == 0;
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
    watch_state s = {.tag = tag_name(w, w->n - 1), .phase = phase};
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
    return s;
}

/* Tags the last sentences anew; prints the newest, and those before it whose tag changed. */
static st_status look(struct watch *w, st_error *err)
{
    int n_tag = st_tagger_n_tag(w->tagger);
    int64_t from = w->n > WINDOW ? w->n - WINDOW : 0, n = w->n - from;
    int32_t tag[WINDOW];
    st_phase phase[WINDOW] = {0};
    float *prob = out_need((size_t)(n * n_tag) * sizeof *prob);
    const st_group *sentence = w->sentence + from;
    st_quality q;
    st_status status = st_tagger_run(w->tagger, w->text, sentence, n, NULL, tag, prob, err);
    if (status == ST_OK && st_tagger_has_phases(w->tagger))
        status = st_phases(w->tagger, prob, n, phase, NULL, NULL, err);
    if (status == ST_OK)
        status = st_quality_of_text(w->tagger, w->text, sentence, tag, n, &q, err);
    for (int64_t i = 0; status == ST_OK && i < n; i++) {
        bool newest = i == n - 1;
        if (!newest && w->tag[from + i] == tag[i])
            continue;
        w->tag[from + i] = tag[i];
        print_sentence(w, from + i, (double)prob[i * n_tag + tag[i]], phase_name(w, phase[i]),
                       !newest);
    }
    if (status == ST_OK) {
        watch_state s = state_of(w, &q, phase_name(w, phase[n - 1]));
        if (prob[(n - 1) * n_tag + tag[n - 1]] < SURE)
            s.tag = "unsure";
        const char *name, *text;
        for (int at = 0; (name = watch_rules_next(w->rules, &s, &at, &text)) != NULL;)
            print_flag(w, name, text);
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
        if (w->n > 0) {
            memcpy(sentence, w->sentence, (size_t)w->n * sizeof *sentence);
            memcpy(tag, w->tag, (size_t)w->n * sizeof *tag);
        }
        free(w->sentence);
        free(w->tag);
        w->sentence = sentence;
        w->tag = tag;
        w->cap_n = cap;
    }
    w->sentence[w->n] = s;
    w->tag[w->n++] = -1;
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
        add_sentence(w, sentence[i]);
        w->done = sentence[i].end;
        status = look(w, err);
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
            snprintf(err->message, sizeof err->message, "cannot read: %s", strerror(errno));
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

int cmd_watch(int argc, char **argv)
{
    struct watch_args a = {.follow = false};
    struct watch w = {.args = &a};
    struct stat file;
    st_error err;
    st_status status;
    int code = parse(&a, argc, argv);
    if (code < 0)
        code = split_args_apply(&a.split, "watch", &w.split);
    if (code >= 0)
        return code;
    out_catch_interrupt();
    status = watch_rules_open(a.rules, &w.rules, &err);
    if (status == ST_OK)
        status = st_tagger_open(a.tagger, &w.tagger, &err);
    w.in = a.file == NULL || strcmp(a.file, "-") == 0 ? stdin : fopen(a.file, "rb");
    if (status == ST_OK && w.in == NULL) {
        err = (st_error){ST_ERR_IO, -1, ""};
        snprintf(err.message, sizeof err.message, "cannot open %.300s: %s", a.file,
                 strerror(errno));
        status = ST_ERR_IO;
    }
    w.grows =
        a.follow || status != ST_OK || fstat(fileno(w.in), &file) != 0 || !S_ISREG(file.st_mode);
    if (status == ST_OK)
        status = follow(&w, &err);
    if (w.in != NULL && w.in != stdin)
        fclose(w.in);
    free(w.text);
    free(w.sentence);
    free(w.tag);
    st_tagger_free(w.tagger);
    watch_rules_free(w.rules);
    return status == ST_OK ? EXIT_OK : out_failed(&err);
}
