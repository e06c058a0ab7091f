/* SPDX-License-Identifier: MIT
 *
 * tensors_write.c — writing safetensors: the header for any list of tensors, and whole files.
 */
#include <stdlib.h>

#include <yyjson.h>

#include "base/files.h"
#include "trace/tensors_int.h"

/* ---- checks ---------------------------------------------------------------------------------- */

st_status sti_tensor_check(const st_tensor *t, st_error *err)
{
    char q[STI_QUOTE_BYTES];
    int64_t want = (int64_t)st_tensor_type_bytes(t->type);
    if (t->name == NULL || strcmp(t->name, "__metadata__") == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "a tensor has no name, or the name __metadata__");
    sti_quote(q, t->name);
    if (want == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "tensor \"%s\": type %d is unknown", q, (int)t->type);
    if (t->n_dim < 0 || t->n_dim > ST_TENSOR_MAX_DIM)
        return sti_fail(err, ST_ERR_ARG, -1, "tensor \"%s\" has %d indices, must be 0..%d", q,
                        t->n_dim, ST_TENSOR_MAX_DIM);
    for (int i = 0; i < t->n_dim; i++)
        if (t->shape[i] < 0 || __builtin_mul_overflow(want, t->shape[i], &want))
            return sti_fail(err, ST_ERR_ARG, -1, "tensor \"%s\": shape[%d] is %lld", q, i,
                            (long long)t->shape[i]);
    if ((uint64_t)want != t->bytes)
        return sti_fail(err, ST_ERR_ARG, -1, "tensor \"%s\" has %zu bytes, its shape takes %lld", q,
                        t->bytes, (long long)want);
    return ST_OK;
}

static int compare_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ST_ERR_ARG if two of the n strings s[i * step] are equal. */
static st_status check_unique(const char *const *s, size_t step_bytes, int64_t n, const char *what,
                              st_error *err)
{
    char q[STI_QUOTE_BYTES];
    const char **sorted = sti_alloc((size_t)n * sizeof *sorted);
    st_status status = ST_OK;
    if (sorted == NULL)
        return sti_fail_mem(err, (size_t)n * sizeof *sorted);
    for (int64_t i = 0; i < n; i++)
        memcpy(&sorted[i], (const char *)s + (size_t)i * step_bytes, sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_string);
    for (int64_t i = 1; i < n && status == ST_OK; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status = sti_fail(err, ST_ERR_ARG, -1, "%s \"%s\" is given twice", what,
                              sti_quote(q, sorted[i]));
    sti_free(sorted);
    return status;
}

static st_status check_meta(const char *const (*meta)[2], int64_t n_meta, st_error *err)
{
    for (int64_t i = 0; i < n_meta; i++)
        if (meta[i][0] == NULL || meta[i][1] == NULL)
            return sti_fail(err, ST_ERR_ARG, i, "metadata pair %lld is NULL", (long long)i);
    return n_meta == 0 ? ST_OK : check_unique(meta[0], sizeof *meta, n_meta, "metadata", err);
}

/* ---- the header ------------------------------------------------------------------------------ */

/* The header as a JSON document; NULL: out of memory. */
static yyjson_mut_doc *build_document(const st_tensor *tensor, int64_t n_tensor,
                                      const char *const (*meta)[2], int64_t n_meta)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc); /* these calls pass NULL on to the next */
    uint64_t at = 0;
    bool ok = root != NULL;
    yyjson_mut_doc_set_root(doc, root);
    if (n_meta > 0) {
        yyjson_mut_val *m = yyjson_mut_obj_add_obj(doc, root, "__metadata__");
        for (int64_t i = 0; i < n_meta; i++)
            ok = ok && yyjson_mut_obj_add_str(doc, m, meta[i][0], meta[i][1]);
    }
    for (int64_t i = 0; i < n_tensor && ok; i++) {
        const st_tensor *t = &tensor[i];
        yyjson_mut_val *o = yyjson_mut_obj_add_obj(doc, root, t->name), *shape, *range;
        ok = yyjson_mut_obj_add_str(doc, o, "dtype", st_tensor_type_name(t->type));
        shape = yyjson_mut_obj_add_arr(doc, o, "shape");
        for (int d = 0; d < t->n_dim; d++)
            ok = ok && yyjson_mut_arr_add_uint(doc, shape, (uint64_t)t->shape[d]);
        range = yyjson_mut_obj_add_arr(doc, o, "data_offsets");
        ok = ok && yyjson_mut_arr_add_uint(doc, range, at) &&
             yyjson_mut_arr_add_uint(doc, range, at + t->bytes);
        at += t->bytes;
    }
    if (ok)
        return doc;
    yyjson_mut_doc_free(doc);
    return NULL;
}

