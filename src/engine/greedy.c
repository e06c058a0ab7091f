/* SPDX-License-Identifier: MIT
 *
 * greedy.c — greedy decoding behind a pass, one token at a time.
 */
#include "base/util.h"
#include "engine/engine_int.h"

#define ABORTED 2 /* what llama_decode returns when the progress callback asked to stop */

static int32_t most_probable(const float *logits, int n_vocab)
{
    int32_t top = 0;
    for (int32_t i = 1; i < n_vocab; i++)
        if (logits[i] > logits[top])
            top = i;
    return top;
}

/* Puts one token behind what the cache holds. */
static st_status step(struct llama_context *ctx, struct llama_batch *batch, int32_t token,
                      int64_t pos, st_error *err)
{
    int code;
    batch->n_tokens = 1;
    batch->token[0] = token;
    batch->pos[0] = (llama_pos)pos;
    batch->n_seq_id[0] = 1;
    batch->seq_id[0][0] = 0;
    batch->logits[0] = true;
    code = llama_decode(ctx, *batch);
    if (code == 0)
        return ST_OK;
    if (st_ggml_take_error(err) != ST_OK)
        return err != NULL ? err->status : ST_ERR_MODEL;
    if (code == ABORTED)
        return sti_fail(err, ST_ERR_CANCELLED, pos, "stopped at token %lld", (long long)pos);
    return sti_fail(err, ST_ERR_MODEL, pos, "libllama failed at token %lld (code %d): %s",
                    (long long)pos, code, sti_llama_error("no reason given"));
}

st_status st_run_greedy(st_run *run, const st_ggml_params *p, const char *what, int n_most,
                        int32_t *out, int *n_out, st_error *err)
{
    struct llama_context *ctx = sti_run_context(run);
    const struct llama_vocab *vocab = llama_model_get_vocab(llama_get_model(ctx));
    int64_t n_tok = sti_run_n_tok(run);
    const float *last;
    struct llama_batch batch;
    st_status status = ST_OK;
    st_pass pass;
    *n_out = 0;
    if (n_most < 1 || n_most > sti_run_n_more(run))
        return sti_fail(err, ST_ERR_ARG, -1, "n_most is %d, the run has room for 1..%d", n_most,
                        sti_run_n_more(run));
    STI_TRY(st_run_pass(run, p, NULL, what, &pass, err));
    last = pass.logits + (int64_t)(pass.n_last - 1) * pass.n_vocab;
    batch = llama_batch_init(1, 0, 1);
    for (int i = 0; status == ST_OK && i < n_most; i++) {
        int32_t token = most_probable(last, pass.n_vocab);
        if (llama_vocab_is_eog(vocab, token))
            break;
        out[(*n_out)++] = token;
        if (i < n_most - 1)
            status = step(ctx, &batch, token, n_tok + i, err);
        last = llama_get_logits_ith(ctx, 0);
    }
    llama_batch_free(batch);
    return status;
}
