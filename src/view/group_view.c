/* SPDX-License-Identifier: MIT
 *
 * group_view.c — receiver heads, scores and dependencies come from the room "analyse"; the matrix
 * is summed here, into cells, so that no array of n^2 is made for a text of very many sentences.
 */
#include <math.h>

#include "trace/trace_int.h"
#include "view/group_view.h"

#define HEADS 20      /* receiver heads, the authors' choice */
#define EDGES 2       /* that a sentence leans on */
#define EDGES_OF 1024 /* sentences for which that is worked out */

static int64_t length(const sti_sentences *s, int64_t i)
{
    return s->span[2 * i + 1] - s->span[2 * i];
}

/* Tokens of a cell's sentences. */
static int64_t cell_length(const sti_sentences *s, int64_t cell)
{
    int64_t sum = 0;
    for (int64_t i = cell * s->join; i < sti_min(s->n, (cell + 1) * s->join); i++)
        sum += length(s, i);
    return sum;
}

/* ---- from the trace -------------------------------------------------------------------------- */

static st_status fill_spans(const st_trace *t, sti_sentences *s, st_error *err)
{
    const st_group *group = st_trace_groups(t);
    s->span = sti_alloc((size_t)s->n * 2 * sizeof *s->span);
    if (s->span == NULL)
        return sti_fail_mem(err, (size_t)s->n * 2 * sizeof *s->span);
    for (int64_t i = 0; i < s->n; i++) {
        s->span[2 * i] = (int32_t)group[i].begin;
        s->span[2 * i + 1] = (int32_t)group[i].end;
    }
    return ST_OK;
}

static st_status fill_scores(const st_trace *t, const st_receiver *r, sti_sentences *s,
                             st_error *err)
{
    double *score = sti_alloc((size_t)s->n * sizeof *score);
    st_status status;
    s->score = sti_alloc((size_t)s->n * sizeof *s->score);
    s->head = sti_alloc((size_t)s->n_head * 2 * sizeof *s->head);
    s->kurtosis = sti_alloc((size_t)s->n_head * sizeof *s->kurtosis);
    if (score == NULL || s->score == NULL || s->head == NULL || s->kurtosis == NULL)
        status = sti_fail_mem(err, (size_t)s->n * sizeof *score);
    else
        status = st_receiver_scores(t, r, s->n_head, ST_NEAR, score, err);
    for (int64_t i = 0; status == ST_OK && i < s->n; i++)
        s->score[i] = (float)score[i];
    for (int64_t h = 0; status == ST_OK && h < s->n_head; h++) {
        s->head[2 * h] = r[h].layer;
        s->head[2 * h + 1] = r[h].head;
        s->kurtosis[h] = (float)r[h].kurtosis;
    }
    sti_free(score);
    return status;
}

static st_status fill_edges(const st_trace *t, sti_sentences *s, st_error *err)
{
    st_dependency *edge;
    if (s->n > EDGES_OF)
        return ST_OK;
    STI_TRY(st_dependencies_find(t, NULL, ST_NEAR, EDGES, &edge, &s->n_edge, err));
    s->edge = sti_alloc((size_t)s->n_edge * 2 * sizeof *s->edge);
    s->edge_score = sti_alloc((size_t)s->n_edge * sizeof *s->edge_score);
    for (int64_t e = 0; s->edge != NULL && s->edge_score != NULL && e < s->n_edge; e++) {
        s->edge[2 * e] = (int32_t)edge[e].to;
        s->edge[2 * e + 1] = (int32_t)edge[e].from;
        s->edge_score[e] = (float)edge[e].score;
    }
    st_dependencies_free(edge);
    return s->edge != NULL && s->edge_score != NULL ? ST_OK
                                                    : sti_fail_mem(err, (size_t)s->n_edge * 8);
}

