/* SPDX-License-Identifier: MIT
 *
 * tensors.c — reading safetensors. Nothing of a file is believed before it is proved: opening
 * checks the whole header, so that what is handed out afterwards can be used without another look.
 *
 * The header is parsed in a copy of its own, in place: a string's address less the copy's start is
 * its byte in the file, which is how messages know their position.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <yyjson.h>

#include "base/files.h"
#include "trace/tensors_int.h"

typedef struct entry {
    st_tensor pub;
    int64_t begin, end; /* in the data */
    void *copy;         /* of a tensor that is not aligned in the file */
} entry;

typedef struct meta_pair {
    const char *key, *value;
} meta_pair;

struct st_tensors {
    sti_mapping map;
    bool in_memory; /* `map` is not a map but the caller's bytes */
    char *header;   /* strings of `doc` point into it */
    int64_t header_bytes;
    yyjson_doc *doc;
    entry *tensor; /* in order of data */
    entry **by_name;
    int64_t n_tensor;
    meta_pair *meta; /* sorted by key */
    int64_t n_meta;
};

static const struct {
    const char *name;
    size_t bytes;
} type_info[ST_TENSOR_TYPE_COUNT] = {
    [ST_TENSOR_BOOL] = {"BOOL", 1}, [ST_TENSOR_U8] = {"U8", 1},   [ST_TENSOR_I8] = {"I8", 1},
    [ST_TENSOR_U16] = {"U16", 2},   [ST_TENSOR_I16] = {"I16", 2}, [ST_TENSOR_F16] = {"F16", 2},
    [ST_TENSOR_BF16] = {"BF16", 2}, [ST_TENSOR_U32] = {"U32", 4}, [ST_TENSOR_I32] = {"I32", 4},
    [ST_TENSOR_F32] = {"F32", 4},   [ST_TENSOR_U64] = {"U64", 8}, [ST_TENSOR_I64] = {"I64", 8},
    [ST_TENSOR_F64] = {"F64", 8},
};

const char *st_tensor_type_name(st_tensor_type type)
{
    return (unsigned)type < ST_TENSOR_TYPE_COUNT ? type_info[type].name : "?";
}

size_t st_tensor_type_bytes(st_tensor_type type)
{
    return (unsigned)type < ST_TENSOR_TYPE_COUNT ? type_info[type].bytes : 0;
}

/* ---- messages -------------------------------------------------------------------------------- */

st_status sti_fail_at(st_error *err, st_status status, int64_t position, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return sti_fail(err, status, position, "byte %lld: %s", (long long)position, text);
}

