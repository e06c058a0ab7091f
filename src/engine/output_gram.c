/* SPDX-License-Identifier: MIT
 *
 * output_gram.c — the output matrices of all layers, one at a time, as the little that sizes of
 * values need of them: [d_v, d_v] numbers a head.
 */
#include <ggml.h>
#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "engine/output_gram.h"

struct source {
    const st_model *model;
    struct gguf_context *gguf;
    struct ggml_context *meta; /* shapes and types of the tensors */
    FILE *file;
    int d_v;
};

/* Width of a value: said by the model, or its share of the width. */
static int value_width(const st_model *m)
{
    char key[96], text[32];
    snprintf(key, sizeof key, "%s.attention.value_length", m->info.arch);
    if (llama_model_meta_val_str(m->llama, key, text, sizeof text) > 0)
        return atoi(text);
    return m->info.n_embd / m->info.n_head;
}

/* One row of the matrix adds its products to the Gram matrices of all heads. */
static void add_row(float *gram, const float *row, int n_head, int64_t d)
{
    for (int h = 0; h < n_head; h++, row += d, gram += d * d)
        for (int64_t j = 0; j < d; j++)
            for (int64_t i = 0; i < d; i++)
                gram[j * d + i] += row[j] * row[i];
}

static st_status read_rows(struct source *s, const struct ggml_tensor *t, int64_t at, float *gram,
                           int n_head, st_error *err)
{
    const struct ggml_type_traits *traits = ggml_get_type_traits(t->type);
    size_t bytes = ggml_row_size(t->type, t->ne[0]);
    char *raw = sti_alloc(bytes);
    float *row = sti_alloc((size_t)t->ne[0] * sizeof *row);
    st_status status = ST_OK;
    if (raw == NULL || row == NULL)
        status = sti_fail_mem(err, bytes);
    if (status == ST_OK && fseeko(s->file, (off_t)at, SEEK_SET) != 0)
        status = sti_fail_io(err, "read", s->model->run_path);
    for (int64_t i = 0; i < t->ne[1] && status == ST_OK; i++) {
        if (fread(raw, 1, bytes, s->file) != bytes) {
            status = sti_fail(err, ST_ERR_IO, at, "%s ends inside %s", s->model->run_path, t->name);
        } else {
            if (t->type == GGML_TYPE_F32)
                memcpy(row, raw, bytes);
            else
                traits->to_float(raw, row, t->ne[0]);
            add_row(gram, row, n_head, s->d_v);
        }
    }
    sti_free(raw);
    sti_free(row);
    return status;
}

static st_status read_layer(struct source *s, int layer, st_output_gram *g, st_error *err)
{
    char name[64];
    struct ggml_tensor *t;
    int64_t id;
    float *gram;
    snprintf(name, sizeof name, "blk.%d.attn_output.weight", layer);
    t = ggml_get_tensor(s->meta, name);
    id = gguf_find_tensor(s->gguf, name);
    if (t == NULL || id < 0 ||
        (t->type != GGML_TYPE_F32 && !ggml_get_type_traits(t->type)->to_float))
        return sti_fail(err, ST_ERR_MODEL, layer,
                        "sizes of values: %s has no %s to read (another architecture, or a model "
                        "in several files)",
                        s->model->run_path, name);
    if (s->d_v < 1 || t->ne[0] % s->d_v != 0 || t->ne[0] / s->d_v > INT32_MAX)
        return sti_fail(err, ST_ERR_MODEL, layer, "%s takes %lld numbers, not heads of %d", name,
                        (long long)t->ne[0], s->d_v);
    *g = (st_output_gram){.n_head = (int)(t->ne[0] / s->d_v), .d_v = s->d_v};
    g->gram = gram = sti_calloc((size_t)t->ne[0] * (size_t)s->d_v * sizeof *gram);
    if (gram == NULL)
        return sti_fail_mem(err, (size_t)t->ne[0] * (size_t)s->d_v * sizeof *gram);
    return read_rows(s, t,
                     (int64_t)(gguf_get_data_offset(s->gguf) + gguf_get_tensor_offset(s->gguf, id)),
                     gram, g->n_head, err);
}

static st_status read_all(struct source *s, sti_output_grams *grams, st_error *err)
{
    struct gguf_init_params gp = {.no_alloc = true, .ctx = &s->meta};
    const char *path = s->model->run_path;
    int n = s->model->info.n_layer;
    s->d_v = value_width(s->model);
    s->gguf = gguf_init_from_file(path, gp);
    s->file = fopen(path, "rb");
    if (s->gguf == NULL)
        return sti_fail(err, ST_ERR_FORMAT, -1, "%s is not a sound GGUF file: %s", path,
                        sti_llama_error("its header cannot be read"));
    if (s->file == NULL)
        return sti_fail_io(err, "read", path);
    grams->layer = sti_calloc((size_t)n * sizeof *grams->layer);
    if (grams->layer == NULL)
        return sti_fail_mem(err, (size_t)n * sizeof *grams->layer);
    for (grams->n = 0; grams->n < n; grams->n++)
        STI_TRY(read_layer(s, (int)grams->n, &grams->layer[grams->n], err));
    return ST_OK;
}

st_status sti_output_grams_read(const st_model *model, sti_output_grams *grams, st_error *err)
{
    struct source s = {.model = model};
    st_status status;
    *grams = (sti_output_grams){0};
    status = read_all(&s, grams, err);
    if (s.file != NULL)
        fclose(s.file);
    gguf_free(s.gguf);
    ggml_free(s.meta);
    if (status != ST_OK) {
        grams->n += grams->n < model->info.n_layer; /* the one that failed may have its numbers */
        sti_output_grams_free(grams);
    }
    return status;
}

void sti_output_grams_free(sti_output_grams *grams)
{
    for (int64_t i = 0; grams->layer != NULL && i < grams->n; i++)
        sti_free((void *)grams->layer[i].gram);
    sti_free(grams->layer);
    *grams = (sti_output_grams){0};
}
