/* SPDX-License-Identifier: MIT
 *
 * finish.c — turns a journal into a trace file: the list of tensors with their sizes, the header,
 * then the data tensor by tensor. Chunks are stored as the run came by, layer after layer for each
 * micro-batch; a trace has each layer's rows in one piece, head after head. The journal is mapped
 * and walked once per tensor, so that memory holds one layer's pages of the map, and one row.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <yyjson.h>

#include "trace/journal.h"
#include "trace/tensors_int.h"

typedef enum content {
    PIECE_PTR,
    INDPTR,
    CERT_ROWS,
    GROUPS,
    GROUP_INDPTR,
    TOKENS,
    HEAD,
    INDICES,
    GROUP_INDICES,
    GROUP_MEAN,
    LSE,
    CERT_RECALL,
    CERT_ERR,
    VALUE,
    MASS,
    TEXT,
} content;

#define TENSORS_PER_LAYER 12
#define NAME_BYTES 40

/* One tensor to be written. */
struct item {
    content what;
    int64_t i; /* of the journal's layers, or of the samples' */
    char name[NAME_BYTES];
};

struct assembly {
    const sti_journal *j;
    int64_t n_tok, nbq, nbk;
    bool complete;
    sti_samples samples;
    sti_rows rows;
    st_group *group; /* [n_group] of the journal's, cut at n_tok */
    int64_t n_group;
    sti_group_walk groups;
    int64_t *nnz, *group_nnz; /* [j->n_layer] */
    struct item *item;
    st_tensor *tensor; /* [n_item] */
    int64_t n_item;
    sti_outfile *out;
};

/* ---- what there is to write ------------------------------------------------------------------ */

static st_status count_entries(struct assembly *a, st_error *err)
{
    sti_row row;
    for (int64_t l = 0; l < a->j->n_layer; l++) {
        for (int64_t h = 0; h < a->j->layer[l].n_rec; h++) {
            sti_rows_start(&a->rows, &a->j->layer[l], h);
            do {
                STI_TRY(sti_rows_next(&a->rows, &row, err));
                a->nnz[l] += row.n;
            } while (row.blk >= 0);
        }
        sti_map_forget(&a->j->map);
    }
    return ST_OK;
}

static void count_groups(struct assembly *a)
{
    for (int64_t l = 0; a->n_group > 0 && l < a->j->n_layer; l++) {
        for (int64_t h = 0; h < a->j->layer[l].n_rec; h++) {
            sti_group_walk_start(&a->groups, &a->j->layer[l], h);
            for (int64_t g = 0; g < a->n_group; g++)
                a->group_nnz[l] += sti_group_walk_next(&a->groups).n;
        }
        sti_map_forget(&a->j->map);
    }
}

static void add_tensor(struct assembly *a, content what, int64_t i, int layer, st_tensor_type type,
                       int64_t n0, int64_t n1)
{
    static const char *const noun[] = {
        [PIECE_PTR] = "piece_ptr",
        [INDPTR] = "indptr",
        [CERT_ROWS] = "cert_rows",
        [GROUPS] = "groups",
        [GROUP_INDPTR] = "group_indptr",
        [TOKENS] = "tokens",
        [HEAD] = "head",
        [INDICES] = "indices",
        [GROUP_INDICES] = "group_indices",
        [GROUP_MEAN] = "group_mean",
        [LSE] = "lse",
        [CERT_RECALL] = "cert_recall",
        [CERT_ERR] = "cert_err",
        [VALUE] = "value",
        [MASS] = "mass",
        [TEXT] = "text",
    };
    struct item *item = &a->item[a->n_item];
    st_tensor *t = &a->tensor[a->n_item++];
    item->what = what;
    item->i = i;
    if (layer < 0)
        snprintf(item->name, sizeof item->name, "%s", noun[what]);
    else
        snprintf(item->name, sizeof item->name, "layer.%d.%s", layer, noun[what]);
    *t = (st_tensor){.name = item->name, .type = type, .n_dim = n1 < 0 ? 1 : 2, .shape = {n0, n1}};
    t->bytes = (size_t)n0 * (size_t)(n1 < 0 ? 1 : n1) * st_tensor_type_bytes(type);
}

