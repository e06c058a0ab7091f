/* SPDX-License-Identifier: MIT
 *
 * cpu.h — which kernel set this machine runs. Levels are whole sets, not single instructions: a
 * level is usable only if the processor and the operating system have all of it.
 */
#ifndef STI_CPU_H
#define STI_CPU_H

typedef enum sti_cpu_level {
    STI_CPU_SCALAR = 0, /* plain C                                        */
    STI_CPU_AVX2,       /* AVX2, FMA, F16C                                */
    STI_CPU_AVX512,     /* AVX-512 F, BW, VL, DQ, VNNI (and all of AVX2)  */
    STI_CPU_LEVEL_COUNT
} sti_cpu_level;

/* What the machine has. */
sti_cpu_level sti_cpu_machine(void);
/* What is in use: the machine's level, lowered by the variable ST_CPU (scalar, avx2, avx512). An
 * unknown or higher name changes nothing. Read once. */
sti_cpu_level sti_cpu(void);
const char *sti_cpu_level_name(sti_cpu_level level);

#endif
