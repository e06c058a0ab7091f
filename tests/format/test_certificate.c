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

int main(void)
{
    test_one_head();
    test_two_layers();
    test_edges();
    return check_report();
}
