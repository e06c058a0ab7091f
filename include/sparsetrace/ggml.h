/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/ggml.h — our attention as a ggml backend, so that libllama runs any model through it.
 *
 * The backend is a device of type ACCEL that shares the CPU's buffers and takes
 * GGML_OP_FLASH_ATTN_EXT: every architecture libllama knows sends its attention here, layer by
 * layer. Where oneDNN is found and the processor multiplies BF16, it takes the products with BF16
 * weights (GGML_OP_MUL_MAT) too. Everything else, norms, RoPE and the KV cache, stays ggml's. Flash
 * attention must be *enabled* in the context (not "auto": libllama's auto check compares devices
 * and would turn it off).
 *
 *   what it meets                          what it does
 *   causal rows of one sequence            selection, attention over it, certificate (sparse)
 *   sliding window, chunked attention      exact attention, from the row on where the window shows;
 *                                          exact_below covers the rows before it (exact)
 *   other masks, ALiBi, holes, non-causal  exact attention under the mask (exact)
 *   soft-cap, learned sinks, GQA,          handled in all of these
 *   d_k != d_v, several sequences and
 *   streams, single-token decoding,
 *   F32 / F16 / BF16 / Q8_0 caches and
 *   every type ggml can unpack
 *   a mask per head, a transposed cache,   declined: ggml's kernel runs
 *   n_head not a multiple of n_kv_head,
 *   d above 2048
 *
 * The mask is the truth about visibility. Key summaries are kept per layer and stream, follow the
 * cache as it grows or is rewound, and are rebuilt where sampled keys no longer match (edit, shift,
 * restore).
 *
 * One configuration serves the process; it is read for each layer. Configure between
 * llama_decode calls, not during one. The shared object libggml-sparsetrace.so has the same backend
 * for programs that load it (ggml_backend_load, or the variable GGML_BACKEND_PATH) and takes its
 * settings from the variable SPARSETRACE, e.g. SPARSETRACE="k=64 select=auto": names and values,
 * space or comma between them. What is not named is as in st_ggml_params_default; a name or value
 * that cannot be used leaves the backend out, with the reason on standard error.
 *
 *   k, mass, select        st_select_params' k, mass and method, by its name
 *   block-q, block-k       bq, bk
 *   pooled, grow-tok       pooled (0 or 1), grow_tok (0 or more)
 *   exact-below            exact_below
 *   exact, linear          exact, linear (0 or 1)
 */
#ifndef SPARSETRACE_GGML_H
#define SPARSETRACE_GGML_H

#include "sparsetrace/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The output matrix W_O of a layer, as far as sizes of values need it. */
typedef struct st_output_gram {
    const float *gram; /* [n_head, d_v, d_v] W_O' W_O of each head, symmetric; NULL: not known */
    int n_head, d_v;
} st_output_gram;

typedef struct st_ggml_params {
    bool enabled; /* true. false: decline every operation, so that ggml's kernel runs      */
    bool linear;  /* true. false: leave matrix products to ggml, whatever st_ggml_linear() says */
    bool exact;   /* false. true: exact attention everywhere, nothing goes to the sink    */
    st_select_params select; /* st_select_params_default() */
    int64_t exact_below;     /* 0: rows that see at most this many keys are exact (a model with
                                sliding windows: the window's length)                            */
    int64_t n_tok; /* 0: unknown, no row is certified. The whole sequence's length: spreads the
                      certified rows                                                       */
    int cert_rows; /* 32: certified rows a layer; 0: none. Only where there is a sink       */
    bool lse;      /* false: give the sink log-sum-exps                                    */
    bool brief;    /* false. true: the sink is not told what exact rows read (its chunks of them
                      have a selection of no blocks, no log-sum-exps and no groups), so that they
                      cost what plain exact attention costs                                */
    bool lean;     /* false. true: summaries without a copy of the keys (st_keys_set_lean)     */
    bool precise;  /* false. true: attend with F32 products instead of 16-bit fixed point     */
    uint64_t seed; /* 0: moves the certified rows                                          */
    /* Edits of what layers' rows may read (edit.h), for sparse and exact attention alike, positions
     * being cells of the cache; the certificate compares with exact attention under the same
     * edits. Not copied: they stay where they are until configured anew. NULL: none */
    const st_edit *edit; /* [n_edit] */
    int64_t n_edit;
    const st_group *group; /* [n_group] as st_groups_check wants it: the sink also gets attention
                              from group to group. Not copied: there until configured anew   */
    int64_t n_group;       /* 0: none                                                        */
    /* Rows that the sink gets token by token, instead of everything else (also of an exact run):
     * chunks with blocks of one token, each row's ST_GGML_ROW_KEYS heaviest keys by exact
     * attention, whatever the run itself attended to. [n_row] as st_groups_check wants it. Not
     * copied. n_row 0: none             */
    const st_group *row;
    int64_t n_row;
    /* [n_gram] by layer: the sink also gets sizes of values (st_chunk.value), with the rows that
     * end the n_tok tokens. Not copied. n_gram 0: none. A matrix of another shape than the layer's
     * attention is ST_ERR_MODEL */
    const st_output_gram *gram;
    int64_t n_gram;
} st_ggml_params;

#define ST_GGML_ROW_KEYS 256

ST_API st_ggml_params st_ggml_params_default(void);

/* Receives each layer's micro-batch of the sequence that starts at the first cache cell of stream
 * 0. What the chunk points to lives during the call only. A status other than ST_OK stops the
 * graph. Called from the thread that runs the graph. */
typedef struct st_sink {
    st_status (*chunk)(void *ctx, const st_chunk *chunk, st_error *err);
    void *ctx;
} st_sink;

/* Sets the configuration of the process; sink NULL: none. ST_ERR_ARG as st_select_params_check
 * and st_groups_check. */
ST_API st_status st_ggml_configure(const st_ggml_params *p, const st_sink *sink, st_error *err);

/* Adds the backend to ggml's registry, once; contexts made later use it. Only in a program that
 * links ggml (the plug-in is registered by ggml itself). */
ST_API void st_ggml_register(void);

/* The library that multiplies BF16 weights for micro-batches of 32 rows and more, e.g.
 * "oneDNN 3.2", or NULL: there is none, ggml does. */
ST_API const char *st_ggml_linear(void);

/* The registry entry, a `ggml_backend_reg_t`. */
ST_API void *st_ggml_reg(void);

typedef struct st_ggml_stats {
    int64_t mask_ns, keys_ns, select_ns, attend_ns, certify_ns, sink_ns, linear_ns;
    int64_t n_sparse, n_exact; /* layer calls of each kind */
    int64_t n_linear;          /* matrix products that went through st_ggml_linear() */
    int64_t n_rebuilt;         /* summaries thrown away because the cache had changed under them */
    int64_t n_scanned;         /* sparse layer calls that method auto scanned */
    double attend_flop; /* in attend_ns: 2 (d_k + d_v) a kept pair of a row and a visible key */
    int64_t keys_bytes; /* memory of all summaries now */
} st_ggml_stats;

/* Query heads of the attention that ran in `layer` since the last st_ggml_configure; 0: none did,
 * as in a recurrent layer, or where ggml does it by other operations. */
ST_API int st_ggml_heads(int layer);

/* Everything since the last call, and back to zero. */
ST_API void st_ggml_take_stats(st_ggml_stats *stats);

/* Why the last graph failed, ST_OK if none did since the last call. */
ST_API st_status st_ggml_take_error(st_error *err);

#ifdef __cplusplus
}
#endif
#endif
