/* SPDX-License-Identifier: MIT
 *
 * packed.h — one layer's selection in few bytes, coarser where asked for.
 */
#ifndef STI_PACKED_H
#define STI_PACKED_H

#include "trace/trace_int.h"

/* How coarse. */
typedef struct sti_grain {
    int fold;      /* blocks of fold times the trace's sizes; a power of two */
    int mass_bits; /* 16 or 8 */
    float floor;   /* lighter entries are left out */
} sti_grain;

/* Bytes that grow; never more than `limit`. */
typedef struct sti_bytes {
    uint8_t *data;
    int64_t n, cap, limit;
    bool over, no_memory; /* the limit was met; memory was not to be had */
} sti_bytes;

void sti_bytes_put(sti_bytes *b, uint8_t x);
/* LEB128: seven bits a byte, lowest first, the top bit set on all bytes but the last. */
void sti_bytes_varint(sti_bytes *b, uint64_t x);

/* What has been packed. */
typedef struct sti_packed_sum {
    int64_t n_entry;
    double mass; /* over the trace's query blocks */
} sti_packed_sum;

/* Scratch for packing one trace at one grain. */
typedef struct sti_packer {
    const st_trace *trace;
    sti_grain grain;
    int64_t nbk;      /* of the coarse grid */
    double *mass;     /* [nbk] of the row at hand, 0 where it has no entry */
    int32_t *entry;   /* [nbk] key blocks of the row at hand */
    int64_t n_joined; /* query blocks of the trace that have entries in it */
} sti_packer;

st_status sti_packer_init(sti_packer *p, const st_trace *t, sti_grain grain, st_error *err);
void sti_packer_free(sti_packer *p);

/* Appends the layer: for each head, for each query block of the coarse grid: varint number of
 * entries, then for each entry varint (key block - the one before it; the first: key block) and the
 * mass: u16 half float, or u8 round(255 sqrt(mass)). Stops early once `out` is over its limit. */
void sti_pack_layer(sti_packer *p, const sti_layer *l, sti_bytes *out, sti_packed_sum *sum);

#endif
