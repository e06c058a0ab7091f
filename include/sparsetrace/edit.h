/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/edit.h — edits: which keys some rows of some heads may not read, or alone may read.
 * What would the model do if this head did not see that sentence? Attention suppression and the
 * proof of routes stand on them.
 *
 * An edit is exact to the token on both axes. Attention over a selection under edits equals exact
 * attention under a mask that is -inf outside the selection and where an edit hides a key.
 *
 *   deny   the rows do not see the named keys
 *   keep   the rows see none but the keys that keep edits of their layer and head name; deny wins
 *
 * A row that is left with nothing gives 0.
 */
#ifndef SPARSETRACE_EDIT_H
#define SPARSETRACE_EDIT_H

#include "sparsetrace/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum st_edit_kind { ST_EDIT_DENY = 0, ST_EDIT_KEEP } st_edit_kind;

typedef struct st_edit {
    st_edit_kind kind;
    int layer, head;            /* -1: every one */
    int64_t q_begin, q_end;     /* rows at positions q_begin <= p < q_end */
    int64_t key_begin, key_end; /* keys at positions key_begin <= j < key_end */
} st_edit;

/* ST_OK if each of the n edits names a layer and head of the model (or all), ranges within
 * 0..n_tok, none empty, and at least one pair that a causal row could see. Else ST_ERR_ARG with the
 * number of the first that does not as its position. */
ST_API st_status st_edits_check(const st_edit *edit, int64_t n, int n_layer, int n_head,
                                int64_t n_tok, st_error *err);

/* "LAYER.HEAD:QUERIES:KEYS", for example 12.7:4000-4096:1600-1624. LAYER and HEAD are numbers or *
 * for all; QUERIES and KEYS are BEGIN-END (END not among them), BEGIN- (to the sequence's end),
 * one number, or *. ST_ERR_FORMAT with the byte at which it cannot be understood. */
ST_API st_status st_edit_parse(st_edit_kind kind, const char *text, int64_t n_tok, st_edit *edit,
                               st_error *err);

/* Writes an edit as st_edits_read reads it: "deny 12.7:4000-4096:1600-1624". buf [ST_EDIT_TEXT]. */
#define ST_EDIT_TEXT 128
ST_API void st_edit_print(const st_edit *edit, char *buf);

/* Edits from a file: one a line, "deny " or "keep " before it; blank lines and lines that begin
 * with # do not count. *edit is the caller's (st_edits_free). ST_ERR_FORMAT: the message names line
 * and column, position is the line; a file without an edit is one. ST_ERR_IO, ST_ERR_MEM. */
ST_API st_status st_edits_read(const char *path, int64_t n_tok, st_edit **edit, int64_t *n,
                               st_error *err);
ST_API void st_edits_free(st_edit *edit);

#ifdef __cplusplus
}
#endif
#endif
