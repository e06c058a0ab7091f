/* SPDX-License-Identifier: MIT
 *
 * text_tokens.c — where a text's sentences lie among a model's tokens.
 */
#include "text_tokens.h"

#include <stdlib.h>

#include "out.h"
#include "sparsetrace/groups.h"

/* piece_ptr [n_tok + 1] (free()): where each token's bytes begin. ST_ERR_MODEL if the tokens do not
 * spell the text: a tokenizer that normalises it. */
static st_status place_tokens(const st_model *model, const int32_t *token, int64_t n_tok,
                              int64_t n_bytes, int64_t **piece_ptr, st_error *err)
{
    int64_t *p = out_need(((size_t)n_tok + 1) * sizeof *p);
    char piece[512];
    p[0] = 0;
    for (int64_t i = 0; i < n_tok; i++)
        p[i + 1] = p[i] + st_model_piece(model, token[i], piece, sizeof piece);
    *piece_ptr = p;
    if (p[n_tok] == n_bytes)
        return ST_OK;
    *err = (st_error){ST_ERR_MODEL, -1, ""};
    snprintf(
        err->message, sizeof err->message,
        "the model's tokens spell %lld bytes of a text of %lld: its tokenizer changes the text",
        (long long)p[n_tok], (long long)n_bytes);
    return ST_ERR_MODEL;
}

st_status text_tokens(const st_model *model, const char *text, const st_group *sentence, int64_t n,
                      int32_t **token, int64_t *n_tok, st_group *span, st_error *err)
{
    int64_t n_bytes = sentence[n - 1].end, *piece_ptr = NULL;
    char *copy = out_need((size_t)n_bytes + 1); /* of the same length: the spans stay right */
    st_status status;
    out_sound(copy, text, n_bytes);
    status = st_model_tokenize(model, copy, n_bytes, false, token, n_tok, err);
    free(copy);
    if (status == ST_OK)
        status = place_tokens(model, *token, *n_tok, n_bytes, &piece_ptr, err);
    if (status == ST_OK)
        status = st_groups_from_bytes(sentence, n, piece_ptr, *n_tok, span, err);
    free(piece_ptr);
    return status;
}
