/* SPDX-License-Identifier: MIT
 *
 * route_refine.c — the places that routes touch, run again and recorded token by token.
 *
 * A trace's masses are means over the rows of a query block, on blocks of keys. What a few rows
 * read, token by token, is cheap to have exactly: one run more, and exact attention of these rows.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "route_run.h"

#define ROWS_MOST 8192

static int by_begin(const void *a, const void *b)
{
    const st_group *x = a, *y = b;
    return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin)
                                : (x->end > y->end) - (x->end < y->end);
}

/* The target's rows, those of all readers, and the last one (which brings the sizes of values), as
 * spans that rise and do not touch (free()). */
static st_group *rows_of(const st_routes *r, const st_route_params *p, int64_t n_tok, int64_t *n)
{
    int64_t most = 2, n_span = 0, n_row = 0;
    st_group *span;
    for (int64_t i = 0; i < r->n_route; i++)
        most += r->route[i].n_hop;
    span = out_need((size_t)most * sizeof *span);
    span[n_span++] = (st_group){n_tok - 1, n_tok};
    span[n_span++] = p->target_end > 0 ? (st_group){p->target_begin, p->target_end}
                                       : (st_group){n_tok - 1, n_tok};
    for (int64_t i = 0; i < r->n_route; i++)
        for (int64_t k = 0; k < r->route[i].n_hop; k++)
            span[n_span++] =
                (st_group){r->route[i].hop[k].query_begin, r->route[i].hop[k].query_end};
    qsort(span, (size_t)n_span, sizeof *span, by_begin);
    *n = 0;
    for (int64_t i = 0; i < n_span; i++) {
        if (*n > 0 && span[i].begin <= span[*n - 1].end)
            span[*n - 1].end = span[i].end > span[*n - 1].end ? span[i].end : span[*n - 1].end;
        else
            span[(*n)++] = span[i];
    }
    for (int64_t i = 0; i < *n; i++)
        n_row += span[i].end - span[i].begin;
    if (n_row > ROWS_MOST)
        *n = -n_row;
    return span;
}

/* A trace in a file that nobody else sees: made in a folder of its own, opened, and removed. */
static st_status record(route_run *run, const st_trace *t, const st_trace_params *p,
                        st_trace **fine, st_error *err)
{
    const char *temp = getenv("TMPDIR");
    char folder[1024], path[1040];
    st_trace_report report;
    st_trace_info info;
    st_status status;
    st_trace_get_info(t, &info);
    snprintf(folder, sizeof folder, "%.1000s/sparsetrace-XXXXXX",
             temp != NULL && *temp != '\0' ? temp : "/tmp");
    if (mkdtemp(folder) == NULL) {
        *err = (st_error){.status = ST_ERR_IO, .position = -1};
        snprintf(err->message, sizeof err->message, "--refine: cannot make %.300s: %s", folder,
                 strerror(errno));
        return ST_ERR_IO;
    }
    snprintf(path, sizeof path, "%s/rows.trace", folder);
    status = st_trace_model(run->model, st_trace_tokens(t), info.n_tok, p, path, &report, err);
    if (status == ST_OK)
        status = st_trace_open(path, fine, err);
    unlink(path);
    snprintf(path, sizeof path, "%s/rows.trace.part", folder); /* left by a run that failed */
    unlink(path);
    rmdir(folder);
    return status;
}

st_status route_refine(route_run *run, const st_trace *trace, const st_routes *routes,
                       const st_route_params *p, st_trace **fine, st_error *err)
{
    st_trace_params tp = st_trace_params_default();
    st_trace_info info;
    st_status status;
    st_group *row;
    *fine = NULL;
    st_trace_get_info(trace, &info);
    tp.row = row = rows_of(routes, p, info.n_tok, &tp.n_row);
    tp.select = run->select;
    tp.budget = run->select.mass > 0 ? ST_BUDGET_MASS : ST_BUDGET_K;
    tp.run.type_k = run->type_k;
    tp.run.type_v = run->type_v;
    tp.edit = run->edit;
    tp.n_edit = run->n_edit;
    tp.against = ST_AGAINST_NONE;
    tp.cert_rows = 0;
    tp.value =
        p->by != ST_ROUTE_WEIGHT_MASS && (p->by == ST_ROUTE_WEIGHT_VALUE || routes->by_value);
    tp.row_exact = info.n_tok <= run->exact_max;
    tp.run.n_last = 1;
    tp.run.progress = (st_progress){out_progress, &run->bar};
    if (tp.n_row < 0) {
        *err = (st_error){.status = ST_ERR_LIMIT, .position = -1};
        snprintf(err->message, sizeof err->message,
                 "--refine: the routes touch %lld rows, at most %d can be recorded token by token: "
                 "a lower --top, a shorter target",
                 (long long)-tp.n_row, ROWS_MOST);
        status = ST_ERR_LIMIT;
    } else {
        status = record(run, trace, &tp, fine, err);
    }
    out_progress_end(&run->bar);
    free(row);
    return status;
}
