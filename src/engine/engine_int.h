/* SPDX-License-Identifier: MIT
 *
 * engine_int.h — the inside of an open model, and what the files of this room lend each other.
 */
#ifndef STI_ENGINE_INT_H
#define STI_ENGINE_INT_H

#include <llama.h>

#include "sparsetrace/engine.h"

struct st_model {
    struct llama_model *llama;
    const struct llama_vocab *vocab;
    char *run_path; /* the file that was loaded */
    st_model_info info;
    int n_thread;
};

/* llama_log.c: the first error line libllama wrote since the last call, or `otherwise`. */
const char *sti_llama_error(const char *otherwise);
void sti_llama_log(bool verbose);

/* weights.c: hashes the file and, if asked, converts its weights. *run_path (sti_free) is what to
 * load. */
st_status sti_prepare_weights(const char *path, const st_model_params *p, st_model_info *info,
                              char **run_path, st_error *err);

/* run.c */
int64_t sti_run_n_tok(const st_run *run);
int sti_run_n_more(const st_run *run);
struct llama_context *sti_run_context(const st_run *run);
float *sti_run_logits(const st_run *run);    /* [n_last, n_vocab] */
int sti_run_ubatch(int64_t n_tok, int wish); /* tokens of a micro-batch */

/* st_run_create; saved: the cache is going to be saved and loaded (cells.h). */
st_status sti_run_create(st_model *model, const int32_t *token, int64_t n_tok,
                         const st_run_params *p, bool saved, st_run **run, st_error *err);

/* Called between two micro-batches, when `done` tokens are in the cache. stopping: the pass ends
 * here, because progress asked for it. A status other than ST_OK ends the pass too. */
typedef struct sti_between {
    st_status (*fn)(void *ctx, int64_t done, bool stopping, const st_pass *so_far, st_error *err);
    void *ctx;
} sti_between;

/* Configures the backend for a pass and empties the cache. */
st_status sti_run_begin(st_run *run, const st_ggml_params *p, const st_sink *sink, st_error *err);

/* The rest of st_run_pass after sti_run_begin, from behind the first `done` tokens: they are in the
 * cache, their logits in the run's, their time and counts in *pass. between (NULL: nothing) also
 * makes a wish to stop wait for the end of the micro-batch. */
st_status sti_run_pass(st_run *run, const char *what, int64_t done, const sti_between *between,
                       st_pass *pass, st_error *err);

/* Reads token [n] at positions begin on, which follow what the cache holds: begin + n is within the
 * run's tokens, and what these were there does not matter. */
st_status sti_run_more(st_run *run, const st_ggml_params *p, const st_sink *sink, int64_t begin,
                       const int32_t *token, int64_t n, st_error *err);

/* tokens.c: ST_ERR_ARG with the place of the first id that the model does not have. */
st_status sti_check_tokens(const st_model *model, const int32_t *token, int64_t n_tok,
                           st_error *err);
/* tokens.c: length of the well-formed UTF-8 sequence at s (n > 0 bytes), 0 if there is none (RFC
 * 3629). */
int sti_utf8_length(const char *s, int64_t n);

/* report.c: the trace's own documents. The texts are the caller's (sti_free). */
char *sti_recipe_json(const st_model *model, const int32_t *token, int64_t n_tok,
                      const st_trace_params *p, double k);

#endif
