/* SPDX-License-Identifier: MIT
 *
 * fuzz_keys.c — any bytes as a saved summary of keys: refused, or taken in, and then it grows and
 * selects like any other.
 *
 * With -DST_FUZZ_ENGINE only LLVMFuzzerTestOneInput is here, for libFuzzer and its like. Without
 * it, main mutates two saved summaries by a fixed sequence:
 *
 *   fuzz_keys [COUNT [SEED]]    COUNT mutations of each (default 3000)
 */
#include <stdio.h>

#include "../unit/problem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_K 400
#define SAVED 300

static problem keys_problem(void)
{
    static problem p;
    if (p.q == NULL)
        p = problem_new(2, 1, N_K, N_K, 24, 8);
    return p;
}

static st_attn rows(int64_t first, int64_t n_k)
{
    st_attn a = keys_problem().a;
    a.q.data = keys_problem().q + first * a.d_k;
    a.first_query = first;
    a.n_q = n_k - first;
    a.n_k = n_k;
    return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    st_select_params sp = st_select_params_default();
    st_attn a;
    st_keys *keys;
    st_selection *sel;
    size_t used;
    if (st_keys_create(1, 24, 16, &keys, NULL) != ST_OK)
        abort();
    if (st_keys_load(keys, data, size, &used, NULL) != ST_OK) {
        if (st_keys_count(keys) != 0)
            abort();
    } else if (st_keys_count(keys) < N_K) {
        a = rows(st_keys_count(keys), N_K);
        sp.k = 6;
        sp.mass = size % 2 == 0 ? 0.9f : 0.0f;
        if (used > size || st_keys_append(keys, &a, NULL, NULL) != ST_OK ||
            st_select(&a, &sp, keys, NULL, &sel, NULL) != ST_OK)
            abort();
        for (int64_t i = 0; i < sel->indptr[sel->n_head * sel->nbq]; i++)
            if (sel->indices[i] < 0 || sel->indices[i] >= sel->nbk)
                abort();
        st_selection_free(sel);
    }
    st_keys_free(keys);
    return 0;
}

#ifndef ST_FUZZ_ENGINE

static uint64_t state;

/* A number below n. */
static size_t pick(size_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return n == 0 ? 0 : (size_t)((state >> 33) % n);
}

struct input {
    uint8_t *data;
    size_t size;
};

static st_status collect(void *ctx, const void *data, size_t n, st_error *err)
{
    struct input *in = ctx;
    (void)err;
    in->data = realloc(in->data, in->size + n);
    memcpy(in->data + in->size, data, n);
    in->size += n;
    return ST_OK;
}

/* The summary of the first n keys. */
static struct input saved(int64_t n)
{
    struct input in = {NULL, 0};
    st_out out = {collect, &in};
    st_attn a = rows(0, n);
    st_keys *keys;
    if (st_keys_create(1, 24, 16, &keys, NULL) != ST_OK ||
        st_keys_append(keys, &a, NULL, NULL) != ST_OK || st_keys_save(keys, 0, &out, NULL) != ST_OK)
        abort();
    st_keys_free(keys);
    return in;
}

static void mutate(struct input *in)
{
    static const int64_t odd[] = {0, 1, -1, 16, 31, 32, 33, INT32_MAX, INT64_MAX, INT64_MIN};
    for (size_t i = 1 + pick(3); i > 0; i--) {
        size_t at = pick(pick(2) == 0 ? 56 : in->size - 8); /* the head, or anywhere */
        switch (pick(4)) {
        case 0: in->data[at] ^= (uint8_t)(1 << pick(8)); break;
        case 1: in->data[at] = (uint8_t)pick(256); break;
        case 2: memcpy(in->data + at / 8 * 8, &odd[pick(10)], 8); break;
        default: in->size = pick(20) == 0 ? 8 + pick(in->size - 8) : in->size;
        }
        if (in->size < 72)
            return;
    }
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 3000;
    static const int64_t n[] = {SAVED, 35};
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        struct input seed = saved(n[i]);
        LLVMFuzzerTestOneInput(seed.data, seed.size);
        for (long c = 0; c < count; c++) {
            struct input in = {malloc(seed.size), seed.size};
            memcpy(in.data, seed.data, seed.size);
            mutate(&in);
            LLVMFuzzerTestOneInput(in.data, in.size);
            free(in.data);
        }
        free(seed.data);
    }
    printf("%ld mutations of each of two summaries\n", count);
    problem p = keys_problem();
    problem_free(&p);
    return 0;
}

#endif
