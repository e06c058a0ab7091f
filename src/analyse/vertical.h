/* SPDX-License-Identifier: MIT
 *
 * vertical.h — a head's vertical scores, for callers that ask for many heads of a trace.
 */
#ifndef STI_VERTICAL_H
#define STI_VERTICAL_H

#include "sparsetrace/groups.h"

/* (*profile)[j]: exact probability of a token of group j that the certified rows of groups i >= j +
 * near leave out, mean over these rows and all recorded heads of the pruned layers; 0 where there
 * is no row. sti_free. */
st_status sti_rest_profile(const st_trace *t, int64_t near, double **profile, st_error *err);

/* Of a head's n >= 1 certified rows. */
double sti_mean_recall(const float *recall, int64_t n);

/* st_trace_vertical; profile NULL: nothing is put back. */
st_status sti_trace_vertical(const st_trace *t, int64_t i, int64_t h, int64_t near,
                             const double *profile, double *score, st_error *err);

#endif
