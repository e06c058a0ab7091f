/* SPDX-License-Identifier: MIT
 *
 * sample_trace.h — a small made-up run, for the tests of the trace file: what its chunks are, by
 * formula, and so what a trace of it must hold. Shared by tests/format, tests/fuzz and
 * tests/golden/trace_v1.
 */
#ifndef SAMPLE_TRACE_H
#define SAMPLE_TRACE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sparsetrace/trace.h"

#define SAMPLE_LAYERS 3

typedef struct sample {
    int64_t n_tok, n_batch; /* tokens in all, tokens of a micro-batch */
    int bq, bk;
    int layer[SAMPLE_LAYERS], n_head[SAMPLE_LAYERS];
    st_chunk_kind kind[SAMPLE_LAYERS];
    int64_t cert_step; /* every so many rows is certified; 0: none */
    const st_group *group;
    int64_t n_group; /* 0: none */
    bool value;      /* with sizes of values */
} sample;

/* Groups for the sample: with gaps, a single token, one that micro-batches share, one at the end.
 */
static const st_group sample_groups[] = {{0, 3}, {3, 9}, {12, 13}, {14, 31}, {31, 39}, {41, 50}};
#define SAMPLE_GROUPS 6

/* 50 tokens, blocks of 8 x 4, micro-batches of 20: they meet inside query blocks, and the last
 * blocks are partial. Layer numbers have a gap, head counts differ, the last layer is exact. */
static inline sample sample_default(void)
{
    return (sample){.n_tok = 50,
                    .n_batch = 20,
                    .bq = 8,
                    .bk = 4,
                    .layer = {0, 1, 3},
                    .n_head = {2, 3, 1},
                    .kind = {ST_CHUNK_SPARSE, ST_CHUNK_SPARSE, ST_CHUNK_EXACT},
                    .cert_step = 7};
}

/* Whether rows [first, end) of query block b keep key block c: the sink, the last visible block,
 * some others. */
static inline bool sample_kept(const sample *s, int l, int h, int64_t first, int64_t end, int64_t b,
                               int64_t c)
{
    int64_t stop = (b + 1) * s->bq < end ? (b + 1) * s->bq : end, last = (stop - 1) / s->bk;
    return c <= last && (c == 0 || c == last || (7 * c + 3 * b + h + l + first / 5) % 3 == 0);
}

/* Mass of key block c for the rows of query block b that the micro-batch from `first` on has. */
static inline float sample_mass(int l, int h, int64_t first, int64_t b, int64_t c)
{
    return (float)(1 + (c * 5 + b * 3 + h * 2 + l + first) % 13) / 256.0f;
}

/* Probability that row r puts on each key of group j; 0: nothing of it is kept. */
static inline float sample_share(int l, int h, int64_t r, int64_t j)
{
    return (float)((r * 5 + j * 3 + h + l) % 7) / 512.0f;
}

/* Size of the values of key block c. */
static inline float sample_value(int l, int h, int64_t c)
{
    return (float)((c * 5 + h * 3 + l) % 17) * 0.125f;
}

static inline float sample_lse(int l, int h, int64_t row)
{
    return (float)(row * 3 + h * 5 + l) * 0.25f;
}

static inline float sample_recall(int l, int h, int64_t row)
{
    return 1.0f - (float)((row * 7 + h * 3 + l * 11) % 29) / 64.0f;
}

static inline float sample_err(int l, int h, int64_t row)
{
    return (float)((row + h + l) % 17) / 32.0f;
}

/* One chunk and what it points at. */
typedef struct sample_chunk {
    st_chunk chunk;
    st_selection sel;
    float *mass, *lse, *recall, *err;
    int64_t *rows;
    st_group_sums groups;
    float *value;
} sample_chunk;

static inline void sample_chunk_free(sample_chunk *x)
{
    free(x->sel.indptr);
    free(x->sel.indices);
    free(x->mass);
    free(x->lse);
    free(x->recall);
    free(x->err);
    free(x->rows);
    free(x->groups.sum);
    free(x->value);
}

