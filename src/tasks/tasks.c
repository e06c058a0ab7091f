/* SPDX-License-Identifier: MIT
 *
 * tasks.c — which tasks there are, and one sample from its choices to its final size.
 */
#include "tasks/draft.h"

struct kind {
    const char *name;
    int n_generate; /* tokens left to the answer */
    int64_t least;  /* smallest size */
    sti_build_fn build;
    st_status (*example)(sti_task_job *job, st_error *err);
};

static const struct kind kind[ST_TASK_COUNT] = {
    [ST_TASK_NIAH_SINGLE_1] = {"niah_single_1", 128, 1, sti_build_niah, NULL},
    [ST_TASK_NIAH_SINGLE_2] = {"niah_single_2", 128, 1, sti_build_niah, NULL},
    [ST_TASK_NIAH_MULTIKEY_2] = {"niah_multikey_2", 128, 1, sti_build_niah, NULL},
    [ST_TASK_NIAH_MULTIKEY_3] = {"niah_multikey_3", 128, 1, sti_build_niah, NULL},
    [ST_TASK_VT] = {"vt", 30, 5, sti_build_tracking, sti_tracking_example},
    [ST_TASK_CWE] = {"cwe", 120, 10, sti_build_common, sti_common_example},
    [ST_TASK_FWE] = {"fwe", 50, 40, sti_build_coded, NULL},
};

const char *st_task_name(st_task task)
{
    return (unsigned)task < ST_TASK_COUNT ? kind[task].name : "unknown";
}

st_status st_task_parse(const char *name, st_task *task, st_error *err)
{
    for (int i = 0; i < ST_TASK_COUNT; i++)
        if (strcmp(name, kind[i].name) == 0) {
            *task = (st_task)i;
            return ST_OK;
        }
    return sti_fail(err, ST_ERR_ARG, -1,
                    "no task \"%.40s\" (niah_single_1, niah_single_2, niah_multikey_2, "
                    "niah_multikey_3, vt, cwe, fwe)",
                    name);
}

/* ---- drafts ---------------------------------------------------------------------------------- */

void sti_draft_output(sti_draft *d, const char *text)
{
    size_t n = strlen(text);
    n = n < STI_WORD_BYTES - 1 ? n : STI_WORD_BYTES - 1;
    memcpy(d->output[d->n_output], text, n);
    d->output[d->n_output++][n] = '\0';
}

void sti_draft_evidence(sti_draft *d, const char *text)
{
    int64_t begin = d->input.n;
    sti_text_put(&d->input, text);
    d->evidence[d->n_evidence++] = (st_task_span){begin, d->input.n};
}

void sti_draft_free(sti_draft *d)
{
    sti_text_free(&d->input);
    sti_text_free(&d->prefix);
    sti_text_free(&d->answer);
    *d = (sti_draft){.n_output = 0};
}

/* The draft of one size, and the tokens of its text. */
static st_status probe(const sti_task_job *job, sti_build_fn build, int64_t size, sti_draft *d,
                       int64_t *n_tok, st_error *err)
{
    sti_text all = {0};
    sti_draft_free(d);
    STI_TRY(build(job, size, d, err));
    if (!d->input.failed && !d->prefix.failed && !d->answer.failed) {
        sti_text_add(&all, d->input.s, d->input.n);
        sti_text_add(&all, d->prefix.s, d->prefix.n);
        *n_tok = all.failed ? 0 : job->p->count(job->p->ctx, all.s, all.n);
    } else {
        all.failed = true;
    }
    if (all.failed) {
        sti_text_free(&all);
        return sti_fail_mem(err, (size_t)(d->input.n + d->prefix.n));
    }
    sti_text_free(&all);
    if (*n_tok < 0)
        return sti_fail(err, ST_ERR_MODEL, job->p->index,
                        "the tokens of sample %lld of %s cannot be counted",
                        (long long)job->p->index, st_task_name(job->task));
    return ST_OK;
}

/* Tokens grow nearly evenly with the size: the next size to try is where they would reach the
 * limit, and every third one the middle, in case they do not; never more than double. */
static int64_t next_size(int64_t lo, int64_t n_lo, int64_t hi, double slope, int64_t limit,
                         int step)
{
    double jump = (double)(limit - n_lo) / (slope > 0.01 ? slope : 0.01);
    hi = sti_min(hi, 2 * lo + 16);
    if (step % 3 == 2)
        return lo + (hi - lo) / 2;
    return sti_clamp(lo + (int64_t)sti_min((int64_t)jump, hi), lo + 1, hi - 1);
}

st_status sti_fit(const sti_task_job *job, sti_build_fn build, int64_t least, int64_t most,
                  int64_t limit, sti_draft *d, int64_t *n_tok, st_error *err)
{
    int64_t lo = least, hi = most + 1, n_lo, n;
    double slope;
    STI_TRY(probe(job, build, lo, d, &n_lo, err));
    if (n_lo > limit)
        return sti_fail(err, ST_ERR_LIMIT, n_lo,
                        "the smallest sample of %s has %lld tokens, and there is room for %lld",
                        st_task_name(job->task), (long long)n_lo, (long long)limit);
    slope = (double)n_lo / (double)lo;
    for (int step = 0; hi - lo > 1; step++) {
        int64_t size = next_size(lo, n_lo, hi, slope, limit, step);
        STI_TRY(probe(job, build, size, d, &n, err));
        slope = (double)(n - n_lo) / (double)(size - lo);
        if (n <= limit) {
            lo = size;
            n_lo = n;
        } else {
            hi = size;
        }
    }
    if (hi > most)
        return sti_fail(err, ST_ERR_LIMIT, most, "%s of %lld tokens wants more than %lld %s",
                        st_task_name(job->task), (long long)job->p->max_tok, (long long)most,
                        job->task == ST_TASK_CWE ? "different words: give a list" : "pieces");
    return probe(job, build, lo, d, n_tok, err);
}

