/* SPDX-License-Identifier: MIT
 *
 * needle.c — retrieval heads and their needle, block by block.
 */
#include "base/util.h"
#include "engine/needle.h"

static bool in_needle(const sti_needle *n, int32_t key_blk)
{
    int64_t begin = (int64_t)key_blk * n->bk, end = begin + n->bk;
    for (int64_t i = 0; i < n->n_span; i++)
        if (n->span[2 * i] < end && n->span[2 * i + 1] > begin)
            return true;
    return false;
}

/* Row r of the selection (head, query block): its mass on the needle and the heaviest block. */
static double needle_mass(const sti_needle *n, const st_chunk *c, int64_t r, int32_t *heaviest)
{
    double sum = 0.0, most = -1.0;
    for (int64_t i = c->sel->indptr[r]; i < c->sel->indptr[r + 1]; i++)
        if (in_needle(n, c->sel->indices[i])) {
            sum += c->mass[i];
            if (c->mass[i] > most) {
                most = c->mass[i];
                *heaviest = c->sel->indices[i];
            }
        }
    return sum;
}

bool sti_needle_note(sti_needle *n, const st_chunk *c)
{
    if (c->first_query < n->first_row)
        return true; /* the rows before the answer come in chunks of their own */
    for (int64_t r = 0; r < c->sel->n_head * c->sel->nbq; r++) {
        int32_t blk = 0;
        if (needle_mass(n, c, r, &blk) <= n->least)
            continue;
        if (!sti_grow((void **)&n->item, &n->cap, n->n + 1, sizeof *n->item))
            return false;
        n->item[n->n++] = (sti_needle_case){.layer = c->layer,
                                            .head = (int)(r / c->sel->nbq),
                                            .query_blk = c->sel->first_blk + r % c->sel->nbq,
                                            .key_blk = blk};
    }
    return true;
}

static bool keeps(const st_selection *sel, int64_t r, int32_t key_blk)
{
    for (int64_t i = sel->indptr[r]; i < sel->indptr[r + 1]; i++)
        if (sel->indices[i] == key_blk)
            return true;
    return false;
}

void sti_needle_count(sti_needle *n, const st_chunk *c)
{
    if (c->kind != ST_CHUNK_SPARSE)
        return;
    for (int64_t i = 0; i < n->n; i++) {
        const sti_needle_case *item = &n->item[i];
        int64_t blk = item->query_blk - c->sel->first_blk;
        if (item->layer != c->layer || blk < 0 || blk >= c->sel->nbq)
            continue;
        n->n_retrieval++;
        n->n_kept += keeps(c->sel, item->head * c->sel->nbq + blk, item->key_blk);
    }
}

void sti_needle_free(sti_needle *n)
{
    sti_free(n->item);
    n->item = NULL;
    n->n = n->cap = 0;
}