/* Fills in the sums of a chunk's rows [first, end). */
static inline void sample_chunk_groups(sample_chunk *x, const sample *s, int l, int64_t first,
                                       int64_t end)
{
    st_group_sums *g = &x->groups;
    int64_t n = s->n_group, at = 0;
    *g = (st_group_sums){.group = s->group, .n_group = n};
    g->n = st_groups_touched(s->group, n, first, end, &g->first);
    g->sum = calloc((size_t)(s->n_head[l] * g->n * n) + 1, sizeof *g->sum);
    for (int h = 0; h < s->n_head[l]; h++)
        for (int64_t i = g->first; i < g->first + g->n; i++, at += n)
            for (int64_t r = first; r < end; r++)
                for (int64_t j = 0; j <= i && r >= s->group[i].begin && r < s->group[i].end; j++)
                    g->sum[at + j] +=
                        sample_share(l, h, r, j) * (float)(s->group[j].end - s->group[j].begin);
    x->chunk.groups = g;
}

static inline void sample_chunk_value(sample_chunk *x, const sample *s, int l)
{
    int64_t nbk = (s->n_tok + s->bk - 1) / s->bk;
    x->value = malloc((size_t)(s->n_head[l] * nbk) * sizeof *x->value);
    for (int h = 0; h < s->n_head[l]; h++)
        for (int64_t c = 0; c < nbk; c++)
            x->value[h * nbk + c] = sample_value(l, h, c);
    x->chunk.value = x->value;
}

/* The chunk of the l-th layer whose rows begin with `first`. */
static inline void sample_chunk_make(sample_chunk *x, const sample *s, int l, int64_t first)
{
    int64_t n_q = s->n_tok - first < s->n_batch ? s->n_tok - first : s->n_batch, end = first + n_q;
    int n_head = s->n_head[l];
    int64_t first_blk = first / s->bq, nbq = (end - 1) / s->bq + 1 - first_blk;
    int64_t nbk = (end + s->bk - 1) / s->bk, n = 0, n_cert = 0;
    size_t room = (size_t)(n_head * nbq * nbk), n_lse = (size_t)(n_head * n_q);
    x->sel = (st_selection){.n_head = n_head,
                            .bq = s->bq,
                            .bk = s->bk,
                            .first_blk = first_blk,
                            .nbq = nbq,
                            .nbk = nbk,
                            .indptr = malloc((size_t)(n_head * nbq + 1) * 8),
                            .indices = malloc(room * 4 + 4)};
    x->groups = (st_group_sums){.n = 0};
    x->value = NULL;
    x->mass = malloc(room * 4 + 4);
    x->lse = malloc(n_lse * 4);
    x->recall = malloc(n_lse * 4);
    x->err = malloc(n_lse * 4);
    x->rows = malloc((size_t)n_q * 8);
    for (int h = 0; h < n_head; h++) {
        for (int64_t b = 0; b < nbq; b++) {
            x->sel.indptr[h * nbq + b] = n;
            for (int64_t c = 0; c < nbk; c++) {
                if (!sample_kept(s, l, h, first, end, first_blk + b, c))
                    continue;
                x->sel.indices[n] = (int32_t)c;
                x->mass[n++] = sample_mass(l, h, first, first_blk + b, c);
            }
        }
        for (int64_t i = 0; i < n_q; i++)
            x->lse[h * n_q + i] = sample_lse(l, h, first + i);
    }
    x->sel.indptr[n_head * nbq] = n;
    for (int64_t row = first; s->cert_step > 0 && row < end; row++)
        if (row % s->cert_step == (l + 1) % s->cert_step)
            x->rows[n_cert++] = row;
    for (int h = 0; h < n_head; h++) {
        for (int64_t i = 0; i < n_cert; i++) {
            x->recall[h * n_cert + i] = sample_recall(l, h, x->rows[i]);
            x->err[h * n_cert + i] = sample_err(l, h, x->rows[i]);
        }
    }
    x->chunk = (st_chunk){.layer = s->layer[l],
                          .kind = s->kind[l],
                          .first_query = first,
                          .n_q = n_q,
                          .sel = &x->sel,
                          .mass = x->mass,
                          .lse = x->lse,
                          .kept_pairs = n_head * n_q * (first / 2 + 1),
                          .visible_pairs = n_head * (end * (end + 1) - first * (first + 1)) / 2,
                          .n_cert = n_cert,
                          .cert_rows = x->rows,
                          .cert_recall = x->recall,
                          .cert_err = x->err};
    if (s->n_group > 0)
        sample_chunk_groups(x, s, l, first, end);
    if (s->value && end == s->n_tok)
        sample_chunk_value(x, s, l);
}

