/* SPDX-License-Identifier: MIT
 *
 * test_group_rows.c — sums of attention over rectangles of groups against a plain loop in double
 * precision: any layout of groups, any selection, calls cut anywhere, every thread count.
 */
#include <string.h>

#include "check.h"
#include "problem.h"

static bool precise;

/* Groups over 0..n_tok with gaps, some a single token, some long. */
static int64_t draw_groups(st_group *group, int64_t n_tok)
{
    int64_t at = problem_below(5), n = 0;
    int longest = problem_below(3) == 0 ? 90 : 12;
    while (at < n_tok) {
        int64_t end = sti_min(at + 1 + problem_below(longest), n_tok);
        group[n++] = (st_group){at, end};
        at = end + (problem_below(3) == 0 ? problem_below(7) : 0);
    }
    return n;
}

/* Every visible block, or a random part of them with the diagonal. */
static st_selection *draw_selection(const st_attn *a, int bq, int bk, bool full)
{
    st_selection *sel;
    int64_t n = 0, begin = 0;
    CHECK_STATUS(st_select_all(a, bq, bk, &sel, NULL), ST_OK);
    for (int64_t row = 0; row < sel->n_head * sel->nbq; row++) {
        int64_t end = sel->indptr[row + 1];
        for (int64_t i = begin; i < end; i++)
            if (full || i + 1 == end || problem_below(3) == 0)
                sel->indices[n++] = sel->indices[i];
        begin = end;
        sel->indptr[row + 1] = n;
    }
    return sel;
}

static double score(const problem *p, int h, int64_t i, int64_t j)
{
    const st_attn *a = &p->a;
    int g = h / (a->n_head / a->n_kv_head);
    double s = 0.0;
    for (int c = 0; c < a->d_k; c++)
        s += (double)p->q[(h * a->n_q + i) * a->d_k + c] * p->k[(g * a->n_k + j) * a->d_k + c];
    return s * (double)a->scale;
}

/* p [n_k] of one row: softmax over its visible keys in the kept blocks. */
static void row_probabilities(const problem *p, const st_selection *sel, int h, int64_t i,
                              double *prob)
{
    const st_attn *a = &p->a;
    int64_t row = h * sel->nbq + (a->first_query + i) / sel->bq - sel->first_blk;
    double sum = a->sinks != NULL ? exp((double)a->sinks[h]) : 0.0;
    memset(prob, 0, (size_t)a->n_k * sizeof *prob);
    for (int64_t e = sel->indptr[row]; e < sel->indptr[row + 1]; e++)
        for (int64_t j = (int64_t)sel->indices[e] * sel->bk;
             j < sti_min((sel->indices[e] + 1LL) * sel->bk, a->first_query + i + 1); j++)
            sum += prob[j] = exp(score(p, h, i, j));
    for (int64_t j = 0; j < a->n_k; j++)
        prob[j] /= sum;
}

/* want [n_head, n_group, n_group] */
static void plain(const problem *p, const st_selection *sel, const st_group *group, int64_t n_group,
                  double *want)
{
    const st_attn *a = &p->a;
    double *prob = malloc((size_t)a->n_k * sizeof *prob);
    for (int h = 0; h < a->n_head; h++)
        for (int64_t g = 0; g < n_group; g++)
            for (int64_t r = group[g].begin; r < group[g].end; r++) {
                if (r < a->first_query)
                    continue;
                row_probabilities(p, sel, h, r - a->first_query, prob);
                for (int64_t c = 0; c < n_group; c++)
                    for (int64_t j = group[c].begin; j < group[c].end; j++)
                        want[(h * n_group + g) * n_group + c] += prob[j];
            }
    free(prob);
}

static st_group_sums sums_for(const st_attn *a, const st_group *group, int64_t n_group)
{
    st_group_sums s = {.group = group, .n_group = n_group};
    s.n = st_groups_touched(group, n_group, a->first_query, a->first_query + a->n_q, &s.first);
    s.sum = malloc((size_t)(a->n_head * s.n * n_group) * sizeof *s.sum + 1);
    return s;
}

/* Adds a call's sums to all [n_head, n_group, n_group]. */
static void add(double *all, const st_group_sums *s, int n_head)
{
    for (int h = 0; h < n_head; h++)
        for (int64_t i = 0; i < s->n; i++)
            for (int64_t c = 0; c < s->n_group; c++)
                all[(h * s->n_group + s->first + i) * s->n_group + c] +=
                    (double)s->sum[(h * s->n + i) * s->n_group + c];
}

