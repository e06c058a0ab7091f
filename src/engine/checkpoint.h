/* SPDX-License-Identifier: MIT
 *
 * checkpoint.h — a tracing job that can be interrupted and goes on: what its file holds, and passes
 * that are run, gone on with, or taken from it.
 *
 * A job is a fixed sequence of passes: each follows from the results of those before it. The file
 * holds the job's identity, the result of every pass that is done, and of the one under way what
 * has come since it began: cells of the cache, the backend's summaries, counts, the place in the
 * trace's .part. A job that goes on asks for its passes in the same order and is given the results
 * of the first ones at once.
 */
#ifndef STI_CHECKPOINT_H
#define STI_CHECKPOINT_H

#include "engine/engine_int.h"
#include "engine/tally.h"

typedef struct sti_checkpoint sti_checkpoint;

/* ---- identity.c ------------------------------------------------------------------------------ */

/* sti_free; NULL: out of memory. */
char *sti_identity(const st_model *m, const int32_t *token, int64_t n_tok, const st_trace_params *p,
                   st_against against);
/* ST_ERR_ARG, which names the first thing that differs, unless `theirs`, from the checkpoint
 * `path`, is `mine`. */
st_status sti_identity_check(const char *path, const char *mine, const char *theirs,
                             int64_t n_theirs, st_error *err);

/* ---- the file -------------------------------------------------------------------------------- */

/* Makes p->checkpoint, or with p->resume opens it. NULL if none is wanted. Errors: ST_ERR_ARG (not
 * to be had with these parameters; the file is there without resume; it is another job's),
 * ST_ERR_IO, ST_ERR_FORMAT with the byte, ST_ERR_MEM. */
st_status sti_checkpoint_open(const st_model *m, const int32_t *token, int64_t n_tok,
                              const st_trace_params *p, st_against against, sti_checkpoint **c,
                              st_error *err);

/* done: the file has served and goes. Else it stays if a job could go on from it, which is
 * returned. NULL is fine. */
bool sti_checkpoint_close(sti_checkpoint *c, bool done);

/* The place in the trace's .part that goes with the file; false: nothing was recorded yet. */
bool sti_checkpoint_mark(const sti_checkpoint *c, st_trace_mark *mark);

double
sti_checkpoint_seconds(const sti_checkpoint *c); /* that earlier processes spent on the job */

/* ---- passes ---------------------------------------------------------------------------------- */

typedef struct sti_plan {
    st_run *run; /* NULL if sti_checkpoint_has_next */
    const st_ggml_params *ggml;
    sti_tally *tally; /* NULL: the pass is not recorded */
    const char *what;
} sti_plan;

/* Whether the next pass's result is here already. */
bool sti_checkpoint_has_next(const sti_checkpoint *c);

/* The job's next pass. pass->logits may be used until the next call. c NULL: it is just run.
 * Errors: st_run_pass's; ST_ERR_FORMAT with the byte; those of writing the file. */
st_status sti_checkpoint_pass(sti_checkpoint *c, const sti_plan *plan, st_pass *pass,
                              st_error *err);

#endif
