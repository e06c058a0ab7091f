/* SPDX-License-Identifier: MIT
 *
 * tensors_int.h — what the trace reader and writer need of safetensors beyond tensors.h: places in
 * the file for messages, and the header on its own for files that are streamed.
 */
#ifndef STI_TENSORS_INT_H
#define STI_TENSORS_INT_H

#include "base/util.h"
#include "sparsetrace/tensors.h"

#define STI_HEADER_MAX_BYTES ((int64_t)256 << 20)

/* As sti_fail, with "byte <position>: " before the message. */
st_status sti_fail_at(st_error *err, st_status status, int64_t position, const char *fmt, ...)
    ST_PRINTF(4, 5);

/* A name from a file, fit for a message: control characters as '?', cut to 60 bytes. */
#define STI_QUOTE_BYTES 68
const char *sti_quote(char out[STI_QUOTE_BYTES], const char *name);

/* Where in the file a tensor's name or a metadata key's value stands; 0 if there is none. */
int64_t sti_tensors_name_position(const st_tensors *file, const char *name);
int64_t sti_tensors_meta_position(const st_tensors *file, const char *key);
int64_t sti_tensors_bytes(const st_tensors *file); /* of the whole file */

/* st_tensors_open for a file that stands in memory, at a multiple of 8 bytes, and stays there.
 * Errors: as st_tensors_open, but ST_ERR_IO. */
st_status sti_tensors_open_bytes(const void *data, int64_t bytes, st_tensors **file, st_error *err);

/* ST_OK if `text` is one JSON document, else ST_ERR_FORMAT with the byte and the reason, or
 * ST_ERR_MEM. */
st_status sti_json_check(const char *text, int64_t *at, const char **why);

/* ST_ERR_ARG unless the tensor has a name, a known type, and bytes that agree with its shape. */
st_status sti_tensor_check(const st_tensor *tensor, st_error *err);

/* The first 8 + N bytes of a file that holds these (checked) tensors in this order; 8 + N is a
 * multiple of 8. *out is the caller's to sti_free. Errors: as st_tensors_write. */
st_status sti_tensors_header(const st_tensor *tensor, int64_t n_tensor,
                             const char *const (*meta)[2], int64_t n_meta, char **out,
                             size_t *bytes, st_error *err);

#endif
