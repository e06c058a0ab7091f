/* SPDX-License-Identifier: MIT
 *
 * check.h — the tests' three macros. A check that fails prints its place and the test goes on; main
 * ends with `return check_report();`.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sparsetrace/base.h"

static int check_failed, check_done;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        check_done++;                                                                              \
        if (!(cond)) {                                                                             \
            check_failed++;                                                                        \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                              \
        }                                                                                          \
    } while (0)

/* Two integers. */
#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        long long check_a_ = (long long)(a), check_b_ = (long long)(b);                            \
        check_done++;                                                                              \
        if (check_a_ != check_b_) {                                                                \
            check_failed++;                                                                        \
            printf("%s:%d: failed: %s is %lld, %s is %lld\n", __FILE__, __LINE__, #a, check_a_,    \
                   #b, check_b_);                                                                  \
        }                                                                                          \
    } while (0)

/* What a call returned, and the status that was wanted. */
#define CHECK_STATUS(call, want)                                                                   \
    do {                                                                                           \
        st_status check_s_ = (call);                                                               \
        check_done++;                                                                              \
        if (check_s_ != (want)) {                                                                  \
            check_failed++;                                                                        \
            printf("%s:%d: failed: %s gave \"%s\", wanted \"%s\"\n", __FILE__, __LINE__, #call,    \
                   st_status_name(check_s_), st_status_name(want));                                \
        }                                                                                          \
    } while (0)

/* First thing in a main that is run once for each level of ST_CPU: a machine below the level skips.
 */
#define CHECK_LEVEL()                                                                              \
    do {                                                                                           \
        const char *check_l_ = getenv("ST_LEVEL_WANTED");                                          \
        if (check_l_ != NULL && strcmp(check_l_, st_cpu_name()) != 0) {                            \
            printf("SKIP: this machine has no %s kernels\n", check_l_);                            \
            return 77;                                                                             \
        }                                                                                          \
    } while (0)

/* The exit status of a test. */
static inline int check_report(void)
{
    printf("%d checks, %d failed\n", check_done, check_failed);
    return check_failed != 0;
}

#endif
