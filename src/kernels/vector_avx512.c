/* SPDX-License-Identifier: MIT
 *
 * vector_avx512.c — the elementwise kernels for avx512; the text is vector_body.h.
 */
#define ISA avx512
#include "kernels/vector_body.h"
