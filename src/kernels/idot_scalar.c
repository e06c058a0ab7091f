/* SPDX-License-Identifier: MIT
 *
 * idot_scalar.c — integer dot products of a row tile with int8 vectors, plain C.
 */
#include <stddef.h>

#include "kernels/kernels.h"

void stk_idot_i8_r16__scalar(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                             const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp)
{
    (void)sum;
    for (int64_t i = 0; i < n; i++) {
        const int8_t *v = vec + (idx != NULL ? idx[i] : i) * stride;
        int32_t acc[16] = {0};
        for (int64_t c = 0; c < dp; c++)
            for (int r = 0; r < 16; r++)
                acc[r] += q[(c / 4 * 16 + r) * 4 + c % 4] * v[c];
        for (int r = 0; r < 16; r++)
            out[i * 16 + r] = acc[r];
    }
}
