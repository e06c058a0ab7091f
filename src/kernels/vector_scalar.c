/* SPDX-License-Identifier: MIT
 *
 * vector_scalar.c — the elementwise kernels for scalar; the text is vector_body.h.
 */
#define ISA scalar
#include "kernels/vector_body.h"
