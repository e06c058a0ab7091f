/* SPDX-License-Identifier: MIT
 *
 * edit.c — edits as text, and whether they name anything.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "sparsetrace/edit.h"

/* ---- one ------------------------------------------------------------------------------------- */

struct text {
    const char *begin, *at;
    st_error *err;
};

static st_status expected(const struct text *t, const char *what)
{
    char found[16];
    unsigned char c = (unsigned char)*t->at;
    if (c == '\0')
        snprintf(found, sizeof found, "the end");
    else if (c > ' ' && c < 0x7f)
        snprintf(found, sizeof found, "\"%c\"", c);
    else
        snprintf(found, sizeof found, "byte 0x%02x", c);
    return sti_fail(t->err, ST_ERR_FORMAT, t->at - t->begin, "column %lld: %s wanted, found %s",
                    (long long)(t->at - t->begin + 1), what, found);
}

static st_status take_char(struct text *t, char c, const char *what)
{
    if (*t->at != c)
        return expected(t, what);
    t->at++;
    return ST_OK;
}

static st_status take_number(struct text *t, int64_t *number, const char *what)
{
    const char *first = t->at;
    *number = 0;
    if (!isdigit((unsigned char)*t->at))
        return expected(t, what);
    for (; isdigit((unsigned char)*t->at); t->at++) {
        *number = *number * 10 + (*t->at - '0');
        if (*number > INT32_MAX) {
            t->at = first;
            return sti_fail(t->err, ST_ERR_FORMAT, first - t->begin,
                            "column %lld: a number above %d", (long long)(first - t->begin + 1),
                            INT32_MAX);
        }
    }
    return ST_OK;
}

/* A number, or * as -1. */
static st_status take_index(struct text *t, int *index, const char *what)
{
    int64_t number;
    *index = -1;
    if (*t->at == '*') {
        t->at++;
        return ST_OK;
    }
    STI_TRY(take_number(t, &number, what));
    *index = (int)number;
    return ST_OK;
}

static st_status take_range(struct text *t, int64_t n_tok, int64_t *begin, int64_t *end)
{
    *begin = 0;
    *end = n_tok;
    if (*t->at == '*') {
        t->at++;
        return ST_OK;
    }
    STI_TRY(take_number(t, begin, "a token's number, or *,"));
    if (*t->at != '-') {
        *end = *begin + 1;
        return ST_OK;
    }
    t->at++;
    return isdigit((unsigned char)*t->at) ? take_number(t, end, "a token's number") : ST_OK;
}

st_status st_edit_parse(st_edit_kind kind, const char *text, int64_t n_tok, st_edit *edit,
                        st_error *err)
{
    struct text t = {text, text, err};
    *edit = (st_edit){.kind = kind};
    STI_TRY(take_index(&t, &edit->layer, "a layer's number, or *,"));
    STI_TRY(take_char(&t, '.', "\".\" between layer and head"));
    STI_TRY(take_index(&t, &edit->head, "a head's number, or *,"));
    STI_TRY(take_char(&t, ':', "\":\" before the queries"));
    STI_TRY(take_range(&t, n_tok, &edit->q_begin, &edit->q_end));
    STI_TRY(take_char(&t, ':', "\":\" before the keys"));
    STI_TRY(take_range(&t, n_tok, &edit->key_begin, &edit->key_end));
    return *t.at == '\0' ? ST_OK : expected(&t, "nothing more");
}

static char *print_index(char *at, int index, char after)
{
    return at + (index < 0 ? sprintf(at, "*%c", after) : sprintf(at, "%d%c", index, after));
}

void st_edit_print(const st_edit *e, char *buf)
{
    char *at = buf + sprintf(buf, e->kind == ST_EDIT_DENY ? "deny " : "keep ");
    at = print_index(at, e->layer, '.');
    at = print_index(at, e->head, ':');
    sprintf(at, "%lld-%lld:%lld-%lld", (long long)e->q_begin, (long long)e->q_end,
            (long long)e->key_begin, (long long)e->key_end);
}

/* ---- many ------------------------------------------------------------------------------------ */

static st_status check_index(int index, int n, const char *what, int64_t i, st_error *err)
{
    if (index >= -1 && index < n)
        return ST_OK;
    return sti_fail(err, ST_ERR_ARG, i, "edit %lld: there is no %s %d, the last is %d",
                    (long long)i + 1, what, index, n - 1);
}

static st_status check_range(int64_t begin, int64_t end, int64_t n_tok, const char *what, int64_t i,
                             st_error *err)
{
    if (begin >= 0 && begin < end && end <= n_tok)
        return ST_OK;
    return sti_fail(err, ST_ERR_ARG, i, "edit %lld: %s %lld-%lld: %s %lld tokens", (long long)i + 1,
                    what, (long long)begin, (long long)end,
                    begin < end ? "the sequence has" : "names no token of", (long long)n_tok);
}

