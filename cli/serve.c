/* SPDX-License-Identifier: MIT
 *
 * serve.c — the routes of the served viewer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "http.h"
#include "out.h"
#include "serve.h"

#define BYTES_MAX ((int64_t)16 << 20)
#define ROWS_MAX 128 /* query blocks of one answer, more or less */
#define BINARY "application/octet-stream"

struct served {
    const st_trace *trace;
    st_trace_info info;
    int fd;
    char *page, *overview;
    size_t page_bytes, overview_bytes;
};

/* ---- reading a path -------------------------------------------------------------------------- */

/* "A-B" at *at, A < B <= limit; moves *at behind it. */
static bool take_span(const char **at, int64_t limit, int64_t span[2])
{
    for (int i = 0; i < 2; i++) {
        char *end;
        if (**at < '0' || **at > '9')
            return false;
        errno = 0;
        span[i] = strtoll(*at, &end, 10);
        if (errno != 0 || (i == 0 && *end != '-'))
            return false;
        *at = end + (i == 0);
    }
    return span[0] < span[1] && span[1] <= limit;
}

/* "layer.head" at *at, and the comma after it, if there is one. */
static bool take_head(const char **at, int32_t head[2])
{
    int used = 0;
    if (**at < '0' || **at > '9' || sscanf(*at, "%7d.%7d%n", &head[0], &head[1], &used) != 2 ||
        head[0] < 0 || head[1] < 0)
        return false;
    *at += used;
    if (**at == ',')
        ++*at;
    return true;
}

/* ---- routes ---------------------------------------------------------------------------------- */

static void get_bytes(const struct served *s, const char *path, http_reply *r)
{
    int64_t span[2], at;
    char *data;
    if (!take_span(&path, s->info.bytes, span) || *path != '\0' || span[1] - span[0] > BYTES_MAX)
        return;
    data = out_need((size_t)(span[1] - span[0]));
    for (at = span[0]; at < span[1];) {
        ssize_t got = pread(s->fd, data + (at - span[0]), (size_t)(span[1] - at), at);
        if (got <= 0)
            break;
        at += got;
    }
    *r = (http_reply){.status = at == span[1] ? 200 : 500,
                      .type = BINARY,
                      .part = {data},
                      .bytes = {(size_t)(span[1] - span[0])},
                      .owned = data};
}

/* One part's reads or readers, added to sum. */
static bool add_shares(const struct served *s, st_trace_part *part, const int64_t span[2],
                       bool reads, double *share, double *sum, int64_t n)
{
    st_status status;
    if (reads) {
        part->row_begin = span[0];
        part->row_end = span[1];
    }
    status = reads ? st_trace_reads(s->trace, part, share, NULL)
                   : st_trace_readers(s->trace, part, span[0], span[1], share, NULL);
    for (int64_t i = 0; i < n && status == ST_OK; i++)
        sum[i] += share[i];
    return status == ST_OK;
}

static void get_shares(const struct served *s, const char *path, bool reads, http_reply *r)
{
    int64_t span[2], n = reads ? s->info.nbk : s->info.nbq, n_part = 0;
    double *sum, *share;
    bool ok = true;
    if (!take_span(&path, s->info.n_tok, span) || *path++ != '/')
        return;
    sum = out_need((size_t)n * sizeof *sum);
    share = out_need((size_t)n * sizeof *share);
    memset(sum, 0, (size_t)n * sizeof *sum);
    if (strcmp(path, "all") == 0) {
        st_trace_part part = {0};
        ok = add_shares(s, &part, span, reads, share, sum, n);
        n_part = 1;
    } else {
        for (int32_t head[2]; ok && *path != '\0'; n_part++) {
            st_trace_part part = {.layer = head, .n_layer = 1, .head = head + 1, .n_head = 1};
            ok = take_head(&path, head) && add_shares(s, &part, span, reads, share, sum, n);
        }
    }
    free(share);
    for (int64_t i = 0; i < n; i++)
        sum[i] /= (double)(n_part > 0 ? n_part : 1);
    *r = (http_reply){.status = ok && n_part > 0 ? 200 : 404,
                      .type = BINARY,
                      .part = {sum},
                      .bytes = {(size_t)n * sizeof *sum},
                      .owned = sum};
}

