/* SPDX-License-Identifier: MIT
 *
 * run.c — one token sequence and passes over it, micro-batch by micro-batch.
 */
#include <ggml-cpu.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/util.h"
#include "engine/cells.h"
#include "engine/engine_int.h"
#include "engine/hidden.h"

/* The mask has n_ubatch x n_ctx F16 values: the one thing in libllama that is not linear in the
 * sequence. Above these lengths shorter micro-batches keep it small; they cost time, since keys are
 * packed and summaries visited once for each. */
#define LONG_TOK 65536
#define VERY_LONG_TOK 262144

/* Above this length a copy of all keys in int8 is too much beside the cache. But scan, which reads
 * every key for every query block, would spend its time on making it again. */
#define LEAN_TOK 262144

/* Cuts of a sequence at multiples of this do not change what is selected; of exact runs nothing is.
 */
#define CUT_TOK 256
#define CUT_EXACT_TOK 32

/* Predictions of a micro-batch, where all are wanted: at most so many numbers. */
#define PREDICTIONS_MOST ((int64_t)1 << 26)

struct st_run {
    st_model *model;
    struct llama_context *ctx;
    struct ggml_threadpool *threads;
    int32_t *token;
    int64_t n_tok;
    int n_ubatch, n_last, n_more;
    bool to_check;       /* the pass has not shown yet that what it wants is there */
    const st_edit *edit; /* [n_edit] of the pass */
    int64_t n_edit;
    bool stock;         /* ggml's own attention, whatever a pass asks for */
    bool whole;         /* the last pass ended well: the cache holds all tokens */
    bool whole_batches; /* a wish to stop waits for the end of the micro-batch */
    float *logits;
    st_progress progress;
    const char *what;
    int64_t done;
    bool stop;
    sti_hidden hidden;
    bool every; /* predictions of a whole micro-batch have room */
    int64_t predict_from;
    st_predictions_fn predictions; /* NULL: only the last n_last are kept */
    void *predictions_ctx;
};

st_run_params st_run_params_default(void)
{
    return (st_run_params){.type_k = "f16", .type_v = "f16", .n_last = 32};
}

int64_t sti_run_n_tok(const st_run *run)
{
    return run->n_tok;
}

int sti_run_n_more(const st_run *run)
{
    return run->n_more;
}

struct llama_context *sti_run_context(const st_run *run)
{
    return run->ctx;
}

float *sti_run_logits(const st_run *run)
{
    return run->logits;
}

static st_status parse_type(const char *name, const char *option, enum ggml_type *type,
                            st_error *err)
{
    for (int t = 0; t < GGML_TYPE_COUNT; t++)
        if (ggml_type_name((enum ggml_type)t) != NULL &&
            strcasecmp(ggml_type_name((enum ggml_type)t), name) == 0 &&
            (t == GGML_TYPE_F32 || ggml_get_type_traits((enum ggml_type)t)->to_float != NULL)) {
            *type = (enum ggml_type)t;
            return ST_OK;
        }
    return sti_fail(err, ST_ERR_ARG, -1, "%s: no cache type \"%.20s\" (f32, f16, bf16, q8_0, ...)",
                    option, name);
}

static bool report_progress(st_run *r)
{
    if (!r->stop && r->progress.fn != NULL &&
        !r->progress.fn(r->progress.ctx, r->what, r->done, r->n_tok))
        r->stop = true;
    return !r->stop;
}

static bool abort_wanted(void *ctx)
{
    const st_run *r = ctx;
    return !report_progress(ctx) && !r->whole_batches;
}

/* libllama asks of every node whether it is wanted, then shows those that are. */
static bool show_node(struct ggml_tensor *t, bool ask, void *ctx)
{
    st_run *r = ctx;
    return ask ? sti_hidden_wants(&r->hidden, t) : sti_hidden_take(&r->hidden, t);
}

int sti_run_ubatch(int64_t n_tok, int wish)
{
    int64_t n = wish > 0               ? wish
                : n_tok > VERY_LONG_TOK ? 512
                : n_tok > LONG_TOK      ? 1024
                                        : 2048;
    return (int)sti_min(n, sti_round_up(n_tok, 32));
}

