/* SPDX-License-Identifier: MIT
 *
 * given.c — finding labelled sentences in their text. Labellers join pieces with a space where the
 * text has a newline, so white space matches any white space.
 */
#include "reason/given.h"

static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int64_t skip_white(const char *s, int64_t at, int64_t end)
{
    while (at < end && is_white(s[at]))
        at++;
    return at;
}

/* Where the sentence ends if it stands at `at`; -1: it does not. */
static int64_t match(const char *text, int64_t at, int64_t end, const char *s, int64_t n)
{
    int64_t i = 0;
    while (i < n) {
        if (is_white(s[i])) {
            if (at >= end || !is_white(text[at]))
                return -1;
            i = skip_white(s, i, n);
            at = skip_white(text, at, end);
        } else if (at >= end || text[at++] != s[i++]) {
            return -1;
        }
    }
    return at;
}

/* The first place of the sentence from `at` on. */
static bool find(const char *text, int64_t at, int64_t end, const char *s, int64_t n,
                 st_group *span)
{
    for (; at < end; at++) {
        int64_t stop = match(text, at, end, s, n);
        if (stop < 0)
            continue;
        *span = (st_group){at, stop};
        return true;
    }
    return false;
}

st_status sti_given_sentences(yyjson_val *list, const char *text, st_group part, int64_t line,
                              st_group **sentence, int64_t *n, st_error *err)
{
    size_t i, count = yyjson_arr_size(list);
    int64_t at = part.begin;
    yyjson_val *v;
    *sentence = NULL;
    *n = 0;
    if (!yyjson_is_arr(list))
        return sti_fail(err, ST_ERR_FORMAT, line, "line %lld has no list \"sentences\"",
                        (long long)line);
    *sentence = sti_alloc(count * sizeof **sentence);
    if (*sentence == NULL)
        return sti_fail_mem(err, count * sizeof **sentence);
    yyjson_arr_foreach(list, i, count, v)
    {
        yyjson_val *s = yyjson_is_obj(v) ? yyjson_obj_get(v, "text") : v;
        int64_t bytes = (int64_t)yyjson_get_len(s), first;
        const char *words = yyjson_get_str(s);
        first = words != NULL ? skip_white(words, 0, bytes) : 0;
        while (bytes > first && is_white(words[bytes - 1]))
            bytes--;
        if (words == NULL || bytes == first ||
            !find(text, at, part.end, words + first, bytes - first, &(*sentence)[i])) {
            st_sentences_free(*sentence);
            *sentence = NULL;
            return sti_fail(err, ST_ERR_FORMAT, line,
                            "line %lld: sentence %zu does not stand in the text behind those "
                            "before it",
                            (long long)line, i);
        }
        at = (*sentence)[i].end;
    }
    *n = (int64_t)count;
    return ST_OK;
}
