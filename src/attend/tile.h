/* SPDX-License-Identifier: MIT
 *
 * tile.h — attention of up to 32 query rows of one KV head over a list of key ranges: the inner
 * loop that sparse attention, exact attention and the certificate share.
 */
#ifndef STI_TILE_H
#define STI_TILE_H

#include "attend/hide.h"
#include "attend/pack.h"
#include "attend/pieces.h"
#include "sparsetrace/attend.h"

#define STI_TILE_ROWS 32
#define STI_CHUNK_KEYS 128                           /* keys whose scores are held at once */
#define STI_CHUNK_PARTS (STI_CHUNK_KEYS / STK_GROUP) /* and of how many packed groups */

/* The rows of a tile. They may come from several heads of one group. */
typedef struct sti_tile {
    int n;
    int head[STI_TILE_ROWS];
    int64_t row[STI_TILE_ROWS];
    bool shared; /* segments name lanes: the rows of several query blocks, each with its own keys */
} sti_tile;

/* Scratch of one thread, and the results of the last sti_tile_run. R is 16 for tiles of up to 16
 * rows, else 32; arrays marked [.., R] have the rows in their lanes. */
typedef struct sti_tile_work {
    const st_attn *a;
    const sti_pack *pack; /* NULL: products in F32, keys and values as they are stored */
    int R, n;             /* lanes, and how many of them hold rows */
    int64_t lo[STI_TILE_ROWS], hi[STI_TILE_ROWS];
    int64_t all_lo, all_hi; /* keys that every row sees */
    sti_hide hide;
    float *qt; /* [d_k, R] scaled queries; with a pack as int16 [dp / 2, R, 2] */
    float q_scale[STI_TILE_ROWS];
    float *out;                 /* [d_v, R] unnormalised output */
    float *s;                   /* [STI_CHUNK_KEYS, R] */
    int16_t *p;                 /* [STI_CHUNK_PARTS, STK_GROUP / 2, R, 2] */
    float *part_max, *part_sum; /* [STI_CHUNK_PARTS, R] */
    float *k_buf, *v_buf, *row_buf;
    float max[STI_TILE_ROWS], sum[STI_TILE_ROWS]; /* of the softmax, per row */
    /* per segment, if wanted: its sum relative to the maximum of its chunk, and the chunk's factor
       that makes a share of it (during the run: the maximum itself) */
    float *seg_sum;      /* [n_seg, R]; only of the lanes that read it */
    float *chunk_factor; /* [n_chunk, R] */
    int32_t *seg_chunk;
    int64_t cap_seg, cap_chunk, cap_seg_chunk;
    sti_pieces pieces; /* of groups of keys, if pieces.group is set; then give `shares` too */
} sti_tile_work;

sti_tile_work *sti_tile_work_new(const st_attn *a, const sti_pack *pack);
void sti_tile_work_free(sti_tile_work *w);

/* Keys [key, end), at most STI_CHUNK_KEYS of them; `item` is for the caller (which block they are
 * of). With a pack they lie in one group of STK_GROUP keys, and if the tile is shared they are read
 * by lanes [lane, lane_end) alone. */
typedef struct sti_segment {
    int64_t key, end;
    int64_t item;
    int lane, lane_end;
} sti_segment;

/* Attends the tile to the segments: ascending; with a pack by groups, and within one by lanes.
 * `values`: also accumulate the output; `shares`: also keep each segment's sum. False: out of
 * memory. A row's results do not depend on what else is in its tile. */
bool sti_tile_run(sti_tile_work *w, const sti_tile *tile, const sti_segment *seg, int64_t n_seg,
                  bool values, bool shares);

/* After a run: log-sum-exp of lane r; -inf if it saw nothing. */
float sti_tile_lse(const sti_tile_work *w, int r);
/* After a run with values: the output of lane r into dst [d_v]. */
void sti_tile_output(const sti_tile_work *w, int r, float *dst);
/* After a run with shares: the share of lane r's mass in segment i; and the sum of it over lanes
 * [lane, lane_end), in a fixed order. */
float sti_tile_share(const sti_tile_work *w, int64_t i, int r);
float sti_tile_share_sum(const sti_tile_work *w, int64_t i, int lane, int lane_end);
/* After a run with shares and groups: adds to total [n_group] what lanes [begin, end) give to each
 * group, times weight [lanes] (NULL: 1). False: out of memory. */
bool sti_tile_group_total(sti_tile_work *w, int begin, int end, const float *weight, float *total);

#endif
