/* SPDX-License-Identifier: MIT
 *
 * common.c — cwe: a numbered list in which ten words come up more often than the others. A short
 * list with its answer goes before as an example.
 */
#include "tasks/draft.h"

#define N_COMMON 10
#define SHORT_TOK 4096 /* samples below this length repeat less */

static const char *word_at(const sti_task_job *job, int64_t i)
{
    return job->p->word != NULL ? job->p->word[i] : sti_word(i);
}

static int64_t n_word(const sti_task_job *job)
{
    return job->p->word != NULL ? job->p->n_word : sti_n_word();
}

/* `size` different words, the first N_COMMON of them `often` times, the others `seldom`, shuffled;
 * into the draft, and the common ones as its outputs and answer. */
static st_status add_list(const sti_task_job *job, uint64_t stream, int64_t size, int often,
                          int seldom, sti_draft *d, st_error *err)
{
    sti_random choice = sti_random_stream(job->key, STI_STREAM_KEYS + 16 * stream);
    sti_random order = sti_random_stream(job->key, STI_STREAM_ORDER + 16 * stream);
    int64_t all = n_word(job), n_item = N_COMMON * often + (size - N_COMMON) * seldom, n = 0;
    int32_t *word = sti_alloc((size_t)(all + n_item) * sizeof *word), *item = word + all;
    if (word == NULL)
        return sti_fail_mem(err, (size_t)(all + n_item) * sizeof *word);
    for (int64_t i = 0; i < all; i++)
        word[i] = (int32_t)i;
    sti_random_choose(&choice, word, size, all);
    for (int64_t i = 0; i < size; i++)
        for (int r = 0; r < (i < N_COMMON ? often : seldom); r++)
            item[n++] = word[i];
    sti_random_choose(&order, item, n, n);
    for (int64_t i = 0; i < n; i++) {
        sti_text_printf(&d->input, i > 0 ? " %lld. " : "%lld. ", (long long)i + 1);
        sti_text_put(&d->input, word_at(job, item[i]));
    }
    for (int i = 0; i < N_COMMON; i++) {
        sti_text_printf(&d->answer, " %d. ", i + 1);
        sti_text_put(&d->answer, word_at(job, word[i]));
        sti_draft_output(d, word_at(job, word[i]));
    }
    sti_free(word);
    return ST_OK;
}

static st_status build(const sti_task_job *job, uint64_t stream, int64_t size, int often,
                       int seldom, sti_draft *d, st_error *err)
{
    sti_text_put(&d->input, "Below is a numbered list of words. In these words, some appear more "
                            "often than others. Memorize the ones that appear most often.\n");
    STI_TRY(add_list(job, stream, size, often, seldom, d, err));
    sti_text_put(&d->input, "\nQuestion: What are the 10 most common words in the above list?");
    sti_text_put(&d->prefix, " Answer: The top 10 words that appear most often in the list are:");
    return ST_OK;
}

st_status sti_common_example(sti_task_job *job, st_error *err)
{
    bool small = job->p->max_tok < SHORT_TOK;
    sti_draft d = {.n_output = 0};
    st_status status =
        build(job, STI_STREAM_EXAMPLE, small ? 20 : 40, small ? 3 : 10, small ? 1 : 3, &d, err);
    if (status == ST_OK) {
        sti_text_put(&job->before, d.input.s);
        sti_text_put(&job->before, d.prefix.s);
        sti_text_put(&job->before, d.answer.s);
        sti_text_put(&job->before, "\n");
    }
    sti_draft_free(&d);
    return status == ST_OK && job->before.failed ? sti_fail_mem(err, 4096) : status;
}

st_status sti_build_common(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err)
{
    bool small = job->p->max_tok < SHORT_TOK;
    sti_text_add(&d->input, job->before.s, job->before.n);
    return build(job, 0, size, small ? 6 : 30, small ? 1 : 3, d, err);
}
