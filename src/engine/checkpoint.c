/* SPDX-License-Identifier: MIT
 *
 * checkpoint.c — writes and reads the file of a job that can go on (docs/checkpoints.md).
 *
 * While a pass runs, each checkpoint appends what is new since the last one and commits: the bytes
 * written in all are those of one copy of the cache and the summaries, however many checkpoints
 * there are. When a pass is done its result replaces all that.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "engine/cells.h"
#include "engine/checkpoint.h"
#include "ggml/state.h"

static const char file_magic[8] = "STCKPT2\n";

enum { IDENTITY = 1, PASS, CELLS, LAYERS, TALLY, STATE };

/* A pass that is done; its logits [n_last, n_vocab] follow. */
struct pass_head {
    int64_t index, exact;
    double k;
    int64_t n_last, n_vocab;
    double seconds;
    double elapsed; /* of the whole job so far */
    st_ggml_stats stats;
};

/* A pass under way, after its cells, layers and tally; the logits [n_row, n_vocab] of the last
 * positions that were reached follow. */
struct state_head {
    int64_t index, exact;
    double k;
    int64_t done, n_row, n_vocab;
    int64_t recorded;
    st_trace_mark mark;
    double seconds, elapsed;
    st_ggml_stats stats;
};

struct sti_checkpoint {
    char *path;
    sti_records *file;
    const st_model *model;
    int64_t n_tok, n_last, n_vocab, n_ubatch;
    double every;
    int64_t next;   /* index of the pass to come */
    int64_t n_done; /* passes whose results are in the file */
    int64_t base;   /* length of the file up to these */
    bool has_state;
    struct state_head state; /* the last one committed */
    double elapsed;          /* of the job, when this process took it up */
    int64_t opened_us, written_us;
    /* the pass under way */
    const sti_plan *plan;
    int64_t n_saved; /* tokens that are in the file */
    bool whole;      /* nothing of the pass is in the file */
};

/* ---- reading --------------------------------------------------------------------------------- */

/* An error within a record, made one of the file. */
static st_status at_fault(const sti_checkpoint *c, const sti_record *r, st_error *err)
{
    st_error inner;
    int64_t at;
    if (err == NULL)
        return ST_ERR_FORMAT;
    if (err->status != ST_ERR_FORMAT)
        return err->status;
    inner = *err;
    at = r->at + sti_max(inner.position, 0);
    return sti_fail(err, ST_ERR_FORMAT, at,
                    "%s is no checkpoint to go on from, at byte %lld: %.200s", c->path,
                    (long long)at, inner.message);
}

static st_status senseless(const sti_checkpoint *c, const sti_record *r, const char *what,
                           st_error *err)
{
    sti_fail(err, ST_ERR_FORMAT, 0, "%s", what);
    return at_fault(c, r, err);
}

static bool pass_ok(const sti_checkpoint *c, const sti_record *r, struct pass_head *h)
{
    if (r->bytes != (int64_t)sizeof *h + c->n_last * c->n_vocab * (int64_t)sizeof(float))
        return false;
    memcpy(h, r->data, sizeof *h);
    return h->index == c->n_done && h->n_last == c->n_last && h->n_vocab == c->n_vocab &&
           h->seconds >= 0 && h->elapsed >= 0 && isfinite(h->seconds + h->elapsed);
}

static bool state_ok(const sti_checkpoint *c, const sti_record *r, struct state_head *h)
{
    if (r->bytes < (int64_t)sizeof *h)
        return false;
    memcpy(h, r->data, sizeof *h);
    return h->index == c->n_done && h->done > 0 && h->done < c->n_tok &&
           h->done % c->n_ubatch == 0 && h->n_vocab == c->n_vocab &&
           h->n_row == sti_max(h->done - (c->n_tok - c->n_last), 0) && (h->recorded & ~1) == 0 &&
           (h->recorded != 0) == (h->mark.bytes > 0) && h->seconds >= 0 && h->elapsed >= 0 &&
           isfinite(h->seconds + h->elapsed) &&
           r->bytes == (int64_t)sizeof *h + h->n_row * c->n_vocab * (int64_t)sizeof(float);
}

