/* SPDX-License-Identifier: MIT
 *
 * trace.c — opening a trace. Types, shapes and the geometry are proved here, once; what the arrays
 * hold is proved by validate.c, and whoever reads them before stays inside them by st_trace_row.
 */
#include <stdio.h>

#include <yyjson.h>

#include "trace/journal.h"
#include "trace/trace_int.h"

#define FORMAT_VERSION 1

/* ---- reading a document ---------------------------------------------------------------------- */

/* A metadata document while it is read: errors name it and stand at its first byte. */
struct document {
    const char *key;
    int64_t at;
    yyjson_doc *doc;
    yyjson_val *root;
};

static st_status open_document(const st_trace *t, const char *key, struct document *d,
                               st_error *err)
{
    const char *text = st_tensors_meta(t->file, key);
    yyjson_read_err json_err;
    *d = (struct document){.key = key, .at = sti_tensors_meta_position(t->file, key)};
    if (text == NULL)
        return sti_fail_at(err, ST_ERR_FORMAT, 8, "metadata \"%s\" is missing", key);
    d->doc = yyjson_read_opts((char *)(uintptr_t)text, strlen(text), YYJSON_READ_NOFLAG, NULL,
                              &json_err);
    if (d->doc == NULL && json_err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return sti_fail_mem(err, strlen(text));
    if (d->doc == NULL)
        return sti_fail_at(err, ST_ERR_FORMAT, d->at,
                           "metadata \"%s\" is not JSON: %s at its byte %zu", key, json_err.msg,
                           json_err.pos);
    d->root = yyjson_doc_get_root(d->doc);
    if (yyjson_is_obj(d->root))
        return ST_OK;
    yyjson_doc_free(d->doc);
    return sti_fail_at(err, ST_ERR_FORMAT, d->at, "metadata \"%s\" is not an object", key);
}

static st_status get_int(const struct document *d, yyjson_val *obj, const char *name, int64_t lo,
                         int64_t hi, int64_t *out, st_error *err)
{
    yyjson_val *v = yyjson_obj_get(obj, name);
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) > INT64_MAX || (int64_t)yyjson_get_uint(v) < lo ||
        (int64_t)yyjson_get_uint(v) > hi)
        return sti_fail_at(err, ST_ERR_FORMAT, d->at, "%s: %s is not a whole number %lld..%lld",
                           d->key, name, (long long)lo, (long long)hi);
    *out = (int64_t)yyjson_get_uint(v);
    return ST_OK;
}

static st_status get_bool(const struct document *d, yyjson_val *obj, const char *name, bool *out,
                          st_error *err)
{
    yyjson_val *v = yyjson_obj_get(obj, name);
    if (!yyjson_is_bool(v))
        return sti_fail_at(err, ST_ERR_FORMAT, d->at, "%s: %s is not true or false", d->key, name);
    *out = yyjson_get_bool(v);
    return ST_OK;
}

static st_status get_real(const struct document *d, yyjson_val *v, const char *name, double hi,
                          double *out, st_error *err)
{
    *out = yyjson_is_num(v) ? yyjson_get_num(v) : -1;
    if (!(*out >= 0 && *out <= hi))
        return sti_fail_at(err, ST_ERR_FORMAT, d->at, "%s: %s is not a number 0..%g", d->key, name,
                           hi);
    return ST_OK;
}

/* ---- tensors that the format names ----------------------------------------------------------- */

static const char *shape_text(char out[56], int64_t n0, int64_t n1)
{
    if (n1 < 0)
        snprintf(out, 56, "[%lld]", (long long)n0);
    else
        snprintf(out, 56, "[%lld, %lld]", (long long)n0, (long long)n1);
    return out;
}

/* Finds a tensor of this type and shape (n0 < 0: any length; n1 < 0: one index). Absent: *out NULL.
 */
