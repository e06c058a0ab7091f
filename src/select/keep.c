/* SPDX-License-Identifier: MIT
 *
 * keep.c — blocks that keep edits name join a selection.
 */
#include <stdlib.h>

#include "base/util.h"
#include "select/frame.h"
#include "sparsetrace/select.h"

static int by_number(const void *x, const void *y)
{
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    return (a > b) - (a < b);
}

/* A list of blocks that grows. */
struct blocks {
    int32_t *item;
    int64_t n, cap;
};

static bool add(struct blocks *b, int64_t begin, int64_t end)
{
    if (begin >= end)
        return true;
    if (!sti_grow((void **)&b->item, &b->cap, b->n + end - begin, sizeof *b->item))
        return false;
    for (int64_t c = begin; c < end; c++)
        b->item[b->n++] = (int32_t)c;
    return true;
}

/* Sorts the blocks from `first` on and drops those that are there twice. */
static void tidy(struct blocks *b, int64_t first)
{
    int64_t n = first;
    if (b->n == first)
        return;
    qsort(b->item + first, (size_t)(b->n - first), sizeof *b->item, by_number);
    for (int64_t i = first; i < b->n; i++)
        if (i == first || b->item[i] != b->item[n - 1])
            b->item[n++] = b->item[i];
    b->n = n;
}

/* Blocks of one (head, query block): its own and what edits name of those it sees. */
static bool add_row(struct blocks *b, const st_selection *sel, const st_attn *a, const sti_frame *f,
                    int h)
{
    int64_t first = b->n, own = h * sel->nbq + (f->number - sel->first_blk);
    int64_t begin = a->first_query + f->row0, end = begin + f->n_row;
    for (int64_t i = sel->indptr[own]; i < sel->indptr[own + 1]; i++)
        if (!add(b, sel->indices[i], sel->indices[i] + 1))
            return false;
    for (int64_t i = 0; i < a->n_edit; i++) {
        const st_edit *e = &a->edit[i];
        if (e->kind != ST_EDIT_KEEP || (e->head >= 0 && e->head != h) || e->q_begin >= end ||
            e->q_end <= begin)
            continue;
        if (!add(b, sti_max(e->key_begin / sel->bk, f->blk_lo),
                 sti_min(sti_ceil_div(e->key_end, sel->bk), f->blk_hi)))
            return false;
    }
    tidy(b, first);
    return true;
}

static bool has_keep(const st_attn *a)
{
    for (int64_t i = 0; i < a->n_edit; i++)
        if (a->edit[i].kind == ST_EDIT_KEEP)
            return true;
    return false;
}

st_status st_selection_keep(st_selection *sel, const st_attn *a, st_error *err)
{
    st_select_params p = st_select_params_default();
    int64_t n_row = sel->n_head * sel->nbq, *indptr;
    struct blocks b = {NULL, 0, 0};
    bool ok;
    if (!has_keep(a))
        return ST_OK;
    p.bq = sel->bq;
    p.bk = sel->bk;
    indptr = sti_alloc((size_t)(n_row + 1) * sizeof *indptr);
    ok = indptr != NULL;
    for (int64_t row = 0; ok && row < n_row; row++) {
        sti_frame f = sti_frame_make(a, &p, sel->first_blk + row % sel->nbq);
        indptr[row] = b.n;
        ok = add_row(&b, sel, a, &f, (int)(row / sel->nbq));
    }
    if (!ok) {
        sti_free(indptr);
        sti_free(b.item);
        return sti_fail_mem(err, (size_t)b.n * sizeof *b.item);
    }
    indptr[n_row] = b.n;
    sti_free(sel->indptr);
    sti_free(sel->indices);
    sti_free(sel->mass);
    sel->indptr = indptr;
    sel->indices = b.item;
    sel->mass = NULL;
    return ST_OK;
}
