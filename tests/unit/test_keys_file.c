/* SPDX-License-Identifier: MIT
 *
 * test_keys_file.c — a summary of keys saved in pieces while it grows and loaded again: it selects
 * and grows as the one that was saved; bytes that are cut, garbled or out of turn are refused.
 */
#include "check.h"
#include "problem.h"

#define N_K 700

typedef struct bytes {
    uint8_t *data;
    size_t n, cap;
} bytes;

static st_status collect(void *ctx, const void *data, size_t n, st_error *err)
{
    bytes *b = ctx;
    (void)err;
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->data = realloc(b->data, b->cap);
    }
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return ST_OK;
}

static bytes save(const st_keys *keys, int64_t from)
{
    bytes b = {0};
    st_out out = {collect, &b};
    CHECK_STATUS(st_keys_save(keys, from, &out, NULL), ST_OK);
    return b;
}

/* The first n_k keys of the problem, and the rows from `first` on. */
static st_attn part(const problem *p, int64_t first, int64_t n_k)
{
    st_attn a = p->a;
    a.q.data = p->q + first * a.d_k;
    a.first_query = first;
    a.n_q = n_k - first;
    a.n_k = n_k;
    return a;
}

static void append(st_keys *keys, const problem *p, int64_t first, int64_t n_k)
{
    st_attn a = part(p, first, n_k);
    CHECK_STATUS(st_keys_append(keys, &a, NULL, NULL), ST_OK);
}

static void load(st_keys *keys, const bytes *b)
{
    size_t used = 0;
    st_error err = {.message = ""};
    st_status status = st_keys_load(keys, b->data, b->n, &used, &err);
    if (status != ST_OK)
        printf("load: %s\n", err.message);
    CHECK_STATUS(status, ST_OK);
    CHECK_EQ(used, b->n);
}

static void check_same_bytes(const st_keys *x, const st_keys *y)
{
    bytes a = save(x, 0), b = save(y, 0);
    CHECK(a.n == b.n && memcmp(a.data, b.data, a.n) == 0);
    free(a.data);
    free(b.data);
}

static void check_same_selection(st_keys *x, st_keys *y, const problem *p, int64_t first,
                                 int64_t n_k)
{
    st_attn a = part(p, first, n_k);
    for (int m = 0; m < ST_SELECT_METHOD_COUNT; m++) {
        st_select_params sp = st_select_params_default();
        st_selection *s, *t;
        sp.method = (st_select_method)m;
        sp.k = 7;
        CHECK_STATUS(st_select(&a, &sp, x, NULL, &s, NULL), ST_OK);
        CHECK_STATUS(st_select(&a, &sp, y, NULL, &t, NULL), ST_OK);
        CHECK(s->indptr[s->n_head * s->nbq] == t->indptr[t->n_head * t->nbq] &&
              memcmp(s->indices, t->indices,
                     (size_t)s->indptr[s->n_head * s->nbq] * sizeof *s->indices) == 0);
        st_selection_free(s);
        st_selection_free(t);
    }
}

static bool lean;

static st_keys *keys_new(const problem *p)
{
    st_keys *keys;
    CHECK_STATUS(st_keys_create(p->a.n_kv_head, p->a.d_k, 16, &keys, NULL), ST_OK);
    if (lean)
        CHECK(st_keys_set_lean(keys));
    return keys;
}

/* Grown in steps of `step` and saved every `every` steps; the copy follows by loading alone. */
static void test_follows(int d_k, int step, int every)
{
    problem p = problem_new(4, 2, N_K, N_K, d_k, 8);
    st_keys *keys = keys_new(&p), *copy = keys_new(&p);
    int64_t saved = 0;
    for (int64_t n = 0, i = 1; n < N_K; n += step, i++) {
        int64_t end = sti_min(n + step, N_K);
        append(keys, &p, n, end);
        if (i % every != 0)
            continue;
        bytes b = save(keys, saved);
        load(copy, &b);
        free(b.data);
        saved = end;
        check_same_bytes(keys, copy);
        check_same_selection(keys, copy, &p, n, end);
    }
    if (saved < N_K) {
        st_keys *whole = keys_new(&p);
        bytes b = save(keys, 0);
        append(copy, &p, saved, N_K); /* weights are a mean over rows, so they must have come too */
        check_same_bytes(keys, copy);
        load(whole, &b);
        check_same_selection(whole, copy, &p, N_K - 100, N_K);
        free(b.data);
        st_keys_free(whole);
    }
    st_keys_free(keys);
    st_keys_free(copy);
    problem_free(&p);
}