const char *sti_quote(char out[STI_QUOTE_BYTES], const char *name)
{
    size_t n = strlen(name), keep = n <= 60 ? n : 57;
    if (keep < n) /* do not cut a character in two */
        while (keep > 0 && ((unsigned char)name[keep] & 0xc0) == 0x80)
            keep--;
    for (size_t i = 0; i < keep; i++)
        out[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    strcpy(out + keep, keep < n ? "..." : "");
    return out;
}

st_status sti_json_check(const char *text, int64_t *at, const char **why)
{
    yyjson_read_err err;
    yyjson_doc *doc =
        yyjson_read_opts((char *)(uintptr_t)text, strlen(text), YYJSON_READ_NOFLAG, NULL, &err);
    *at = (int64_t)err.pos;
    *why = err.msg;
    if (doc == NULL)
        return err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? ST_ERR_MEM : ST_ERR_FORMAT;
    yyjson_doc_free(doc);
    return ST_OK;
}

/* Byte of the file at which a string of the header stands. */
static int64_t place(const st_tensors *f, const char *s)
{
    ptrdiff_t at = s - f->header;
    return 8 + (at >= 0 && at < f->header_bytes ? at : 0);
}

#define FAIL_FORMAT(at, ...) sti_fail_at(err, ST_ERR_FORMAT, at, __VA_ARGS__)

/* ---- one tensor's description ---------------------------------------------------------------- */

static st_status parse_shape(yyjson_val *v, entry *e, int64_t at, const char *name, st_error *err)
{
    size_t i, max;
    yyjson_val *item;
    char q[STI_QUOTE_BYTES];
    if (!yyjson_is_arr(v))
        return FAIL_FORMAT(at, "tensor \"%s\": shape is not a list", sti_quote(q, name));
    if (yyjson_arr_size(v) > ST_TENSOR_MAX_DIM)
        return FAIL_FORMAT(at, "tensor \"%s\" has %zu indices, at most %d are allowed",
                           sti_quote(q, name), yyjson_arr_size(v), ST_TENSOR_MAX_DIM);
    yyjson_arr_foreach(v, i, max, item)
    {
        if (!yyjson_is_uint(item) || yyjson_get_uint(item) > INT64_MAX)
            return FAIL_FORMAT(at, "tensor \"%s\": shape[%zu] is not a whole number 0..2^63-1",
                               sti_quote(q, name), i);
        e->pub.shape[i] = (int64_t)yyjson_get_uint(item);
    }
    e->pub.n_dim = (int)yyjson_arr_size(v);
    return ST_OK;
}

static st_status parse_offsets(yyjson_val *v, entry *e, int64_t at, const char *name, st_error *err)
{
    yyjson_val *a = yyjson_arr_get(v, 0), *b = yyjson_arr_get(v, 1);
    char q[STI_QUOTE_BYTES];
    if (yyjson_arr_size(v) != 2 || !yyjson_is_uint(a) || !yyjson_is_uint(b) ||
        yyjson_get_uint(a) > INT64_MAX || yyjson_get_uint(b) > INT64_MAX)
        return FAIL_FORMAT(at, "tensor \"%s\": data_offsets is not a pair of whole numbers",
                           sti_quote(q, name));
    e->begin = (int64_t)yyjson_get_uint(a);
    e->end = (int64_t)yyjson_get_uint(b);
    if (e->begin > e->end)
        return FAIL_FORMAT(at, "tensor \"%s\": data_offsets begin %lld is behind end %lld",
                           sti_quote(q, name), (long long)e->begin, (long long)e->end);
    return ST_OK;
}

static st_status parse_type(yyjson_val *v, entry *e, int64_t at, const char *name, st_error *err)
{
    const char *s = yyjson_get_str(v);
    char q[STI_QUOTE_BYTES], r[STI_QUOTE_BYTES];
    for (int t = 0; s != NULL && t < ST_TENSOR_TYPE_COUNT; t++) {
        if (strcmp(s, type_info[t].name) == 0) {
            e->pub.type = (st_tensor_type)t;
            return ST_OK;
        }
    }
    return FAIL_FORMAT(at, "tensor \"%s\": dtype %s is unknown", sti_quote(q, name),
                       s == NULL ? "(not a string)" : sti_quote(r, s));
}

/* Bytes that a shape takes; -1: more than an int64 counts. Zeros do not hide an overflow, so that
 * any product of indices is a number. */
static int64_t shape_bytes(const st_tensor *t)
{
    int64_t product = (int64_t)st_tensor_type_bytes(t->type);
    bool empty = false;
    for (int i = 0; i < t->n_dim; i++) {
        if (t->shape[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(product, t->shape[i], &product))
            return -1;
    }
    return empty ? 0 : product;
}

static st_status parse_tensor(const st_tensors *f, yyjson_val *key, yyjson_val *val, entry *e,
                              st_error *err)
{
    static const char *const field[] = {"dtype", "shape", "data_offsets"};
    const char *name = yyjson_get_str(key);
    int64_t at = place(f, name), want;
    yyjson_val *value[3] = {NULL, NULL, NULL}, *k, *v;
    char q[STI_QUOTE_BYTES];
    size_t i, max;
    if (strlen(name) != yyjson_get_len(key))
        return FAIL_FORMAT(at, "a tensor's name holds the character U+0000");
    if (!yyjson_is_obj(val))
        return FAIL_FORMAT(at, "tensor \"%s\" is not described by an object", sti_quote(q, name));
    yyjson_obj_foreach(val, i, max, k, v)
    {
        for (int j = 0; j < 3; j++) {
            if (!yyjson_equals_str(k, field[j]))
                continue;
            if (value[j] != NULL)
                return FAIL_FORMAT(at, "tensor \"%s\" has two %s", sti_quote(q, name), field[j]);
            value[j] = v;
        }
    }
    for (int j = 0; j < 3; j++)
        if (value[j] == NULL)
            return FAIL_FORMAT(at, "tensor \"%s\" has no %s", sti_quote(q, name), field[j]);
    e->pub.name = name;
    STI_TRY(parse_type(value[0], e, at, name, err));
    STI_TRY(parse_shape(value[1], e, at, name, err));
    STI_TRY(parse_offsets(value[2], e, at, name, err));
    want = shape_bytes(&e->pub);
    if (want < 0)
        return FAIL_FORMAT(at, "tensor \"%s\": its shape overflows", sti_quote(q, name));
    if (want != e->end - e->begin)
        return FAIL_FORMAT(at, "tensor \"%s\": its shape takes %lld bytes, its data_offsets %lld",
                           sti_quote(q, name), (long long)want, (long long)(e->end - e->begin));
    e->pub.bytes = (size_t)want;
    return ST_OK;
}

/* ---- metadata -------------------------------------------------------------------------------- */

static int compare_meta(const void *a, const void *b)
{
    const meta_pair *x = a, *y = b;
    int c = strcmp(x->key, y->key);
    return c != 0 ? c : (x->key > y->key) - (x->key < y->key);
}

static st_status parse_meta(st_tensors *f, yyjson_val *key, yyjson_val *val, st_error *err)
{
    yyjson_val *k, *v;
    char q[STI_QUOTE_BYTES];
    size_t i, max;
    if (f->meta != NULL)
        return FAIL_FORMAT(place(f, yyjson_get_str(key)), "__metadata__ occurs twice");
    if (!yyjson_is_obj(val))
        return FAIL_FORMAT(place(f, yyjson_get_str(key)), "__metadata__ is not an object");
    f->meta = sti_alloc(yyjson_obj_size(val) * sizeof *f->meta);
    if (f->meta == NULL)
        return sti_fail_mem(err, yyjson_obj_size(val) * sizeof *f->meta);
    yyjson_obj_foreach(val, i, max, k, v)
    {
        const char *name = yyjson_get_str(k);
        if (!yyjson_is_str(v))
            return FAIL_FORMAT(place(f, name), "metadata \"%s\" is not a string",
                               sti_quote(q, name));
        if (strlen(name) != yyjson_get_len(k) || strlen(yyjson_get_str(v)) != yyjson_get_len(v))
            return FAIL_FORMAT(place(f, name), "metadata \"%s\" holds the character U+0000",
                               sti_quote(q, name));
        f->meta[f->n_meta++] = (meta_pair){name, yyjson_get_str(v)};
    }
    qsort(f->meta, (size_t)f->n_meta, sizeof *f->meta, compare_meta);
    for (int64_t j = 1; j < f->n_meta; j++)
        if (strcmp(f->meta[j - 1].key, f->meta[j].key) == 0)
            return FAIL_FORMAT(place(f, f->meta[j].key), "metadata \"%s\" occurs twice",
                               sti_quote(q, f->meta[j].key));
    return ST_OK;
}

/* ---- the file as a whole --------------------------------------------------------------------- */

static int compare_data(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return (x->pub.name > y->pub.name) - (x->pub.name < y->pub.name);
}

static int compare_name(const void *a, const void *b)
{
    const entry *x = *(entry *const *)a, *y = *(entry *const *)b;
    int c = strcmp(x->pub.name, y->pub.name);
    return c != 0 ? c : (x->pub.name > y->pub.name) - (x->pub.name < y->pub.name);
}

static st_status index_names(st_tensors *f, st_error *err)
{
    char q[STI_QUOTE_BYTES];
    f->by_name = sti_alloc((size_t)f->n_tensor * sizeof *f->by_name);
    if (f->by_name == NULL)
        return sti_fail_mem(err, (size_t)f->n_tensor * sizeof *f->by_name);
    for (int64_t i = 0; i < f->n_tensor; i++)
        f->by_name[i] = &f->tensor[i];
    qsort(f->by_name, (size_t)f->n_tensor, sizeof *f->by_name, compare_name);
    for (int64_t i = 1; i < f->n_tensor; i++) {
        const char *name = f->by_name[i]->pub.name;
        if (strcmp(f->by_name[i - 1]->pub.name, name) == 0)
            return FAIL_FORMAT(place(f, name), "tensor \"%s\" occurs twice", sti_quote(q, name));
    }
    return ST_OK;
}

/* The ranges follow each other from the data's first byte to its last. */
static st_status check_tiling(const st_tensors *f, st_error *err)
{
    int64_t at = 0, data_bytes = f->map.bytes - 8 - f->header_bytes;
    char q[STI_QUOTE_BYTES];
    for (int64_t i = 0; i < f->n_tensor; i++) {
        const entry *e = &f->tensor[i];
        const char *name = e->pub.name;
        if (e->begin != at)
            return FAIL_FORMAT(place(f, name), "tensor \"%s\" begins at %lld of the data, %s",
                               sti_quote(q, name), (long long)e->begin,
                               e->begin < at ? "inside another tensor" : "after a gap");
        if (e->end > data_bytes)
            return FAIL_FORMAT(place(f, name),
                               "tensor \"%s\" ends at %lld of the data, the file has %lld bytes",
                               sti_quote(q, name), (long long)e->end, (long long)data_bytes);
        at = e->end;
    }
    if (at != data_bytes)
        return FAIL_FORMAT(8 + f->header_bytes + at, "%lld bytes follow the last tensor",
                           (long long)(data_bytes - at));
    return ST_OK;
}

static st_status place_data(st_tensors *f, st_error *err)
{
    for (int64_t i = 0; i < f->n_tensor; i++) {
        entry *e = &f->tensor[i];
        e->pub.offset = 8 + f->header_bytes + e->begin;
        e->pub.data = f->map.data + e->pub.offset;
        if (e->pub.offset % (int64_t)st_tensor_type_bytes(e->pub.type) == 0)
            continue;
        e->copy = sti_alloc(e->pub.bytes);
        if (e->copy == NULL)
            return sti_fail_mem(err, e->pub.bytes);
        memcpy(e->copy, e->pub.data, e->pub.bytes);
        e->pub.data = e->copy;
    }
    return ST_OK;
}

/* What a file is whose header's length, its first 8 bytes, cannot be one. */
static const char *other_kind(const uint8_t *data)
{
    if (memcmp(data, "STPART", 6) == 0)
        return "it is what an interrupted recording left; sparsetrace check --salvage makes a "
               "trace of it";
    return memcmp(data, "GGUF", 4) == 0 ? "it is a GGUF model"
                                        : "it was cut short or is no safetensors file";
}

static st_status read_header(st_tensors *f, st_error *err)
{
    yyjson_read_err json_err;
    uint64_t n;
    if (f->map.bytes < 8)
        return FAIL_FORMAT(f->map.bytes, "the file ends inside the length of its header");
    memcpy(&n, f->map.data, 8);
    if (n > (uint64_t)(f->map.bytes - 8))
        return FAIL_FORMAT(0,
                           "the header is to have %llu bytes, the file ends %lld bytes later: %s",
                           (unsigned long long)n, (long long)(f->map.bytes - 8),
                           other_kind(f->map.data));
    if (n > (uint64_t)STI_HEADER_MAX_BYTES)
        return sti_fail_at(err, ST_ERR_LIMIT, 0, "the header has %llu bytes, more than %lld",
                           (unsigned long long)n, (long long)STI_HEADER_MAX_BYTES);
    if (n == 0 || f->map.data[8] != '{')
        return FAIL_FORMAT(8, "the header does not begin with '{': not a safetensors file");
    f->header = sti_alloc((size_t)n + YYJSON_PADDING_SIZE);
    if (f->header == NULL)
        return sti_fail_mem(err, (size_t)n + YYJSON_PADDING_SIZE);
    memcpy(f->header, f->map.data + 8, (size_t)n);
    memset(f->header + n, 0, YYJSON_PADDING_SIZE);
    f->header_bytes = (int64_t)n;
    f->doc = yyjson_read_opts(f->header, (size_t)n, YYJSON_READ_INSITU, NULL, &json_err);
    if (f->doc == NULL && json_err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return sti_fail_mem(err, (size_t)n);
    if (f->doc == NULL)
        return FAIL_FORMAT(8 + (int64_t)json_err.pos, "the header is not JSON: %s", json_err.msg);
    return ST_OK;
}

static st_status parse_header(st_tensors *f, st_error *err)
{
    yyjson_val *root = yyjson_doc_get_root(f->doc), *k, *v; /* an object: it begins with '{' */
    size_t i, max, n = yyjson_obj_size(root);
    f->tensor = sti_calloc(n * sizeof *f->tensor);
    if (f->tensor == NULL)
        return sti_fail_mem(err, n * sizeof *f->tensor);
    yyjson_obj_foreach(root, i, max, k, v)
    {
        if (yyjson_equals_str(k, "__metadata__"))
            STI_TRY(parse_meta(f, k, v, err));
        else
            STI_TRY(parse_tensor(f, k, v, &f->tensor[f->n_tensor++], err));
    }
    qsort(f->tensor, (size_t)f->n_tensor, sizeof *f->tensor, compare_data);
    STI_TRY(index_names(f, err));
    STI_TRY(check_tiling(f, err));
    return place_data(f, err);
}

/* `path` or, where it is NULL, bytes in memory. */
static st_status open_file(const char *path, const void *data, int64_t bytes, st_tensors **file,
                           st_error *err)
{
    st_tensors *f = sti_calloc(sizeof *f);
    st_status status = ST_OK;
    *file = NULL;
    if (f == NULL)
        return sti_fail_mem(err, sizeof *f);
    f->in_memory = path == NULL;
    f->map = (sti_mapping){.data = data, .bytes = bytes, .fd = -1};
    if (path != NULL)
        status = sti_map_path(path, &f->map, err);
    if (status == ST_OK)
        status = read_header(f, err);
    if (status == ST_OK)
        status = parse_header(f, err);
    if (status != ST_OK) {
        st_tensors_free(f);
        return status;
    }
    *file = f;
    return ST_OK;
}

st_status st_tensors_open(const char *path, st_tensors **file, st_error *err)
{
    return open_file(path, NULL, 0, file, err);
}

st_status sti_tensors_open_bytes(const void *data, int64_t bytes, st_tensors **file, st_error *err)
{
    return open_file(NULL, data, bytes, file, err);
}

void st_tensors_free(st_tensors *f)
{
    if (f == NULL)
        return;
    for (int64_t i = 0; i < f->n_tensor; i++)
        sti_free(f->tensor[i].copy);
    if (!f->in_memory)
        sti_unmap(&f->map);
    yyjson_doc_free(f->doc);
    sti_free(f->header);
    sti_free(f->tensor);
    sti_free(f->by_name);
    sti_free(f->meta);
    sti_free(f);
}

/* ---- looking things up ----------------------------------------------------------------------- */

int64_t st_tensors_count(const st_tensors *f)
{
    return f->n_tensor;
}

const st_tensor *st_tensors_at(const st_tensors *f, int64_t i)
{
    return i >= 0 && i < f->n_tensor ? &f->tensor[i].pub : NULL;
}

const st_tensor *st_tensors_find(const st_tensors *f, const char *name)
{
    int64_t lo = 0, hi = f->n_tensor;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        int c = strcmp(f->by_name[mid]->pub.name, name);
        if (c == 0)
            return &f->by_name[mid]->pub;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static const meta_pair *find_meta(const st_tensors *f, const char *key)
{
    for (int64_t i = 0; i < f->n_meta; i++)
        if (strcmp(f->meta[i].key, key) == 0)
            return &f->meta[i];
    return NULL;
}

const char *st_tensors_meta(const st_tensors *f, const char *key)
{
    const meta_pair *m = find_meta(f, key);
    return m == NULL ? NULL : m->value;
}

const char *st_tensors_meta_key(const st_tensors *f, int64_t i)
{
    return i >= 0 && i < f->n_meta ? f->meta[i].key : NULL;
}

int64_t sti_tensors_name_position(const st_tensors *f, const char *name)
{
    const st_tensor *t = st_tensors_find(f, name);
    return t == NULL ? 0 : place(f, t->name);
}

int64_t sti_tensors_meta_position(const st_tensors *f, const char *key)
{
    const meta_pair *m = find_meta(f, key);
    return m == NULL ? 0 : place(f, m->value);
}

int64_t sti_tensors_bytes(const st_tensors *f)
{
    return f->map.bytes;
}
