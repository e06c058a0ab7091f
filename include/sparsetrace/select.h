/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/select.h — which key blocks each query block keeps.
 *
 * For every head and query block the selection holds ascending key-block numbers: the always-kept
 * ones (sink blocks, window blocks, blocks that only some of the rows see, the diagonal among them)
 * and, up to the budget k, the blocks that carry the most attention mass by the method's estimate.
 *
 *   method   what it looks at                                                  time for T tokens
 *   stream   pyramid over the key blocks, two beam descents (exemplar score,   O(T log T)
 *            channel bounds), union, exact rerank                  [default]
 *   flat     stream's leaf scores on every key block, same rerank              O(T^2 / bk)
 *   scan     exact mass of every key on the sampled rows                       O(T^2 / bq)
 *   exact    exact mass of every key on all rows: the oracle                   O(T^2)
 *   hip      tree of representative (centre) keys, our reading of HiP          O(T log T)
 *   window   sink and window only                                              O(T)
 *   auto     stream; where a spot check against scan finds it short, scan      O(T log T) or scan
 *
 * stream, flat, scan and hip score with int8 queries and keys (exact integer dot products, fixed
 * order of every float sum), so a selection is the same integers on every machine and for every
 * number of threads; `exact` uses F32 products, whose near ties may fall differently on another
 * instruction set. Ties go to the lower block.
 * The method is written down in docs/method/selection.md; tests/python/reference.py is an
 * independent NumPy version that gives the same integers.
 * Source: "stream" is our reading of arXiv 2510.19875 (abstract only); the estimator is our own.
 */
#ifndef SPARSETRACE_SELECT_H
#define SPARSETRACE_SELECT_H

#include "sparsetrace/attn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum st_select_method {
    ST_SELECT_STREAM = 0,
    ST_SELECT_FLAT,
    ST_SELECT_SCAN,
    ST_SELECT_EXACT,
    ST_SELECT_HIP,
    ST_SELECT_WINDOW,
    ST_SELECT_AUTO,
    ST_SELECT_METHOD_COUNT
} st_select_method;

ST_API const char *st_select_method_name(st_select_method method);
/* ST_ERR_ARG for an unknown name; the message lists the known ones. */
ST_API st_status st_select_method_parse(const char *name, st_select_method *method, st_error *err);

#define ST_SELECT_ROWS_MAX 16

typedef struct st_select_params {
    st_select_method method; /* ST_SELECT_STREAM                                             */
    int bq, bk;              /* 32, 16: rows of a query block, keys of a key block; 1..1024   */
    double k;                /* 32: kept key blocks per query block, always-kept ones included, in
                                eighths: of 8 neighbouring query blocks of k 4.25 two keep 5 and
                                six keep 4. The always-kept ones stay even where they are more
                                than k; 1..2^31 - 1                                          */
    float mass;              /* 0: keep k. 0 < p < 1: keep the fewest blocks whose estimated mass
                                reaches p on the sampled rows, at most k; a block that any sampled
                                row reads with more than 1 - p stays in any case (method exact: all
                                rows, by their mean). Not for hip and window                 */
    int sink_blk;            /* 1: always-kept first visible key blocks, 1..1,048,576         */
    int window_blk;          /* 1: always-kept blocks just before the diagonal, 0..1,048,576  */
    int rows;                /* 8: rows of a query block on which blocks are weighed,
                                1..ST_SELECT_ROWS_MAX; the last row is always among them. (The
                                descents take 2 rows of each of 8 neighbouring query blocks.) */
    int beam;                /* 16: least beam width of the descents, 1..65,536               */
    float rerank;            /* 1.5: each descent proposes rerank * (searched budget) leaves,
                                at least 2 * beam (pooled: 8 * beam); 1..64                   */
    bool pooled; /* false. true: k is a mean; the budgets of all heads and 8 neighbouring
                    query blocks go where they are worth most (share of the mass times
                    share still missing), a query block keeping at most 4 times its
                    quota, or 64. No more token pairs than without. Methods stream,
                    flat, scan, auto; not with mass                               */
    int64_t grow_tok; /* 0: the same k at every position. n > 0: the searched budget (k less the
                         always-kept blocks) grows along the first n tokens to seven times what it
                         is at first, and is twice that in the last min(64, n / 32) of them and
                         beyond; its mean is k's. -1: up to the last row of the call; engine.h takes
                         it as the tokens of the prompt. At most 2^31 - 1. Not for mass, whose
                         k is only a bound                                              */
} st_select_params;

