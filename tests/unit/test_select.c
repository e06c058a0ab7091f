/* SPDX-License-Identifier: MIT
 *
 * test_select.c — properties every method has to have; the integers themselves are checked against
 * NumPy in tests/python/test_reference.py.
 */
#include <math.h>
#include <string.h>

#include "check.h"
#include "problem.h"

static bool same(const st_selection *a, const st_selection *b)
{
    int64_t n = a->n_head * a->nbq;
    return n == b->n_head * b->nbq &&
           memcmp(a->indptr, b->indptr, (size_t)(n + 1) * sizeof *a->indptr) == 0 &&
           memcmp(a->indices, b->indices, (size_t)a->indptr[n] * sizeof *a->indices) == 0;
}

static bool holds(const st_selection *s, int64_t row, int64_t block)
{
    for (int64_t i = s->indptr[row]; i < s->indptr[row + 1]; i++)
        if (s->indices[i] == block)
            return true;
    return false;
}

/* Ascending, visible, sink and diagonal kept, the budget rounded down or up unless the always-kept
 * are more. */
static void check_form(const st_attn *a, const st_select_params *p, const st_selection *s)
{
    for (int64_t row = 0; row < s->n_head * s->nbq; row++) {
        int64_t qb = s->first_blk + row % s->nbq, n = s->indptr[row + 1] - s->indptr[row];
        int64_t last = sti_min((qb + 1) * p->bq, a->first_query + a->n_q) - 1;
        bool ok = holds(s, row, 0) && holds(s, row, last / p->bk);
        int64_t blocks = last / p->bk + 1, down = (int64_t)p->k, up = (int64_t)ceil(p->k);
        for (int64_t i = s->indptr[row]; i < s->indptr[row + 1]; i++)
            ok = ok && s->indices[i] <= last / p->bk && s->indices[i] >= 0 &&
                 (i == s->indptr[row] || s->indices[i] > s->indices[i - 1]);
        CHECK(ok);
        CHECK(n <= sti_max(up, st_select_min_k(p)));
        if (p->mass == 0.0f && p->method != ST_SELECT_AUTO)
            CHECK((n >= sti_min(blocks, down) && n <= sti_min(blocks, up)) || n > up ||
                  up < st_select_min_k(p));
    }
}

static void test_methods(st_pool *pool)
{
    for (int t = 0; t < 70; t++) {
        int64_t n_k = 1 + problem_below(900), n_q = t % 3 ? 1 + problem_below((int)n_k) : n_k;
        problem p = problem_new(4, 2, n_q, n_k, 16 + 8 * problem_below(8), 8);
        st_select_params sp = st_select_params_default();
        st_selection *one, *many;
        sp.method = (st_select_method)(t % ST_SELECT_METHOD_COUNT);
        sp.bq = 1 + problem_below(48);
        sp.bk = 1 + problem_below(24);
        sp.sink_blk = 1 + problem_below(3);
        sp.k = (double)st_select_min_k(&sp) + problem_below(96) / 8.0;
        if (sp.method != ST_SELECT_HIP && sp.method != ST_SELECT_WINDOW)
            sp.mass = t % 5 == 4 ? 0.9f : 0.0f;
        CHECK_STATUS(st_select(&p.a, &sp, NULL, NULL, &one, NULL), ST_OK);
        CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &many, NULL), ST_OK);
        CHECK(same(one, many)); /* threads change nothing */
        check_form(&p.a, &sp, one);
        st_selection_free(one);
        st_selection_free(many);
        problem_free(&p);
    }
}

/* Of 8 neighbouring query blocks as many keep one block more as the budget has eighths. */
static void test_eighths(st_pool *pool)
{
    problem p = problem_new(2, 1, 1024, 3072, 16, 8);
    st_select_params sp = st_select_params_default();
    st_selection *s;
    for (int eighths = 0; eighths < 9; eighths++) {
        sp.k = 6.0 + eighths / 8.0 + 0.01; /* eighths count, rounded down */
        CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &s, NULL), ST_OK);
        for (int64_t row = 0; row < s->n_head * s->nbq; row += 8) {
            CHECK_EQ(s->indptr[row + 8] - s->indptr[row], 8 * 6 + eighths);
            for (int64_t i = row; i < row + 8; i++)
                CHECK(s->indptr[i + 1] - s->indptr[i] >= 6 && s->indptr[i + 1] - s->indptr[i] <= 7);
        }
        st_selection_free(s);
    }
    problem_free(&p);
}

