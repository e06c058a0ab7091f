/* SPDX-License-Identifier: MIT
 *
 * select_blocks.c — selection and block-sparse attention on your own tensors, without a model: one
 * head of 4,096 keys in which a single key, the needle, is what the last query looks for.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sparsetrace/attend.h"

enum { N = 4096, D = 64, NEEDLE = 1234 };

static float q[N * D], k[N * D], v[N * D], out[N * D];

static float noise(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 24) - 0.5f;
}

int main(void)
{
    st_attn a = {.n_q = N, .n_k = N, .n_head = 1, .n_kv_head = 1, .d_k = D, .d_v = D};
    st_select_params p = st_select_params_default();
    st_selection *sel;
    st_attend_out result = {.out = out, .stride_tok = D, .stride_head = N * D};
    st_error err;
    unsigned state = 1;
    int64_t kept, visible, last;
    for (int i = 0; i < N * D; i++) {
        q[i] = noise(&state);
        k[i] = noise(&state);
        v[i] = noise(&state);
    }
    for (int c = 0; c < D; c++)
        q[(N - 1) * D + c] = k[NEEDLE * D + c] = 2.0f;
    a.q = st_rows_contiguous(q, ST_DTYPE_F32, N, D);
    a.k = st_rows_contiguous(k, ST_DTYPE_F32, N, D);
    a.v = st_rows_contiguous(v, ST_DTYPE_F32, N, D);
    a.scale = 1.0f / sqrtf((float)D);
    p.k = 8; /* key blocks of 16 per query block of 32 */
    if (st_select(&a, &p, NULL, NULL, &sel, &err) != ST_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    result.mass = malloc((size_t)sel->indptr[sel->nbq] * sizeof *result.mass);
    if (result.mass == NULL || st_attend(&a, sel, NULL, &result, &err) != ST_OK)
        return 1;
    st_selection_pairs(sel, &a, &kept, &visible);
    printf("%.1f %% of the causal pairs pruned; the last query block reads\n",
           100.0 * (1.0 - (double)kept / (double)visible));
    last = sel->nbq - 1;
    for (int64_t i = sel->indptr[last]; i < sel->indptr[last + 1]; i++)
        printf("  keys %4d..%-4d  mass %.3f%s\n", sel->indices[i] * sel->bk,
               (sel->indices[i] + 1) * sel->bk - 1, result.mass[i],
               sel->indices[i] == NEEDLE / sel->bk ? "  <- the needle" : "");
    free(result.mass);
    st_selection_free(sel);
    return 0;
}
