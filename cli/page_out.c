/* SPDX-License-Identifier: MIT
 *
 * page_out.c — what the page carries stands in it as base64: nothing in it can be taken for markup.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "page.h"
#include "page_out.h"

#define DATA_HEAD "<script type=\"application/octet-stream\" id=\"%s\">"
#define DATA_TAIL "</script>"
#define DOCUMENT_MAX ((size_t)256 << 20)

static const char *const document_id[PAGE_DOCUMENTS] = {"routes-json", "reason-json"};

/* ---- base64 ---------------------------------------------------------------------------------- */

struct base64 {
    FILE *f;
    unsigned char rest[3];
    int n_rest;
};

static void put_triple(FILE *f, const unsigned char in[3], int n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned x = (unsigned)in[0] << 16 | (unsigned)in[1] << 8 | in[2];
    putc(digit[x >> 18], f);
    putc(digit[x >> 12 & 63], f);
    putc(n > 1 ? digit[x >> 6 & 63] : '=', f);
    putc(n > 2 ? digit[x & 63] : '=', f);
}

static st_status put_base64(void *ctx, const void *data, size_t bytes, st_error *err)
{
    struct base64 *b = ctx;
    const unsigned char *p = data;
    (void)err; /* what cannot be written is noticed when the file is closed */
    for (size_t i = 0; i < bytes; i++) {
        b->rest[b->n_rest++] = p[i];
        if (b->n_rest == 3) {
            put_triple(b->f, b->rest, 3);
            b->n_rest = 0;
        }
    }
    return ST_OK;
}

static void end_base64(struct base64 *b)
{
    for (int i = b->n_rest; i < 3; i++)
        b->rest[i] = 0;
    if (b->n_rest > 0)
        put_triple(b->f, b->rest, b->n_rest);
    fputs(DATA_TAIL, b->f);
}

/* ---- documents ------------------------------------------------------------------------------- */

static st_status fail(st_error *err, st_status status, const char *path, const char *what)
{
    *err = (st_error){.status = status, .position = -1};
    snprintf(err->message, sizeof err->message, "%.300s: %s", path, what);
    return status;
}

st_status page_read(page_documents *d, int which, const char *path, st_error *err)
{
    size_t bytes = 0, room = 0;
    char *text = NULL;
    FILE *f = fopen(path, "rb");
    bool bad = f == NULL;
    while (!bad && bytes <= DOCUMENT_MAX) {
        size_t got;
        if (bytes == room) {
            char *larger = realloc(text, room = room > 0 ? 2 * room : 65536);
            if (larger == NULL)
                break;
            text = larger;
        }
        got = fread(text + bytes, 1, room - bytes, f);
        bytes += got;
        if (got == 0)
            break;
    }
    bad = bad || ferror(f) != 0;
    if (f != NULL)
        fclose(f);
    d->text[which] = text;
    d->bytes[which] = bytes;
    if (bad)
        return fail(err, ST_ERR_IO, path, strerror(errno));
    if (bytes > DOCUMENT_MAX)
        return fail(err, ST_ERR_LIMIT, path, "more than 256 MB");
    if (bytes == 0 || text[strspn(text, " \t\r\n")] != '{')
        return fail(err, ST_ERR_FORMAT, path,
                    which == PAGE_ROUTES ? "not what sparsetrace route --json prints"
                                         : "not what sparsetrace reason --json prints");
    return ST_OK;
}

void page_free(page_documents *d)
{
    for (int i = 0; i < PAGE_DOCUMENTS; i++)
        free(d->text[i]);
}

/* ---- the page -------------------------------------------------------------------------------- */

int64_t page_size(const page_documents *d)
{
    size_t bytes = page_head_bytes + page_body_bytes + page_tail_bytes + strlen("'none'") +
                   strlen(DATA_HEAD DATA_TAIL "data");
    for (int i = 0; i < PAGE_DOCUMENTS; i++)
        if (d->text[i] != NULL)
            bytes +=
                strlen(DATA_HEAD DATA_TAIL) + strlen(document_id[i]) + (d->bytes[i] + 2) / 3 * 4;
    return (int64_t)bytes;
}

st_status page_print(const page_documents *d, const st_excerpt *x, FILE *f, st_error *err)
{
    st_status status = ST_OK;
    fwrite(page_head, 1, page_head_bytes, f);
    fputs(x != NULL ? "'none'" : "'self'", f);
    fwrite(page_body, 1, page_body_bytes, f);
    for (int i = 0; i < PAGE_DOCUMENTS; i++)
        if (d->text[i] != NULL) {
            struct base64 b = {.f = f};
            fprintf(f, DATA_HEAD, document_id[i]);
            put_base64(&b, d->text[i], d->bytes[i], err);
            end_base64(&b);
        }
    if (x != NULL) {
        struct base64 b = {.f = f};
        st_out out = {put_base64, &b};
        fprintf(f, DATA_HEAD, "data");
        status = st_excerpt_save(x, &out, err);
        end_base64(&b);
    }
    fwrite(page_tail, 1, page_tail_bytes, f);
    return status;
}
