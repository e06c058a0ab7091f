/* SPDX-License-Identifier: MIT
 *
 * suppress_file.c — safetensors in and out for sparsetrace suppress.
 */
#include "suppress_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

static st_tensor tensor(const char *name, st_tensor_type type, int64_t rows, int64_t cols,
                        const void *data)
{
    return (st_tensor){.name = name,
                       .type = type,
                       .n_dim = cols > 0 ? 2 : 1,
                       .shape = {rows, cols},
                       .data = data,
                       .bytes =
                           (size_t)(rows * (cols > 0 ? cols : 1)) * st_tensor_type_bytes(type)};
}

st_status suppress_file_write(const suppress_job *j, const char *path, st_error *err)
{
    size_t cells = (size_t)(j->n * j->n);
    float *centered = out_need(cells * sizeof *centered);
    uint8_t *have = out_need((size_t)j->n);
    const char *const meta[2][2] = {{"format", "sparsetrace.suppression"}, {"recipe", j->recipe}};
    st_status status;
    for (int64_t i = 0; i < j->n; i++)
        have[i] = j->have[i];
    st_suppress_center(j->effect, j->n, centered);
    const st_tensor t[] = {tensor("log_kl", ST_TENSOR_F32, j->n, j->n, j->effect),
                           tensor("effect", ST_TENSOR_F32, j->n, j->n, centered),
                           tensor("bytes", ST_TENSOR_I64, j->n, 2, j->byte),
                           tensor("groups", ST_TENSOR_I64, j->n, 2, j->span),
                           tensor("tokens", ST_TENSOR_I32, j->n_tok, 0, j->token),
                           tensor("have", ST_TENSOR_U8, j->n, 0, have)};
    status = st_tensors_write(path, t, sizeof t / sizeof *t, meta, 2, err);
    free(centered);
    free(have);
    return status;
}

static st_status differs(st_error *err, st_status status, const char *path, const char *what)
{
    *err = (st_error){status, -1, ""};
    snprintf(err->message, sizeof err->message, "%.200s %.250s", path, what);
    return status;
}

/* The tensor's data if it is of this kind and length; NULL if not. */
static const void *data_of(const st_tensors *file, const char *name, st_tensor_type type,
                           size_t bytes)
{
    const st_tensor *t = st_tensors_find(file, name);
    return t != NULL && t->type == type && t->bytes == bytes ? t->data : NULL;
}

static bool same(const st_tensors *file, const char *name, st_tensor_type type, const void *data,
                 size_t bytes)
{
    const void *x = data_of(file, name, type, bytes);
    return x != NULL && memcmp(x, data, bytes) == 0;
}

static st_status take(suppress_job *j, const st_tensors *file, const char *path, st_error *err)
{
    size_t n = (size_t)j->n;
    const char *recipe = st_tensors_meta(file, "recipe");
    const uint8_t *have = data_of(file, "have", ST_TENSOR_U8, n);
    const float *effect = data_of(file, "log_kl", ST_TENSOR_F32, n * n * sizeof *effect);
    if (recipe == NULL || st_tensors_find(file, "log_kl") == NULL)
        return differs(err, ST_ERR_FORMAT, path, "is not a job of sparsetrace suppress");
    if (strcmp(recipe, j->recipe) != 0)
        return differs(err, ST_ERR_ARG, path, "is of another model or other settings");
    if (have == NULL || effect == NULL ||
        !same(file, "tokens", ST_TENSOR_I32, j->token, (size_t)j->n_tok * sizeof *j->token) ||
        !same(file, "groups", ST_TENSOR_I64, j->span, n * sizeof *j->span))
        return differs(err, ST_ERR_ARG, path, "is of another text or other sentences");
    memcpy(j->effect, effect, n * n * sizeof *effect);
    for (size_t i = 0; i < n; i++)
        j->have[i] = have[i] != 0;
    return ST_OK;
}

st_status suppress_file_read(suppress_job *j, const char *path, st_error *err)
{
    st_tensors *file;
    st_error why;
    st_status status = st_tensors_open(path, &file, &why);
    if (status != ST_OK) {
        *err = why;
        if (strstr(why.message, path) == NULL)
            snprintf(err->message, sizeof err->message, "%.200s: %.250s", path, why.message);
        return status;
    }
    status = take(j, file, path, err);
    st_tensors_free(file);
    return status;
}
