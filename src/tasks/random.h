/* SPDX-License-Identifier: MIT
 *
 * random.h — the choices of one sample: counted calls of the library's 64-bit mix, so that they are
 * the same on every machine.
 */
#ifndef STI_RANDOM_H
#define STI_RANDOM_H

#include "base/util.h"

typedef struct sti_random {
    uint64_t key, n;
} sti_random;

/* Streams of different `stream` are independent. */
static inline sti_random sti_random_stream(uint64_t key, uint64_t stream)
{
    return (sti_random){sti_mix(key ^ sti_mix(stream)), 0};
}

static inline uint64_t sti_random_next(sti_random *r)
{
    return sti_mix(r->key ^ sti_mix(r->n++));
}

/* 0 .. n - 1, n <= 2^32; even to 2^-32. */
static inline int64_t sti_random_below(sti_random *r, int64_t n)
{
    return (int64_t)((sti_random_next(r) >> 32) * (uint64_t)n >> 32);
}

/* Puts a random choice of `n` of the `all` elements first, in random order. */
static inline void sti_random_choose(sti_random *r, int32_t *x, int64_t n, int64_t all)
{
    for (int64_t i = 0; i < n && i < all; i++) {
        int64_t j = i + sti_random_below(r, all - i);
        int32_t t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
}

#endif