/* With everything in the budget every method keeps all visible blocks. */
static void test_full_budget(void)
{
    problem p = problem_new(2, 1, 150, 300, 32, 8);
    st_select_params sp = st_select_params_default();
    st_selection *all, *s;
    int64_t kept, visible;
    CHECK_STATUS(st_select_all(&p.a, sp.bq, sp.bk, &all, NULL), ST_OK);
    st_selection_pairs(all, &p.a, &kept, &visible);
    CHECK_EQ(kept, visible);
    CHECK_EQ(visible, 2 * st_causal_pairs(150, 150));
    for (int m = 0; m < ST_SELECT_METHOD_COUNT; m++) {
        sp.method = (st_select_method)m;
        sp.k = 1000;
        CHECK_STATUS(st_select(&p.a, &sp, NULL, NULL, &s, NULL), ST_OK);
        CHECK(same(all, s));
        st_selection_free(s);
    }
    st_selection_free(all);
    problem_free(&p);
}

/* A summary grown call by call selects what one call selects: cutting a prompt changes nothing, as
 * long as it is cut between units of 8 query blocks (select.h). */
static void test_growth(st_pool *pool)
{
    problem p = problem_new(4, 2, 1700, 1700, 48, 8);
    st_select_params sp = st_select_params_default();
    st_selection *whole, *part;
    st_keys *keys;
    sp.k = 8;
    CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &whole, NULL), ST_OK);
    CHECK_STATUS(st_keys_create(2, 48, sp.bk, &keys, NULL), ST_OK);
    for (int64_t at = 0, step = 256; at < 1700; at += step, step = step % 768 + 256) {
        st_attn a = p.a;
        a.first_query = at;
        a.n_q = sti_min(step, 1700 - at);
        a.n_k = at + a.n_q;
        a.q.data = p.q + at * 48;
        CHECK_STATUS(st_keys_append(keys, &a, pool, NULL), ST_OK);
        CHECK_EQ(st_keys_count(keys), a.n_k);
        CHECK(st_keys_match(keys, &a, 64, (uint64_t)at));
        CHECK_STATUS(st_select(&a, &sp, keys, pool, &part, NULL), ST_OK);
        for (int64_t row = 0; row < part->n_head * part->nbq; row++) {
            int64_t w = row / part->nbq * whole->nbq + part->first_blk + row % part->nbq;
            int64_t n = part->indptr[row + 1] - part->indptr[row];
            CHECK(n == whole->indptr[w + 1] - whole->indptr[w] &&
                  memcmp(part->indices + part->indptr[row], whole->indices + whole->indptr[w],
                         (size_t)n * sizeof *part->indices) == 0);
        }
        st_selection_free(part);
    }
    st_keys_free(keys);
    st_selection_free(whole);
    problem_free(&p);
}

