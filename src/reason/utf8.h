/* SPDX-License-Identifier: MIT
 *
 * utf8.h — white space and characters of a text that may be broken: a byte that starts no sound
 * sequence counts as one character and is not white space.
 */
#ifndef STI_REASON_UTF8_H
#define STI_REASON_UTF8_H

#include "sparsetrace/attn.h"

/* The span without white space (Unicode's) at its ends; empty: begin == end. */
st_group sti_trim(const char *text, st_group span);

int64_t sti_count_chars(const char *text, st_group span);

#endif