/* Everything but what the pass under way has, which is read when that pass goes on. */
static st_status survey(sti_checkpoint *c, const char *identity, st_error *err)
{
    int64_t n = sti_records_count(c->file);
    for (int64_t i = 0; i < n; i++) {
        sti_record r = sti_records_at(c->file, i);
        struct pass_head pass;
        if ((i == 0) != (r.kind == IDENTITY))
            return senseless(c, &r, "an identity is to come first", err);
        if (r.kind == IDENTITY) {
            STI_TRY(sti_identity_check(c->path, identity, (const char *)r.data, r.bytes, err));
        } else if (r.kind == PASS) {
            if (i != c->n_done + 1 || !pass_ok(c, &r, &pass))
                return senseless(c, &r, "the result of a pass that cannot be", err);
            c->n_done++;
            c->elapsed = pass.elapsed;
        } else if (r.kind == STATE) {
            if (!state_ok(c, &r, &c->state))
                return senseless(c, &r, "the state of a pass that cannot be", err);
            c->has_state = true;
            c->elapsed = c->state.elapsed;
        } else if (r.kind > STATE) {
            return senseless(c, &r, "a record of an unknown kind", err);
        }
        if (r.kind == IDENTITY || r.kind == PASS)
            c->base = r.at + sti_round_up(r.bytes, 8);
        else if (i == n - 1 && r.kind != STATE)
            return senseless(c, &r, "a checkpoint without its end", err);
    }
    return n > 0 ? ST_OK : sti_fail(err, ST_ERR_FORMAT, 24, "%s holds no checkpoint", c->path);
}

/* The pass under way: its cells, layers and counts. */
static st_status load_record(sti_checkpoint *c, const sti_record *r, int64_t *n, st_error *err)
{
    const sti_plan *p = c->plan;
    switch (r->kind) {
    case CELLS: return sti_cells_load(sti_run_context(p->run), r, n, err);
    case LAYERS: return sti_state_load(r->data, (size_t)r->bytes, err);
    case TALLY:
        if (p->tally == NULL)
            return sti_fail(err, ST_ERR_FORMAT, 0, "counts of a pass that has none");
        return sti_tally_load(p->tally, r->data, (size_t)r->bytes, err);
    default: return ST_OK;
    }
}

static st_status load_state(sti_checkpoint *c, st_pass *pass, st_error *err)
{
    const struct state_head *h = &c->state;
    int64_t n = 0, first = c->n_done + 1, count = sti_records_count(c->file);
    sti_record r = sti_records_at(c->file, count - 1);
    for (int64_t i = first; i < count; i++) {
        r = sti_records_at(c->file, i);
        if (load_record(c, &r, &n, err) != ST_OK)
            return at_fault(c, &r, err);
        sti_records_forget(c->file);
    }
    if (n != h->done)
        return senseless(c, &r, "the cache ends elsewhere", err);
    memcpy(sti_run_logits(c->plan->run), r.data + sizeof *h,
           (size_t)(h->n_row * h->n_vocab) * sizeof(float));
    pass->seconds = h->seconds;
    pass->stats = h->stats;
    return ST_OK;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static st_status write_identity(sti_checkpoint *c, const char *identity, st_error *err)
{
    STI_TRY(sti_records_create(c->path, file_magic, &c->file, err));
    STI_TRY(sti_records_begin(c->file, IDENTITY, err));
    STI_TRY(sti_records_put(c->file, identity, strlen(identity), err));
    STI_TRY(sti_records_end(c->file, err));
    STI_TRY(sti_records_commit(c->file, err));
    c->base = sti_records_tell(c->file);
    return ST_OK;
}

static st_status check_params(const st_model *m, const st_trace_params *p, st_error *err)
{
    if (!(p->checkpoint_every >= 0))
        return sti_fail(err, ST_ERR_ARG, -1, "checkpoint_every is %g, must be >= 0",
                        p->checkpoint_every);
    if (llama_model_is_hybrid(m->llama))
        return sti_fail(err, ST_ERR_MODEL, -1,
                        "no checkpoints of this model: it keeps a recurrent state");
    if (!p->resume && access(p->checkpoint, F_OK) == 0)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "the checkpoint %s is there: go on with it (resume), or remove it first",
                        p->checkpoint);
    return ST_OK;
}

static st_status open_file(sti_checkpoint *c, const char *identity, bool resume, st_error *err)
{
    if (!resume)
        return write_identity(c, identity, err);
    STI_TRY(sti_records_open(c->path, file_magic, &c->file, err));
    return survey(c, identity, err);
}

