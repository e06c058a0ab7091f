/* SPDX-License-Identifier: MIT
 *
 * test_checkpoint.c — tracing jobs that stop at every boundary of every pass and go on: the trace
 * is that of a job that was never stopped. Checkpoints of other jobs, and bytes that are wrong
 * behind good checksums, are refused with the place.
 */
#include <unistd.h>

#include "../format/sample_trace.h"
#include "base/checksum.h"
#include "base/util.h"
#include "llama_host.h"

#define N_TOK 320
#define UBATCH 64
#define N_LAST 100 /* the last boundary lies within these */

enum { IDENTITY = 1, PASS, CELLS, LAYERS, TALLY, STATE };

static st_model *model;
static int32_t *text;

/* ---- a job, and where it is to stop ---------------------------------------------------------- */

typedef struct stop {
    int pass;     /* number of the pass, as this process counts those it runs */
    int64_t done; /* tokens of it */
    int n_pass;
    char what[64];
} stop;

static bool progress(void *ctx, const char *what, int64_t done, int64_t total)
{
    stop *s = ctx;
    (void)total;
    if (strcmp(s->what, what) != 0) {
        s->n_pass++;
        snprintf(s->what, sizeof s->what, "%s", what);
    }
    return s->n_pass - 1 < s->pass || done < s->done;
}

static const char *trace_path, *part_path, *file_path;

static st_trace_params job_params(void)
{
    st_trace_params p = st_trace_params_default();
    p.select.k = 6;
    p.budget = ST_BUDGET_K;
    p.against = ST_AGAINST_NONE;
    p.cert_rows = 8;
    p.run.n_ubatch = UBATCH;
    p.run.n_last = N_LAST;
    p.checkpoint = file_path;
    p.checkpoint_every = 0;
    return p;
}

