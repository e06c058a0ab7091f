/* SPDX-License-Identifier: MIT
 *
 * tagger.c — opening a tagger's weights and tagging sentences with them.
 */
#include <math.h>
#include <stdlib.h>

#include <yyjson.h>

#include "reason/chain.h"
#include "reason/features.h"
#include "reason/tagger.h"
#include "trace/tensors_int.h"

/* ---- opening --------------------------------------------------------------------------------- */

struct wanted {
    const char *name;
    st_tensor_type type;
    int64_t rows, cols; /* cols 0: one dimension */
};

/* A tensor's data if it is as wanted; NULL with ST_OK if there is none and it may be missing. */
static st_status take(const st_tensors *file, struct wanted w, bool optional, const void **data,
                      st_error *err)
{
    const st_tensor *t = st_tensors_find(file, w.name);
    *data = NULL;
    if (t == NULL && optional)
        return ST_OK;
    if (t == NULL)
        return sti_fail(err, ST_ERR_FORMAT, -1, "the tagger has no tensor \"%s\"", w.name);
    if (t->type != w.type || t->n_dim != (w.cols > 0 ? 2 : 1) || t->shape[0] != w.rows ||
        (w.cols > 0 && t->shape[1] != w.cols))
        return sti_fail(err, ST_ERR_FORMAT, t->offset,
                        "the tagger's tensor \"%s\" must be %s [%lld%s%.0lld]", w.name,
                        st_tensor_type_name(w.type), (long long)w.rows, w.cols > 0 ? ", " : "",
                        (long long)w.cols);
    if (w.type == ST_TENSOR_F32)
        for (size_t i = 0; i < t->bytes / 4; i++)
            if (!isfinite(((const float *)t->data)[i]))
                return sti_fail(err, ST_ERR_FORMAT, t->offset + 4 * (int64_t)i,
                                "the tagger's tensor \"%s\" has a value that is not finite",
                                w.name);
    *data = t->data;
    return ST_OK;
}

static st_status read_names(st_tagger *t, st_error *err)
{
    const char *json = st_tensors_meta(t->file, "tags");
    yyjson_doc *doc = json != NULL ? yyjson_read(json, strlen(json), 0) : NULL;
    yyjson_val *list = yyjson_doc_get_root(doc), *v;
    size_t i, n, n_tag = yyjson_arr_size(list);
    st_status status = ST_OK;
    if (n_tag < 1 || n_tag > STI_TAGS_MAX)
        status =
            sti_fail(err, ST_ERR_FORMAT, -1,
                     "the tagger's \"tags\" must be a JSON array of 1 to %d names", STI_TAGS_MAX);
    if (status == ST_OK)
        yyjson_arr_foreach(list, i, n, v)
        {
            size_t bytes = yyjson_get_len(v);
            if (status != ST_OK)
                continue;
            if (!yyjson_is_str(v) || bytes == 0)
                status = sti_fail(err, ST_ERR_FORMAT, (int64_t)i,
                                  "tag %zu of the tagger has no name", i);
            else if ((t->name[i] = sti_calloc(bytes + 1)) == NULL)
                status = sti_fail_mem(err, bytes + 1);
            else
                memcpy(t->name[i], yyjson_get_str(v), bytes);
        }
    t->n_tag = (int)n_tag;
    yyjson_doc_free(doc);
    return status;
}

#define F32(name, rows, cols, optional, to)                                                        \
    STI_TRY(take(t->file, (struct wanted){name, ST_TENSOR_F32, rows, cols}, optional,              \
                 (const void **)&(to), err))

static st_status read_text_weights(st_tagger *t, st_error *err)
{
    const st_tensor *key = st_tensors_find(t->file, "text.key");
    t->n_key = key != NULL && key->n_dim == 1 ? key->shape[0] : 0;
    STI_TRY(take(t->file, (struct wanted){"text.key", ST_TENSOR_U32, t->n_key, 0}, false,
                 (const void **)&t->key, err));
    for (int64_t i = 1; i < t->n_key; i++)
        if (t->key[i] <= t->key[i - 1])
            return sti_fail(err, ST_ERR_FORMAT, key->offset + 4 * i,
                            "the tagger's \"text.key\" does not rise at %lld", (long long)i);
    STI_TRY(take(t->file, (struct wanted){"text.weight", ST_TENSOR_I8, t->n_key, t->n_tag}, false,
                 (const void **)&t->weight, err));
    F32("text.scale", t->n_tag, 0, false, t->scale);
    F32("start", t->n_tag, 0, false, t->start);
    F32("step", t->n_tag, t->n_tag, false, t->step);
    return ST_OK;
}

