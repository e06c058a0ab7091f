/* SPDX-License-Identifier: MIT
 *
 * peak.c — what this machine's fixed-point instructions can do.
 */
#include <time.h>

#include "kernels/kernels.h"
#include "sparsetrace/attend.h"

/* The thread's own time: waiting for a busy processor is not the machine's limit. */
static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double st_attend_peak(void)
{
    double best = 0.0;
    for (int i = 0; i < 5; i++) {
        int32_t sink;
        double since = seconds(), took = 0.0, done = 0.0;
        while (took < 0.02) {
            done += 2.0 * (double)sti_kernels()->peak_i16_row(1 << 16, &sink);
            took = seconds() - since;
        }
        best = done / took > best ? done / took : best;
    }
    return best;
}
