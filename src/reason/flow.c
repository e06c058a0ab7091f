/* SPDX-License-Identifier: MIT
 *
 * flow.c — measures of a trace's reasoning that need a model's attention: what the answer stands
 * on, what nothing looks back at, what leans on nothing. Definitions with examples:
 * docs/method/quality.md; tests/python/test_model_reason.py has them in NumPy.
 *
 * Everything is made of m[i][j] = A[i][j] * tokens of j: the mean attention of a token of sentence
 * i that falls on sentence j. The sentence with the sequence's first token is left out: heads with
 * nothing to say rest there.
 */
#include <math.h>
#include <stdlib.h>

#include "reason/features.h"
#include "reason/tagger.h"
#include "sparsetrace/groups.h"

#define ANCHORS 5    /* that anchor_share counts */
#define STEP 0.5     /* what one step further back still counts */
#define DEAD 2.0     /* used below this: dead */
#define LEAST_FAR 10 /* a sentence judges others if it has so many far ones */
#define JUMP 0.75    /* of the median lean */

struct look {
    const st_attention *a;
    const int32_t *tag;
    int64_t n, first; /* first: 1 if sentence 0 has the first token */
    int compute, check, result, answer;
    int64_t *n_new; /* numbers of sentence i that no sentence before has */
    double *flow;   /* [n] */
    st_flow *out;
};

static bool tagged(const struct look *l, int64_t i, int tag)
{
    return tag >= 0 && l->tag[i] == tag;
}

static int64_t width(const struct look *l, int64_t i)
{
    return l->a->token[i].end - l->a->token[i].begin;
}

static double mass(const struct look *l, int64_t i, int64_t j)
{
    return (double)l->a->mean[i * l->n + j] * (double)width(l, j);
}

static st_status check_mean(const float *mean, int64_t n, st_error *err)
{
    for (int64_t i = 0; i < n * n; i++)
        if (!(mean[i] >= 0.0f && isfinite(mean[i])))
            return sti_fail(err, ST_ERR_ARG, i / n,
                            "the attention of sentence %lld to sentence %lld is %g",
                            (long long)(i / n), (long long)(i % n), (double)mean[i]);
    return ST_OK;
}

/* ---- leaning and being used ------------------------------------------------------------------ */

/* Raises `used` of the sentences far before i by what i looks at them. */
static void look_back(struct look *l, int64_t i)
{
    int64_t end = i - ST_NEAR + 1;
    const float *row = l->a->mean + i * l->n;
    double sum = 0.0, tokens = 0.0;
    for (int64_t j = l->first; j < end; j++) {
        sum += mass(l, i, j);
        tokens += (double)width(l, j);
    }
    if (end - l->first < LEAST_FAR || sum <= 0.0)
        return;
    for (int64_t j = l->first; j < end; j++)
        l->out[j].used = fmaxf(l->out[j].used, (float)((double)row[j] * tokens / sum));
}

static void find_flow(struct look *l)
{
    for (int64_t i = 0; i < l->n; i++)
        l->out[i] = (st_flow){.lean = NAN, .used = NAN};
    for (int64_t i = l->first; i < l->n; i++) {
        double sum = 0.0;
        for (int64_t j = l->first; j < i; j++)
            sum += mass(l, i, j);
        if (i > l->first)
            l->out[i].lean = (float)sum;
        look_back(l, i);
    }
}

/* What receiver heads go back to is no dead end, little as the mean of all heads may look at it. */
static void find_dead(struct look *l, const int64_t *anchor, int64_t n_anchor, st_quality *q)
{
    int64_t n_judged = 0, n_dead = 0;
    for (int64_t j = 0; j < l->n; j++)
        l->out[j].dead = l->out[j].used < (float)DEAD;
    for (int64_t i = 0; i < n_anchor; i++)
        l->out[anchor[i]].dead = false;
    for (int64_t j = 0; j < l->n; j++) {
        n_judged += !isnan(l->out[j].used);
        n_dead += l->out[j].dead;
    }
    if (n_judged > 0)
        q->dead_share = (double)n_dead / (double)n_judged;
}

/* ---- jumps ----------------------------------------------------------------------------------- */

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median_lean(struct look *l)
{
    int64_t n = 0;
    for (int64_t i = 0; i < l->n; i++)
        if (!isnan(l->out[i].lean))
            l->flow[n++] = (double)l->out[i].lean;
    qsort(l->flow, (size_t)n, sizeof *l->flow, by_value);
    return n == 0 ? NAN : (l->flow[(n - 1) / 2] + l->flow[n / 2]) / 2.0;
}

static void find_jumps(struct look *l, st_quality *q)
{
    double median = median_lean(l);
    int64_t n_jump = 0;
    q->n_claim = 0;
    for (int64_t i = 0; i < l->n; i++) {
        bool claims =
            tagged(l, i, l->compute) || tagged(l, i, l->result) || tagged(l, i, l->answer);
        if (!claims || l->n_new[i] == 0 || isnan(l->out[i].lean))
            continue;
        l->out[i].jump = (double)l->out[i].lean < JUMP * median;
        q->n_claim++;
        n_jump += l->out[i].jump;
    }
    if (q->n_claim > 0)
        q->jump_share = (double)n_jump / (double)q->n_claim;
}

/* ---- support --------------------------------------------------------------------------------- */

/* What the answer is: the sentences that state it, else the last result, else the last sentence.
 * flow[i] is 1 / their number there, 0 elsewhere. Gives the last of them. */
