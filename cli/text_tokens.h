/* SPDX-License-Identifier: MIT
 *
 * text_tokens.h — a text's sentences as tokens of a model.
 */
#ifndef CLI_TEXT_TOKENS_H
#define CLI_TEXT_TOKENS_H

#include "sparsetrace/engine.h"

/* The tokens of text up to the last of n >= 1 sentences (*token: st_tokens_free), and span [n]: the
 * tokens of each. The text may be any bytes: those of no sound UTF-8 are read as question marks.
 * Errors: those of st_model_tokenize and st_groups_from_bytes; ST_ERR_MODEL if the tokens do not
 * spell the text: a tokenizer that changes it. */
st_status text_tokens(const st_model *model, const char *text, const st_group *sentence, int64_t n,
                      int32_t **token, int64_t *n_tok, st_group *span, st_error *err);

#endif
