/* SPDX-License-Identifier: MIT
 *
 * heaviest.c — exact attention that records the heaviest key blocks of each head and query block:
 * what a layer that is not pruned (short window, odd mask) leaves in the trace.
 */
#include <stdlib.h>

#include "base/util.h"
#include "sparsetrace/attend.h"

struct item {
    float mass;
    int32_t block;
};

static int by_mass(const void *x, const void *y)
{
    const struct item *a = x, *b = y;
    return a->mass != b->mass ? (a->mass < b->mass) - (a->mass > b->mass) : a->block - b->block;
}

static int by_block(const void *x, const void *y)
{
    return ((const struct item *)x)->block - ((const struct item *)y)->block;
}

/* The at most k_max heaviest of item[n], ascending blocks, with mass above 0. */
static int64_t keep_heaviest(struct item *item, int64_t n, int64_t k_max)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (item[i].mass > 0.0f)
            item[m++] = item[i];
    if (m > k_max) {
        qsort(item, (size_t)m, sizeof *item, by_mass);
        m = k_max;
        qsort(item, (size_t)m, sizeof *item, by_block);
    }
    return m;
}

/* Shortens every row of sel to its heaviest blocks. */
static bool shorten(st_selection *sel, int64_t k_max)
{
    int64_t n_task = sel->n_head * sel->nbq, n = 0, begin = 0;
    struct item *item = sti_alloc((size_t)sel->nbk * sizeof *item);
    if (item == NULL)
        return false;
    for (int64_t t = 0; t < n_task; t++) {
        int64_t end = sel->indptr[t + 1], kept;
        for (int64_t i = begin; i < end; i++)
            item[i - begin] = (struct item){sel->mass[i], sel->indices[i]};
        kept = keep_heaviest(item, end - begin, k_max);
        for (int64_t i = 0; i < kept; i++) {
            sel->mass[n + i] = item[i].mass;
            sel->indices[n + i] = item[i].block;
        }
        n += kept;
        sel->indptr[t + 1] = n;
        begin = end;
    }
    sti_free(item);
    return true;
}

st_status st_attend_exact_heaviest(const st_attn *a, int bq, int bk, int64_t k_max, st_pool *pool,
                                   const st_attend_out *out, st_selection **sel, st_error *err)
{
    st_attend_out with_mass = *out;
    st_selection *all = NULL;
    st_status status;
    size_t bytes;
    *sel = NULL;
    if (k_max < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "k_max is %lld, must be at least 1", (long long)k_max);
    if (out->mass != NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "out->mass must be NULL: the selection carries it");
    STI_TRY(st_select_all(a, bq, bk, &all, err));
    bytes = (size_t)all->indptr[all->n_head * all->nbq] * sizeof *all->mass;
    with_mass.mass = all->mass = sti_alloc(bytes);
    status =
        all->mass == NULL ? sti_fail_mem(err, bytes) : st_attend(a, all, pool, &with_mass, err);
    if (status == ST_OK && !shorten(all, k_max))
        status = sti_fail_mem(err, (size_t)all->nbk * sizeof(struct item));
    if (status != ST_OK) {
        st_selection_free(all);
        return status;
    }
    *sel = all;
    return ST_OK;
}
