/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/engine.h — trace a GGUF model: open it, turn text into tokens, run it with the sparse
 * attention, find the budget, write the trace.
 *
 *   st_model *model;  int32_t *token;  int64_t n_tok;  st_trace_report report;
 *   st_model_params mp = st_model_params_default();
 *   st_trace_params tp = st_trace_params_default();
 *   st_model_open("model.gguf", &mp, &model, &err);
 *   st_model_tokenize(model, text, n_bytes, true, &token, &n_tok, &err);
 *   st_trace_model(model, token, n_tok, &tp, "out.trace", &report, &err);
 *
 * libllama runs the model (any architecture it loads, on the CPU); this library is its attention
 * (ggml.h). One model and one run at a time in a process: the backend's configuration is the
 * process's.
 */
#ifndef SPARSETRACE_ENGINE_H
#define SPARSETRACE_ENGINE_H

#include "sparsetrace/ggml.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- progress and cancelling ----------------------------------------------------------------- */

/* Called now and then from the calling thread: `what` is a short phrase ("dense run", "k = 16")
 * that lives during the call, done and total count tokens (total 0: unknown). Returning false asks
 * to stop: the call ends with ST_ERR_CANCELLED. */
typedef bool (*st_progress_fn)(void *ctx, const char *what, int64_t done, int64_t total);

typedef struct st_progress {
    st_progress_fn fn; /* NULL: none */
    void *ctx;
} st_progress;

/* ---- model ----------------------------------------------------------------------------------- */

typedef enum st_weights {
    ST_WEIGHTS_BF16 =
        0,          /* quantised weights are converted once to BF16, which ggml multiplies several
                       times faster on a CPU; models above 4 GiB in BF16 stay as they are      */
    ST_WEIGHTS_F32, /* converted once to F32, for parity tests                                  */
    ST_WEIGHTS_AS_IS
} st_weights;

typedef struct st_model_params {
    st_weights weights; /* ST_WEIGHTS_BF16                                                       */
    int n_thread;       /* 0: one per processor                                                  */
    const char *cache_dir; /* NULL: $SPARSETRACE_CACHE, $XDG_CACHE_HOME/sparsetrace or
                              ~/.cache/sparsetrace; converted weights and file hashes live there */
    bool verbose; /* false. true: libllama's log goes to stderr                             */
    st_progress progress;
} st_model_params;

ST_API st_model_params st_model_params_default(void);

typedef struct st_model st_model;

/* Errors: ST_ERR_IO (cannot read), ST_ERR_FORMAT (not a GGUF file), ST_ERR_MODEL (libllama's
 * reason), ST_ERR_CANCELLED. */
ST_API st_status st_model_open(const char *path, const st_model_params *p, st_model **model,
                               st_error *err);
ST_API void st_model_free(st_model *model);

typedef struct st_model_info {
    char name[128], arch[64], weights[32]; /* weights as they run, e.g. "BF16" */
    char sha256[65];                       /* of the file that was named */
    int n_layer, n_head, n_kv_head, n_embd, n_vocab, n_ctx_train; /* heads: most of any layer */
    int n_thread; /* that runs use */
    int n_swa;    /* sliding window, 0: none */
    int64_t n_position; /* of a table of learned positions: no prompt can be longer; 0: no table */
    int64_t n_params, file_bytes;
    bool converted; /* runs from a converted copy in the cache */
    bool has_chat_template;
} st_model_info;

ST_API void st_model_get_info(const st_model *model, st_model_info *info);

/* ---- tokens ---------------------------------------------------------------------------------- */

/* text [n_bytes] must be UTF-8: ST_ERR_FORMAT with the offset of the first bad byte. `special`: add
 * the model's begin-of-sequence and read special tokens written out in the text. *token is the
 * caller's, freed with st_tokens_free. */
ST_API st_status st_model_tokenize(const st_model *model, const char *text, int64_t n_bytes,
                                   bool special, int32_t **token, int64_t *n_tok, st_error *err);

/* The text as one user message in the model's own chat template, ready for the assistant's answer.
 * *chat is the caller's (st_text_free), NUL-terminated. ST_ERR_MODEL: no template, or an unknown
 * one. */
ST_API st_status st_model_chat(const st_model *model, const char *text, int64_t n_bytes,
                               char **chat, int64_t *n_chat, st_error *err);