/* What all heads' query blocks of a span keep, as the json of `sparsetrace export`. */
static void get_rows(const struct served *s, const char *path, http_reply *r)
{
    st_trace_part part = {0};
    int64_t span[2];
    char *text = NULL;
    size_t bytes = 0;
    st_status status;
    FILE *f;
    if (!take_span(&path, s->info.n_tok, span) || *path != '\0' ||
        (span[1] - span[0]) / s->info.bq > ROWS_MAX || (f = open_memstream(&text, &bytes)) == NULL)
        return;
    part.row_begin = span[0];
    part.row_end = span[1];
    status = st_trace_export_json(s->trace, &part, f, NULL);
    fclose(f);
    *r = (http_reply){.status = status == ST_OK ? 200 : 404,
                      .type = "application/json",
                      .part = {text},
                      .bytes = {bytes},
                      .owned = text};
}

static void route(void *ctx, const char *path, http_reply *r)
{
    const struct served *s = ctx;
    if (strcmp(path, "/") == 0)
        *r = (http_reply){.status = 200,
                          .type = "text/html; charset=utf-8",
                          .part = {s->page},
                          .bytes = {s->page_bytes}};
    else if (strcmp(path, "/overview") == 0)
        *r = (http_reply){
            .status = 200, .type = BINARY, .part = {s->overview}, .bytes = {s->overview_bytes}};
    else if (strncmp(path, "/bytes/", 7) == 0)
        get_bytes(s, path + 7, r);
    else if (strncmp(path, "/rows/", 6) == 0)
        get_rows(s, path + 6, r);
    else if (strncmp(path, "/reads/", 7) == 0)
        get_shares(s, path + 7, true, r);
    else if (strncmp(path, "/readers/", 9) == 0)
        get_shares(s, path + 9, false, r);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static st_status write_stream(void *ctx, const void *data, size_t bytes, st_error *err)
{
    (void)err;
    fwrite(data, 1, bytes, ctx);
    return ST_OK;
}

/* The page that asks this server, and the overview, in memory. */
static bool prepare(struct served *s, const st_overview *overview, const page_documents *documents,
                    st_error *err)
{
    FILE *page = open_memstream(&s->page, &s->page_bytes);
    FILE *f = open_memstream(&s->overview, &s->overview_bytes);
    st_out out = {write_stream, f};
    st_status status;
    if (page == NULL || f == NULL) {
        fprintf(stderr, "sparsetrace: out of memory\n");
        exit(EXIT_FAILED);
    }
    status = page_print(documents, NULL, page, err);
    fclose(page);
    if (status == ST_OK)
        status = st_overview_save(overview, &out, err);
    fclose(f);
    return status == ST_OK;
}

int serve_trace(const char *path, const st_trace *trace, const st_overview *overview,
                const page_documents *documents, int port)
{
    struct served s = {.trace = trace};
    struct stat there;
    st_error err;
    int listener, code = EXIT_FAILED;
    st_trace_get_info(trace, &s.info);
    s.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (s.fd < 0 || fstat(s.fd, &there) != 0 || there.st_size != s.info.bytes) {
        fprintf(stderr, "sparsetrace: %s changed while it was opened\n", path);
    } else if ((listener = http_listen(&port)) < 0) {
        fprintf(stderr, "sparsetrace: cannot listen on 127.0.0.1:%d: %s%s\n", port, strerror(errno),
                errno == EADDRINUSE ? " (another port: --serve PORT; 0: any)" : "");
    } else if (!prepare(&s, overview, documents, &err)) {
        close(listener);
        out_failed(&err);
    } else {
        out_catch_interrupt();
        printf("%s is at http://127.0.0.1:%d/ for programs of this machine; Ctrl-C ends it\n", path,
               port);
        fflush(stdout);
        http_serve(listener, port, route, &s);
        code = EXIT_OK;
    }
    if (s.fd >= 0)
        close(s.fd);
    free(s.page);
    free(s.overview);
    return code;
}
