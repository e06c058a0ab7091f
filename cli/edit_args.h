/* SPDX-License-Identifier: MIT
 *
 * edit_args.h — the options --deny, --keep and --edits.
 */
#ifndef CLI_EDIT_ARGS_H
#define CLI_EDIT_ARGS_H

#include "sparsetrace/edit.h"

typedef struct edit_args {
    const char *deny, *keep; /* lists with commas, or NULL */
    const char *file;
} edit_args;

/* clang-format off */
#define EDIT_OPTIONS(a)                                                                            \
    {"--deny", "L.H:Q:K", ARG_TEXT, &(a)->deny, 0, 0,                                              \
     "queries Q of head L.H do not see keys K: 12.7:4000-4096:1600-1624, * for all; a list"},      \
    {"--keep", "L.H:Q:K", ARG_TEXT, &(a)->keep, 0, 0,                                              \
     "queries Q of head L.H see none but keys K; a list"},                                         \
    {"--edits", "FILE", ARG_TEXT, &(a)->file, 0, 0, "edits from a file, \"deny L.H:Q:K\" a line"}
/* clang-format on */

/* All of them into *edit [*n] (free(), also after an error); NULL and 0 if there are none. The
 * message names the option and the place in it, or the file's line and column. */
st_status edit_args_read(const edit_args *a, int64_t n_tok, st_edit **edit, int64_t *n,
                         st_error *err);

#endif
