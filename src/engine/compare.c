/* SPDX-License-Identifier: MIT
 *
 * compare.c — how far two runs' predictions lie apart.
 */
#include <math.h>

#include "sparsetrace/engine.h"

struct top {
    int32_t id;
    double log_sum, log_p, log_p_second;
};

/* In double: KL of 1e-8 between nearly equal distributions must not drown in rounding. */
static struct top summarise(const float *x, int n)
{
    struct top t = {.id = 0};
    double sum = 0.0, second = -INFINITY;
    for (int i = 1; i < n; i++)
        if (x[i] > x[t.id])
            t.id = i;
    for (int i = 0; i < n; i++) {
        sum += exp((double)x[i] - x[t.id]);
        if (i != t.id && x[i] > second)
            second = x[i];
    }
    t.log_sum = x[t.id] + log(sum);
    t.log_p = x[t.id] - t.log_sum;
    t.log_p_second = second - t.log_sum;
    return t;
}

static double divergence(const float *a, const float *b, int n, double log_sum_a, double log_sum_b)
{
    double kl = 0.0;
    for (int i = 0; i < n; i++) {
        double la = a[i] - log_sum_a, lb = b[i] - log_sum_b;
        if (la > -700.0)
            kl += exp(la) * (la - lb);
    }
    return kl < 0.0 ? 0.0 : kl; /* rounding; NaN stays */
}

void st_compare(const float *a, const float *b, int n_last, int n_vocab, st_agreement *result)
{
    st_agreement r = {.n_compared = n_last};
    for (int i = 0; i < n_last; i++) {
        const float *x = a + (int64_t)i * n_vocab, *y = b + (int64_t)i * n_vocab;
        struct top tx = summarise(x, n_vocab), ty = summarise(y, n_vocab);
        r.kl = divergence(x, y, n_vocab, tx.log_sum, ty.log_sum);
        r.kl_mean += r.kl / n_last;
        r.n_same += tx.id == ty.id;
        r.top_a = tx.id;
        r.top_b = ty.id;
        r.p_a = exp(tx.log_p);
        r.p_b = exp(ty.log_p);
        r.margin_a = tx.log_p - tx.log_p_second;
    }
    *result = r;
}
