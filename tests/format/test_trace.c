/* SPDX-License-Identifier: MIT
 *
 * test_trace.c — what is written into a trace comes out of it: all numbers, the options, the
 * queries, the exports; and what the writer refuses.
 */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/check.h"
#include "sample_trace.h"

static st_trace *open_good(const char *path)
{
    st_trace *t = NULL;
    st_error err = {.message = ""};
    CHECK_STATUS(st_trace_open(path, &t, &err), ST_OK);
    if (t != NULL)
        CHECK_STATUS(st_trace_validate(t, &err), ST_OK);
    if (*err.message)
        printf("%s: %s\n", path, err.message);
    return t;
}

/* Compares one row with the sample's formula; entries of less than `floor` are to be absent. */
static void check_row(const sample *s, const st_trace_layer *y, int l, int64_t h, int64_t b,
                      const st_trace_info *info, double floor)
{
    double want[256];
    const int32_t *idx;
    const uint16_t *mass;
    int64_t n = st_trace_row(y, info->nbq, h, b, &idx, &mass), at = 0;
    sample_expect(s, l, y->head[h], b, info->n_tok, want);
    for (int64_t c = 0; c < info->nbk; c++) {
        double got = at < n && idx[at] == c ? (double)st_trace_mass(mass[at]) : -1;
        at += got >= 0;
        if (got < 0 && want[c] < floor * 1.001)
            continue;
        CHECK(fabs(got - want[c]) <= want[c] / 1000);
    }
    CHECK_EQ(at, n);
}

static void check_trace(const sample *s, const st_trace *t, double floor)
{
    st_trace_info info;
    st_trace_layer y;
    st_trace_get_info(t, &info);
    for (int64_t i = 0; i < info.n_layer; i++) {
        int l = 0;
        CHECK_STATUS(st_trace_get_layer(t, i, &y, NULL), ST_OK);
        while (s->layer[l] != y.layer)
            l++;
        for (int64_t h = 0; h < y.n_head; h++)
            for (int64_t b = info.row_begin / s->bq; b * s->bq < info.row_end; b++)
                check_row(s, &y, l, h, b, &info, floor);
        CHECK_EQ(y.indptr[y.n_head * info.nbq], y.nnz);
    }
}

static void test_round_trip(void)
{
    sample s = sample_default();
    st_trace_options opt = {.lse = true};
    st_trace_info info;
    st_trace_layer y;
    int64_t n;
    const char *text;
    st_trace *t;
    CHECK_STATUS(sample_write(&s, sample_path("round.safetensors"), &opt, NULL), ST_OK);
    CHECK(access(sample_path("round.safetensors.part"), F_OK) != 0);
    CHECK(access(sample_path("round.safetensors.tmp"), F_OK) != 0);
    t = open_good(sample_path("round.safetensors"));
    if (t == NULL)
        return;
    check_trace(&s, t, 0);
    st_trace_get_info(t, &info);
    CHECK_EQ(info.n_tok, 50);
    CHECK_EQ(info.n_tok_run, 50);
    CHECK_EQ(info.nbq, 7);
    CHECK_EQ(info.nbk, 13);
    CHECK_EQ(info.n_layer, 3);
    CHECK(info.complete && info.has_lse && info.has_cert);
    CHECK_EQ(info.visible_pairs, 5 * 50 * 51 / 2);
    CHECK_EQ(info.kept_pairs, 5 * (20 * 1 + 20 * 11 + 10 * 21));
    CHECK_EQ(info.exact_pairs, 50 * 51 / 2);
    CHECK_STATUS(st_trace_get_layer(t, 2, &y, NULL), ST_OK);
    CHECK(y.exact && y.layer == 3 && y.kept_pairs == 0 && y.exact_pairs == 50 * 51 / 2);
    CHECK_STATUS(st_trace_get_layer(t, 1, &y, NULL), ST_OK);
    CHECK(!y.exact && y.n_head == 3 && y.head[2] == 2);
    for (int64_t i = 0; i < 3 * 50; i++)
        CHECK(y.lse[i] == sample_lse(1, (int)(i / 50), i % 50));
    CHECK_STATUS(st_trace_get_layer(t, 3, &y, NULL), ST_ERR_ARG);
    CHECK_EQ(st_trace_tokens(t)[49], 49 * 37 % 1000);
    text = st_trace_text(t, 3, 6, &n);
    CHECK(n == 4 && memcmp(text, " a\xc3\xa9", 4) == 0);
    (void)st_trace_text(t, -5, 1000, &n);
    CHECK_EQ(n, 50 + 17 - 0);
    CHECK(strcmp(st_trace_json(t, "recipe"), "{\"model\": \"none\", \"seed\": 1}") == 0);
    CHECK(strcmp(st_trace_json(t, "result"), "{\"text\": \"\\u00e9 \\\"quoted\\\"\"}") == 0);
    CHECK(st_trace_json(t, "timings") == NULL);
    st_trace_free(t);
}

