/* SPDX-License-Identifier: MIT
 *
 * tracking.c — vt: a value is given to a variable and handed on from variable to variable, in lines
 * hidden among noise. A small example of the same kind, with its answer, goes before.
 */
#include <stdio.h>

#include "tasks/draft.h"

#define N_VAR 5 /* 4 hops */
#define LETTERS 5
#define LETTERS_EXAMPLE 3
#define EXAMPLE_TOK 500
#define EXAMPLE_LEAST 5 /* lines of noise */

struct chain {
    char var[N_VAR][LETTERS + 1];
    char line[N_VAR][STI_WORD_BYTES];
    char value[8];
};

static bool is_new(const struct chain *c, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(c->var[i], c->var[n]) == 0)
            return false;
    return true;
}

static void draw_chain(sti_random *r, int letters, struct chain *c)
{
    *c = (struct chain){.value = ""};
    snprintf(c->value, sizeof c->value, "%d", 10000 + (int)sti_random_below(r, 89999));
    for (int i = 0; i < N_VAR; i++)
        do
            for (int j = 0; j < letters; j++)
                c->var[i][j] = (char)('A' + sti_random_below(r, 26));
        while (!is_new(c, i));
    snprintf(c->line[0], sizeof c->line[0], "VAR %s = %s", c->var[0], c->value);
    for (int i = 1; i < N_VAR; i++)
        snprintf(c->line[i], sizeof c->line[i], "VAR %s = VAR %s ", c->var[i], c->var[i - 1]);
}

static int ascending(const int32_t *x, int n, int32_t *out)
{
    for (int i = 0; i < n; i++) {
        int j = i;
        for (; j > 0 && out[j - 1] > x[i]; j--)
            out[j] = out[j - 1];
        out[j] = x[i];
    }
    return n;
}

/* n >= N_VAR lines of noise, the chain's lines before some of them, in order. */
static bool add_lines(sti_random *r, int64_t n, const struct chain *c, sti_draft *d)
{
    int32_t *at = sti_alloc((size_t)n * sizeof *at), place[N_VAR];
    int next = 0;
    if (at == NULL)
        return false;
    for (int64_t i = 0; i < n; i++)
        at[i] = (int32_t)i;
    sti_random_choose(r, at, N_VAR, n);
    ascending(at, N_VAR, place);
    for (int64_t i = 0; i < n; i++) {
        if (next < N_VAR && place[next] == i) {
            sti_draft_evidence(d, c->line[next++]);
            sti_text_put(&d->input, "\n");
        }
        sti_text_put(&d->input, STI_NOISE);
        sti_text_put(&d->input, "\n");
    }
    sti_free(at);
    return true;
}

static st_status build(const sti_task_job *job, int stream, int letters, int64_t size, sti_draft *d,
                       st_error *err)
{
    sti_random r = sti_random_stream(job->key, (uint64_t)stream);
    sti_random place = sti_random_stream(job->key, STI_STREAM_PLACE + 16 * (uint64_t)stream);
    struct chain c;
    draw_chain(&r, letters, &c);
    sti_text_put(&d->input, "Memorize and track the chain(s) of variable assignment hidden in the "
                            "following text.\n\n");
    if (!add_lines(&place, size, &c, d))
        return sti_fail_mem(err, (size_t)size * sizeof(int32_t));
    sti_text_printf(
        &d->input, "Question: Find all variables that are assigned the value %s in the text above.",
        c.value);
    sti_text_printf(&d->prefix,
                    " Answer: According to the chain(s) of variable assignment in the text above, "
                    "%d variables are assigned the value %s, they are: ",
                    N_VAR, c.value);
    for (int i = 0; i < N_VAR; i++) {
        sti_text_printf(&d->answer, " %s", c.var[i]);
        sti_draft_output(d, c.var[i]);
    }
    return ST_OK;
}

static st_status build_example(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err)
{
    return build(job, STI_STREAM_EXAMPLE, LETTERS_EXAMPLE, size, d, err);
}

st_status sti_tracking_example(sti_task_job *job, st_error *err)
{
    sti_draft d = {.n_output = 0};
    int64_t n_tok;
    st_status status =
        sti_fit(job, build_example, EXAMPLE_LEAST, EXAMPLE_TOK, EXAMPLE_TOK, &d, &n_tok, err);
    if (status == ST_OK) {
        sti_text_put(&job->before, d.input.s);
        sti_text_put(&job->before, d.prefix.s);
        sti_text_put(&job->before, d.answer.s);
        sti_text_put(&job->before, "\n\n");
    }
    sti_draft_free(&d);
    return status == ST_OK && job->before.failed ? sti_fail_mem(err, 4096) : status;
}

st_status sti_build_tracking(const sti_task_job *job, int64_t size, sti_draft *d, st_error *err)
{
    sti_text_add(&d->input, job->before.s, job->before.n);
    return build(job, STI_STREAM_KEYS, LETTERS, size, d, err);
}