/* Without the int8 copy every method chooses the same, in less memory. */
static void test_lean(st_pool *pool)
{
    problem p = problem_new(4, 2, 700, 2000, 48, 8);
    const st_select_method methods[] = {ST_SELECT_STREAM, ST_SELECT_FLAT, ST_SELECT_SCAN,
                                        ST_SELECT_HIP, ST_SELECT_AUTO};
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        st_select_params sp = st_select_params_default();
        st_selection *sel[2];
        st_keys *keys[2];
        sp.method = methods[m];
        sp.k = 9;
        for (int lean = 0; lean < 2; lean++) {
            CHECK_STATUS(st_keys_create(2, 48, sp.bk, &keys[lean], NULL), ST_OK);
            if (lean)
                CHECK(st_keys_set_lean(keys[lean]));
            CHECK(st_keys_reserve(keys[lean], 2000));
            CHECK_STATUS(st_keys_append(keys[lean], &p.a, pool, NULL), ST_OK);
            CHECK(st_keys_match(keys[lean], &p.a, 50, 3));
            CHECK_STATUS(st_select(&p.a, &sp, keys[lean], pool, &sel[lean], NULL), ST_OK);
        }
        CHECK(same(sel[0], sel[1]));
        CHECK(!st_keys_set_lean(keys[0])); /* too late */
        CHECK(st_keys_bytes(keys[1]) < st_keys_bytes(keys[0]) / 2);
        for (int pass = 0; pass < 2; pass++) { /* somebody edits the cache, and back */
            for (int i = 0; i < 800 * 48; i++)
                p.k[i] = -p.k[i];
            CHECK(pass == 1 || !st_keys_match(keys[0], &p.a, 50, 3));
            CHECK(pass == 1 || !st_keys_match(keys[1], &p.a, 50, 3));
        }
        for (int lean = 0; lean < 2; lean++) {
            st_selection_free(sel[lean]);
            st_keys_free(keys[lean]);
        }
    }
    problem_free(&p);
}

/* Rewinding and editing the cache. */
static void test_edits(void)
{
    problem p = problem_new(2, 1, 396, 396, 32, 8);
    st_select_params sp = st_select_params_default();
    st_selection *before, *after;
    st_keys *keys;
    st_error err;
    sp.k = 7;
    CHECK_STATUS(st_keys_create(1, 32, sp.bk, &keys, NULL), ST_OK);
    CHECK_STATUS(st_keys_append(keys, &p.a, NULL, NULL), ST_OK);
    CHECK_STATUS(st_select(&p.a, &sp, keys, NULL, &before, NULL), ST_OK);
    CHECK(st_keys_bytes(keys) > 396 * 32);
    /* to the beginning and again: the same */
    st_keys_truncate(keys, 0);
    CHECK_EQ(st_keys_count(keys), 0);
    CHECK_STATUS(st_keys_append(keys, &p.a, NULL, NULL), ST_OK);
    CHECK_STATUS(st_select(&p.a, &sp, keys, NULL, &after, NULL), ST_OK);
    CHECK(same(before, after));
    st_selection_free(after);
    /* a short way back, within the last block: the keys before it are still known */
    st_keys_truncate(keys, 390);
    CHECK_EQ(st_keys_count(keys), 390);
    CHECK(st_keys_match(keys, &p.a, 200, 1));
    /* cutting a whole block forgets everything, to be built again */
    st_keys_truncate(keys, 380);
    CHECK_EQ(st_keys_count(keys), 0);
    CHECK_STATUS(st_keys_append(keys, &p.a, NULL, NULL), ST_OK);
    CHECK_EQ(st_keys_count(keys), 396);
    /* changed keys are noticed, be it all of them or the ones that are sampled */
    for (int i = 0; i < 396 * 32; i++)
        p.k[i] *= -1.0f;
    CHECK(!st_keys_match(keys, &p.a, 8, 1));
    /* fewer keys than known */
    p.a.n_k = 300;
    p.a.first_query = 0;
    p.a.n_q = 300;
    CHECK_STATUS(st_keys_append(keys, &p.a, NULL, &err), ST_ERR_ARG);
    st_selection_free(before);
    st_keys_free(keys);
    problem_free(&p);
}