st_status sti_checkpoint_open(const st_model *m, const int32_t *token, int64_t n_tok,
                              const st_trace_params *p, st_against against,
                              sti_checkpoint **checkpoint, st_error *err)
{
    sti_checkpoint *c;
    char *identity;
    st_status status;
    *checkpoint = NULL;
    if (p->checkpoint == NULL)
        return ST_OK;
    STI_TRY(check_params(m, p, err));
    c = sti_calloc(sizeof *c);
    identity = sti_identity(m, token, n_tok, p, against);
    if (c == NULL || identity == NULL || (c->path = sti_path_with(p->checkpoint, "")) == NULL) {
        sti_free(identity);
        sti_free(c);
        return sti_fail_mem(err, 4096);
    }
    c->model = m;
    c->n_tok = n_tok;
    c->n_last = sti_min(p->run.n_last, n_tok);
    c->n_vocab = m->info.n_vocab;
    c->n_ubatch = sti_run_ubatch(n_tok, p->run.n_ubatch);
    c->every = p->checkpoint_every;
    c->opened_us = c->written_us = llama_time_us();
    status = open_file(c, identity, p->resume, err);
    sti_free(identity);
    if (status != ST_OK) {
        sti_records_close(c->file, false);
        sti_free(c->path);
        sti_free(c);
        return status;
    }
    *checkpoint = c;
    return ST_OK;
}

bool sti_checkpoint_close(sti_checkpoint *c, bool done)
{
    bool left;
    if (c == NULL)
        return false;
    left = !done && (c->n_done > 0 || c->has_state);
    sti_records_close(c->file, !left);
    sti_free(c->path);
    sti_free(c);
    return left;
}

bool sti_checkpoint_mark(const sti_checkpoint *c, st_trace_mark *mark)
{
    if (c == NULL || !c->has_state || !c->state.recorded)
        return false;
    *mark = c->state.mark;
    return true;
}

double sti_checkpoint_seconds(const sti_checkpoint *c)
{
    return c != NULL ? c->elapsed : 0.0;
}

/* ---- writing --------------------------------------------------------------------------------- */

static double elapsed(const sti_checkpoint *c)
{
    return c->elapsed + (double)(llama_time_us() - c->opened_us) * 1e-6;
}

static st_status write_layers(sti_checkpoint *c, st_error *err)
{
    st_out out = sti_records_out(c->file);
    STI_TRY(sti_records_begin(c->file, LAYERS, err));
    STI_TRY(sti_state_save(c->whole, &out, err));
    return sti_records_end(c->file, err);
}

static st_status write_tally(sti_checkpoint *c, st_error *err)
{
    st_out out = sti_records_out(c->file);
    STI_TRY(sti_records_begin(c->file, TALLY, err));
    STI_TRY(sti_tally_save(c->plan->tally, c->whole, &out, err));
    return sti_records_end(c->file, err);
}

static st_status write_state(sti_checkpoint *c, int64_t done, const st_trace_mark *mark,
                             const st_pass *so_far, struct state_head *h, st_error *err)
{
    const st_ggml_params *p = c->plan->ggml;
    *h = (struct state_head){.index = c->next - 1,
                             .k = p->select.k,
                             .exact = p->exact,
                             .done = done,
                             .n_row = sti_max(done - (c->n_tok - c->n_last), 0),
                             .n_vocab = c->n_vocab,
                             .recorded = c->plan->tally != NULL,
                             .mark = *mark,
                             .seconds = so_far->seconds,
                             .elapsed = elapsed(c),
                             .stats = so_far->stats};
    STI_TRY(sti_records_begin(c->file, STATE, err));
    STI_TRY(sti_records_put(c->file, h, sizeof *h, err));
    STI_TRY(sti_records_put(c->file, so_far->logits,
                            (size_t)(h->n_row * h->n_vocab) * sizeof(float), err));
    return sti_records_end(c->file, err);
}

/* What is new since the last checkpoint of the pass, and the commit. */
static st_status write_checkpoint(sti_checkpoint *c, int64_t done, const st_pass *so_far,
                                  st_error *err)
{
    st_trace_mark mark = {.bytes = 0};
    struct state_head h;
    const sti_plan *p = c->plan;
    if (p->tally != NULL) /* first: the file must not speak of chunks that are not on the disk */
        STI_TRY(st_trace_writer_mark(p->tally->writer, &mark, err));
    STI_TRY(sti_cells_save(sti_run_context(p->run), c->model->info.n_swa, c->n_saved, done, c->file,
                           CELLS, err));
    STI_TRY(write_layers(c, err));
    if (p->tally != NULL)
        STI_TRY(write_tally(c, err));
    STI_TRY(write_state(c, done, &mark, so_far, &h, err));
    STI_TRY(sti_records_commit(c->file, err));
    c->state = h;
    c->has_state = true;
    c->n_saved = done;
    c->whole = false;
    return ST_OK;
}