/* A window shows in the first micro-batch if that reaches beyond it. */
int64_t st_model_exact_below(const st_model *model, int64_t n_tok, const st_run_params *p)
{
    int64_t first = sti_min(n_tok, sti_run_ubatch(n_tok, p->n_ubatch));
    return first > model->info.n_swa && !p->every ? 0 : model->info.n_swa;
}

/* The largest power of two of positions whose predictions have room. */
static int64_t every_ubatch(int64_t n_vocab)
{
    int64_t n = 32;
    while (2 * n * n_vocab <= PREDICTIONS_MOST)
        n *= 2;
    return n;
}

static st_status make_context(st_run *r, const st_run_params *p, bool saved, st_error *err)
{
    struct llama_context_params cp = llama_context_default_params();
    struct ggml_threadpool_params tp = ggml_threadpool_params_default(r->model->n_thread);
    st_ggml_params gp = st_ggml_params_default();
    STI_TRY(parse_type(p->type_k, "K cache", &cp.type_k, err));
    STI_TRY(parse_type(p->type_v, "V cache", &cp.type_v, err));
    gp.enabled = !p->stock_attention;
    r->stock = p->stock_attention;
    STI_TRY(st_ggml_configure(&gp, NULL, err));
    r->n_ubatch = sti_run_ubatch(r->n_tok, p->n_ubatch);
    r->every = p->every;
    if (p->every && p->n_ubatch == 0)
        r->n_ubatch = (int)sti_min(r->n_ubatch, every_ubatch(r->model->info.n_vocab));
    cp.n_ctx = (uint32_t)sti_round_up(r->n_tok + r->n_more, 256);
    cp.n_batch = cp.n_ubatch = (uint32_t)r->n_ubatch;
    cp.n_seq_max = saved ? STI_CELLS_N_SEQ : 1;
    cp.kv_unified = true; /* all sequences in one row of cells */
    cp.n_outputs_max = (uint32_t)sti_max(p->every ? r->n_ubatch : r->n_last, cp.n_seq_max);
    cp.n_threads = cp.n_threads_batch = r->model->n_thread;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    cp.swa_full = true; /* cells are positions in every layer */
    cp.offload_kqv = false;
    cp.op_offload = false;
    cp.abort_callback = abort_wanted;
    cp.abort_callback_data = r;
    cp.cb_eval = show_node;
    cp.cb_eval_user_data = r;
    cp.no_perf = true;
    r->ctx = llama_init_from_model(r->model->llama, cp);
    if (r->ctx == NULL)
        return sti_fail(err, ST_ERR_MODEL, -1, "libllama cannot make a context of %lld tokens: %s",
                        (long long)r->n_tok, sti_llama_error("is there enough memory?"));
    if (llama_get_memory(r->ctx) == NULL)
        return sti_fail(err, ST_ERR_MODEL, -1,
                        "the model keeps no cache of keys: it is not a decoder");
    tp.poll = 0; /* our own threads want the cores while these wait */
    r->threads = ggml_threadpool_new(&tp);
    if (r->threads != NULL)
        llama_attach_threadpool(r->ctx, r->threads, r->threads);
    return ST_OK;
}

st_status sti_run_create(st_model *model, const int32_t *token, int64_t n_tok,
                         const st_run_params *p, bool saved, st_run **run, st_error *err)
{
    st_run *r;
    st_status status;
    *run = NULL;
    if (n_tok < 1 || n_tok > INT32_MAX / 2 || p->n_last < 1 || p->n_last > 4096 || p->n_more < 0 ||
        p->n_more > 1 << 20 || p->n_ubatch < 0)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "n_tok is %lld, n_last %d, n_more %d, n_ubatch %d; must be 1..%d, 1..4096, "
                        "0..%d, >= 0",
                        (long long)n_tok, p->n_last, p->n_more, p->n_ubatch, INT32_MAX / 2,
                        1 << 20);
    STI_TRY(sti_check_tokens(model, token, n_tok, err));
    if (model->info.n_position > 0 && n_tok + p->n_more > model->info.n_position)
        return sti_fail(err, ST_ERR_LIMIT, model->info.n_position,
                        "%lld tokens, but the model has learned positions for %lld alone",
                        (long long)(n_tok + p->n_more), (long long)model->info.n_position);
    r = sti_calloc(sizeof *r);
    if (r == NULL)
        return sti_fail_mem(err, sizeof *r);
    r->model = model;
    r->n_tok = n_tok;
    r->n_last = (int)sti_min(p->n_last, n_tok);
    r->n_more = p->n_more;
    r->progress = p->progress;
    r->what = "preparing";
    r->token = sti_alloc((size_t)n_tok * sizeof *r->token);
    r->logits = sti_alloc((size_t)r->n_last * (size_t)model->info.n_vocab * sizeof *r->logits);
    if (r->token == NULL || r->logits == NULL) {
        status = sti_fail_mem(err, (size_t)r->n_last * (size_t)model->info.n_vocab * 4);
    } else {
        memcpy(r->token, token, (size_t)n_tok * sizeof *token);
        status = make_context(r, p, saved, err);
    }
    if (status != ST_OK) {
        st_run_free(r);
        return status;
    }
    *run = r;
    return ST_OK;
}

