/* SPDX-License-Identifier: MIT
 *
 * test_cpu.c — the machine's level, and how ST_CPU lowers it. The level is read once in a process,
 * so every value is tried in a child of its own.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cpu/cpu.h"

/* Runs fn in a child that has ST_CPU=value (NULL: unset) and gives its result; -1 if it crashed. */
static int in_child(const char *value, int (*fn)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (value != NULL)
            setenv("ST_CPU", value, 1);
        else
            unsetenv("ST_CPU");
        _exit(fn());
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static int level(void)
{
    return (int)sti_cpu();
}

static int public_name_agrees(void)
{
    return strcmp(st_cpu_name(), sti_cpu_level_name(sti_cpu())) == 0;
}

static int changes_after_first_use(void)
{
    int before = (int)sti_cpu();
    unsetenv("ST_CPU");
    return (int)sti_cpu() != before;
}

/* No level is above what it names: lower ones are taken, higher ones change nothing. */
static void test_levels(void)
{
    int machine = (int)sti_cpu_machine();
    CHECK_EQ(in_child(NULL, level), machine);
    for (int l = 0; l < STI_CPU_LEVEL_COUNT; l++)
        CHECK_EQ(in_child(sti_cpu_level_name((sti_cpu_level)l), level), l < machine ? l : machine);
}

static void test_unknown_values(void)
{
    static const char *const value[] = {"",     "AVX2",  "Scalar",      "avx",
                                        "avx5", "avx2 ", " scalar",     "sse4",
                                        "none", "0",     "scalar,avx2", "unknown"};
    for (size_t i = 0; i < sizeof value / sizeof *value; i++)
        CHECK_EQ(in_child(value[i], level), (int)sti_cpu_machine());
}

static void test_read_once(void)
{
    CHECK_EQ(in_child("scalar", changes_after_first_use), 0);
    CHECK_EQ(in_child("scalar", public_name_agrees), 1);
    CHECK_EQ(in_child(NULL, public_name_agrees), 1);
}

static void test_names(void)
{
    CHECK(strcmp(sti_cpu_level_name(STI_CPU_SCALAR), "scalar") == 0);
    CHECK(strcmp(sti_cpu_level_name(STI_CPU_AVX2), "avx2") == 0);
    CHECK(strcmp(sti_cpu_level_name(STI_CPU_AVX512), "avx512") == 0);
    CHECK(strcmp(sti_cpu_level_name(STI_CPU_LEVEL_COUNT), "unknown") == 0);
    CHECK(strcmp(sti_cpu_level_name((sti_cpu_level)-1), "unknown") == 0);
}

#if defined(__linux__) && defined(__x86_64__)
/* Whether every word of `wanted` is a word of `flags`. */
static bool listed(const char *flags, const char *wanted)
{
    char word[32];
    int used;
    while (sscanf(wanted, "%31s%n", word, &used) == 1) {
        char padded[40];
        snprintf(padded, sizeof padded, " %s ", word);
        if (strstr(flags, padded) == NULL)
            return false;
        wanted += used;
    }
    return true;
}

/* The level against what the operating system says of the processor. */
static void test_machine(void)
{
    char line[16384] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    int want = STI_CPU_SCALAR;
    while (f != NULL && fgets(line, sizeof line, f) != NULL && strncmp(line, "flags", 5) != 0)
        ;
    if (f != NULL)
        fclose(f);
    if (strncmp(line, "flags", 5) != 0) {
        printf("note: no /proc/cpuinfo, the machine's level is not checked\n");
        return;
    }
    if (strchr(line, '\n') != NULL)
        *strchr(line, '\n') = ' ';
    if (listed(line, "avx2 fma f16c"))
        want = listed(line, "avx512f avx512bw avx512vl avx512dq avx512_vnni") ? STI_CPU_AVX512
                                                                              : STI_CPU_AVX2;
    CHECK_EQ(sti_cpu_machine(), want);
}
#else
static void test_machine(void)
{
    CHECK(sti_cpu_machine() < STI_CPU_LEVEL_COUNT);
}
#endif

int main(void)
{
    test_machine();
    test_levels();
    test_unknown_values();
    test_read_once();
    test_names();
    return check_report();
}