/* The saved one was rewound, within a block and further, and grew again over other keys. */
static void test_rewound(void)
{
    problem p = problem_new(4, 2, N_K, N_K, 32, 8), q = problem_new(4, 2, N_K, N_K, 32, 8);
    static const int64_t to[] = {639, 632, 300, 0};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        st_keys *keys = keys_new(&p), *copy = keys_new(&p);
        bytes b;
        int64_t from;
        append(keys, &p, 0, 640);
        b = save(keys, 0);
        load(copy, &b);
        free(b.data);
        st_keys_truncate(keys, to[i]);
        from = st_keys_count(keys);
        append(keys, &q, from, N_K);
        b = save(keys, from);
        load(copy, &b);
        free(b.data);
        check_same_bytes(keys, copy);
        st_keys_free(keys);
        st_keys_free(copy);
    }
    problem_free(&p);
    problem_free(&q);
}

static void refused(st_keys *keys, const uint8_t *data, size_t n, const char *what)
{
    st_error err = {.message = "", .position = -1};
    size_t used = 1;
    uint8_t *own = malloc(n + 1); /* the sanitizer watches its end */
    memcpy(own, data, n);
    CHECK_STATUS(st_keys_load(keys, own, n, &used, &err), ST_ERR_FORMAT);
    CHECK(used == 0 && err.position >= 0 && err.position <= (int64_t)n);
    if (strstr(err.message, what) == NULL)
        printf("\"%s\" does not say \"%s\"\n", err.message, what);
    CHECK(strstr(err.message, what) != NULL);
    CHECK_EQ(st_keys_count(keys), 0);
    free(own);
}

static void test_bad(void)
{
    problem p = problem_new(4, 2, N_K, N_K, 40, 8);
    st_keys *keys = keys_new(&p), *copy = keys_new(&p), *other;
    bytes all, late;
    size_t used;
    append(keys, &p, 0, 300);
    append(keys, &p, 300, 401);
    all = save(keys, 0);
    late = save(keys, 300);
    for (size_t n = 0; n < all.n; n += n < 200 ? 1 : 97)
        refused(copy, all.data, n, "cut short");
    refused(copy, late.data, late.n, "from 300 on"); /* what came before is not here */
    load(copy, &all);
    refused(copy, late.data, late.n - 1, "cut short");
    CHECK_STATUS(st_keys_create(2, 48, 16, &other, NULL), ST_OK);
    refused(other, all.data, all.n, "d 40");
    st_keys_free(other);
    CHECK_STATUS(st_keys_create(2, 40, 16, &other, NULL), ST_OK);
    if (!lean)
        st_keys_set_lean(other);
    refused(other, all.data, all.n, "lean");
    st_keys_free(other);
    /* every byte in turn: refused, or taken in and as good as any summary */
    for (size_t at = 0; at < all.n; at += at < 2000 ? 1 : 61) {
        st_attn a = part(&p, 401, 500);
        st_status status;
        all.data[at] ^= 0x81;
        status = st_keys_load(copy, all.data, all.n, &used, NULL);
        CHECK(status == ST_OK || status == ST_ERR_FORMAT);
        if (at < 40)
            CHECK_STATUS(status, ST_ERR_FORMAT);
        if (status == ST_OK && st_keys_count(copy) == 401 && at % 5 == 0)
            CHECK_STATUS(st_keys_append(copy, &a, NULL, NULL), ST_OK);
        all.data[at] ^= 0x81;
    }
    load(copy, &all); /* and none of that stays */
    check_same_bytes(keys, copy);
    free(all.data);
    free(late.data);
    st_keys_free(keys);
    st_keys_free(copy);
    problem_free(&p);
}

static st_status full_disk(void *ctx, const void *data, size_t n, st_error *err)
{
    (void)data;
    (void)err;
    *(size_t *)ctx += n;
    return *(size_t *)ctx > 900 ? ST_ERR_IO : ST_OK;
}

static void test_arguments(void)
{
    problem p = problem_new(2, 1, 200, 200, 16, 8);
    st_keys *keys = keys_new(&p);
    size_t written = 0;
    st_out out = {full_disk, &written};
    append(keys, &p, 0, 200);
    CHECK_STATUS(st_keys_save(keys, 201, &out, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_keys_save(keys, -1, &out, NULL), ST_ERR_ARG);
    CHECK_EQ(written, 0);
    CHECK_STATUS(st_keys_save(keys, 0, &out, NULL), ST_ERR_IO);
    st_keys_free(keys);
    problem_free(&p);
}

static void test_all(void)
{
    test_follows(32, 50, 1);
    test_follows(40, 37, 3);
    test_follows(64, 1, 29);
    test_follows(16, 333, 2);
    test_rewound();
    test_bad();
    test_arguments();
}

int main(void)
{
    test_all();
    lean = true;
    test_all();
    return check_report();
}
