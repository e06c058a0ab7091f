/* SPDX-License-Identifier: MIT
 *
 * niah.c — a needle in a haystack: one sentence that gives a key's value, among noise, among the
 * sentences of a text, or among sentences of its own kind.
 */
#include <stdio.h>

#include "tasks/draft.h"

#define N_DEPTH 40 /* even steps over the text, both ends included */

static bool among_needles(st_task task)
{
    return task == ST_TASK_NIAH_MULTIKEY_2 || task == ST_TASK_NIAH_MULTIKEY_3;
}

/* ---- keys and values ------------------------------------------------------------------------- */

/* Version 4: 122 random bits. */
static void uuid(sti_random *r, char buf[STI_WORD_BYTES])
{
    uint64_t a = sti_random_next(r), b = sti_random_next(r);
    snprintf(buf, STI_WORD_BYTES, "%08llx-%04llx-4%03llx-%04llx-%012llx",
             (unsigned long long)(a >> 32), (unsigned long long)(a >> 16 & 0xffff),
             (unsigned long long)(a & 0xfff), (unsigned long long)(b >> 48 & 0x3fff) | 0x8000,
             (unsigned long long)(b & 0xffffffffffff));
}

/* Keys, each another one; values. Key 0 is the one asked for. */
struct names {
    bool uuids;
    int32_t *pair; /* shuffled adjective-noun pairs */
    sti_random keys, values;
};

static st_status names_begin(const sti_task_job *job, int64_t n, struct names *s, st_error *err)
{
    int64_t all = sti_n_adjective() * sti_n_noun();
    *s = (struct names){.uuids = job->task == ST_TASK_NIAH_MULTIKEY_3,
                        .keys = sti_random_stream(job->key, STI_STREAM_KEYS),
                        .values = sti_random_stream(job->key, STI_STREAM_VALUES)};
    if (s->uuids)
        return ST_OK;
    if (n > all)
        return sti_fail(err, ST_ERR_LIMIT, all, "%s: %lld keys are wanted, there are %lld",
                        st_task_name(job->task), (long long)n, (long long)all);
    s->pair = sti_alloc((size_t)all * sizeof *s->pair);
    if (s->pair == NULL)
        return sti_fail_mem(err, (size_t)all * sizeof *s->pair);
    for (int64_t i = 0; i < all; i++)
        s->pair[i] = (int32_t)i;
    sti_random_choose(&s->keys, s->pair, n, all);
    return ST_OK;
}

/* The i-th key (they are asked for in order) and its value. */
static void names_next(struct names *s, int64_t i, char key[STI_WORD_BYTES],
                       char value[STI_WORD_BYTES])
{
    if (s->uuids) {
        uuid(&s->keys, key);
        uuid(&s->values, value);
        return;
    }
    snprintf(key, STI_WORD_BYTES, "%s-%s", sti_adjective(s->pair[i] / sti_n_noun()),
             sti_noun(s->pair[i] % sti_n_noun()));
    snprintf(value, STI_WORD_BYTES, "%lld",
             1000000 + (long long)sti_random_below(&s->values, 9000000));
}

static void print_needle(const struct names *s, char *buf, size_t size, const char *key,
                         const char *value)
{
    snprintf(buf, size, "One of the special magic %s for %s is: %s.",
             s->uuids ? "uuids" : "numbers", key, value);
}

/* ---- haystacks ------------------------------------------------------------------------------- */

