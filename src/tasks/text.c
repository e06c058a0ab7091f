/* SPDX-License-Identifier: MIT
 *
 * text.c — a string that grows.
 */
#include <stdarg.h>
#include <stdio.h>

#include "tasks/text.h"

void sti_text_add(sti_text *t, const char *s, int64_t n)
{
    if (t->failed || !sti_grow((void **)&t->s, &t->cap, t->n + n + 1, 1)) {
        t->failed = true;
        return;
    }
    memcpy(t->s + t->n, s, (size_t)n);
    t->n += n;
    t->s[t->n] = '\0';
}

void sti_text_put(sti_text *t, const char *s)
{
    sti_text_add(t, s, (int64_t)strlen(s));
}

void sti_text_printf(sti_text *t, const char *fmt, ...)
{
    char buf[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    sti_text_put(t, buf);
}

void sti_text_free(sti_text *t)
{
    sti_free(t->s);
    *t = (sti_text){0};
}
