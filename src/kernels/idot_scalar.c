/* SPDX-License-Identifier: MIT
 *
 * idot_scalar.c — integer dot products of a row tile with int8 vectors, and the masses that
 * come of them, plain C.
 */
#include <stddef.h>
#include <string.h>

#include "kernels/kernels.h"

static void add_dots(int32_t acc[16], const int8_t *q, const int8_t *v, int64_t dp)
{
    for (int64_t c = 0; c < dp; c++)
        for (int r = 0; r < 16; r++)
            acc[r] += q[(c / 4 * 16 + r) * 4 + c % 4] * v[c];
}

void stk_idot_i8_r16__scalar(int32_t *out, const int8_t *q, const int8_t *vec, int64_t stride,
                             const int32_t *sum, const int32_t *idx, int64_t n, int64_t dp)
{
    (void)sum;
    for (int64_t i = 0; i < n; i++) {
        int32_t acc[16] = {0};
        add_dots(acc, q, vec + (idx != NULL ? idx[i] : i) * stride, dp);
        memcpy(out + i * 16, acc, sizeof acc);
    }
}

void stk_imass_i8_r16__scalar(float *sum, const int8_t *q, const int8_t *vec, int64_t stride,
                              const int32_t *vsum, const float *vscale, const float *slope,
                              const float *base, int64_t n, int64_t dp)
{
    float total[16] = {0};
    (void)vsum;
    for (int64_t i = 0; i < n; i++) {
        int32_t acc[16] = {0};
        add_dots(acc, q, vec + i * stride, dp);
        for (int r = 0; r < 16; r++)
            total[r] += stk_e((float)acc[r] * (vscale[i] * slope[r]) + base[r]);
    }
    memcpy(sum, total, sizeof total);
}
