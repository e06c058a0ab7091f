/* SPDX-License-Identifier: MIT
 *
 * vector_avx2.c — the elementwise kernels for avx2; the text is vector_body.h.
 */
#define ISA avx2
#include "kernels/vector_body.h"