/* Adds one head's matrix, each pair weighted by its tokens. */
static void add_head(const sti_sentences *s, const st_trace_layer *l, int64_t h, double *sum)
{
    for (int64_t i = 0; i < s->n; i++) {
        int64_t end = sti_min(l->group_indptr[h * s->n + i + 1], l->group_nnz);
        for (int64_t e = sti_max(l->group_indptr[h * s->n + i], 0); e < end; e++) {
            int64_t j = l->group_indices[e];
            if (j >= 0 && j < s->n)
                sum[i / s->join * s->n_cell + j / s->join] +=
                    (double)l->group_mean[e] * (double)length(s, i) * (double)length(s, j);
        }
    }
}

static void add_heads(const st_trace *t, const sti_sentences *s, double *sum)
{
    for (int64_t i = 0; i < t->info.n_layer; i++) {
        const st_trace_layer *l = &t->recorded[i]->pub;
        for (int64_t h = 0; h < l->n_head; h++)
            for (int64_t r = 0; r < s->n_head; r++)
                if (s->head[2 * r] == l->layer && s->head[2 * r + 1] == l->head[h])
                    add_head(s, l, h, sum);
    }
}

/* sum [n_cell, n_cell] of A times pairs of tokens, over `heads` heads, becomes the matrix. */
static st_status set_matrix(sti_sentences *s, const double *sum, int64_t heads, st_error *err)
{
    size_t n = (size_t)s->n_cell * (size_t)s->n_cell;
    s->matrix = sti_alloc(n * sizeof *s->matrix);
    if (s->matrix == NULL)
        return sti_fail_mem(err, n * sizeof *s->matrix);
    for (int64_t i = 0; i < s->n_cell; i++)
        for (int64_t j = 0; j < s->n_cell; j++) {
            double pairs = (double)cell_length(s, i) * (double)cell_length(s, j);
            s->matrix[i * s->n_cell + j] =
                sti_f32_f16((float)(sum[i * s->n_cell + j] / (pairs * (double)sti_max(1, heads))));
        }
    return ST_OK;
}

static st_status fill_matrix(const st_trace *t, int64_t cells, sti_sentences *s, st_error *err)
{
    double *sum;
    st_status status;
    s->join = sti_ceil_div(s->n, cells);
    s->n_cell = sti_ceil_div(s->n, s->join);
    sum = sti_calloc((size_t)s->n_cell * (size_t)s->n_cell * sizeof *sum);
    if (sum == NULL)
        return sti_fail_mem(err, (size_t)s->n_cell * (size_t)s->n_cell * sizeof *sum);
    add_heads(t, s, sum);
    status = set_matrix(s, sum, s->n_head, err);
    sti_free(sum);
    return status;
}

static st_status fill(const st_trace *t, int64_t cells, sti_sentences *s, st_error *err)
{
    st_receiver *receiver;
    st_status status;
    s->n = t->info.n_group;
    STI_TRY(fill_spans(t, s, err));
    STI_TRY(st_receivers_find(&t, 1, ST_NEAR, &receiver, &s->n_head, err));
    s->n_head = sti_min(s->n_head, HEADS);
    status = fill_scores(t, receiver, s, err);
    st_receivers_free(receiver);
    STI_TRY(status);
    STI_TRY(fill_edges(t, s, err));
    return fill_matrix(t, cells, s, err);
}

st_status sti_sentences_create(const st_trace *t, int64_t cells, sti_sentences *s, st_error *err)
{
    st_status status = ST_OK;
    *s = (sti_sentences){0};
    if (t->info.n_group > 0 && t->info.n_layer > 0)
        status = fill(t, cells, s, err);
    if (status != ST_OK)
        sti_sentences_free(s);
    return status;
}

void sti_sentences_free(sti_sentences *s)
{
    sti_free(s->span);
    sti_free(s->score);
    sti_free(s->head);
    sti_free(s->kurtosis);
    sti_free(s->edge);
    sti_free(s->edge_score);
    sti_free(s->matrix);
    *s = (sti_sentences){0};
}

/* ---- folding --------------------------------------------------------------------------------- */

