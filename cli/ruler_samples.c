/* SPDX-License-Identifier: MIT
 *
 * ruler_samples.c — where the samples come from: generators, then a file of RULER's own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ruler.h"

struct ruler_samples {
    st_task task[ST_TASK_COUNT];
    int n_task;
    int64_t *length;
    int n_length;
    int64_t n_sample;
    int at_task, at_length;
    int64_t at_sample;
    st_task_params make;
    char *haystack, *words;
    const char **word;
    const char *data_path, *haystack_path, *words_path;
    st_task_reader *data;
    st_task_sample *read; /* the file's sample at hand */
};

#define DEFAULT_TASKS "niah_single_1,niah_multikey_2,niah_multikey_3,vt,cwe,fwe"
#define DEFAULT_LENGTHS "1024,2048,4096,8192"

/* ---- options --------------------------------------------------------------------------------- */

static int parse_tasks(const char *text, ruler_samples *s)
{
    for (const char *at = text; *at != '\0';) {
        size_t n = strcspn(at, ",");
        char name[64];
        st_task task;
        st_error err;
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        if (st_task_parse(name, &task, &err) != ST_OK)
            return args_complain("ruler", "--tasks: %s", err.message);
        for (int i = 0; i < s->n_task; i++)
            if (s->task[i] == task)
                return args_complain("ruler", "--tasks: \"%s\" comes twice", name);
        s->task[s->n_task++] = task;
        at += n + (at[n] == ',');
    }
    return s->n_task > 0 ? -1 : args_complain("ruler", "--tasks: which?");
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int parse_lengths(const char *text, ruler_samples *s)
{
    s->length = out_need((strlen(text) / 2 + 1) * sizeof *s->length);
    for (const char *at = text; *at != '\0';) {
        char *end;
        long long n = strtoll(at, &end, 10);
        if (end == at || n < 64 || n > 1 << 24 || (*end != ',' && *end != '\0'))
            return args_complain("ruler", "--lengths: \"%s\" is not a list of 64..16777216 tokens",
                                 text);
        s->length[s->n_length++] = n;
        at = end + (*end == ',');
    }
    qsort(s->length, (size_t)s->n_length, sizeof *s->length, by_value);
    return s->n_length > 0 ? -1 : args_complain("ruler", "--lengths: which?");
}

/* A whole text file (free()); NULL after a complaint. */
static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t n = 0, cap = 0;
    while (f != NULL && !feof(f) && !ferror(f)) {
        char *more = out_need(cap = 2 * cap + 65536);
        if (n > 0)
            memcpy(more, text, n);
        free(text);
        text = more;
        n += fread(text + n, 1, cap - n - 1, f);
    }
    if (f == NULL || ferror(f)) {
        fprintf(stderr, "sparsetrace: cannot read %s: %s\n", path, strerror(errno));
        free(text);
        text = NULL;
    } else if (memchr(text, '\0', n) != NULL) {
        fprintf(stderr, "sparsetrace: %s is not a text: it has a NUL byte\n", path);
        free(text);
        text = NULL;
    } else {
        text[n] = '\0';
    }
    if (f != NULL)
        fclose(f);
    return text;
}

/* One word a line; blank lines do not count, nor do words that came already. */
static void split_words(ruler_samples *s)
{
    int64_t cap = 1;
    for (const char *c = s->words; *c != '\0'; c++)
        cap += *c == '\n';
    s->word = out_need((size_t)cap * sizeof *s->word);
    for (char *at = s->words; *at != '\0';) {
        char *end = at + strcspn(at, " \t\r\n");
        bool more = *end != '\0', again = false;
        *end = '\0';
        for (int64_t i = 0; !again && i < s->make.n_word; i++)
            again = strcmp(s->word[i], at) == 0;
        if (*at != '\0' && !again && s->make.n_word < cap)
            s->word[s->make.n_word++] = at;
        at = end + more;
    }
    s->make.word = s->word;
}

static int open_files(const ruler_source_args *a, ruler_samples *s)
{
    st_error err;
    if (a->haystack != NULL && (s->haystack = read_text(a->haystack)) == NULL)
        return EXIT_FAILED;
    if (a->words != NULL && (s->words = read_text(a->words)) == NULL)
        return EXIT_FAILED;
    if (s->words != NULL)
        split_words(s);
    s->make.haystack = s->haystack;
    if (a->data != NULL && st_task_reader_open(a->data, &s->data, &err) != ST_OK)
        return out_failed(&err);
    return -1;
}

