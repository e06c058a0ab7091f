/* SPDX-License-Identifier: MIT
 *
 * test_certificate.c — the summary of certified rows, against numbers worked out by hand.
 */
#include <math.h>

#include "../unit/check.h"
#include "sparsetrace/trace.h"

static bool is(double a, double b)
{
    return fabs(a - b) < 1e-7;
}

static void test_one_head(void)
{
    static const float recall[] = {0.5f, 0.75f, 1.0f}, err[] = {0.25f, 0, 0.5f};
    st_cert_samples s = {4, 1, 3, recall, err};
    st_certificate c;
    CHECK_STATUS(st_certificate_compute(&s, 1, &c, NULL), ST_OK);
    CHECK(c.n_layer == 1 && c.n_head == 1 && c.n_row == 3);
    CHECK(is(c.recall_mean, 0.75) && is(c.err_mean, 0.25) && is(c.recall_worst, 0.75));
    CHECK(is(c.recall_p5, 0.525)); /* position 0.1 between 0.5 and 0.75 */
    /* variance of the mean: (0.25^2 + 0.25^2) / (2 * 3 * 2) */
    CHECK(is(c.recall_ci95[0], 0.75 - 1.96 * sqrt(0.125 / 12)));
    CHECK(is(c.recall_ci95[1], 0.75 + 1.96 * sqrt(0.125 / 12)));
    CHECK(c.worst_layer == 4 && c.worst_head == 0);
}

/* Two layers of different head and row counts: heads weigh the same, layers are independent. */
static void test_two_layers(void)
{
    static const float r0[] = {1, 1, 0.5f, 0.5f}, r1[] = {0.25f, 0.75f, 0.5f, 0.5f};
    static const float e0[4] = {0}, e1[] = {1, 1, 1, 3};
    st_cert_samples s[] = {{0, 2, 2, r0, e0}, {7, 1, 4, r1, e1}};
    st_certificate c;
    double v1 = (0.25 + 0.0625) / (2 * 4 * 3), half = 1.96 * sqrt(v1 / 9);
    CHECK_STATUS(st_certificate_compute(s, 2, &c, NULL), ST_OK);
    CHECK(c.n_layer == 2 && c.n_head == 3 && c.n_row == 4);
    CHECK(is(c.recall_mean, 0.75 * 2 / 3 + 0.5 / 3) && is(c.err_mean, 0.5));
    /* the first layer's rows have the same mean over heads: no spread */
    CHECK(is(c.recall_ci95[0], c.recall_mean - half) && is(c.recall_ci95[1], c.recall_mean + half));
    CHECK(is(c.recall_worst, 0.5) && c.worst_layer == 0 &&
          c.worst_head == 1); /* the first of two */
    CHECK(is(c.recall_p5, 0.25 + 0.35 * 0.25));
}

static void test_edges(void)
{
    static const float ones[] = {1, 1, 1, 0.875f}, nan[] = {NAN, 1}, zero[4] = {0},
                       minus[] = {-1, 0};
    st_cert_samples s = {0, 1, 4, ones, zero};
    st_certificate c;
    CHECK_STATUS(st_certificate_compute(&s, 1, &c, NULL), ST_OK);
    CHECK(c.recall_ci95[1] == 1 && c.recall_ci95[0] < c.recall_mean); /* cut at 1 */
    s = (st_cert_samples){0, 2, 1, ones, zero};
    CHECK_STATUS(st_certificate_compute(&s, 1, &c, NULL), ST_OK);
    CHECK(c.recall_mean == 1 && c.recall_ci95[0] == 0 && c.recall_ci95[1] == 1); /* one row */
    CHECK_STATUS(st_certificate_compute(&s, 0, &c, NULL), ST_ERR_ARG);
    s.n_row = 0;
    CHECK_STATUS(st_certificate_compute(&s, 1, &c, NULL), ST_ERR_ARG);
    s = (st_cert_samples){0, 1, 2, nan, zero};
    CHECK_STATUS(st_certificate_compute(&s, 1, &c, NULL), ST_ERR_ARG);
    s = (st_cert_samples){0, 1, 2, ones, minus};
    CHECK_STATUS(st_certificate_compute(&s, 1, &c, NULL), ST_ERR_ARG);
}

/* ---- coverage -------------------------------------------------------------------------------- */

#define ROWS 1001 /* that can be drawn */
#define DRAWN 32
#define LAYERS 3
#define HEADS 4

static uint64_t state = 1;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / 9007199254740992.0;
}

/* Recall as it is: falls along the text, heads of a row go together, some rows are far below
 * (skewness -0.7; of real runs -1.4 to 0.8). */
static void make_truth(float truth[LAYERS][HEADS][ROWS])
{
    for (int l = 0; l < LAYERS; l++)
        for (int i = 0; i < ROWS; i++) {
            double row = uniform(), drop = uniform() < 0.04 ? 0.25 : 0;
            for (int h = 0; h < HEADS; h++)
                truth[l][h][i] = (float)(0.55 + 0.2 * exp(-i / 150.0) + 0.15 * row +
                                         0.1 * uniform() - drop);
        }
}

/* One row of each of n strata of equal length: whether the interval holds the mean of all. */
static bool holds(float truth[LAYERS][HEADS][ROWS], double mean)
{
    static const float err[HEADS * DRAWN] = {0};
    float recall[LAYERS][HEADS][DRAWN];
    st_cert_samples s[LAYERS];
    st_certificate c;
    for (int l = 0; l < LAYERS; l++) {
        for (int i = 0; i < DRAWN; i++) {
            int from = i * ROWS / DRAWN, size = (i + 1) * ROWS / DRAWN - from;
            int row = from + (int)(uniform() * size);
            for (int h = 0; h < HEADS; h++)
                recall[l][h][i] = truth[l][h][row];
        }
        s[l] = (st_cert_samples){l, HEADS, DRAWN, recall[l][0], err};
    }
    CHECK_STATUS(st_certificate_compute(s, LAYERS, &c, NULL), ST_OK);
    return c.recall_ci95[0] <= mean && mean <= c.recall_ci95[1];
}

/* The interval of 95 % holds the truth that often: not less, and it is not wide for nothing. */
static void test_coverage(void)
{
    static float truth[LAYERS][HEADS][ROWS];
    int n_held = 0, n = 2000;
    double mean = 0;
    make_truth(truth);
    for (int i = 0; i < LAYERS * HEADS * ROWS; i++)
        mean += (double)(&truth[0][0][0])[i] / (LAYERS * HEADS * ROWS);
    for (int i = 0; i < n; i++)
        n_held += holds(truth, mean);
    CHECK(n_held >= 0.93 * n && n_held <= 0.985 * n);
}

int main(void)
{
    test_coverage();
    test_one_head();
    test_two_layers();
    test_edges();
    return check_report();
}