/* The layer's last chunk, which has the sizes of values if any has. */
static sti_chunk last_chunk(const struct assembly *a, const sti_journal_layer *l)
{
    return sti_journal_chunk(a->j, l->chunk[l->n_chunk - 1]);
}

/* In order of falling element size: no tensor needs padding then. */
static void list_tensors(struct assembly *a)
{
    const sti_journal *j = a->j;
    bool text = j->piece_ptr != NULL;
    if (text)
        add_tensor(a, PIECE_PTR, 0, -1, ST_TENSOR_I64, a->n_tok + 1, -1);
    for (int64_t l = 0; l < j->n_layer; l++)
        if (j->layer[l].n_rec > 0)
            add_tensor(a, INDPTR, l, j->layer[l].layer, ST_TENSOR_I64,
                       j->layer[l].n_rec * a->nbq + 1, -1);
    for (int64_t s = 0; s < a->samples.n_layer; s++)
        add_tensor(a, CERT_ROWS, s, a->samples.layer[s].layer, ST_TENSOR_I64,
                   a->samples.layer[s].n_row, -1);
    if (a->n_group > 0)
        add_tensor(a, GROUPS, 0, -1, ST_TENSOR_I64, a->n_group, 2);
    for (int64_t l = 0; a->n_group > 0 && l < j->n_layer; l++)
        if (j->layer[l].n_rec > 0)
            add_tensor(a, GROUP_INDPTR, l, j->layer[l].layer, ST_TENSOR_I64,
                       j->layer[l].n_rec * a->n_group + 1, -1);
    if (j->token != NULL)
        add_tensor(a, TOKENS, 0, -1, ST_TENSOR_I32, a->n_tok, -1);
    for (int64_t l = 0; l < j->n_layer; l++) {
        const sti_journal_layer *y = &j->layer[l];
        if (y->n_rec == 0)
            continue;
        add_tensor(a, HEAD, l, y->layer, ST_TENSOR_I32, y->n_rec, -1);
        add_tensor(a, INDICES, l, y->layer, ST_TENSOR_I32, a->nnz[l], -1);
        if (a->n_group > 0) {
            add_tensor(a, GROUP_INDICES, l, y->layer, ST_TENSOR_I32, a->group_nnz[l], -1);
            add_tensor(a, GROUP_MEAN, l, y->layer, ST_TENSOR_F32, a->group_nnz[l], -1);
        }
        if (j->begin.lse)
            add_tensor(a, LSE, l, y->layer, ST_TENSOR_F32, y->n_rec, a->n_tok);
    }
    for (int64_t s = 0; s < a->samples.n_layer; s++) {
        const st_cert_samples *y = &a->samples.layer[s];
        add_tensor(a, CERT_RECALL, s, y->layer, ST_TENSOR_F32, y->n_head, y->n_row);
        add_tensor(a, CERT_ERR, s, y->layer, ST_TENSOR_F32, y->n_head, y->n_row);
    }
    for (int64_t l = 0; l < j->n_layer; l++)
        if (last_chunk(a, &j->layer[l]).h.n_value > 0)
            add_tensor(a, VALUE, l, j->layer[l].layer, ST_TENSOR_F32, j->layer[l].n_rec, a->nbk);
    for (int64_t l = 0; l < j->n_layer; l++)
        if (j->layer[l].n_rec > 0)
            add_tensor(a, MASS, l, j->layer[l].layer, ST_TENSOR_F16, a->nnz[l], -1);
    if (text)
        add_tensor(a, TEXT, 0, -1, ST_TENSOR_U8, j->piece_ptr[a->n_tok], -1);
}