/* Token ids from a file, one a line (blank lines and '#' comments ignored); a name that ends in .gz
 * is read through gzip. ST_ERR_FORMAT with the line number for anything that is not an id of the
 * model. */
ST_API st_status st_model_read_tokens(const st_model *model, const char *path, int32_t **token,
                                      int64_t *n_tok, st_error *err);

/* The bytes of a token into buf (not NUL-terminated); returns how many it has, at most size are
 * written. */
ST_API int st_model_piece(const st_model *model, int32_t token, char *buf, int size);

/* Tokens [*begin, *end) whose pieces hold the first place where the text [n_bytes] stands in the
 * sequence. False: it stands nowhere (or out of memory, or n_bytes < 1). */
ST_API bool st_model_locate(const st_model *model, const int32_t *token, int64_t n_tok,
                            const char *text, int64_t n_bytes, int64_t *begin, int64_t *end);

ST_API void st_tokens_free(int32_t *token);
ST_API void st_text_free(char *text);

/* ---- one pass -------------------------------------------------------------------------------- */

/* A token sequence with a context of its own; passes over it can be repeated with other settings.
 */
typedef struct st_run st_run;

typedef struct st_run_params {
    int n_ubatch; /* 0: 2048, less for sequences above 65,536 tokens (the mask's memory)      */
    const char *type_k; /* "f16": cache types f32, f16, bf16, q8_0, ...                          */
    const char *type_v; /* "f16"                                                                  */
    int n_last; /* 32: last positions whose predictions are kept                           */
    int n_more; /* 0: room for tokens that st_run_greedy adds                              */
    bool stock_attention; /* false. true: ggml's own attention kernel, for comparison */
    bool every; /* false. true: room for st_run_predictions; micro-batches are then shorter       */
    st_progress progress;
} st_run_params;

/* What st_ggml_params.exact_below should be for n_tok tokens. In a model with sliding windows which
 * layers have them shows only where the window moves; until then their rows must run exactly, since
 * nothing tells them from the others'. 0 if the model has none, or the first micro-batch reaches
 * beyond the window and so shows it; else the window's length (`every`: always). */
ST_API int64_t st_model_exact_below(const st_model *model, int64_t n_tok, const st_run_params *p);

ST_API st_run_params st_run_params_default(void);

/* token [n_tok] is copied. Errors: ST_ERR_ARG, ST_ERR_MODEL (context could not be made),
 * ST_ERR_MEM. */
ST_API st_status st_run_create(st_model *model, const int32_t *token, int64_t n_tok,
                               const st_run_params *p, st_run **run, st_error *err);
ST_API void st_run_free(st_run *run);

typedef struct st_pass {
    int n_last, n_vocab;
    const float *logits; /* [n_last, n_vocab]; the run's, until its next pass */
    double seconds;
    int64_t first; /* token that st_run_again went on from, 0 elsewhere */
    st_ggml_stats stats;
} st_pass;

/* Runs the model over all tokens from an empty cache. `what` is for progress. ST_ERR_CANCELLED:
 * progress asked to stop (the next pass starts afresh); ST_ERR_MODEL: libllama failed, or a
 * prediction is NaN. */
ST_API st_status st_run_pass(st_run *run, const st_ggml_params *p, const st_sink *sink,
                             const char *what, st_pass *pass, st_error *err);

/* Like st_run_pass, but the cache keeps what the run's last pass left of the first `from` tokens
 * (rounded down to a multiple of 256, of 32 if the pass is exact): for a pass under other edits
 * that name no earlier row. The channels by which exemplars are chosen remember the last pass, so
 * that selections of method stream may differ a little from those of a pass of its own; exact
 * attention does not. pass->stats and seconds are of the rest alone. A model whose cache cannot be
 * cut, or a run without a whole pass behind it, starts from the beginning. Errors: as st_run_pass;
 * ST_ERR_ARG: from is not within the tokens. */
ST_API st_status st_run_again(st_run *run, const st_ggml_params *p, const st_sink *sink,
                              int64_t from, const char *what, st_pass *pass, st_error *err);

/* Greedy decoding: a pass over the run's tokens, then the most probable tokens one by one, ties to
 * the lower id, into out [n_most]; ends before an end-of-turn token. *n_out: how many. n_most must
 * not be more than the run's n_more. Errors: ST_ERR_ARG, those of st_run_pass. */
