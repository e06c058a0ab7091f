/* SPDX-License-Identifier: MIT
 *
 * test_query.c — what a part reads and who reads a span, against sums over the sample's formula.
 */
#include <math.h>

#include "../unit/check.h"
#include "sample_trace.h"

static st_trace *trace;
static sample s;

/* mass[l][h][b][c] of the formula, 0 where nothing is kept */
static double dense[SAMPLE_LAYERS][3][7][13];

static void fill_dense(void)
{
    for (int l = 0; l < SAMPLE_LAYERS; l++)
        for (int h = 0; h < s.n_head[l]; h++)
            for (int b = 0; b < 7; b++) {
                sample_expect(&s, l, h, b, s.n_tok, dense[l][h][b]);
                for (int c = 0; c < 13; c++)
                    dense[l][h][b][c] = fmax(0, dense[l][h][b][c]);
            }
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-3 * fabs(b);
}

static void test_reads(void)
{
    static const int32_t layer[] = {3, 1}, head[] = {0, 2};
    st_trace_part part = {
        .layer = layer, .n_layer = 2, .head = head, .n_head = 2, .row_begin = 23, .row_end = 33};
    double reads[13], want;
    CHECK_STATUS(st_trace_reads(trace, NULL, reads, NULL), ST_OK);
    for (int c = 0; c < 13; c++) {
        want = 0;
        for (int l = 0; l < SAMPLE_LAYERS; l++)
            for (int h = 0; h < s.n_head[l]; h++)
                for (int b = 0; b < 7; b++)
                    want += dense[l][h][b][c] / (6 * 7);
        CHECK(near(reads[c], want));
    }
    CHECK_STATUS(st_trace_reads(trace, &part, reads, NULL), ST_OK);
    for (int c = 0; c < 13; c++) { /* blocks 2, 3, 4 of heads 1:0, 1:2 and 3:0 */
        want = 0;
        for (int b = 2; b <= 4; b++)
            want += (dense[1][0][b][c] + dense[1][2][b][c] + dense[2][0][b][c]) / 9;
        CHECK(near(reads[c], want));
    }
}

static void test_readers(void)
{
    st_trace_part part = {.row_begin = 8, .row_end = 50};
    double readers[7], want;
    CHECK_STATUS(st_trace_readers(trace, &part, 5, 9, readers, NULL), ST_OK);
    CHECK(readers[0] == 0);
    for (int b = 1; b < 7; b++) {
        want = 0;
        for (int l = 0; l < SAMPLE_LAYERS; l++)
            for (int h = 0; h < s.n_head[l]; h++)
                want += (dense[l][h][b][1] + dense[l][h][b][2]) / 6;
        CHECK(near(readers[b], want));
    }
}

static void test_bad_parts(void)
{
    static const int32_t two[] = {2}, far[] = {7}, head_1[] = {1}, layer_3[] = {3};
    double out[13];
    st_trace_part p = {.layer = two, .n_layer = 1};
    CHECK_STATUS(st_trace_reads(trace, &p, out, NULL), ST_ERR_ARG);
    p = (st_trace_part){.head = far, .n_head = 1};
    CHECK_STATUS(st_trace_reads(trace, &p, out, NULL), ST_ERR_ARG);
    p = (st_trace_part){.layer = layer_3, .n_layer = 1, .head = head_1, .n_head = 1};
    CHECK_STATUS(st_trace_reads(trace, &p, out, NULL), ST_ERR_ARG);
    p = (st_trace_part){.row_begin = 10, .row_end = 10};
    CHECK_STATUS(st_trace_reads(trace, &p, out, NULL), ST_ERR_ARG);
    p = (st_trace_part){.row_begin = 10, .row_end = 51};
    CHECK_STATUS(st_trace_reads(trace, &p, out, NULL), ST_ERR_ARG);
    p = (st_trace_part){.n_layer = 1};
    CHECK_STATUS(st_trace_reads(trace, &p, out, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_readers(trace, NULL, 4, 4, out, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_readers(trace, NULL, -1, 4, out, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_trace_readers(trace, NULL, 0, 51, out, NULL), ST_ERR_ARG);
}

/* A part of a trace that records only some rows. */
static void test_recorded_rows(void)
{
    st_trace_options opt = {.row_begin = 16, .row_end = 24};
    st_trace_part p = {.row_begin = 24, .row_end = 50};
    double reads[13], want = 0;
    st_trace *t;
    CHECK_STATUS(sample_write(&s, sample_path("rows.safetensors"), &opt, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(sample_path("rows.safetensors"), &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_reads(t, NULL, reads, NULL), ST_OK);
    for (int l = 0; l < SAMPLE_LAYERS; l++)
        for (int h = 0; h < s.n_head[l]; h++)
            want += dense[l][h][2][0] / 6;
    CHECK(near(reads[0], want)); /* the mean is over the recorded block alone */
    CHECK_STATUS(st_trace_reads(t, &p, reads, NULL), ST_ERR_ARG);
    st_trace_free(t);
}

int main(void)
{
    s = sample_default();
    fill_dense();
    CHECK_STATUS(sample_write(&s, sample_path("query.safetensors"), NULL, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(sample_path("query.safetensors"), &trace, NULL), ST_OK);
    if (trace == NULL)
        return check_report();
    test_reads();
    test_readers();
    test_bad_parts();
    test_recorded_rows();
    st_trace_free(trace);
    return check_report();
}
