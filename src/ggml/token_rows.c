/* SPDX-License-Identifier: MIT
 *
 * token_rows.c — exact attention of a few rows, token by token. A dozen rows at a time: every key
 * that they see is listed before the heaviest are kept, which for many rows would be a great deal.
 */
#include "base/attn_rows.h"
#include "base/util.h"
#include "ggml/token_rows.h"
#include "ggml/value_size.h"

#define ROWS_AT_ONCE 16

/* Rows i .. i + n - 1 of a as a problem of their own. */
static st_attn some_rows(const st_attn *a, int64_t i, int64_t n)
{
    st_attn part = *a;
    part.q.data = sti_row_at(&a->q, 0, i);
    part.first_query += i;
    part.n_q = n;
    part.lo = a->lo != NULL ? a->lo + i : NULL;
    part.hi = a->hi != NULL ? a->hi + i : NULL;
    if (a->bias != NULL)
        part.bias = (const uint16_t *)((const char *)a->bias + i * a->stride_bias_bytes);
    return part;
}

static st_status give(const sti_settings *s, int layer, const st_attn *a, float *room,
                      st_pool *pool, st_error *err)
{
    st_attend_out out = {
        .out = room, .stride_tok = (int64_t)a->n_head * a->d_v, .stride_head = a->d_v};
    st_selection *sel;
    float *value;
    st_chunk c = {
        .layer = layer, .kind = ST_CHUNK_EXACT, .first_query = a->first_query, .n_q = a->n_q};
    st_status status;
    STI_TRY(st_attend_exact_heaviest(a, 1, 1, ST_GGML_ROW_KEYS, pool, &out, &sel, err));
    c.sel = sel;
    c.mass = sel->mass;
    st_selection_pairs(sel, a, &c.kept_pairs, &c.visible_pairs);
    c.kept_pairs = c.visible_pairs;
    status = sti_value_sizes(s, layer, a, 1, pool, &value, err);
    c.value = value;
    if (status == ST_OK)
        status = s->sink.chunk(s->sink.ctx, &c, err);
    sti_free(value);
    st_selection_free(sel);
    return status;
}

st_status sti_token_rows_give(const sti_settings *s, int layer, const st_attn *a, st_pool *pool,
                              st_error *err)
{
    int64_t first, end = a->first_query + a->n_q;
    int64_t n = st_groups_touched(s->p.row, s->p.n_row, a->first_query, end, &first);
    size_t bytes = (size_t)ROWS_AT_ONCE * (size_t)a->n_head * (size_t)a->d_v * sizeof(float);
    float *room = n > 0 ? sti_alloc(bytes) : NULL;
    st_status status = n > 0 && room == NULL ? sti_fail_mem(err, bytes) : ST_OK;
    for (int64_t g = first; g < first + n; g++) {
        int64_t to = sti_min(s->p.row[g].end, end);
        int64_t at = sti_max(s->p.row[g].begin, a->first_query);
        for (; at < to && status == ST_OK; at += ROWS_AT_ONCE) {
            st_attn part = some_rows(a, at - a->first_query, sti_min(ROWS_AT_ONCE, to - at));
            status = give(s, layer, &part, room, pool, err);
        }
    }
    sti_free(room);
    return status;
}
