/* SPDX-License-Identifier: MIT
 *
 * pack.h — keys and values of one KV head in 16-bit fixed point, by groups of 16 keys: what the
 * integer kernels read. Made once per call for the groups that some query block keeps, then used by
 * all rows of all heads that share the KV head.
 */
#ifndef STI_PACK_H
#define STI_PACK_H

#include "kernels/kernels.h"
#include "sparsetrace/attend.h"

typedef struct sti_pack {
    const st_attn *a;
    st_pool *pool;
    int kv;          /* the KV head at hand */
    int dp;          /* d_k rounded up to even */
    int64_t n_group; /* groups of STK_GROUP keys */
    int32_t *slot;   /* [n_group] the group's place below; -1: not packed */
    int64_t n_slot;
    int16_t *k;     /* [n_slot, STK_GROUP, dp] */
    float *k_scale; /* [n_slot, STK_GROUP] */
    int16_t *v;     /* [n_slot, STK_GROUP / 2, d_v, 2]; NULL if values are not wanted */
    float *v_scale; /* [n_slot, d_v] */
} sti_pack;

/* begin; then for one KV head after the other: head, want its keys [lo, hi), fill, use; end. False:
 * out of memory; end it then too. One pack of a pool at a time. */
bool sti_pack_begin(sti_pack *p, const st_attn *a, st_pool *pool);
void sti_pack_head(sti_pack *p, int kv);
void sti_pack_want(sti_pack *p, int64_t lo, int64_t hi);
bool sti_pack_fill(sti_pack *p, bool values);
void sti_pack_end(sti_pack *p);

#endif