/* A planted needle: one key that all late rows read, among noise, far from everything. */
static void test_needle(st_pool *pool)
{
    static const st_select_method finds[] = {ST_SELECT_STREAM, ST_SELECT_FLAT, ST_SELECT_SCAN,
                                             ST_SELECT_EXACT, ST_SELECT_AUTO};
    problem p = problem_new(2, 1, 2048, 2048, 64, 8);
    int64_t needle = 777;
    for (int c = 0; c < 64; c++)
        p.k[needle * 64 + c] = c < 4 ? 16.0f : 0.0f;
    for (int64_t i = 0; i < 2 * 2048; i++)
        for (int c = 0; c < 4; c++)
            p.q[i * 64 + c] += 3.0f;
    for (size_t m = 0; m < sizeof finds / sizeof *finds; m++) {
        st_select_params sp = st_select_params_default();
        st_selection *s;
        int64_t kept = 0, rows = 0;
        sp.method = finds[m];
        sp.k = 6;
        CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &s, NULL), ST_OK);
        for (int64_t row = 0; row < s->n_head * s->nbq; row++)
            if (row % s->nbq * 32 > needle + 64) {
                rows++;
                kept += holds(s, row, needle / sp.bk);
            }
        CHECK_EQ(kept, rows);
        st_selection_free(s);
    }
    problem_free(&p);
}

/* auto notices that stream lost what scan would keep: keys that no summary can tell apart. */
static void test_auto_falls_back(st_pool *pool)
{
    problem p = problem_new(1, 1, 4096, 4096, 64, 8);
    st_select_params sp = st_select_params_default();
    st_selection *s, *scan;
    /* all keys are random signs; a row reads the one key equal to itself, far in the past */
    for (int64_t i = 0; i < 4096 * 64; i++) {
        p.k[i] = problem_below(2) ? 1.0f : -1.0f;
        p.q[i] = 0.0f;
    }
    for (int64_t i = 2048; i < 4096; i++)
        for (int c = 0; c < 64; c++)
            p.q[i * 64 + c] = 4.0f * p.k[(i - 2000) / 32 * 32 * 64 + c];
    sp.k = 6;
    sp.beam = 4; /* narrow, so that stream loses it at this length already */
    sp.method = ST_SELECT_AUTO;
    CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &s, NULL), ST_OK);
    CHECK(s->scanned);
    sp.method = ST_SELECT_SCAN;
    CHECK_STATUS(st_select(&p.a, &sp, NULL, pool, &scan, NULL), ST_OK);
    CHECK(same(s, scan));
    st_selection_free(s);
    st_selection_free(scan);
    problem_free(&p);
}

/* Pruned share of n_q rows from `first` on at budget k, by selecting; the rows before `exact` keep
 * all. */
static double share_of(double k, int64_t first, int64_t n_q, int64_t exact)
{
    problem x = problem_new(1, 1, n_q - exact, first + n_q, 4, 4);
    st_select_params p = st_select_params_default();
    int64_t kept, visible;
    st_selection *s;
    p.k = k;
    p.method = ST_SELECT_WINDOW;
    CHECK_STATUS(st_select(&x.a, &p, NULL, NULL, &s, NULL), ST_OK);
    st_selection_pairs(s, &x.a, &kept, &visible);
    CHECK_EQ(visible, st_causal_pairs(first + exact, n_q - exact));
    st_selection_free(s);
    problem_free(&x);
    return 1.0 -
           (double)(kept + st_causal_pairs(first, exact)) / (double)st_causal_pairs(first, n_q);
}

static void test_budgets(void)
{
    /* rows asked for, how many of them are exact, the share: all, the last of a long sequence, a
     * window */
    static const struct {
        int64_t first, n_q, exact;
        double pruned;
    } asked[] = {{0, 4096, 0, 0.96}, {3584, 512, 0, 0.9}, {0, 4096, 1000, 0.8}, {17, 300, 0, 0.5}};
    st_select_params p = st_select_params_default();
    st_error err;
    double k;
    CHECK_EQ(st_causal_pairs(0, 4), 10);
    CHECK_EQ(st_causal_pairs(10, 2), 23);
    CHECK_EQ(st_select_min_k(&p), 4); /* sink, window, two diagonal blocks */
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        int64_t first = asked[i].first, n_q = asked[i].n_q, exact = asked[i].exact;
        CHECK_STATUS(st_select_k_for_pruned(&p, first, n_q, exact, asked[i].pruned, &k, &err),
                     ST_OK);
        CHECK(share_of(k, first, n_q, exact) >= asked[i].pruned); /* enough, and the next is not */
        CHECK(share_of(k + 0.125, first, n_q, exact) < asked[i].pruned);
    }
    CHECK_STATUS(st_select_k_for_pruned(&p, 0, 200, 0, 0.97, &k, &err), ST_ERR_LIMIT);
    CHECK_STATUS(st_select_k_for_pruned(&p, 0, 4096, 0, 1.0, &k, &err), ST_ERR_ARG);
    CHECK_STATUS(st_select_k_for_pruned(&p, 0, 1, 0, 0.0, &k, &err), ST_OK);
}