/* ---- metadata -------------------------------------------------------------------------------- */

struct layer_pairs {
    int64_t kept, visible, exact;
    bool sparse_chunks, exact_chunks;
    bool whole; /* ran on every row */
};

static struct layer_pairs sum_pairs(const struct assembly *a, const sti_journal_layer *l)
{
    struct layer_pairs p = {.whole = false};
    int64_t next = 0;
    bool gap = false;
    for (int64_t i = 0; i < l->n_chunk; i++) {
        sti_chunk_head h = sti_journal_chunk(a->j, l->chunk[i]).h;
        gap = gap || h.first_query != next;
        next = h.first_query + h.n_q;
        if (h.kind == ST_CHUNK_EXACT) {
            p.exact_chunks = true;
            p.exact += h.visible_pairs;
        } else {
            p.sparse_chunks = true;
            p.kept += h.kept_pairs;
            p.visible += h.visible_pairs;
        }
    }
    p.whole = !gap && next == a->n_tok;
    return p;
}

static bool describe_layers(struct assembly *a, yyjson_mut_doc *doc, yyjson_mut_val *list)
{
    bool ok = true;
    for (int64_t i = 0; i < a->j->n_layer; i++) {
        const sti_journal_layer *l = &a->j->layer[i];
        struct layer_pairs p = sum_pairs(a, l);
        yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
        const char *kind = !p.exact_chunks ? "sparse" : !p.sparse_chunks ? "exact" : "mixed";
        ok = ok && yyjson_mut_obj_add_int(doc, o, "layer", l->layer) &&
             yyjson_mut_obj_add_int(doc, o, "n_head", l->n_head) &&
             yyjson_mut_obj_add_str(doc, o, "kind", kind) &&
             yyjson_mut_obj_add_bool(doc, o, "recorded", l->n_rec > 0) &&
             yyjson_mut_obj_add_int(doc, o, "kept_pairs", p.kept) &&
             yyjson_mut_obj_add_int(doc, o, "visible_pairs", p.visible) &&
             yyjson_mut_obj_add_int(doc, o, "exact_pairs", p.exact);
        a->complete = a->complete && p.whole;
        sti_map_forget(&a->j->map);
    }
    return ok;
}

/* A document as text, and the document freed. NULL: out of memory. The caller's to free(). */
static char *to_text(yyjson_mut_doc *doc, bool ok)
{
    char *text = ok ? yyjson_mut_write(doc, YYJSON_WRITE_NOFLAG, NULL) : NULL;
    yyjson_mut_doc_free(doc);
    return text;
}

static char *geometry_text(struct assembly *a)
{
    const sti_begin *b = &a->j->begin;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *o = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc);
    bool ok = describe_layers(a, doc, list);
    yyjson_mut_doc_set_root(doc, o);
    ok = ok && yyjson_mut_obj_add_int(doc, o, "n_tok", a->n_tok) &&
         yyjson_mut_obj_add_int(doc, o, "n_tok_run", b->n_tok) &&
         yyjson_mut_obj_add_int(doc, o, "bq", b->bq) &&
         yyjson_mut_obj_add_int(doc, o, "bk", b->bk) &&
         yyjson_mut_obj_add_bool(doc, o, "complete", a->complete) &&
         yyjson_mut_obj_add_int(doc, o, "row_begin", sti_min(b->row_begin, a->n_tok)) &&
         yyjson_mut_obj_add_int(doc, o, "row_end", sti_min(b->row_end, a->n_tok)) &&
         yyjson_mut_obj_add_real(doc, o, "mass_floor", b->mass_floor) &&
         yyjson_mut_obj_add_val(doc, o, "layers", list);
    return to_text(doc, ok);
}

