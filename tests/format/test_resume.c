/* SPDX-License-Identifier: MIT
 *
 * test_resume.c — a writer that goes on from a mark: the same file as without the interruption,
 * wherever the mark was and whatever came after it; and every journal that the mark is not of.
 */
#include "../unit/check.h"
#include "sample_trace.h"

#define STEPS 11 /* tokens, recipe, nine chunks */

static const int32_t odd_heads[] = {1, 2};
static const st_trace_options plain, some = {.lse = true, .head = odd_heads, .n_head = 2};

/* Step i of a run of the sample. */
static st_status take_step(const sample *s, st_trace_writer *w, int i)
{
    sample_chunk x;
    st_status status;
    if (i == 0)
        return sample_tokens(s, w, NULL);
    if (i == 1)
        return st_trace_writer_json(w, "recipe", "{\"seed\": 1}", NULL);
    sample_chunk_make(&x, s, (i - 2) % SAMPLE_LAYERS, (i - 2) / SAMPLE_LAYERS * s->n_batch);
    status = st_trace_writer_add(w, &x.chunk, NULL);
    sample_chunk_free(&x);
    return status;
}

static void take_steps(const sample *s, st_trace_writer *w, int from, int to)
{
    for (int i = from; i < to; i++)
        CHECK_STATUS(take_step(s, w, i), ST_OK);
}

static st_status resume(const char *path, const st_trace_options *opt, const st_trace_mark *mark,
                        st_trace_writer **w, st_error *err)
{
    return st_trace_writer_resume(path, 50, 8, 4, opt, mark, w, err);
}

/* Leaves a .part that was marked before step `at` and went on to step `end`. */
static st_trace_mark leave(const char *path, const st_trace_options *opt, int at, int end)
{
    sample s = sample_default();
    st_trace_writer *w;
    st_trace_mark mark = {0};
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, opt, &w, NULL), ST_OK);
    take_steps(&s, w, 0, at);
    CHECK_STATUS(st_trace_writer_mark(w, &mark, NULL), ST_OK);
    take_steps(&s, w, at, end);
    st_trace_writer_free(w, true);
    return mark;
}

static void append(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "ab");
    if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
}

/* Interrupted before every step, some steps further, with a torn record at the end or not. */
static void test_same_file(const st_trace_options *opt)
{
    sample s = sample_default();
    const char *path = sample_path("cut.safetensors"), *part = sample_path("cut.safetensors.part");
    size_t bytes, n;
    char *want, *got;
    st_trace_writer *w;
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, opt, &w, NULL), ST_OK);
    take_steps(&s, w, 0, STEPS);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    want = sample_load(path, &bytes);
    for (int at = 0; at <= STEPS; at++)
        for (int end = at; end <= STEPS; end += 3) {
            st_trace_mark mark = leave(path, opt, at, end), again;
            remove(path);
            if (end % 2 == 0)
                append(part, "STRC torn record", 16);
            CHECK_STATUS(resume(path, opt, &mark, &w, NULL), ST_OK);
            CHECK_STATUS(st_trace_writer_mark(w, &again, NULL), ST_OK);
            CHECK(again.bytes == mark.bytes && again.check == mark.check);
            take_steps(&s, w, at, STEPS);
            CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
            CHECK_STATUS(st_trace_writer_mark(w, &again, NULL), ST_ERR_ARG);
            st_trace_writer_free(w, false);
            got = sample_load(path, &n);
            CHECK(got != NULL && n == bytes && memcmp(got, want, n) == 0);
            free(got);
        }
    free(want);
}

/* What the first writer knew, the second knows. */
static void test_rules_go_on(void)
{
    sample s = sample_default();
    const char *path = sample_path("rules.safetensors");
    st_trace_mark mark = leave(path, &plain, 6, 6);
    st_trace_writer *w;
    CHECK_STATUS(resume(path, &plain, &mark, &w, NULL), ST_OK);
    CHECK_STATUS(take_step(&s, w, 0), ST_ERR_ARG); /* tokens twice */
    CHECK_STATUS(take_step(&s, w, 5), ST_ERR_ARG); /* rows twice */
    CHECK_STATUS(take_step(&s, w, 6), ST_OK);
    st_trace_writer_free(w, false);
}

