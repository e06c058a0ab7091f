/* SPDX-License-Identifier: MIT
 *
 * ruler_rows.c — rows in memory and in their CSV file.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ruler.h"

enum kind { TEXT, WHOLE, REAL };

/* The columns, in their order in the file. */
#define COLUMN(name, kind) {#name, kind, offsetof(ruler_row, name), sizeof((ruler_row *)0)->name}
static const struct column {
    const char *name;
    enum kind kind;
    size_t at, size;
} column[] = {COLUMN(model, TEXT),
              COLUMN(source, TEXT),
              COLUMN(task, TEXT),
              COLUMN(select, TEXT),
              COLUMN(target, TEXT),
              COLUMN(chat, WHOLE),
              COLUMN(seed, WHOLE),
              COLUMN(length, WHOLE),
              COLUMN(index, WHOLE),
              COLUMN(block_q, WHOLE),
              COLUMN(block_k, WHOLE),
              COLUMN(sample_rows, WHOLE),
              COLUMN(n_tok, WHOLE),
              COLUMN(n_answer, WHOLE),
              COLUMN(k, REAL),
              COLUMN(dense, REAL),
              COLUMN(sparse, REAL),
              COLUMN(greedy_dense, REAL),
              COLUMN(greedy_sparse, REAL),
              COLUMN(n_same, WHOLE),
              COLUMN(kept_pairs, WHOLE),
              COLUMN(causal_pairs, WHOLE),
              COLUMN(n_retrieval, WHOLE),
              COLUMN(n_needle_kept, WHOLE),
              COLUMN(kl, REAL),
              COLUMN(recall, REAL),
              COLUMN(seconds_dense, REAL),
              COLUMN(seconds_sparse, REAL),
              COLUMN(margin, REAL)};
#define N_COLUMN (sizeof column / sizeof *column)
#define N_KEY 12 /* the first columns are the row's key */
#define LINE_BYTES 1024

static void print_header(char *buf)
{
    *buf = '\0';
    for (size_t i = 0; i < N_COLUMN; i++) {
        strcat(buf, i > 0 ? "," : "");
        strcat(buf, column[i].name);
    }
    strcat(buf, "\n");
}

static int print_row(char *buf, const ruler_row *row)
{
    int n = 0;
    for (size_t i = 0; i < N_COLUMN; i++) {
        const char *p = (const char *)row + column[i].at;
        const char *end = i + 1 < N_COLUMN ? "," : "\n";
        if (column[i].kind == TEXT)
            n += snprintf(buf + n, (size_t)(LINE_BYTES - n), "%s%s", p, end);
        else if (column[i].kind == WHOLE)
            n += snprintf(buf + n, (size_t)(LINE_BYTES - n), "%lld%s",
                          (long long)*(const int64_t *)(const void *)p, end);
        else
            n += snprintf(buf + n, (size_t)(LINE_BYTES - n), "%.9g%s",
                          *(const double *)(const void *)p, end);
    }
    return n;
}

/* One field of a line that begins at `text` and ends before `end`. */
static bool parse_field(const struct column *c, const char *text, const char *end, ruler_row *row)
{
    char *to = (char *)row + c->at, buf[64], *rest;
    size_t n = (size_t)(end - text);
    if (n == 0 || n >= (c->kind == TEXT ? c->size : sizeof buf))
        return false;
    if (c->kind == TEXT) {
        memcpy(to, text, n);
        to[n] = '\0';
        return true;
    }
    memcpy(buf, text, n);
    buf[n] = '\0';
    if (c->kind == WHOLE)
        *(int64_t *)(void *)to = strtoll(buf, &rest, 10);
    else
        *(double *)(void *)to = strtod(buf, &rest);
    return *rest == '\0';
}

static bool parse_row(const char *line, ruler_row *row)
{
    memset(row, 0, sizeof *row);
    for (size_t i = 0; i < N_COLUMN; i++) {
        const char *end = line + strcspn(line, ",\n");
        if (*end != (i + 1 < N_COLUMN ? ',' : '\n') || !parse_field(&column[i], line, end, row))
            return false;
        line = end + 1;
    }
    return true;
}