ST_API st_select_params st_select_params_default(void);
/* ST_ERR_ARG with the field, its value and its range. */
ST_API st_status st_select_params_check(const st_select_params *p, st_error *err);

/* The number of always-kept blocks of a full query block deep inside a causal sequence: the least k
 * that makes sense. */
ST_API int64_t st_select_min_k(const st_select_params *p);

/* ---- token pairs and budgets ----------------------------------------------------------------- */

/* Causal token pairs of n_q rows that end a sequence of first_query + n_q tokens, diagonal
 * included: the denominator of every pruned share. */
ST_API int64_t st_causal_pairs(int64_t first_query, int64_t n_q);

/* Largest k, in eighths, whose pruned share of the causal pairs of one head, rows
 * first_query..first_query + n_q - 1, is at least `pruned` (0 <= pruned < 1), from the geometry
 * alone; rows that see at most exact_below keys keep them all. ST_ERR_LIMIT if even st_select_min_k
 * keeps more; the message gives the largest share that can be had. */
ST_API st_status st_select_k_for_pruned(const st_select_params *p, int64_t first_query, int64_t n_q,
                                        int64_t exact_below, double pruned, double *k,
                                        st_error *err);

/* Block sizes for pruning a share of a sequence of n_tok tokens: sets p->bq and p->bk to the
 * coarsest of 32 x 16, 16 x 8, 8 x 4 and 4 x 2 with which the budget for that share is at least
 * three times the always-kept blocks, so that two thirds of what is kept are chosen, and the budget
 * for 0.96 at least twice; 4 x 2 if none is, 4 x 1 where that cannot prune as much. So up to a
 * share of 0.93 8 x 4 from 1,425 tokens on, 16 x 8 from 2,800, 32 x 16 from 5,575; for 0.95 from
 * 1,760, 3,500 and 6,975, for 0.96 from 2,205, 4,380 and 8,740, for 0.97 from 2,945, 5,860 and
 * 11,680, for 0.98 from 4,430, 8,810 and 17,565. Other fields of *p matter as they are; exact_below
 * as in st_select_k_for_pruned. */
ST_API void st_select_blocks_for_pruned(st_select_params *p, int64_t n_tok, int64_t exact_below,
                                        double pruned);

/* ---- the summary of the keys ----------------------------------------------------------------- */

/* What the descents look at instead of the keys: per KV head an int8 copy of every key and a dyadic
 * pyramid of nodes (mean, variance, channel bounds, one exemplar key). Grows with the cache, O(T d)
 * time and memory in all. One st_keys belongs to one layer of one sequence. */
typedef struct st_keys st_keys;

ST_API st_status st_keys_create(int n_kv_head, int d_k, int bk, st_keys **keys, st_error *err);
ST_API void st_keys_free(st_keys *keys);

/* Keeps no int8 copy of the keys, only the pyramid: less than half the memory; blocks that are
 * weighed are read from the cache again, which costs select a third more time or so. The selections
 * are the same. False: keys were taken in already, and it has the copy. */
ST_API bool st_keys_set_lean(st_keys *keys);

/* Makes room for n_tok keys at once, instead of by growing. False: out of memory. */
ST_API bool st_keys_reserve(st_keys *keys, int64_t n_tok);

/* Takes in the keys [st_keys_count(keys), a->n_k) and the query rows of `a`. The exemplars are
 * chosen in the channels that queries read: weights = running mean of q^2 over the rows at or
 * before the block's end (or, for blocks before the first row ever seen, over that call's rows).
 * Errors: ST_ERR_ARG (shape differs from create, or fewer keys than already taken in), ST_ERR_MEM;
 * after ST_ERR_MEM the summary is empty. */
ST_API st_status st_keys_append(st_keys *keys, const st_attn *a, st_pool *pool, st_error *err);

/* Forgets keys from n_tok on (cache rewound). Where that cuts a whole block, or leaves fewer than
 * two, st_keys_count is 0 afterwards and the summary is rebuilt from the cache at the next append,
 * with the exemplar weights seen so far; n_tok 0 forgets those too. */
ST_API void st_keys_truncate(st_keys *keys, int64_t n_tok);