static st_status find_tensor(const st_trace *t, const char *name, st_tensor_type type, int64_t n0,
                             int64_t n1, const st_tensor **out, st_error *err)
{
    const st_tensor *f = st_tensors_find(t->file, name);
    int64_t at = sti_tensors_name_position(t->file, name);
    char is[56], must[56];
    *out = f;
    if (f == NULL)
        return ST_OK;
    if (f->type != type)
        return sti_fail_at(err, ST_ERR_FORMAT, at, "%s has type %s, not %s", name,
                           st_tensor_type_name(f->type), st_tensor_type_name(type));
    if (f->n_dim != (n1 < 0 ? 1 : 2))
        return sti_fail_at(err, ST_ERR_FORMAT, at, "%s has %d indices, not %d", name, f->n_dim,
                           n1 < 0 ? 1 : 2);
    if ((n0 >= 0 && f->shape[0] != n0) || (n1 >= 0 && f->shape[1] != n1))
        return sti_fail_at(err, ST_ERR_FORMAT, at, "%s has shape %s, not %s", name,
                           shape_text(is, f->shape[0], f->n_dim == 2 ? f->shape[1] : -1),
                           shape_text(must, n0, n1));
    return ST_OK;
}

/* The same for a tensor that must be there. */
static st_status need_tensor(const st_trace *t, const char *name, st_tensor_type type, int64_t n0,
                             int64_t n1, const st_tensor **out, st_error *err)
{
    STI_TRY(find_tensor(t, name, type, n0, n1, out, err));
    if (*out == NULL)
        return sti_fail_at(err, ST_ERR_FORMAT, 8, "tensor %s is missing", name);
    return ST_OK;
}

static const char *layer_name(char out[48], int layer, const char *noun)
{
    snprintf(out, 48, "layer.%d.%s", layer, noun);
    return out;
}

static st_status open_group_rows(const st_trace *t, sti_layer *l, st_error *err)
{
    st_trace_layer *p = &l->pub;
    char name[48];
    STI_TRY(need_tensor(t, layer_name(name, p->layer, "group_indptr"), ST_TENSOR_I64,
                        p->n_head * t->info.n_group + 1, -1, &l->group_indptr, err));
    STI_TRY(need_tensor(t, layer_name(name, p->layer, "group_indices"), ST_TENSOR_I32, -1, -1,
                        &l->group_indices, err));
    p->group_nnz = l->group_indices->shape[0];
    STI_TRY(need_tensor(t, layer_name(name, p->layer, "group_mean"), ST_TENSOR_F32, p->group_nnz,
                        -1, &l->group_mean, err));
    p->group_indptr = l->group_indptr->data;
    p->group_indices = l->group_indices->data;
    p->group_mean = l->group_mean->data;
    return ST_OK;
}

static st_status open_selection(const st_trace *t, sti_layer *l, st_error *err)
{
    st_trace_layer *p = &l->pub;
    int64_t n_row;
    char name[48];
    STI_TRY(
        need_tensor(t, layer_name(name, p->layer, "head"), ST_TENSOR_I32, -1, -1, &l->head, err));
    p->n_head = l->head->shape[0];
    if (p->n_head < 1 || p->n_head > l->n_head)
        return sti_fail_at(err, ST_ERR_FORMAT, sti_tensors_name_position(t->file, name),
                           "%s lists %lld heads of %lld", name, (long long)p->n_head,
                           (long long)l->n_head);
    n_row = p->n_head * t->info.nbq;
    STI_TRY(need_tensor(t, layer_name(name, p->layer, "indptr"), ST_TENSOR_I64, n_row + 1, -1,
                        &l->indptr, err));
    STI_TRY(need_tensor(t, layer_name(name, p->layer, "indices"), ST_TENSOR_I32, -1, -1,
                        &l->indices, err));
    p->nnz = l->indices->shape[0];
    STI_TRY(need_tensor(t, layer_name(name, p->layer, "mass"), ST_TENSOR_F16, p->nnz, -1, &l->mass,
                        err));
    STI_TRY(find_tensor(t, layer_name(name, p->layer, "lse"), ST_TENSOR_F32, p->n_head,
                        t->info.n_tok, &l->lse, err));
    STI_TRY(find_tensor(t, layer_name(name, p->layer, "value"), ST_TENSOR_F32, p->n_head,
                        t->info.nbk, &l->value, err));
    p->head = l->head->data;
    p->indptr = l->indptr->data;
    p->indices = l->indices->data;
    p->mass = l->mass->data;
    p->lse = l->lse == NULL ? NULL : l->lse->data;
    p->value = l->value == NULL ? NULL : l->value->data;
    return t->groups != NULL ? open_group_rows(t, l, err) : ST_OK;
}

