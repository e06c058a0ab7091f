/* SPDX-License-Identifier: MIT
 *
 * test_group_matrix.c — attention from group to group in the trace file: what is written is read
 * back, micro-batches that share a group are joined, interrupted runs keep what they had, and bad
 * groups are refused at the writer's and at the reader's door.
 */
#include <math.h>

#include "../unit/check.h"
#include "sample_trace.h"

static sample grouped(void)
{
    sample s = sample_default();
    s.group = sample_groups;
    s.n_group = SAMPLE_GROUPS;
    return s;
}

static st_trace_options options(void)
{
    return (st_trace_options){.group = sample_groups, .n_group = SAMPLE_GROUPS};
}

/* The mean over the rows of group i below n_tok, and the tokens of group j below n_tok. */
static double expected(int l, int h, int64_t i, int64_t j, int64_t n_tok)
{
    const st_group *row = &sample_groups[i], *col = &sample_groups[j];
    int64_t end = row->end < n_tok ? row->end : n_tok;
    double sum = 0, kept = (double)((col->end < n_tok ? col->end : n_tok) - col->begin);
    for (int64_t r = row->begin; j <= i && r < end; r++)
        sum += (double)sample_share(l, h, r, j) * (double)(col->end - col->begin);
    return sum / (double)(end - row->begin) / kept;
}

static void check_matrices(const sample *s, const st_trace *t, int64_t n_tok, int64_t n)
{
    float mean[SAMPLE_GROUPS * SAMPLE_GROUPS];
    for (int l = 0; l < SAMPLE_LAYERS; l++)
        for (int h = 0; h < s->n_head[l]; h++) {
            CHECK_STATUS(st_trace_group_matrix(t, l, h, mean, NULL), ST_OK);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++)
                    CHECK(fabs((double)mean[i * n + j] - expected(l, h, i, j, n_tok)) < 1e-7);
        }
}

