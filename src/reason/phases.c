/* SPDX-License-Identifier: MIT
 *
 * phases.c — stretches of a trace: a hidden Markov model whose states are phases and whose
 * observations are tags. A tag that is only probable enters with its likelihood ratio: P(tag |
 * sentence) / P(tag).
 */
#include <math.h>

#include "reason/chain.h"
#include "reason/tagger.h"

const char *st_phase_name(st_phase phase)
{
    static const char *const name[] = {"understand", "plan",   "compute",
                                       "doubt",      "verify", "conclude"};
    return (unsigned)phase < ST_PHASE_COUNT ? name[phase] : "?";
}

static st_status check_row(const float *prob, int n_tag, int64_t i, st_error *err)
{
    for (int z = 0; z < n_tag; z++)
        if (!(prob[z] >= 0.0f && isfinite(prob[z])))
            return sti_fail(err, ST_ERR_ARG, i, "sentence %lld has the probability %g",
                            (long long)i, (double)prob[z]);
    return ST_OK;
}

/* log of sum over tags of P(tag | phase) prob / prior; a row of zeros says nothing. */
static void score_phases(const st_tagger *t, const float *prob, double *score)
{
    double known = 0.0;
    for (int z = 0; z < t->n_tag; z++)
        known += (double)prob[z];
    for (int h = 0; h < ST_PHASE_COUNT; h++) {
        double sum = 0.0;
        for (int z = 0; z < t->n_tag; z++)
            sum +=
                (double)t->phase_tag[h * t->n_tag + z] * (double)prob[z] / (double)t->tag_prior[z];
        score[h] = known > 0.0 ? log(sum + 1e-12) : 0.0;
    }
}

st_status st_phases(const st_tagger *t, const float *prob, int64_t n, st_phase *phase,
                    float *confidence, float *boundary, st_error *err)
{
    enum { L = ST_PHASE_COUNT };
    size_t bytes = (size_t)n * ((2 * L + 1) * sizeof(double) + sizeof(int32_t));
    sti_chain c = {L, t->phase_start, t->phase_step, n, NULL};
    double *score, *post, *stay;
    int32_t *path;
    st_status status = ST_OK;
    if (t->phase_step == NULL)
        return sti_fail(err, ST_ERR_ARG, -1, "this tagger was trained without phases");
    score = sti_alloc(bytes);
    if (score == NULL)
        return sti_fail_mem(err, bytes);
    post = score + n * L;
    stay = post + n * L;
    path = (int32_t *)(stay + n);
    c.score = score;
    for (int64_t i = 0; status == ST_OK && i < n; i++) {
        status = check_row(prob + i * t->n_tag, t->n_tag, i, err);
        score_phases(t, prob + i * t->n_tag, score + i * L);
    }
    if (status == ST_OK && n > 0)
        status = sti_chain_posterior(&c, post, stay, err);
    if (status == ST_OK && n > 0)
        status = sti_chain_best(&c, path, err);
    for (int64_t i = 0; status == ST_OK && i < n; i++) {
        phase[i] = (st_phase)path[i];
        if (confidence != NULL)
            confidence[i] = (float)post[i * L + path[i]];
        if (boundary != NULL)
            boundary[i] = (float)(1.0 - stay[i]);
    }
    sti_free(score);
    return status;
}