st_status st_run_create(st_model *model, const int32_t *token, int64_t n_tok,
                        const st_run_params *p, st_run **run, st_error *err)
{
    return sti_run_create(model, token, n_tok, p, false, run, err);
}

void st_run_free(st_run *r)
{
    if (r == NULL)
        return;
    if (r->ctx != NULL) {
        llama_detach_threadpool(r->ctx);
        llama_free(r->ctx);
    }
    if (r->threads != NULL)
        ggml_threadpool_free(r->threads);
    sti_free(r->token);
    sti_free(r->logits);
    sti_free(r->hidden.row);
    sti_free(r);
}

st_status st_run_hidden(st_run *r, const st_hidden_params *p, float *out, st_error *err)
{
    return sti_hidden_set(&r->hidden, p, r->model->info.n_layer, r->model->info.n_embd, r->n_tok,
                          out, err);
}

st_status st_run_predictions(st_run *r, int64_t from, st_predictions_fn fn, void *ctx,
                             st_error *err)
{
    if (fn != NULL && (!r->every || from < 0 || from >= r->n_tok))
        return sti_fail(err, ST_ERR_ARG, -1,
                        r->every ? "predictions from %lld on, must be within the %lld tokens"
                                 : "predictions from %lld on: the run of %lld tokens was made "
                                   "without room for them",
                        (long long)from, (long long)r->n_tok);
    r->predictions = fn;
    r->predictions_ctx = ctx;
    r->predict_from = fn != NULL ? from : r->n_tok;
    return ST_OK;
}

/* Where the positions begin whose predictions are wanted. */
static int64_t first_wanted(const st_run *r)
{
    int64_t last = r->n_tok - r->n_last;
    return r->predictions != NULL ? sti_min(r->predict_from, last) : last;
}

/* What a micro-batch predicts: the last ones are kept, the wanted ones handed over. */
static st_status take_logits(st_run *r, int64_t begin, int64_t n, st_error *err)
{
    int64_t n_vocab = r->model->info.n_vocab, kept = r->n_tok - r->n_last;
    int64_t from;
    for (int64_t i = sti_max(kept, begin); i < begin + n; i++)
        memcpy(r->logits + (i - kept) * n_vocab, llama_get_logits_ith(r->ctx, (int32_t)(i - begin)),
               (size_t)n_vocab * sizeof *r->logits);
    from = r->predictions != NULL ? sti_max(r->predict_from, begin) : begin + n;
    if (from >= begin + n)
        return ST_OK;
    return r->predictions(r->predictions_ctx, from, begin + n - from,
                          llama_get_logits_ith(r->ctx, (int32_t)(from - begin)), err);
}

/* After the first micro-batch: that what is to be traced and edited is there. */
static st_status check_layers(const st_run *r, st_error *err)
{
    bool any = false;
    for (int l = 0; l < r->model->info.n_layer; l++)
        any = any || st_ggml_heads(l) > 0;
    if (!any)
        return sti_fail(
            err, ST_ERR_MODEL, -1,
            "none of this model's attention can be traced: ggml runs it by other operations");
    for (int64_t i = 0; i < r->n_edit; i++) {
        const st_edit *e = &r->edit[i];
        int n_head = e->layer >= 0 ? st_ggml_heads(e->layer) : INT_MAX;
        if (n_head == 0)
            return sti_fail(err, ST_ERR_ARG, i,
                            "edit %lld names layer %d, which has no attention that can be edited",
                            (long long)i + 1, e->layer);
        if (e->head >= n_head)
            return sti_fail(err, ST_ERR_ARG, i, "edit %lld names head %d of layer %d, only 0..%d",
                            (long long)i + 1, e->head, e->layer, n_head - 1);
    }
    return ST_OK;
}