/* The largest difference of the mean that a row of a group gives to another group. */
static double furthest(const double *x, const double *y, int n_head, const st_group *group,
                       int64_t n_group)
{
    double worst = 0.0;
    for (int64_t i = 0; i < n_head * n_group * n_group; i++) {
        const st_group *row = &group[i / n_group % n_group];
        worst = fmax(worst, fabs(x[i] - y[i]) / (double)(row->end - row->begin));
    }
    return worst;
}

/* The same problem's rows [begin, end) as a call of their own. */
static st_attn rows_of(const problem *p, int64_t begin, int64_t end)
{
    st_attn a = p->a;
    a.q.data = (const char *)a.q.data + begin * a.q.stride_tok_bytes;
    a.n_q = end - begin;
    a.n_k = a.first_query + end;
    a.first_query += begin;
    return a;
}

static void test_layouts(st_pool *pool)
{
    for (int t = 0; t < 40; t++) {
        int group = 1 + problem_below(3), kv = 1 + problem_below(2);
        int64_t n_k = 1 + problem_below(300), n_q = t % 4 == 0 ? n_k : 1 + problem_below((int)n_k);
        problem p = problem_new(group * kv, kv, n_q, n_k, 1 + problem_below(40), 8);
        st_group groups[400];
        int64_t n_group = draw_groups(groups, n_k), n = p.a.n_head * n_group * n_group;
        float *sinks = problem_fill(p.a.n_head, false);
        st_selection *sel;
        double *want = calloc((size_t)n + 1, sizeof *want), *got = calloc((size_t)n + 1, 8);
        p.a.precise = precise;
        if (t % 5 == 1)
            p.a.sinks = sinks;
        sel = draw_selection(&p.a, 1 + problem_below(70), 1 + problem_below(40), t % 2 == 0);
        st_group_sums s = sums_for(&p.a, groups, n_group), again = sums_for(&p.a, groups, n_group);
        CHECK_STATUS(st_attend(&p.a, sel, pool, &(st_attend_out){.groups = &s}, NULL), ST_OK);
        CHECK_STATUS(st_attend(&p.a, sel, NULL, &(st_attend_out){.groups = &again}, NULL), ST_OK);
        CHECK(memcmp(s.sum, again.sum, (size_t)(p.a.n_head * s.n * n_group) * 4) == 0);
        plain(&p, sel, groups, n_group, want);
        add(got, &s, p.a.n_head);
        CHECK(furthest(want, got, p.a.n_head, groups, n_group) < (precise ? 1e-5 : 1e-3));
        st_selection_free(sel);
        free(s.sum);
        free(again.sum);
        free(want);
        free(got);
        free(sinks);
        problem_free(&p);
    }
}

/* Everything kept: calls cut anywhere add up to the one call, and to exact attention. */
static void test_cut_calls(st_pool *pool)
{
    problem p = problem_new(4, 2, 200, 200, 16, 8);
    st_group groups[400];
    int64_t n_group = draw_groups(groups, 200), n = 4 * n_group * n_group;
    double *want = calloc((size_t)n, sizeof *want), *got = calloc((size_t)n, sizeof *got);
    st_selection *all;
    p.a.precise = precise;
    CHECK_STATUS(st_select_all(&p.a, 32, 16, &all, NULL), ST_OK);
    plain(&p, all, groups, n_group, want);
    st_selection_free(all);
    for (int64_t begin = 0, end; begin < 200; begin = end) {
        end = sti_min(begin + 1 + problem_below(60), 200);
        st_attn a = rows_of(&p, begin, end);
        st_group_sums s = sums_for(&a, groups, n_group);
        CHECK_STATUS(st_select_all(&a, 32, 16, &all, NULL), ST_OK);
        CHECK_STATUS(st_attend(&a, all, pool, &(st_attend_out){.groups = &s}, NULL), ST_OK);
        add(got, &s, 4);
        st_selection_free(all);
        free(s.sum);
    }
    CHECK(furthest(want, got, 4, groups, n_group) < (precise ? 1e-5 : 1e-3));
    free(want);
    free(got);
    problem_free(&p);
}

/* ---- what was weighed and left out ----------------------------------------------------------- */

static bool same_selection(const st_selection *x, const st_selection *y)
{
    int64_t n_row = x->n_head * x->nbq;
    return memcmp(x->indptr, y->indptr, (size_t)(n_row + 1) * sizeof *x->indptr) == 0 &&
           memcmp(x->indices, y->indices, (size_t)x->indptr[n_row] * sizeof *x->indices) == 0;
}