static void *copy(const void *data, size_t bytes)
{
    void *out = sti_alloc(bytes);
    if (out != NULL && bytes > 0)
        memcpy(out, data, bytes);
    return out;
}

static st_status fold_matrix(const sti_sentences *in, sti_sentences *out, st_error *err)
{
    int64_t times = out->join / in->join;
    double *sum = sti_calloc((size_t)out->n_cell * (size_t)out->n_cell * sizeof *sum);
    st_status status;
    if (sum == NULL)
        return sti_fail_mem(err, (size_t)out->n_cell * (size_t)out->n_cell * sizeof *sum);
    for (int64_t i = 0; i < in->n_cell; i++)
        for (int64_t j = 0; j <= i; j++)
            sum[i / times * out->n_cell + j / times] +=
                (double)sti_f16_f32(in->matrix[i * in->n_cell + j]) * (double)cell_length(in, i) *
                (double)cell_length(in, j);
    status = set_matrix(out, sum, 1, err);
    sti_free(sum);
    return status;
}

st_status sti_sentences_fold(const sti_sentences *in, int64_t bytes, sti_sentences *out,
                             st_error *err)
{
    size_t n = (size_t)in->n, heads = (size_t)in->n_head, edges = (size_t)in->n_edge;
    st_status status = ST_OK;
    *out = *in;
    if (in->n == 0)
        return ST_OK;
    while (out->n_cell > 1 && 2 * out->n_cell * out->n_cell > bytes) {
        out->join *= 2;
        out->n_cell = sti_ceil_div(out->n, out->join);
    }
    out->matrix = NULL;
    out->span = copy(in->span, n * 2 * sizeof *in->span);
    out->score = copy(in->score, n * sizeof *in->score);
    out->head = copy(in->head, heads * 2 * sizeof *in->head);
    out->kurtosis = copy(in->kurtosis, heads * sizeof *in->kurtosis);
    out->edge = copy(in->edge, edges * 2 * sizeof *in->edge);
    out->edge_score = copy(in->edge_score, edges * sizeof *in->edge_score);
    if (out->span == NULL || out->score == NULL || out->head == NULL || out->kurtosis == NULL ||
        out->edge == NULL || out->edge_score == NULL)
        status = sti_fail_mem(err, n * 2 * sizeof *in->span);
    else
        status = fold_matrix(in, out, err);
    if (status != ST_OK)
        sti_sentences_free(out);
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static st_tensor tensor_of(const char *name, st_tensor_type type, const void *data, int64_t rows,
                           int64_t columns)
{
    return (st_tensor){.name = name,
                       .type = type,
                       .n_dim = columns > 0 ? 2 : 1,
                       .shape = {rows, columns},
                       .data = data,
                       .bytes =
                           (size_t)rows * (size_t)sti_max(1, columns) * st_tensor_type_bytes(type)};
}

int sti_sentences_tensors(const sti_sentences *s, st_tensor tensor[STI_SENTENCE_TENSORS])
{
    int n = 0;
    if (s->n == 0)
        return 0;
    tensor[n++] = tensor_of("view.sentence", ST_TENSOR_I32, s->span, s->n, 2);
    tensor[n++] = tensor_of("view.score", ST_TENSOR_F32, s->score, s->n, 0);
    tensor[n++] = tensor_of("view.receiver", ST_TENSOR_I32, s->head, s->n_head, 2);
    tensor[n++] = tensor_of("view.receiver_kurtosis", ST_TENSOR_F32, s->kurtosis, s->n_head, 0);
    tensor[n++] = tensor_of("view.edge", ST_TENSOR_I32, s->edge, s->n_edge, 2);
    tensor[n++] = tensor_of("view.edge_score", ST_TENSOR_F32, s->edge_score, s->n_edge, 0);
    tensor[n++] = tensor_of("view.matrix", ST_TENSOR_F16, s->matrix, s->n_cell, s->n_cell);
    return n;
}
