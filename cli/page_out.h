/* SPDX-License-Identifier: MIT
 *
 * page_out.h — the viewer's page, with what it carries: a trace's excerpt, and documents of JSON
 * that other verbs printed.
 */
#ifndef CLI_PAGE_OUT_H
#define CLI_PAGE_OUT_H

#include <stdio.h>

#include "sparsetrace/view.h"

enum { PAGE_ROUTES, PAGE_REASON, PAGE_DOCUMENTS };

typedef struct page_documents {
    char *text[PAGE_DOCUMENTS]; /* NULL: not given */
    size_t bytes[PAGE_DOCUMENTS];
} page_documents;

/* Reads a document: one JSON object or several, one after the other, as `sparsetrace route --json`
 * and `sparsetrace reason --json` print them. Only its beginning is looked at here; the page says
 * what is wrong with the rest. Errors: ST_ERR_IO, ST_ERR_FORMAT, ST_ERR_LIMIT (256 MB). */
st_status page_read(page_documents *d, int which, const char *path, st_error *err);
void page_free(page_documents *d);

/* Bytes of a page with these documents and no data. */
int64_t page_size(const page_documents *d);

/* Writes the page. x: its data; NULL: it asks the server that it comes from. */
st_status page_print(const page_documents *d, const st_excerpt *x, FILE *f, st_error *err);

#endif