static st_status between_batches(void *ctx, int64_t done, bool stopping, const st_pass *so_far,
                                 st_error *err)
{
    sti_checkpoint *c = ctx;
    st_status status;
    if (!stopping && (double)(llama_time_us() - c->written_us) * 1e-6 < c->every)
        return ST_OK;
    status = write_checkpoint(c, done, so_far, err);
    if (status != ST_OK)
        sti_records_rollback(c->file);
    c->written_us = llama_time_us();
    return status;
}

/* The result takes the place of all that the pass had written. */
static st_status write_result(sti_checkpoint *c, const st_pass *pass, st_error *err)
{
    struct pass_head h = {.index = c->next - 1,
                          .k = c->plan->ggml->select.k,
                          .exact = c->plan->ggml->exact,
                          .n_last = c->n_last,
                          .n_vocab = c->n_vocab,
                          .seconds = pass->seconds,
                          .elapsed = elapsed(c),
                          .stats = pass->stats};
    STI_TRY(sti_records_rewrite(c->file, c->base, err));
    STI_TRY(sti_records_begin(c->file, PASS, err));
    STI_TRY(sti_records_put(c->file, &h, sizeof h, err));
    STI_TRY(sti_records_put(c->file, pass->logits, (size_t)(c->n_last * c->n_vocab) * sizeof(float),
                            err));
    STI_TRY(sti_records_end(c->file, err));
    STI_TRY(sti_records_commit(c->file, err));
    c->base = sti_records_tell(c->file);
    c->n_done++;
    c->has_state = false;
    return ST_OK;
}

/* ---- passes ---------------------------------------------------------------------------------- */

bool sti_checkpoint_has_next(const sti_checkpoint *c)
{
    return c != NULL && c->next < c->n_done;
}

/* The file was made by a job that chose as this one does. */
static st_status check_choice(const sti_checkpoint *c, const sti_record *r, double k,
                              int64_t exact, st_error *err)
{
    const st_ggml_params *p = c->plan->ggml;
    if (k == p->select.k && exact == (int64_t)p->exact)
        return ST_OK;
    return senseless(c, r, "a pass with another budget", err);
}

static st_status take_result(sti_checkpoint *c, st_pass *pass, st_error *err)
{
    sti_record r = sti_records_at(c->file, 1 + c->next);
    struct pass_head h;
    memcpy(&h, r.data, sizeof h);
    STI_TRY(check_choice(c, &r, h.k, h.exact, err));
    *pass = (st_pass){.n_last = (int)h.n_last,
                      .n_vocab = (int)h.n_vocab,
                      .logits = (const float *)(r.data + sizeof h),
                      .seconds = h.seconds,
                      .stats = h.stats};
    c->next++;
    return ST_OK;
}

/* From the beginning, or where the file has got to. */
static st_status go_on(sti_checkpoint *c, st_pass *pass, int64_t *done, st_error *err)
{
    bool recorded = c->plan->tally != NULL;
    sti_record r;
    *done = c->n_saved = 0;
    c->whole = true;
    if (!c->has_state)
        return ST_OK;
    r = sti_records_at(c->file, sti_records_count(c->file) - 1);
    STI_TRY(check_choice(c, &r, c->state.k, c->state.exact, err));
    if (recorded != (c->state.recorded != 0))
        return senseless(c, &r, "a pass of another kind", err);
    STI_TRY(load_state(c, pass, err));
    *done = c->n_saved = c->state.done;
    c->whole = false;
    return ST_OK;
}

st_status sti_checkpoint_pass(sti_checkpoint *c, const sti_plan *plan, st_pass *pass, st_error *err)
{
    st_sink sink = plan->tally != NULL ? sti_tally_sink(plan->tally) : (st_sink){.ctx = NULL};
    const st_sink *to = plan->tally != NULL ? &sink : NULL;
    sti_between between = {between_batches, c};
    int64_t done;
    st_status status;
    if (c == NULL)
        return st_run_pass(plan->run, plan->ggml, to, plan->what, pass, err);
    c->plan = plan;
    if (sti_checkpoint_has_next(c))
        return take_result(c, pass, err);
    *pass = (st_pass){.seconds = 0.0};
    STI_TRY(sti_run_begin(plan->run, plan->ggml, to, err));
    STI_TRY(go_on(c, pass, &done, err));
    sti_records_unmap(c->file);
    c->next++;
    status = sti_run_pass(plan->run, plan->what, done, &between, pass, err);
    if (status == ST_OK && plan->tally == NULL) {
        status = write_result(c, pass, err);
        if (status != ST_OK)
            sti_records_rollback(c->file);
    }
    c->plan = NULL;
    return status;
}