/* One micro-batch [begin, begin + n). */
static st_status decode(st_run *r, struct llama_batch *batch, int64_t begin, int64_t n,
                        st_error *err)
{
    int code;
    batch->n_tokens = (int32_t)n;
    r->hidden.begin = begin;
    r->hidden.n_batch = n;
    for (int64_t i = 0; i < n; i++) {
        batch->token[i] = r->token[begin + i];
        batch->pos[i] = (llama_pos)(begin + i);
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = 0;
        batch->logits[i] = begin + i >= first_wanted(r);
    }
    code = llama_decode(r->ctx, *batch);
    if (code == 0 && r->to_check)
        STI_TRY(check_layers(r, err));
    if (code == 0) {
        r->to_check = false;
        return take_logits(r, begin, n, err);
    }
    if (st_ggml_take_error(err) != ST_OK)
        return err != NULL ? err->status : ST_ERR_MODEL;
    if (r->stop)
        return sti_fail(err, ST_ERR_CANCELLED, begin, "stopped at token %lld of %lld",
                        (long long)begin, (long long)r->n_tok);
    return sti_fail(err, ST_ERR_MODEL, begin, "libllama failed at token %lld (code %d): %s",
                    (long long)begin, code, sti_llama_error("no reason given"));
}

/* A broken model would otherwise agree with itself: NaN has no most probable token. */
static st_status check_logits(const st_run *r, st_error *err)
{
    int64_t n_vocab = r->model->info.n_vocab;
    for (int64_t i = 0; i < r->n_last * n_vocab; i++)
        if (isnan(r->logits[i]) || r->logits[i] == INFINITY)
            return sti_fail(err, ST_ERR_MODEL, r->n_tok - r->n_last + i / n_vocab,
                            "the model's prediction after token %lld is not a number",
                            (long long)(r->n_tok - r->n_last + i / n_vocab));
    return ST_OK;
}

static void add_stats(st_ggml_stats *to)
{
    st_ggml_stats d;
    st_ggml_take_stats(&d);
    to->mask_ns += d.mask_ns;
    to->keys_ns += d.keys_ns;
    to->select_ns += d.select_ns;
    to->attend_ns += d.attend_ns;
    to->certify_ns += d.certify_ns;
    to->sink_ns += d.sink_ns;
    to->linear_ns += d.linear_ns;
    to->n_sparse += d.n_sparse;
    to->n_exact += d.n_exact;
    to->n_linear += d.n_linear;
    to->n_rebuilt += d.n_rebuilt;
    to->n_scanned += d.n_scanned;
    to->attend_flop += d.attend_flop;
    to->keys_bytes = d.keys_bytes;
}

/* What a pass has come to, with `before` seconds of it spent by an earlier process. */
static void account(const st_run *r, int64_t start, double before, st_pass *pass)
{
    pass->seconds = before + (double)(llama_time_us() - start) * 1e-6;
    pass->n_last = r->n_last;
    pass->n_vocab = r->model->info.n_vocab;
    pass->logits = r->logits;
    add_stats(&pass->stats);
}

static st_status configure(st_run *r, const st_ggml_params *p, const st_sink *sink, st_error *err)
{
    st_ggml_params gp = *p;
    st_ggml_stats forgotten;
    gp.enabled = gp.enabled && !r->stock;
    gp.lean = gp.lean || (r->n_tok > LEAN_TOK && gp.select.method != ST_SELECT_SCAN);
    gp.n_tok = r->n_tok;
    if (gp.select.grow_tok < 0)
        gp.select.grow_tok = r->n_tok;
    r->to_check = gp.enabled;
    r->edit = p->edit;
    r->n_edit = p->n_edit;
    st_ggml_take_error(NULL);
    st_ggml_take_stats(&forgotten);
    return st_ggml_configure(&gp, sink, err);
}

st_status sti_run_begin(st_run *r, const st_ggml_params *p, const st_sink *sink, st_error *err)
{
    llama_memory_clear(llama_get_memory(r->ctx), false);
    return configure(r, p, sink, err);
}