static char *certificate_text(const st_certificate *c)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *o = yyjson_mut_obj(doc), *ci = yyjson_mut_arr(doc);
    bool ok = yyjson_mut_arr_add_real(doc, ci, c->recall_ci95[0]) &&
              yyjson_mut_arr_add_real(doc, ci, c->recall_ci95[1]);
    yyjson_mut_doc_set_root(doc, o);
    ok = ok && yyjson_mut_obj_add_int(doc, o, "n_layer", c->n_layer) &&
         yyjson_mut_obj_add_int(doc, o, "n_head", c->n_head) &&
         yyjson_mut_obj_add_int(doc, o, "n_row", c->n_row) &&
         yyjson_mut_obj_add_real(doc, o, "recall_mean", c->recall_mean) &&
         yyjson_mut_obj_add_val(doc, o, "recall_ci95", ci) &&
         yyjson_mut_obj_add_real(doc, o, "recall_p5", c->recall_p5) &&
         yyjson_mut_obj_add_real(doc, o, "recall_worst", c->recall_worst) &&
         yyjson_mut_obj_add_int(doc, o, "worst_layer", c->worst_layer) &&
         yyjson_mut_obj_add_int(doc, o, "worst_head", c->worst_head) &&
         yyjson_mut_obj_add_real(doc, o, "err_mean", c->err_mean);
    return to_text(doc, ok);
}

/* ---- the header ------------------------------------------------------------------------------ */

static st_status write_header(struct assembly *a, const char *geometry, const char *certificate,
                              st_error *err)
{
    const sti_journal *j = a->j;
    const char *(*meta)[2] = sti_alloc((size_t)(5 + j->n_json) * sizeof *meta);
    char writer[64], *header;
    size_t bytes;
    int64_t n = 0;
    st_status status;
    if (meta == NULL)
        return sti_fail_mem(err, (size_t)(5 + j->n_json) * sizeof *meta);
    snprintf(writer, sizeof writer, "sparsetrace %s", st_version());
#define META(key, value) (meta[n][0] = (key), meta[n][1] = (value), n++)
    META("format", "sparsetrace.trace");
    META("format_version", "1");
    META("writer", writer);
    META("geometry", geometry);
    if (certificate != NULL)
        META("certificate", certificate);
    for (int64_t i = 0; i < j->n_json; i++)
        META(j->json[i][0], j->json[i][1]);
#undef META
    status = sti_tensors_header(a->tensor, a->n_item, (const char *const(*)[2])meta, n, &header,
                                &bytes, err);
    sti_free(meta);
    STI_TRY(status);
    status = sti_outfile_write(a->out, header, bytes, err);
    sti_free(header);
    return status;
}

static st_status write_metadata(struct assembly *a, st_error *err)
{
    st_certificate c;
    char *certificate = NULL, *geometry;
    st_status status;
    if (a->samples.n_layer > 0) {
        STI_TRY(st_certificate_compute(a->samples.layer, a->samples.n_layer, &c, err));
        certificate = certificate_text(&c);
    }
    geometry = geometry_text(a);
    if (geometry == NULL || (certificate == NULL && a->samples.n_layer > 0))
        status = sti_fail_mem(err, 4096);
    else
        status = write_header(a, geometry, certificate, err);
    free(geometry);
    free(certificate);
    return status;
}

/* ---- the data -------------------------------------------------------------------------------- */

static st_status write_indptr(struct assembly *a, const sti_journal_layer *l, st_error *err)
{
    int64_t at = 0;
    STI_TRY(sti_outfile_write(a->out, &at, sizeof at, err));
    for (int64_t h = 0; h < l->n_rec; h++) {
        sti_row row;
        sti_rows_start(&a->rows, l, h);
        STI_TRY(sti_rows_next(&a->rows, &row, err));
        for (int64_t b = 0; b < a->nbq; b++) {
            if (row.blk == b) {
                at += row.n;
                STI_TRY(sti_rows_next(&a->rows, &row, err));
            }
            STI_TRY(sti_outfile_write(a->out, &at, sizeof at, err));
        }
    }
    return ST_OK;
}