int ruler_samples_open(const ruler_source_args *a, ruler_samples **samples)
{
    ruler_samples *s = out_need(sizeof *s);
    int code = -1;
    *s = (ruler_samples){.n_sample = a->n_sample,
                         .make = {.seed = (uint64_t)a->seed},
                         .data_path = a->data,
                         .haystack_path = a->haystack,
                         .words_path = a->words};
    *samples = s;
    if (a->tasks != NULL || a->data == NULL) {
        code = parse_tasks(a->tasks != NULL ? a->tasks : DEFAULT_TASKS, s);
        if (code < 0 && a->tasks == NULL && a->haystack != NULL)
            s->task[s->n_task++] = ST_TASK_NIAH_SINGLE_2;
    }
    if (code < 0)
        code = parse_lengths(a->lengths != NULL ? a->lengths : DEFAULT_LENGTHS, s);
    for (int i = 0; code < 0 && i < s->n_task; i++)
        if (s->task[i] == ST_TASK_NIAH_SINGLE_2 && a->haystack == NULL)
            code = args_complain("ruler", "niah_single_2 hides its needle in a text of yours: "
                                          "--haystack FILE");
    return code < 0 ? open_files(a, s) : code;
}

void ruler_samples_free(ruler_samples *s)
{
    if (s == NULL)
        return;
    st_task_sample_free(s->read);
    st_task_reader_free(s->data);
    free(s->word);
    free(s->words);
    free(s->haystack);
    free(s->length);
    free(s);
}

void ruler_samples_count(ruler_samples *s, st_task_count_fn count, void *ctx, int64_t template_tok)
{
    s->make.count = count;
    s->make.ctx = ctx;
    s->make.template_tok = template_tok;
}

int64_t ruler_samples_longest(const ruler_samples *s)
{
    int64_t longest = 0;
    for (int i = 0; s->n_task > 0 && i < s->n_length; i++)
        longest = s->length[i] > longest ? s->length[i] : longest;
    return longest;
}

/* ---- one after the other --------------------------------------------------------------------- */

void ruler_samples_skip_cell(ruler_samples *s)
{
    s->at_sample = 0;
    if (++s->at_length == s->n_length) {
        s->at_length = 0;
        s->at_task++;
    }
}

/* A file's samples say what they have, not what they were made for: the next power of two. */
static int64_t length_of(const st_task_sample *sample)
{
    int64_t n = 1;
    if (sample->max_tok > 0)
        return sample->max_tok;
    while (n < sample->length)
        n *= 2;
    return n;
}

static const char *file_of(const ruler_samples *s, st_task task)
{
    if (task == ST_TASK_NIAH_SINGLE_2)
        return s->haystack_path;
    return task == ST_TASK_CWE ? s->words_path : NULL;
}

st_status ruler_samples_next(ruler_samples *s, ruler_row *row, bool *more, st_error *err)
{
    st_status status = ST_OK;
    *more = true;
    snprintf(row->source, sizeof row->source, "-");
    if (s->at_task < s->n_task && s->at_sample == s->n_sample)
        ruler_samples_skip_cell(s);
    if (s->at_task < s->n_task) {
        st_task task = s->task[s->at_task];
        snprintf(row->task, sizeof row->task, "%s", st_task_name(task));
        if (file_of(s, task) != NULL)
            ruler_source(row->source, sizeof row->source, file_of(s, task));
        row->length = s->make.max_tok = s->length[s->at_length];
        row->index = s->make.index = s->at_sample++;
        return ST_OK;
    }
    st_task_sample_free(s->read);
    s->read = NULL;
    if (s->data != NULL)
        status = st_task_reader_next(s->data, &s->read, err);
    *more = s->read != NULL || status != ST_OK;
    if (s->read == NULL)
        return status;
    ruler_source(row->source, sizeof row->source, s->data_path);
    snprintf(row->task, sizeof row->task, "%s", s->read->task);
    row->length = length_of(s->read);
    row->index = s->read->index;
    return ST_OK;
}

st_status ruler_samples_take(ruler_samples *s, st_task_sample **sample, st_error *err)
{
    if (s->at_task < s->n_task)
        return st_task_make(s->task[s->at_task], &s->make, sample, err);
    *sample = s->read;
    s->read = NULL;
    return ST_OK;
}
