/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/live.h — a text that a model reads while it is still being written.
 *
 *   st_live *live;  st_live_group sentence;
 *   st_live_params lp = st_live_params_default();
 *   st_live_open(model, &lp, &live, &err);
 *   for each sentence: st_model_tokenize(...), st_live_add(live, token, n, span, &sentence, &err);
 *
 * Only what is new is run: the cache of keys and values stays, and the sparse attention looks at
 * select.k key blocks, found in O(log T), for each new token. libllama fills one row of its mask a
 * token besides, T half floats. sparsetrace/groups.h (st_growing) makes receiver scores, anchors
 * and dependencies of the rows that come out.
 *
 * One live text, or one run of engine.h, at a time in a process.
 */
#ifndef SPARSETRACE_LIVE_H
#define SPARSETRACE_LIVE_H

#include "sparsetrace/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct st_live_params {
    st_select_params select; /* stream, blocks of 4 x 1, k 64; grow_tok must be 0: how long the text
                                will be is not known                                             */
    int64_t max_tok;         /* 16384: room in the cache, 64..2^24. Memory for all of it is taken at
                                once                                                             */
    int layer;               /* -1: none. Hidden states after this layer, 0..n_layer-2           */
    bool surprise;           /* true: st_live_group.surprise; costs a product with the vocabulary
                                for each token                                                   */
    const char *type_k, *type_v; /* "f16": as in st_run_params */
    st_progress progress;
} st_live_params;

ST_API st_live_params st_live_params_default(void);

typedef struct st_live st_live;

/* The model stays the caller's and must live as long. Errors: ST_ERR_ARG (a parameter out of
 * range), those of st_run_create. */
ST_API st_status st_live_open(st_model *model, const st_live_params *p, st_live **live,
                              st_error *err);
ST_API void st_live_free(st_live *live);

/* What a group of tokens (a sentence, say) gives when it has been read. The arrays are the live
 * text's, until its next call. */
typedef struct st_live_group {
    int64_t n_tok;       /* read so far, in all */
    int64_t number;      /* of this group, from 0 */
    const float *row;    /* [n_layer, n_head, number + 1] attention of this group's tokens to each
                            group's: A[number][j] of groups.h, with j = number the last; 0 for a
                            layer whose attention does not come through us */
    const float *hidden; /* [2, n_embd] mean of the tokens' states, last token's; NULL: layer -1 */
    float surprise;      /* -ln p, mean over the tokens, nats; NaN: not asked for, or of the very
                            first token alone */
    int64_t kept_pairs, causal_pairs; /* of the pruned layers and all heads, of this call's rows */
} st_live_group;

/* Reads token [n] behind what was read before. Those of `group`, counted within token, not empty,
 * are the next group; the others belong to none (a prompt, white space). How the text was cut into
 * calls shows: query blocks end with a call, so cut where the text says so, at sentences, not where
 * a read happened to end. Errors: ST_ERR_ARG (n < 1, group, an id that the model does not have),
 * ST_ERR_LIMIT (no room for them: the position is max_tok; nothing was read), ST_ERR_MEM, those of
 * st_run_pass. After an error other than ST_ERR_ARG and ST_ERR_LIMIT only st_live_free is left. */
ST_API st_status st_live_add(st_live *live, const int32_t *token, int64_t n, st_group group,
                             st_live_group *out, st_error *err);

/* The groups so far are none any more, what was read stays: the next one has number 0. */
ST_API void st_live_forget_groups(st_live *live);

#ifdef __cplusplus
}
#endif
#endif
