/* SPDX-License-Identifier: MIT
 *
 * excerpt.c — finds the finest excerpt of a trace that fits into a number of bytes, and writes it:
 * the trace's own metadata (geometry with the coarser blocks), its text, packed selections, and the
 * overview (docs/view-format.md).
 */
#include <stdio.h>
#include <stdlib.h>

#include <yyjson.h>

#include "view/overview.h"
#include "view/packed.h"

#define NAME_BYTES 40

struct st_excerpt {
    const st_trace *trace;
    st_excerpt_info info;
    st_overview *overview;
    sti_overview_tensors pictures;
    sti_bytes piece; /* varint lengths */
    sti_bytes text;
    sti_bytes *layer; /* [n_layer recorded] */
    char (*name)[NAME_BYTES];
    char *geometry, *view;
    st_tensor *tensor;
    int64_t n_tensor;
};

/* ---- text ------------------------------------------------------------------------------------ */

static int64_t piece_bytes(const st_trace *t, int64_t i, const char **text)
{
    int64_t n;
    *text = st_trace_text(t, i, i + 1, &n);
    return n;
}

/* Bytes of all text if tokens are cut to `most` bytes. */
static int64_t text_bytes(const st_trace *t, int64_t most)
{
    int64_t sum = 0;
    const char *text;
    for (int64_t i = 0; i < t->info.n_tok; i++) {
        int64_t n = sti_min(piece_bytes(t, i, &text), most);
        sum += n + (n < 128 ? 1 : n < 16384 ? 2 : 5);
    }
    return sum;
}

static st_status pack_text(st_excerpt *x, int64_t budget, st_error *err)
{
    const st_trace *t = x->trace;
    int64_t longest = 0, most = INT64_MAX;
    const char *text;
    x->info.piece_max_bytes = t->text == NULL ? 0 : -1;
    if (t->text == NULL)
        return ST_OK;
    for (int64_t i = 0; i < t->info.n_tok; i++)
        longest = sti_max(longest, piece_bytes(t, i, &text));
    if (text_bytes(t, most) > budget) {
        for (most = 1; 2 * most < longest; most *= 2)
            continue;
        while (most > 0 && text_bytes(t, most) > budget)
            most /= 2;
        x->info.piece_max_bytes = most;
    }
    x->piece.limit = x->text.limit = INT64_MAX;
    for (int64_t i = 0; i < t->info.n_tok && most > 0; i++) {
        int64_t n = sti_min(piece_bytes(t, i, &text), most);
        sti_bytes_varint(&x->piece, (uint64_t)n);
        for (int64_t j = 0; j < n; j++)
            sti_bytes_put(&x->text, (uint8_t)text[j]);
    }
    return x->piece.no_memory || x->text.no_memory ? sti_fail_mem(err, (size_t)budget) : ST_OK;
}

/* ---- selections ------------------------------------------------------------------------------ */

/* Packs all layers at this grain into at most `budget` bytes. *fits says whether that could be. */
static st_status pack_layers(st_excerpt *x, sti_grain grain, int64_t budget, sti_packed_sum *sum,
                             bool *fits, st_error *err)
{
    const st_trace *t = x->trace;
    sti_packer p;
    STI_TRY(sti_packer_init(&p, t, grain, err));
    *sum = (sti_packed_sum){0};
    *fits = true;
    for (int64_t i = 0; i < t->info.n_layer && *fits; i++) {
        sti_bytes *b = &x->layer[i];
        b->n = 0;
        b->over = false;
        b->limit = budget;
        sti_pack_layer(&p, t->recorded[i], b, sum);
        budget -= b->n;
        *fits = !b->over && !b->no_memory;
        if (b->no_memory) {
            sti_packer_free(&p);
            return sti_fail_mem(err, (size_t)b->n);
        }
    }
    sti_packer_free(&p);
    return ST_OK;
}

/* What the trace's entries add up to, to compare with. */
static sti_packed_sum count_trace(const st_trace *t)
{
    sti_packed_sum sum = {0};
    for (int64_t i = 0; i < t->info.n_layer; i++)
        for (int64_t h = 0; h < t->recorded[i]->pub.n_head; h++)
            for (int64_t blk = t->blk_begin; blk < t->blk_end; blk++) {
                sti_entries e = sti_trace_entries(t, t->recorded[i], h, blk);
                for (int64_t j = 0; j < e.n; j++)
                    if (sti_entry_ok(t, &e, j)) {
                        sum.n_entry++;
                        sum.mass += (double)sti_f16_f32(e.mass[j]);
                    }
            }
    return sum;
}

