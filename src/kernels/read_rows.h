/* SPDX-License-Identifier: MIT
 *
 * read_rows.h — rows of an operand as F32, whatever they are stored as.
 */
#ifndef STI_READ_ROWS_H
#define STI_READ_ROWS_H

#include "base/attn_rows.h"

/* One row of d elements into dst. */
void sti_read_row(float *dst, const st_rows *x, int64_t head, int64_t tok, int64_t d);

/* Asks the caches for a row that is read soon: the hardware does not foresee rows that lie far
 * apart. tok may lie behind the operand's end. */
void sti_row_ask(const st_rows *x, int64_t head, int64_t tok, int64_t d);

/* Tokens [tok, tok + n) as rows of d elements. If x is F32 already, returns its own memory and sets
 * *ld to its stride in elements; else fills buf ([n, d]) and returns it with *ld = d. */
const float *sti_read_rows(float *buf, const st_rows *x, int64_t head, int64_t tok, int64_t n,
                           int64_t d, int64_t *ld);

#endif
