/* SPDX-License-Identifier: MIT
 *
 * job.h — what a parallel loop over tiles needs: scratch for each thread.
 */
#ifndef STI_JOB_H
#define STI_JOB_H

#include "attend/tile.h"

typedef struct sti_job_thread {
    sti_tile_work *work;
    sti_segment *seg;
    int64_t cap_seg;
    bool failed; /* out of memory */
} sti_job_thread;

typedef struct sti_job {
    const st_attn *a;
    int n_thread;
    sti_job_thread *thread; /* [n_thread] */
} sti_job;

/* False: out of memory. Either way sti_job_end frees it; that gives `ok`, or false if a thread
 * failed. */
bool sti_job_begin(sti_job *j, const st_attn *a, const sti_pack *pack, const st_pool *pool);
bool sti_job_end(sti_job *j, bool ok);

/* ST_OK if the selection fits the problem: shapes, and blocks that rise and exist. */
st_status sti_check_selection(const st_attn *a, const st_selection *sel, st_error *err);

/* Every key that some row of the tile sees, cut at multiples of `align` (item = key / align) into
 * the thread's seg. Returns how many, as all of these do; -1: out of memory. With a pack of 16-bit
 * keys they are cut at its groups too. */
int64_t sti_visible_segments(sti_job_thread *t, const st_attn *a, const sti_tile *tile,
                             int64_t align);

/* The keys of blocks block[0..n) of bk keys (item = index into block). */
int64_t sti_block_segments(sti_job_thread *t, const st_attn *a, const int32_t *block, int64_t n,
                           int bk);

/* With a pack: the keys that a shared tile's query blocks keep. Query block b of `n_query_blk`
 * reads blocks block[begin[b]..begin[b + 1]) with lanes [lane[b], lane[b + 1]) (item = index into
 * block, less begin[0]). */
int64_t sti_shared_segments(sti_job_thread *t, const st_attn *a, const int32_t *block,
                            const int64_t *begin, const int *lane, int n_query_blk, int bk);

#endif