static st_status choose_grain(st_excerpt *x, int64_t budget, st_error *err)
{
    static const struct {
        int bits;
        float floor;
    } step[] = {{16, 0}, {16, 0x1p-12f}, {16, 0x1p-10f}, {8, 0x1p-10f}, {8, 0x1p-8f}, {8, 0x1p-6f}};
    const st_trace_info *i = &x->trace->info;
    sti_packed_sum was = count_trace(x->trace), is;
    bool fits = false;
    for (int fold = 1;; fold *= 2) {
        bool last = 2 * fold * (int64_t)(i->bq > i->bk ? i->bq : i->bk) > 65536 ||
                    fold >= sti_max(i->nbq, i->nbk);
        for (size_t s = 0; s < sizeof step / sizeof *step; s++) {
            sti_grain g = {fold, step[s].bits, step[s].floor};
            g.floor = g.floor > i->mass_floor ? g.floor : i->mass_floor;
            STI_TRY(pack_layers(x, g, budget, &is, &fits, err));
            if (!fits)
                continue;
            x->info.bq = i->bq * fold;
            x->info.bk = i->bk * fold;
            x->info.mass_bits = g.mass_bits;
            x->info.mass_floor = g.floor;
            x->info.n_entry = is.n_entry;
            x->info.n_entry_trace = was.n_entry;
            x->info.mass_share = was.mass > 0 && is.mass < was.mass ? is.mass / was.mass : 1;
            return ST_OK;
        }
        if (last)
            return sti_fail(err, ST_ERR_LIMIT, -1,
                            "the trace does not fit: its coarsest selection takes more than the "
                            "%lld bytes that are left for it",
                            (long long)budget);
    }
}

/* ---- documents ------------------------------------------------------------------------------- */

/* The trace's geometry with the excerpt's blocks. */
static st_status make_geometry(st_excerpt *x, st_error *err)
{
    const char *text = st_tensors_meta(x->trace->file, "geometry");
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    yyjson_mut_doc *copy = yyjson_doc_mut_copy(doc, NULL);
    yyjson_mut_val *root = yyjson_mut_doc_get_root(copy);
    size_t n;
    yyjson_doc_free(doc);
    yyjson_mut_set_int(yyjson_mut_obj_get(root, "bq"), x->info.bq);
    yyjson_mut_set_int(yyjson_mut_obj_get(root, "bk"), x->info.bk);
    yyjson_mut_set_real(yyjson_mut_obj_get(root, "mass_floor"), (double)x->info.mass_floor);
    x->geometry = yyjson_mut_write(copy, 0, &n);
    yyjson_mut_doc_free(copy);
    return x->geometry != NULL ? ST_OK : sti_fail_mem(err, strlen(text));
}

static st_status make_view(st_excerpt *x, st_error *err)
{
    const st_trace_info *i = &x->trace->info;
    const st_excerpt_info *e = &x->info;
    char more[480];
    snprintf(more, sizeof more,
             "\"bq_trace\":%d,\"bk_trace\":%d,\"mass_bits\":%d,\"n_entry\":%lld,"
             "\"n_entry_trace\":%lld,\"mass_share_ppm\":%lld,\"piece_max_bytes\":%lld",
             i->bq, i->bk, e->mass_bits, (long long)e->n_entry, (long long)e->n_entry_trace,
             (long long)(e->mass_share * 1e6), (long long)e->piece_max_bytes);
    x->view = sti_overview_json(x->overview, more);
    return x->view != NULL ? ST_OK : sti_fail_mem(err, sizeof more);
}

/* ---- the file -------------------------------------------------------------------------------- */

static void add_tensor(st_excerpt *x, const char *name, st_tensor_type type, const void *data,
                       int64_t n)
{
    x->tensor[x->n_tensor++] = (st_tensor){.name = name,
                                           .type = type,
                                           .n_dim = 1,
                                           .shape = {n},
                                           .data = data,
                                           .bytes = (size_t)n * st_tensor_type_bytes(type)};
}

static st_status list_tensors(st_excerpt *x, st_error *err)
{
    const st_trace *t = x->trace;
    size_t n = (size_t)t->info.n_layer;
    size_t most = 3 + (size_t)x->pictures.n + 2 * n;
    x->n_tensor = 0;
    x->tensor = sti_alloc(most * sizeof *x->tensor);
    x->name = sti_alloc(2 * n * sizeof *x->name);
    if (x->tensor == NULL || x->name == NULL)
        return sti_fail_mem(err, most * sizeof *x->tensor);
    for (int64_t i = 0; i < x->pictures.n_wide; i++)
        x->tensor[x->n_tensor++] = x->pictures.tensor[i];
    if (x->info.has_tokens)
        add_tensor(x, "tokens", ST_TENSOR_I32, t->tokens->data, t->info.n_tok);
    for (size_t i = 0; i < n; i++) {
        const st_trace_layer *l = &t->recorded[i]->pub;
        snprintf(x->name[2 * i], NAME_BYTES, "layer.%d.head", l->layer);
        add_tensor(x, x->name[2 * i], ST_TENSOR_I32, l->head, l->n_head);
    }
    for (int64_t i = x->pictures.n_wide; i < x->pictures.n; i++)
        x->tensor[x->n_tensor++] = x->pictures.tensor[i];
    if (x->info.piece_max_bytes != 0) {
        add_tensor(x, "piece_bytes", ST_TENSOR_U8, x->piece.data, x->piece.n);
        add_tensor(x, "text", ST_TENSOR_U8, x->text.data, x->text.n);
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(x->name[2 * i + 1], NAME_BYTES, "layer.%d.packed", t->recorded[i]->pub.layer);
        add_tensor(x, x->name[2 * i + 1], ST_TENSOR_U8, x->layer[i].data, x->layer[i].n);
    }
    return ST_OK;
}