static st_status write_entries(struct assembly *a, const sti_journal_layer *l, content what,
                               st_error *err)
{
    for (int64_t h = 0; h < l->n_rec; h++) {
        sti_row row;
        sti_rows_start(&a->rows, l, h);
        for (;;) {
            STI_TRY(sti_rows_next(&a->rows, &row, err));
            if (row.blk < 0)
                break;
            if (what == INDICES)
                STI_TRY(sti_outfile_write(a->out, row.indices, (size_t)row.n * 4, err));
            else
                STI_TRY(sti_outfile_write(a->out, row.mass, (size_t)row.n * 2, err));
        }
    }
    return ST_OK;
}

static st_status write_groups(struct assembly *a, const sti_journal_layer *l, content what,
                              st_error *err)
{
    int64_t at = 0;
    if (what == GROUP_INDPTR)
        STI_TRY(sti_outfile_write(a->out, &at, sizeof at, err));
    for (int64_t h = 0; h < l->n_rec; h++) {
        sti_group_walk_start(&a->groups, l, h);
        for (int64_t g = 0; g < a->n_group; g++) {
            sti_group_row row = sti_group_walk_next(&a->groups);
            at += row.n;
            if (what == GROUP_INDPTR)
                STI_TRY(sti_outfile_write(a->out, &at, sizeof at, err));
            else
                STI_TRY(sti_outfile_write(a->out,
                                          what == GROUP_INDICES ? (const void *)row.indices
                                                                : (const void *)row.mean,
                                          (size_t)row.n * 4, err));
        }
    }
    return ST_OK;
}

static st_status fill_lse(struct assembly *a, int64_t n, st_error *err)
{
    static const float nothing = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        STI_TRY(sti_outfile_write(a->out, &nothing, sizeof nothing, err));
    return ST_OK;
}

static st_status write_lse(struct assembly *a, const sti_journal_layer *l, st_error *err)
{
    for (int64_t h = 0; h < l->n_rec; h++) {
        int64_t next = 0;
        for (int64_t i = 0; i < l->n_chunk; i++) {
            sti_chunk c = sti_journal_chunk(a->j, l->chunk[i]);
            if (c.h.n_lse == 0)
                continue;
            STI_TRY(fill_lse(a, c.h.first_lse - next, err));
            STI_TRY(sti_outfile_write(a->out, c.lse + h * c.h.n_lse, (size_t)c.h.n_lse * 4, err));
            next = c.h.first_lse + c.h.n_lse;
        }
        STI_TRY(fill_lse(a, a->n_tok - next, err));
    }
    return ST_OK;
}

static st_status write_tensor(struct assembly *a, const struct item *it, size_t bytes,
                              st_error *err)
{
    const sti_journal *j = a->j;
    switch (it->what) {
    case PIECE_PTR: return sti_outfile_write(a->out, j->piece_ptr, bytes, err);
    case TOKENS: return sti_outfile_write(a->out, j->token, bytes, err);
    case TEXT: return sti_outfile_write(a->out, j->text, bytes, err);
    case INDPTR: return write_indptr(a, &j->layer[it->i], err);
    case GROUPS: return sti_outfile_write(a->out, a->group, bytes, err);
    case GROUP_INDPTR:
    case GROUP_INDICES:
    case GROUP_MEAN: return write_groups(a, &j->layer[it->i], it->what, err);
    case HEAD: return sti_outfile_write(a->out, j->layer[it->i].head, bytes, err);
    case INDICES:
    case MASS: return write_entries(a, &j->layer[it->i], it->what, err);
    case LSE: return write_lse(a, &j->layer[it->i], err);
    case VALUE: return sti_outfile_write(a->out, last_chunk(a, &j->layer[it->i]).value, bytes, err);
    case CERT_ROWS: return sti_outfile_write(a->out, a->samples.rows[it->i], bytes, err);
    case CERT_RECALL: return sti_outfile_write(a->out, a->samples.layer[it->i].recall, bytes, err);
    case CERT_ERR: return sti_outfile_write(a->out, a->samples.layer[it->i].err, bytes, err);
    }
    return ST_OK;
}

