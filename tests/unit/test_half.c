/* SPDX-License-Identifier: MIT
 *
 * test_half.c — half floats against their definition in double precision: every bit pattern, every
 * rounding boundary, and every 1009th float. BF16 is only ever read, so it has one direction.
 */
#include <math.h>

#include "base/util.h"
#include "check.h"

#define F16_INF 0x7c00

/* What a pattern with `e` exponent and `f` fraction bits means; NaN for NaN. */
static double value(uint32_t h, int e, int f)
{
    int sign = h >> (e + f) & 1, exponent = h >> f & ((1 << e) - 1), bias = (1 << (e - 1)) - 1;
    int fraction = h & ((1 << f) - 1);
    double x;
    if (exponent == (1 << e) - 1)
        x = fraction != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        x = ldexp(fraction, 1 - bias - f);
    else
        x = ldexp((1 << f) + fraction, exponent - bias - f);
    return sign ? -x : x;
}

/* The same number, sign of zero included; any NaN equals any NaN of its sign. */
static bool same(double want, float got)
{
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got);
    return (double)got == want && !signbit(got) == !signbit(want);
}

/* f rounded to binary16 by the definition: to the nearest multiple of the unit in the last place,
 * ties to the even one; from 65520 on, infinity. */
static double rounded(float f)
{
    int exponent;
    double unit, x;
    if (f == 0.0f || !isfinite(f))
        return (double)f;
    frexp((double)f, &exponent);
    unit = ldexp(1.0, (exponent < -13 ? -13 : exponent) - 11);
    x = rint((double)f / unit) * unit;
    return fabs(x) >= 65536.0 ? copysign(INFINITY, x) : copysign(x, (double)f);
}

static bool rounds_right(float f)
{
    uint16_t h = sti_f32_f16(f);
    if (isnan(f))
        return isnan(value(h, 5, 10)) && h >> 15 == (sti_f32_bits(f) >> 31);
    return same(rounded(f), (float)value(h, 5, 10));
}

static void test_every_pattern(void)
{
    int wrong = 0, wrong_bf16 = 0, wrong_back = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = sti_f16_f32((uint16_t)h);
        wrong += !same(value(h, 5, 10), f) || sti_f32_bits(f) >> 31 != h >> 15;
        wrong_bf16 += !same(value(h, 8, 7), sti_bf16_f32((uint16_t)h));
        wrong_back += isnan(f) ? !isnan(sti_f16_f32(sti_f32_f16(f))) : sti_f32_f16(f) != h;
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(wrong_bf16, 0);
    CHECK_EQ(wrong_back, 0);
}

/* Between each half and the next (the last one is infinity) the middle goes to the even one of the
 * two, and the floats beside the middle to their own side. */
static void test_every_boundary(void)
{
    int wrong = 0;
    for (int h = 0; h < F16_INF; h++) {
        double next = h + 1 == F16_INF ? 65536.0 : value((uint32_t)h + 1, 5, 10);
        float middle = (float)(0.5 * (value((uint32_t)h, 5, 10) + next));
        wrong += sti_f32_f16(middle) != h + (h & 1);
        wrong += sti_f32_f16(nextafterf(middle, 0.0f)) != h;
        wrong += sti_f32_f16(nextafterf(middle, INFINITY)) != h + 1;
        wrong += sti_f32_f16(-middle) != (0x8000 | (h + (h & 1)));
    }
    CHECK_EQ(wrong, 0);
}

static void test_sweep(void)
{
    int64_t wrong = 0;
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += 1009)
        wrong += !rounds_right(sti_bits_f32((uint32_t)bits));
    CHECK_EQ(wrong, 0);
}

static void test_ends(void)
{
    CHECK_EQ(sti_f32_f16(65504.0f), 0x7bff); /* the largest */
    CHECK_EQ(sti_f32_f16(65519.996f), 0x7bff);
    CHECK_EQ(sti_f32_f16(65520.0f), F16_INF);
    CHECK_EQ(sti_f32_f16(3.4e38f), F16_INF);
    CHECK_EQ(sti_f32_f16(-INFINITY), 0xfc00);
    CHECK_EQ(sti_f32_f16(0x1p-24f), 0x0001); /* the smallest */
    CHECK_EQ(sti_f32_f16(0x1p-25f), 0x0000);
    CHECK_EQ(sti_f32_f16(-0x1p-149f), 0x8000);
    CHECK_EQ(sti_f32_f16(-0.0f), 0x8000);
    CHECK_EQ(sti_f32_f16(1.0f), 0x3c00);
    CHECK(isnan(sti_f16_f32(sti_f32_f16(NAN))));
    CHECK(isnan(sti_f16_f32(sti_f32_f16(sti_bits_f32(0x7f800001))))); /* its payload does not fit */
    CHECK(sti_f16_f32(0x3555) == 0.333251953125f);
    CHECK(sti_bf16_f32(0x3eab) == 0.333984375f);
}

static void test_element_sizes(void)
{
    CHECK_EQ(sti_dtype_bytes(ST_DTYPE_F32, 7), 28);
    CHECK_EQ(sti_dtype_bytes(ST_DTYPE_F16, 7), 14);
    CHECK_EQ(sti_dtype_bytes(ST_DTYPE_BF16, 7), 14);
    CHECK_EQ(sti_dtype_bytes(ST_DTYPE_Q8_0, 96), 3 * 34);
    CHECK_EQ(sti_dtype_bytes(ST_DTYPE_OTHER, 96), 0);
}

int main(void)
{
    test_every_pattern();
    test_every_boundary();
    test_sweep();
    test_ends();
    test_element_sizes();
    return check_report();
}
