/* SPDX-License-Identifier: MIT
 *
 * sentences.c — a text's reasoning part, and its sentences. Everything here looks at bytes: the
 * marks that cut are ASCII, so no sequence of UTF-8, sound or broken, is ever torn.
 */
#include <regex.h>
#include <string.h>

#include "base/util.h"
#include "reason/utf8.h"
#include "sparsetrace/reason.h"

#define SHORT_CHARS 10 /* pieces below this join a neighbour (thought anchors) */

st_split_params st_split_params_default(void)
{
    return (st_split_params){.how = ST_SPLIT_THOUGHT_ANCHORS};
}

/* ---- the reasoning part ---------------------------------------------------------------------- */

static int64_t find(const char *text, int64_t n, int64_t from, const char *mark)
{
    const char *at = from < n ? memmem(text + from, (size_t)(n - from), mark, strlen(mark)) : NULL;
    return at != NULL ? at - text : -1;
}

bool st_think_next(const char *text, int64_t n_bytes, int64_t from, st_group *part)
{
    int64_t open = find(text, n_bytes, from, "<think>"), close;
    if (open < 0 && from > 0)
        return false;
    part->begin = open < 0 ? 0 : open + 7;
    close = find(text, n_bytes, part->begin, "</think>");
    part->end = close < 0 ? n_bytes : close;
    if (open >= 0 && from == 0) {
        int64_t early = find(text, open, 0, "</think>"); /* a template that opened it itself */
        if (early >= 0)
            *part = (st_group){0, early};
    }
    *part = sti_trim(text, *part);
    return true;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

struct pieces {
    const char *text;
    st_group *span;
    int64_t n, cap, bytes_wanted;
};

/* Adds the trimmed span unless it is empty. */
static bool add_piece(struct pieces *p, int64_t begin, int64_t end)
{
    st_group span = sti_trim(p->text, (st_group){begin, end});
    if (span.begin == span.end)
        return true;
    if (!sti_grow((void **)&p->span, &p->cap, p->n + 1, sizeof *p->span)) {
        p->bytes_wanted = (p->n + 1) * (int64_t)sizeof *p->span;
        return false;
    }
    p->span[p->n++] = span;
    return true;
}

static bool cuts_after(const char *s, int64_t i, int64_t end)
{
    char c = s[i], next = i + 1 < end ? s[i + 1] : '\0';
    if ((c == '.' || c == '?' || c == '!') && i + 1 < end)
        return next == ' ' || next == '\n' ||
               (next == '\r' && i + 2 < end && s[i + 2] == '\n');
    return (c == '\n' && i + 1 < end && next == '\n') ||
           (c == '\r' && i + 3 < end && memcmp(s + i, "\r\n\r\n", 4) == 0);
}

static bool cut_sentences(struct pieces *p, st_group part)
{
    int64_t begin = part.begin;
    for (int64_t i = part.begin; i < part.end; i++)
        if (cuts_after(p->text, i, part.end)) {
            if (!add_piece(p, begin, i + 1))
                return false;
            begin = i + 1;
        }
    return add_piece(p, begin, part.end);
}

static bool cut_lines(struct pieces *p, st_group part)
{
    int64_t begin = part.begin;
    for (int64_t i = part.begin; i < part.end; i++)
        if (p->text[i] == '\n' || p->text[i] == '\r') {
            if (!add_piece(p, begin, i))
                return false;
            begin = i + 1;
        }
    return add_piece(p, begin, part.end);
}

static bool cut_at_matches(struct pieces *p, st_group part, const regex_t *re)
{
    int64_t begin = part.begin, at = part.begin;
    while (at < part.end) {
        regmatch_t m = {.rm_so = 0, .rm_eo = (regoff_t)(part.end - at)};
        if (regexec(re, p->text + at, 1, &m, REG_STARTEND | (at > part.begin ? REG_NOTBOL : 0)) !=
            0)
            break;
        if (m.rm_eo > m.rm_so) {
            if (!add_piece(p, begin, at + m.rm_so))
                return false;
            begin = at + m.rm_eo;
        }
        at += m.rm_eo > m.rm_so ? m.rm_eo : m.rm_so + 1;
    }
    return add_piece(p, begin, part.end);
}

/* Pieces under SHORT_CHARS join the next one, the last one the previous. Lengths count a joint as
 * one character, whatever white space stands there. */
static void join_short(struct pieces *p)
{
    int64_t n = 0, chars = 0, begin = -1;
    for (int64_t i = 0; i < p->n; i++) {
        st_group span = p->span[i];
        chars = (begin >= 0 ? chars + 1 : 0) + sti_count_chars(p->text, span);
        if (begin >= 0)
            span.begin = begin;
        begin = chars < SHORT_CHARS ? span.begin : -1;
        if (begin < 0)
            p->span[n++] = span;
        else if (i == p->n - 1 && n > 0)
            p->span[n - 1].end = span.end;
        else if (i == p->n - 1)
            p->span[n++] = span;
    }
    p->n = n;
}

static st_status compile(const char *pattern, regex_t *re, st_error *err)
{
    char why[200];
    int code = pattern != NULL ? regcomp(re, pattern, REG_EXTENDED | REG_NEWLINE) : REG_BADPAT;
    if (code == 0)
        return ST_OK;
    if (pattern == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "split by regex wants a regular expression");
    regerror(code, re, why, sizeof why);
    return sti_fail(err, ST_ERR_ARG, -1, "\"%.100s\" is no regular expression: %s", pattern, why);
}

st_status st_sentences(const char *text, st_group part, const st_split_params *p,
                       st_group **sentence, int64_t *n, st_error *err)
{
    struct pieces out = {.text = text};
    regex_t re;
    bool ok;
    *sentence = NULL;
    *n = 0;
    if (part.begin < 0 || part.end < part.begin || part.end - part.begin > ST_TEXT_MAX_BYTES)
        return sti_fail(err, ST_ERR_ARG, -1, "the part is bytes [%lld, %lld), at most %lld long",
                        (long long)part.begin, (long long)part.end, (long long)ST_TEXT_MAX_BYTES);
    switch (p->how) {
    case ST_SPLIT_THOUGHT_ANCHORS:
        part = sti_trim(text, part);
        ok = cut_sentences(&out, part);
        join_short(&out);
        break;
    case ST_SPLIT_NEWLINE: ok = cut_lines(&out, part); break;
    case ST_SPLIT_REGEX:
        STI_TRY(compile(p->regex, &re, err));
        ok = cut_at_matches(&out, part, &re);
        regfree(&re);
        break;
    default: return sti_fail(err, ST_ERR_ARG, -1, "split is %d", (int)p->how);
    }
    if (!ok) {
        sti_free(out.span);
        return sti_fail_mem(err, (size_t)out.bytes_wanted);
    }
    if (out.span == NULL)
        out.span = sti_alloc(sizeof *out.span);
    if (out.span == NULL)
        return sti_fail_mem(err, sizeof *out.span);
    *sentence = out.span;
    *n = out.n;
    return ST_OK;
}

void st_sentences_free(st_group *sentence)
{
    sti_free(sentence);
}