st_status sti_tensors_header(const st_tensor *tensor, int64_t n_tensor,
                             const char *const (*meta)[2], int64_t n_meta, char **out,
                             size_t *bytes, st_error *err)
{
    yyjson_write_err json_err;
    size_t n_json = 0;
    uint64_t n;
    yyjson_mut_doc *doc = build_document(tensor, n_tensor, meta, n_meta);
    char *json = yyjson_mut_write_opts(doc, YYJSON_WRITE_NOFLAG, NULL, &n_json, &json_err);
    *out = NULL;
    yyjson_mut_doc_free(doc);
    if (json == NULL && doc != NULL && json_err.code == YYJSON_WRITE_ERROR_INVALID_STRING)
        return sti_fail(err, ST_ERR_ARG, -1, "a tensor's name or a metadata string is not UTF-8");
    if (json == NULL)
        return sti_fail_mem(err, (size_t)n_tensor * 256);
    n = (n_json + 7) / 8 * 8;
    *out = n <= (uint64_t)STI_HEADER_MAX_BYTES ? sti_alloc(8 + n) : NULL;
    if (*out != NULL) {
        memset(*out, ' ', 8 + n);
        memcpy(*out, &n, 8);
        memcpy(*out + 8, json, n_json);
        *bytes = 8 + n;
    }
    free(json);
    if (n > (uint64_t)STI_HEADER_MAX_BYTES)
        return sti_fail(err, ST_ERR_LIMIT, -1, "the header would have %llu bytes, more than %lld",
                        (unsigned long long)n, (long long)STI_HEADER_MAX_BYTES);
    return *out == NULL ? sti_fail_mem(err, 8 + n) : ST_OK;
}

/* ---- whole files ----------------------------------------------------------------------------- */

/* Copies the list in order of falling element size, so that no tensor needs padding. */
static st_tensor *order_by_size(const st_tensor *tensor, int64_t n)
{
    st_tensor *sorted = sti_alloc((size_t)n * sizeof *sorted);
    int64_t m = 0;
    for (size_t size = 8; size > 0 && sorted != NULL; size /= 2)
        for (int64_t i = 0; i < n; i++)
            if (st_tensor_type_bytes(tensor[i].type) == size)
                sorted[m++] = tensor[i];
    return sorted;
}

static st_status write_file(const char *path, const st_tensor *tensor, int64_t n,
                            const char *header, size_t header_bytes, st_error *err)
{
    sti_outfile *out;
    st_status status;
    STI_TRY(sti_outfile_create(path, &out, err));
    status = sti_outfile_write(out, header, header_bytes, err);
    for (int64_t i = 0; i < n && status == ST_OK; i++)
        status = sti_outfile_write(out, tensor[i].data, tensor[i].bytes, err);
    if (status == ST_OK)
        return sti_outfile_commit(out, err);
    sti_outfile_abandon(out);
    return status;
}

st_status st_tensors_write(const char *path, const st_tensor *tensor, int64_t n_tensor,
                           const char *const (*meta)[2], int64_t n_meta, st_error *err)
{
    st_tensor *sorted;
    char *header = NULL;
    size_t header_bytes;
    st_status status;
    char q[STI_QUOTE_BYTES];
    for (int64_t i = 0; i < n_tensor; i++) {
        STI_TRY(sti_tensor_check(&tensor[i], err));
        if (tensor[i].data == NULL && tensor[i].bytes > 0)
            return sti_fail(err, ST_ERR_ARG, i, "tensor \"%s\" has no data",
                            sti_quote(q, tensor[i].name));
    }
    if (n_tensor > 0)
        STI_TRY(check_unique(&tensor->name, sizeof *tensor, n_tensor, "tensor", err));
    STI_TRY(check_meta(meta, n_meta, err));
    sorted = order_by_size(tensor, n_tensor);
    if (sorted == NULL)
        return sti_fail_mem(err, (size_t)n_tensor * sizeof *sorted);
    status = sti_tensors_header(sorted, n_tensor, meta, n_meta, &header, &header_bytes, err);
    if (status == ST_OK)
        status = write_file(path, sorted, n_tensor, header, header_bytes, err);
    sti_free(header);
    sti_free(sorted);
    return status;
}
