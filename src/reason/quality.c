/* SPDX-License-Identifier: MIT
 *
 * quality.c — measures of a trace's reasoning that need its text and tags only. Definitions with
 * examples: docs/method/quality.md; tools/reason/measures.py is the same in Python.
 */
#include <math.h>

#include "reason/features.h"
#include "reason/tagger.h"

#define LED_SENTENCES 10 /* a doubt must lead somewhere within these */

struct names {
    int doubt, check, compute, result, answer;
};

/* What the walk over the sentences keeps of each. */
struct walk {
    const int32_t *tag;
    int64_t n;
    struct names is;
    int64_t *n_new; /* numbers of sentence i that no sentence before has */
};

static struct names find_names(const st_tagger *t)
{
    return (struct names){
        .doubt = st_tagger_find(t, "uncertainty_management"),
        .check = st_tagger_find(t, "self_checking"),
        .compute = st_tagger_find(t, "active_computation"),
        .result = st_tagger_find(t, "result_consolidation"),
        .answer = st_tagger_find(t, "final_answer_emission"),
    };
}

static bool tagged(const struct walk *w, int64_t i, int name)
{
    return name >= 0 && w->tag[i] == name;
}

/* A doubt led somewhere if one of the next sentences, before the next doubt, computes or concludes
 * with a number that is new. */
static bool led(const struct walk *w, int64_t end)
{
    int64_t stop = sti_min(w->n, end + LED_SENTENCES);
    for (int64_t i = end; i < stop && !tagged(w, i, w->is.doubt); i++)
        if (w->n_new[i] > 0 && (tagged(w, i, w->is.compute) || tagged(w, i, w->is.result)))
            return true;
    return false;
}

static void count_doubts(const struct walk *w, st_quality *q)
{
    int64_t n_led = 0;
    for (int64_t i = 0; i < w->n; i++) {
        if (!tagged(w, i, w->is.doubt))
            continue;
        q->n_doubt++;
        if (i + 1 < w->n && tagged(w, i + 1, w->is.doubt))
            continue;
        q->n_episode++;
        n_led += led(w, i + 1);
    }
    if (q->n_episode > 0)
        q->led_share = (double)n_led / (double)q->n_episode;
}

static void count_checks(const struct walk *w, st_quality *q)
{
    int64_t from = -1, n_after = 0;
    for (int64_t i = 0; i < w->n; i++) {
        bool concludes = tagged(w, i, w->is.result) || tagged(w, i, w->is.answer);
        if (tagged(w, i, w->is.answer) && q->answer_at < 0.0)
            q->answer_at = w->n > 1 ? (double)i / (double)(w->n - 1) : 1.0;
        q->n_check += tagged(w, i, w->is.check);
        n_after += from >= 0 && tagged(w, i, w->is.check);
        if (concludes && from < 0)
            from = i;
    }
    if (from >= 0)
        q->checked_after = (double)n_after / (double)(w->n - from);
}

static st_status read_sentences(const char *text, const st_group *sentence, struct walk *w,
                                st_quality *q, st_error *err)
{
    sti_features f;
    double sum = 0.0;
    int64_t n_with = 0;
    st_status status = sti_features_begin(&f, text, sentence, w->n, err);
    for (int64_t i = 0; status == ST_OK && i < w->n; i++) {
        status = sti_features_read(&f, i, err);
        w->n_new[i] = f.n_new_number;
        if (f.said_before >= 0.0) {
            sum += f.said_before;
            n_with++;
        }
    }
    if (n_with > 0)
        q->repeated_share = sum / (double)n_with;
    sti_features_free(&f);
    return status;
}

/* Logistic regression over the measures; one that is not defined counts as the mean of the traces
 * it was trained on. */
static void weigh(const st_tagger *t, st_quality *q)
{
    const double measure[STI_N_MEASURE] = {log1p((double)q->n_sentence), q->doubt_share,
                                           q->check_share, q->led_share, q->repeated_share};
    double x;
    if (t->score_weight == NULL || q->n_sentence == 0)
        return;
    x = (double)t->score_bias[0];
    for (int i = 0; i < STI_N_MEASURE; i++)
        if (measure[i] >= 0.0)
            x += (double)t->score_weight[i] * (measure[i] - (double)t->score_mean[i]) *
                 (double)t->score_scale[i];
    q->score = 1.0 / (1.0 + exp(-x));
}

st_status st_quality_of_text(const st_tagger *t, const char *text, const st_group *sentence,
                             const int32_t *tag, int64_t n, st_quality *q, st_error *err)
{
    struct walk w = {.tag = tag, .n = n, .is = find_names(t)};
    st_status status;
    *q = (st_quality){.n_sentence = n,
                      .doubt_share = -1.0,
                      .check_share = -1.0,
                      .led_share = -1.0,
                      .repeated_share = -1.0,
                      .answer_at = -1.0,
                      .checked_after = -1.0,
                      .score = -1.0,
                      .support = -1.0,
                      .support_base = -1.0,
                      .dead_share = -1.0,
                      .jump_share = -1.0,
                      .anchor_share = -1.0,
                      .surprise = -1.0,
                      .surprise_anchor = -1.0,
                      .surprise_answer = -1.0};
    w.n_new = sti_alloc((size_t)n * sizeof *w.n_new);
    if (w.n_new == NULL)
        return sti_fail_mem(err, (size_t)n * sizeof *w.n_new);
    status = read_sentences(text, sentence, &w, q, err);
    count_doubts(&w, q);
    count_checks(&w, q);
    if (n > 0) {
        q->doubt_share = (double)q->n_doubt / (double)n;
        q->check_share = (double)q->n_check / (double)n;
    }
    weigh(t, q);
    sti_free(w.n_new);
    return status;
}
