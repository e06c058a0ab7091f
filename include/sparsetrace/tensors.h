/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/tensors.h — safetensors files: bounded reading, atomic writing.
 *
 * The format (https://huggingface.co/docs/safetensors): u64 little-endian N, N bytes of JSON header
 * {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ..., "__metadata__": {string:
 * string}}, then the data. Opening proves, before any tensor is handed out: N within the file and
 * at most 256 MiB; the header is one JSON object; each dtype known; each shape at most 8 indices
 * whose product times the element size equals end - begin without overflow; the ranges tile the
 * data from byte 0 to the end of the file without gap or overlap; no name twice.
 */
#ifndef SPARSETRACE_TENSORS_H
#define SPARSETRACE_TENSORS_H

#include "sparsetrace/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum st_tensor_type {
    ST_TENSOR_BOOL = 0,
    ST_TENSOR_U8,
    ST_TENSOR_I8,
    ST_TENSOR_U16,
    ST_TENSOR_I16,
    ST_TENSOR_F16,
    ST_TENSOR_BF16,
    ST_TENSOR_U32,
    ST_TENSOR_I32,
    ST_TENSOR_F32,
    ST_TENSOR_U64,
    ST_TENSOR_I64,
    ST_TENSOR_F64,
    ST_TENSOR_TYPE_COUNT
} st_tensor_type;

ST_API const char *st_tensor_type_name(st_tensor_type type); /* "F32", ...; "?" if unknown */
ST_API size_t st_tensor_type_bytes(st_tensor_type type);

#define ST_TENSOR_MAX_DIM 8

typedef struct st_tensor {
    const char *name;
    st_tensor_type type;
    int n_dim;
    int64_t shape[ST_TENSOR_MAX_DIM]; /* last index contiguous */
    const void *data; /* aligned to the element, read-only, lives with its st_tensors */
    size_t bytes;
    int64_t offset; /* of the data in the file, for messages; ignored by st_tensors_write */
} st_tensor;

typedef struct st_tensors st_tensors; /* an open file, mapped */

/* Maps the file. A tensor that does not start at a multiple of its element size (other writers) is
 * copied; all others stay in the map, so the file must not be shortened while it is open. Besides
 * the rules above, names and metadata may not contain the character U+0000. Errors: ST_ERR_IO
 * (also: not a regular file), ST_ERR_FORMAT (position = byte offset in the file; for what is wrong
 * with a tensor, that of its name in the header), ST_ERR_LIMIT (header too long), ST_ERR_MEM. */
ST_API st_status st_tensors_open(const char *path, st_tensors **file, st_error *err);
ST_API void st_tensors_free(st_tensors *file);

ST_API int64_t st_tensors_count(const st_tensors *file);
/* In order of data; NULL past the end. */
ST_API const st_tensor *st_tensors_at(const st_tensors *file, int64_t i);
ST_API const st_tensor *st_tensors_find(const st_tensors *file,
                                        const char *name); /* NULL: absent */
/* Value of a __metadata__ key, UTF-8, NUL-terminated, or NULL. */
ST_API const char *st_tensors_meta(const st_tensors *file, const char *key);
/* The i-th __metadata__ key in the order of bytes; NULL past the end. */
ST_API const char *st_tensors_meta_key(const st_tensors *file, int64_t i);

/* Writes `path` in one go: `path.tmp`, synced, renamed. On failure `path` is as it was and the .tmp
 * is removed. The data is stored in order of falling element size, so that every tensor is aligned;
 * tensors of one size keep their order. meta: n_meta pairs key, value. Errors: ST_ERR_ARG (twice
 * the same name, size and shape disagree, not UTF-8), ST_ERR_LIMIT (header too long), ST_ERR_IO
 * (also: `path` is there and is not a regular file), ST_ERR_MEM. */
ST_API st_status st_tensors_write(const char *path, const st_tensor *tensor, int64_t n_tensor,
                                  const char *const (*meta)[2], int64_t n_meta, st_error *err);

#ifdef __cplusplus
}
#endif
#endif
