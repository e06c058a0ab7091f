/* SPDX-License-Identifier: MIT
 *
 * test_export.c — a trace as CSV, JSON and npz. (tests/python/test_trace_file.py opens the npz with
 * SciPy.)
 */
#include <locale.h>
#include <math.h>

#include "../unit/check.h"
#include "sample_trace.h"

/* What an export prints; the caller's to free. */
static char *printed(st_status (*export)(const st_trace *, const st_trace_part *, FILE *,
                                         st_error *),
                     const st_trace *t, const st_trace_part *part)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    CHECK_STATUS(export(t, part, out, NULL), ST_OK);
    fclose(out);
    return text;
}

static void test_csv(const st_trace *t)
{
    static const int32_t layer[] = {1}, head[] = {2};
    st_trace_part part = {
        .layer = layer, .n_layer = 1, .head = head, .n_head = 1, .row_begin = 0, .row_end = 16};
    sample s = sample_default();
    char *text = printed(st_trace_export_csv, t, &part), *line = strtok(text, "\n");
    double want[13], mass;
    int l, h, b, c, n = 0;
    CHECK(strcmp(line, "layer,head,query_block,key_block,mass") == 0);
    while ((line = strtok(NULL, "\n")) != NULL) {
        CHECK(sscanf(line, "%d,%d,%d,%d,%lf", &l, &h, &b, &c, &mass) == 5);
        CHECK(l == 1 && h == 2 && b < 2);
        sample_expect(&s, 1, 2, b, 50, want);
        CHECK(fabs(want[c] - mass) < 1e-3 * mass);
        n++;
    }
    for (b = 0; b < 2; b++) {
        sample_expect(&s, 1, 2, b, 50, want);
        for (c = 0; c < 13; c++)
            n -= want[c] >= 0;
    }
    CHECK_EQ(n, 0);
    free(text);
}

static void test_json(void)
{
    int64_t indptr[] = {0, 2, 2, 3};
    int32_t indices[] = {0, 1, 2};
    float mass[] = {0.5f, 1, 0.0625f};
    st_selection sel = {
        .n_head = 1, .bq = 2, .bk = 2, .nbq = 3, .nbk = 3, .indptr = indptr, .indices = indices};
    st_chunk c = {.layer = 5, .n_q = 6, .sel = &sel, .mass = mass};
    st_trace_writer *w;
    st_trace *t;
    char *text;
    CHECK_STATUS(st_trace_writer_create(sample_path("j.safetensors"), 6, 2, 2, NULL, &w, NULL),
                 ST_OK);
    CHECK_STATUS(st_trace_writer_add(w, &c, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    CHECK_STATUS(st_trace_open(sample_path("j.safetensors"), &t, NULL), ST_OK);
    text = printed(st_trace_export_json, t, NULL);
    CHECK(strcmp(text, "{\"bq\":2,\"bk\":2,\"n_tok\":6,\"rows\":[\n"
                       "{\"layer\":5,\"head\":0,\"query_block\":0,\"key_blocks\":[0,1],"
                       "\"mass\":[0.5,1]},\n"
                       "{\"layer\":5,\"head\":0,\"query_block\":2,\"key_blocks\":[2],"
                       "\"mass\":[0.0625]}\n]}\n") == 0);
    free(text);
    st_trace_free(t);
}

/* Every mass there can be is printed so that it is read back as the same half float. */
static void test_all_masses(void)
{
    enum { N = 0x3c00 + 1 };
    static int32_t indices[N];
    static float mass[N];
    int64_t indptr[] = {0, N};
    st_selection sel = {
        .n_head = 1, .bq = N, .bk = 1, .nbq = 1, .nbk = N, .indptr = indptr, .indices = indices};
    st_chunk c = {.n_q = N, .sel = &sel, .mass = mass};
    st_trace_writer *w;
    st_trace *t;
    char *text, *line;
    int n = 0;
    for (int i = 0; i < N; i++) {
        indices[i] = i;
        mass[i] = st_trace_mass((uint16_t)i);
    }
    CHECK_STATUS(st_trace_writer_create(sample_path("m.safetensors"), N, N, 1, NULL, &w, NULL),
                 ST_OK);
    CHECK_STATUS(st_trace_writer_add(w, &c, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    CHECK_STATUS(st_trace_open(sample_path("m.safetensors"), &t, NULL), ST_OK);
    text = printed(st_trace_export_csv, t, NULL);
    line = strtok(text, "\n");
    while ((line = strtok(NULL, "\n")) != NULL) {
        double got = atof(strrchr(line, ',') + 1), is = (double)mass[n];
        double below = n > 0 ? (is - (double)mass[n - 1]) / 2 : 1;
        double above = n + 1 < N ? ((double)mass[n + 1] - is) / 2 : 1;
        CHECK(got > is - below && got < is + above);
        n++;
    }
    CHECK_EQ(n, N);
    free(text);
    st_trace_free(t);
}

static void test_npz(const st_trace *t)
{
    st_trace_part none = {.row_begin = 7, .row_end = 7};
    const char *path = sample_path("t.npz");
    size_t n, m;
    char *a, *b;
    CHECK_STATUS(st_trace_export_npz(t, NULL, path, NULL), ST_OK);
    a = sample_load(path, &n);
    CHECK(a != NULL && memcmp(a, "PK\3\4", 4) == 0 && memcmp(a + n - 22, "PK\5\6", 4) == 0);
    CHECK_STATUS(st_trace_export_npz(t, NULL, path, NULL), ST_OK);
    b = sample_load(path, &m);
    CHECK(n == m && memcmp(a, b, n) == 0); /* the same trace, the same bytes */
    CHECK_STATUS(st_trace_export_npz(t, &none, path, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_export_npz(t, NULL, sample_path(""), NULL), ST_ERR_IO);
    CHECK_STATUS(st_trace_export_csv(t, &none, stdout, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_export_json(t, &none, stdout, NULL), ST_ERR_ARG);
    free(a);
    free(b);
}

int main(void)
{
    sample s = sample_default();
    st_trace *t;
    setlocale(LC_ALL, ""); /* a comma for a decimal point must not show */
    CHECK_STATUS(sample_write(&s, sample_path("e.safetensors"), NULL, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(sample_path("e.safetensors"), &t, NULL), ST_OK);
    if (t == NULL)
        return check_report();
    test_csv(t);
    test_npz(t);
    st_trace_free(t);
    test_json();
    setlocale(LC_ALL, "C");
    test_all_masses();
    return check_report();
}
