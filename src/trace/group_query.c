/* SPDX-License-Identifier: MIT
 *
 * group_query.c — what a trace knows of groups of tokens, and the certificate's samples by layer.
 */
#include "trace/trace_int.h"

const st_group *st_trace_groups(const st_trace *t)
{
    return t->groups == NULL ? NULL : t->groups->data;
}

static st_status find_layer(const st_trace *t, int64_t i, const sti_layer **l, st_error *err)
{
    if (i < 0 || i >= t->info.n_layer)
        return sti_fail(err, ST_ERR_ARG, i, "layer %lld of %lld recorded ones", (long long)i,
                        (long long)t->info.n_layer);
    *l = t->recorded[i];
    return ST_OK;
}

st_status st_trace_group_matrix(const st_trace *t, int64_t i, int64_t h, float *mean, st_error *err)
{
    int64_t n = t->info.n_group;
    const sti_layer *l = NULL;
    const st_trace_layer *p;
    STI_TRY(find_layer(t, i, &l, err));
    p = &l->pub;
    if (n == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "the trace has no groups: record it with them");
    if (h < 0 || h >= p->n_head)
        return sti_fail(err, ST_ERR_ARG, h, "head %lld of %lld recorded ones of layer %d",
                        (long long)h, (long long)p->n_head, p->layer);
    memset(mean, 0, (size_t)(n * n) * sizeof *mean);
    for (int64_t g = 0; g < n; g++) {
        int64_t begin = sti_clamp(p->group_indptr[h * n + g], 0, p->group_nnz);
        int64_t end = sti_clamp(p->group_indptr[h * n + g + 1], begin, p->group_nnz);
        for (int64_t e = begin; e < end; e++)
            if (p->group_indices[e] >= 0 && p->group_indices[e] < n)
                mean[g * n + p->group_indices[e]] = p->group_mean[e];
    }
    return ST_OK;
}

st_status st_trace_get_samples(const st_trace *t, int64_t i, st_trace_samples *samples,
                               st_error *err)
{
    const sti_layer *l = NULL;
    *samples = (st_trace_samples){.n_row = 0};
    STI_TRY(find_layer(t, i, &l, err));
    if (l->cert_rows == NULL)
        return ST_OK;
    samples->rows = l->cert_rows->data;
    samples->recall = l->cert_recall->data;
    samples->n_row = l->cert_rows->shape[0];
    return ST_OK;
}
