/* SPDX-License-Identifier: MIT
 *
 * watch_rules.c — reading rules, and when they fire: at the sentence where a rule begins to hold.
 */
#include "watch_rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

#define RULES_MAX 64
#define TERMS_MAX 8
#define LINE_MAX_BYTES 1024

static const char usual[] = "unchecked-answer: tag = final_answer_emission and checks = 0\n"
                            "doubt-loop: doubts_of_10 >= 6\n"
                            "long-without-check: results >= 1 and since_check >= 60\n"
                            "circling: sentences >= 40 and repeated >= 0.7\n"
                            "after-the-answer: answers >= 1 and tag = uncertainty_management\n";

static const char *const value_name[WATCH_VALUE_COUNT] = {
    "sentences",    "doubts",      "checks",      "results",      "answers",
    "doubts_of_10", "since_doubt", "since_check", "since_result", "repeated",
    "surprise",     "surprise_ratio", "leans",    "leans_back",   "since_anchor", "anchor_share"};

enum { IS_TAG = -1, IS_PHASE = -2 };

struct term {
    int what; /* a watch_value, IS_TAG or IS_PHASE */
    char op[3];
    double number;
    char word[64]; /* of a tag or a phase */
};

struct rule {
    char name[64], text[LINE_MAX_BYTES];
    struct term term[TERMS_MAX];
    int n_term;
    int64_t line;
    bool held;
};

struct watch_rules {
    struct rule rule[RULES_MAX];
    int n;
    bool model; /* there is one */
};

/* ---- reading --------------------------------------------------------------------------------- */

static st_status wrong(st_error *err, int64_t line, const char *what, const char *word)
{
    char shown[80];
    *err = (st_error){ST_ERR_FORMAT, line, ""};
    snprintf(err->message, sizeof err->message, "rules, line %lld: %s \"%s\"", (long long)line,
             what, out_clean(shown, sizeof shown, word));
    return ST_ERR_FORMAT;
}

static int find_value(const char *word)
{
    for (int i = 0; i < WATCH_VALUE_COUNT; i++)
        if (strcmp(word, value_name[i]) == 0)
            return i;
    return strcmp(word, "tag") == 0     ? IS_TAG
           : strcmp(word, "phase") == 0 ? IS_PHASE
                                        : WATCH_VALUE_COUNT;
}

static bool known_op(const char *op, bool number)
{
    static const char *const all[] = {"=", "!=", ">=", "<=", ">", "<"};
    for (int i = 0; i < (number ? 6 : 2); i++)
        if (strcmp(op, all[i]) == 0)
            return true;
    return false;
}

/* "doubts >= 3": three words. */
static st_status read_term(struct term *t, char **word, bool model, int64_t line, st_error *err)
{
    char *end;
    t->what = find_value(word[0]);
    if (t->what == WATCH_VALUE_COUNT)
        return wrong(err, line, "nothing is called", word[0]);
    if (t->what >= WATCH_FIRST_OF_MODEL && !model)
        return wrong(err, line, "without -m MODEL there is no", word[0]);
    if (!known_op(word[1], t->what >= 0))
        return wrong(err, line, "cannot compare it by", word[1]);
    snprintf(t->op, sizeof t->op, "%s", word[1]);
    if (t->what < 0 && strlen(word[2]) >= sizeof t->word)
        return wrong(err, line, "too long a name:", word[2]);
    snprintf(t->word, sizeof t->word, "%s", t->what < 0 ? word[2] : "");
    t->number = t->what < 0 ? 0.0 : strtod(word[2], &end);
    if (t->what >= 0 && (end == word[2] || *end != '\0' || !(t->number == t->number)))
        return wrong(err, line, "no number:", word[2]);
    return ST_OK;
}

static st_status read_terms(struct rule *r, char *text, bool model, int64_t line, st_error *err)
{
    char *word[4 * TERMS_MAX + 1], *save = NULL;
    int n = 0;
    for (char *w = strtok_r(text, " \t", &save); w != NULL; w = strtok_r(NULL, " \t", &save)) {
        if (n == 4 * TERMS_MAX)
            return wrong(err, line, "too many conditions in", r->name);
        word[n++] = w;
    }
    if (n % 4 != 3)
        return wrong(err, line, "not NAME OP VALUE, with \"and\" between, in", r->name);
    for (int i = 0; i < n; i += 4) {
        if (i > 0 && strcmp(word[i - 1], "and") != 0)
            return wrong(err, line, "\"and\" must stand where it says", word[i - 1]);
        st_status status = read_term(&r->term[r->n_term++], word + i, model, line, err);
        if (status != ST_OK)
            return status;
    }
    return ST_OK;
}

