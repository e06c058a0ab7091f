/* SPDX-License-Identifier: MIT
 *
 * cpu.c — finds the machine's level once and lets ST_CPU lower it.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "sparsetrace/base.h"

static sti_cpu_level in_use;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *const level_name[STI_CPU_LEVEL_COUNT] = {"scalar", "avx2", "avx512"};

sti_cpu_level sti_cpu_machine(void)
{
#if (defined(__x86_64__) || defined(__i386__)) && !defined(ST_NO_X86_KERNELS)
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
          __builtin_cpu_supports("f16c")))
        return STI_CPU_SCALAR;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni"))
        return STI_CPU_AVX512;
    return STI_CPU_AVX2;
#else
    return STI_CPU_SCALAR;
#endif
}

static void find_level(void)
{
    const char *wish = getenv("ST_CPU");
    sti_cpu_level machine = sti_cpu_machine();
    in_use = machine;
    for (int l = 0; wish != NULL && l < (int)machine; l++)
        if (strcmp(wish, level_name[l]) == 0)
            in_use = (sti_cpu_level)l;
}

sti_cpu_level sti_cpu(void)
{
    pthread_once(&once, find_level);
    return in_use;
}

const char *sti_cpu_level_name(sti_cpu_level level)
{
    return (unsigned)level < STI_CPU_LEVEL_COUNT ? level_name[level] : "unknown";
}

const char *st_cpu_name(void)
{
    return sti_cpu_level_name(sti_cpu());
}
