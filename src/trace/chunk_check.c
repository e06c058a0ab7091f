/* SPDX-License-Identifier: MIT
 *
 * chunk_check.c — what a run hands over is looked at here, at the door: what is in the journal
 * makes a valid trace. Messages name the layer, the head and the place.
 */
#include <math.h>

#include "trace/journal.h"

static st_status check_place(const sti_begin *begin, const st_chunk *c, st_error *err)
{
    const st_selection *s = c->sel;
    int64_t first_blk, nbq, n_tok = begin->n_tok;
    if (c->layer < 0 || c->layer > STI_LAYER_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "layer is %d, must be 0..%d", c->layer, STI_LAYER_MAX);
    if (c->kind != ST_CHUNK_SPARSE && c->kind != ST_CHUNK_EXACT)
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: kind is %d", c->layer, (int)c->kind);
    if (c->first_query < 0 || c->n_q < 1 || c->first_query >= n_tok ||
        c->n_q > n_tok - c->first_query)
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: rows %lld + %lld do not fit in %lld tokens",
                        c->layer, (long long)c->first_query, (long long)c->n_q, (long long)n_tok);
    if (s == NULL || s->indptr == NULL || s->n_head < 1 || s->n_head > STI_HEAD_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: no selection, or one of no heads",
                        c->layer);
    first_blk = c->first_query / begin->bq;
    nbq = (c->first_query + c->n_q - 1) / begin->bq - first_blk + 1;
    if (s->bq != begin->bq || s->bk != begin->bk || s->first_blk != first_blk || s->nbq != nbq)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "layer %d: the selection has blocks %d x %d, query blocks %lld + %lld; "
                        "%lld x %lld, %lld + %lld were expected",
                        c->layer, s->bq, s->bk, (long long)s->first_blk, (long long)s->nbq,
                        (long long)begin->bq, (long long)begin->bk, (long long)first_blk,
                        (long long)nbq);
    if (c->kept_pairs < 0 || c->kept_pairs > c->visible_pairs)
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: %lld kept pairs of %lld visible ones",
                        c->layer, (long long)c->kept_pairs, (long long)c->visible_pairs);
    return ST_OK;
}

static st_status check_row(const st_chunk *c, int64_t row, int64_t nbk, st_error *err)
{
    const st_selection *s = c->sel;
    int64_t head = row / s->nbq, blk = s->first_blk + row % s->nbq;
    if (s->indptr[row + 1] < s->indptr[row])
        return sti_fail(err, ST_ERR_ARG, row, "layer %d: indptr[%lld] falls", c->layer,
                        (long long)row + 1);
    for (int64_t e = s->indptr[row]; e < s->indptr[row + 1]; e++) {
        if (s->indices[e] < 0 || s->indices[e] >= nbk ||
            (e > s->indptr[row] && s->indices[e] <= s->indices[e - 1]))
            return sti_fail(
                err, ST_ERR_ARG, e,
                "layer %d, head %lld, query block %lld: key block %d is beyond the %lld "
                "or not rising",
                c->layer, (long long)head, (long long)blk, s->indices[e], (long long)nbk);
        if (isnan(c->mass[e]))
            return sti_fail(err, ST_ERR_ARG, e,
                            "layer %d, head %lld, query block %lld: mass of key block %d is NaN",
                            c->layer, (long long)head, (long long)blk, s->indices[e]);
    }
    return ST_OK;
}

static st_status check_selection(const sti_begin *begin, const st_chunk *c, st_error *err)
{
    int64_t n_row = c->sel->n_head * c->sel->nbq;
    if (c->sel->indptr[0] != 0)
        return sti_fail(err, ST_ERR_ARG, 0, "layer %d: indptr does not begin with 0", c->layer);
    if (c->sel->indptr[n_row] > 0 && (c->sel->indices == NULL || c->mass == NULL))
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: no indices or no mass", c->layer);
    for (int64_t r = 0; r < n_row; r++)
        STI_TRY(check_row(c, r, sti_ceil_div(begin->n_tok, begin->bk), err));
    return ST_OK;
}