static void keep(ruler_rows *rows, const ruler_row *row)
{
    if (rows->n == rows->cap) {
        ruler_row *more = out_need((size_t)(2 * rows->cap + 64) * sizeof *more);
        if (rows->n > 0)
            memcpy(more, rows->row, (size_t)rows->n * sizeof *more);
        free(rows->row);
        rows->row = more;
        rows->cap = 2 * rows->cap + 64;
    }
    rows->row[rows->n++] = *row;
}

/* Reads what an earlier job wrote. *whole: bytes up to the end of the last complete line. */
static int read_rows(ruler_rows *rows, long *whole)
{
    char line[LINE_BYTES], header[LINE_BYTES];
    long long n_line = 0;
    print_header(header);
    *whole = 0;
    while (fgets(line, sizeof line, rows->file) != NULL) {
        ruler_row row;
        bool cut = strchr(line, '\n') == NULL && strlen(line) + 1 < sizeof line;
        bool good = n_line++ == 0 ? strncmp(line, header, cut ? strlen(line) : sizeof line) == 0
                                  : cut || parse_row(line, &row);
        if (good && cut) /* the last line of a job that was killed */
            break;
        if (!good) {
            fprintf(stderr, "sparsetrace: %s, line %lld: not a line of such a job\n", rows->path,
                    n_line);
            return EXIT_FAILED;
        }
        if (n_line > 1)
            keep(rows, &row);
        *whole = ftell(rows->file);
    }
    return -1;
}

static int cannot(const char *what, const char *path)
{
    fprintf(stderr, "sparsetrace: cannot %s %s: %s\n", what, path, strerror(errno));
    return EXIT_FAILED;
}

int ruler_rows_open(ruler_rows *rows, const char *path, bool resume)
{
    char header[LINE_BYTES];
    long whole = 0;
    int code;
    *rows = (ruler_rows){.path = path};
    if (path == NULL)
        return -1;
    if (!resume && access(path, F_OK) == 0)
        return args_complain("ruler", "%s is there already: --resume goes on with it", path);
    rows->file = fopen(path, resume && access(path, F_OK) == 0 ? "r+" : "w");
    if (rows->file == NULL)
        return cannot("write", path);
    code = resume ? read_rows(rows, &whole) : -1;
    if (code >= 0)
        return code;
    print_header(header);
    if (fflush(rows->file) != 0 || ftruncate(fileno(rows->file), whole) != 0 ||
        fseek(rows->file, whole, SEEK_SET) != 0 ||
        (whole == 0 && (fputs(header, rows->file) < 0 || fflush(rows->file) != 0)))
        return cannot("write", path);
    return -1;
}

static bool same_key(const ruler_row *a, const ruler_row *b)
{
    for (size_t i = 0; i < N_KEY; i++) {
        const char *x = (const char *)a + column[i].at, *y = (const char *)b + column[i].at;
        if (column[i].kind == TEXT ? strcmp(x, y) != 0 : memcmp(x, y, sizeof(int64_t)) != 0)
            return false;
    }
    return true;
}

const ruler_row *ruler_rows_find(const ruler_rows *rows, const ruler_row *key)
{
    for (int64_t i = 0; i < rows->n; i++)
        if (same_key(&rows->row[i], key))
            return &rows->row[i];
    return NULL;
}

bool ruler_rows_add(ruler_rows *rows, const ruler_row *row)
{
    char line[LINE_BYTES];
    print_row(line, row);
    keep(rows, row);
    return rows->file == NULL || (fputs(line, rows->file) >= 0 && fflush(rows->file) == 0);
}

void ruler_rows_close(ruler_rows *rows)
{
    if (rows->file != NULL)
        fclose(rows->file);
    free(rows->row);
    *rows = (ruler_rows){.n = 0};
}

void ruler_source(char *buf, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/');
    out_clean(buf, size, slash != NULL ? slash + 1 : path);
    for (char *c = buf; *c != '\0'; c++)
        if (*c == ',' || *c == '"')
            *c = '_';
    if (*buf == '\0')
        snprintf(buf, size, "_");
}
