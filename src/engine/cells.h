/* SPDX-License-Identifier: MIT
 *
 * cells.h — the KV cache of a run as bytes, a span of positions at a time.
 */
#ifndef STI_CELLS_H
#define STI_CELLS_H

#include "base/records.h"
#include "engine/engine_int.h"

/* Sequences that a context needs for this: the text's own, and one to name a span with. */
#define STI_CELLS_N_SEQ 2

/* Appends positions [from, to) as records of the kind. Memory: a few hundred positions' at a time.
 * Errors: ST_ERR_MODEL (libllama will not), ST_ERR_MEM, ST_ERR_IO. */
st_status sti_cells_save(struct llama_context *ctx, int n_swa, int64_t from, int64_t to,
                         sti_records *out, uint32_t kind, st_error *err);

/* Takes in one such record, which must begin at position *n; moves *n to its end. Errors:
 * ST_ERR_FORMAT with the place in the record. */
st_status sti_cells_load(struct llama_context *ctx, const sti_record *record, int64_t *n,
                         st_error *err);

#endif