static st_status read_hidden_weights(st_tagger *t, st_error *err)
{
    const st_tensor *w = st_tensors_find(t->file, "hidden.weight");
    if (w == NULL)
        return ST_OK;
    t->n_hidden = w->shape[0];
    F32("hidden.weight", t->n_hidden, t->n_tag, false, t->hidden_weight);
    F32("hidden.mean", t->n_hidden, 0, false, t->hidden_mean);
    F32("hidden.scale", t->n_hidden, 0, false, t->hidden_scale);
    return ST_OK;
}

static st_status read_phases(st_tagger *t, st_error *err)
{
    bool none = st_tensors_find(t->file, "phase.step") == NULL;
    F32("phase.start", ST_PHASE_COUNT, 0, none, t->phase_start);
    F32("phase.step", ST_PHASE_COUNT, ST_PHASE_COUNT, none, t->phase_step);
    F32("phase.tag", ST_PHASE_COUNT, t->n_tag, none, t->phase_tag);
    F32("phase.prior", t->n_tag, 0, none, t->tag_prior);
    return ST_OK;
}

static st_status read_score(st_tagger *t, st_error *err)
{
    bool none = st_tensors_find(t->file, "score.weight") == NULL;
    F32("score.weight", STI_N_MEASURE, 0, none, t->score_weight);
    F32("score.mean", STI_N_MEASURE, 0, none, t->score_mean);
    F32("score.scale", STI_N_MEASURE, 0, none, t->score_scale);
    F32("score.bias", 1, 0, none, t->score_bias);
    return ST_OK;
}

static st_status read_file(st_tagger *t, st_error *err)
{
    const char *format = st_tensors_meta(t->file, "format");
    const char *version = st_tensors_meta(t->file, "format_version");
    if (format == NULL || strcmp(format, "sparsetrace-tagger") != 0)
        return sti_fail(err, ST_ERR_FORMAT, -1, "the file is not a tagger of sparsetrace");
    if (version == NULL || strcmp(version, "1") != 0)
        return sti_fail(err, ST_ERR_FORMAT, -1, "the tagger has format version %.20s, known is 1",
                        version != NULL ? version : "none");
    STI_TRY(read_names(t, err));
    STI_TRY(read_text_weights(t, err));
    STI_TRY(read_hidden_weights(t, err));
    STI_TRY(read_phases(t, err));
    return read_score(t, err);
}

/* The tagger of an open file; on failure the file is closed. */
static st_status make_tagger(st_tensors *file, st_tagger **tagger, st_error *err)
{
    st_tagger *t = sti_calloc(sizeof *t);
    st_status status;
    *tagger = NULL;
    if (t == NULL) {
        st_tensors_free(file);
        return sti_fail_mem(err, sizeof *t);
    }
    t->file = file;
    status = read_file(t, err);
    if (status != ST_OK) {
        st_tagger_free(t);
        return status;
    }
    *tagger = t;
    return ST_OK;
}

static st_status open_bytes(const unsigned char *data, unsigned long bytes, st_tagger **tagger,
                            st_error *err)
{
    st_tensors *file;
    *tagger = NULL;
    STI_TRY(sti_tensors_open_bytes(data, (int64_t)bytes, &file, err));
    return make_tagger(file, tagger, err);
}

st_status st_tagger_open(const char *path, st_tagger **tagger, st_error *err)
{
    st_tensors *file;
    if (path == NULL)
        return open_bytes(sti_tagger_data, sti_tagger_data_bytes, tagger, err);
    *tagger = NULL;
    STI_TRY(st_tensors_open(path, &file, err));
    return make_tagger(file, tagger, err);
}

st_status st_tagger_open_for(const char *model, int64_t n_hidden, st_tagger **tagger, st_error *err)
{
    STI_TRY(
        open_bytes(sti_tagger_smollm2_135m_data, sti_tagger_smollm2_135m_data_bytes, tagger, err));
    if (strcmp(st_tagger_model(*tagger), model) == 0 && st_tagger_n_hidden(*tagger) == n_hidden)
        return ST_OK;
    st_tagger_free(*tagger);
    return st_tagger_open(NULL, tagger, err);
}

void st_tagger_free(st_tagger *t)
{
    if (t == NULL)
        return;
    st_tensors_free(t->file);
    for (int i = 0; i < STI_TAGS_MAX; i++)
        sti_free(t->name[i]);
    sti_free(t);
}

/* ---- the taxonomy ---------------------------------------------------------------------------- */

int st_tagger_n_tag(const st_tagger *t)
{
    return t->n_tag;
}

const char *st_tagger_tag(const st_tagger *t, int tag)
{
    return tag >= 0 && tag < t->n_tag ? t->name[tag] : NULL;
}

int st_tagger_find(const st_tagger *t, const char *name)
{
    for (int i = 0; i < t->n_tag; i++)
        if (strcmp(t->name[i], name) == 0)
            return i;
    return -1;
}

