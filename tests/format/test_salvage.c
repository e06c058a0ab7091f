/* SPDX-License-Identifier: MIT
 *
 * test_salvage.c — interrupted runs. The journal of a small run is cut at every length, and damaged
 * at every byte; what can be saved is saved right, and the rest is refused in so many words.
 */
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/check.h"
#include "sample_trace.h"

#define MAX_CHUNKS 16

/* A run that was stopped before its end: its journal, and where each chunk ends in it. */
typedef struct journal {
    char *data;
    size_t bytes, end[MAX_CHUNKS];
    int n_chunk;
} journal;

static journal journal_of(const sample *s, const char *path, const char *part)
{
    st_trace_options opt = {.lse = true};
    st_trace_writer *w;
    journal j = {.n_chunk = 0};
    CHECK_STATUS(st_trace_writer_create(path, s->n_tok, s->bq, s->bk, &opt, &w, NULL), ST_OK);
    CHECK_STATUS(sample_tokens(s, w, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_json(w, "recipe", "{\"seed\": 1}", NULL), ST_OK);
    for (int64_t first = 0; first < s->n_tok; first += s->n_batch) {
        for (int l = 0; l < SAMPLE_LAYERS; l++) {
            sample_chunk x;
            sample_chunk_make(&x, s, l, first);
            CHECK_STATUS(st_trace_writer_add(w, &x.chunk, NULL), ST_OK);
            sample_chunk_free(&x);
            free(sample_load(part, &j.end[j.n_chunk++]));
        }
    }
    CHECK_STATUS(st_trace_salvage(part, path, NULL, NULL), ST_ERR_IO); /* still being written */
    st_trace_writer_free(w, true);
    j.data = sample_load(part, &j.bytes);
    return j;
}

/* Rows that can be saved of the first n bytes: those of the micro-batches whose chunks are all
 * there, once the first chunk of a second micro-batch shows that no layer is missing. */
static int64_t rows_saved(const sample *s, const journal *j, size_t n)
{
    int m = 0;
    int64_t rows;
    while (m < j->n_chunk && j->end[m] <= n)
        m++;
    rows = m / SAMPLE_LAYERS * s->n_batch;
    return m <= SAMPLE_LAYERS ? 0 : rows < s->n_tok ? rows : s->n_tok;
}

/* A salvaged trace holds the first n_tok rows of the sample. */
static void check_saved(const sample *s, const char *path, int64_t n_tok)
{
    st_trace *t;
    st_trace_info info;
    st_trace_layer y;
    double want[64];
    st_error err = {.message = ""};
    CHECK_STATUS(st_trace_open(path, &t, &err), ST_OK);
    if (t == NULL)
        return;
    CHECK_STATUS(st_trace_validate(t, &err), ST_OK);
    st_trace_get_info(t, &info);
    CHECK(info.n_tok == n_tok && info.n_tok_run == s->n_tok && !info.complete && info.n_layer == 3);
    CHECK_EQ(info.exact_pairs, n_tok * (n_tok + 1) / 2);
    for (int l = 0; l < SAMPLE_LAYERS; l++) {
        CHECK_STATUS(st_trace_get_layer(t, l, &y, NULL), ST_OK);
        CHECK(y.lse[n_tok - 1] == sample_lse(l, 0, n_tok - 1));
        for (int64_t h = 0; h < y.n_head; h++)
            for (int64_t b = 0; b < info.nbq; b++) {
                const int32_t *idx;
                const uint16_t *mass;
                int64_t n = st_trace_row(&y, info.nbq, h, b, &idx, &mass), kept = 0;
                sample_expect(s, l, (int)h, b, n_tok, want);
                for (int64_t c = 0; c < info.nbk; c++)
                    kept += want[c] >= 0;
                CHECK_EQ(n, kept);
                for (int64_t i = 0; i < n; i++)
                    CHECK(fabs((double)st_trace_mass(mass[i]) - want[idx[i]]) <=
                          want[idx[i]] / 1000);
            }
    }
    CHECK(st_trace_tokens(t) != NULL && st_trace_json(t, "recipe") != NULL);
    st_trace_free(t);
}

static void test_every_cut(void)
{
    sample s = sample_default();
    const char *path = sample_path("cut.safetensors"), *part = sample_path("cut.safetensors.part");
    journal j;
    int64_t last = 0;
    s.n_batch = 17; /* 17, 34, 50: the last micro-batch is short */
    j = journal_of(&s, path, part);
    for (size_t n = 0; n <= j.bytes; n++) {
        int64_t saved = 0, want = rows_saved(&s, &j, n);
        st_error err = {.position = -1};
        sample_store(part, j.data, n);
        CHECK_STATUS(st_trace_salvage(part, path, &saved, &err), want == 0 ? ST_ERR_FORMAT : ST_OK);
        CHECK_EQ(saved, want);
        if (want == 0) {
            CHECK(err.position >= 0 && err.position <= (int64_t)n);
            CHECK(access(path, F_OK) != 0);
        } else if (want != last || n == j.bytes) {
            check_saved(&s, path, want);
        }
        unlink(path);
        last = want;
    }
    CHECK_EQ(last, 50);
    free(j.data);
}

/* A flipped byte makes a record torn, wherever it is: nothing of it or behind it is believed. */
static void test_every_flip(void)
{
    sample s = sample_default();
    const char *path = sample_path("flip.safetensors"),
               *part = sample_path("flip.safetensors.part");
    journal j = journal_of(&s, path, part);
    for (size_t at = 0; at < j.bytes; at++) {
        bool seal = at >= 8 && at < 16; /* it is no proof of anything but the end */
        int64_t saved = 0, want = rows_saved(&s, &j, seal ? j.bytes : at);
        st_status status;
        st_trace *t;
        j.data[at] ^= 0x10;
        sample_store(part, j.data, j.bytes);
        j.data[at] ^= 0x10;
        status = st_trace_salvage(part, path, &saved, NULL);
        CHECK_EQ(saved, want);
        CHECK(want > 0 ? status == ST_OK : status == ST_ERR_FORMAT || status == ST_ERR_LIMIT);
        if (status != ST_OK)
            continue;
        CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
        CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
        st_trace_free(t);
        unlink(path);
    }
    free(j.data);
}

/* One micro-batch only: without a later one nobody knows whether all layers are there. */
static void test_one_batch(void)
{
    sample s = sample_default();
    const char *path = sample_path("one.safetensors"), *part = sample_path("one.safetensors.part");
    st_error err;
    s.n_batch = 50;
    free(journal_of(&s, path, part).data);
    CHECK_STATUS(st_trace_salvage(part, path, NULL, &err), ST_ERR_FORMAT);
    CHECK(strstr(err.message, "known to be complete") != NULL);
    CHECK(access(part, F_OK) == 0);
}

/* A process that dies in the middle of a run. */
static void test_killed(void)
{
    sample s = sample_default();
    const char *path = sample_path("killed.safetensors");
    const char *part = sample_path("killed.safetensors.part");
    int64_t saved = 0;
    int status;
    pid_t child = fork();
    if (child == 0) {
        st_trace_options opt = {.lse = true};
        st_trace_writer *w;
        if (st_trace_writer_create(path, 50, 8, 4, &opt, &w, NULL) != ST_OK ||
            sample_tokens(&s, w, NULL) != ST_OK ||
            st_trace_writer_json(w, "recipe", "{}", NULL) != ST_OK ||
            sample_add(&s, w, 0, 40, NULL) != ST_OK)
            _exit(1);
        _exit(0); /* as if killed: nothing is freed or finished */
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_STATUS(st_trace_salvage(part, path, &saved, NULL), ST_OK);
    CHECK_EQ(saved, 40);
    check_saved(&s, path, 40);
    CHECK(access(part, F_OK) == 0); /* the journal stays until the user removes it */
}

/* A chunk of one head whose every query block reads key blocks 0 and `far`. */
static void add_rows(st_trace_writer *w, int layer, int64_t first, int64_t n_q, int32_t far)
{
    int64_t indptr[9], nbq = (first + n_q - 1) / 8 - first / 8 + 1;
    int32_t indices[16];
    float mass[16];
    st_selection sel = {.n_head = 1,
                        .bq = 8,
                        .bk = 4,
                        .first_blk = first / 8,
                        .nbq = nbq,
                        .indptr = indptr,
                        .indices = indices};
    st_chunk c = {.layer = layer, .first_query = first, .n_q = n_q, .sel = &sel, .mass = mass};
    for (int64_t b = 0; b <= nbq; b++)
        indptr[b] = 2 * b;
    for (int i = 0; i < 16; i++) {
        indices[i] = i % 2 == 0 ? 0 : far;
        mass[i] = 0.5f;
    }
    CHECK_STATUS(st_trace_writer_add(w, &c, NULL), ST_OK);
}

/* Layers that cut the rows differently meet where both have a border; a key block beyond the saved
 * tokens (a model that looks ahead) is left out. */
static void test_uneven_layers(void)
{
    const char *path = sample_path("uneven.safetensors");
    const char *part = sample_path("uneven.safetensors.part");
    st_trace_writer *w;
    st_trace_layer y;
    st_trace *t;
    int64_t saved = 0;
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &w, NULL), ST_OK);
    add_rows(w, 0, 0, 20, 4);
    add_rows(w, 1, 0, 20, 12);
    add_rows(w, 0, 20, 20, 4);
    add_rows(w, 1, 20, 10, 12);
    st_trace_writer_free(w, true);
    CHECK_STATUS(st_trace_salvage(part, path, &saved, NULL), ST_OK);
    CHECK_EQ(saved, 20); /* 30 would cut a chunk of layer 0 */
    CHECK_STATUS(st_trace_open(path, &t, NULL), ST_OK);
    if (t == NULL)
        return;
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    CHECK_STATUS(st_trace_get_layer(t, 0, &y, NULL), ST_OK);
    CHECK_EQ(y.nnz, 6);
    CHECK_STATUS(st_trace_get_layer(t, 1, &y, NULL), ST_OK);
    CHECK(y.nnz == 3 && y.indices[2] == 0);
    st_trace_free(t);
}

static void test_not_a_journal(void)
{
    const char *part = sample_path("not.part"), *path = sample_path("not.safetensors");
    sample_store(part, "STPART9\nxxxxxxxxyyyyyyyy", 24);
    CHECK_STATUS(st_trace_salvage(part, path, NULL, NULL), ST_ERR_LIMIT);
    sample_store(part, "hello, this is no journal", 25);
    CHECK_STATUS(st_trace_salvage(part, path, NULL, NULL), ST_ERR_FORMAT);
    sample_store(part, "", 0);
    CHECK_STATUS(st_trace_salvage(part, path, NULL, NULL), ST_ERR_FORMAT);
    CHECK_STATUS(st_trace_salvage(sample_path("absent.part"), path, NULL, NULL), ST_ERR_IO);
    CHECK_STATUS(st_trace_salvage(part, "", NULL, NULL), ST_ERR_ARG);
}

int main(void)
{
    test_every_cut();
    test_every_flip();
    test_one_batch();
    test_killed();
    test_uneven_layers();
    test_not_a_journal();
    return check_report();
}