/* Adds the chunks of micro-batches whose first row is in [begin, end), as a run does: layer after
 * layer. */
static inline st_status sample_add(const sample *s, st_trace_writer *w, int64_t begin, int64_t end,
                                   st_error *err)
{
    for (int64_t first = begin; first < end; first += s->n_batch) {
        for (int l = 0; l < SAMPLE_LAYERS; l++) {
            sample_chunk x;
            st_status status;
            sample_chunk_make(&x, s, l, first);
            status = st_trace_writer_add(w, &x.chunk, err);
            sample_chunk_free(&x);
            if (status != ST_OK)
                return status;
        }
    }
    return ST_OK;
}

/* Tokens of one to three bytes; token 4 is half a character, token 5 the other half. */
static inline st_status sample_tokens(const sample *s, st_trace_writer *w, st_error *err)
{
    int32_t *token = malloc((size_t)s->n_tok * sizeof *token);
    int64_t *ptr = malloc((size_t)(s->n_tok + 1) * sizeof *ptr), n = 0;
    char *text = malloc((size_t)s->n_tok * 4);
    st_status status;
    for (int64_t i = 0; i < s->n_tok; i++) {
        const char *piece = i == 4 ? "\xc3" : i == 5 ? "\xa9" : i % 3 == 0 ? " a" : "b";
        token[i] = (int32_t)(i * 37 % 1000);
        ptr[i] = n;
        memcpy(text + n, piece, strlen(piece));
        n += (int64_t)strlen(piece);
    }
    ptr[s->n_tok] = n;
    status = st_trace_writer_tokens(w, token, ptr, text, err);
    free(token);
    free(ptr);
    free(text);
    return status;
}

/* The whole run, written to `path`. */
static inline st_status sample_write(const sample *s, const char *path, const st_trace_options *opt,
                                     st_error *err)
{
    st_trace_writer *w;
    st_status status = st_trace_writer_create(path, s->n_tok, s->bq, s->bk, opt, &w, err);
    if (status == ST_OK)
        status = sample_tokens(s, w, err);
    if (status == ST_OK)
        status = st_trace_writer_json(w, "recipe", "{\"model\": \"none\", \"seed\": 1}", err);
    if (status == ST_OK)
        status = sample_add(s, w, 0, s->n_tok, err);
    if (status == ST_OK)
        status = st_trace_writer_json(w, "result", "{\"text\": \"\\u00e9 \\\"quoted\\\"\"}", err);
    if (status == ST_OK)
        status = st_trace_writer_finish(w, NULL, err);
    st_trace_writer_free(w, false);
    return status;
}

/* What a trace of the run's rows [0, n_tok) must hold for one (l-th layer, head, query block): the
 * joined mass of each key block, -1 where it is not kept. mass: [nbk]. */
static inline void sample_expect(const sample *s, int l, int h, int64_t b, int64_t n_tok,
                                 double *mass)
{
    int64_t nbk = (n_tok + s->bk - 1) / s->bk, rows = 0;
    for (int64_t c = 0; c < nbk; c++)
        mass[c] = -1;
    for (int64_t first = 0; first < n_tok; first += s->n_batch) {
        int64_t end = first + s->n_batch < s->n_tok ? first + s->n_batch : s->n_tok;
        int64_t from = b * s->bq > first ? b * s->bq : first;
        int64_t to = (b + 1) * s->bq < end ? (b + 1) * s->bq : end;
        if (from >= to)
            continue;
        rows += to - from;
        for (int64_t c = 0; c < nbk; c++)
            if (sample_kept(s, l, h, first, end, b, c))
                mass[c] = (mass[c] < 0 ? 0 : mass[c]) +
                          (double)(to - from) * (double)sample_mass(l, h, first, b, c);
    }
    for (int64_t c = 0; c < nbk; c++)
        if (mass[c] >= 0)
            mass[c] /= (double)rows;
}

