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

/* tokens.c: ST_ERR_ARG with the place of the first id that the model does not have. */
st_status sti_check_tokens(const st_model *model, const int32_t *token, int64_t n_tok,
                           st_error *err);
/* tokens.c: length of the well-formed UTF-8 sequence at s (n > 0 bytes), 0 if there is none (RFC
 * 3629). */
int sti_utf8_length(const char *s, int64_t n);

/* report.c: the trace's own documents. The texts are the caller's (sti_free). */
char *sti_recipe_json(const st_model *model, const int32_t *token, int64_t n_tok,
                      const st_trace_params *p, int64_t k);

#endif
