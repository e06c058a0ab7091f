/* SPDX-License-Identifier: MIT
 *
 * overview_save.c — an overview as safetensors: view.head, view.measure, view.map and the document
 * "view" (docs/view-format.md).
 */
#include <stdio.h>
#include <stdlib.h>

#include "trace/tensors_int.h"
#include "view/overview.h"

st_status sti_overview_tensors_make(const st_overview *o, sti_overview_tensors *t, st_error *err)
{
    const st_overview_info *i = &o->info;
    size_t n = (size_t)i->n_head;
    t->head = sti_alloc(n * 2 * sizeof *t->head);
    t->measure = sti_alloc(n * ST_VIEW_MEASURE_COUNT * sizeof *t->measure);
    if (t->head == NULL || t->measure == NULL) {
        sti_overview_tensors_free(t);
        return sti_fail_mem(err, n * ST_VIEW_MEASURE_COUNT * sizeof *t->measure);
    }
    for (size_t h = 0; h < n; h++) {
        t->head[2 * h] = o->head[h].layer;
        t->head[2 * h + 1] = o->head[h].head;
        memcpy(t->measure + h * ST_VIEW_MEASURE_COUNT, o->head[h].measure,
               sizeof o->head[h].measure);
    }
    t->n = 0;
    t->tensor[t->n++] = (st_tensor){.name = "view.head",
                                    .type = ST_TENSOR_I32,
                                    .n_dim = 2,
                                    .shape = {i->n_head, 2},
                                    .data = t->head,
                                    .bytes = n * 8};
    t->tensor[t->n++] = (st_tensor){.name = "view.measure",
                                    .type = ST_TENSOR_F32,
                                    .n_dim = 2,
                                    .shape = {i->n_head, ST_VIEW_MEASURE_COUNT},
                                    .data = t->measure,
                                    .bytes = n * ST_VIEW_MEASURE_COUNT * 4};
    t->n += sti_sentences_tensors(&o->sentences, t->tensor + t->n);
    t->n_wide = t->n - (o->sentences.n > 0);
    t->tensor[t->n++] = (st_tensor){.name = "view.map",
                                    .type = ST_TENSOR_U8,
                                    .n_dim = 3,
                                    .shape = {i->n_head, i->cells_q, i->cells_k},
                                    .data = o->map,
                                    .bytes = n * (size_t)i->cells_q * (size_t)i->cells_k};
    return ST_OK;
}

void sti_overview_tensors_free(sti_overview_tensors *t)
{
    sti_free(t->head);
    sti_free(t->measure);
    t->head = NULL;
    t->measure = NULL;
}

char *sti_overview_json(const st_overview *o, const char *more)
{
    size_t size = 512 + (more != NULL ? strlen(more) : 0);
    char *json = sti_alloc(size);
    int at;
    if (json == NULL)
        return NULL;
    at = snprintf(json, size, "{\"needles\":[");
    for (int n = 0; n < o->info.n_needle; n++)
        at += snprintf(json + at, size - (size_t)at, "%s%lld", n > 0 ? "," : "",
                       (long long)o->info.needle[n]);
    at += snprintf(json + at, size - (size_t)at, "],\"trace_bytes\":%lld,\"measures\":[",
                   (long long)o->trace_bytes);
    for (int m = 0; m < ST_VIEW_MEASURE_COUNT; m++)
        at += snprintf(json + at, size - (size_t)at, "%s\"%s\"", m > 0 ? "," : "",
                       st_view_measure_name((st_view_measure)m));
    at += snprintf(json + at, size - (size_t)at, "],\"join\":%lld", (long long)o->sentences.join);
    snprintf(json + at, size - (size_t)at, "%s%s}", more != NULL ? "," : "",
             more != NULL ? more : "");
    return json;
}

st_status sti_save_tensors(const st_tensor *tensor, int64_t n, const char *const (*meta)[2],
                           int64_t n_meta, const st_out *out, st_error *err)
{
    char *header;
    size_t bytes;
    st_status status;
    STI_TRY(sti_tensors_header(tensor, n, meta, n_meta, &header, &bytes, err));
    status = out->write(out->ctx, header, bytes, err);
    sti_free(header);
    for (int64_t i = 0; i < n && status == ST_OK; i++)
        if (tensor[i].bytes > 0)
            status = out->write(out->ctx, tensor[i].data, tensor[i].bytes, err);
    return status;
}

st_status st_overview_save(const st_overview *o, const st_out *out, st_error *err)
{
    sti_overview_tensors t;
    char *json = sti_overview_json(o, NULL);
    const char *const meta[][2] = {
        {"format", "sparsetrace.view"}, {"format_version", "1"}, {"view", json}};
    st_status status =
        json == NULL ? sti_fail_mem(err, 256) : sti_overview_tensors_make(o, &t, err);
    if (status == ST_OK) {
        status = sti_save_tensors(t.tensor, t.n, meta, 3, out, err);
        sti_overview_tensors_free(&t);
    }
    sti_free(json);
    return status;
}