static st_status open_samples(const st_trace *t, sti_layer *l, st_error *err)
{
    char name[48];
    int layer = l->pub.layer;
    int64_t n_row;
    if (st_tensors_find(t->file, layer_name(name, layer, "cert_rows")) == NULL &&
        st_tensors_find(t->file, layer_name(name, layer, "cert_recall")) == NULL &&
        st_tensors_find(t->file, layer_name(name, layer, "cert_err")) == NULL)
        return ST_OK;
    STI_TRY(need_tensor(t, layer_name(name, layer, "cert_rows"), ST_TENSOR_I64, -1, -1,
                        &l->cert_rows, err));
    n_row = l->cert_rows->shape[0];
    if (n_row < 1)
        return sti_fail_at(err, ST_ERR_FORMAT, sti_tensors_name_position(t->file, name),
                           "%s is empty", name);
    STI_TRY(need_tensor(t, layer_name(name, layer, "cert_recall"), ST_TENSOR_F32, l->n_head, n_row,
                        &l->cert_recall, err));
    return need_tensor(t, layer_name(name, layer, "cert_err"), ST_TENSOR_F32, l->n_head, n_row,
                       &l->cert_err, err);
}

static st_status open_groups(st_trace *t, st_error *err)
{
    STI_TRY(find_tensor(t, "groups", ST_TENSOR_I64, -1, 2, &t->groups, err));
    if (t->groups == NULL)
        return ST_OK;
    t->info.n_group = t->groups->shape[0];
    if (t->info.n_group >= 1 && t->info.n_group <= STI_N_TOK_MAX)
        return ST_OK;
    return sti_fail_at(err, ST_ERR_FORMAT, sti_tensors_name_position(t->file, "groups"),
                       "there are %lld groups, must be 1..%d", (long long)t->info.n_group,
                       STI_N_TOK_MAX);
}

static st_status open_tokens(st_trace *t, st_error *err)
{
    int64_t n = t->info.n_tok;
    STI_TRY(find_tensor(t, "tokens", ST_TENSOR_I32, n, -1, &t->tokens, err));
    STI_TRY(find_tensor(t, "piece_ptr", ST_TENSOR_I64, n + 1, -1, &t->piece_ptr, err));
    STI_TRY(find_tensor(t, "text", ST_TENSOR_U8, -1, -1, &t->text, err));
    if ((t->piece_ptr == NULL) != (t->text == NULL))
        return sti_fail_at(err, ST_ERR_FORMAT, 8, "tensor %s is missing",
                           t->text == NULL ? "text" : "piece_ptr");
    return ST_OK;
}

/* ---- metadata -------------------------------------------------------------------------------- */

static st_status check_version(const st_trace *t, st_error *err)
{
    const char *format = st_tensors_meta(t->file, "format");
    const char *version = st_tensors_meta(t->file, "format_version");
    char q[STI_QUOTE_BYTES];
    if (format == NULL || strcmp(format, "sparsetrace.trace") != 0)
        return sti_fail_at(err, ST_ERR_FORMAT,
                           format == NULL ? 8 : sti_tensors_meta_position(t->file, "format"),
                           "not a trace: metadata \"format\" is not \"sparsetrace.trace\"");
    if (version == NULL)
        return sti_fail_at(err, ST_ERR_FORMAT, 8, "metadata \"format_version\" is missing");
    if (strcmp(version, "1") == 0)
        return ST_OK;
    if (*version < '1' || *version > '9' || strspn(version, "0123456789") != strlen(version))
        return sti_fail_at(err, ST_ERR_FORMAT, sti_tensors_meta_position(t->file, "format_version"),
                           "format_version is \"%s\", not a whole number", sti_quote(q, version));
    return sti_fail_at(err, ST_ERR_LIMIT, sti_tensors_meta_position(t->file, "format_version"),
                       "the trace has format version %s, this program knows up to %d",
                       sti_quote(q, version), FORMAT_VERSION);
}

