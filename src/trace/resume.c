/* SPDX-License-Identifier: MIT
 *
 * resume.c — a writer that goes on where an earlier one had made a mark.
 *
 * Nothing is believed that the journal does not prove: it is read as a salvaged one is, up to the
 * mark, and must come out at the mark's very checksum. What the earlier writer knew (the layers'
 * rows, the pairs so far) is counted anew from the records.
 */
#include "trace/tensors_int.h"
#include "trace/writer.h"

st_status st_trace_writer_mark(st_trace_writer *w, st_trace_mark *mark, st_error *err)
{
    if (w->finished)
        return sti_fail(err, ST_ERR_ARG, -1, "the trace %s is already finished", w->path);
    STI_TRY(sti_journal_sync(&w->out, err));
    *mark = (st_trace_mark){.bytes = w->out.bytes, .check = w->out.check};
    return ST_OK;
}

/* The recorded heads of a layer are those that the options ask for. */
static bool same_heads(const st_trace_writer *w, const sti_journal_layer *l)
{
    int64_t n = 0;
    for (int32_t h = 0; h < l->n_head && sti_in_list(w->layer, w->n_layer, l->layer); h++)
        if (sti_in_list(w->head, w->n_head, h) && (n >= l->n_rec || l->head[n++] != h))
            return false;
    return n == l->n_rec;
}

static st_status check_options(const st_trace_writer *w, const sti_journal *j, st_error *err)
{
    bool same = memcmp(&w->begin, &j->begin, sizeof w->begin) == 0 &&
                memcmp(w->group, j->group, (size_t)w->begin.n_group * sizeof *w->group) == 0;
    for (int64_t i = 0; same && i < j->n_layer; i++)
        same = same_heads(w, &j->layer[i]);
    return same
               ? ST_OK
               : sti_fail(
                     err, ST_ERR_ARG, -1,
                     "%s was begun with other options: tokens, blocks, groups, or what is recorded",
                     w->part);
}

static st_status take_over(st_trace_writer *w, const sti_journal *j, st_error *err)
{
    for (int64_t i = 0; i < j->n_layer; i++) {
        const sti_journal_layer *l = &j->layer[i];
        int64_t old = w->n_state;
        if (!sti_grow((void **)&w->state, &w->n_state, l->layer + (int64_t)1, sizeof *w->state))
            return sti_fail_mem(err, ((size_t)l->layer + 1) * sizeof *w->state);
        memset(w->state + old, 0, (size_t)(w->n_state - old) * sizeof *w->state);
        w->state[l->layer] = (sti_layer_state){.row_end = l->row_end, .n_head = l->n_head};
        for (int64_t c = 0; c < l->n_chunk; c++)
            w->pairs += sti_journal_chunk(j, l->chunk[c]).h.visible_pairs;
        sti_map_forget(&j->map);
    }
    w->has_tokens = j->token != NULL;
    return ST_OK;
}

static st_status read_journal(st_trace_writer *w, const st_trace_mark *mark, st_error *err)
{
    sti_mapping map;
    sti_journal j;
    st_status status;
    STI_TRY(sti_map_start(w->out.fd, w->part, mark->bytes, &map, err));
    STI_TRY(sti_journal_open(map, &j, err));
    if (j.valid_bytes != mark->bytes)
        status = sti_fail(err, ST_ERR_FORMAT, j.valid_bytes, "%s is damaged at byte %lld", w->part,
                          (long long)j.valid_bytes);
    else if (j.check != mark->check)
        status = sti_fail(err, ST_ERR_FORMAT, mark->bytes,
                          "%s is not the recording that the mark was made in", w->part);
    else
        status = check_options(w, &j, err);
    if (status == ST_OK)
        status = take_over(w, &j, err);
    sti_journal_free(&j);
    return status;
}

st_status st_trace_writer_resume(const char *path, int64_t n_tok, int bq, int bk,
                                 const st_trace_options *opt, const st_trace_mark *mark,
                                 st_trace_writer **writer, st_error *err)
{
    st_trace_writer *w;
    st_status status;
    *writer = NULL;
    if (mark->bytes < 1 || mark->check > UINT32_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "the mark is none that a writer made");
    STI_TRY(sti_writer_new(path, n_tok, bq, bk, opt, &w, err));
    status = sti_journal_reopen(&w->out, w->part, err);
    if (status == ST_OK) {
        status = read_journal(w, mark, err);
        if (status == ST_OK)
            status = sti_journal_cut_to(&w->out, mark->bytes, (uint32_t)mark->check, err);
        if (status != ST_OK)
            sti_journal_close(&w->out, false);
    }
    if (status != ST_OK) {
        sti_writer_free_memory(w);
        return status;
    }
    *writer = w;
    return ST_OK;
}
