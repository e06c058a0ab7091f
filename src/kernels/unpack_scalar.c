/* SPDX-License-Identifier: MIT
 *
 * unpack_scalar.c — stored types to F32, plain C.
 */
#include "base/util.h"
#include "kernels/kernels.h"

void stk_unpack_f16_row__scalar(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        dst[i] = sti_f16_f32(h);
    }
}

void stk_unpack_bf16_row__scalar(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        dst[i] = sti_bf16_f32(h);
    }
}

void stk_unpack_q8_0_row__scalar(float *dst, const void *src, int64_t n)
{
    const uint8_t *p = src;
    for (int64_t b = 0; b < n / 32; b++, p += 34) {
        uint16_t h;
        float scale;
        memcpy(&h, p, 2);
        scale = sti_f16_f32(h);
        for (int i = 0; i < 32; i++)
            dst[b * 32 + i] = scale * (float)(int8_t)p[2 + i];
    }
}
