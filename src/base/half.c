/* SPDX-License-Identifier: MIT
 *
 * half.c — IEEE 754 binary16 and element sizes. Plain C; the kernels have their own vector forms.
 */
#include "base/util.h"

float sti_f16_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = (h >> 10) & 31, fraction = h & 1023;
    if (exponent == 31)
        return sti_bits_f32(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24 */
        float f = (float)fraction * 5.9604644775390625e-8f;
        return sign ? -f : f;
    }
    return sti_bits_f32(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t sti_f32_f16(float f)
{
    uint32_t b = sti_f32_bits(f), sign = (b >> 16) & 0x8000, a = b & 0x7fffffff;
    if (a > 0x7f800000) /* NaN */
        return (uint16_t)(sign | 0x7e00);
    if (a >= 0x477ff000) /* rounds to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) { /* subnormal: add a constant whose last bit is 2^-24, let the FPU round */
        float m = sti_bits_f32(a) + 0.5f;
        return (uint16_t)(sign | (sti_f32_bits(m) - 0x3f000000u));
    }
    a += 0xfff + ((a >> 13) & 1);
    return (uint16_t)(sign | (a - 0x38000000) >> 13);
}

size_t sti_dtype_bytes(st_dtype dtype, int64_t n)
{
    switch (dtype) {
    case ST_DTYPE_F32: return (size_t)n * 4;
    case ST_DTYPE_F16:
    case ST_DTYPE_BF16: return (size_t)n * 2;
    case ST_DTYPE_Q8_0: return (size_t)(n / 32) * 34;
    case ST_DTYPE_OTHER: break;
    }
    return 0;
}
