/* SPDX-License-Identifier: MIT
 *
 * writer.c — takes a run's chunks and appends them to the journal; at the end has a trace made of
 * it.
 */
#include <float.h>
#include <unistd.h>

#include "trace/tensors_int.h"
#include "trace/writer.h"

#define GROW(w, field, need)                                                                       \
    do {                                                                                           \
        if (!sti_grow((void **)&(w)->enc_##field, &(w)->cap_##field, need,                         \
                      sizeof *(w)->enc_##field))                                                   \
            return sti_fail_mem(err, (size_t)(need) * sizeof *(w)->enc_##field);                   \
    } while (0)

/* ---- starting -------------------------------------------------------------------------------- */

static st_status check_list(const int32_t *list, int64_t n, int32_t max, const char *what,
                            st_error *err)
{
    if (list != NULL && n < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "the list of recorded %ss is empty", what);
    for (int64_t i = 0; list != NULL && i < n; i++)
        if (list[i] < 0 || list[i] > max || (i > 0 && list[i] <= list[i - 1]))
            return sti_fail(err, ST_ERR_ARG, i,
                            "recorded %s %lld is %d: they must rise and be within 0..%d", what,
                            (long long)i, list[i], max);
    return ST_OK;
}

static st_status check_options(int64_t n_tok, int bq, int bk, const st_trace_options *opt,
                               st_error *err)
{
    if (n_tok < 1 || n_tok > STI_N_TOK_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "n_tok is %lld, must be 1..%d", (long long)n_tok,
                        STI_N_TOK_MAX);
    if (bq < 1 || bq > STI_BLOCK_MAX || bk < 1 || bk > STI_BLOCK_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "bq, bk are %d, %d, must be 1..%d", bq, bk,
                        STI_BLOCK_MAX);
    if (!(opt->mass_floor >= 0 && opt->mass_floor <= 1))
        return sti_fail(err, ST_ERR_ARG, -1, "mass_floor is %g, must be 0..1",
                        (double)opt->mass_floor);
    if ((opt->row_begin != 0 || opt->row_end != 0) &&
        (opt->row_begin < 0 || opt->row_begin >= opt->row_end || opt->row_end > n_tok))
        return sti_fail(err, ST_ERR_ARG, -1, "recorded rows are [%lld, %lld) of %lld tokens",
                        (long long)opt->row_begin, (long long)opt->row_end, (long long)n_tok);
    STI_TRY(st_groups_check(opt->group, opt->n_group, n_tok, err));
    STI_TRY(check_list(opt->layer, opt->n_layer, STI_LAYER_MAX, "layer", err));
    return check_list(opt->head, opt->n_head, STI_HEAD_MAX, "head", err);
}

/* A copy of a list of the options; NULL stays NULL. */
static bool copy_list(int32_t **out, const int32_t *list, int64_t n)
{
    *out = NULL;
    if (list == NULL)
        return true;
    *out = sti_alloc((size_t)n * sizeof **out);
    if (*out == NULL)
        return false;
    memcpy(*out, list, (size_t)n * sizeof **out);
    return true;
}

void sti_writer_free_memory(st_trace_writer *w)
{
    sti_free(w->path);
    sti_free(w->part);
    sti_free(w->layer);
    sti_free(w->head);
    sti_free(w->group);
    sti_free(w->enc_group_indices);
    sti_free(w->enc_value);
    sti_free(w->enc_group_indptr);
    sti_free(w->enc_group_sum);
    sti_free(w->state);
    sti_free(w->enc_head);
    sti_free(w->enc_indices);
    sti_free(w->enc_indptr);
    sti_free(w->enc_mass);
    sti_free(w->enc_lse);
    sti_free(w->enc_recall);
    sti_free(w->enc_err);
    sti_free(w);
}

st_status sti_writer_new(const char *path, int64_t n_tok, int bq, int bk,
                         const st_trace_options *opt, st_trace_writer **writer, st_error *err)
{
    static const st_trace_options defaults;
    st_trace_writer *w;
    if (opt == NULL)
        opt = &defaults;
    STI_TRY(check_options(n_tok, bq, bk, opt, err));
    STI_TRY(sti_check_target(path, err));
    w = sti_calloc(sizeof *w);
    if (w == NULL)
        return sti_fail_mem(err, sizeof *w);
    w->begin = (sti_begin){
        .n_tok = n_tok,
        .bq = bq,
        .bk = bk,
        .row_begin = opt->row_begin / bq * bq,
        .row_end = opt->row_end == 0 ? n_tok : sti_min(n_tok, sti_round_up(opt->row_end, bq)),
        .lse = opt->lse,
        .mass_floor = (double)opt->mass_floor,
        .n_group = opt->n_group};
    w->n_layer = opt->n_layer;
    w->n_head = opt->n_head;
    w->path = sti_path_with(path, "");
    w->part = sti_path_with(path, ".part");
    w->group = sti_alloc((size_t)opt->n_group * sizeof *w->group);
    if (w->path == NULL || w->part == NULL || w->group == NULL ||
        !copy_list(&w->layer, opt->layer, opt->n_layer) ||
        !copy_list(&w->head, opt->head, opt->n_head)) {
        sti_writer_free_memory(w);
        return sti_fail_mem(err, strlen(path));
    }
    if (opt->n_group > 0)
        memcpy(w->group, opt->group, (size_t)opt->n_group * sizeof *w->group);
    *writer = w;
    return ST_OK;
}

static st_status start_journal(st_trace_writer *w, st_error *err)
{
    sti_bytes payload[2] = {{&w->begin, sizeof w->begin},
                            {w->group, (size_t)w->begin.n_group * sizeof *w->group}};
    st_status status;
    STI_TRY(sti_journal_create(&w->out, w->part, err));
    status = sti_journal_append(&w->out, STI_RECORD_BEGIN, payload, 2, err);
    if (status != ST_OK)
        sti_journal_close(&w->out, true);
    return status;
}

st_status st_trace_writer_create(const char *path, int64_t n_tok, int bq, int bk,
                                 const st_trace_options *opt, st_trace_writer **writer,
                                 st_error *err)
{
    st_trace_writer *w;
    st_status status;
    *writer = NULL;
    STI_TRY(sti_writer_new(path, n_tok, bq, bk, opt, &w, err));
    status = start_journal(w, err);
    if (status != ST_OK) {
        sti_writer_free_memory(w);
        return status;
    }
    *writer = w;
    return ST_OK;
}

void st_trace_writer_free(st_trace_writer *w, bool keep_part)
{
    if (w == NULL)
        return;
    sti_journal_close(&w->out, !w->finished && !keep_part);
    sti_writer_free_memory(w);
}

static st_status check_open(const st_trace_writer *w, st_error *err)
{
    if (w->finished)
        return sti_fail(err, ST_ERR_ARG, -1, "the trace %s is already finished", w->path);
    return ST_OK;
}

/* ---- encoding a chunk ------------------------------------------------------------------------ */

/* Whether a sound chunk goes with those before it. */
static st_status check_state(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    const sti_layer_state *l;
    int64_t old = w->n_state;
    if (!sti_grow((void **)&w->state, &w->n_state, c->layer + (int64_t)1, sizeof *w->state))
        return sti_fail_mem(err, ((size_t)c->layer + 1) * sizeof *w->state);
    memset(w->state + old, 0, (size_t)(w->n_state - old) * sizeof *w->state);
    l = &w->state[c->layer];
    if (c->first_query < l->row_end)
        return sti_fail(err, ST_ERR_ARG, c->first_query,
                        "layer %d: rows from %lld on, but rows up to %lld were already given",
                        c->layer, (long long)c->first_query, (long long)l->row_end);
    if (l->n_head != 0 && c->sel->n_head != l->n_head)
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: %d heads, %lld before", c->layer,
                        c->sel->n_head, (long long)l->n_head);
    if (c->visible_pairs > INT64_MAX - w->pairs)
        return sti_fail(err, ST_ERR_ARG, -1, "layer %d: the token pairs overflow", c->layer);
    return ST_OK;
}

bool sti_in_list(const int32_t *list, int64_t n, int64_t x)
{
    if (list == NULL)
        return true;
    for (int64_t i = 0; i < n; i++)
        if (list[i] == x)
            return true;
    return false;
}

/* Which heads, query blocks and rows of the chunk are recorded. */
static st_status encode_head(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    const st_selection *s = c->sel;
    int64_t bq = w->begin.bq, end_blk, end_row;
    GROW(w, head, s->n_head);
    w->h = (sti_chunk_head){.layer = c->layer,
                            .kind = c->kind,
                            .first_query = c->first_query,
                            .n_q = c->n_q,
                            .n_head = s->n_head,
                            .first_blk = s->first_blk,
                            .first_lse = c->first_query,
                            .n_cert = c->n_cert,
                            .kept_pairs = c->kept_pairs,
                            .visible_pairs = c->visible_pairs};
    if (!sti_in_list(w->layer, w->n_layer, c->layer))
        return ST_OK;
    for (int32_t h = 0; h < s->n_head; h++)
        if (sti_in_list(w->head, w->n_head, h))
            w->enc_head[w->h.n_rec++] = h;
    if (w->h.n_rec > 0)
        w->h.n_group = st_groups_touched(w->group, w->begin.n_group, c->first_query,
                                         c->first_query + c->n_q, &w->h.first_group);
    end_blk = sti_min(s->first_blk + s->nbq, sti_ceil_div(w->begin.row_end, bq));
    w->h.first_blk = sti_max(s->first_blk, w->begin.row_begin / bq);
    w->h.nbq = w->h.n_rec == 0 ? 0 : sti_max(0, end_blk - w->h.first_blk);
    if (w->h.nbq == 0) {
        w->h.first_blk = s->first_blk;
        return ST_OK;
    }
    if (w->begin.lse && c->lse != NULL) {
        w->h.first_lse = sti_max(c->first_query, w->h.first_blk * bq);
        end_row = sti_min(c->first_query + c->n_q, end_blk * bq);
        w->h.n_lse = end_row - w->h.first_lse;
    }
    return ST_OK;
}

/* Whether the chunk ran every row of the query block, so that its masses are final. */
static bool whole_block(const st_trace_writer *w, const st_chunk *c, int64_t blk)
{
    int64_t end = sti_min((blk + 1) * w->begin.bq, w->begin.n_tok);
    return c->first_query <= blk * w->begin.bq && c->first_query + c->n_q >= end;
}

static void encode_row(st_trace_writer *w, const st_chunk *c, int64_t head, int64_t blk)
{
    const st_selection *s = c->sel;
    int64_t row = head * s->nbq + blk - s->first_blk;
    bool filter = w->begin.mass_floor > 0 && whole_block(w, c, blk);
    for (int64_t e = s->indptr[row]; e < s->indptr[row + 1]; e++) {
        float m = c->mass[e] > 0 ? c->mass[e] : 0; /* no negative zero either */
        uint16_t half = sti_f32_f16(m < 1 ? m : 1);
        if (filter && (double)sti_f16_f32(half) < w->begin.mass_floor)
            continue;
        w->enc_indices[w->h.nnz] = s->indices[e];
        w->enc_mass[w->h.nnz++] = half;
    }
}

static st_status encode_rows(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    int64_t room = c->sel->indptr[c->sel->n_head * c->sel->nbq], at = 0;
    GROW(w, indptr, w->h.n_rec * w->h.nbq + 1);
    GROW(w, indices, room);
    GROW(w, mass, room);
    GROW(w, lse, w->h.n_rec * w->h.n_lse);
    for (int64_t i = 0; i < w->h.n_rec; i++) {
        for (int64_t b = 0; b < w->h.nbq; b++) {
            w->enc_indptr[at++] = w->h.nnz;
            encode_row(w, c, w->enc_head[i], w->h.first_blk + b);
        }
        if (w->h.n_lse > 0)
            memcpy(w->enc_lse + i * w->h.n_lse,
                   c->lse + w->enc_head[i] * c->n_q + w->h.first_lse - c->first_query,
                   (size_t)w->h.n_lse * sizeof *c->lse);
    }
    w->enc_indptr[at] = w->h.nnz;
    return ST_OK;
}

/* What is above 0 of the groups' rows. */
static st_status encode_groups(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    int64_t at = 0, n_group = w->begin.n_group;
    GROW(w, group_indptr, w->h.n_rec * w->h.n_group + 1);
    for (int64_t i = 0; i < w->h.n_rec; i++)
        for (int64_t g = 0; g < w->h.n_group; g++) {
            const float *sum = c->groups->sum + (w->enc_head[i] * w->h.n_group + g) * n_group;
            w->enc_group_indptr[at++] = w->h.group_nnz;
            GROW(w, group_indices, w->h.group_nnz + n_group);
            GROW(w, group_sum, w->h.group_nnz + n_group);
            for (int64_t j = 0; j < n_group; j++)
                if (sum[j] > 0) {
                    w->enc_group_indices[w->h.group_nnz] = (int32_t)j;
                    w->enc_group_sum[w->h.group_nnz++] = sum[j];
                }
        }
    w->enc_group_indptr[at] = w->h.group_nnz;
    return ST_OK;
}

/* The sizes of values, of the recorded heads. */
static st_status encode_value(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    int64_t n = sti_ceil_div(w->begin.n_tok, w->begin.bk);
    if (c->value == NULL || w->h.n_rec == 0)
        return ST_OK;
    w->h.n_value = n;
    GROW(w, value, w->h.n_rec * n);
    for (int64_t i = 0; i < w->h.n_rec; i++)
        memcpy(w->enc_value + i * n, c->value + w->enc_head[i] * n, (size_t)n * sizeof *c->value);
    return ST_OK;
}

static st_status encode_certificate(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    int64_t n = w->h.n_head * w->h.n_cert;
    GROW(w, recall, n);
    GROW(w, err, n);
    for (int64_t i = 0; i < n; i++) {
        float r = c->cert_recall[i];
        w->enc_recall[i] = r > 0 ? (r < 1 ? r : 1) : 0;
        w->enc_err[i] = c->cert_err[i] < FLT_MAX ? c->cert_err[i] : FLT_MAX;
    }
    return ST_OK;
}

static st_status append_chunk(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    size_t size[STI_CHUNK_ARRAYS];
    sti_bytes piece[1 + STI_CHUNK_ARRAYS] = {
        {&w->h, sizeof w->h},      {w->enc_indptr, 0},    {c->cert_rows, 0},
        {w->enc_group_indptr, 0},  {w->enc_head, 0},      {w->enc_indices, 0},
        {w->enc_group_indices, 0}, {w->enc_group_sum, 0}, {w->enc_lse, 0},
        {w->enc_recall, 0},        {w->enc_err, 0},       {w->enc_value, 0},
        {w->enc_mass, 0},
    };
    sti_chunk_sizes(&w->h, size);
    for (int i = 0; i < STI_CHUNK_ARRAYS; i++)
        piece[1 + i].bytes = size[i];
    return sti_journal_append(&w->out, STI_RECORD_CHUNK, piece, 1 + STI_CHUNK_ARRAYS, err);
}

st_status st_trace_writer_add(st_trace_writer *w, const st_chunk *c, st_error *err)
{
    STI_TRY(check_open(w, err));
    STI_TRY(sti_chunk_check(c, &w->begin, w->group, err));
    STI_TRY(check_state(w, c, err));
    STI_TRY(encode_head(w, c, err));
    STI_TRY(encode_rows(w, c, err));
    STI_TRY(encode_groups(w, c, err));
    STI_TRY(encode_value(w, c, err));
    STI_TRY(encode_certificate(w, c, err));
    STI_TRY(append_chunk(w, c, err));
    w->state[c->layer].row_end = c->first_query + c->n_q;
    w->state[c->layer].n_head = c->sel->n_head;
    w->pairs += c->visible_pairs;
    return ST_OK;
}

/* ---- tokens and documents -------------------------------------------------------------------- */

st_status st_trace_writer_tokens(st_trace_writer *w, const int32_t *token, const int64_t *piece_ptr,
                                 const char *text, st_error *err)
{
    int64_t n = w->begin.n_tok;
    sti_tokens_head h = {.n_tok = n, .text_bytes = -1};
    sti_bytes piece[4] = {{&h, sizeof h}, {piece_ptr, 0}, {token, (size_t)n * 4}, {text, 0}};
    STI_TRY(check_open(w, err));
    if (w->has_tokens)
        return sti_fail(err, ST_ERR_ARG, -1, "the tokens were already given");
    if (token == NULL || (piece_ptr == NULL) != (text == NULL))
        return sti_fail(err, ST_ERR_ARG, -1, "token ids are missing, or one of piece_ptr and text");
    if (piece_ptr != NULL) {
        for (int64_t i = 0; i <= n; i++)
            if (i == 0 ? piece_ptr[0] != 0 : piece_ptr[i] < piece_ptr[i - 1])
                return sti_fail(err, ST_ERR_ARG, i,
                                "piece_ptr[%lld] is %lld: it must begin with 0 and never fall",
                                (long long)i, (long long)piece_ptr[i]);
        h.text_bytes = piece_ptr[n];
        piece[1].bytes = (size_t)(n + 1) * 8;
        piece[3].bytes = (size_t)piece_ptr[n];
    }
    STI_TRY(sti_journal_append(&w->out, STI_RECORD_TOKENS, piece, 4, err));
    w->has_tokens = true;
    return ST_OK;
}

st_status st_trace_writer_json(st_trace_writer *w, const char *key, const char *json, st_error *err)
{
    int64_t n[2];
    STI_TRY(check_open(w, err));
    STI_TRY(sti_document_check(key, json, err));
    n[0] = (int64_t)strlen(key);
    n[1] = (int64_t)strlen(json);
    sti_bytes piece[3] = {{n, sizeof n}, {key, (size_t)n[0] + 1}, {json, (size_t)n[1] + 1}};
    return sti_journal_append(&w->out, STI_RECORD_JSON, piece, 3, err);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Reads back what was appended: all of it must be there. */
static st_status open_journal(st_trace_writer *w, sti_journal *j, st_error *err)
{
    sti_mapping map;
    STI_TRY(sti_map_fd(w->out.fd, w->out.path, &map, err));
    STI_TRY(sti_journal_open(map, j, err));
    if (j->valid_bytes >= w->out.bytes)
        return ST_OK;
    sti_fail(err, ST_ERR_IO, j->valid_bytes, "%s was damaged at byte %lld", w->out.path,
             (long long)j->valid_bytes);
    sti_journal_free(j);
    return ST_ERR_IO;
}

st_status st_trace_writer_certificate(st_trace_writer *w, st_certificate *cert, st_error *err)
{
    sti_journal j;
    sti_samples s;
    st_status status;
    STI_TRY(check_open(w, err));
    STI_TRY(open_journal(w, &j, err));
    status = sti_journal_samples(&j, &s, err);
    if (status == ST_OK) {
        status = st_certificate_compute(s.layer, s.n_layer, cert, err);
        sti_samples_free(&s);
    }
    sti_journal_free(&j);
    return status;
}

st_status st_trace_writer_finish(st_trace_writer *w, int64_t *bytes, st_error *err)
{
    sti_journal j;
    st_status status;
    STI_TRY(check_open(w, err));
    STI_TRY(sti_journal_seal(&w->out, err));
    STI_TRY(open_journal(w, &j, err));
    status = sti_trace_assemble(&j, w->begin.n_tok, true, w->path, bytes, err);
    sti_journal_free(&j);
    STI_TRY(status);
    w->finished = true;
    (void)unlink(w->out.path); /* if it stays, it is only in the way */
    return ST_OK;
}