/* Micro-batches of every size give the rows that the formula gives, one token at a time too. */
static void test_batches(void)
{
    static const int64_t batch[] = {1, 3, 8, 13, 16, 49, 50, 64};
    for (size_t i = 0; i < sizeof batch / sizeof *batch; i++) {
        sample s = sample_default();
        st_trace *t;
        s.n_batch = batch[i];
        CHECK_STATUS(sample_write(&s, sample_path("batch.safetensors"), NULL, NULL), ST_OK);
        t = open_good(sample_path("batch.safetensors"));
        if (t != NULL)
            check_trace(&s, t, 0);
        st_trace_free(t);
    }
}

static void test_one_token(void)
{
    sample s = sample_default();
    st_trace *t;
    s.n_tok = 1;
    CHECK_STATUS(sample_write(&s, sample_path("one.safetensors"), NULL, NULL), ST_OK);
    t = open_good(sample_path("one.safetensors"));
    if (t != NULL)
        check_trace(&s, t, 0);
    st_trace_free(t);
}

static void test_options(void)
{
    static const int32_t layer[] = {1, 3, 9}, head[] = {1, 2};
    sample s = sample_default();
    st_trace_options opt = {.lse = true,
                            .mass_floor = 0.02f,
                            .layer = layer,
                            .n_layer = 3,
                            .head = head,
                            .n_head = 2,
                            .row_begin = 18,
                            .row_end = 30};
    st_trace_info info;
    st_trace_layer y;
    st_trace *t;
    CHECK_STATUS(sample_write(&s, sample_path("options.safetensors"), &opt, NULL), ST_OK);
    t = open_good(sample_path("options.safetensors"));
    if (t == NULL)
        return;
    check_trace(&s, t, (double)0.02f);
    st_trace_get_info(t, &info);
    CHECK_EQ(info.n_layer, 1); /* layer 3 has only head 0 */
    CHECK_EQ(info.visible_pairs, 5 * 50 * 51 / 2);
    CHECK_EQ(info.cert.n_head, 6); /* all heads, all rows */
    CHECK_STATUS(st_trace_get_layer(t, 0, &y, NULL), ST_OK);
    CHECK(y.layer == 1 && y.n_head == 2 && y.head[0] == 1 && y.head[1] == 2);
    CHECK_EQ(y.indptr[2], 0); /* blocks 0 and 1 are not recorded */
    CHECK(y.indptr[4] > y.indptr[3]);
    CHECK_EQ(y.indptr[4], y.indptr[7]); /* blocks 4 to 6 neither */
    CHECK(isinf(y.lse[15]) && y.lse[15] < 0 && y.lse[16] == sample_lse(1, 1, 16));
    CHECK(y.lse[50 + 31] == sample_lse(1, 2, 31) && isinf(y.lse[50 + 32]));
    st_trace_free(t);
}