static st_status parse_layer(const st_trace *t, const struct document *d, yyjson_val *o,
                             int64_t least, sti_layer *l, st_error *err)
{
    int64_t number;
    const char *kind = yyjson_get_str(yyjson_obj_get(o, "kind"));
    STI_TRY(get_int(d, o, "layer", least, STI_LAYER_MAX, &number, err));
    l->pub.layer = (int)number;
    STI_TRY(get_int(d, o, "n_head", 1, STI_HEAD_MAX, &l->n_head, err));
    STI_TRY(get_bool(d, o, "recorded", &l->recorded, err));
    STI_TRY(get_int(d, o, "visible_pairs", 0, INT64_MAX, &l->pub.visible_pairs, err));
    STI_TRY(get_int(d, o, "kept_pairs", 0, l->pub.visible_pairs, &l->pub.kept_pairs, err));
    STI_TRY(get_int(d, o, "exact_pairs", 0, INT64_MAX, &l->pub.exact_pairs, err));
    if (kind == NULL ||
        (strcmp(kind, "sparse") != 0 && strcmp(kind, "exact") != 0 && strcmp(kind, "mixed") != 0))
        return sti_fail_at(err, ST_ERR_FORMAT, d->at,
                           "geometry: kind of layer %d is not sparse, exact or mixed",
                           l->pub.layer);
    l->pub.exact = strcmp(kind, "exact") == 0;
    if (l->recorded)
        STI_TRY(open_selection(t, l, err));
    return open_samples(t, l, err);
}

/* Adds the layer to the trace's sums. */
static st_status count_layer(st_trace *t, const struct document *d, sti_layer *l, st_error *err)
{
    st_trace_info *i = &t->info;
    int64_t kept, visible, exact = l->pub.exact_pairs, whole = l->pub.exact ? exact : 0;
    /* the exact rows of a pruned layer are kept pairs of it */
    if (__builtin_add_overflow(l->pub.kept_pairs, exact - whole, &kept) ||
        __builtin_add_overflow(l->pub.visible_pairs, exact - whole, &visible) ||
        __builtin_add_overflow(i->kept_pairs, kept, &i->kept_pairs) ||
        __builtin_add_overflow(i->visible_pairs, visible, &i->visible_pairs) ||
        __builtin_add_overflow(i->exact_pairs, whole, &i->exact_pairs))
        return sti_fail_at(err, ST_ERR_FORMAT, d->at, "geometry: the token pairs overflow");
    if (l->recorded)
        t->recorded[i->n_layer++] = l;
    i->has_lse = i->has_lse && (!l->recorded || l->lse != NULL);
    i->has_cert = i->has_cert || l->cert_rows != NULL;
    return ST_OK;
}

static st_status parse_layers(st_trace *t, const struct document *d, st_error *err)
{
    yyjson_val *list = yyjson_obj_get(d->root, "layers"), *o;
    size_t i, max, n = yyjson_arr_size(list);
    if (!yyjson_is_arr(list) || n > STI_LAYER_MAX + 1)
        return sti_fail_at(err, ST_ERR_FORMAT, d->at, "geometry: layers is not a list of layers");
    t->layer = sti_calloc(n * sizeof *t->layer);
    t->recorded = sti_calloc(n * sizeof *t->recorded);
    if (t->layer == NULL || t->recorded == NULL)
        return sti_fail_mem(err, n * sizeof *t->layer);
    t->info.has_lse = true;
    yyjson_arr_foreach(list, i, max, o)
    {
        STI_TRY(parse_layer(t, d, o, i == 0 ? 0 : t->layer[i - 1].pub.layer + (int64_t)1,
                            &t->layer[i], err));
        STI_TRY(count_layer(t, d, &t->layer[i], err));
        t->n_layer++;
    }
    t->info.has_lse = t->info.has_lse && t->info.n_layer > 0;
    return ST_OK;
}

