/* SPDX-License-Identifier: MIT
 *
 * job.c — per-thread scratch of the loops over tiles, and the key segments a tile runs over.
 */
#include "attend/job.h"
#include "base/attn_rows.h"
#include "base/util.h"

bool sti_job_begin(sti_job *j, const st_attn *a, const sti_pack *pack, const st_pool *pool)
{
    j->a = a;
    j->n_thread = st_pool_size(pool);
    j->thread = sti_calloc((size_t)j->n_thread * sizeof *j->thread);
    if (j->thread == NULL)
        return false;
    for (int t = 0; t < j->n_thread; t++)
        if ((j->thread[t].work = sti_tile_work_new(a, pack)) == NULL)
            return false;
    return true;
}

bool sti_job_end(sti_job *j, bool ok)
{
    if (j->thread == NULL)
        return false;
    for (int t = 0; t < j->n_thread; t++) {
        ok = ok && !j->thread[t].failed;
        sti_tile_work_free(j->thread[t].work);
        sti_free(j->thread[t].seg);
    }
    sti_free(j->thread);
    return ok;
}

/* Appends keys [key, end) in pieces of at most STI_CHUNK_KEYS. */
static int64_t add_pieces(sti_segment *seg, int64_t n, int64_t key, int64_t end, int64_t item)
{
    for (; key < end; key += STI_CHUNK_KEYS)
        seg[n++] = (sti_segment){key, sti_min(key + STI_CHUNK_KEYS, end), item};
    return n;
}

int64_t sti_block_segments(sti_job_thread *t, const st_attn *a, const int32_t *block, int64_t n,
                           int bk)
{
    int64_t n_seg = 0, pieces = sti_ceil_div(bk, STI_CHUNK_KEYS);
    if (!sti_grow((void **)&t->seg, &t->cap_seg, n * pieces, sizeof *t->seg))
        return -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t key = (int64_t)block[i] * bk;
        n_seg = add_pieces(t->seg, n_seg, key, sti_min(key + bk, a->n_k), i);
    }
    return n_seg;
}

int64_t sti_visible_segments(sti_job_thread *t, const st_attn *a, const sti_tile *tile,
                             int64_t align)
{
    int64_t lo = INT64_MAX, hi = 0, n_seg = 0, pieces = sti_ceil_div(align, STI_CHUNK_KEYS);
    for (int r = 0; r < tile->n; r++) {
        int64_t row_lo = sti_row_lo(a, tile->row[r]), row_hi = sti_row_hi(a, tile->row[r]);
        if (row_lo >= row_hi)
            continue;
        lo = sti_min(lo, row_lo);
        hi = sti_max(hi, row_hi);
    }
    if (hi == 0)
        return 0;
    lo = lo / align * align;
    if (!sti_grow((void **)&t->seg, &t->cap_seg, sti_ceil_div(hi - lo, align) * pieces,
                  sizeof *t->seg))
        return -1;
    for (; lo < hi; lo += align)
        n_seg = add_pieces(t->seg, n_seg, lo, sti_min(lo + align, hi), lo / align);
    return n_seg;
}

st_status sti_check_selection(const st_attn *a, const st_selection *sel, st_error *err)
{
    int64_t first = sel->bq > 0 ? a->first_query / sel->bq : -1;
    if (sel->bq < 1 || sel->bk < 1 || sel->n_head != a->n_head || sel->first_blk != first ||
        sel->nbq != (a->first_query + a->n_q - 1) / sel->bq - first + 1)
        return sti_fail(err, ST_ERR_ARG, -1, "the selection was made for other shapes");
    for (int64_t t = 0; t < sel->n_head * sel->nbq; t++)
        for (int64_t i = sel->indptr[t]; i < sel->indptr[t + 1]; i++)
            if (sel->indices[i] < 0 || (int64_t)sel->indices[i] * sel->bk >= a->n_k ||
                (i > sel->indptr[t] && sel->indices[i] <= sel->indices[i - 1]))
                return sti_fail(
                    err, ST_ERR_ARG, i,
                    "index %lld of the selection is %d: must rise within its row and lie "
                    "below %lld",
                    (long long)i, sel->indices[i], (long long)sti_ceil_div(a->n_k, sel->bk));
    return ST_OK;
}
