/* SPDX-License-Identifier: MIT
 *
 * state.h — what the backend remembers between micro-batches, as bytes: for a run that is to go on
 * in another process. It concerns the context that was made last and still lives.
 */
#ifndef STI_STATE_H
#define STI_STATE_H

#include "sparsetrace/ggml.h"

/* Saves each layer's summary and flags. whole: everything; else of the summaries only what has come
 * since the last save. Errors: out's, ST_ERR_ARG: there is no context. After an error the next save
 * has to be a whole one. */
st_status sti_state_save(bool whole, const st_out *out, st_error *err);

/* Takes in one save; several in a row if only the first was whole. The configuration (ggml.h) has
 * to be that of the run that goes on. Each layer's next micro-batch then proves that the cache is
 * the one the save was made with, or the graph fails with ST_ERR_FORMAT. The bytes may be anyone's:
 * ST_ERR_FORMAT with the place. ST_ERR_ARG: there is no context. */
st_status sti_state_load(const void *data, size_t bytes, st_error *err);

#endif