static int64_t start_at_answer(struct look *l)
{
    int64_t count = 0, last = l->n - 1;
    for (int64_t i = 0; i < l->n; i++)
        count += tagged(l, i, l->answer);
    for (int64_t i = l->n - 1; count == 0 && i >= 0; i--)
        if (tagged(l, i, l->result)) {
            last = i;
            break;
        }
    for (int64_t i = 0; i < l->n; i++) {
        bool is = count > 0 ? tagged(l, i, l->answer) : i == last;
        l->flow[i] = is ? 1.0 / (double)(count > 0 ? count : 1) : 0.0;
        last = is ? i : last;
    }
    return last;
}

/* From the answer back: a sentence hands what it received on to those before it, as it looks at
 * them; each step further counts half. */
static void find_support(struct look *l, st_quality *q)
{
    int64_t last = start_at_answer(l);
    double all = 0.0, worked = 0.0, tokens = 0.0, base = 0.0;
    for (int64_t i = last; i > l->first; i--) {
        double start = l->flow[i];
        if (start <= 0.0 || !(l->out[i].lean > 0.0f))
            continue;
        for (int64_t j = l->first; j < i; j++)
            l->flow[j] += start * STEP * mass(l, i, j) / (double)l->out[i].lean;
    }
    for (int64_t j = l->first; j < last; j++) {
        bool works = tagged(l, j, l->compute) || tagged(l, j, l->check);
        if (tagged(l, j, l->answer))
            continue;
        all += l->flow[j];
        worked += works ? l->flow[j] : 0.0;
        tokens += (double)width(l, j);
        base += works ? (double)width(l, j) : 0.0;
    }
    if (all > 0.0) {
        q->support = worked / all;
        q->support_base = base / tokens;
    }
}

/* ---- anchors and surprise -------------------------------------------------------------------- */

static void find_anchor_share(const struct look *l, const int64_t *anchor, int64_t n_anchor,
                              st_quality *q)
{
    double all = 0.0, held = 0.0;
    for (int64_t j = 0; j < l->n; j++)
        all += isnan(l->a->receiver[j]) ? 0.0 : l->a->receiver[j];
    for (int64_t k = 0; k < n_anchor; k++)
        held += l->a->receiver[anchor[k]];
    if (all > 0.0)
        q->anchor_share = held / all;
}

/* Mean over the tokens of some sentences. */
struct cost {
    double sum, tokens;
};

static void add_cost(const struct look *l, int64_t i, struct cost *c)
{
    if (isnan(l->a->surprise[i]))
        return;
    c->sum += (double)l->a->surprise[i] * (double)width(l, i);
    c->tokens += (double)width(l, i);
}

static double mean_cost(const struct cost *c)
{
    return c->tokens > 0.0 ? c->sum / c->tokens : -1.0;
}

static void find_surprise(const struct look *l, const int64_t *anchor, int64_t n_anchor,
                          st_quality *q)
{
    struct cost all = {0}, anchors = {0}, answer = {0};
    for (int64_t i = 0; i < l->n; i++) {
        add_cost(l, i, &all);
        if (tagged(l, i, l->answer))
            add_cost(l, i, &answer);
    }
    for (int64_t k = 0; k < n_anchor; k++)
        add_cost(l, anchor[k], &anchors);
    q->surprise = mean_cost(&all);
    q->surprise_anchor = mean_cost(&anchors);
    q->surprise_answer = mean_cost(&answer);
}

/* ---- the call -------------------------------------------------------------------------------- */

static st_status count_numbers(const char *text, const st_group *sentence, struct look *l,
                               st_error *err)
{
    sti_features f;
    st_status status = sti_features_begin(&f, text, sentence, l->n, err);
    for (int64_t i = 0; status == ST_OK && i < l->n; i++) {
        status = sti_features_read(&f, i, err);
        l->n_new[i] = f.n_new_number;
    }
    sti_features_free(&f);
    return status;
}

st_status st_quality_of_attention(const st_tagger *t, const char *text, const st_group *sentence,
                                  const int32_t *tag, int64_t n, const st_attention *a,
                                  st_flow *flow, st_quality *q, st_error *err)
{
    struct look l = {.a = a,
                     .tag = tag,
                     .n = n,
                     .first = n > 0 && a->token[0].begin == 0,
                     .compute = st_tagger_find(t, "active_computation"),
                     .check = st_tagger_find(t, "self_checking"),
                     .result = st_tagger_find(t, "result_consolidation"),
                     .answer = st_tagger_find(t, "final_answer_emission"),
                     .out = flow};
    size_t bytes = (size_t)n * (sizeof *l.n_new + sizeof *l.flow);
    int64_t anchor[ANCHORS], n_anchor;
    st_status status;
    if (n == 0)
        return ST_OK;
    STI_TRY(check_mean(a->mean, n, err));
    l.n_new = sti_alloc(bytes);
    if (l.n_new == NULL)
        return sti_fail_mem(err, bytes);
    l.flow = (double *)(l.n_new + n);
    status = count_numbers(text, sentence, &l, err);
    if (status == ST_OK) {
        n_anchor = st_anchors(a->receiver, n, ANCHORS, anchor);
        find_flow(&l);
        find_dead(&l, anchor, n_anchor, q);
        find_jumps(&l, q);
        find_support(&l, q);
        find_anchor_share(&l, anchor, n_anchor, q);
        if (a->surprise != NULL)
            find_surprise(&l, anchor, n_anchor, q);
    }
    sti_free(l.n_new);
    return status;
}