static st_status check_certificate(const st_chunk *c, st_error *err)
{
    int64_t next = c->first_query;
    if (c->n_cert < 0 || c->n_cert > c->n_q ||
        (c->n_cert > 0 && (c->cert_rows == NULL || c->cert_recall == NULL || c->cert_err == NULL)))
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: %lld certified rows, or none given",
                        c->layer, (long long)c->n_cert);
    for (int64_t i = 0; i < c->n_cert; i++) {
        if (c->cert_rows[i] < next || c->cert_rows[i] >= c->first_query + c->n_q)
            return sti_fail(err, ST_ERR_ARG, i, "layer %d: certified row %lld is out of order",
                            c->layer, (long long)c->cert_rows[i]);
        next = c->cert_rows[i] + 1;
    }
    for (int64_t i = 0; i < c->sel->n_head * c->n_cert; i++)
        if (isnan(c->cert_recall[i]) || isnan(c->cert_err[i]) || c->cert_err[i] < 0)
            return sti_fail(err, ST_ERR_ARG, i,
                            "layer %d, row %lld, head %lld: recall %g, error %g", c->layer,
                            (long long)c->cert_rows[i % c->n_cert], (long long)(i / c->n_cert),
                            (double)c->cert_recall[i], (double)c->cert_err[i]);
    return ST_OK;
}

static st_status check_lse(const st_chunk *c, st_error *err)
{
    for (int64_t i = 0; c->lse != NULL && i < c->sel->n_head * c->n_q; i++)
        if (!(c->lse[i] < INFINITY))
            return sti_fail(err, ST_ERR_ARG, i, "layer %d, head %lld, row %lld: lse is %g",
                            c->layer, (long long)(i / c->n_q),
                            (long long)(c->first_query + i % c->n_q), (double)c->lse[i]);
    return ST_OK;
}

/* The writer's groups, and no NaN. */
static st_status check_groups(const st_chunk *c, const sti_begin *begin, const st_group *group,
                              st_error *err)
{
    const st_group_sums *s = c->groups;
    int64_t first, n, n_group = begin->n_group;
    if (n_group == 0)
        return ST_OK;
    if (s == NULL || s->n_group != n_group ||
        memcmp(s->group, group, (size_t)n_group * sizeof *group) != 0)
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: no sums of the %lld groups, or of others",
                        c->layer, (long long)n_group);
    n = st_groups_touched(group, n_group, c->first_query, c->first_query + c->n_q, &first);
    if (s->n != n || (n > 0 && (s->first != first || s->sum == NULL)))
        return sti_fail(err, ST_ERR_ARG, -1,
                        "layer %d: sums of groups %lld + %lld, but the rows touch %lld + %lld",
                        c->layer, (long long)s->first, (long long)s->n, (long long)first,
                        (long long)n);
    for (int64_t i = 0; i < c->sel->n_head * n * n_group; i++)
        if (!(s->sum[i] >= 0 && s->sum[i] < INFINITY))
            return sti_fail(err, ST_ERR_ARG, i,
                            "layer %d, head %lld: the sum from group %lld to group %lld is %g",
                            c->layer, (long long)(i / n_group / n),
                            (long long)(first + i / n_group % n), (long long)(i % n_group),
                            (double)s->sum[i]);
    return ST_OK;
}

static st_status check_value(const sti_begin *begin, const st_chunk *c, st_error *err)
{
    int64_t nbk = sti_ceil_div(begin->n_tok, begin->bk);
    if (c->value == NULL)
        return ST_OK;
    if (c->first_query + c->n_q != begin->n_tok)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "layer %d: sizes of values come with the rows that end the sequence, these "
                        "end at %lld",
                        c->layer, (long long)(c->first_query + c->n_q));
    for (int64_t i = 0; i < c->sel->n_head * nbk; i++)
        if (!(c->value[i] >= 0 && c->value[i] < INFINITY))
            return sti_fail(err, ST_ERR_ARG, i,
                            "layer %d, head %lld, key block %lld: the value's size is %g", c->layer,
                            (long long)(i / nbk), (long long)(i % nbk), (double)c->value[i]);
    return ST_OK;
}

st_status sti_chunk_check(const st_chunk *c, const sti_begin *begin, const st_group *group,
                          st_error *err)
{
    STI_TRY(check_place(begin, c, err));
    STI_TRY(check_selection(begin, c, err));
    STI_TRY(check_certificate(c, err));
    STI_TRY(check_groups(c, begin, group, err));
    STI_TRY(check_value(begin, c, err));
    return check_lse(c, err);
}