st_status st_edits_check(const st_edit *edit, int64_t n, int n_layer, int n_head, int64_t n_tok,
                         st_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        const st_edit *e = &edit[i];
        if (e->kind != ST_EDIT_DENY && e->kind != ST_EDIT_KEEP)
            return sti_fail(err, ST_ERR_ARG, i, "edit %lld: unknown kind %d", (long long)i + 1,
                            (int)e->kind);
        STI_TRY(check_index(e->layer, n_layer, "layer", i, err));
        STI_TRY(check_index(e->head, n_head, "head", i, err));
        STI_TRY(check_range(e->q_begin, e->q_end, n_tok, "queries", i, err));
        STI_TRY(check_range(e->key_begin, e->key_end, n_tok, "keys", i, err));
        if (e->key_begin >= e->q_end)
            return sti_fail(
                err, ST_ERR_ARG, i,
                "edit %lld: queries %lld-%lld see no key from %lld on: it edits nothing",
                (long long)i + 1, (long long)e->q_begin, (long long)e->q_end,
                (long long)e->key_begin);
    }
    return ST_OK;
}

/* ---- a file ---------------------------------------------------------------------------------- */

struct place {
    const char *path, *line;
    int64_t number;
};

static st_status wrong(const struct place *at, const char *text, const char *what, st_error *err)
{
    return sti_fail(err, ST_ERR_FORMAT, at->number, "%s, line %lld, column %lld: %s", at->path,
                    (long long)at->number, (long long)(text - at->line + 1), what);
}

/* "deny TEXT" or "keep TEXT", without blanks around it. */
static st_status read_line(const char *text, const struct place *at, int64_t n_tok, st_edit *edit,
                           st_error *err)
{
    bool deny = strncmp(text, "deny", 4) == 0, keep = strncmp(text, "keep", 4) == 0;
    st_error inner;
    if ((!deny && !keep) || (text[4] != ' ' && text[4] != '\t'))
        return wrong(at, text, "\"deny\" or \"keep\" wanted", err);
    text += 4 + strspn(text + 4, " \t");
    if (st_edit_parse(deny ? ST_EDIT_DENY : ST_EDIT_KEEP, text, n_tok, edit, &inner) == ST_OK)
        return ST_OK;
    return wrong(at, text + inner.position, strchr(inner.message, ':') + 2, err);
}

/* Cuts blanks off both ends. */
static char *trim(char *line, size_t n)
{
    while (n > 0 && isspace((unsigned char)line[n - 1]))
        line[--n] = '\0';
    return line + strspn(line, " \t");
}

static st_status read_lines(FILE *file, const char *path, int64_t n_tok, st_edit **edit, int64_t *n,
                            st_error *err)
{
    char *line = NULL;
    size_t room = 0;
    int64_t cap = 0;
    struct place at = {.path = path};
    ssize_t length;
    st_status status = ST_OK;
    while (status == ST_OK && (length = getline(&line, &room, file)) >= 0) {
        const char *nul = memchr(line, '\0', (size_t)length), *text = trim(line, (size_t)length);
        at.number++;
        at.line = line;
        if (nul != NULL)
            status = wrong(&at, nul, "a byte 0", err);
        else if (*text == '\0' || *text == '#')
            continue;
        else if (!sti_grow((void **)edit, &cap, *n + 1, sizeof **edit))
            status = sti_fail_mem(err, (size_t)(*n + 1) * sizeof **edit);
        else
            status = read_line(text, &at, n_tok, &(*edit)[*n], err);
        *n += status == ST_OK;
    }
    if (status == ST_OK && ferror(file))
        status = sti_fail_io(err, "read", path);
    free(line);
    return status;
}

st_status st_edits_read(const char *path, int64_t n_tok, st_edit **edit, int64_t *n, st_error *err)
{
    FILE *file = fopen(path, "rb");
    st_status status;
    *edit = NULL;
    *n = 0;
    if (file == NULL)
        return sti_fail_io(err, "read", path);
    status = read_lines(file, path, n_tok, edit, n, err);
    fclose(file);
    if (status == ST_OK && *n == 0)
        status = sti_fail(err, ST_ERR_FORMAT, -1, "%s holds no edit", path);
    if (status != ST_OK) {
        st_edits_free(*edit);
        *edit = NULL;
        *n = 0;
    }
    return status;
}

void st_edits_free(st_edit *edit)
{
    sti_free(edit);
}
