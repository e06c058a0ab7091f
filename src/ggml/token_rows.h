/* SPDX-License-Identifier: MIT
 *
 * token_rows.h — rows that the sink wants token by token: which keys each of them reads, exactly.
 */
#ifndef STI_TOKEN_ROWS_H
#define STI_TOKEN_ROWS_H

#include "ggml/settings.h"
#include "sparsetrace/attend.h"

/* Hands the sink a chunk of blocks of one token for each piece of s->p.row that lies in this
 * micro-batch. Exact attention of these rows under a's edits, beside what the run itself did. */
st_status sti_token_rows_give(const sti_settings *s, int layer, const st_attn *a, st_pool *pool,
                              st_error *err);

#endif