ST_API st_status st_run_greedy(st_run *run, const st_ggml_params *p, const char *what, int n_most,
                               int32_t *out, int *n_out, st_error *err);

/* What a layer leaves in the residual stream, per span of tokens (sentences, say). */
typedef struct st_hidden_params {
    int layer; /* after this layer, 0..n_layer-2 */
    const st_group *span;
    int64_t n_span; /* rising, without overlap, within the run's tokens */
} st_hidden_params;

/* From the next pass on, every pass fills out [n_span, 2, n_embd]: the mean of the span's vectors,
 * then the vector of its last token; zeros for an empty span. Memory: out alone, whatever the
 * number of tokens. `p->span` and `out` stay the caller's and must live until out NULL ends it (p
 * is then ignored) or the run is freed. Errors: ST_ERR_ARG (layer, or a span by its index),
 * ST_ERR_MEM; a pass then gives ST_ERR_MODEL if the architecture does not show the layer's output
 * (libllama's node "l_out-<layer>"). */
ST_API st_status st_run_hidden(st_run *run, const st_hidden_params *p, float *out, st_error *err);

/* Takes the predictions of positions pos .. pos + n - 1 (logits [n, n_vocab], of the token behind
 * each); they come in order. A status other than ST_OK ends the pass with it. */
typedef st_status (*st_predictions_fn)(void *ctx, int64_t pos, int64_t n, const float *logits,
                                       st_error *err);

/* From the next pass on, every pass hands over its predictions of position `from` and later ones,
 * as far as it runs them, micro-batch by micro-batch: memory does not grow with the tokens. fn
 * NULL ends it. ST_ERR_ARG: from is not within the tokens, or the run was made without
 * st_run_params.every. */
ST_API st_status st_run_predictions(st_run *run, int64_t from, st_predictions_fn fn, void *ctx,
                                    st_error *err);

/* ---- comparing predictions ------------------------------------------------------------------- */

typedef struct st_agreement {
    int32_t top_a, top_b;   /* most probable next token of each, ties to the lower id */
    double p_a, p_b;        /* their probabilities, each in its own distribution */
    double margin_a;        /* log p(top_a) - log p(second) in a: nats */
    double kl;              /* KL(a || b) at the last position, nats */
    double kl_mean;         /* mean over the compared positions */
    int n_same, n_compared; /* positions with the same most probable token */
} st_agreement;

/* a, b: logits [n_last, n_vocab]. */
ST_API void st_compare(const float *a, const float *b, int n_last, int n_vocab,
                       st_agreement *result);

/* ---- an answer, teacher-forced ----------------------------------------------------------------
 */

/* A prompt and the answer it should get, run as one sequence: the prediction at each of the
 * answer's positions is made with the right answer before it, so one pass gives them all. Where
 * every prediction is right, greedy decoding gives the same answer; where one is wrong, it may go
 * on differently. The dense pass is made once, the pruned ones are compared with it. */
typedef struct st_answer st_answer;

typedef struct st_answer_params {
    st_run_params run;     /* n_last and n_more are ignored                                      */
    int block_q, block_k;  /* 32, 16: those of the pruned passes                                 */
    int cert_rows;         /* 8: certified rows a layer of the pruned passes                     */
    uint64_t seed;         /* 0: moves them                                                      */
    const int64_t *needle; /* [2 n_needle] token spans begin, end that hold what the answer needs;
                              not copied; n_needle 0: not watched                                */
    int64_t n_needle;
    double retrieval; /* 0.1: a head retrieves if it puts more than this mass on the needle       */
} st_answer_params;

ST_API st_answer_params st_answer_params_default(void);

typedef struct st_answer_pass {
    int n_answer;       /* positions                                                           */
    const int32_t *top; /* [n_answer] most probable tokens; the answer's, until its next pass  */
    int n_same;         /* positions with the dense pass's most probable token                 */
    double kl;          /* KL(dense || this), mean over the positions, nats                    */
    double margin;      /* least of the positions: log p of the most probable token less that of
                           the second, in this pass; nats. A small one is a near tie             */
    double k;           /* 0: dense                                                            */
    int64_t kept_pairs, causal_pairs; /* of the pruned layers, all heads; pairs the model sees   */
    double recall; /* exact mass of the kept blocks, mean over certified rows; -1: none   */
    /* Of every pruned layer, head and query block with answer rows (those that predict a token of
     * the answer): where the dense pass's exact mass on the needle's key blocks, mean over the
     * block's answer rows, is above `retrieval`, it counts in n_retrieval, and in n_needle_kept if
     * the heaviest of those key blocks was kept. */
    int64_t n_retrieval, n_needle_kept;
    double seconds;
} st_answer_pass;

