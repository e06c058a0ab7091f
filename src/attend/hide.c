/* SPDX-License-Identifier: MIT
 *
 * hide.c — edits are few and tiles see few of them: a list for each tile, and a row of bits for
 * each key.
 */
#include <math.h>

#include "attend/hide.h"
#include "base/util.h"

static uint32_t named_rows(const st_edit *e, const st_attn *a, const int *head, const int64_t *row,
                           int n)
{
    uint32_t rows = 0;
    for (int r = 0; r < n; r++) {
        int64_t at = a->first_query + row[r];
        if ((e->head < 0 || e->head == head[r]) && at >= e->q_begin && at < e->q_end)
            rows |= (uint32_t)1 << r;
    }
    return rows;
}

bool sti_hide_begin(sti_hide *h, const st_attn *a, const int *head, const int64_t *row, int n)
{
    h->n = 0;
    h->kept = 0;
    for (int64_t i = 0; i < a->n_edit; i++) {
        const st_edit *e = &a->edit[i];
        uint32_t rows = named_rows(e, a, head, row, n);
        if (rows == 0)
            continue;
        if (!sti_grow((void **)&h->edit, &h->cap, h->n + 1, sizeof *h->edit))
            return false;
        h->edit[h->n++] = (sti_tile_edit){rows, e->kind == ST_EDIT_KEEP, e->key_begin, e->key_end};
        if (e->kind == ST_EDIT_KEEP)
            h->kept |= rows;
    }
    return true;
}

static void hide(const sti_hide *h, float *s, int R, int64_t key, int64_t n)
{
    uint32_t named[128] = {0}, denied[128] = {0};
    for (int64_t i = 0; i < h->n; i++) {
        const sti_tile_edit *e = &h->edit[i];
        uint32_t *bits = e->keep ? named : denied;
        int64_t end = sti_min(e->key_end - key, n);
        for (int64_t j = sti_max(e->key_begin - key, 0); j < end; j++)
            bits[j] |= e->rows;
    }
    for (int64_t j = 0; j < n; j++) {
        uint32_t hidden = denied[j] | (h->kept & ~named[j]);
        for (; hidden != 0; hidden &= hidden - 1)
            s[j * R + __builtin_ctz(hidden)] = -INFINITY;
    }
}

void sti_hide_scores(const sti_hide *h, float *s, int R, int64_t key, int64_t n)
{
    if (h->n > 0)
        hide(h, s, R, key, n);
}

void sti_hide_free(sti_hide *h)
{
    sti_free(h->edit);
}