static void test_round_trip(void)
{
    sample s = grouped();
    st_trace_options opt = options();
    const char *path = sample_path("groups.safetensors");
    st_trace_info info;
    st_trace_samples x;
    st_trace *t;
    float mean[SAMPLE_GROUPS * SAMPLE_GROUPS];
    CHECK_STATUS(sample_write(&s, path, &opt, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    st_trace_get_info(t, &info);
    CHECK_EQ(info.n_group, SAMPLE_GROUPS);
    CHECK(memcmp(st_trace_groups(t), sample_groups, sizeof sample_groups) == 0);
    check_matrices(&s, t, s.n_tok, SAMPLE_GROUPS);
    CHECK_STATUS(st_trace_get_samples(t, 1, &x, NULL), ST_OK);
    CHECK_EQ(x.n_row, 7);
    for (int h = 0; h < 3; h++)
        for (int64_t r = 0; r < x.n_row; r++)
            CHECK(x.recall[h * x.n_row + r] == sample_recall(1, h, x.rows[r]));
    CHECK_STATUS(st_trace_group_matrix(t, 3, 0, mean, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_group_matrix(t, 0, 2, mean, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_get_samples(t, -1, &x, NULL), ST_ERR_ARG);
    st_trace_free(t);
}

/* One layer and one head recorded: the others' matrices are not there. */
static void test_part(void)
{
    sample s = grouped();
    st_trace_options opt = options();
    int32_t layer[] = {1}, head[] = {2};
    float mean[SAMPLE_GROUPS * SAMPLE_GROUPS];
    st_trace *t;
    opt.layer = layer;
    opt.head = head;
    opt.n_layer = opt.n_head = 1;
    CHECK_STATUS(sample_write(&s, sample_path("part.safetensors"), &opt, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(sample_path("part.safetensors"), &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    CHECK_STATUS(st_trace_group_matrix(t, 0, 0, mean, NULL), ST_OK);
    CHECK(fabs((double)mean[3 * SAMPLE_GROUPS + 1] - expected(1, 2, 3, 1, s.n_tok)) < 1e-7);
    CHECK_STATUS(st_trace_group_matrix(t, 1, 0, mean, NULL), ST_ERR_ARG);
    st_trace_free(t);
}

/* A run that was cut off: the rows so far of a group count, groups behind are not there. */
static void test_salvage(int64_t n_saved, int64_t n_group)
{
    sample s = grouped();
    st_trace_options opt = options();
    const char *path = sample_path("cut.safetensors"), *part = sample_path("cut.safetensors.part");
    st_trace_writer *w;
    st_trace_info info;
    sample_chunk x;
    st_trace *t;
    int64_t n_tok;
    CHECK_STATUS(st_trace_writer_create(path, s.n_tok, s.bq, s.bk, &opt, &w, NULL), ST_OK);
    CHECK_STATUS(sample_add(&s, w, 0, n_saved, NULL), ST_OK);
    sample_chunk_make(&x, &s, 0, n_saved); /* the first layer is ahead */
    CHECK_STATUS(st_trace_writer_add(w, &x.chunk, NULL), ST_OK);
    sample_chunk_free(&x);
    st_trace_writer_free(w, true);
    CHECK_STATUS(st_trace_salvage(part, path, &n_tok, NULL), ST_OK);
    CHECK_EQ(n_tok, n_saved);
    CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    st_trace_get_info(t, &info);
    CHECK_EQ(info.n_group, n_group);
    check_matrices(&s, t, n_saved, n_group);
    st_trace_free(t);
}

/* What a chunk may not bring. */
static void test_bad_chunks(void)
{
    sample s = grouped();
    st_trace_options opt = options();
    st_group overlap[] = {{0, 5}, {4, 8}};
    st_trace_writer *w;
    st_error err;
    for (int bad = 0; bad < 4; bad++) {
        sample_chunk x;
        CHECK_STATUS(st_trace_writer_create(sample_path("bad.safetensors"), s.n_tok, s.bq, s.bk,
                                            &opt, &w, NULL),
                     ST_OK);
        sample_chunk_make(&x, &s, 1, 0);
        if (bad == 0)
            x.chunk.groups = NULL;
        if (bad == 1)
            x.groups.n--;
        if (bad == 2)
            x.groups.sum[3] = NAN;
        if (bad == 3)
            x.groups.n_group--;
        CHECK_STATUS(st_trace_writer_add(w, &x.chunk, &err), ST_ERR_ARG);
        CHECK(strstr(err.message, "layer 1") != NULL);
        sample_chunk_free(&x);
        st_trace_writer_free(w, false);
    }
    opt.group = overlap;
    opt.n_group = 2;
    CHECK_STATUS(
        st_trace_writer_create(sample_path("bad.safetensors"), s.n_tok, s.bq, s.bk, &opt, &w, &err),
        ST_ERR_ARG);
    CHECK_EQ(err.position, 1);
}

/* One number of a tensor wrong: validate names its byte, queries stay inside. */
static void test_bad_files(void)
{
    static const struct {
        const char *tensor;
        int64_t elem, value;
        int bytes;
    } bad[] = {
        {"groups", 2, 2, 8},
        {"groups", 1, 0, 8},
        {"groups", 11, 51, 8},
        {"layer.0.group_indptr", 2, 1000000, 8},
        {"layer.0.group_indptr", 0, 1, 8},
        {"layer.1.group_indices", 0, -1, 4},
        {"layer.1.group_indices", 0, 6, 4},
        {"layer.3.group_mean", 1, 0x7fc00000, 4},
        {"layer.3.group_mean", 1, 0, 4},
        {"layer.3.group_mean", 1, 0x40000000, 4},
    };
    sample s = grouped();
    st_trace_options opt = options();
    size_t bytes = 0;
    char *good;
    CHECK_STATUS(sample_write(&s, sample_path("good.safetensors"), &opt, NULL), ST_OK);
    good = sample_load(sample_path("good.safetensors"), &bytes);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path = sample_path("wrong.safetensors");
        char *data = malloc(bytes);
        st_tensors *f;
        st_trace *t;
        st_error err = {.position = -1};
        int64_t at;
        CHECK_STATUS(st_tensors_open(sample_path("good.safetensors"), &f, NULL), ST_OK);
        at = st_tensors_find(f, bad[i].tensor)->offset + bad[i].elem * bad[i].bytes;
        st_tensors_free(f);
        memcpy(data, good, bytes);
        memcpy(data + at, &bad[i].value, (size_t)bad[i].bytes);
        sample_store(path, data, bytes);
        CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
        (void)sample_use(t);
        CHECK_STATUS(st_trace_validate(t, &err), ST_ERR_FORMAT);
        CHECK(err.position >= at - 16 && err.position <= at + 16);
        st_trace_free(t);
        free(data);
    }
    free(good);
}

int main(void)
{
    test_round_trip();
    test_part();
    test_salvage(20, 4); /* inside a group */
    test_salvage(40, 5);
    test_bad_chunks();
    test_bad_files();
    return check_report();
}