static st_status read_rule(watch_rules *x, char *s, int64_t line, st_error *err)
{
    struct rule *r = &x->rule[x->n];
    char *colon;
    s[strcspn(s, "\r\n")] = '\0';
    s += strspn(s, " \t");
    if (*s == '\0' || *s == '#')
        return ST_OK;
    colon = strchr(s, ':');
    if (colon == NULL || colon == s || colon - s >= (int)sizeof r->name)
        return wrong(err, line, "no NAME: before the conditions in", s);
    if (x->n == RULES_MAX)
        return wrong(err, line, "more than 64 rules:", s);
    *r = (struct rule){.line = line};
    memcpy(r->name, s, (size_t)(colon - s));
    colon += 1 + strspn(colon + 1, " \t");
    snprintf(r->text, sizeof r->text, "%s", colon);
    x->n++;
    return read_terms(r, colon, x->model, line, err);
}

static st_status cannot(const char *what, const char *path, st_error *err)
{
    *err = (st_error){ST_ERR_IO, -1, ""};
    snprintf(err->message, sizeof err->message, "cannot %s %.300s: %s", what,
             path != NULL ? path : "the built-in rules", strerror(errno));
    return ST_ERR_IO;
}

static st_status read_rules(watch_rules *x, FILE *f, st_error *err)
{
    char line[LINE_MAX_BYTES];
    for (int64_t number = 1; fgets(line, sizeof line, f) != NULL; number++) {
        st_status status;
        if (strlen(line) + 1 == sizeof line)
            return wrong(err, number, "too long a line:", line);
        status = read_rule(x, line, number, err);
        if (status != ST_OK)
            return status;
    }
    return ST_OK;
}

st_status watch_rules_open(const char *path, bool model, watch_rules **rules, st_error *err)
{
    FILE *f =
        path != NULL ? fopen(path, "rb") : fmemopen((void *)(uintptr_t)usual, strlen(usual), "rb");
    st_status status;
    *rules = NULL;
    if (f == NULL)
        return cannot("open", path, err);
    *rules = out_need(sizeof **rules);
    (*rules)->n = 0;
    (*rules)->model = model;
    status = read_rules(*rules, f, err);
    if (status == ST_OK && ferror(f))
        status = cannot("read", path, err);
    fclose(f);
    if (status != ST_OK) {
        watch_rules_free(*rules);
        *rules = NULL;
    }
    return status;
}

void watch_rules_free(watch_rules *rules)
{
    free(rules);
}

static bool can_come(const struct term *t, const st_tagger *tagger)
{
    if (t->what == IS_PHASE) {
        for (int i = 0; i < ST_PHASE_COUNT; i++)
            if (strcmp(t->word, st_phase_name((st_phase)i)) == 0)
                return true;
        return strcmp(t->word, "-") == 0;
    }
    for (int i = 0; i < st_tagger_n_tag(tagger); i++)
        if (strcmp(t->word, st_tagger_tag(tagger, i)) == 0)
            return true;
    return strcmp(t->word, "unsure") == 0;
}

st_status watch_rules_check(const watch_rules *x, const st_tagger *tagger, st_error *err)
{
    for (int i = 0; i < x->n; i++)
        for (int k = 0; k < x->rule[i].n_term; k++) {
            const struct term *t = &x->rule[i].term[k];
            if (t->what < 0 && !can_come(t, tagger))
                return wrong(err, x->rule[i].line,
                             t->what == IS_TAG ? "there is no tag" : "there is no phase", t->word);
        }
    return ST_OK;
}

/* ---- firing ---------------------------------------------------------------------------------- */

static bool compare(double x, const char *op, double y)
{
    switch (op[0]) {
    case '=': return x == y;
    case '!': return x != y;
    case '>': return op[1] == '=' ? x >= y : x > y;
    default: return op[1] == '=' ? x <= y : x < y;
    }
}

static bool holds(const struct rule *r, const watch_state *s)
{
    for (int i = 0; i < r->n_term; i++) {
        const struct term *t = &r->term[i];
        const char *word = t->what == IS_TAG ? s->tag : s->phase;
        bool yes = t->what >= 0 ? compare(s->value[t->what], t->op, t->number)
                                : (strcmp(word, t->word) == 0) == (t->op[0] == '=');
        if (!yes)
            return false;
    }
    return true;
}

const char *watch_rules_next(watch_rules *x, const watch_state *state, int *at, const char **text)
{
    while (*at < x->n) {
        struct rule *r = &x->rule[(*at)++];
        bool before = r->held;
        r->held = holds(r, state);
        if (!r->held || before)
            continue;
        *text = r->text;
        return r->name;
    }
    return NULL;
}