static st_status write_data(struct assembly *a, st_error *err)
{
    for (int64_t i = 0; i < a->n_item; i++) {
        int64_t end = sti_outfile_tell(a->out) + (int64_t)a->tensor[i].bytes;
        STI_TRY(write_tensor(a, &a->item[i], a->tensor[i].bytes, err));
        if (sti_outfile_tell(a->out) != end)
            return sti_fail(err, ST_ERR_IO, -1, "the journal changed while %s was read from it",
                            a->tensor[i].name);
        sti_map_forget(&a->j->map);
    }
    return ST_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* The groups that begin within the trace, the last one cut at its end. */
static st_status cut_groups(struct assembly *a, st_error *err)
{
    int64_t first;
    size_t bytes;
    a->n_group = st_groups_touched(a->j->group, a->j->begin.n_group, 0, a->n_tok, &first);
    bytes = (size_t)a->n_group * sizeof *a->group;
    a->group = sti_alloc(bytes);
    if (a->group == NULL)
        return sti_fail_mem(err, bytes);
    for (int64_t g = 0; g < a->n_group; g++)
        a->group[g] = (st_group){a->j->group[g].begin, sti_min(a->j->group[g].end, a->n_tok)};
    return sti_group_walk_init(&a->groups, a->j, a->group, a->n_group, err);
}

static st_status prepare(struct assembly *a, st_error *err)
{
    size_t n_item = 4 + TENSORS_PER_LAYER * (size_t)a->j->n_layer;
    sti_rows_init(&a->rows, a->j, a->nbk);
    STI_TRY(sti_journal_samples(a->j, &a->samples, err));
    a->nnz = sti_calloc((size_t)a->j->n_layer * sizeof *a->nnz);
    a->group_nnz = sti_calloc((size_t)a->j->n_layer * sizeof *a->group_nnz);
    a->item = sti_alloc(n_item * sizeof *a->item);
    a->tensor = sti_alloc(n_item * sizeof *a->tensor);
    if (a->nnz == NULL || a->group_nnz == NULL || a->item == NULL || a->tensor == NULL)
        return sti_fail_mem(err, n_item * sizeof *a->tensor);
    STI_TRY(count_entries(a, err));
    STI_TRY(cut_groups(a, err));
    count_groups(a);
    list_tensors(a);
    return ST_OK;
}

static st_status write_out(struct assembly *a, const char *path, int64_t *bytes, st_error *err)
{
    st_status status;
    STI_TRY(sti_outfile_create(path, &a->out, err));
    status = write_metadata(a, err);
    if (status == ST_OK)
        status = write_data(a, err);
    if (bytes != NULL)
        *bytes = sti_outfile_tell(a->out);
    if (status == ST_OK)
        return sti_outfile_commit(a->out, err);
    sti_outfile_abandon(a->out);
    return status;
}

st_status sti_trace_assemble(const sti_journal *j, int64_t n_tok, bool complete, const char *path,
                             int64_t *bytes, st_error *err)
{
    struct assembly a = {.j = j,
                         .n_tok = n_tok,
                         .nbq = sti_ceil_div(n_tok, j->begin.bq),
                         .nbk = sti_ceil_div(n_tok, j->begin.bk),
                         .complete = complete && j->n_layer > 0};
    st_status status = prepare(&a, err);
    if (status == ST_OK)
        status = write_out(&a, path, bytes, err);
    sti_rows_free(&a.rows);
    sti_samples_free(&a.samples);
    sti_group_walk_free(&a.groups);
    sti_free(a.group);
    sti_free(a.nnz);
    sti_free(a.group_nnz);
    sti_free(a.item);
    sti_free(a.tensor);
    return status;
}
