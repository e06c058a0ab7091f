/* SPDX-License-Identifier: MIT
 *
 * lines.h — a file line by line, and a line of JSON.
 */
#ifndef STI_LINES_H
#define STI_LINES_H

#include <stdio.h>

#include <yyjson.h>

#include "base/util.h"

typedef struct sti_lines {
    FILE *file;
    const char *path; /* the caller's; for messages */
    char *buffer;
    int64_t cap;
    int64_t number; /* of the line given last, from 1 */
    bool std;       /* `file` is standard input */
} sti_lines;

/* path "-": standard input. ST_ERR_IO: cannot open, or a directory. */
st_status sti_lines_open(const char *path, sti_lines *lines, st_error *err);
void sti_lines_close(sti_lines *lines);

/* The next line without its end, NUL-terminated, to be changed at will; NULL at the end of the
 * file. Errors: ST_ERR_IO, ST_ERR_MEM, ST_ERR_LIMIT (the line is passed over). */
st_status sti_lines_next(sti_lines *lines, char **line, int64_t *n, st_error *err);

/* All that is left, NUL-terminated. Errors: as sti_lines_next. */
st_status sti_lines_rest(sti_lines *lines, char **text, int64_t *n, st_error *err);

/* \ud800 .. \udfff without their other half become \ufffd, in place. How many. */
int64_t sti_mend_surrogates(char *json, int64_t n);

/* Parses one line; bytes in strings need not be UTF-8. Errors: ST_ERR_FORMAT ("line 3, column 17:
 * ...", position: the line), ST_ERR_MEM. */
st_status sti_parse_line(const char *line, int64_t n, int64_t number, yyjson_doc **doc,
                         st_error *err);

#endif
