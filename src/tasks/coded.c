/* SPDX-License-Identifier: MIT
 *
 * coded.c — fwe: made-up words whose counts fall with the square of their rank. The first rank is
 * written as dots and to be ignored; asked for are ranks 2 to 4.
 */
#include <stdlib.h>

#include "tasks/draft.h"

#define LETTERS 6
#define ZETA_2 1.6449340668482264
#define N_ASKED 3
#define TOK_PER_WORD 50 /* vocabulary = tokens of the prompt / this */

typedef char coded_word[LETTERS + 1];

static int by_text(const void *a, const void *b)
{
    return memcmp(a, b, LETTERS);
}

/* n different words in random order. */
static void draw_words(sti_random *r, coded_word *word, int64_t n)
{
    for (int64_t have = 0; have < n;) {
        int64_t kept = 0;
        for (int64_t i = have; i < n; i++)
            for (int j = 0; j < LETTERS; j++)
                word[i][j] = (char)('a' + sti_random_below(r, 26));
        qsort(word, (size_t)n, sizeof *word, by_text);
        for (int64_t i = 0; i < n; i++)
            if (i == 0 || memcmp(word[kept - 1], word[i], LETTERS) != 0)
                memmove(word[kept++], word[i], sizeof *word);
        have = kept;
    }
}

/* How often rank k comes among `size` words of an endless vocabulary. */
static int64_t count_of(int64_t size, int64_t k)
{
    return (int64_t)((double)size / ((double)k * (double)k) / ZETA_2);
}

/* The text of `size` words: counts by rank, in random order. */
static bool add_words(const sti_task_job *job, int64_t size, const coded_word *word,
                      const int32_t *rank, int64_t n_vocab, sti_draft *d)
{
    sti_random order = sti_random_stream(job->key, STI_STREAM_ORDER);
    int32_t *item = sti_alloc((size_t)size * sizeof *item);
    int64_t n = 0;
    if (item == NULL)
        return false;
    for (int64_t k = 1; k <= n_vocab; k++)
        for (int64_t i = count_of(size, k); i > 0; i--)
            item[n++] = (int32_t)k;
    sti_random_choose(&order, item, n, n);
    for (int64_t i = 0; i < n; i++) {
        sti_text_put(&d->input, i > 0 ? " " : "");
        sti_text_put(&d->input, item[i] == 1 ? "..." : word[rank[item[i] - 1]]);
    }
    sti_free(item);
    return true;
}

st_status sti_build_coded(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err)
{
    int64_t room = job->p->max_tok - job->p->template_tok - 50; /* without the answer */
    int64_t n_vocab = sti_max(room / TOK_PER_WORD, N_ASKED + 1);
    sti_random letters = sti_random_stream(job->key, STI_STREAM_KEYS);
    coded_word *word = sti_calloc((size_t)n_vocab * sizeof *word);
    int32_t *rank = sti_alloc((size_t)n_vocab * sizeof *rank);
    bool ok = word != NULL && rank != NULL;
    if (ok) {
        draw_words(&letters, word, n_vocab);
        for (int64_t i = 0; i < n_vocab; i++)
            rank[i] = (int32_t)i;
        sti_random_choose(&letters, rank, n_vocab, n_vocab);
        sti_text_put(&d->input,
                     "Read the following coded text and track the frequency of each "
                     "coded word. Find the three most frequently appeared coded words. ");
        ok = add_words(job, size, (const coded_word *)word, rank, n_vocab, d);
    }
    if (ok) {
        sti_text_put(&d->input,
                     "\nQuestion: Do not provide any explanation. Please ignore the dots "
                     "'....'. What are the three most frequently appeared words in the "
                     "above coded text?");
        sti_text_put(&d->prefix, " Answer: According to the coded text above, the three most "
                                 "frequently appeared words are:");
        for (int i = 1; i <= N_ASKED; i++) {
            sti_text_printf(&d->answer, i > 1 ? ", %s" : " %s", word[rank[i]]);
            sti_draft_output(d, word[rank[i]]);
        }
    }
    sti_free(word);
    sti_free(rank);
    return ok ? ST_OK : sti_fail_mem(err, (size_t)(n_vocab + size) * sizeof *word);
}