/* A resume that is refused, with the reason, and leaves the .part alone. */
static void refused(const char *path, const st_trace_options *opt, const st_trace_mark *mark,
                    st_status want, const char *what)
{
    st_error err = {.message = "", .position = -2};
    st_trace_writer *w = (st_trace_writer *)1;
    char part[500], *before, *after;
    size_t n = 0, m = 0;
    snprintf(part, sizeof part, "%s.part", path);
    before = sample_load(part, &n);
    CHECK_STATUS(resume(path, opt, mark, &w, &err), want);
    CHECK(w == NULL);
    if (strstr(err.message, what) == NULL)
        printf("\"%s\" does not say \"%s\"\n", err.message, what);
    CHECK(strstr(err.message, what) != NULL);
    if (want == ST_ERR_FORMAT)
        CHECK(err.position >= 0 && err.position <= mark->bytes);
    after = sample_load(part, &m);
    CHECK((before == NULL) == (after == NULL) && n == m &&
          (before == NULL || memcmp(before, after, n) == 0));
    free(before);
    free(after);
}

static void test_other_options(void)
{
    const char *path = sample_path("other.safetensors");
    st_trace_mark mark = leave(path, &some, 7, 9), none = {0};
    st_trace_options opt = some;
    st_trace_writer *w;
    refused(path, &plain, &mark, ST_ERR_ARG, "other options");
    opt.n_head = 1;
    refused(path, &opt, &mark, ST_ERR_ARG, "other options");
    opt = some;
    opt.layer = odd_heads;
    opt.n_layer = 1;
    refused(path, &opt, &mark, ST_ERR_ARG, "other options");
    opt = some;
    opt.row_end = 20;
    refused(path, &opt, &mark, ST_ERR_ARG, "other options");
    refused(path, &some, &none, ST_ERR_ARG, "the mark");
    CHECK_STATUS(st_trace_writer_resume(path, 51, 8, 4, &some, &mark, &w, NULL), ST_ERR_ARG);
    CHECK_STATUS(resume(path, &some, &mark, &w, NULL), ST_OK);
    refused(path, &some, &mark, ST_ERR_IO, "another process is using it");
    st_trace_writer_free(w, false);
    refused(path, &some, &mark, ST_ERR_IO, "No such file");
}

/* Cut at every byte; one bit flipped in every byte. */
static void test_bad_journals(void)
{
    const char *path = sample_path("bad.safetensors"), *part = sample_path("bad.safetensors.part");
    st_trace_mark mark = leave(path, &plain, 8, 10);
    size_t bytes;
    char *good = sample_load(part, &bytes);
    st_trace_writer *w;
    CHECK(bytes > (size_t)mark.bytes);
    for (int64_t n = 0; n < mark.bytes; n += n < 300 ? 1 : 41) {
        sample_store(part, good, (size_t)n);
        refused(path, &plain, &mark, ST_ERR_FORMAT, "bad.safetensors.part");
    }
    for (int64_t at = 0; at < mark.bytes; at += at < 300 ? 1 : 17) {
        if (at >= 6 && at < 16)
            continue; /* version and seal */
        good[at] ^= 0x10;
        sample_store(part, good, bytes);
        refused(path, &plain, &mark, ST_ERR_FORMAT, "");
        good[at] ^= 0x10;
    }
    good[8] = 0x55; /* sealed: its run ended after the mark */
    sample_store(part, good, bytes);
    CHECK_STATUS(resume(path, &plain, &mark, &w, NULL), ST_OK);
    st_trace_writer_free(w, true);
    free(good);
}

/* Two recordings alike in every length. */
static void test_another_recording(void)
{
    sample s = sample_default();
    const char *path = sample_path("twin.safetensors");
    st_trace_mark mark = leave(path, &plain, 5, 5);
    st_trace_writer *w;
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, &plain, &w, NULL), ST_OK);
    CHECK_STATUS(take_step(&s, w, 0), ST_OK);
    CHECK_STATUS(st_trace_writer_json(w, "recipe", "{\"seed\": 2}", NULL), ST_OK);
    take_steps(&s, w, 2, 5);
    st_trace_writer_free(w, true);
    refused(path, &plain, &mark, ST_ERR_FORMAT, "not the recording");
}

int main(void)
{
    test_same_file(&plain);
    test_same_file(&some);
    test_rules_go_on();
    test_other_options();
    test_bad_journals();
    test_another_recording();
    return check_report();
}