/* Rows that no chunk brought are empty, and the trace says that it is not complete. */
static void test_gaps(void)
{
    sample s = sample_default();
    st_trace_options opt = {.lse = true};
    st_trace_writer *w;
    st_trace_info info;
    st_trace_layer y;
    st_trace *t;
    CHECK_STATUS(st_trace_writer_create(sample_path("gap.safetensors"), 50, 8, 4, &opt, &w, NULL),
                 ST_OK);
    CHECK_STATUS(sample_add(&s, w, 0, 20, NULL), ST_OK);
    CHECK_STATUS(sample_add(&s, w, 40, 50, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    t = open_good(sample_path("gap.safetensors"));
    if (t == NULL)
        return;
    st_trace_get_info(t, &info);
    CHECK(!info.complete && info.n_tok == 50);
    CHECK(st_trace_tokens(t) == NULL);
    CHECK_STATUS(st_trace_get_layer(t, 0, &y, NULL), ST_OK);
    CHECK(y.indptr[3] > y.indptr[2] && y.indptr[4] == y.indptr[3] && y.indptr[5] == y.indptr[3]);
    CHECK(y.indptr[6] > y.indptr[5]);
    CHECK(y.lse[19] == sample_lse(0, 0, 19) && isinf(y.lse[20]) && isinf(y.lse[39]));
    st_trace_free(t);
    CHECK_STATUS(st_trace_writer_create(sample_path("none.safetensors"), 50, 8, 4, NULL, &w, NULL),
                 ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK); /* no chunk at all */
    st_trace_writer_free(w, false);
    t = open_good(sample_path("none.safetensors"));
    st_trace_free(t);
}

/* Mass is clamped and rounded, an infinite error becomes a large one. */
static void test_clamping(void)
{
    int64_t indptr[] = {0, 4}, rows[] = {1};
    int32_t indices[] = {0, 1, 2, 3};
    float mass[] = {-0.0f, 1.0002f, -3e-9f, 0.3333f}, recall[] = {1.00001f}, error[] = {INFINITY};
    st_selection sel = {
        .n_head = 1, .bq = 8, .bk = 2, .nbq = 1, .nbk = 4, .indptr = indptr, .indices = indices};
    st_chunk c = {.n_q = 8,
                  .sel = &sel,
                  .mass = mass,
                  .n_cert = 1,
                  .cert_rows = rows,
                  .cert_recall = recall,
                  .cert_err = error};
    st_certificate cert;
    st_trace_writer *w;
    st_trace_layer y;
    st_trace *t;
    int64_t bytes;
    struct stat file;
    CHECK_STATUS(st_trace_writer_create(sample_path("clamp.safetensors"), 8, 8, 2, NULL, &w, NULL),
                 ST_OK);
    CHECK_STATUS(st_trace_writer_certificate(w, &cert, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_add(w, &c, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_certificate(w, &cert, NULL), ST_OK);
    CHECK(cert.recall_mean == 1 && cert.recall_ci95[0] == 0 && cert.recall_ci95[1] == 1);
    CHECK_STATUS(st_trace_writer_finish(w, &bytes, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_add(w, &c, NULL), ST_ERR_ARG);
    st_trace_writer_free(w, false);
    CHECK(stat(sample_path("clamp.safetensors"), &file) == 0 && file.st_size == bytes);
    t = open_good(sample_path("clamp.safetensors"));
    if (t == NULL)
        return;
    CHECK_STATUS(st_trace_get_layer(t, 0, &y, NULL), ST_OK);
    CHECK(y.mass[0] == 0 && y.mass[1] == 0x3c00 && y.mass[2] == 0);
    CHECK(fabs((double)st_trace_mass(y.mass[3]) - 0.3333) < 2e-4);
    st_trace_free(t);
}

/* A file of the first release, and what it exports, stay as they are. */
static void test_golden(void)
{
    sample s = sample_default();
    st_trace *t = open_good(sample_golden("trace.safetensors"));
    size_t n, m;
    char *want, *got = NULL;
    FILE *out;
    if (t == NULL)
        return;
    check_trace(&s, t, 0);
    want = sample_load(sample_golden("trace.csv"), &n);
    out = open_memstream(&got, &m);
    CHECK_STATUS(st_trace_export_csv(t, NULL, out, NULL), ST_OK);
    fclose(out);
    CHECK(want != NULL && n == m && memcmp(want, got, n) == 0);
    free(want);
    free(got);
    CHECK_STATUS(st_trace_export_npz(t, NULL, sample_path("golden.npz"), NULL), ST_OK);
    want = sample_load(sample_golden("trace.npz"), &n);
    got = sample_load(sample_path("golden.npz"), &m);
    CHECK(want != NULL && n == m && memcmp(want, got, n) == 0);
    free(want);
    free(got);
    st_trace_free(t);
}

/* ---- what the writer refuses ----------------------------------------------------------------- */

static void check_refused(st_trace_writer *w, const char *what, const st_chunk *bad)
{
    st_error err = {.message = ""};
    CHECK_STATUS(st_trace_writer_add(w, bad, &err), ST_ERR_ARG);
    if (strstr(err.message, what) == NULL)
        printf("refused with \"%s\", expected \"%s\"\n", err.message, what);
    CHECK(strstr(err.message, what) != NULL);
}

static void test_bad_chunks(void)
{
    sample s = sample_default();
    sample_chunk x;
    st_trace_writer *w;
    st_chunk c;
    float kept;
    int32_t kept_index;
    CHECK_STATUS(st_trace_writer_create(sample_path("bad.safetensors"), 50, 8, 4, NULL, &w, NULL),
                 ST_OK);
    sample_chunk_make(&x, &s, 1, 20);
#define REFUSE(change, what)                                                                       \
    do {                                                                                           \
        c = x.chunk;                                                                               \
        change;                                                                                    \
        check_refused(w, what, &c);                                                                \
    } while (0)
    REFUSE(c.layer = -1, "layer is -1");
    REFUSE(c.layer = 70000, "layer is 70000");
    REFUSE(c.kind = (st_chunk_kind)7, "kind is 7");
    REFUSE(c.first_query = -1, "do not fit");
    REFUSE(c.n_q = 31, "do not fit");
    REFUSE(c.n_q = INT64_MAX, "do not fit");
    REFUSE(c.n_q = 0, "do not fit");
    REFUSE(c.sel = NULL, "no selection");
    REFUSE(c.first_query = 24, "were expected");
    REFUSE(c.kept_pairs = c.visible_pairs + 1, "kept pairs");
    REFUSE(c.mass = NULL, "no mass");
    REFUSE(c.n_cert = -1, "certified rows");
    REFUSE(c.cert_recall = NULL, "certified rows");
    x.rows[0] += 20;
    REFUSE((void)0, "out of order");
    x.rows[0] -= 20;
    kept = x.mass[5];
    x.mass[5] = NAN;
    REFUSE((void)0, "is NaN");
    x.mass[5] = kept;
    kept = x.lse[5];
    x.lse[5] = NAN;
    REFUSE((void)0, "lse is");
    x.lse[5] = kept;
    kept = x.recall[0];
    x.recall[0] = NAN;
    REFUSE((void)0, "recall");
    x.recall[0] = kept;
    kept_index = x.sel.indices[1];
    x.sel.indices[1] = x.sel.indices[0];
    REFUSE((void)0, "not rising");
    x.sel.indices[1] = 13;
    REFUSE((void)0, "beyond the 13");
    x.sel.indices[1] = kept_index;
    x.sel.indptr[2] = x.sel.indptr[1] - 1;
    REFUSE((void)0, "indptr[2] falls");
    x.sel.indptr[0] = 1;
    REFUSE((void)0, "does not begin with 0");
    sample_chunk_free(&x);
    sample_chunk_make(&x, &s, 1, 20);
    CHECK_STATUS(st_trace_writer_add(w, &x.chunk, NULL), ST_OK); /* nothing of the bad ones stuck */
    REFUSE((void)0, "already given");
    sample_chunk_free(&x);
    sample_chunk_make(&x, &s, 1, 40);
    x.sel.n_head = 2;
    x.sel.nbq = 2;
    REFUSE((void)0, "2 heads, 3 before");
#undef REFUSE
    sample_chunk_free(&x);
    st_trace_writer_free(w, false);
    CHECK(access(sample_path("bad.safetensors.part"), F_OK) != 0);
}

static void test_bad_calls(void)
{
    static const int32_t falling[] = {2, 1};
    const int32_t token[4] = {0};
    const int64_t ptr_from_1[] = {1, 1, 1, 1, 1}, ptr_falls[] = {0, 2, 1, 2, 2};
    st_trace_writer *w = NULL;
    st_trace_options opt = {.layer = falling, .n_layer = 2};
    const char *path = sample_path("calls.safetensors");
    CHECK_STATUS(st_trace_writer_create(path, 0, 8, 4, NULL, &w, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_create(path, 1LL << 31, 8, 4, NULL, &w, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_create(path, 4, 0, 4, NULL, &w, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_create(path, 4, 8, 65537, NULL, &w, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_create(path, 4, 8, 4, &opt, &w, NULL), ST_ERR_ARG);
    opt.n_layer = 0;
    CHECK_STATUS(st_trace_writer_create(path, 4, 8, 4, &opt, &w, NULL), ST_ERR_ARG);
    opt = (st_trace_options){.row_begin = 2, .row_end = 5};
    CHECK_STATUS(st_trace_writer_create(path, 4, 8, 4, &opt, &w, NULL), ST_ERR_ARG);
    opt = (st_trace_options){.mass_floor = NAN};
    CHECK_STATUS(st_trace_writer_create(path, 4, 8, 4, &opt, &w, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_create("", 4, 8, 4, NULL, &w, NULL), ST_ERR_ARG);
    CHECK(w == NULL);
    CHECK_STATUS(st_trace_writer_create(path, 4, 8, 4, NULL, &w, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_tokens(w, NULL, NULL, NULL, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_tokens(w, token, ptr_from_1, "a", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_tokens(w, token, ptr_falls, "ab", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_tokens(w, token, ptr_falls, NULL, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_tokens(w, token, NULL, NULL, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_tokens(w, token, NULL, NULL, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_json(w, "geometry", "{}", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_json(w, "", "{}", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_json(w, "Recipe", "{}", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_json(w, "recipe", "{\"a\": }", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_json(w, "recipe", "", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_json(w, "recipe", "{\"a\": \"\xff\"}", NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_writer_json(w, "recipe", "[1]", NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_json(w, "recipe", "[2]", NULL), ST_OK); /* replaces */
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    st_trace_writer_free(NULL, false);
}

int main(void)
{
    test_round_trip();
    test_batches();
    test_one_token();
    test_options();
    test_gaps();
    test_clamping();
    test_golden();
    test_bad_chunks();
    test_bad_calls();
    return check_report();
}
