/* SPDX-License-Identifier: MIT
 *
 * text.h — a string that grows. Running out of memory is remembered and asked for once, at the end.
 */
#ifndef STI_TEXT_H
#define STI_TEXT_H

#include "base/util.h"

typedef struct sti_text {
    char *s; /* NUL-terminated once something was added */
    int64_t n, cap;
    bool failed;
} sti_text;

void sti_text_add(sti_text *t, const char *s, int64_t n);
void sti_text_put(sti_text *t, const char *s); /* NUL-terminated */
/* At most 511 bytes a call. */
void sti_text_printf(sti_text *t, const char *fmt, ...) ST_PRINTF(2, 3);
void sti_text_free(sti_text *t);

#endif