static void test_blocks_by_length(void)
{
    static const struct {
        int64_t n_tok, exact;
        double pruned;
        int bq, bk;
    } want[] = {{100000, 0, 0.97, 32, 16}, {8192, 0, 0.96, 16, 8},  {8192, 0, 0.5, 32, 16},
                {8192, 0, 0.95, 32, 16},   {8192, 0, 0.97, 16, 8},  {5800, 0, 0.97, 8, 4},
                {8192, 0, 0.98, 8, 4},     {4096, 0, 0.9, 16, 8},   {2048, 0, 0.9, 8, 4},
                {1024, 0, 0.96, 4, 2},     {1024, 0, 0.989, 4, 1},  {100, 0, 0.9, 4, 1},
                {100, 0, 0.999, 4, 1},     {4096, 2000, 0.7, 16, 8},
                {4096, 2000, 0.99, 4, 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        st_select_params p = st_select_params_default();
        st_select_blocks_for_pruned(&p, want[i].n_tok, want[i].exact, want[i].pruned);
        CHECK_EQ(p.bq, want[i].bq);
        CHECK_EQ(p.bk, want[i].bk);
    }
}

static void test_parameters(void)
{
    problem x = problem_new(1, 1, 4, 4, 4, 4);
    st_selection *s = NULL;
    st_select_method m;
    st_error err;
    for (int i = 0; i < 18; i++) {
        st_select_params p = st_select_params_default();
        switch (i) {
        case 0: p.bq = 0; break;
        case 1: p.bk = 1025; break;
        case 2: p.k = 0; break;
        case 3: p.mass = 1.0f; break;
        case 4: p.mass = NAN; break;
        case 5: p.sink_blk = 0; break;
        case 6: p.rows = 17; break;
        case 7: p.beam = 0; break;
        case 8: p.rerank = 0; break;
        case 9: p.method = (st_select_method)99; break;
        case 10:
            p.method = ST_SELECT_HIP;
            p.mass = 0.5f;
            break;
        case 11:
            p.method = ST_SELECT_WINDOW;
            p.mass = 0.5f;
            break;
        case 12:
            p.method = ST_SELECT_EXACT;
            p.pooled = true;
            break;
        case 13:
            p.mass = 0.5f;
            p.pooled = true;
            break;
        case 14: p.grow_tok = -2; break;
        case 15:
            p.mass = 0.5f;
            p.grow_tok = 100;
            break;
        case 16: p.k = NAN; break;
        case 17: p.k = 1e10; break;
        }
        CHECK_STATUS(st_select(&x.a, &p, NULL, NULL, &s, &err), ST_ERR_ARG);
        CHECK(s == NULL && err.message[0] != '\0');
    }
    for (int i = 0; i < ST_SELECT_METHOD_COUNT; i++) {
        CHECK_STATUS(st_select_method_parse(st_select_method_name((st_select_method)i), &m, NULL),
                     ST_OK);
        CHECK_EQ(m, i);
    }
    CHECK_STATUS(st_select_method_parse("magic", &m, &err), ST_ERR_ARG);
    problem_free(&x);
}

int main(void)
{
    st_pool *pool;
    CHECK_LEVEL();
    CHECK_STATUS(st_pool_create(3, &pool, NULL), ST_OK);
    test_methods(pool);
    test_eighths(pool);
    test_full_budget();
    test_growth(pool);
    test_lean(pool);
    test_edits();
    test_needle(pool);
    test_auto_falls_back(pool);
    test_budgets();
    test_blocks_by_length();
    test_parameters();
    st_pool_free(pool);
    return check_report();
}
