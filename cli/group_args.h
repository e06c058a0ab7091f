/* SPDX-License-Identifier: MIT
 *
 * group_args.h — --groups: spans of the prompt, one a line, to groups of its tokens.
 */
#ifndef CLI_GROUP_ARGS_H
#define CLI_GROUP_ARGS_H

#include "sparsetrace/engine.h"

/* Reads `path`: two whole numbers a line, first byte and one past the last, rising; blank lines and
 * '#' comments are ignored. The bytes count in `text` [n_text], which the tokens [n_tok] spell out
 * somewhere (behind a chat template's head, say); text NULL: in all that the tokens spell. *group
 * is the caller's (free()). Errors: ST_ERR_FORMAT with the line; ST_ERR_ARG; ST_ERR_IO. */
st_status group_args_read(const char *path, const st_model *model, const char *text, int64_t n_text,
                          const int32_t *token, int64_t n_tok, st_group **group, int64_t *n_group,
                          st_error *err);

#endif
