/* SPDX-License-Identifier: MIT
 *
 * locate.c — where a piece of text stands among tokens.
 */
#include "base/util.h"
#include "engine/engine_int.h"

/* The bytes of all tokens; piece i begins at ptr[i]. NULL: out of memory. */
static char *text_of(const st_model *m, const int32_t *token, int64_t n_tok, int64_t *ptr)
{
    char *text = NULL;
    int64_t cap = 0, n = 0;
    for (int64_t i = 0; i < n_tok; i++) {
        int len = st_model_piece(m, token[i], NULL, 0);
        ptr[i] = n;
        if (!sti_grow((void **)&text, &cap, n + len + 1, 1)) {
            sti_free(text);
            return NULL;
        }
        st_model_piece(m, token[i], text + n, len);
        n += len;
    }
    ptr[n_tok] = n;
    return text;
}

bool st_model_locate(const st_model *m, const int32_t *token, int64_t n_tok, const char *text,
                     int64_t n_bytes, int64_t *begin, int64_t *end)
{
    int64_t *ptr = n_tok > 0 ? sti_alloc((size_t)(n_tok + 1) * sizeof *ptr) : NULL;
    char *all = ptr != NULL ? text_of(m, token, n_tok, ptr) : NULL;
    const char *at =
        all != NULL && n_bytes > 0 ? memmem(all, (size_t)ptr[n_tok], text, (size_t)n_bytes) : NULL;
    if (at != NULL) {
        int64_t from = at - all, i = 0;
        while (ptr[i + 1] <= from)
            i++;
        *begin = i;
        while (ptr[i] < from + n_bytes)
            i++;
        *end = i;
    }
    sti_free(all);
    sti_free(ptr);
    return at != NULL;
}