/* Runs the job until it ends or the stop comes. */
static st_status job(st_trace_params p, stop *s, st_trace_report *report, st_error *err)
{
    if (s != NULL) {
        s->n_pass = 0;
        *s->what = '\0';
        p.run.progress = (st_progress){progress, s};
    }
    return st_trace_model(model, text, N_TOK, &p, trace_path, report, err);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* A job to its end, without a checkpoint: the trace's path for check_same. */
static const char *undisturbed(st_trace_params p, st_trace_report *report)
{
    const char *path = sample_path("undisturbed");
    p.checkpoint = NULL;
    CHECK_STATUS(st_trace_model(model, text, N_TOK, &p, path, report, NULL), ST_OK);
    return path;
}

static size_t data_start(const char *file)
{
    uint64_t n;
    memcpy(&n, file, 8);
    return (size_t)n + 8;
}

/* The job's trace is the undisturbed one's: data to the byte, documents but for seconds and memory;
 * and it left nothing behind. */
static void check_same(const char *path)
{
    static const char *const key[] = {"recipe", "geometry", "certificate"};
    static const char *const pointer[] = {"/k",
                                          "/kept_pairs",
                                          "/pruned_fraction",
                                          "/kl",
                                          "/next_token/sparse/p",
                                          "/next_token/margin",
                                          "/n_run",
                                          "/recall/mean",
                                          "/recall/last_row",
                                          "/recall/output_error",
                                          "/floor/kl"};
    size_t n = 0, m = 0;
    char *a = sample_load(path, &n), *b = sample_load(trace_path, &m), x[64], y[64];
    st_trace *s, *t;
    CHECK(!is_there(part_path) && !is_there(file_path));
    CHECK(a != NULL && b != NULL && n - data_start(a) == m - data_start(b) &&
          memcmp(a + data_start(a), b + data_start(b), n - data_start(a)) == 0);
    free(a);
    free(b);
    CHECK_STATUS(st_trace_open(path, &s, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(trace_path, &t, NULL), ST_OK);
    for (size_t i = 0; i < sizeof key / sizeof *key; i++)
        CHECK(strcmp(st_trace_json(s, key[i]), st_trace_json(t, key[i])) == 0);
    for (size_t i = 0; i < sizeof pointer / sizeof *pointer; i++)
        CHECK(strcmp(st_trace_value(s, "result", pointer[i], x, sizeof x),
                     st_trace_value(t, "result", pointer[i], y, sizeof y)) == 0);
    CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
    st_trace_free(s);
    st_trace_free(t);
    remove(trace_path);
}

/* ---- stopping and going on ------------------------------------------------------------------- */

static void test_every_boundary(st_trace_params p)
{
    st_trace_report report, want;
    const char *path = undisturbed(p, &want);
    for (int64_t at = UBATCH; at < N_TOK; at += UBATCH) {
        stop s = {0, at, 0, ""};
        st_error err = {.message = ""};
        p.resume = false;
        CHECK_STATUS(job(p, &s, &report, &err), ST_ERR_CANCELLED);
        CHECK(report.checkpoint_left && is_there(file_path) && is_there(part_path));
        CHECK_EQ(err.position, at);
        p.resume = true;
        CHECK_STATUS(job(p, NULL, &report, NULL), ST_OK);
        CHECK(!report.checkpoint_left && report.recall_last == want.recall_last);
        CHECK(report.next.p_b == want.next.p_b);
        check_same(path);
    }
}

/* One micro-batch in each process. */
static void test_step_by_step(st_trace_params p)
{
    st_trace_report report;
    const char *path = undisturbed(p, &report);
    for (int64_t at = UBATCH; at < N_TOK; at += UBATCH) {
        stop s = {0, at, 0, ""};
        CHECK_STATUS(job(p, &s, &report, NULL), ST_ERR_CANCELLED);
        p.resume = true;
    }
    CHECK_STATUS(job(p, NULL, &report, NULL), ST_OK);
    check_same(path);
}

/* Some of the predictions that are compared were made before the stop; another job has been where
 * they lay in memory. */
static void test_predictions(void)
{
    st_trace_params p = job_params(), other = p;
    st_trace_report report, want;
    stop s = {1, 4 * UBATCH, 0, ""};
    const char *path;
    p.against = ST_AGAINST_STABLE;
    path = undisturbed(p, &want);
    CHECK_STATUS(job(p, &s, &report, NULL), ST_ERR_CANCELLED);
    other.select.k = 12;
    other.checkpoint = NULL;
    CHECK_STATUS(st_trace_model(model, text, N_TOK, &other, NULL, &report, NULL), ST_OK);
    p.resume = true;
    CHECK_STATUS(job(p, NULL, &report, NULL), ST_OK);
    CHECK_EQ(report.next.n_compared, N_LAST);
    CHECK_EQ(report.next.n_same, want.next.n_same);
    CHECK(report.next.kl_mean == want.next.kl_mean && want.next.kl_mean > 0);
    check_same(path);
}

/* A search of several passes, stopped in each, at its beginning and further on. */
static void test_every_pass(void)
{
    st_trace_params p = job_params();
    st_trace_report report, want;
    const char *path;
    int n_stop = 0;
    p.budget = ST_BUDGET_AUTO;
    p.against = ST_AGAINST_DENSE;
    p.measure_floor = true;
    path = undisturbed(p, &want);
    CHECK(want.n_run >= 4);
    for (;; n_stop++) {
        stop s = {n_stop % 2, n_stop % 4 < 2 ? 2 * UBATCH : UBATCH, 0, ""};
        st_status status = job(p, &s, &report, NULL);
        p.resume = true;
        if (status == ST_OK)
            break;
        CHECK_STATUS(status, ST_ERR_CANCELLED);
        if (n_stop > 4 * want.n_run) {
            CHECK(!"it gets nowhere");
            return;
        }
    }
    CHECK(n_stop >= 3);
    CHECK_EQ(report.n_run, want.n_run);
    CHECK(report.k == want.k && report.seconds_dense > 0 && report.seconds_search > 0 &&
          report.seconds_total >= report.seconds_dense + report.seconds_search);
    check_same(path);
}

/* Stopped before anything is worth keeping: nothing is kept. Left alone: no checkpoint remains. */
static void test_nothing_to_keep(void)
{
    st_trace_params p = job_params();
    st_trace_report report;
    stop s = {0, 0, 0, ""};
    const char *path = undisturbed(p, &report);
    CHECK_STATUS(job(p, &s, &report, NULL), ST_ERR_CANCELLED);
    CHECK(!report.checkpoint_left && !is_there(file_path) && !is_there(part_path));
    p.checkpoint_every = 3600; /* and at no boundary is one due */
    CHECK_STATUS(job(p, NULL, &report, NULL), ST_OK);
    check_same(path);
}

/* ---- what does not belong together ----------------------------------------------------------- */

/* The job is refused, and its files stay as they were. True if so. */
static bool refused(st_trace_params p, st_status want, const char *what)
{
    st_error err = {.message = "", .position = -2};
    st_trace_report report;
    size_t n = 0, m = 0, i = 0, j = 0;
    char *file = sample_load(file_path, &n), *part = sample_load(part_path, &m), *x, *y;
    st_status status = job(p, NULL, &report, &err);
    bool same;
    CHECK_STATUS(status, want);
    if (strstr(err.message, what) == NULL)
        printf("\"%s\" does not say \"%s\"\n", err.message, what);
    CHECK(strstr(err.message, what) != NULL && !is_there(trace_path));
    if (want == ST_ERR_FORMAT)
        CHECK(err.position >= 0);
    x = sample_load(file_path, &i);
    y = sample_load(part_path, &j);
    same = x != NULL && i == n && memcmp(x, file, n) == 0 && y != NULL && j == m &&
           memcmp(y, part, m) == 0;
    CHECK(same);
    if (!same) { /* for what comes after */
        sample_store(file_path, file, n);
        sample_store(part_path, part, m);
        remove(trace_path);
    }
    free(file);
    free(part);
    free(x);
    free(y);
    return status == want && same;
}

/* Leaves a job stopped after 192 tokens. */
static st_trace_params leave(void)
{
    st_trace_params p = job_params();
    st_trace_report report;
    stop s = {0, 3 * UBATCH, 0, ""};
    CHECK_STATUS(job(p, &s, &report, NULL), ST_ERR_CANCELLED);
    p.resume = true;
    return p;
}

static void test_other_jobs(void)
{
    st_trace_report report;
    const char *path = undisturbed(job_params(), &report);
    st_trace_params p = leave(), q;
    static const int32_t some[] = {1, 3};
    const int32_t was = text[7];
#define OTHER(what, ...) (q = p, __VA_ARGS__, refused(q, ST_ERR_ARG, what))
    OTHER("is there", q.resume = false);
    OTHER("k was 6 there, is 7", q.select.k = 7);
    OTHER("budget was k there, is mass", q.budget = ST_BUDGET_MASS, q.select.mass = 0.5f);
    OTHER("against was none there, is stable", q.against = ST_AGAINST_STABLE);
    OTHER("method was stream there, is scan", q.select.method = ST_SELECT_SCAN);
    OTHER("block-q was 32", q.select.bq = 16);
    OTHER("block-k was 16", q.select.bk = 8);
    OTHER("sink-blocks was 1", q.select.sink_blk = 2);
    OTHER("window-blocks was 1", q.select.window_blk = 2);
    OTHER("sample-rows was", q.select.rows = 2);
    OTHER("beam was", q.select.beam++);
    OTHER("rerank was", q.select.rerank++);
    OTHER("pooled was", q.select.pooled = !q.select.pooled);
    OTHER("cert-rows was 8 there, is 9", q.cert_rows = 9);
    OTHER("seed was 0 there, is 3", q.seed = 3);
    OTHER("k-cache was f16 there, is f32", q.run.type_k = "f32");
    OTHER("v-cache was f16", q.run.type_v = "q8_0");
    OTHER("ubatch was 64 there, is 32", q.run.n_ubatch = 32);
    OTHER("last was 100 there, is 99", q.run.n_last = 99);
    OTHER("attention was ours", q.run.stock_attention = true);
    OTHER("recorded-layers was all", q.record.layer = some, q.record.n_layer = 2);
    OTHER("recorded-heads was all", q.record.head = some, q.record.n_head = 2);
    OTHER("recorded-rows was 0:0 there, is 9:70", q.record.row_begin = 9, q.record.row_end = 70);
    OTHER("lse was no there, is yes", q.record.lse = true);
    OTHER("mass-floor was 0", q.record.mass_floor = 0.25f);
    OTHER("max-kl was 0", q.max_kl = 0.5);
    text[7]++;
    refused(p, ST_ERR_ARG, "prompt was");
    text[7] = was;
    CHECK_STATUS(job(p, NULL, &report, NULL), ST_OK); /* none of that did harm */
    check_same(path);
}

static void test_parameters(void)
{
    st_trace_params p = job_params();
    st_trace_report report;
    st_error err = {.message = ""};
    CHECK_STATUS(st_trace_model(model, text, N_TOK, &p, NULL, &report, &err), ST_ERR_ARG);
    p.checkpoint_every = -1;
    CHECK_STATUS(job(p, NULL, &report, &err), ST_ERR_ARG);
    p = job_params();
    p.resume = true;
    CHECK_STATUS(job(p, NULL, &report, &err), ST_ERR_IO); /* there is none */
    CHECK(strstr(err.message, file_path) != NULL);
    p.checkpoint = NULL;
    CHECK_STATUS(job(p, NULL, &report, &err), ST_ERR_ARG);
    p = job_params();
    p.checkpoint = sample_path("no/such/place");
    CHECK_STATUS(job(p, NULL, &report, &err), ST_ERR_IO);
    CHECK(!report.checkpoint_left && !is_there(part_path) && !is_there(file_path));
}

/* The .part is not what the checkpoint was made with. */
static void test_other_recording(void)
{
    st_trace_report report;
    const char *path = undisturbed(job_params(), &report);
    st_trace_params p = leave();
    size_t n;
    char *part = sample_load(part_path, &n);
    sample_store(part_path, part, n / 2);
    refused(p, ST_ERR_FORMAT, part_path);
    part[n / 3] ^= 1;
    sample_store(part_path, part, n);
    refused(p, ST_ERR_FORMAT, part_path);
    part[n / 3] ^= 1;
    sample_store(part_path, part, n);
    CHECK_STATUS(job(p, NULL, &report, NULL), ST_OK);
    check_same(path);
    free(part);
}

/* ---- hostile bytes --------------------------------------------------------------------------- */

#define N_RECORD 64

struct record {
    uint32_t kind;
    size_t at, n;
};

static int list_records(const char *file, struct record *found)
{
    uint64_t end, n;
    int count = 0;
    memcpy(&end, file + 8, 8);
    for (size_t at = 24; at < end && count < N_RECORD; at += 24 + (n + 7) / 8 * 8) {
        memcpy(&n, file + at + 8, 8);
        found[count].at = at + 24;
        found[count].n = n;
        memcpy(&found[count++].kind, file + at + 4, 4);
    }
    return count;
}

/* Makes a record's checksum agree with what it holds now. */
static void mend(char *file, const struct record *r)
{
    uint32_t crc = sti_crc32(sti_crc32(0, file + r->at, r->n), file + r->at - 20, 12);
    memcpy(file + r->at - 8, &crc, 4);
}

#define HUGE (INT64_C(1) << 62)

static void test_hostile(void)
{
    static const struct {
        uint32_t kind;
        size_t offset;
        int64_t value;
    } lie[] = {{CELLS, 0, HUGE},   {CELLS, 8, HUGE},   {CELLS, 0, 1},      {CELLS, 8, 63},
               {CELLS, 8, 0},      {CELLS, 16, -1},    {CELLS, 24, HUGE},  {CELLS, 32, -1},
               {LAYERS, 0, HUGE},  {LAYERS, 0, -1},    {LAYERS, 0, 29},    {LAYERS, 8, HUGE},
               {LAYERS, 16, 2},    {LAYERS, 24, HUGE}, {LAYERS, 48, 2},    {LAYERS, 48, 0},
               {LAYERS, 56, HUGE}, {LAYERS, 56, 0},    {LAYERS, 64, HUGE}, {LAYERS, 72, HUGE},
               {LAYERS, 72, 1024}, {LAYERS, 80, 1},    {LAYERS, 88, 5},    {LAYERS, 112, HUGE},
               {LAYERS, 120, 100}, {TALLY, 0, HUGE},   {TALLY, 0, 0},      {TALLY, 24, HUGE},
               {TALLY, 32, 0},     {TALLY, 32, HUGE},  {TALLY, 48, -1},    {TALLY, 64, HUGE},
               {TALLY, 72, HUGE},  {STATE, 0, 1},      {STATE, 24, HUGE},  {STATE, 24, 65},
               {STATE, 24, 0},     {STATE, 24, 128},   {STATE, 32, 1},     {STATE, 40, 100},
               {STATE, 48, 0},     {STATE, 48, 2}};
    struct record found[N_RECORD], *r;
    st_trace_report report;
    const char *path = undisturbed(job_params(), &report);
    st_trace_params p = leave();
    size_t n;
    char *good = sample_load(file_path, &n), *bad = malloc(n);
    int count = list_records(good, found);
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        r = lie[i].kind == STATE ? &found[count - 1] : found; /* the last state, the first others */
        while (r->kind != lie[i].kind)
            r++;
        memcpy(bad, good, n);
        memcpy(bad + r->at + lie[i].offset, &lie[i].value, 8);
        mend(bad, r);
        sample_store(file_path, bad, n);
        if (!refused(p, ST_ERR_FORMAT, ""))
            printf("of record %u, byte %zu as %lld\n", lie[i].kind, lie[i].offset,
                   (long long)lie[i].value);
    }
    for (uint32_t kind = IDENTITY; kind < 9; kind += 3) { /* the last record as another one */
        r = &found[count - 1];
        memcpy(bad, good, n);
        memcpy(bad + r->at - 20, &kind, 4);
        mend(bad, r);
        sample_store(file_path, bad, n);
        refused(p, ST_ERR_FORMAT, file_path);
    }
    good[n / 2] ^= 1;
    sample_store(file_path, good, n);
    refused(p, ST_ERR_FORMAT, "is damaged at byte");
    good[n / 2] ^= 1;
    sample_store(file_path, good, n - 1);
    refused(p, ST_ERR_FORMAT, file_path);
    sample_store(file_path, good, n);
    CHECK_STATUS(job(p, NULL, &report, NULL), ST_OK);
    check_same(path);
    free(good);
    free(bad);
}

#define N_TRY 60

/* Random changes behind good checksums: the call comes back, with an error or a sound trace. */
static void test_by_chance(void)
{
    static const uint8_t odd[] = {0, 1, 0x40, 0x7f, 0x80, 0xff};
    struct record found[N_RECORD];
    st_trace_params p = leave();
    size_t n, m;
    char *good = sample_load(file_path, &n), *part = sample_load(part_path, &m), *bad = malloc(n);
    int count = list_records(good, found), n_refused = 0;
    uint64_t state = 1;
    for (int i = 0; i < N_TRY; i++) {
        st_trace_report report;
        st_trace *t;
        st_status status;
        memcpy(bad, good, n);
        for (int k = 0; k < 2; k++) {
            const struct record *r = &found[(state = sti_mix(state)) % (uint64_t)count];
            size_t within = i % 3 < 2 && r->n > 160 ? 160 : r->n;
            bad[r->at + (state >> 8) % within] = (char)odd[(state >> 40) % sizeof odd];
            mend(bad, r);
        }
        sample_store(file_path, bad, n);
        sample_store(part_path, part, m);
        status = job(p, NULL, &report, NULL);
        n_refused += status != ST_OK;
        if (status != ST_OK)
            continue;
        CHECK_STATUS(st_trace_open(trace_path, &t, NULL), ST_OK);
        CHECK_STATUS(st_trace_validate(t, NULL), ST_OK);
        st_trace_free(t);
        remove(trace_path);
    }
    printf("%d of %d refused\n", n_refused, N_TRY);
    CHECK(n_refused > N_TRY / 4);
    remove(file_path);
    remove(part_path);
    free(good);
    free(part);
    free(bad);
}

int main(void)
{
    st_trace_params p;
    int64_t n_text;
    model = host_open("ST_SMOLLM2", ST_WEIGHTS_BF16);
    model->n_thread = 1; /* hundreds of short runs: threads would wait for each other */
    text = host_text(model, &n_text);
    trace_path = strdup(sample_path("job"));
    part_path = strdup(sample_path("job.part"));
    file_path = strdup(sample_path("job.checkpoint"));
    p = job_params();
    test_every_boundary(p);
    p.select.method = ST_SELECT_AUTO;
    p.record.lse = true;
    p.run.type_k = p.run.type_v = "q8_0";
    test_step_by_step(p);
    test_predictions();
    test_every_pass();
    test_nothing_to_keep();
    test_parameters();
    test_other_jobs();
    test_other_recording();
    test_hostile();
    test_by_chance();
    st_tokens_free(text);
    st_model_free(model);
    return check_report();
}