/* Runs token [n_tok], whose last n_answer are the answer, densely. *answer is the caller's
 * (st_answer_free); *dense (may be NULL) is valid until the first st_answer_run. Errors: ST_ERR_ARG
 * (1 <= n_answer < n_tok, n_answer <= 4096, a span outside the tokens), those of st_run_create and
 * st_run_pass. */
ST_API st_status st_answer_create(st_model *model, const int32_t *token, int64_t n_tok,
                                  int64_t n_answer, const st_answer_params *p, st_answer **answer,
                                  st_answer_pass *dense, st_error *err);

/* One pruned pass with the budget select->k (and select->mass). Method window keeps, beside its
 * own, as many blocks before the diagonal as fill k. ST_ERR_ARG: block sizes differ from the
 * answer's; else as st_run_pass. */
ST_API st_status st_answer_run(st_answer *answer, const st_select_params *select,
                               st_answer_pass *pass, st_error *err);
ST_API void st_answer_free(st_answer *answer);

/* ---- tracing: the main job ------------------------------------------------------------------- */

typedef enum st_budget {
    ST_BUDGET_AUTO = 0, /* the smallest k found that keeps the next token (double, then refine) */
    ST_BUDGET_K, /* select.k                                                                  */
    ST_BUDGET_PRUNED, /* the largest k that prunes at least `pruned` of the causal pairs */
    ST_BUDGET_MASS /* select.mass, with select.k as the most                                    */
} st_budget;

typedef enum st_against {
    ST_AGAINST_DEFAULT = 0, /* dense up to 16,384 tokens, else stable */
    ST_AGAINST_DENSE,  /* an exact run: the truth, quadratic                                      */
    ST_AGAINST_STABLE, /* the run with 2k: next token the same, KL below 0.05                     */
    ST_AGAINST_NONE
} st_against;

ST_API const char *st_against_name(st_against against);

typedef struct st_trace_params {
    st_select_params select;
    st_budget budget;
    double pruned;
    double max_kl; /* 0: none. Nats: ST_BUDGET_AUTO then also wants the last position's KL this
                      low */
    st_against against;
    int cert_rows;           /* 32 */
    uint64_t seed;           /* 0 */
    st_trace_options record; /* what goes into the file */
    st_run_params run;
    const st_edit *edit; /* [n_edit] or NULL: the model runs under these edits, the reference too */
    int64_t n_edit;
    /* [n_row] as st_groups_check wants it; n_row 0: none. Else the trace holds these rows alone,
     * token by token: its blocks are of one token (bq = bk = 1), each row's ST_GGML_ROW_KEYS
     * heaviest keys by exact attention. Wants ST_BUDGET_K or _MASS and ST_AGAINST_NONE. row_exact:
     * the run itself attends exactly too, whatever the budget */
    const st_group *row;
    int64_t n_row;
    bool row_exact;
    bool value; /* false. true: record sizes of values too (st_trace_layer.value), for weights of
                   routes; reads the output matrices from the model's file */
    bool measure_floor; /* false. true: one more run through ggml's own attention kernel: what two
                           exact paths differ by. Else the floor is assumed from the weights. */
    /* NULL; else a file that the job can go on from if it is interrupted, whatever pass was
     * running. Written between micro-batches, and before the end where progress asks to stop (the
     * micro-batch at hand is finished first). Removed when the trace is whole. docs/checkpoints.md
     */
    const char *checkpoint;
    double checkpoint_every; /* 600: seconds from one write to the next; 0: every micro-batch */
    bool resume; /* false: `checkpoint` must not be there yet. true: goes on from it and path.part,
                    with everything else as it was but n_thread; the trace comes out as without
                    the interruption, but for seconds and peak memory in its `result`       */
    /* What else the recorded run gives, the caller's; not with a checkpoint (ST_ERR_ARG). */
    st_hidden_params hidden;
    float *hidden_out; /* NULL; else as st_run_hidden's out */
    float *surprise;   /* NULL; else [n_tok]: -ln p of each token after those before it, nats; [0]
                          is NaN */
} st_trace_params;

