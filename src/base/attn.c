/* SPDX-License-Identifier: MIT
 *
 * attn.c — checks an attention problem at the door, so that the rooms behind can trust it.
 */
#include <math.h>

#include "base/attn_rows.h"
#include "base/util.h"

#define D_MAX 2048
#define TOK_MAX INT32_MAX

st_rows st_rows_contiguous(const void *data, st_dtype dtype, int64_t n_tok, int64_t d)
{
    int64_t row = (int64_t)sti_dtype_bytes(dtype, d);
    return (st_rows){
        .data = data, .dtype = dtype, .stride_head_bytes = row * n_tok, .stride_tok_bytes = row};
}

static st_status check_rows(const st_rows *x, const char *name, int d, st_error *err)
{
    if ((unsigned)x->dtype > ST_DTYPE_OTHER)
        return sti_fail(err, ST_ERR_ARG, -1, "%s.dtype is %d, not an st_dtype", name,
                        (int)x->dtype);
    if (x->dtype == ST_DTYPE_OTHER && x->to_f32 == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "%s.dtype is ST_DTYPE_OTHER but to_f32 is NULL", name);
    if (x->dtype == ST_DTYPE_Q8_0 && d % 32 != 0)
        return sti_fail(err, ST_ERR_ARG, -1, "%s is Q8_0, so d must be a multiple of 32, not %d",
                        name, d);
    if (x->dtype == ST_DTYPE_F32 && (x->stride_tok_bytes % 4 != 0 || x->stride_head_bytes % 4 != 0))
        return sti_fail(err, ST_ERR_ARG, -1, "%s is F32, so its strides must be multiples of 4",
                        name);
    return ST_OK;
}

static st_status check_shape(const st_attn *a, st_error *err)
{
    if (a->n_q < 1 || a->n_q > TOK_MAX || a->n_k < 1 || a->n_k > TOK_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "n_q is %lld and n_k %lld, must be 1..%d",
                        (long long)a->n_q, (long long)a->n_k, TOK_MAX);
    if (a->n_kv_head < 1 || a->n_head < 1 || a->n_head % a->n_kv_head != 0)
        return sti_fail(err, ST_ERR_ARG, -1, "n_head is %d, must be a multiple of n_kv_head, %d",
                        a->n_head, a->n_kv_head);
    if (a->d_k < 1 || a->d_k > D_MAX || a->d_v < 1 || a->d_v > D_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "d_k is %d and d_v %d, must be 1..%d", a->d_k, a->d_v,
                        D_MAX);
    if (a->first_query < 0 || a->first_query > TOK_MAX - a->n_q)
        return sti_fail(err, ST_ERR_ARG, -1, "first_query is %lld, must be 0..%lld",
                        (long long)a->first_query, (long long)(TOK_MAX - a->n_q));
    if (!isfinite(a->scale) || !(a->softcap >= 0.0f) || !isfinite(a->softcap))
        return sti_fail(err, ST_ERR_ARG, -1,
                        "scale is %g and softcap %g, must be finite, softcap >= 0",
                        (double)a->scale, (double)a->softcap);
    return ST_OK;
}

static st_status check_visible(const st_attn *a, st_error *err)
{
    if ((a->lo == NULL) != (a->hi == NULL))
        return sti_fail(err, ST_ERR_ARG, -1, "lo and hi must both be given or both be NULL");
    if (a->lo == NULL && a->bias != NULL)
        return ST_OK;
    if (a->lo == NULL) {
        if (a->first_query + a->n_q > a->n_k)
            return sti_fail(err, ST_ERR_ARG, -1,
                            "causal rows %lld..%lld need as many keys, but n_k is %lld",
                            (long long)a->first_query, (long long)(a->first_query + a->n_q - 1),
                            (long long)a->n_k);
        return ST_OK;
    }
    for (int64_t i = 0; i < a->n_q; i++)
        if (a->lo[i] < 0 || a->lo[i] > a->hi[i] || a->hi[i] > a->n_k)
            return sti_fail(err, ST_ERR_ARG, i, "row %lld sees keys %d..%d, must lie in 0..%lld",
                            (long long)i, a->lo[i], a->hi[i], (long long)a->n_k);
    return ST_OK;
}

st_status st_attn_check(const st_attn *a, st_error *err)
{
    STI_TRY(check_shape(a, err));
    if (a->q.data == NULL || a->k.data == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "q.data and k.data must be given");
    STI_TRY(check_rows(&a->q, "q", a->d_k, err));
    STI_TRY(check_rows(&a->k, "k", a->d_k, err));
    if (a->v.data != NULL)
        STI_TRY(check_rows(&a->v, "v", a->d_v, err));
    return check_visible(a, err);
}

/* ---- groups of tokens ------------------------------------------------------------------------ */

st_status st_groups_check(const st_group *group, int64_t n, int64_t n_tok, st_error *err)
{
    if (n < 0 || (n > 0 && group == NULL))
        return sti_fail(err, ST_ERR_ARG, -1, "%lld groups, or they are NULL", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        if (group[i].begin < 0 || group[i].begin >= group[i].end || group[i].end > n_tok)
            return sti_fail(err, ST_ERR_ARG, i,
                            "group %lld is [%lld, %lld): it must hold at least one of the %lld "
                            "tokens and no other",
                            (long long)i, (long long)group[i].begin, (long long)group[i].end,
                            (long long)n_tok);
        if (i > 0 && group[i].begin < group[i - 1].end)
            return sti_fail(err, ST_ERR_ARG, i,
                            "group %lld begins at %lld, inside or before the group before it, "
                            "which ends at %lld",
                            (long long)i, (long long)group[i].begin, (long long)group[i - 1].end);
    }
    return ST_OK;
}

/* How many of the groups end at or before `at`. */
static int64_t groups_before(const st_group *group, int64_t n, int64_t at)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (group[mid].end <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int64_t st_groups_touched(const st_group *group, int64_t n, int64_t begin, int64_t end,
                          int64_t *first)
{
    int64_t i = groups_before(group, n, begin), last = groups_before(group, n, end);
    *first = i;
    if (last < n && group[last].begin < end)
        last++;
    return sti_max(last - i, 0);
}

st_status sti_group_sums_check(const st_attn *a, const st_group_sums *out, st_error *err)
{
    int64_t first, n;
    if (out == NULL)
        return ST_OK;
    STI_TRY(st_groups_check(out->group, out->n_group, INT32_MAX, err));
    n = st_groups_touched(out->group, out->n_group, a->first_query, a->first_query + a->n_q,
                          &first);
    if (out->n == n && (n == 0 || (out->first == first && out->sum != NULL)))
        return ST_OK;
    return sti_fail(err, ST_ERR_ARG, -1,
                    "the rows touch %lld groups from %lld on, but there is room for %lld from %lld "
                    "on",
                    (long long)n, (long long)first, (long long)out->n, (long long)out->first);
}
