/* SPDX-License-Identifier: MIT
 *
 * value_size.h — how large what a head writes is if it reads a key: |W_O v|.
 */
#ifndef STI_VALUE_SIZE_H
#define STI_VALUE_SIZE_H

#include "ggml/settings.h"

/* *size [n_head, nbk] of all keys of the sequence, in blocks of bk, if the settings have the
 * layer's output matrix and the rows of a end the sequence; else NULL. The caller's (sti_free).
 * Errors: ST_ERR_MODEL (the matrix is of another shape), ST_ERR_MEM. */
st_status sti_value_sizes(const sti_settings *s, int layer, const st_attn *a, int bk, st_pool *pool,
                          float **size, st_error *err);

#endif