ST_API st_trace_params st_trace_params_default(void);

typedef struct st_trace_report {
    int64_t n_tok, trace_bytes, peak_rss_bytes;
    double k; /* what was kept: key blocks per query block, in the mean where pooled or growing */
    int n_layer, n_head, block_q, block_k;
    int n_exact_layer; /* layers that were not pruned (sliding windows) */
    st_select_method select;
    bool scanned; /* method auto fell back to scan somewhere */
    st_budget budget;
    double mass; /* ST_BUDGET_MASS: what was asked for, k is then the most; else 0 */
    int64_t kept_pairs,
        causal_pairs;              /* of the pruned layers, all heads; pairs the model sees there */
    double pruned_fraction;        /* 1 - kept / causal */
    st_against against;            /* what `next` compares with; NONE: nothing */
    st_agreement next;             /* a = dense (or 2k), b = this run */
    double floor_kl, floor_margin; /* what two exact paths differ by; nats */
    bool floor_measured;
    bool agree; /* same next token, or a dense margin inside the floor */
    bool has_cert;
    st_certificate cert;
    double recall_last; /* at the row that predicts the next token, mean over heads; -1: unknown */
    bool part_left;     /* a failed call left path.part, which st_trace_salvage reads */
    bool checkpoint_left; /* a failed call left a checkpoint to go on from */
    int n_run;            /* passes, the dense one and the search included */
    double seconds_total, seconds_dense, seconds_search, seconds_final;
    /* of the final pass; linear: products that st_ggml_linear() names, 0: all are ggml's */
    double seconds_select, seconds_attend, seconds_certify, seconds_keys, seconds_linear;
} st_trace_report;

/* Finds the budget, runs, compares, certifies, and writes the trace to `path` (NULL: nowhere). On
 * failure no file is left at `path` that was not there before; an interrupted recording leaves
 * path.part if a micro-batch is whole (report->part_left). Errors: those of the parts; ST_ERR_LIMIT
 * if no budget up to everything keeps the next token; ST_ERR_MODEL if none of the model's attention
 * came through us, or for a checkpoint of a model with a recurrent state; ST_ERR_ARG for a
 * checkpoint of another job (the message names what differs), one that is there without resume, or
 * one without a path; ST_ERR_FORMAT with the byte for one that is damaged, or whose path.part is.
 */
ST_API st_status st_trace_model(st_model *model, const int32_t *token, int64_t n_tok,
                                const st_trace_params *p, const char *path, st_trace_report *report,
                                st_error *err);

/* ---- proving that reads matter ----------------------------------------------------------------
 */

/* Edges: who reads what, as edits (their kind is not looked at): layer, head, rows, keys. Are they
 * how the model comes to its next token? Five kinds of run tell (docs/method/proof.md):
 *
 *   plain         as the model is
 *   deny          without the edges
 *   keep          every row of every head sees only the first key block (sink), its own query block
 *                 and the window before it, and the edges
 *   random deny   without as many others: same layer, rows and number of keys, head and place drawn
 *   random keep   as keep, with the drawn ones in the edges' place
 */
typedef struct st_proof_params {
    st_select_params select; /* default k is 64; of plain and deny runs that are not exact */
    int exact_max_tok;       /* 16384: up to this length plain and deny runs are exact */
    int n_random;            /* 20: drawn sets, 1..10000 */
    uint64_t seed;           /* 0 */
    int32_t target;          /* -1: the plain run's next token; else a token of the model */
    st_run_params run;
} st_proof_params;

ST_API st_proof_params st_proof_params_default(void);

typedef struct st_effect {
    double log_p; /* of the target, nats */
    int32_t top;  /* the most probable next token */
} st_effect;

typedef struct st_proof {
    int32_t target;
    bool exact; /* plain and deny runs were exact */
    st_effect plain, deny, keep;
    st_effect *random_deny, *random_keep; /* [n_random] */
    int n_random;
    /* log p(target) lost against plain, nats: by the edges, and by drawn sets with the 95 %
     * interval of their mean and the largest */
    double deny_loss, random_loss, random_loss_ci[2], random_loss_max;
    double keep_loss, random_keep_loss, random_keep_loss_ci[2], random_keep_loss_min;
    bool necessary; /* deny_loss is above ln 2 and above every drawn set's */
    bool
        sufficient; /* keep still predicts the target, and loses less than every drawn set's keep */
    double seconds;
    int64_t n_tok_run,
        n_tok_reused; /* of all runs: computed, and taken from an earlier run's cache */
} st_proof;