/* Adds the pruned attention's sums and what was left out to all. False: another selection than
 * st_select's, or other sums with other threads. */
static bool add_estimate(double *all, const problem *p, const st_select_params *sp,
                         const st_group *group, int64_t n_group, st_pool *pool)
{
    const st_attn *a = &p->a;
    st_group_sums left = sums_for(a, group, n_group), again = sums_for(a, group, n_group);
    st_group_sums kept = sums_for(a, group, n_group);
    st_selection *sel, *alone, *plain_sel;
    bool ok;
    CHECK_STATUS(st_select(a, sp, NULL, pool, &plain_sel, NULL), ST_OK);
    CHECK_STATUS(st_select_weighed(a, sp, NULL, pool, &left, &sel, NULL), ST_OK);
    CHECK_STATUS(st_select_weighed(a, sp, NULL, NULL, &again, &alone, NULL), ST_OK);
    CHECK_STATUS(st_attend(a, sel, pool, &(st_attend_out){.groups = &kept}, NULL), ST_OK);
    ok = same_selection(sel, plain_sel) && same_selection(sel, alone) && plain_sel->share == NULL &&
         memcmp(left.sum, again.sum, (size_t)(a->n_head * left.n * n_group) * 4) == 0;
    add(all, &kept, a->n_head);
    add(all, &left, a->n_head);
    st_selection_free(sel);
    st_selection_free(alone);
    st_selection_free(plain_sel);
    free(left.sum);
    free(again.sum);
    free(kept.sum);
    return ok;
}

/* Where every key is weighed on every row, few kept keys and what was left out make exact attention
 * again, but for the rounding of int8 scores. */
static void test_weighed(st_pool *pool)
{
    static const st_select_method method[] = {ST_SELECT_STREAM, ST_SELECT_FLAT, ST_SELECT_SCAN,
                                              ST_SELECT_AUTO};
    for (int t = 0; t < 32; t++) {
        int64_t n_k = 40 + problem_below(80), n_q = t % 3 == 0 ? n_k : 1 + problem_below(40);
        problem p = problem_new(4, 2, n_q, n_k, 24, 8);
        st_group groups[400];
        int64_t n_group = draw_groups(groups, n_k), n = 4 * n_group * n_group;
        double *want = calloc((size_t)n, 8), *got = calloc((size_t)n, 8);
        st_select_params sp = st_select_params_default();
        st_selection *all;
        sp.method = method[t % 4];
        sp.pooled = sp.method != ST_SELECT_SCAN || t / 4 % 2 == 0; /* then all is weighed */
        sp.bq = 1 + problem_below(8);
        sp.bk = 1;
        sp.k = (double)st_select_min_k(&sp) + 1 + problem_below(20) / 8.0;
        CHECK_STATUS(st_select_all(&p.a, sp.bq, 1, &all, NULL), ST_OK);
        plain(&p, all, groups, n_group, want);
        st_selection_free(all);
        CHECK(add_estimate(got, &p, &sp, groups, n_group, pool));
        CHECK(furthest(want, got, 4, groups, n_group) < 0.02);
        free(want);
        free(got);
        problem_free(&p);
    }
}

/* Whatever the blocks, and where far from all is weighed, what a row reads adds up to 1. */
static void test_weighed_adds_up(st_pool *pool)
{
    for (int t = 0; t < 12; t++) {
        int64_t n_k = 2000, n_q = t % 2 == 0 ? n_k : 300;
        problem p = problem_new(2, 1, n_q, n_k, 16, 8);
        st_group group[] = {{0, 700}, {700, 1703}, {1703, 1990}, {1990, 2000}};
        double all[2 * 4 * 4] = {0};
        st_select_params sp = st_select_params_default();
        sp.pooled = t % 3 == 0;
        sp.mass = t % 3 == 1 ? 0.5f : 0.0f;
        sp.bq = 1 + problem_below(40);
        sp.bk = 1 + problem_below(20);
        sp.k = (double)st_select_min_k(&sp) + problem_below(40) / 8.0;
        CHECK(add_estimate(all, &p, &sp, group, 4, pool));
        for (int i = 0; i < 8; i++) {
            const st_group *g = &group[i % 4];
            double rows = (double)(g->end - sti_max(g->begin, n_k - n_q)), sum = 0.0;
            for (int j = 0; j < 4; j++)
                sum += all[4 * i + j];
            /* a mass budget knows what it did not weigh */
            CHECK(rows <= 0 || sum / rows < 1.001);
            CHECK(rows <= 0 || sp.mass > 0.0f || sum / rows > 0.999);
        }
        problem_free(&p);
    }
}

