/* SPDX-License-Identifier: MIT
 *
 * test_note.c — a document put into a finished trace: it is there, all else is as it was, and what
 * is refused leaves the file alone.
 */
#include "../unit/check.h"
#include "sample_trace.h"
#include "sparsetrace/tensors.h"

static const char *path;

static bool has(const char *key, const char *json)
{
    st_trace *t = NULL;
    const char *found = NULL;
    bool same;
    CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    found = st_trace_json(t, key);
    same = json == NULL ? found == NULL : found != NULL && strcmp(found, json) == 0;
    st_trace_free(t);
    return same;
}

/* Whether the file's tensors are those of the other file, bytes and all. */
static bool same_tensors(const char *other)
{
    st_tensors *a = NULL, *b = NULL;
    bool same;
    CHECK_STATUS(st_tensors_open(path, &a, NULL), ST_OK);
    CHECK_STATUS(st_tensors_open(other, &b, NULL), ST_OK);
    same = st_tensors_count(a) == st_tensors_count(b) && st_tensors_count(a) > 0;
    for (int64_t i = 0; same && i < st_tensors_count(a); i++) {
        const st_tensor *x = st_tensors_at(a, i), *y = st_tensors_find(b, x->name);
        same = y != NULL && x->type == y->type && x->bytes == y->bytes &&
               memcmp(x->data, y->data, x->bytes) == 0 &&
               memcmp(x->shape, y->shape, (size_t)x->n_dim * sizeof *x->shape) == 0;
    }
    st_tensors_free(a);
    st_tensors_free(b);
    return same;
}

static void check_noted(const char *before)
{
    CHECK(has("reasoning", NULL));
    CHECK_STATUS(st_trace_note(path, "reasoning", "{\"a\":1}", NULL), ST_OK);
    CHECK(has("reasoning", "{\"a\":1}"));
    CHECK_STATUS(st_trace_note(path, "other", "[\"\\u00e4\"]", NULL), ST_OK);
    CHECK_STATUS(st_trace_note(path, "reasoning", "{\"b\":2}", NULL), ST_OK);
    CHECK(has("reasoning", "{\"b\":2}"));
    CHECK(has("other", "[\"\\u00e4\"]"));
    CHECK(same_tensors(before));
}

static void check_refused(void)
{
    size_t n, m;
    char *before = sample_load(path, &n), *after;
    st_error err;
    CHECK_STATUS(st_trace_note(path, "reasoning", "{\"a\":", &err), ST_ERR_ARG);
    CHECK_EQ(err.position, 5);
    CHECK_STATUS(st_trace_note(path, "geometry", "{}", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_note(path, "Big", "{}", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_note(path, NULL, "{}", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_note(path, "key", NULL, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_note("no/such/file", "key", "{}", NULL), ST_ERR_IO);
    after = sample_load(path, &m);
    CHECK(n == m && memcmp(before, after, n) == 0);
    free(before);
    free(after);
}

/* A safetensors file that is no trace is not turned into one. */
static void check_other_file(void)
{
    const char *other = sample_path("other");
    float x[2] = {1, 2};
    st_tensor t = {
        .name = "x", .type = ST_TENSOR_F32, .n_dim = 1, .shape = {2}, .data = x, .bytes = sizeof x};
    st_tensors *file = NULL;
    CHECK_STATUS(st_tensors_write(other, &t, 1, NULL, 0, NULL), ST_OK);
    CHECK_STATUS(st_trace_note(other, "key", "{}", NULL), ST_ERR_FORMAT);
    CHECK_STATUS(st_tensors_open(other, &file, NULL), ST_OK);
    CHECK(st_tensors_meta(file, "key") == NULL && st_tensors_meta_key(file, 0) == NULL);
    st_tensors_free(file);
}

int main(void)
{
    sample s = sample_default();
    const char *before;
    st_trace_options opt = {.group = sample_groups, .n_group = SAMPLE_GROUPS};
    s.group = sample_groups;
    s.n_group = SAMPLE_GROUPS;
    path = sample_path("noted");
    before = sample_path("before");
    CHECK_STATUS(sample_write(&s, path, &opt, NULL), ST_OK);
    CHECK_STATUS(sample_write(&s, before, &opt, NULL), ST_OK);
    check_noted(before);
    check_refused();
    check_other_file();
    return check_report();
}