int64_t st_tagger_n_hidden(const st_tagger *t)
{
    return t->n_hidden;
}

int st_tagger_hidden_layer(const st_tagger *t)
{
    const char *text = st_tensors_meta(t->file, "hidden_layer");
    char *end;
    long layer = text != NULL ? strtol(text, &end, 10) : -1;
    bool sound = text != NULL && end != text && *end == '\0' && layer >= 0 && layer < 100000;
    return sound ? (int)layer : -1;
}

const char *st_tagger_model(const st_tagger *t)
{
    const char *model = st_tensors_meta(t->file, "hidden_model");
    return model != NULL ? model : "";
}

bool st_tagger_has_phases(const st_tagger *t)
{
    return t->phase_step != NULL;
}

/* ---- tagging --------------------------------------------------------------------------------- */

/* Where the key stands, -1: nowhere. */
static int64_t find_key(const st_tagger *t, uint32_t key)
{
    int64_t lo = 0, hi = t->n_key;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (t->key[mid] < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n_key && t->key[lo] == key ? lo : -1;
}

static void add_text(const st_tagger *t, const sti_features *f, double *score)
{
    double sum[STI_TAGS_MAX] = {0};
    for (int64_t i = 0; i < f->n_feature; i++) {
        int64_t row = find_key(t, (uint32_t)(f->feature[i].hash >> 32));
        for (int z = 0; z < t->n_tag && row >= 0; z++)
            sum[z] += (double)f->feature[i].value * t->weight[row * t->n_tag + z];
    }
    for (int z = 0; z < t->n_tag; z++)
        score[z] += sum[z] * (double)t->scale[z];
}

static st_status add_hidden(const st_tagger *t, const float *x, int64_t i, double *score,
                            st_error *err)
{
    for (int64_t j = 0; j < t->n_hidden; j++) {
        const float *w = t->hidden_weight + j * t->n_tag;
        double v = ((double)x[j] - (double)t->hidden_mean[j]) * (double)t->hidden_scale[j];
        if (!isfinite(v))
            return sti_fail(err, ST_ERR_ARG, i, "hidden state %lld of sentence %lld is not finite",
                            (long long)j, (long long)i);
        for (int z = 0; z < t->n_tag; z++)
            score[z] += v * (double)w[z];
    }
    return ST_OK;
}

/* score [n, n_tag]: what each sentence says of its own tag. */
static st_status score_sentences(const st_tagger *t, const char *text, const st_group *sentence,
                                 int64_t n, const float *hidden, double *score, st_error *err)
{
    sti_features f;
    st_status status = sti_features_begin(&f, text, sentence, n, err);
    for (int64_t i = 0; status == ST_OK && i < n; i++) {
        double *s = score + i * t->n_tag;
        memset(s, 0, (size_t)t->n_tag * sizeof *s);
        status = sti_features_next(&f, i, err);
        if (status == ST_OK)
            add_text(t, &f, s);
        if (status == ST_OK && t->n_hidden > 0)
            status = add_hidden(t, hidden + i * t->n_hidden, i, s, err);
    }
    sti_features_free(&f);
    return status;
}

static void choose(const double *prob, int64_t n, int n_tag, int32_t *tag, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        const double *p = prob + i * n_tag;
        tag[i] = 0;
        for (int z = 0; z < n_tag; z++) {
            if (p[z] > p[tag[i]])
                tag[i] = z;
            if (out != NULL)
                out[i * n_tag + z] = (float)p[z];
        }
    }
}

st_status st_tagger_run(const st_tagger *t, const char *text, const st_group *sentence, int64_t n,
                        const float *hidden, int32_t *tag, float *prob, st_error *err)
{
    size_t bytes = (size_t)n * (size_t)t->n_tag * sizeof(double);
    double *score, *p;
    st_status status;
    if ((hidden != NULL) != (t->n_hidden > 0) && n > 0)
        return sti_fail(err, ST_ERR_ARG, -1,
                        t->n_hidden > 0 ? "this tagger wants hidden states, %lld a sentence"
                                        : "this tagger reads text alone, no hidden states (%lld)",
                        (long long)t->n_hidden);
    score = sti_alloc(2 * bytes);
    if (score == NULL)
        return sti_fail_mem(err, 2 * bytes);
    p = score + n * t->n_tag;
    status = score_sentences(t, text, sentence, n, hidden, score, err);
    if (status == ST_OK && n > 0) {
        sti_chain c = {t->n_tag, t->start, t->step, n, score};
        status = sti_chain_posterior(&c, p, NULL, err);
    }
    if (status == ST_OK)
        choose(p, n, t->n_tag, tag, prob);
    sti_free(score);
    return status;
}