/* ---- samples --------------------------------------------------------------------------------- */

void st_task_sample_free(st_task_sample *s)
{
    if (s == NULL)
        return;
    for (int64_t i = 0; s->output != NULL && i < s->n_output; i++)
        sti_free(s->output[i]);
    sti_free(s->output);
    sti_free(s->input);
    sti_free(s->answer_prefix);
    sti_free(s->answer);
    sti_free(s->evidence);
    sti_free(s);
}

static char *copy(const char *s)
{
    size_t n = strlen(s) + 1;
    char *own = sti_alloc(n);
    if (own != NULL)
        memcpy(own, s, n);
    return own;
}

/* Takes the draft's texts over. NULL: out of memory. */
static st_task_sample *sample_of(const sti_task_job *job, sti_draft *d)
{
    st_task_sample *s = sti_calloc(sizeof *s);
    if (s == NULL)
        return NULL;
    memcpy(s->task, kind[job->task].name, strlen(kind[job->task].name));
    s->index = job->p->index;
    s->max_tok = job->p->max_tok;
    s->n_generate = kind[job->task].n_generate;
    s->template_tok = job->p->template_tok;
    s->output = sti_calloc(STI_OUTPUT_MAX * sizeof *s->output);
    s->evidence = sti_alloc(sizeof d->evidence);
    if (s->output == NULL || s->evidence == NULL)
        goto failed;
    for (; s->n_output < d->n_output; s->n_output++)
        if ((s->output[s->n_output] = copy(d->output[s->n_output])) == NULL)
            goto failed;
    memcpy(s->evidence, d->evidence, sizeof d->evidence);
    s->n_evidence = d->n_evidence;
    s->input = d->input.s;
    s->answer_prefix = d->prefix.s;
    s->answer = d->answer.s;
    d->input.s = d->prefix.s = d->answer.s = NULL;
    return s;
failed:
    st_task_sample_free(s);
    return NULL;
}

static st_status check_words(const st_task_params *p, st_error *err)
{
    if (p->n_word < 40 || p->n_word > INT32_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "n_word is %lld: cwe wants 40 or more",
                        (long long)p->n_word);
    for (int64_t i = 0; i < p->n_word; i++)
        if (p->word[i][0] == '\0' || strlen(p->word[i]) >= STI_WORD_BYTES)
            return sti_fail(err, ST_ERR_ARG, i, "word %lld has %zu bytes, must have 1..%d",
                            (long long)i, strlen(p->word[i]), STI_WORD_BYTES - 1);
    return ST_OK;
}

static st_status check(st_task task, const st_task_params *p, st_error *err)
{
    if ((unsigned)task >= ST_TASK_COUNT)
        return sti_fail(err, ST_ERR_ARG, -1, "task is %d, must be 0..%d", (int)task,
                        ST_TASK_COUNT - 1);
    if (p->count == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "count is NULL: nothing can count tokens");
    if (p->max_tok < 1 || p->max_tok > 1 << 30 || p->template_tok < 0 || p->index < 0)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "max_tok is %lld, template_tok %lld, index %lld; must be 1..%d, >= 0, >= 0",
                        (long long)p->max_tok, (long long)p->template_tok, (long long)p->index,
                        1 << 30);
    if (task == ST_TASK_NIAH_SINGLE_2 && p->haystack == NULL)
        return sti_fail(err, ST_ERR_ARG, -1,
                        "niah_single_2 hides its needle in a text of yours: "
                        "haystack is NULL");
    return task == ST_TASK_CWE && p->word != NULL ? check_words(p, err) : ST_OK;
}

static int64_t most(st_task task, const st_task_params *p)
{
    int64_t n_word = p->word != NULL ? p->n_word : sti_n_word();
    return task == ST_TASK_CWE ? n_word : p->max_tok;
}

st_status st_task_make(st_task task, const st_task_params *p, st_task_sample **sample,
                       st_error *err)
{
    sti_task_job job = {.task = task, .p = p};
    sti_draft d = {.n_output = 0};
    int64_t limit, n_tok;
    st_status status;
    *sample = NULL;
    STI_TRY(check(task, p, err));
    job.key = sti_mix(p->seed ^ sti_mix((uint64_t)task ^ sti_mix((uint64_t)p->max_tok ^
                                                                 sti_mix((uint64_t)p->index))));
    limit = p->max_tok - p->template_tok - kind[task].n_generate;
    status = kind[task].example != NULL ? kind[task].example(&job, err) : ST_OK;
    if (status == ST_OK)
        status = sti_fit(&job, kind[task].build, kind[task].least,
                         sti_max(most(task, p), kind[task].least), limit, &d, &n_tok, err);
    if (status == ST_OK && (*sample = sample_of(&job, &d)) == NULL)
        status = sti_fail_mem(err, sizeof **sample);
    if (status == ST_OK)
        (*sample)->length = n_tok + kind[task].n_generate;
    sti_draft_free(&d);
    sti_text_free(&job.before);
    return status;
}
