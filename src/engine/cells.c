/* SPDX-License-Identifier: MIT
 *
 * cells.c — saving the KV cache in spans.
 *
 * libllama saves whole sequences only. But a cell may belong to several: a span of the text's cells
 * is also made a second sequence's, that sequence is saved, and the cells are the text's alone
 * again. So every position goes to the disk once, however often the cache is saved, and no copy of
 * the cache is ever made in memory. Of a sequence in a sliding-window cache libllama leaves out
 * what the window has passed; no span is longer than the window, and none crosses a chunk of
 * chunked attention, so nothing is.
 */
#include "base/util.h"
#include "engine/cells.h"

#define SPAN_TOK 512
#define TEXT 0 /* sequences */
#define SPAN 1

struct span_head {
    int64_t from, to;
};

static int64_t greatest_divisor(int64_t a, int64_t b)
{
    return b == 0 ? a : greatest_divisor(b, a % b);
}

static int64_t span_length(int n_swa)
{
    if (n_swa <= 0)
        return SPAN_TOK;
    return n_swa <= SPAN_TOK ? n_swa : greatest_divisor(n_swa, SPAN_TOK);
}

static st_status save_span(struct llama_context *ctx, struct span_head h, uint8_t **buffer,
                           int64_t *cap, sti_records *out, uint32_t kind, st_error *err)
{
    llama_memory_t memory = llama_get_memory(ctx);
    size_t bytes, got = 0;
    bool room;
    llama_memory_seq_cp(memory, TEXT, SPAN, (llama_pos)h.from, (llama_pos)h.to);
    bytes = llama_state_seq_get_size(ctx, SPAN);
    room = sti_grow((void **)buffer, cap, (int64_t)bytes, 1);
    if (room)
        got = llama_state_seq_get_data(ctx, *buffer, bytes, SPAN);
    llama_memory_seq_rm(memory, SPAN, -1, -1);
    if (!room)
        return sti_fail_mem(err, bytes);
    if (got == 0 || got != bytes)
        return sti_fail(err, ST_ERR_MODEL, h.from,
                        "libllama cannot save the cache of tokens %lld to %lld: %s",
                        (long long)h.from, (long long)h.to, sti_llama_error("no reason given"));
    STI_TRY(sti_records_begin(out, kind, err));
    STI_TRY(sti_records_put(out, &h, sizeof h, err));
    STI_TRY(sti_records_put(out, *buffer, bytes, err));
    return sti_records_end(out, err);
}

st_status sti_cells_save(struct llama_context *ctx, int n_swa, int64_t from, int64_t to,
                         sti_records *out, uint32_t kind, st_error *err)
{
    int64_t length = span_length(n_swa), cap = 0;
    uint8_t *buffer = NULL;
    st_status status = ST_OK;
    while (status == ST_OK && from < to) {
        struct span_head h = {from, sti_min(to, (from / length + 1) * length)};
        status = save_span(ctx, h, &buffer, &cap, out, kind, err);
        from = h.to;
    }
    sti_free(buffer);
    return status;
}

st_status sti_cells_load(struct llama_context *ctx, const sti_record *record, int64_t *n,
                         st_error *err)
{
    llama_memory_t memory = llama_get_memory(ctx);
    struct span_head h;
    size_t bytes = (size_t)record->bytes - sizeof h;
    if (record->bytes < (int64_t)sizeof h)
        return sti_fail(err, ST_ERR_FORMAT, 0, "a piece of the cache that is cut short");
    memcpy(&h, record->data, sizeof h);
    if (h.from != *n || h.to <= h.from || h.to > (int64_t)llama_n_ctx(ctx))
        return sti_fail(err, ST_ERR_FORMAT, 0,
                        "the cache of tokens %lld to %lld where token %lld is next",
                        (long long)h.from, (long long)h.to, (long long)*n);
    if (llama_state_seq_set_data(ctx, record->data + sizeof h, bytes, SPAN) != bytes)
        return sti_fail(err, ST_ERR_FORMAT, sizeof h,
                        "libllama does not take the cache of tokens %lld to %lld: %s",
                        (long long)h.from, (long long)h.to, sti_llama_error("no reason given"));
    if (llama_memory_seq_pos_min(memory, SPAN) != h.from ||
        llama_memory_seq_pos_max(memory, SPAN) != h.to - 1)
        return sti_fail(err, ST_ERR_FORMAT, sizeof h,
                        "the cache of tokens %lld to %lld holds others", (long long)h.from,
                        (long long)h.to);
    llama_memory_seq_cp(memory, SPAN, TEXT, -1, -1);
    llama_memory_seq_rm(memory, SPAN, -1, -1);
    *n = h.to;
    return ST_OK;
}
