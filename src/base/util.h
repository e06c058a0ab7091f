/* SPDX-License-Identifier: MIT
 *
 * util.h — small things every room uses: raising errors, aligned memory, half floats, integer
 * maths.
 */
#ifndef STI_UTIL_H
#define STI_UTIL_H

#include <stdint.h>
#include <string.h>

#include "sparsetrace/base.h"

/* ---- errors: `return sti_fail(err, ST_ERR_ARG, -1, "k is %d ...", k);` ----------------------- */

st_status sti_fail(st_error *err, st_status status, int64_t position, const char *fmt, ...)
    ST_PRINTF(4, 5);
/* ST_ERR_MEM with the size that could not be had. */
st_status sti_fail_mem(st_error *err, size_t bytes);
/* ST_ERR_IO: "cannot <what> <path>: <errno's text>". */
st_status sti_fail_io(st_error *err, const char *what, const char *path);

#define STI_TRY(call)                                                                              \
    do {                                                                                           \
        st_status sti_try_ = (call);                                                               \
        if (sti_try_ != ST_OK)                                                                     \
            return sti_try_;                                                                       \
    } while (0)

/* ---- memory: 64-byte aligned, freed with sti_free -------------------------------------------- */

void *sti_alloc(size_t bytes);  /* NULL on failure; bytes 0 gives a valid pointer */
void *sti_calloc(size_t bytes); /* zeroed */
void sti_free(void *p);         /* NULL is fine */
/* Grows *p (of *cap elements) so that it holds at least `need`; contents kept, new part not zeroed.
 * False on failure, with *p and *cap as they were. */
bool sti_grow(void **p, int64_t *cap, int64_t need, size_t elem_bytes);

/* One array of many MB that grows now and then and whose contents need not survive that: pages stay
 * mapped where the system can do it (a fresh page costs more than a cache line of work). False: out
 * of memory, all as it was. */
bool sti_large_grow(void **p, size_t *have, size_t want);
void sti_large_free(void *p, size_t have);

/* ---- integers -------------------------------------------------------------------------------- */

static inline int64_t sti_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t sti_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t sti_clamp(int64_t x, int64_t lo, int64_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}
static inline int64_t sti_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
static inline int64_t sti_round_up(int64_t a, int64_t b)
{
    return sti_ceil_div(a, b) * b;
}
/* A 64-bit mix (splitmix64's finaliser): the library's only source of "random" choices. */
static inline uint64_t sti_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* ---- half floats ----------------------------------------------------------------------------- */

static inline float sti_bits_f32(uint32_t b)
{
    float f;
    memcpy(&f, &b, 4);
    return f;
}
static inline uint32_t sti_f32_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}
static inline float sti_bf16_f32(uint16_t h)
{
    return sti_bits_f32((uint32_t)h << 16);
}
float sti_f16_f32(uint16_t h);
uint16_t sti_f32_f16(float f); /* round to nearest even */

/* ---- element types --------------------------------------------------------------------------- */

/* Bytes of n consecutive elements; 0 for ST_DTYPE_OTHER (unknown here). */
size_t sti_dtype_bytes(st_dtype dtype, int64_t n);

/* ---- parallel loop: fn(ctx, task, thread) for task 0..n_task-1, thread 0..st_pool_size(pool)-1 */

/* Processors that this process may run on, >= 1. */
int sti_n_processor(void);

typedef void (*sti_task_fn)(void *ctx, int64_t task, int thread);
void sti_pool_run(st_pool *pool, int64_t n_task, sti_task_fn fn, void *ctx);

/* Memory that the pool keeps from call to call, one piece of each kind at a time: large arrays need
 * not be mapped anew each time. Not zeroed; NULL: out of memory. Without a pool it is the caller's
 * own until it is given back. */
enum { STI_SCRATCH_MAP, STI_SCRATCH_PACK, STI_SCRATCH_LINEAR, STI_SCRATCH_KINDS };
void *sti_pool_take(st_pool *pool, int kind, size_t bytes);
void sti_pool_give(st_pool *pool, void *p); /* NULL is fine */

#endif
