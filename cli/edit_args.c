/* SPDX-License-Identifier: MIT
 *
 * edit_args.c — a file's edits, then those of the command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edit_args.h"
#include "out.h"

static int64_t count(const char *list)
{
    int64_t n = list != NULL;
    for (; list != NULL && *list != '\0'; list++)
        n += *list == ',';
    return n;
}

static st_status read_list(const char *option, st_edit_kind kind, const char *list, int64_t n_tok,
                           st_edit *edit, st_error *err)
{
    char *copy = out_need(strlen(list) + 1), *at = copy;
    st_status status = ST_OK;
    strcpy(copy, list);
    for (int64_t i = 0; i < count(list) && status == ST_OK; i++) {
        char *end = at + strcspn(at, ",");
        st_error inner;
        *end = '\0';
        status = st_edit_parse(kind, at, n_tok, &edit[i], &inner);
        if (status != ST_OK) {
            *err = inner;
            snprintf(err->message, sizeof err->message, "%s \"%.120s\": %.200s", option, at,
                     inner.message);
        }
        at = end + 1;
    }
    free(copy);
    return status;
}

st_status edit_args_read(const edit_args *a, int64_t n_tok, st_edit **edit, int64_t *n,
                         st_error *err)
{
    int64_t n_deny = count(a->deny), n_keep = count(a->keep), n_file = 0;
    st_edit *from_file = NULL;
    st_status status = ST_OK;
    *edit = NULL;
    *n = 0;
    if (a->file != NULL)
        status = st_edits_read(a->file, n_tok, &from_file, &n_file, err);
    if (status != ST_OK || n_file + n_deny + n_keep == 0)
        return status;
    *edit = out_need((size_t)(n_file + n_deny + n_keep) * sizeof **edit);
    if (n_file > 0)
        memcpy(*edit, from_file, (size_t)n_file * sizeof **edit);
    st_edits_free(from_file);
    if (n_deny > 0)
        status = read_list("--deny", ST_EDIT_DENY, a->deny, n_tok, *edit + n_file, err);
    if (status == ST_OK && n_keep > 0)
        status = read_list("--keep", ST_EDIT_KEEP, a->keep, n_tok, *edit + n_file + n_deny, err);
    *n = n_file + n_deny + n_keep;
    return status;
}