/* The metadata of the trace that a viewer reads, ours put in. Returns the number of pairs. */
static int64_t list_meta(const st_excerpt *x, const char *meta[9][2])
{
    static const char *const copied[] = {"certificate", "recipe", "result", "timings", "reasoning"};
    int64_t n = 0;
    meta[n][0] = "format", meta[n++][1] = "sparsetrace.view";
    meta[n][0] = "format_version", meta[n++][1] = "1";
    meta[n][0] = "geometry", meta[n++][1] = x->geometry;
    meta[n][0] = "view", meta[n++][1] = x->view;
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        const char *text = st_tensors_meta(x->trace->file, copied[i]);
        if (text != NULL)
            meta[n][0] = copied[i], meta[n++][1] = text;
    }
    return n;
}

static st_status count_bytes(void *ctx, const void *data, size_t bytes, st_error *err)
{
    (void)data, (void)err;
    *(int64_t *)ctx += (int64_t)bytes;
    return ST_OK;
}

st_status st_excerpt_save(const st_excerpt *x, const st_out *out, st_error *err)
{
    const char *meta[9][2];
    int64_t n = list_meta(x, meta);
    return sti_save_tensors(x->tensor, x->n_tensor, (const char *const(*)[2])meta, n, out, err);
}

/* Everything but the selections first: they get what is left. */
static st_status build(st_excerpt *x, const st_overview *overview, int64_t max_bytes, st_error *err)
{
    const st_trace *t = x->trace;
    int64_t used = 0;
    st_out counter = {count_bytes, &used};
    STI_TRY(sti_overview_fold(overview, max_bytes / 8, &x->overview, err));
    STI_TRY(sti_overview_tensors_make(x->overview, &x->pictures, err));
    STI_TRY(pack_text(x, max_bytes / 2, err));
    x->info.has_tokens = t->tokens != NULL && 4 * t->info.n_tok <= max_bytes / 16;
    x->info.bq = t->info.bq * 1024; /* room for the numbers that are not known yet */
    x->info.bk = t->info.bk * 1024;
    x->info.mass_bits = 16;
    x->info.n_entry = x->info.n_entry_trace = INT64_MAX;
    x->info.mass_share = 1;
    x->info.mass_floor = 0x1p-12f;
    STI_TRY(make_geometry(x, err));
    STI_TRY(make_view(x, err));
    STI_TRY(list_tensors(x, err));
    STI_TRY(st_excerpt_save(x, &counter, err));
    used += 64 * (t->info.n_layer + 1); /* offsets of the selections take more digits */
    if (used >= max_bytes)
        return sti_fail(err, ST_ERR_LIMIT, -1,
                        "the trace does not fit: without its selections it takes %lld bytes of "
                        "%lld",
                        (long long)used, (long long)max_bytes);
    STI_TRY(choose_grain(x, max_bytes - used, err));
    free(x->geometry);
    sti_free(x->view);
    sti_free(x->tensor);
    sti_free(x->name);
    x->geometry = x->view = NULL;
    x->tensor = NULL;
    x->name = NULL;
    STI_TRY(make_geometry(x, err));
    STI_TRY(make_view(x, err));
    STI_TRY(list_tensors(x, err));
    counter.ctx = &x->info.bytes;
    return st_excerpt_save(x, &counter, err);
}

st_status st_excerpt_create(const st_trace *t, const st_overview *overview, int64_t max_bytes,
                            st_excerpt **excerpt, st_error *err)
{
    st_excerpt *x;
    st_status status;
    *excerpt = NULL;
    if (max_bytes < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "max_bytes is %lld, must be at least 1",
                        (long long)max_bytes);
    x = sti_calloc(sizeof *x);
    if (x == NULL)
        return sti_fail_mem(err, sizeof *x);
    x->trace = t;
    x->layer = sti_calloc((size_t)t->info.n_layer * sizeof *x->layer);
    status = x->layer == NULL ? sti_fail_mem(err, (size_t)t->info.n_layer * sizeof *x->layer)
                              : build(x, overview, max_bytes, err);
    if (status != ST_OK) {
        st_excerpt_free(x);
        return status;
    }
    *excerpt = x;
    return ST_OK;
}

void st_excerpt_free(st_excerpt *x)
{
    if (x == NULL)
        return;
    for (int64_t i = 0; x->layer != NULL && i < x->trace->info.n_layer; i++)
        sti_free(x->layer[i].data);
    sti_free(x->layer);
    sti_free(x->piece.data);
    sti_free(x->text.data);
    sti_overview_tensors_free(&x->pictures);
    st_overview_free(x->overview);
    free(x->geometry);
    sti_free(x->view);
    sti_free(x->tensor);
    sti_free(x->name);
    sti_free(x);
}

void st_excerpt_get_info(const st_excerpt *x, st_excerpt_info *info)
{
    *info = x->info;
}
