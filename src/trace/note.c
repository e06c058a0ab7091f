/* SPDX-License-Identifier: MIT
 *
 * note.c — a JSON document put into a trace that is already there. The header stands at the front
 * of the file, so the file is written anew, beside the old one.
 */
#include "trace/journal.h"
#include "trace/trace_int.h"

st_status sti_document_check(const char *key, const char *json, st_error *err)
{
    const char *why;
    int64_t at;
    st_status status;
    if (key == NULL || json == NULL || !sti_document_key_ok(key))
        return sti_fail(
            err, ST_ERR_ARG, -1,
            "a document's key must be 1..64 of a-z 0-9 _ - . and none of the writer's own");
    status = sti_json_check(json, &at, &why);
    if (status == ST_ERR_MEM)
        return sti_fail_mem(err, strlen(json));
    if (status != ST_OK)
        return sti_fail(err, ST_ERR_ARG, at, "document \"%s\" is not JSON: %s at its byte %lld",
                        key, why, (long long)at);
    return ST_OK;
}

static st_status write_with(const st_tensors *file, const char *path, const char *key,
                            const char *json, st_error *err)
{
    int64_t n_tensor = st_tensors_count(file), n_meta = 0, n = 0;
    const char *(*meta)[2];
    st_tensor *tensor;
    st_status status;
    while (st_tensors_meta_key(file, n_meta) != NULL)
        n_meta++;
    meta = sti_alloc((size_t)(n_meta + 1) * sizeof *meta);
    tensor = sti_alloc((size_t)n_tensor * sizeof *tensor);
    if (meta == NULL || tensor == NULL) {
        sti_free(meta);
        sti_free(tensor);
        return sti_fail_mem(err, (size_t)n_tensor * sizeof *tensor);
    }
    for (int64_t i = 0; i < n_tensor; i++)
        tensor[i] = *st_tensors_at(file, i);
    for (int64_t i = 0; i < n_meta; i++) {
        const char *name = st_tensors_meta_key(file, i);
        if (strcmp(name, key) == 0)
            continue;
        meta[n][0] = name;
        meta[n++][1] = st_tensors_meta(file, name);
    }
    meta[n][0] = key;
    meta[n++][1] = json;
    status = st_tensors_write(path, tensor, n_tensor, (const char *const(*)[2])meta, n, err);
    sti_free(meta);
    sti_free(tensor);
    return status;
}

st_status st_trace_note(const char *path, const char *key, const char *json, st_error *err)
{
    st_trace *trace;
    st_tensors *file;
    st_status status;
    STI_TRY(sti_document_check(key, json, err));
    STI_TRY(st_trace_open(path, &trace, err)); /* a trace, and no other tensors */
    st_trace_free(trace);
    STI_TRY(st_tensors_open(path, &file, err));
    status = write_with(file, path, key, json, err);
    st_tensors_free(file);
    return status;
}