static st_status parse_geometry(st_trace *t, const struct document *d, st_error *err)
{
    st_trace_info *i = &t->info;
    int64_t bq, bk;
    double floor;
    STI_TRY(get_int(d, d->root, "n_tok", 1, STI_N_TOK_MAX, &i->n_tok, err));
    STI_TRY(get_int(d, d->root, "n_tok_run", i->n_tok, STI_N_TOK_MAX, &i->n_tok_run, err));
    STI_TRY(get_int(d, d->root, "bq", 1, STI_BLOCK_MAX, &bq, err));
    STI_TRY(get_int(d, d->root, "bk", 1, STI_BLOCK_MAX, &bk, err));
    STI_TRY(get_bool(d, d->root, "complete", &i->complete, err));
    STI_TRY(get_int(d, d->root, "row_begin", 0, i->n_tok, &i->row_begin, err));
    STI_TRY(get_int(d, d->root, "row_end", i->row_begin, i->n_tok, &i->row_end, err));
    STI_TRY(get_real(d, yyjson_obj_get(d->root, "mass_floor"), "mass_floor", 1, &floor, err));
    i->bq = (int)bq;
    i->bk = (int)bk;
    i->mass_floor = (float)floor;
    i->nbq = sti_ceil_div(i->n_tok, bq);
    i->nbk = sti_ceil_div(i->n_tok, bk);
    if (i->row_begin < i->row_end) {
        t->blk_begin = i->row_begin / bq;
        t->blk_end = sti_ceil_div(i->row_end, bq);
    }
    return parse_layers(t, d, err);
}

