/* SPDX-License-Identifier: MIT
 *
 * given.h — sentences that a line of labelled data names itself.
 */
#ifndef STI_GIVEN_H
#define STI_GIVEN_H

#include <yyjson.h>

#include "base/util.h"
#include "sparsetrace/reason.h"

/* As st_texts_sentences; list: the line's "sentences", NULL if there are none. */
st_status sti_given_sentences(yyjson_val *list, const char *text, st_group part, int64_t line,
                              st_group **sentence, int64_t *n, st_error *err);

#endif