/* Errors: ST_ERR_ARG (no edges, or as st_edits_check; a parameter out of range), those of
 * st_run_create and st_run_pass. On success the arrays are the caller's (st_proof_free). */
ST_API st_status st_prove(st_model *model, const int32_t *token, int64_t n_tok, const st_edit *edge,
                          int64_t n_edge, const st_proof_params *p, st_proof *proof, st_error *err);
ST_API void st_proof_free(st_proof *proof);

typedef struct st_edge_set {
    const st_edit *edge;
    int64_t n;
} st_edge_set;

/* The same for each of n_set sets, with one plain run for all and one run of what keep keeps before
 * the first row that any of them names: what a set costs is its rows from its first edge on. The
 * shared runs are on the account (seconds, tokens) of the set whose first edge is latest. proof
 * [n_set]: all the caller's on success, none on failure. Errors: as st_prove; ST_ERR_ARG: no set.
 */
ST_API st_status st_prove_sets(st_model *model, const int32_t *token, int64_t n_tok,
                               const st_edge_set *set, int64_t n_set, const st_proof_params *p,
                               st_proof *proof, st_error *err);

/* ---- suppressing sentences -------------------------------------------------------------------
 */

/* What the predictions of later spans of tokens (sentences, say) lose if the model cannot look at
 * an earlier one: "attention suppression" of "Thought Anchors" (arXiv 2506.19143), on the text as
 * it stands. For each source j the model runs on from it with all reads of j's tokens denied, in
 * every layer and head, from j's first token on:
 *
 *   effect[i * n + j] = mean over the tokens t of span i of ln(KL(plain_t || denied_t) + 1e-9)
 *
 * for i > j, NaN elsewhere. plain_t, denied_t: softmax(logits / temperature) of the prediction made
 * at token t. Our reading: the authors compare over the likeliest tokens of both (0.9999 of the
 * mass, 100 at most); here over the n_top likeliest of the plain one, all others as one. docs/
 * method/suppression.md. */
typedef struct st_suppress_params {
    st_select_params select; /* method scan: `stream` remembers what it saw in the run before, and
                                its choices then move where the text did not                     */
    double pruned;      /* 0.97: the budget as ST_BUDGET_PRUNED; 0: select.k                     */
    bool exact;         /* false. true: exact attention                                          */
    double temperature; /* 0.6 */
    int n_top;          /* 256: 1..n_vocab - 1                                                    */
    st_run_params run;  /* n_last, n_more and every are ignored                                  */
    /* [n]: columns that effect has already (an earlier job's); NULL: none */
    const bool *have;
    /* Called when effect has column j whole; NULL: not. Another status than ST_OK ends the job. */
    st_status (*done)(void *ctx, int64_t j, st_error *err);
    void *done_ctx;
} st_suppress_params;

ST_API st_suppress_params st_suppress_params_default(void);

typedef struct st_suppress_report {
    double k;
    int64_t n_run;                 /* sources that ran now */
    int64_t n_tok_run;             /* tokens of their runs, the plain one not among them */
    double seconds, seconds_plain; /* in all; of the plain run */
} st_suppress_report;

/* effect [n, n]: room, and with `have` what is there already. From the last source to the first, so
 * that what stands before a source is always as the plain run left it in the cache. Memory: the
 * cache, and n_top pairs a token. Errors: ST_ERR_ARG (spans: see st_groups_check; a parameter out
 * of range), those of st_run_create and st_run_pass, ST_ERR_CANCELLED (effect then has the columns
 * that `done` was called for). */
ST_API st_status st_suppress(st_model *model, const int32_t *token, int64_t n_tok,
                             const st_group *span, int64_t n, const st_suppress_params *p,
                             float *effect, st_suppress_report *report, st_error *err);

/* out[i * n + j] = effect[i * n + j] - mean over the sources of row i; NaN stays. May be the same
 * array. */
ST_API void st_suppress_center(const float *effect, int64_t n, float *out);

/* The report as one JSON object, as `sparsetrace trace --json` prints it. The text is the caller's
 * (st_text_free). */
ST_API st_status st_trace_report_json(const st_model *model, const st_trace_report *report,
                                      char **json, st_error *err);

#ifdef __cplusplus
}
#endif
#endif
