/* SPDX-License-Identifier: MIT
 *
 * spans.c — spans of bytes to groups of tokens.
 */
#include "base/util.h"
#include "sparsetrace/groups.h"

st_status st_groups_from_bytes(const st_group *bytes, int64_t n, const int64_t *piece_ptr,
                               int64_t n_tok, st_group *token, st_error *err)
{
    int64_t t = 0;
    STI_TRY(st_groups_check(bytes, n, piece_ptr[n_tok], err));
    for (int64_t i = 0; i < n; i++) {
        st_group span = bytes[i];
        while (t < n_tok && (piece_ptr[t + 1] <= span.begin || piece_ptr[t + 1] == piece_ptr[t]))
            t++;
        token[i].begin = t;
        while (t < n_tok && piece_ptr[t] < span.end)
            t++;
        token[i].end = t;
        if (token[i].begin == t)
            return sti_fail(err, ST_ERR_ARG, i,
                            "span %lld, bytes [%lld, %lld), has no token of its own", (long long)i,
                            (long long)span.begin, (long long)span.end);
    }
    return ST_OK;
}
