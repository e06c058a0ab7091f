/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/base.h — what every other header stands on: status codes, errors that name a place,
 * element types, worker threads, version.
 *
 * Rules that hold for the whole library:
 *   - A public call returns `st_status`. ST_OK is 0. The last parameter is `st_error *err`; it may
 * be NULL. On failure it is filled in; on success it is left alone.
 *   - The library never exits, never aborts on input, never prints.
 *   - Shapes are written `[n_head, n_tok, d]`, last index contiguous. Strides are bytes.
 *   - What a call creates is the caller's to free with the type's own `_free`, which accepts NULL.
 *     On failure nothing is created and output pointers are set to NULL.
 *   - Objects may be used by one thread at a time unless said otherwise; separate objects are
 *     independent. `st_pool` spreads one call over threads.
 */
#ifndef SPARSETRACE_BASE_H
#define SPARSETRACE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ST_API __attribute__((visibility("default")))
#define ST_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define ST_API
#define ST_PRINTF(f, a)
#endif

/* ---- status and error ------------------------------------------------------------------------ */

typedef enum st_status {
    ST_OK = 0,
    ST_ERR_ARG,    /* a parameter breaks a rule of its docstring; the message names both        */
    ST_ERR_MEM,    /* memory could not be had; the message says how many bytes                  */
    ST_ERR_IO,     /* the system refused; the message carries the path and the system's reason  */
    ST_ERR_FORMAT, /* bytes are not what their format says; `position` is the byte offset       */
    ST_ERR_LIMIT,  /* well formed, but beyond a stated limit                                    */
    ST_ERR_MODEL,  /* the model engine refused: unreadable model, context too long, ...         */
    ST_ERR_CANCELLED, /* the caller asked to stop */
} st_status;

/* One word for a status, e.g. "format". Never NULL. */
ST_API const char *st_status_name(st_status status);

typedef struct st_error {
    st_status status;
    int64_t position;  /* byte offset, line or index that the message speaks of; -1: none */
    char message[480]; /* one sentence, UTF-8, no newline */
} st_error;

/* ---- version --------------------------------------------------------------------------------- */

ST_API const char *st_version(void); /* "0.1.0" */
ST_API const char *
st_cpu_name(void); /* kernel set in use: "scalar", "avx2" or "avx512". The variable
                      ST_CPU lowers it (never raises it above the machine). */

/* ---- element types --------------------------------------------------------------------------- */

typedef enum st_dtype {
    ST_DTYPE_F32 = 0,
    ST_DTYPE_F16,
    ST_DTYPE_BF16,
    ST_DTYPE_Q8_0, /* ggml's: blocks of 32 values, one F16 scale then 32 int8; 34 bytes a block */
    ST_DTYPE_OTHER /* anything else, read through a row function                               */
} st_dtype;

/* Decodes `n` consecutive elements at `row` to F32. Same shape as ggml's `to_float`. */
typedef void (*st_to_f32_fn)(const void *row, float *out, int64_t n);

/* ---- bytes going out ------------------------------------------------------------------------- */

/* Where a save function puts its bytes, piece by piece. A status other than ST_OK ends the saving,
 * which returns it. */
typedef struct st_out {
    st_status (*write)(void *ctx, const void *data, size_t bytes, st_error *err);
    void *ctx;
} st_out;

/* ---- threads --------------------------------------------------------------------------------- */

/* A fixed set of worker threads. Calls that take an `st_pool *` accept NULL: the calling thread
 * does the work alone. Results never depend on the number of threads. One call at a time per pool.
 */
typedef struct st_pool st_pool;

/* n_thread >= 1 counts the caller; 0 means one per available processor. Errors: ST_ERR_ARG
 * (negative or above 1024), ST_ERR_MEM, ST_ERR_IO (a thread could not be started). */
ST_API st_status st_pool_create(int n_thread, st_pool **pool, st_error *err);
ST_API void st_pool_free(st_pool *pool);
ST_API int st_pool_size(const st_pool *pool); /* threads, the caller included; 1 for NULL */

#ifdef __cplusplus
}
#endif
#endif
