/* SPDX-License-Identifier: MIT
 *
 * test_plugin.c — libggml-sparsetrace.so in a program that knows nothing of us: ggml loads it, the
 * variable SPARSETRACE configures it, and libllama's attention goes through it. Each setting is
 * tried in a process of its own, since a plug-in reads its settings once.
 */
#include <ggml-backend.h>
#include <llama.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/check.h"

#define N_TOK 1000

static void quiet(enum ggml_log_level level, const char *text, void *ctx)
{
    (void)level;
    (void)text;
    (void)ctx;
}

/* Predicts the token after a text of N_TOK tokens; writes the logits to fd. */
static int predict(const char *path, int fd)
{
    struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());
    struct llama_context_params cp = llama_context_default_params();
    struct llama_context *ctx;
    const struct llama_vocab *vocab;
    llama_token token[N_TOK];
    cp.n_ctx = 2048;
    cp.n_batch = cp.n_ubatch = 512;
    cp.n_threads = cp.n_threads_batch = 2; /* not its four, which wait for each other on fewer */
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    ctx = model != NULL ? llama_init_from_model(model, cp) : NULL;
    if (ctx == NULL)
        return 1;
    vocab = llama_model_get_vocab(model);
    for (int i = 0; i < N_TOK; i++)
        token[i] = 1000 + i * 7919 % 20000;
    for (int begin = 0; begin < N_TOK; begin += 500)
        if (llama_decode(ctx, llama_batch_get_one(token + begin, 500)) != 0)
            return 1;
    for (size_t done = 0, n = (size_t)llama_vocab_n_tokens(vocab) * sizeof(float); done < n;) {
        ssize_t got = write(fd, (const char *)llama_get_logits_ith(ctx, -1) + done, n - done);
        if (got <= 0)
            return 1;
        done += (size_t)got;
    }
    return 0;
}

/* settings NULL: without the plug-in. *n floats (free()), or NULL if the child failed. */
static float *run(const char *model, const char *plugin, const char *settings, long *n)
{
    int fd[2], state;
    size_t cap = 1 << 22, done = 0;
    char *out = malloc(cap);
    ssize_t got;
    pid_t child;
    fflush(stdout);
    CHECK_EQ(pipe(fd), 0);
    child = fork();
    if (child == 0) {
        llama_log_set(quiet, NULL);
        if (settings != NULL) {
            setenv("SPARSETRACE", settings, 1);
            if (ggml_backend_load(plugin) == NULL)
                _exit(2);
        }
        _exit(predict(model, fd[1]));
    }
    close(fd[1]);
    while (done < cap && (got = read(fd[0], out + done, cap - done)) > 0)
        done += (size_t)got;
    close(fd[0]);
    waitpid(child, &state, 0);
    *n = (long)(done / sizeof(float));
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return (float *)(void *)out;
    printf("SPARSETRACE=%s: the program ended with %d\n", settings, WEXITSTATUS(state));
    free(out);
    return NULL;
}

/* Largest difference of two logit vectors, after their means are taken off. */
static double difference(const float *a, const float *b, long n)
{
    double mean = 0.0, worst = 0.0;
    for (long i = 0; i < n; i++)
        mean += ((double)a[i] - b[i]) / (double)n;
    for (long i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - b[i] - mean));
    return worst;
}

int main(void)
{
    const char *model = getenv("ST_SMOLLM2"), *plugin = getenv("ST_PLUGIN");
    float *stock, *exact, *sparse, *wrong;
    long n, m, unused;
    if (model == NULL || plugin == NULL) {
        printf("SKIP: ST_SMOLLM2 and ST_PLUGIN do not name a model and the plug-in (`make test` "
               "sets them)\n");
        return 77;
    }
    stock = run(model, plugin, NULL, &n);
    exact = run(model, plugin, "exact=1", &m);
    CHECK(stock != NULL && exact != NULL && n > 10000 && n == m);
    sparse = run(model, plugin, "k=5 select=window", &m);
    CHECK(sparse != NULL && n == m);
    if (stock != NULL && exact != NULL && sparse != NULL) {
        double near = difference(stock, exact, n), far = difference(stock, sparse, n);
        printf("largest logit difference to stock: exact %.3g, sparse %.3g\n", near, far);
        CHECK(near > 0.0); /* it was our kernel that ran */
        CHECK(far > 10.0 * near);
    }
    wrong = run(model, plugin, "k=five", &unused); /* refused: not loaded, and said so */
    CHECK(wrong == NULL);
    free(stock);
    free(exact);
    free(sparse);
    free(wrong);
    return check_report();
}