/* Nothing more than the kept blocks is known. */
static void test_not_weighed(void)
{
    problem p = problem_new(2, 1, 100, 300, 16, 8);
    st_group group[] = {{0, 150}, {150, 300}};
    st_edit edit = {
        .layer = -1, .head = -1, .q_begin = 0, .q_end = 300, .key_begin = 3, .key_end = 9};
    for (int i = 0; i < 4; i++) {
        st_group_sums left = sums_for(&p.a, group, 2);
        st_select_params sp = st_select_params_default();
        st_selection *sel;
        if (i < 3)
            sp.method = (st_select_method[]){ST_SELECT_HIP, ST_SELECT_WINDOW, ST_SELECT_EXACT}[i];
        p.a.edit = i == 3 ? &edit : NULL;
        p.a.n_edit = i == 3;
        CHECK_STATUS(st_select_weighed(&p.a, &sp, NULL, NULL, &left, &sel, NULL), ST_OK);
        CHECK(sel->share == NULL);
        for (int64_t c = 0; c < p.a.n_head * left.n * left.n_group; c++)
            CHECK(left.sum[c] == 0.0f);
        st_selection_free(sel);
        free(left.sum);
    }
    problem_free(&p);
}

static void test_errors(void)
{
    static const struct {
        st_group g[2];
        int at;
    } bad[] = {{{{0, 4}, {3, 8}}, 1}, {{{4, 8}, {0, 4}}, 1},  {{{-1, 4}, {5, 8}}, 0},
               {{{0, 4}, {5, 5}}, 1}, {{{0, 4}, {5, 21}}, 1}, {{{3, 2}, {5, 8}}, 0}};
    problem p = problem_new(2, 1, 10, 20, 8, 8);
    st_group good[] = {{0, 12}, {12, 13}, {18, 20}};
    st_group_sums s = sums_for(&p.a, good, 3);
    st_select_params sp = st_select_params_default();
    st_selection *sel, *none;
    st_error err;
    int64_t first;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(st_groups_check(bad[i].g, 2, 20, &err), ST_ERR_ARG);
        CHECK_EQ(err.position, bad[i].at);
    }
    CHECK_STATUS(st_groups_check(NULL, 3, 20, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_groups_check(good, 3, 20, NULL), ST_OK);
    CHECK_EQ(st_groups_touched(good, 3, 13, 18, &first), 0);
    CHECK_EQ(st_groups_touched(good, 3, 12, 19, &first), 2);
    CHECK_EQ(first, 1);
    CHECK_EQ(st_groups_touched(good, 0, 0, 20, &first), 0);
    CHECK_STATUS(st_select_all(&p.a, 4, 4, &sel, NULL), ST_OK);
    CHECK_STATUS(st_attend_exact(&p.a, NULL, &(st_attend_out){.groups = &s}, &err), ST_ERR_ARG);
    s.n = 2;
    CHECK_STATUS(st_attend(&p.a, sel, NULL, &(st_attend_out){.groups = &s}, &err), ST_ERR_ARG);
    s.n = 3;
    s.first = 1;
    CHECK_STATUS(st_attend(&p.a, sel, NULL, &(st_attend_out){.groups = &s}, &err), ST_ERR_ARG);
    CHECK_STATUS(st_select_weighed(&p.a, &sp, NULL, NULL, &s, &none, &err), ST_ERR_ARG);
    CHECK(none == NULL);
    s.group = bad[0].g;
    s.n_group = 2;
    CHECK_STATUS(st_attend(&p.a, sel, NULL, &(st_attend_out){.groups = &s}, &err), ST_ERR_ARG);
    st_selection_free(sel);
    free(s.sum);
    problem_free(&p);
}

int main(void)
{
    st_pool *pool;
    CHECK_LEVEL();
    CHECK_STATUS(st_pool_create(3, &pool, NULL), ST_OK);
    for (int i = 0; i < 2; i++) {
        precise = i == 0;
        test_layouts(pool);
        test_cut_calls(pool);
    }
    test_weighed(pool);
    test_weighed_adds_up(pool);
    test_not_weighed();
    test_errors();
    st_pool_free(pool);
    return check_report();
}
