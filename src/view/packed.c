/* SPDX-License-Identifier: MIT
 *
 * packed.c — rows of a selection, merged into coarser blocks and written as differences.
 */
#include <math.h>
#include <stdlib.h>

#include "view/packed.h"

/* ---- bytes ----------------------------------------------------------------------------------- */

void sti_bytes_put(sti_bytes *b, uint8_t x)
{
    if (b->over || b->no_memory)
        return;
    if (b->n >= b->limit) {
        b->over = true;
        return;
    }
    if (b->n == b->cap && !sti_grow((void **)&b->data, &b->cap, b->n + 1, 1)) {
        b->no_memory = true;
        return;
    }
    b->data[b->n++] = x;
}

void sti_bytes_varint(sti_bytes *b, uint64_t x)
{
    for (; x >= 0x80; x >>= 7)
        sti_bytes_put(b, (uint8_t)(x | 0x80));
    sti_bytes_put(b, (uint8_t)x);
}

/* ---- rows ------------------------------------------------------------------------------------ */

st_status sti_packer_init(sti_packer *p, const st_trace *t, sti_grain grain, st_error *err)
{
    *p = (sti_packer){.trace = t, .grain = grain, .nbk = sti_ceil_div(t->info.nbk, grain.fold)};
    p->mass = sti_calloc((size_t)p->nbk * sizeof *p->mass);
    p->entry = sti_alloc((size_t)p->nbk * sizeof *p->entry);
    if (p->mass != NULL && p->entry != NULL)
        return ST_OK;
    sti_packer_free(p);
    return sti_fail_mem(err, (size_t)p->nbk * sizeof *p->mass);
}

void sti_packer_free(sti_packer *p)
{
    sti_free(p->mass);
    sti_free(p->entry);
    p->mass = NULL;
    p->entry = NULL;
}

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Joins the query blocks of one coarse query block: p->mass and p->entry, rising. Returns the
 * number of entries. */
static int64_t join_rows(sti_packer *p, const sti_layer *l, int64_t h, int64_t coarse)
{
    const st_trace *t = p->trace;
    int64_t begin = coarse * p->grain.fold, end = sti_min(begin + p->grain.fold, t->info.nbq);
    int64_t rows = 0, n = 0;
    p->n_joined = 0;
    for (int64_t blk = begin; blk < end; blk++) {
        sti_entries e = sti_trace_entries(t, l, h, blk);
        int64_t here = sti_min(t->info.n_tok - blk * t->info.bq, t->info.bq);
        if (e.n > 0) {
            rows += here;
            p->n_joined++;
        }
        for (int64_t j = 0; j < e.n; j++) {
            int64_t c = e.indices[j] / p->grain.fold;
            if (!sti_entry_ok(t, &e, j))
                continue;
            if (p->mass[c] == 0)
                p->entry[n++] = (int32_t)c;
            /* an entry of mass 0 is one all the same */
            p->mass[c] += fmax((double)sti_f16_f32(e.mass[j]), 1e-30) * (double)here;
        }
    }
    qsort(p->entry, (size_t)n, sizeof *p->entry, by_number);
    for (int64_t j = 0; j < n; j++)
        p->mass[p->entry[j]] /= (double)rows;
    return n;
}

/* Writes one row and clears it. */
static void put_row(sti_packer *p, int64_t n, sti_bytes *out, sti_packed_sum *sum)
{
    int64_t before = 0, kept = 0;
    for (int64_t j = 0; j < n; j++) {
        int32_t c = p->entry[j];
        double x = (double)sti_f16_f32(sti_f32_f16((float)fmin(p->mass[c], 1)));
        p->mass[c] = x;
        if (x >= (double)p->grain.floor)
            p->entry[kept++] = c;
        else
            p->mass[c] = 0;
    }
    sti_bytes_varint(out, (uint64_t)kept);
    for (int64_t j = 0; j < kept; j++) {
        int32_t c = p->entry[j];
        uint16_t half = sti_f32_f16((float)p->mass[c]);
        sti_bytes_varint(out, (uint64_t)(c - before));
        if (p->grain.mass_bits == 8) {
            sti_bytes_put(out, (uint8_t)lrint(255 * sqrt(p->mass[c])));
        } else {
            sti_bytes_put(out, (uint8_t)half);
            sti_bytes_put(out, (uint8_t)(half >> 8));
        }
        sum->mass += p->mass[c] * (double)p->n_joined;
        before = c;
        p->mass[c] = 0;
    }
    sum->n_entry += kept;
}

void sti_pack_layer(sti_packer *p, const sti_layer *l, sti_bytes *out, sti_packed_sum *sum)
{
    int64_t nbq = sti_ceil_div(p->trace->info.nbq, p->grain.fold);
    for (int64_t h = 0; h < l->pub.n_head; h++)
        for (int64_t blk = 0; blk < nbq && !out->over && !out->no_memory; blk++)
            put_row(p, join_rows(p, l, h, blk), out, sum);
}