/* Micro-batches from r->done on, and what is to be done between them. */
static st_status run_batches(st_run *r, struct llama_batch *batch, const sti_between *between,
                             int64_t start, double before, st_pass *pass, st_error *err)
{
    int64_t first = r->done;
    sti_hidden_start(&r->hidden);
    for (int64_t begin = first; begin < r->n_tok; begin += r->n_ubatch) {
        bool go_on;
        r->done = begin;
        go_on = report_progress(r);
        if (between != NULL && begin > first) {
            account(r, start, before, pass);
            STI_TRY(between->fn(between->ctx, begin, !go_on, pass, err));
        }
        if (!go_on)
            return sti_fail(err, ST_ERR_CANCELLED, begin, "stopped at token %lld of %lld",
                            (long long)begin, (long long)r->n_tok);
        STI_TRY(decode(r, batch, begin, sti_min(r->n_ubatch, r->n_tok - begin), err));
    }
    r->done = r->n_tok;
    report_progress(r);
    STI_TRY(sti_hidden_end(&r->hidden, r->n_tok - first, err));
    return check_logits(r, err);
}

st_status sti_run_pass(st_run *r, const char *what, int64_t done, const sti_between *between,
                       st_pass *pass, st_error *err)
{
    struct llama_batch batch = llama_batch_init(r->n_ubatch, 0, 1);
    int64_t start = llama_time_us();
    double before = pass->seconds;
    st_error mine = {.status = ST_OK};
    st_status status;
    r->stop = r->whole = false;
    r->whole_batches = between != NULL;
    r->what = what;
    r->done = done;
    status = run_batches(r, &batch, between, start, before, pass, &mine);
    if (status != ST_OK && err != NULL)
        *err = mine;
    r->whole = status == ST_OK;
    llama_batch_free(batch);
    account(r, start, before, pass);
    return status;
}

st_status st_run_pass(st_run *r, const st_ggml_params *p, const st_sink *sink, const char *what,
                      st_pass *pass, st_error *err)
{
    *pass = (st_pass){.seconds = 0.0};
    STI_TRY(sti_run_begin(r, p, sink, err));
    return sti_run_pass(r, what, 0, NULL, pass, err);
}

/* Where a pass can go on for `from`. */
static int64_t cut(int64_t from, const st_ggml_params *p)
{
    return p->exact ? from / CUT_EXACT_TOK * CUT_EXACT_TOK : from / CUT_TOK * CUT_TOK;
}

st_status st_run_again(st_run *r, const st_ggml_params *p, const st_sink *sink, int64_t from,
                       const char *what, st_pass *pass, st_error *err)
{
    if (from < 0 || from >= r->n_tok)
        return sti_fail(err, ST_ERR_ARG, -1, "from is %lld, must be within the %lld tokens",
                        (long long)from, (long long)r->n_tok);
    *pass = (st_pass){.seconds = 0.0};
    from = cut(from, p);
    if (!r->whole || from == 0 ||
        !llama_memory_seq_rm(llama_get_memory(r->ctx), 0, (llama_pos)from, -1)) {
        from = 0;
        llama_memory_clear(llama_get_memory(r->ctx), false);
    }
    pass->first = from;
    STI_TRY(configure(r, p, sink, err));
    return sti_run_pass(r, what, from, NULL, pass, err);
}

/* ---- a run that grows ------------------------------------------------------------------------ */

st_status sti_run_more(st_run *r, const st_ggml_params *p, const st_sink *sink, int64_t begin,
                       const int32_t *token, int64_t n, st_error *err)
{
    struct llama_batch batch;
    st_status status = configure(r, p, sink, err);
    if (status != ST_OK)
        return status;
    batch = llama_batch_init(r->n_ubatch, 0, 1);
    memcpy(r->token + begin, token, (size_t)n * sizeof *token);
    r->stop = r->whole = r->whole_batches = false;
    r->what = "reading";
    sti_hidden_start(&r->hidden);
    for (int64_t at = 0; status == ST_OK && at < n; at += r->n_ubatch) {
        r->done = begin + at;
        status = decode(r, &batch, begin + at, sti_min(r->n_ubatch, n - at), err);
    }
    llama_batch_free(batch);
    return status == ST_OK ? sti_hidden_end(&r->hidden, n, err) : status;
}
