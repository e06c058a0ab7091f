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

/* Most keys of a segment. */
static int64_t piece_keys(const sti_job_thread *t)
{
    return t->work->pack != NULL ? STK_GROUP : STI_CHUNK_KEYS;
}

/* How many pieces n keys in a row can be cut into. */
static int64_t most_pieces(const sti_job_thread *t, int64_t n)
{
    return sti_ceil_div(n, piece_keys(t)) + 1;
}

/* Appends keys [key, end), cut at multiples of piece_keys. */
static int64_t add_pieces(const sti_job_thread *t, int64_t n, int64_t key, int64_t end,
                          int64_t item)
{
    int64_t piece = piece_keys(t);
    for (; key < end; n++) {
        t->seg[n] = (sti_segment){key, sti_min(key / piece * piece + piece, end), item, 0, 0};
        key = t->seg[n].end;
    }
    return n;
}

int64_t sti_block_segments(sti_job_thread *t, const st_attn *a, const int32_t *block, int64_t n,
                           int bk)
{
    int64_t n_seg = 0;
    if (!sti_grow((void **)&t->seg, &t->cap_seg, n * most_pieces(t, bk), sizeof *t->seg))
        return -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t key = (int64_t)block[i] * bk;
        n_seg = add_pieces(t, n_seg, key, sti_min(key + bk, a->n_k), i);
    }
    return n_seg;
}

int64_t sti_shared_segments(sti_job_thread *t, const st_attn *a, const int32_t *block,
                            const int64_t *begin, const int *lane, int n_query_blk, int bk)
{
    int64_t i[STI_TILE_ROWS], key[STI_TILE_ROWS], n = 0; /* where each query block is */
    int64_t n_item = begin[n_query_blk] - begin[0];
    if (!sti_grow((void **)&t->seg, &t->cap_seg, n_item * most_pieces(t, bk), sizeof *t->seg))
        return -1;
    for (int b = 0; b < n_query_blk; b++) {
        i[b] = begin[b];
        key[b] = i[b] < begin[b + 1] ? (int64_t)block[i[b]] * bk : INT64_MAX;
    }
    for (;;) {
        int64_t next = INT64_MAX, group_end;
        for (int b = 0; b < n_query_blk; b++)
            next = sti_min(next, key[b]);
        if (next == INT64_MAX)
            return n;
        group_end = next / STK_GROUP * STK_GROUP + STK_GROUP;
        for (int b = 0; b < n_query_blk; b++)
            while (key[b] < group_end) {
                int64_t block_end = sti_min(((int64_t)block[i[b]] + 1) * bk, a->n_k);
                int64_t end = sti_min(block_end, group_end);
                t->seg[n++] = (sti_segment){key[b], end, i[b] - begin[0], lane[b], lane[b + 1]};
                key[b] = end;
                if (end == block_end && ++i[b] < begin[b + 1])
                    key[b] = (int64_t)block[i[b]] * bk;
                else if (end == block_end)
                    key[b] = INT64_MAX;
            }
    }
}

int64_t sti_visible_segments(sti_job_thread *t, const st_attn *a, const sti_tile *tile,
                             int64_t align)
{
    int64_t lo = INT64_MAX, hi = 0, n_seg = 0;
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
    if (!sti_grow((void **)&t->seg, &t->cap_seg,
                  sti_ceil_div(hi - lo, align) * most_pieces(t, align), sizeof *t->seg))
        return -1;
    for (; lo < hi; lo += align)
        n_seg = add_pieces(t, n_seg, lo, sti_min(lo + align, hi), lo / align);
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
