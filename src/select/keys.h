/* SPDX-License-Identifier: MIT
 *
 * keys.h — the inside of st_keys: int8 keys and the pyramid over them.
 *
 * Leaf j of the pyramid is key block j + 1 (block 0 is the sink: always kept, and so heavy that it
 * would hide everything under one node). Node (l, j) covers leaves [j << l, (j + 1) << l) and
 * exists once they are complete. All vectors are relative to `centre`, the mean key of leaf 0: a
 * constant shift of the keys changes every score of a row by the same amount, and int8 does not
 * waste its range on a common offset.
 */
#ifndef STI_KEYS_H
#define STI_KEYS_H

#include "sparsetrace/select.h"

#define STI_LEVEL_MAX 32

/* int8 vectors of dp elements with one scale each: value = scale * v */
typedef struct sti_vectors {
    int8_t *v; /* [cap, dp] */
    float *scale;
    int32_t *sum; /* of v, for the integer dot product */
    int64_t cap_v, cap_scale, cap_sum;
} sti_vectors;

typedef struct sti_level {
    int64_t n;
    sti_vectors mean, mid, half; /* mid, half: centre and half width of the channel bounds */
    sti_vectors exemplar_key;
    float *var;        /* variance of the keys, weighted mean over the channels */
    int32_t *exemplar; /* key index */
    int64_t cap_var, cap_exemplar;
} sti_level;

/* A node in full precision; lives only until its parent is made. */
typedef struct sti_node {
    float *mean, *var, *min, *max; /* [d] */
    int64_t exemplar;
    bool filled;
} sti_node;

typedef struct sti_key_head {
    float *centre; /* [d] */
    sti_vectors key;
    sti_level level[STI_LEVEL_MAX];
    sti_node pending[STI_LEVEL_MAX]; /* the left child that waits for its right one */
    double *w_sum;                   /* [d] sum of q^2 over all rows and heads of the group */
    int64_t w_count;
} sti_key_head;

struct st_keys {
    int n_kv_head, d, dp, bk; /* dp: d rounded up to 16 */
    int64_t n_key;            /* keys taken in */
    int64_t n_int8; /* of these, how many are quantised: 0 until leaf 0 is complete, else all */
    int64_t n_leaf;
    bool scan; /* method auto has given up on stream here */
    bool lean; /* no int8 copy: `key` of the heads stays empty */
    sti_key_head *head;
};

/* Key `key` of KV head h relative to the centre, in int8: v [dp]. */
void sti_key_int8(const st_keys *s, const st_attn *a, int h, int64_t key, int8_t *v, float *scale,
                  int32_t *sum);

#endif
