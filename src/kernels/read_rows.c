/* SPDX-License-Identifier: MIT
 *
 * read_rows.c — picks the unpack kernel for a stored type.
 */
#include <string.h>

#include "base/util.h"
#include "kernels/kernels.h"
#include "kernels/read_rows.h"

#define AHEAD 12 /* rows */

void sti_read_row(float *dst, const st_rows *x, int64_t head, int64_t tok, int64_t d)
{
    const sti_kernel_table *k = sti_kernels();
    const void *src = sti_row_at(x, head, tok);
    switch (x->dtype) {
    case ST_DTYPE_F32: memcpy(dst, src, (size_t)d * 4); break;
    case ST_DTYPE_F16: k->unpack_f16_row(dst, src, d); break;
    case ST_DTYPE_BF16: k->unpack_bf16_row(dst, src, d); break;
    case ST_DTYPE_Q8_0: k->unpack_q8_0_row(dst, src, d); break;
    case ST_DTYPE_OTHER: x->to_f32(src, dst, d); break;
    }
}

void sti_row_ask(const st_rows *x, int64_t head, int64_t tok, int64_t d)
{
    int64_t bytes = x->dtype == ST_DTYPE_OTHER ? 64 : (int64_t)sti_dtype_bytes(x->dtype, d);
    const char *row = sti_row_at(x, head, tok); /* a prefetch never faults */
    for (int64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(row + i);
}

const float *sti_read_rows(float *buf, const st_rows *x, int64_t head, int64_t tok, int64_t n,
                           int64_t d, int64_t *ld)
{
    if (x->dtype == ST_DTYPE_F32) {
        *ld = x->stride_tok_bytes / 4;
        return sti_row_at(x, head, tok);
    }
    for (int64_t i = 0; i < n; i++) {
        /* rows lie far apart, where the hardware does not look ahead (a prefetch never faults) */
        const char *soon = (const char *)sti_row_at(x, head, tok + i) + AHEAD * x->stride_tok_bytes;
        __builtin_prefetch(soon);
        __builtin_prefetch(soon + 64);
        sti_read_row(buf + i * d, x, head, tok + i, d);
    }
    *ld = d;
    return buf;
}
