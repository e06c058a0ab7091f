/* SPDX-License-Identifier: MIT
 *
 * test_excerpt.c — the overview and the excerpt of the sample run: what they promise about sizes,
 * errors by name, and traces that nobody validated. Their numbers are held against NumPy by
 * tests/viewer/test_view_report.py.
 */
#include "../unit/check.h"
#include "sample_trace.h"
#include "sparsetrace/view.h"

static char path[256];

static st_status count(void *ctx, const void *data, size_t bytes, st_error *err)
{
    (void)data, (void)err;
    *(int64_t *)ctx += (int64_t)bytes;
    return ST_OK;
}

static st_status refuse(void *ctx, const void *data, size_t bytes, st_error *err)
{
    (void)ctx, (void)data, (void)bytes, (void)err;
    return ST_ERR_IO;
}

static void test_overview(const st_trace *t)
{
    st_overview *o;
    st_overview_info info;
    int64_t bytes = 0;
    st_out to = {count, &bytes}, nowhere = {refuse, NULL};
    CHECK_STATUS(st_overview_create(t, 0, &o, NULL), ST_ERR_ARG);
    CHECK(o == NULL);
    CHECK_STATUS(st_overview_create(t, 257, &o, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_overview_create(t, 4, &o, NULL), ST_OK);
    st_overview_get_info(o, &info);
    CHECK_EQ(info.n_head, 6);
    CHECK_EQ(info.cells_q, 4);
    CHECK_EQ(info.cells_k, 4);
    CHECK_EQ(st_overview_at(o, 0)->layer, 0);
    CHECK_EQ(st_overview_at(o, 5)->layer, 3);
    CHECK(st_overview_at(o, 6) == NULL && st_overview_at(o, -1) == NULL);
    for (int64_t i = 0; i < 6; i++) { /* the shares of a row add up to what the row has */
        const float *m = st_overview_at(o, i)->measure;
        CHECK(m[ST_VIEW_SINK] > 0 && m[ST_VIEW_SINK] + m[ST_VIEW_WINDOW] + m[ST_VIEW_FAR] <= 1);
        CHECK(m[ST_VIEW_RECALL] > 0.5f && m[ST_VIEW_RECALL] <= 1);
    }
    CHECK_STATUS(st_overview_save(o, &to, NULL), ST_OK);
    CHECK(bytes > 6 * 16);
    CHECK_STATUS(st_overview_save(o, &nowhere, NULL), ST_ERR_IO);
    st_overview_free(o);
    st_overview_free(NULL);
}

/* Every size either is kept or is refused, and more room never gives less. */
static void test_sizes(const st_trace *t)
{
    st_overview *o;
    int64_t most = 0;
    bool refused = false, fitted = false;
    CHECK_STATUS(st_overview_create(t, 8, &o, NULL), ST_OK);
    for (int64_t max_bytes = 1; max_bytes < 20000; max_bytes += max_bytes / 9 + 1) {
        st_excerpt *x;
        st_excerpt_info info;
        st_error err;
        int64_t bytes = 0;
        st_out to = {count, &bytes};
        st_status status = st_excerpt_create(t, o, max_bytes, &x, &err);
        if (status != ST_OK) {
            CHECK_EQ(status, ST_ERR_LIMIT);
            CHECK(x == NULL && !fitted && strstr(err.message, "does not fit") != NULL);
            refused = true;
            continue;
        }
        fitted = true;
        st_excerpt_get_info(x, &info);
        CHECK_STATUS(st_excerpt_save(x, &to, NULL), ST_OK);
        CHECK_EQ(bytes, info.bytes);
        CHECK(bytes <= max_bytes);
        CHECK(info.n_entry >= most || info.bq > 8);
        CHECK(info.mass_share > 0 && info.mass_share <= 1);
        most = info.n_entry;
        st_excerpt_free(x);
    }
    CHECK(refused && fitted);
    st_overview_free(o);
}

static void test_arguments(const st_trace *t)
{
    st_overview *o;
    st_excerpt *x;
    CHECK_STATUS(st_overview_create(t, 8, &o, NULL), ST_OK);
    CHECK_STATUS(st_excerpt_create(t, o, 0, &x, NULL), ST_ERR_ARG);
    CHECK(x == NULL);
    CHECK_STATUS(st_excerpt_create(t, o, 1 << 20, &x, NULL), ST_OK);
    st_excerpt_free(x);
    st_excerpt_free(NULL);
    st_overview_free(o);
    CHECK(strcmp(st_view_measure_name(ST_VIEW_RECALL), "recall") == 0);
    CHECK(strcmp(st_view_measure_name(ST_VIEW_MEASURE_COUNT), "?") == 0);
}

/* Numbers of the file overwritten one after the other: opened or not, nothing outside is touched
 * (the sanitizers watch). */
static void test_unvalidated(void)
{
    char spoilt[300];
    int64_t n, opened = 0;
    FILE *f = fopen(path, "rb");
    unsigned char bytes[65536];
    n = (int64_t)fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    snprintf(spoilt, sizeof spoilt, "%s.spoilt", path);
    for (int64_t at = n - 6000; at < n; at += 12) {
        unsigned char was[4];
        st_trace *t;
        memcpy(was, bytes + at, 4);
        memset(bytes + at, at % 24 == 0 ? 0xff : 0x7f, 4);
        f = fopen(spoilt, "wb");
        fwrite(bytes, 1, (size_t)n, f);
        fclose(f);
        memcpy(bytes + at, was, 4);
        if (st_trace_open(spoilt, &t, NULL) == ST_OK) {
            st_overview *o;
            st_excerpt *x = NULL;
            opened++;
            CHECK_STATUS(st_overview_create(t, 16, &o, NULL), ST_OK);
            CHECK_STATUS(st_excerpt_create(t, o, 1 << 20, &x, NULL), ST_OK);
            st_excerpt_free(x);
            st_overview_free(o);
        }
        st_trace_free(t);
    }
    CHECK(opened > 100);
    remove(spoilt);
}

int main(void)
{
    sample s = sample_default();
    st_trace_options opt = {.lse = true};
    st_error err;
    st_trace *t;
    snprintf(path, sizeof path, "test_excerpt.%d.trace", (int)getpid());
    if (sample_write(&s, path, &opt, &err) != ST_OK || st_trace_open(path, &t, &err) != ST_OK) {
        printf("cannot make the sample: %s\n", err.message);
        return 1;
    }
    test_overview(t);
    test_sizes(t);
    test_arguments(t);
    test_unvalidated();
    st_trace_free(t);
    remove(path);
    return check_report();
}