/* `n` lines of noise or of other needles, the needle before one of them. */
static void add_lines(const sti_task_job *job, int64_t n, struct names *s, const char *needle,
                      sti_draft *d)
{
    sti_random place = sti_random_stream(job->key, STI_STREAM_PLACE);
    int64_t at = sti_random_below(&place, n);
    char key[STI_WORD_BYTES], value[STI_WORD_BYTES], line[256];
    for (int64_t i = 0; i < n; i++) {
        if (i == at) {
            sti_draft_evidence(d, needle);
            sti_text_put(&d->input, "\n");
        }
        if (among_needles(job->task)) {
            names_next(s, i + 1, key, value);
            print_needle(s, line, sizeof line, key, value);
        }
        sti_text_put(&d->input, among_needles(job->task) ? line : STI_NOISE);
        sti_text_put(&d->input, "\n");
    }
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word of the text at *at, over and over; its length. */
static int64_t next_word(const char *text, const char **at, const char **word)
{
    int64_t n = 0;
    while (is_space(**at))
        (*at)++;
    if (**at == '\0')
        for (*at = text; is_space(**at); (*at)++)
            ;
    for (*word = *at; **at != '\0' && !is_space(**at); (*at)++)
        n++;
    return n;
}

/* A word that ends a sentence: . ? or !, and closing quotes or brackets after it. */
static bool ends_sentence(const char *word, int64_t n)
{
    while (n > 0 && strchr("\"')]", word[n - 1]) != NULL)
        n--;
    return n > 0 && strchr(".?!", word[n - 1]) != NULL;
}

static int64_t count_sentences(const char *text, int64_t n_word)
{
    const char *at = text, *word;
    int64_t n = 0;
    for (int64_t i = 0; i < n_word; i++) {
        int64_t len = next_word(text, &at, &word);
        n += ends_sentence(word, len) || i == n_word - 1;
    }
    return n;
}

/* The first `n` words of the user's text, the needle between two sentences. */
static st_status add_essay(const sti_task_job *job, int64_t n, const char *needle, sti_draft *d,
                           st_error *err)
{
    const char *text = job->p->haystack, *at = text, *word;
    sti_random place = sti_random_stream(job->key, STI_STREAM_PLACE);
    int64_t step = sti_random_below(&place, N_DEPTH), sentence = 0, before;
    int64_t depth = (200 * step + N_DEPTH - 1) / (2 * (N_DEPTH - 1)); /* percent, rounded */
    if (next_word(text, &at, &word) == 0)
        return sti_fail(err, ST_ERR_ARG, -1, "niah_single_2: the haystack has no words");
    at = text;
    before = count_sentences(text, n) * depth / 100;
    for (int64_t i = 0; i < n; i++) {
        int64_t len;
        bool begins = i == 0 || ends_sentence(word, len);
        if (begins && sentence++ == before) {
            sti_draft_evidence(d, needle);
            sti_text_put(&d->input, " ");
        }
        len = next_word(text, &at, &word);
        sti_text_add(&d->input, word, len);
        sti_text_put(&d->input, i < n - 1 ? " " : "");
    }
    if (d->n_evidence == 0) {
        sti_text_put(&d->input, " ");
        sti_draft_evidence(d, needle);
    }
    sti_text_put(&d->input, "\n");
    return ST_OK;
}

st_status sti_build_niah(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err)
{
    bool uuids = job->task == ST_TASK_NIAH_MULTIKEY_3;
    const char *what = uuids ? "uuid" : "number";
    char key[STI_WORD_BYTES], value[STI_WORD_BYTES], needle[256];
    struct names names;
    st_status status = ST_OK;
    STI_TRY(names_begin(job, among_needles(job->task) ? size + 1 : 1, &names, err));
    names_next(&names, 0, key, value);
    print_needle(&names, needle, sizeof needle, key, value);
    sti_text_printf(&d->input,
                    "A special magic %s is hidden within the following text. Make sure to memorize "
                    "it. I will quiz you about the %s afterwards.\n",
                    what, what);
    if (job->task == ST_TASK_NIAH_SINGLE_2)
        status = add_essay(job, size, needle, d, err);
    else
        add_lines(job, size, &names, needle, d);
    sti_text_printf(&d->input,
                    "What is the special magic %s for %s mentioned in the provided text?", what,
                    key);
    sti_text_printf(&d->prefix, " The special magic %s for %s mentioned in the provided text is",
                    what, key);
    sti_text_printf(&d->answer, " %s", value);
    sti_draft_output(d, value);
    sti_free(names.pair);
    return status;
}
