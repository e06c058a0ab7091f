/* SPDX-License-Identifier: MIT
 *
 * vertical.c — vertical scores of a trace's head, with what the selection left out put back.
 *
 * The sparse softmax runs over the kept keys: what a row reads there is larger than the exact
 * probability by 1 / recall, and what it would read elsewhere is missing. The certificate's rows
 * know both: their recall, and their exact probability outside the kept blocks by groups. They are
 * few, and one head's alone say little of a single group; those of all heads together say well
 * which groups are left out (the profile), and one head's how much it leaves out in all.
 */
#include <math.h>

#include "analyse/vertical.h"
#include "base/util.h"

/* The group that token `at` lies in; -1: none. */
static int64_t group_of(const st_group *group, int64_t n, int64_t at)
{
    int64_t first;
    return st_groups_touched(group, n, at, at + 1, &first) > 0 ? first : -1;
}

double sti_mean_recall(const float *recall, int64_t n)
{
    double sum = 0.0;
    for (int64_t r = 0; r < n; r++)
        sum += (double)recall[r];
    return sum / (double)n;
}

/* ---- what is left out, over all heads -------------------------------------------------------- */

/* Adds what row k of a head, in group i, leaves out of each group that it counts for, a token. */
static void add_row(const float *rest, const st_group *group, int64_t i, int64_t near, double *sum)
{
    for (int64_t j = 0; j <= i - near; j++)
        sum[j] += (double)rest[j] / (double)(group[j].end - group[j].begin);
}

/* A layer's certified rows, over its recorded heads. count [n_group]: how many rows counted. */
static void add_layer(const st_trace_samples *s, int64_t n_head, const st_group *group,
                      int64_t n_group, int64_t near, double *sum, double *count)
{
    for (int64_t k = 0; k < s->n_row; k++) {
        int64_t i = group_of(group, n_group, s->rows[k]);
        for (int64_t h = 0; h < n_head; h++)
            add_row(s->rest + (h * s->n_row + k) * n_group, group, i, near, sum);
        for (int64_t j = 0; j <= i - near; j++)
            count[j] += (double)n_head;
    }
}

st_status sti_rest_profile(const st_trace *t, int64_t near, double **profile, st_error *err)
{
    st_trace_info info;
    st_trace_layer l;
    double *count;
    st_status status = ST_OK;
    st_trace_get_info(t, &info);
    *profile = sti_calloc((size_t)(2 * info.n_group + 1) * sizeof **profile);
    if (*profile == NULL)
        return sti_fail_mem(err, (size_t)(2 * info.n_group) * sizeof **profile);
    count = *profile + info.n_group;
    for (int64_t i = 0; status == ST_OK && st_trace_get_layer(t, i, &l, NULL) == ST_OK; i++) {
        st_trace_samples s;
        status = st_trace_get_samples(t, i, &s, err);
        if (status == ST_OK && s.rest != NULL)
            add_layer(&s, l.n_head, st_trace_groups(t), info.n_group, near, *profile, count);
    }
    for (int64_t j = 0; j < info.n_group; j++)
        (*profile)[j] = count[j] > 0.0 ? (*profile)[j] / count[j] : 0.0;
    if (status != ST_OK) {
        sti_free(*profile);
        *profile = NULL;
    }
    return status;
}

/* ---- one head -------------------------------------------------------------------------------- */

/* How much of it is put back: few rows say it, and they say it of states that have drifted.
 * Measured: docs/method/receivers.md. */
#define TRUST 0.2

/* score[j] = recall * score[j] + share * profile[j]: share is TRUST of what the head's rows leave
 * out, over what the profile says that they would. */
static void put_back(const st_trace_samples *s, int64_t n_group, const st_group *group,
                     const float *recall, const float *rest, int64_t near, const double *profile,
                     double *score)
{
    double kept = sti_mean_recall(recall, s->n_row), left = 0.0, expected = 0.0, share;
    for (int64_t k = 0; k < s->n_row; k++) {
        int64_t i = group_of(group, n_group, s->rows[k]);
        for (int64_t j = 0; j <= i - near; j++) {
            left += (double)rest[k * n_group + j] / (double)(group[j].end - group[j].begin);
            expected += profile[j];
        }
    }
    share = expected > 0.0 ? TRUST * left / expected : 0.0;
    for (int64_t j = 0; j < n_group; j++)
        score[j] = kept * score[j] + share * profile[j];
}

st_status sti_trace_vertical(const st_trace *t, int64_t i, int64_t h, int64_t near,
                             const double *profile, double *score, st_error *err)
{
    st_trace_info info;
    st_trace_samples s;
    st_trace_layer l;
    float *mean;
    st_status status;
    st_trace_get_info(t, &info);
    STI_TRY(st_trace_get_layer(t, i, &l, err));
    mean = sti_alloc((size_t)(info.n_group * info.n_group) * sizeof *mean);
    if (mean == NULL)
        return sti_fail_mem(err, (size_t)(info.n_group * info.n_group) * sizeof *mean);
    status = st_trace_group_matrix(t, i, h, mean, err);
    if (status == ST_OK)
        st_vertical_scores(mean, info.n_group, near, score);
    sti_free(mean);
    STI_TRY(status);
    STI_TRY(st_trace_get_samples(t, i, &s, err));
    if (profile != NULL && s.rest != NULL)
        put_back(&s, info.n_group, st_trace_groups(t), s.recall + l.head[h] * s.n_row,
                 s.rest + h * s.n_row * info.n_group, near, profile, score);
    return ST_OK;
}

st_status st_trace_vertical(const st_trace *t, int64_t i, int64_t h, int64_t near, bool correct,
                            double *score, st_error *err)
{
    double *profile = NULL;
    st_status status;
    if (correct)
        STI_TRY(sti_rest_profile(t, near, &profile, err));
    status = sti_trace_vertical(t, i, h, near, profile, score, err);
    sti_free(profile);
    return status;
}
