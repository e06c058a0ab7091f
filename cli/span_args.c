/* SPDX-License-Identifier: MIT
 *
 * span_args.c — the ways to name a passage. Text stands in quotation marks of its own, so that
 * numbers, names and text are never mistaken for each other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "span_args.h"

static int complain(const char *verb, const char *option, const char *span)
{
    char clean[160];
    return args_complain(verb,
                         "%s: \"%s\" is no span: 12:40, last, '\"text\"', '\"text\"#2' or @name",
                         option, out_clean(clean, sizeof clean, span));
}

/* "text" or "text"#n. */
static int find_text(const char *verb, const char *option, const char *span, const st_trace *trace,
                     int64_t *begin, int64_t *end)
{
    const char *close = strrchr(span, '"');
    int64_t which = 0, count;
    char *rest;
    st_error err;
    if (close <= span + 1)
        return complain(verb, option, span);
    if (close[1] != '\0') {
        which = close[1] == '#' && close[2] >= '1' && close[2] <= '9'
                    ? strtoll(close + 2, &rest, 10)
                    : 0;
        if (which == 0 || *rest != '\0')
            return complain(verb, option, span);
    }
    if (st_trace_find_text(trace, span + 1, close - span - 1, which, begin, end, &count, &err) ==
        ST_OK)
        return -1;
    fprintf(stderr, "sparsetrace: %s: %s%s\n", option, err.message,
            which == 0 && count > 1 ? ": add #1, #2, ... behind the closing quotation mark" : "");
    return EXIT_FAILED;
}

/* @name: {"name": [begin, end]} in the trace's document "spans". */
static int find_name(const char *option, const char *name, const st_trace *trace, int64_t *begin,
                     int64_t *end)
{
    char pointer[80], from[32], to[32], clean[80];
    st_trace_info info;
    st_trace_get_info(trace, &info);
    if (strpbrk(name, "/~") == NULL && strlen(name) < 64) {
        snprintf(pointer, sizeof pointer, "/%s/0", name);
        st_trace_value(trace, "spans", pointer, from, sizeof from);
        snprintf(pointer, sizeof pointer, "/%s/1", name);
        st_trace_value(trace, "spans", pointer, to, sizeof to);
        *begin = strtoll(from, NULL, 10);
        *end = strtoll(to, NULL, 10);
        if (*from != '\0' && *to != '\0' && *begin >= 0 && *begin < *end && *end <= info.n_tok)
            return -1;
    }
    fprintf(stderr, "sparsetrace: %s: the trace names no span \"%s\"\n", option,
            out_clean(clean, sizeof clean, name));
    return EXIT_FAILED;
}

int span_args_find(const char *verb, const char *option, const char *span, const st_trace *trace,
                   int64_t *begin, int64_t *end)
{
    st_trace_info info;
    st_trace_get_info(trace, &info);
    if (*span == '"')
        return find_text(verb, option, span, trace, begin, end);
    if (*span == '@')
        return find_name(option, span + 1, trace, begin, end);
    if (strcmp(span, "last") == 0)
        span = "-1";
    if (*span == '\0' || strspn(span, "0123456789:-") != strlen(span))
        return complain(verb, option, span);
    if (!args_span(span, info.n_tok, begin, end))
        return args_complain(verb, "%s: \"%s\" is no span within %lld tokens", option, span,
                             (long long)info.n_tok);
    return -1;
}