/* ---- files of a test ------------------------------------------------------------------------- */

static char sample_dir[256];

static inline void sample_remove_dir(void)
{
    DIR *dir = opendir(sample_dir);
    struct dirent *entry;
    char path[600];
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", sample_dir, entry->d_name);
        if (*entry->d_name != '.')
            remove(path);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(sample_dir);
}

/* A path in a fresh directory that goes when the test ends; good until the eighth next call. */
static inline const char *sample_path(const char *name)
{
    static char path[8][400];
    static int turn;
    if (*sample_dir == '\0') {
        const char *tmp = getenv("TMPDIR");
        if (tmp ==
            NULL) /* in memory if there is such a place: these tests sync thousands of files */
            tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(sample_dir, sizeof sample_dir, "%s/sparsetrace-XXXXXX", tmp);
        if (mkdtemp(sample_dir) == NULL)
            abort();
        atexit(sample_remove_dir);
    }
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", sample_dir, name);
    return path[turn];
}

/* A whole file; the caller's to free. NULL: it cannot be read. */
static inline char *sample_load(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    if (f == NULL)
        return NULL;
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    data = malloc(*bytes + 1);
    if (fread(data, 1, *bytes, f) != *bytes)
        abort();
    data[*bytes] = '\0';
    fclose(f);
    return data;
}

static inline void sample_store(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0)
        abort();
}

/* A file of tests/golden/trace_v1/data, found from where this header is; good until the next call.
 */
static inline const char *sample_golden(const char *name)
{
    static char path[600];
    const char *slash = strrchr(__FILE__, '/');
    snprintf(path, sizeof path, "%.*s/../golden/trace_v1/data/%s",
             slash == NULL ? 1 : (int)(slash - __FILE__), slash == NULL ? "." : __FILE__, name);
    return path;
}

/* ---- using a trace, good or bad -------------------------------------------------------------- */

/* Touches everything that a query or an export touches. Gives something that depends on all of it.
 */
static inline int64_t sample_use(const st_trace *t)
{
    st_trace_info info;
    st_trace_layer y;
    int64_t n, sum = 0;
    double *out;
    FILE *null;
    st_trace_get_info(t, &info);
    if (info.n_tok > 1 << 20) /* a few bytes can claim any length; the caller's arrays follow it */
        return -1;
    null = fopen("/dev/null", "w");
    out = malloc((size_t)(info.nbk + info.nbq) * sizeof *out);
    sum += st_trace_reads(t, NULL, out, NULL) == ST_OK && out[0] > 0.5;
    sum += st_trace_readers(t, NULL, 0, info.n_tok, out, NULL) == ST_OK && out[0] > 0.5;
    sum += st_trace_export_csv(t, NULL, null, NULL) + st_trace_export_json(t, NULL, null, NULL);
    sum += st_trace_export_npz(t, NULL, sample_path("use.npz"), NULL);
    for (int64_t i = 0; i < info.n_tok; i++) {
        const char *text = st_trace_text(t, i, i + 1, &n);
        for (int64_t b = 0; b < n; b++)
            sum += text[b];
        sum += st_trace_tokens(t) != NULL ? st_trace_tokens(t)[i] : 0;
    }
    for (int64_t i = 0; info.n_group > 0 && info.n_group <= 64 && i < info.n_layer; i++) {
        float mean[64 * 64];
        st_trace_samples x;
        for (int64_t h = 0; st_trace_group_matrix(t, i, h, mean, NULL) == ST_OK; h++)
            sum += mean[0] > 0;
        sum += st_trace_get_samples(t, i, &x, NULL) == ST_OK && x.n_row > 0 && x.recall[0] > 0;
    }
    for (int64_t i = 0; st_trace_get_layer(t, i, &y, NULL) == ST_OK; i++)
        for (int64_t j = 0; y.lse != NULL && j < y.n_head * info.n_tok; j++)
            sum += y.lse[j] > 0;
    free(out);
    fclose(null);
    return sum;
}

#endif
