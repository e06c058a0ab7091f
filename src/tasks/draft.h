/* SPDX-License-Identifier: MIT
 *
 * draft.h — one sample in the making: what the tasks' files share.
 *
 * A task builds the same sample at any size (lines of haystack, words, ...): a larger size only
 * adds to it. tasks.c looks for the largest size that fits.
 */
#ifndef STI_DRAFT_H
#define STI_DRAFT_H

#include "sparsetrace/tasks.h"
#include "tasks/random.h"
#include "tasks/text.h"

#define STI_OUTPUT_MAX 10
#define STI_EVIDENCE_MAX 5
#define STI_WORD_BYTES 64 /* the longest output with its NUL */

typedef struct sti_draft {
    sti_text input, prefix, answer;
    char output[STI_OUTPUT_MAX][STI_WORD_BYTES];
    int n_output;
    st_task_span evidence[STI_EVIDENCE_MAX];
    int n_evidence;
} sti_draft;

typedef struct sti_task_job {
    st_task task;
    const st_task_params *p;
    uint64_t key;    /* of all this sample's choices */
    sti_text before; /* one-shot example, where the task has one; freed with the job */
} sti_task_job;

/* What random choices are about; each has a stream of its own, so that none moves another's. */
enum { STI_STREAM_KEYS, STI_STREAM_VALUES, STI_STREAM_PLACE, STI_STREAM_ORDER, STI_STREAM_EXAMPLE };

/* The five sentences of the noise haystack. */
#define STI_NOISE                                                                                  \
    "The grass is green. The sky is blue. The sun is yellow. Here we go. "                         \
    "There and back again."

typedef st_status (*sti_build_fn)(const sti_task_job *job, int64_t size, sti_draft *d,
                                  st_error *err);

/* The files of the tasks. *_example fills job->before. */
st_status sti_build_niah(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err);
st_status sti_build_tracking(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err);
st_status sti_build_common(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err);
st_status sti_build_coded(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err);
st_status sti_tracking_example(sti_task_job *job, st_error *err);
st_status sti_common_example(sti_task_job *job, st_error *err);

/* Ends a draft: notes an output. */
void sti_draft_output(sti_draft *d, const char *text);
/* Appends a piece of evidence to the input. */
void sti_draft_evidence(sti_draft *d, const char *text);
void sti_draft_free(sti_draft *d);

/* tasks.c: the largest size in least..most whose text (input and prefix) has at most `limit`
 * tokens; d is then that draft and *n_tok its tokens. ST_ERR_LIMIT: not even `least` fits, or
 * `most` does not fill it. */
st_status sti_fit(const sti_task_job *job, sti_build_fn build, int64_t least, int64_t most,
                  int64_t limit, sti_draft *d, int64_t *n_tok, st_error *err);

/* words.c: the built-in list, in three kinds; sti_word counts through all of them. */
int64_t sti_n_adjective(void);
int64_t sti_n_noun(void);
int64_t sti_n_word(void);
const char *sti_adjective(int64_t i);
const char *sti_noun(int64_t i);
const char *sti_word(int64_t i);

#endif
