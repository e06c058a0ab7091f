/* SPDX-License-Identifier: MIT
 *
 * kernels.c — turns the ledger into the table in use and into data for tests and benches.
 */
#include <pthread.h>
#include <stddef.h>

#include "kernels/kernels.h"

#define ISA_scalar STI_CPU_SCALAR
#define ISA_avx2 STI_CPU_AVX2
#define ISA_avx512 STI_CPU_AVX512

static sti_kernel_table table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void install(void)
{
    sti_cpu_level level = sti_cpu();
#define ST_KERNEL(op, dtype, tile, isa, tol)                                                       \
    if (ISA_##isa <= level)                                                                        \
        table.op##_##dtype##_##tile = stk_##op##_##dtype##_##tile##__##isa;
#include "kernels/kernels.def"
}

const sti_kernel_table *sti_kernels(void)
{
    pthread_once(&once, install);
    return &table;
}

static const sti_kernel_row rows[] = {
#define ST_KERNEL(op, dtype, tile, isa, tol)                                                       \
    {#op, #dtype, #tile, ISA_##isa, tol, (void (*)(void))stk_##op##_##dtype##_##tile##__##isa},
#include "kernels/kernels.def"
};

const sti_kernel_row *sti_kernel_rows(int *n)
{
    *n = (int)(sizeof rows / sizeof *rows);
    return rows;
}
