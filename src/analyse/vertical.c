/* SPDX-License-Identifier: MIT
 *
 * vertical.c — vertical scores of a trace's head, with what the selection left out put back.
 *
 * The sparse softmax runs over the kept keys: what a row reads there is larger than the exact
 * probability by 1 / recall, and what it would read elsewhere is missing. The certificate's rows
 * know both: their recall, and their exact probability outside the kept blocks by groups.
 */
#include <math.h>

#include "base/util.h"
#include "sparsetrace/groups.h"

/* The group that token `at` lies in; -1: none. */
static int64_t group_of(const st_group *group, int64_t n, int64_t at)
{
    int64_t first;
    return st_groups_touched(group, n, at, at + 1, &first) > 0 ? first : -1;
}

static double mean_recall(const float *recall, int64_t n)
{
    double sum = 0.0;
    for (int64_t r = 0; r < n; r++)
        sum += (double)recall[r];
    return sum / (double)n;
}

/* score[j] = recall * score[j] + mean over the certified rows of groups i >= j + near of what they
 * leave out of group j, a token. sum: room for n_group. */
static void put_back(const st_trace_samples *s, int64_t n_group, const st_group *group,
                     const float *recall, const float *rest, int64_t near, double *score,
                     double *sum)
{
    double kept = mean_recall(recall, s->n_row);
    int64_t n_row = 0, r = s->n_row;
    memset(sum, 0, (size_t)n_group * sizeof *sum);
    for (int64_t k = 0; k < s->n_row; k++) {
        int64_t i = group_of(group, n_group, s->rows[k]);
        for (int64_t j = 0; j <= i - near; j++)
            sum[j] += (double)rest[k * n_group + j];
    }
    for (int64_t j = n_group - 1; j >= 0; j--) { /* rows rise: from the end, more and more count */
        double width = (double)(group[j].end - group[j].begin);
        for (; r > 0 && j + near < n_group && s->rows[r - 1] >= group[j + near].begin; r--)
            n_row += group_of(group, n_group, s->rows[r - 1]) >= 0;
        score[j] = kept * score[j] + (n_row > 0 ? sum[j] / (double)n_row / width : 0.0);
    }
}

st_status st_trace_vertical(const st_trace *t, int64_t i, int64_t h, int64_t near, bool correct,
                            double *score, st_error *err)
{
    st_trace_info info;
    st_trace_samples s;
    st_trace_layer l;
    float *mean;
    double *sum = NULL;
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
    if (!correct || s.rest == NULL)
        return ST_OK;
    sum = sti_alloc((size_t)info.n_group * sizeof *sum);
    if (sum == NULL)
        return sti_fail_mem(err, (size_t)info.n_group * sizeof *sum);
    put_back(&s, info.n_group, st_trace_groups(t), s.recall + l.head[h] * s.n_row,
             s.rest + h * s.n_row * info.n_group, near, score, sum);
    sti_free(sum);
    return ST_OK;
}