ST_API int64_t st_keys_count(const st_keys *keys);
ST_API size_t st_keys_bytes(const st_keys *keys);

/* Compares `n_sample` known keys, spread by `seed`, with the cache in `a`: false if one differs
 * (cache edited, shifted or replaced). Costs O(n_sample d). */
ST_API bool st_keys_match(const st_keys *keys, const st_attn *a, int n_sample, uint64_t seed);

/* Saves what has come since the summary held `from` keys (0: all of it), for a run that is to go on
 * later in another process; what was saved before need not be saved again. The bytes are of this
 * version and no exchange format. Errors: ST_ERR_ARG (from beyond the count), out's own. */
ST_API st_status st_keys_save(const st_keys *keys, int64_t from, const st_out *out, st_error *err);

/* Takes in what st_keys_save wrote, in order, from a summary of the same shape (lean or not): then
 * `keys` selects and grows as the saved one would. *used: how many of the bytes it was. The bytes
 * may be anyone's: ST_ERR_FORMAT with the place (cut short, another shape, not what follows what
 * `keys` holds, indices out of range), ST_ERR_MEM; `keys` is empty then. */
ST_API st_status st_keys_load(st_keys *keys, const void *data, size_t bytes, size_t *used,
                              st_error *err);

/* ---- selecting ------------------------------------------------------------------------------- */

typedef struct st_selection {
    int n_head;
    int bq, bk;
    int64_t first_blk; /* number of the first query block: first_query / bq                  */
    int64_t nbq;       /* query blocks                                                       */
    int64_t nbk;       /* key blocks, ceil(n_k / bk)                                         */
    int64_t *indptr;   /* [n_head * nbq + 1]                                                 */
    int32_t *indices;  /* [indptr[n_head * nbq]] ascending key blocks of (head, query block)   */
    float *mass;       /* [nnz] or NULL; only st_attend_exact_heaviest fills it              */
    float *share;      /* [n_head, n_q] or NULL; only st_select_weighed fills it              */
    bool scanned;      /* method auto fell back to scan                                      */
} st_selection;

/* Selects for every head and query block of `a`. `keys` must have taken in all of a's keys and
 * rows; NULL builds a temporary one. On success *sel is the caller's (st_selection_free). Any n_q,
 * n_k >= 1, any block sizes; blocks at the ends may be partial. Errors: ST_ERR_ARG, ST_ERR_MEM. A
 * bias is ignored by method window and refused by the others. */
ST_API st_status st_select(const st_attn *a, const st_select_params *p, st_keys *keys,
                           st_pool *pool, st_selection **sel, st_error *err);

/* st_select, the same selection, that also tells what it leaves out: beside the blocks that a query
 * block keeps, some hundred others are weighed, and their share of the mass is known. left->sum: of
 * the row's share of the mass of all that was weighed, on keys that were weighed and not kept; a
 * block's share is spread evenly over its keys, and a row that is not sampled has that of the next
 * one that is. sel->share: what the kept blocks have of it, for each row. With both, sums of
 * st_attend estimate the exact attention: add left->sum to them. left NULL: st_select. Methods that
 * weigh no more than they keep (exact, hip, window), and calls with edits, leave sel->share NULL
 * and left->sum 0. */
ST_API st_status st_select_weighed(const st_attn *a, const st_select_params *p, st_keys *keys,
                                   st_pool *pool, const st_group_sums *left, st_selection **sel,
                                   st_error *err);

/* Every visible key block: attention over it is exact attention. */
ST_API st_status st_select_all(const st_attn *a, int bq, int bk, st_selection **sel, st_error *err);

/* Adds the blocks that a's keep edits name to the query blocks whose rows they name (all heads, or
 * the one named): without them attention could not read what is to be kept. Other rows of such a
 * query block then see these blocks too. sel->mass is dropped. Does nothing without keep edits.
 * ST_ERR_MEM: sel is as it was. */
ST_API st_status st_selection_keep(st_selection *sel, const st_attn *a, st_error *err);

ST_API void st_selection_free(st_selection *sel);

/* Kept token pairs, visible pairs only, summed over heads; and the visible pairs themselves. */
ST_API void st_selection_pairs(const st_selection *sel, const st_attn *a, int64_t *kept,
                               int64_t *visible);

#ifdef __cplusplus
}
#endif
#endif
