/* SPDX-License-Identifier: MIT
 *
 * llama_host.h — libllama used directly, as a program of its own would: contexts with our attention
 * or ggml's, batches of several sequences, and real text (our own headers) to run over.
 */
#ifndef LLAMA_HOST_H
#define LLAMA_HOST_H

#include <math.h>

#include "../unit/check.h"
#include "engine/engine_int.h"

#define HOST_THREADS 2
#define HOST_LAST 16 /* predictions that are compared: at the last positions */

typedef enum host_path {
    HOST_OURS,     /* our backend as configured */
    HOST_STOCK,    /* ggml's flash attention */
    HOST_STOCK_OFF /* ggml's attention as separate operations */
} host_path;

/* Opens the model that the variable names; skips the test (77) where it is not set. */
static inline st_model *host_open(const char *variable, st_weights weights)
{
    const char *path = getenv(variable);
    st_model_params p = st_model_params_default();
    st_model *model;
    st_error err;
    if (path == NULL) {
        printf("SKIP: %s does not name a model (`make test` sets it)\n", variable);
        exit(77);
    }
    p.weights = weights;
    p.n_thread = HOST_THREADS;
    if (st_model_open(path, &p, &model, &err) != ST_OK) {
        printf("%s: %s\n", path, err.message);
        exit(1);
    }
    return model;
}

/* Tokens [*n_tok] of real text: the public headers, which the tests find through ST_SOURCE_DIR. */
static inline int32_t *host_text(const st_model *model, int64_t *n_tok)
{
    static const char *const name[] = {"attn", "trace", "select", "ggml", "engine", "base"};
    char path[4096], *text = malloc(1 << 20);
    const char *dir = getenv("ST_SOURCE_DIR");
    size_t n = 0;
    int32_t *token = NULL;
    st_error err = {.message = "ST_SOURCE_DIR is not set"};
    for (size_t i = 0; dir != NULL && i < sizeof name / sizeof *name; i++) {
        FILE *f;
        snprintf(path, sizeof path, "%s/include/sparsetrace/%s.h", dir, name[i]);
        f = fopen(path, "rb");
        if (f != NULL) {
            n += fread(text + n, 1, (1 << 20) - n, f);
            fclose(f);
        }
    }
    if (dir == NULL ||
        st_model_tokenize(model, text, (int64_t)n, true, &token, n_tok, &err) != ST_OK) {
        printf("no text: %s\n", err.message);
        exit(1);
    }
    free(text);
    return token;
}

static inline struct llama_context *host_context(const st_model *model, host_path path, int n_ctx,
                                                 int n_seq, bool unified)
{
    struct llama_context_params cp = llama_context_default_params();
    st_ggml_params gp = st_ggml_params_default();
    struct llama_context *ctx;
    gp.enabled = path == HOST_OURS;
    gp.exact = true;
    CHECK_STATUS(st_ggml_configure(&gp, NULL, NULL), ST_OK);
    cp.n_ctx = (uint32_t)n_ctx;
    cp.n_batch = cp.n_ubatch = 512;
    cp.n_seq_max = (uint32_t)n_seq;
    cp.kv_unified = unified;
    cp.n_threads = cp.n_threads_batch = HOST_THREADS;
    cp.flash_attn_type =
        path == HOST_STOCK_OFF ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_ENABLED;
    cp.swa_full = true;
    cp.no_perf = true;
    ctx = llama_init_from_model(model->llama, cp);
    if (ctx == NULL) {
        printf("no context: %s\n", sti_llama_error("no reason given"));
        exit(1);
    }
    return ctx;
}

/* Exact attention (k = 0), or a selection of k key blocks of 16 per query block of 32 in the layers
 * without a sliding window. */
static inline void host_configure(int64_t k, const st_model *model)
{
    st_ggml_params p = st_ggml_params_default();
    p.exact_below = model->info.n_swa;
    p.exact = k == 0;
    p.select.k = k != 0 ? k : p.select.k;
    CHECK_STATUS(st_ggml_configure(&p, NULL, NULL), ST_OK);
}

/* Puts tokens [n] of sequence seq at positions from `first`. The logits after the last HOST_LAST of
 * them (fewer if n is less), the libllama context's: the last batch must hold them. */
static inline float *host_decode(struct llama_context *ctx, const int32_t *token, int n, int first,
                                 int seq)
{
    struct llama_batch batch = llama_batch_init(512, 0, 1);
    for (int begin = 0; begin < n; begin += 512) {
        batch.n_tokens = n - begin < 512 ? n - begin : 512;
        for (int i = 0; i < batch.n_tokens; i++) {
            batch.token[i] = token[begin + i];
            batch.pos[i] = first + begin + i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = seq;
            batch.logits[i] = begin + i >= n - HOST_LAST;
        }
        CHECK_EQ(llama_decode(ctx, batch), 0);
    }
    llama_batch_free(batch);
    return llama_get_logits(ctx);
}

/* Mean KL(a || b) over n predictions, nats. */
static inline double host_kl(const float *a, const float *b, int n, const st_model *model)
{
    st_agreement r;
    st_compare(a, b, n, model->info.n_vocab, &r);
    return r.kl_mean;
}

static inline float *host_copy(const float *logits, int n, const st_model *model)
{
    size_t bytes = (size_t)n * (size_t)model->info.n_vocab * sizeof *logits;
    return memcpy(malloc(bytes), logits, bytes);
}

#endif
