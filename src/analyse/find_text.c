/* SPDX-License-Identifier: MIT
 *
 * find_text.c — a passage by its text. A trace's text is one run of bytes, so a passage may begin
 * and end inside tokens: those are taken whole.
 */
#include <string.h>

#include "base/util.h"
#include "sparsetrace/analyse.h"

/* The last token that begins at or before byte `at` of the text, and is not empty. */
static int64_t token_at(const st_trace *t, const char *text, int64_t n_tok, int64_t at)
{
    int64_t lo = 0, hi = n_tok - 1, n;
    while (lo < hi) { /* a token's bytes begin where those of the tokens before it end */
        int64_t mid = lo + (hi - lo + 1) / 2;
        if (st_trace_text(t, mid, n_tok, &n) - text <= at)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

st_status st_trace_find_text(const st_trace *trace, const char *text, int64_t n_bytes,
                             int64_t which, int64_t *begin, int64_t *end, int64_t *count,
                             st_error *err)
{
    st_trace_info info;
    int64_t n, found = 0, first = -1;
    const char *all, *at, *hit;
    st_trace_get_info(trace, &info);
    all = st_trace_text(trace, 0, info.n_tok, &n);
    if (count != NULL)
        *count = 0;
    if (n_bytes < 1 || which < 0)
        return sti_fail(err, ST_ERR_ARG, -1, "%lld bytes to look for, occurrence %lld",
                        (long long)n_bytes, (long long)which);
    if (n == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "the trace holds no text");
    for (at = all; (hit = memmem(at, (size_t)(all + n - at), text, (size_t)n_bytes)) != NULL;
         at = hit + n_bytes) {
        found++;
        if (found == (which > 0 ? which : 1))
            first = hit - all;
    }
    if (count != NULL)
        *count = found;
    if (found == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "the text does not occur in the trace");
    if (which == 0 && found > 1)
        return sti_fail(err, ST_ERR_ARG, -1, "the text occurs %lld times, and which is not said",
                        (long long)found);
    if (which > found)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "the text occurs %lld times: there is no occurrence "
                        "%lld",
                        (long long)found, (long long)which);
    *begin = token_at(trace, all, info.n_tok, first);
    *end = token_at(trace, all, info.n_tok, first + n_bytes - 1) + 1;
    return ST_OK;
}
