/* SPDX-License-Identifier: MIT
 *
 * group_args.c — spans of bytes from a file, and where the prompt lies among the tokens' bytes.
 */
#include "group_args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "sparsetrace/groups.h"

ST_PRINTF(4, 5)
static st_status fail(st_error *err, st_status status, int64_t position, const char *fmt, ...)
{
    va_list ap;
    *err = (st_error){.status = status, .position = position};
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return status;
}

/* One line: 1 a span, 0 nothing to read, -1 neither. */
static int parse_line(const char *line, st_group *g)
{
    long long begin, end;
    int used = 0;
    line += strspn(line, " \t\r\n");
    if (*line == '\0' || *line == '#')
        return 0;
    if (sscanf(line, "%lld %lld %n", &begin, &end, &used) != 2 || line[used] != '\0')
        return -1;
    *g = (st_group){begin, end};
    return 1;
}

static st_status read_spans(const char *path, st_group **span, int64_t *n, st_error *err)
{
    FILE *f = fopen(path, "rb");
    char line[256];
    int64_t cap = 0, at = 0;
    st_status status = ST_OK;
    if (f == NULL)
        return fail(err, ST_ERR_IO, -1, "cannot read %s: %s", path, strerror(errno));
    while (status == ST_OK && fgets(line, sizeof line, f) != NULL) {
        st_group g;
        int what = strlen(line) + 1 < sizeof line ? parse_line(line, &g) : -1;
        at++;
        if (what < 0)
            status = fail(err, ST_ERR_FORMAT, at,
                          "%s, line %lld: not two whole numbers, first byte and one past the last",
                          path, (long long)at);
        if (what <= 0)
            continue;
        if (*n == cap) {
            st_group *more = out_need((size_t)(cap = 2 * cap + 64) * sizeof *more);
            if (*n > 0)
                memcpy(more, *span, (size_t)*n * sizeof *more);
            free(*span);
            *span = more;
        }
        (*span)[(*n)++] = g;
    }
    if (status == ST_OK && ferror(f))
        status = fail(err, ST_ERR_IO, -1, "cannot read %s: %s", path, strerror(errno));
    fclose(f);
    if (status == ST_OK && *n == 0)
        status = fail(err, ST_ERR_FORMAT, -1, "%s has no span", path);
    return status;
}

/* The bytes that the tokens spell, and where each begins. free() both. */
static char *spell(const st_model *model, const int32_t *token, int64_t n_tok, int64_t **ptr)
{
    char *text;
    *ptr = out_need((size_t)(n_tok + 1) * sizeof **ptr);
    (*ptr)[0] = 0;
    for (int64_t i = 0; i < n_tok; i++)
        (*ptr)[i + 1] = (*ptr)[i] + st_model_piece(model, token[i], NULL, 0);
    text = out_need((size_t)(*ptr)[n_tok] + 1);
    for (int64_t i = 0; i < n_tok; i++)
        st_model_piece(model, token[i], text + (*ptr)[i], (int)((*ptr)[i + 1] - (*ptr)[i]));
    return text;
}

/* Where needle [n] begins in hay; -1: nowhere. */
static int64_t find(const char *hay, int64_t n_hay, const char *needle, int64_t n)
{
    for (int64_t i = 0; i + n <= n_hay; i++)
        if (memcmp(hay + i, needle, (size_t)n) == 0)
            return i;
    return -1;
}

/* st_groups_check's complaint, in what the file counts: bytes. */
static st_status outside(st_error *err, const char *path, const st_group *span, int64_t n_text)
{
    int64_t at = err->position;
    if (at < 0)
        return err->status;
    return fail(err, ST_ERR_FORMAT, at,
                "%s, span %lld: bytes %lld to %lld; wanted is one or more of the prompt's %lld "
                "bytes, behind the span before it",
                path, (long long)at + 1, (long long)span[at].begin, (long long)span[at].end,
                (long long)n_text);
}

/* The spans, `at` bytes further on in what the tokens spell, to groups of tokens. The complaint is
 * in what the file counts: from span 1, without `at`. */
static st_status to_tokens(const char *path, const st_group *span, int64_t n, int64_t at,
                           const int64_t *ptr, int64_t n_tok, st_group *group, st_error *err)
{
    int64_t bad;
    for (int64_t i = 0; i < n; i++)
        group[i] = (st_group){span[i].begin + at, span[i].end + at};
    if (st_groups_from_bytes(group, n, ptr, n_tok, group, err) == ST_OK)
        return ST_OK;
    bad = err->position;
    if (bad < 0)
        return err->status;
    return fail(err, ST_ERR_ARG, bad, "%s, span %lld, bytes %lld to %lld, has no token of its own",
                path, (long long)bad + 1, (long long)span[bad].begin, (long long)span[bad].end);
}

st_status group_args_read(const char *path, const st_model *model, const char *text, int64_t n_text,
                          const int32_t *token, int64_t n_tok, st_group **group, int64_t *n_group,
                          st_error *err)
{
    int64_t *ptr, at;
    char *spelt;
    st_group *span = NULL;
    st_status status;
    *group = NULL;
    *n_group = 0;
    status = read_spans(path, &span, n_group, err);
    spelt = spell(model, token, n_tok, &ptr);
    n_text = text != NULL ? n_text : ptr[n_tok];
    at = text != NULL ? find(spelt, ptr[n_tok], text, n_text) : 0;
    if (status == ST_OK && at < 0)
        status = fail(err, ST_ERR_ARG, -1,
                      "--groups: the model's tokens do not spell the prompt as it stands");
    if (status == ST_OK && st_groups_check(span, *n_group, n_text, err) != ST_OK)
        status = outside(err, path, span, n_text);
    if (status == ST_OK) {
        *group = out_need((size_t)*n_group * sizeof **group);
        status = to_tokens(path, span, *n_group, at, ptr, n_tok, *group, err);
    }
    free(span);
    free(spelt);
    free(ptr);
    if (status != ST_OK) {
        free(*group);
        *group = NULL;
        *n_group = 0;
    }
    return status;
}
