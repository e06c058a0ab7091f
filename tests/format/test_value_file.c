/* SPDX-License-Identifier: MIT
 *
 * test_value_file.c — sizes of values in the trace file: what is written is read back, they come
 * with the rows that end the sequence or not at all, and bad ones are refused at both doors.
 */
#include <math.h>

#include "../unit/check.h"
#include "sample_trace.h"

static sample sized(void)
{
    sample s = sample_default();
    s.value = true;
    return s;
}

static st_trace *open_sound(const char *path)
{
    st_trace *t = NULL;
    CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    return t;
}

static void test_round_trip(void)
{
    sample s = sized();
    const char *path = sample_path("sizes.safetensors");
    st_trace *t;
    CHECK_STATUS(sample_write(&s, path, NULL, NULL), ST_OK);
    t = open_sound(path);
    for (int l = 0; l < SAMPLE_LAYERS; l++) {
        st_trace_layer y;
        CHECK_STATUS(st_trace_get_layer(t, l, &y, NULL), ST_OK);
        CHECK(y.value != NULL);
        for (int64_t h = 0; h < y.n_head; h++)
            for (int64_t c = 0; c < 13; c++)
                CHECK(y.value[h * 13 + c] == sample_value(l, (int)h, c));
    }
    st_trace_free(t);
}

/* Heads that are not recorded are left out; a layer that is not recorded has none. */
static void test_part(void)
{
    static const int32_t layers[] = {1}, heads[] = {0, 2};
    sample s = sized();
    st_trace_options opt = {.layer = layers, .n_layer = 1, .head = heads, .n_head = 2};
    const char *path = sample_path("part.safetensors");
    st_trace_layer y;
    st_trace *t;
    CHECK_STATUS(sample_write(&s, path, &opt, NULL), ST_OK);
    t = open_sound(path);
    CHECK_STATUS(st_trace_get_layer(t, 0, &y, NULL), ST_OK);
    for (int64_t c = 0; c < 13; c++) {
        CHECK(y.value[c] == sample_value(1, 0, c));
        CHECK(y.value[13 + c] == sample_value(1, 2, c));
    }
    st_trace_free(t);
}

static void test_none(void)
{
    sample s = sample_default();
    const char *path = sample_path("none.safetensors");
    st_trace_layer y;
    st_trace *t;
    CHECK_STATUS(sample_write(&s, path, NULL, NULL), ST_OK);
    t = open_sound(path);
    CHECK_STATUS(st_trace_get_layer(t, 0, &y, NULL), ST_OK);
    CHECK(y.value == NULL);
    st_trace_free(t);
}

/* A run that was interrupted in its last micro-batch, when one layer had brought its sizes: the
 * others lack these rows, so they are cut off, and the sizes with them. */
static void test_salvaged(void)
{
    for (int whole = 0; whole < 2; whole++) {
        sample s = sized();
        const char *path = sample_path("cut.safetensors"),
                   *part = sample_path("cut.safetensors.part");
        const char *saved = sample_path("saved.safetensors");
        st_trace_writer *w;
        st_trace_layer y;
        st_trace *t;
        CHECK_STATUS(st_trace_writer_create(path, s.n_tok, s.bq, s.bk, NULL, &w, NULL), ST_OK);
        CHECK_STATUS(sample_add(&s, w, 0, 40, NULL), ST_OK);
        for (int l = 0; l < (whole ? SAMPLE_LAYERS : 1); l++) {
            sample_chunk x;
            sample_chunk_make(&x, &s, l, 40);
            CHECK(x.chunk.value != NULL);
            CHECK_STATUS(st_trace_writer_add(w, &x.chunk, NULL), ST_OK);
            sample_chunk_free(&x);
        }
        if (whole) {
            CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
            st_trace_writer_free(w, true);
            t = open_sound(path);
        } else {
            st_trace_writer_free(w, true);
            CHECK_STATUS(st_trace_salvage(part, saved, NULL, NULL), ST_OK);
            t = open_sound(saved);
        }
        CHECK_STATUS(st_trace_get_layer(t, 0, &y, NULL), ST_OK);
        CHECK_EQ(y.value != NULL, whole);
        st_trace_free(t);
        remove(part);
    }
}

static void test_bad_chunks(void)
{
    static const float bad[] = {-1.0f, NAN, INFINITY};
    sample s = sized();
    st_trace_writer *w;
    st_error err;
    sample_chunk x;
    for (int i = 0; i < 4; i++) {
        CHECK_STATUS(st_trace_writer_create(sample_path("bad.safetensors"), s.n_tok, s.bq, s.bk,
                                            NULL, &w, NULL),
                     ST_OK);
        sample_chunk_make(&x, &s, 1, i < 3 ? 40 : 0);
        if (i < 3)
            x.value[13 + 4] = bad[i];
        else
            sample_chunk_value(&x, &s, 1); /* too early */
        CHECK_STATUS(st_trace_writer_add(w, &x.chunk, &err), ST_ERR_ARG);
        CHECK(strstr(err.message, i < 3 ? "head 1, key block 4" : "end the sequence") != NULL);
        sample_chunk_free(&x);
        st_trace_writer_free(w, false);
    }
}

static void test_bad_files(void)
{
    static const uint32_t bad[] = {0xbf800000, 0x7fc00000, 0x7f800000};
    sample s = sized();
    size_t bytes = 0;
    char *good;
    CHECK_STATUS(sample_write(&s, sample_path("good.safetensors"), NULL, NULL), ST_OK);
    good = sample_load(sample_path("good.safetensors"), &bytes);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path = sample_path("wrong.safetensors");
        st_tensors *f;
        st_trace *t;
        st_error err = {.position = -1};
        int64_t at;
        CHECK_STATUS(st_tensors_open(sample_path("good.safetensors"), &f, NULL), ST_OK);
        at = st_tensors_find(f, "layer.1.value")->offset + 20 * 4;
        st_tensors_free(f);
        uint32_t keep;
        memcpy(&keep, good + at, 4);
        memcpy(good + at, &bad[i], 4);
        sample_store(path, good, bytes);
        memcpy(good + at, &keep, 4);
        CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
        CHECK_STATUS(st_trace_validate(t, &err), ST_ERR_FORMAT);
        CHECK_EQ(err.position, at);
        CHECK(strstr(err.message, "layer.1.value[1, 7]") != NULL);
        st_trace_free(t);
    }
    free(good);
}

int main(void)
{
    test_round_trip();
    test_part();
    test_none();
    test_salvaged();
    test_bad_chunks();
    test_bad_files();
    return check_report();
}