static st_status parse_certificate(st_trace *t, const struct document *d, st_error *err)
{
    st_certificate *c = &t->info.cert;
    yyjson_val *ci = yyjson_obj_get(d->root, "recall_ci95");
    int64_t layer, head;
    STI_TRY(get_int(d, d->root, "n_layer", 1, STI_LAYER_MAX + 1, &c->n_layer, err));
    STI_TRY(get_int(d, d->root, "n_head", 1, INT64_MAX, &c->n_head, err));
    STI_TRY(get_int(d, d->root, "n_row", 1, STI_N_TOK_MAX, &c->n_row, err));
    STI_TRY(get_int(d, d->root, "worst_layer", 0, STI_LAYER_MAX, &layer, err));
    STI_TRY(get_int(d, d->root, "worst_head", 0, STI_HEAD_MAX, &head, err));
    c->worst_layer = (int)layer;
    c->worst_head = (int)head;
    for (size_t i = 0; i < 2; i++)
        STI_TRY(get_real(d, yyjson_arr_get(ci, i), "recall_ci95", 1, &c->recall_ci95[i], err));
#define REAL(name, hi)                                                                             \
    STI_TRY(get_real(d, yyjson_obj_get(d->root, #name), #name, hi, &c->name, err))
    REAL(recall_mean, 1);
    REAL(recall_p5, 1);
    REAL(recall_worst, 1);
    REAL(err_mean, 1e39); /* no float is above */
#undef REAL
    return ST_OK;
}

/* Opens the document, hands it to `parse`, closes it. */
static st_status with_document(st_trace *t, const char *key,
                               st_status (*parse)(st_trace *, const struct document *, st_error *),
                               st_error *err)
{
    struct document d;
    st_status status;
    STI_TRY(open_document(t, key, &d, err));
    status = parse(t, &d, err);
    yyjson_doc_free(d.doc);
    return status;
}

/* ---- opening --------------------------------------------------------------------------------- */

static st_status read_trace(st_trace *t, st_error *err)
{
    bool stated = st_tensors_meta(t->file, "certificate") != NULL;
    t->info.bytes = sti_tensors_bytes(t->file);
    STI_TRY(check_version(t, err));
    STI_TRY(open_groups(t, err));
    STI_TRY(with_document(t, "geometry", parse_geometry, err));
    STI_TRY(open_tokens(t, err));
    if (stated && !t->info.has_cert)
        return sti_fail_at(err, ST_ERR_FORMAT, sti_tensors_meta_position(t->file, "certificate"),
                           "there is a certificate, but no samples of it");
    return t->info.has_cert ? with_document(t, "certificate", parse_certificate, err) : ST_OK;
}

st_status st_trace_open(const char *path, st_trace **trace, st_error *err)
{
    st_trace *t = sti_calloc(sizeof *t);
    st_status status;
    *trace = NULL;
    if (t == NULL)
        return sti_fail_mem(err, sizeof *t);
    status = st_tensors_open(path, &t->file, err);
    if (status == ST_OK)
        status = read_trace(t, err);
    if (status != ST_OK) {
        st_trace_free(t);
        return status;
    }
    *trace = t;
    return ST_OK;
}

void st_trace_free(st_trace *t)
{
    if (t == NULL)
        return;
    st_tensors_free(t->file);
    sti_free(t->layer);
    sti_free(t->recorded);
    sti_free(t);
}

/* ---- what is in it --------------------------------------------------------------------------- */

void st_trace_get_info(const st_trace *t, st_trace_info *info)
{
    *info = t->info;
}

st_status st_trace_get_layer(const st_trace *t, int64_t i, st_trace_layer *layer, st_error *err)
{
    *layer = (st_trace_layer){.layer = -1};
    if (i < 0 || i >= t->info.n_layer)
        return sti_fail(err, ST_ERR_ARG, i, "layer %lld of %lld recorded ones", (long long)i,
                        (long long)t->info.n_layer);
    *layer = t->recorded[i]->pub;
    return ST_OK;
}

int64_t st_trace_row(const st_trace_layer *l, int64_t nbq, int64_t h, int64_t blk,
                     const int32_t **indices, const uint16_t **mass)
{
    int64_t begin, end;
    *indices = l->indices;
    *mass = l->mass;
    if (h < 0 || h >= l->n_head || blk < 0 || blk >= nbq)
        return 0;
    begin = sti_clamp(l->indptr[h * nbq + blk], 0, l->nnz);
    end = sti_clamp(l->indptr[h * nbq + blk + 1], begin, l->nnz);
    *indices += begin;
    *mass += begin;
    return end - begin;
}

float st_trace_mass(uint16_t f16)
{
    return sti_f16_f32(f16);
}

const int32_t *st_trace_tokens(const st_trace *t)
{
    return t->tokens == NULL ? NULL : t->tokens->data;
}

const char *st_trace_text(const st_trace *t, int64_t begin, int64_t end, int64_t *n_bytes)
{
    const int64_t *ptr;
    int64_t from, to, n;
    *n_bytes = 0;
    if (t->text == NULL)
        return "";
    ptr = t->piece_ptr->data;
    n = t->text->shape[0];
    begin = sti_clamp(begin, 0, t->info.n_tok);
    end = sti_clamp(end, begin, t->info.n_tok);
    from = sti_clamp(ptr[begin], 0, n);
    to = sti_clamp(ptr[end], from, n);
    *n_bytes = to - from;
    return (const char *)t->text->data + from;
}

const char *st_trace_json(const st_trace *t, const char *key)
{
    const char *json = st_tensors_meta(t->file, key);
    yyjson_doc *doc = json != NULL ? yyjson_read(json, strlen(json), 0) : NULL;
    bool parses = doc != NULL;
    yyjson_doc_free(doc);
    return parses ? json : NULL;
}
