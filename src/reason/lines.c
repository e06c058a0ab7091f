/* SPDX-License-Identifier: MIT
 *
 * lines.c — lines out of a file or a pipe, and JSON out of a line.
 */
#include <errno.h>
#include <sys/stat.h>

#include "reason/lines.h"
#include "sparsetrace/reason.h"

/* ---- the file -------------------------------------------------------------------------------- */

st_status sti_lines_open(const char *path, sti_lines *l, st_error *err)
{
    struct stat there;
    *l = (sti_lines){.path = path, .std = strcmp(path, "-") == 0};
    l->file = l->std ? stdin : fopen(path, "rb");
    if (l->file == NULL)
        return sti_fail_io(err, "open", path);
    if (fstat(fileno(l->file), &there) == 0 && S_ISDIR(there.st_mode)) {
        sti_lines_close(l);
        errno = EISDIR;
        return sti_fail_io(err, "read", path);
    }
    return ST_OK;
}

void sti_lines_close(sti_lines *l)
{
    if (l->file != NULL && !l->std)
        fclose(l->file);
    l->file = NULL;
    sti_free(l->buffer);
    l->buffer = NULL;
}

/* Bytes up to `stop` (EOF: to the end of the file) into the buffer, `stop` not among them. *ended:
 * the file did. What is beyond the limit is read and dropped. */
static st_status read_until(sti_lines *l, int stop, int64_t *n, bool *ended, st_error *err)
{
    int c;
    *n = 0;
    while ((c = getc_unlocked(l->file)) != EOF && c != stop) {
        if (*n < ST_TEXT_MAX_BYTES + 1 && *n + 2 > l->cap &&
            !sti_grow((void **)&l->buffer, &l->cap, *n + 2, 1))
            return sti_fail_mem(err, (size_t)*n + 2);
        if (*n < ST_TEXT_MAX_BYTES + 1)
            l->buffer[(*n)++] = (char)c;
    }
    *ended = c == EOF;
    if (c == EOF && ferror(l->file))
        return sti_fail_io(err, "read", l->path);
    if (!sti_grow((void **)&l->buffer, &l->cap, *n + 1, 1))
        return sti_fail_mem(err, (size_t)*n + 1);
    l->buffer[*n] = '\0';
    if (*n > ST_TEXT_MAX_BYTES)
        return sti_fail(err, ST_ERR_LIMIT, l->number, "line %lld is longer than %lld bytes",
                        (long long)l->number, (long long)ST_TEXT_MAX_BYTES);
    return ST_OK;
}

st_status sti_lines_next(sti_lines *l, char **line, int64_t *n, st_error *err)
{
    bool ended;
    *line = NULL;
    l->number++;
    STI_TRY(read_until(l, '\n', n, &ended, err));
    if (!ended || *n > 0)
        *line = l->buffer;
    return ST_OK;
}

st_status sti_lines_rest(sti_lines *l, char **text, int64_t *n, st_error *err)
{
    bool ended;
    *text = NULL;
    l->number++;
    STI_TRY(read_until(l, EOF, n, &ended, err));
    *text = l->buffer;
    return ST_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The code unit of the escape \uXXXX that starts at s, -1: there is none. */
static int code_unit(const char *s, int64_t n)
{
    int x = 0;
    if (n < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        if (hex(s[i]) < 0)
            return -1;
        x = x * 16 + hex(s[i]);
    }
    return x;
}

int64_t sti_mend_surrogates(char *json, int64_t n)
{
    int64_t mended = 0;
    for (int64_t i = 0; i < n;) {
        int unit = code_unit(json + i, n - i);
        int next = unit >= 0xd800 && unit < 0xdc00 ? code_unit(json + i + 6, n - i - 6) : -1;
        if (next >= 0xdc00 && next < 0xe000) {
            i += 12;
        } else if (unit >= 0xd800 && unit < 0xe000) {
            memcpy(json + i, "\\ufffd", 6);
            mended++;
            i += 6;
        } else {
            i += json[i] == '\\' ? 2 : 1; /* an escaped backslash starts no escape */
        }
    }
    return mended;
}

st_status sti_parse_line(const char *line, int64_t n, int64_t number, yyjson_doc **doc,
                         st_error *err)
{
    yyjson_read_err why;
    *doc = yyjson_read_opts((char *)(uintptr_t)line, (size_t)n, YYJSON_READ_ALLOW_INVALID_UNICODE,
                            NULL, &why);
    if (*doc != NULL)
        return ST_OK;
    if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return sti_fail_mem(err, (size_t)n);
    return sti_fail(err, ST_ERR_FORMAT, number, "line %lld is not JSON: %s at byte %zu",
                    (long long)number, why.msg, why.pos);
}
