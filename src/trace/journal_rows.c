/* SPDX-License-Identifier: MIT
 *
 * journal_rows.c — the rows of one head, in order, out of chunks that may cut a query block in two.
 *
 * Nearly every row is one piece of one chunk and is handed out where it lies in the map. Where
 * micro-batches meet inside a query block (or single tokens are decoded), the pieces are joined:
 * the union of their key blocks, each mass weighted by the rows that the piece stands for.
 */
#include "trace/journal.h"

struct piece {
    int64_t blk, n_row; /* query block, and how many of its rows the chunk ran */
    int64_t n;
    const int32_t *indices;
    const uint16_t *mass;
};

void sti_rows_init(sti_rows *r, const sti_journal *j, int64_t nbk)
{
    *r = (sti_rows){.journal = j, .nbk = nbk};
}

void sti_rows_free(sti_rows *r)
{
    sti_free(r->index);
    sti_free(r->sum);
    sti_free(r->mass);
}

void sti_rows_start(sti_rows *r, const sti_journal_layer *layer, int64_t head)
{
    r->layer = layer;
    r->head = head;
    r->next_chunk = 0;
    r->row = 0;
    r->chunk.h.nbq = 0;
}

/* The piece at hand, without moving on. False at the end. */
static bool peek(sti_rows *r, struct piece *p)
{
    const sti_chunk *c = &r->chunk;
    int64_t row, bq = r->journal->begin.bq;
    while (r->row >= c->h.nbq) {
        if (r->next_chunk == r->layer->n_chunk)
            return false;
        r->chunk = sti_journal_chunk(r->journal, r->layer->chunk[r->next_chunk++]);
        r->row = 0;
    }
    row = r->head * c->h.nbq + r->row;
    p->blk = c->h.first_blk + r->row;
    p->n_row = sti_min(c->h.first_query + c->h.n_q, (p->blk + 1) * bq) -
               sti_max(c->h.first_query, p->blk * bq);
    p->n = c->indptr[row + 1] - c->indptr[row];
    p->indices = c->indices + c->indptr[row];
    p->mass = c->mass + c->indptr[row];
    while (p->n > 0 && p->indices[p->n - 1] >= r->nbk)
        p->n--;
    return true;
}

static bool reserve(sti_rows *r, int64_t n)
{
    if (n <= r->cap)
        return true;
    sti_rows_free(r);
    r->cap = n + n / 2;
    r->index = sti_alloc(2 * (size_t)r->cap * sizeof *r->index);
    r->sum = sti_alloc(2 * (size_t)r->cap * sizeof *r->sum);
    r->mass = sti_alloc((size_t)r->cap * sizeof *r->mass);
    if (r->index != NULL && r->sum != NULL && r->mass != NULL)
        return true;
    r->cap = 0;
    return false;
}

/* Merges the n entries of list `from` with the piece into the other list; gives the union's size.
 */
static int64_t join(sti_rows *r, int from, int64_t n, const struct piece *p)
{
    const int32_t *ia = r->index + from * r->cap;
    const float *sa = r->sum + from * r->cap, weight = (float)p->n_row;
    int32_t *io = r->index + (1 - from) * r->cap;
    float *so = r->sum + (1 - from) * r->cap;
    int64_t a = 0, b = 0, m = 0;
    for (; a < n || b < p->n; m++) {
        bool take_a = a < n && (b == p->n || ia[a] <= p->indices[b]);
        bool take_b = b < p->n && (a == n || p->indices[b] <= ia[a]);
        io[m] = take_a ? ia[a] : p->indices[b];
        so[m] = (take_a ? sa[a] : 0) + (take_b ? weight * sti_f16_f32(p->mass[b]) : 0);
        a += take_a;
        b += take_b;
    }
    return m;
}

/* Counts the entries that the pieces of `blk` from here on have together, and looks at no more. */
static int64_t count_pieces(const sti_rows *r, int64_t blk)
{
    sti_rows ahead = *r;
    struct piece p;
    int64_t n = 0;
    for (; peek(&ahead, &p) && p.blk == blk; ahead.row++)
        n += p.n;
    return sti_min(n, r->nbk);
}

/* Joins all pieces of the row at hand. */
static st_status join_row(sti_rows *r, sti_row *row, st_error *err)
{
    struct piece p;
    int64_t n = 0, n_row = 0, kept = 0;
    double floor = r->journal->begin.mass_floor;
    int side = 0;
    if (!reserve(r, count_pieces(r, row->blk) + 1))
        return sti_fail_mem(err, (size_t)r->nbk * 16);
    for (; peek(r, &p) && p.blk == row->blk; r->row++) {
        n = join(r, side, n, &p);
        n_row += p.n_row;
        side = 1 - side;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t mass = sti_f32_f16(r->sum[side * r->cap + i] / (float)n_row);
        if (sti_f16_f32(mass) < floor)
            continue;
        r->index[side * r->cap + kept] = r->index[side * r->cap + i];
        r->mass[kept++] = mass;
    }
    row->n = kept;
    row->indices = r->index + side * r->cap;
    row->mass = r->mass;
    return ST_OK;
}

st_status sti_rows_next(sti_rows *r, sti_row *row, st_error *err)
{
    struct piece p, q;
    sti_rows ahead;
    *row = (sti_row){.blk = -1};
    if (!peek(r, &p))
        return ST_OK;
    *row = (sti_row){p.blk, p.n, p.indices, p.mass};
    ahead = *r;
    ahead.row++;
    if (r->journal->begin.mass_floor > 0 || (peek(&ahead, &q) && q.blk == p.blk))
        return join_row(r, row, err);
    *r = ahead;
    return ST_OK;
}
