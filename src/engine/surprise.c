/* SPDX-License-Identifier: MIT
 *
 * surprise.c — what each token costs the model: -ln p(token | all before it).
 */
#include <math.h>

#include "engine/surprise.h"

/* ln sum exp(x), in double from the largest on. */
static double log_sum_exp(const float *x, int64_t n)
{
    float most = -INFINITY;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < n; i++)
        sum += (double)expf(x[i] - most);
    return (double)most + log(sum);
}

double sti_surprise_of(const float *logits, int64_t n_vocab, int32_t token)
{
    return log_sum_exp(logits, n_vocab) - (double)logits[token];
}

static st_status take(void *ctx, int64_t pos, int64_t n, const float *logits, st_error *err)
{
    const sti_surprise *s = ctx;
    for (int64_t i = 0; i < n && pos + i + 1 < s->n_tok; i++) {
        const float *row = logits + i * s->n_vocab;
        double cost = sti_surprise_of(row, s->n_vocab, s->token[pos + i + 1]);
        if (isnan(cost))
            return sti_fail(err, ST_ERR_MODEL, pos + i,
                            "the model's prediction after token %lld is not a number",
                            (long long)(pos + i));
        s->out[pos + i + 1] = (float)cost;
    }
    return ST_OK;
}

st_status sti_surprise_begin(sti_surprise *s, st_run *run, st_error *err)
{
    s->out[0] = NAN;
    return st_run_predictions(run, 0, take, s, err);
}
