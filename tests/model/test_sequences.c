/* SPDX-License-Identifier: MIT
 *
 * test_sequences.c — what programs do to a KV cache, step by step beside stock libllama (F32
 * weights, KL
 * <= 1e-5): decoding token by token, several sequences in one batch (one stream or many), a copied
 * sequence, rewinding, and a context shift.
 */
#include "llama_host.h"

#define N_PROMPT 700
#define N_STEP 8
#define TOLERANCE 1e-5

static st_model *model;
static int32_t *text;

/* A context with our attention and one with ggml's, driven alike. */
typedef struct twins {
    struct llama_context *ours, *stock;
} twins;

static twins twins_new(int n_ctx, int n_seq, bool unified)
{
    twins t = {.stock = host_context(model, HOST_STOCK, n_ctx, n_seq, unified)};
    t.ours = host_context(model, HOST_OURS, n_ctx, n_seq, unified);
    return t;
}

static void twins_free(twins *t)
{
    llama_free(t->ours);
    llama_free(t->stock);
}

/* The same tokens into both, with every block selected; the worst KL is printed and judged. */
static void twins_decode(twins *t, const int32_t *token, int n, int first, int seq,
                         const char *what)
{
    int n_out = n < HOST_LAST ? n : HOST_LAST;
    float *want = host_copy(host_decode(t->stock, token, n, first, seq), n_out, model);
    double kl;
    host_configure(N_PROMPT, model);
    kl = host_kl(want, host_decode(t->ours, token, n, first, seq), n_out, model);
    if (kl > TOLERANCE)
        printf("%s, %d tokens at %d of sequence %d: KL %.1e\n", what, n, first, seq, kl);
    CHECK(kl <= TOLERANCE);
    free(want);
}

static void steps(twins *t, const int32_t *token, int first, int seq, const char *what)
{
    for (int i = 0; i < N_STEP; i++)
        twins_decode(t, token + i, 1, first + i, seq, what);
}

static void test_decoding(void)
{
    twins t = twins_new(1024, 1, true);
    twins_decode(&t, text, N_PROMPT, 0, 0, "prompt");
    steps(&t, text + N_PROMPT, N_PROMPT, 0, "one token at a time");
    twins_free(&t);
}

/* Two prompts side by side, then a batch in which both go on, alternating. */
static void test_two_sequences(bool unified)
{
    const char *what = unified ? "two sequences, one stream" : "two sequences, two streams";
    twins t = twins_new(4096, 2, unified);
    struct llama_batch batch = llama_batch_init(2 * N_STEP, 0, 1);
    float *want;
    twins_decode(&t, text, N_PROMPT, 0, 0, what);
    twins_decode(&t, text + 2000, N_PROMPT / 2, 0, 1, what);
    batch.n_tokens = 2 * N_STEP;
    for (int i = 0; i < batch.n_tokens; i++) {
        int seq = i % 2, at = (seq ? N_PROMPT / 2 : N_PROMPT) + i / 2;
        batch.token[i] = text[(seq ? 2000 : 0) + at];
        batch.pos[i] = at;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = seq;
        batch.logits[i] = true;
    }
    CHECK_EQ(llama_decode(t.stock, batch), 0);
    want = host_copy(llama_get_logits(t.stock), batch.n_tokens, model);
    host_configure(N_PROMPT, model);
    CHECK_EQ(llama_decode(t.ours, batch), 0);
    CHECK(host_kl(want, llama_get_logits(t.ours), batch.n_tokens, model) <= TOLERANCE);
    steps(&t, text + N_PROMPT + N_STEP, N_PROMPT + N_STEP, 0, what);
    steps(&t, text + 2000 + N_PROMPT / 2 + N_STEP, N_PROMPT / 2 + N_STEP, 1, what);
    free(want);
    llama_batch_free(batch);
    twins_free(&t);
}

/* A prefix shared by two sequences that then part. */
static void test_copy(void)
{
    twins t = twins_new(2048, 2, true);
    twins_decode(&t, text, N_PROMPT, 0, 0, "shared prefix");
    llama_memory_seq_cp(llama_get_memory(t.ours), 0, 1, -1, -1);
    llama_memory_seq_cp(llama_get_memory(t.stock), 0, 1, -1, -1);
    steps(&t, text + 3000, N_PROMPT, 1, "the copy goes on");
    steps(&t, text + N_PROMPT, N_PROMPT, 0, "the original goes on");
    twins_free(&t);
}

static void remove_both(twins *t, int begin, int end)
{
    CHECK(llama_memory_seq_rm(llama_get_memory(t->ours), 0, begin, end));
    CHECK(llama_memory_seq_rm(llama_get_memory(t->stock), 0, begin, end));
}

static void test_rewind(void)
{
    twins t = twins_new(1024, 1, true);
    twins_decode(&t, text, N_PROMPT, 0, 0, "prompt");
    remove_both(&t, N_PROMPT / 2, -1);
    twins_decode(&t, text + 3000, 200, N_PROMPT / 2, 0, "rewound, another text");
    steps(&t, text + 3200, N_PROMPT / 2 + 200, 0, "rewound, token by token");
    twins_free(&t);
}

/* The oldest text after the first 32 tokens is dropped and the rest moves up, keys turned anew. */
static void test_context_shift(void)
{
    twins t = twins_new(1024, 1, true);
    twins_decode(&t, text, N_PROMPT, 0, 0, "prompt");
    remove_both(&t, 32, 232);
    llama_memory_seq_add(llama_get_memory(t.ours), 0, 232, -1, -200);
    llama_memory_seq_add(llama_get_memory(t.stock), 0, 232, -1, -200);
    steps(&t, text + N_PROMPT, N_PROMPT - 200, 0, "shifted");
    twins_decode(&t, text + N_PROMPT + N_STEP, 300, N_PROMPT - 200 + N_STEP, 0,
                 "shifted, a longer batch");
    twins_free(&t);
}

/* A small budget after a rewind must see the new text, not a summary of the old one. */
static void test_sparse_after_rewind(void)
{
    struct llama_context *again = host_context(model, HOST_OURS, 1024, 1, true);
    struct llama_context *fresh = host_context(model, HOST_OURS, 1024, 1, true);
    float *want;
    host_configure(6, model);
    host_decode(again, text, N_PROMPT, 0, 0);
    CHECK(llama_memory_seq_rm(llama_get_memory(again), 0, 0, -1));
    host_decode(fresh, text + 3000, 512, 0, 0);
    want = host_copy(host_decode(fresh, text + 3512, 200, 512, 0), HOST_LAST, model);
    host_decode(again, text + 3000, 512, 0, 0);
    CHECK(memcmp(want, host_decode(again, text + 3512, 200, 512, 0),
                 (size_t)HOST_LAST * (size_t)model->info.n_vocab * sizeof *want) == 0);
    free(want);
    llama_free(again);
    llama_free(fresh);
}

static void test_model(const char *variable)
{
    int64_t n_text;
    model = host_open(variable, ST_WEIGHTS_F32);
    text = host_text(model, &n_text);
    CHECK(n_text > 4000);
    printf("%s\n", variable);
    test_decoding();
    test_two_sequences(true);
    test_two_sequences(false);
    test_copy();
    test_rewind();
    test_context_shift();
    test_sparse_after_rewind();
    st_tokens_free(text);
    st_model_free(model);
}

int main(void)
{
    test_model("ST_SMOLLM2");
    test_model("ST_GEMMA3");
    return check_report();
}
