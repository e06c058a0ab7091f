/* SPDX-License-Identifier: MIT
 *
 * out.h — what the verbs print: tables, progress, errors, JSON scraps, text snippets.
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <stdio.h>

#include "sparsetrace/engine.h"

/* "sparsetrace: <message>" on stderr; returns EXIT_FAILED. */
int out_failed(const st_error *err);
/* The same, with the file's name before a message that does not have it. */
int out_failed_in(const char *path, const st_error *err);

/* One row of a two-column table. */
void out_row(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* malloc that ends the program with a message rather than give NULL. */
void *out_need(size_t bytes);

/* "1.5 GB"; buf of 32. */
const char *out_bytes(char *buf, int64_t bytes);
/* "12,345"; buf of 32. */
const char *out_count(char *buf, int64_t n);

/* A string as JSON, quotes included; bytes that are not UTF-8 become U+FFFD. */
void out_json_string(FILE *f, const char *text, int64_t n);
/* A number, or null if it is not finite. */
void out_json_real(FILE *f, double x);

/* Text that came from a file, without what could steer a terminal: control characters and broken
 * UTF-8 become dots. Returns buf (size > 0). */
const char *out_clean(char *buf, size_t size, const char *text);

/* text [n] into to [n], a question mark for each byte that belongs to no sound UTF-8. */
void out_sound(char *to, const char *text, int64_t n);
/* Where the first of these bytes is; n: there is none. */
int64_t out_unsound(const char *text, int64_t n);

/* A token as the user would type it, in quotes. Returns buf. */
#define OUT_TOKEN 128
const char *out_token(const st_model *m, int32_t id, char buf[OUT_TOKEN]);

/* At most `width` columns of text as one line: white space folded, control characters and broken
 * UTF-8 shown as a dot. */
void out_snippet(FILE *f, const char *text, int64_t n, int width);

/* A bar with rate and remaining time on a terminal; nothing in a pipe or if quiet. The context is
 * an out_bar. Asks to stop once out_interrupted() is true. */
typedef struct out_bar {
    bool quiet;
    char what[32];
    double start, last;
    int64_t first; /* done when it started */
    bool drawn;
} out_bar;
bool out_progress(void *bar, const char *what, int64_t done, int64_t total);
/* Wipes the bar. */
void out_progress_end(out_bar *bar);

/* A clock that only runs forward. */
double out_seconds(void);

/* Ctrl-C: the first one asks for an orderly stop, the second one kills. */
void out_catch_interrupt(void);
bool out_interrupted(void);

#endif
