/* SPDX-License-Identifier: MIT
 *
 * test_flow.c — measures of attention on a trace small enough to reckon by hand; its edges, and
 * what is refused. tests/python/test_model_reason.py has real ones.
 */
#include <math.h>

#include "check.h"
#include "sparsetrace/reason.h"

#define N 16

static const char text[] =
    "Aa 1. Bb 2. Cc 3. Dd 4. Ee 5. Ff 6. Gg 7. Hh 8. Ii 9. Jj 10 Kk 11 Ll 12 Mm "
    "13 Nn 14 Oo 15 Pp 16";

static st_tagger *tagger;
static st_group sentence[N], token[N];
static float mean[N * N], surprise[N];
static double receiver[N];
static int32_t tag[N];
static st_flow flow[N];

static bool near(double x, double want)
{
    if (fabs(x - want) > 1e-6)
        printf("%.9g, wanted %.9g\n", x, want);
    return fabs(x - want) <= 1e-6;
}

/* Sentences of six bytes and two tokens; each looks at all before it alike, .02 a token. */
static void set_up(int64_t first_token)
{
    int plan = st_tagger_find(tagger, "plan_generation");
    for (int64_t i = 0; i < N; i++) {
        sentence[i] = (st_group){6 * i, 6 * i + 5};
        token[i] = (st_group){first_token + 2 * i, first_token + 2 * i + 2};
        tag[i] = plan;
        receiver[i] = i < N - 4 ? 1.0 : (double)NAN;
        surprise[i] = (float)i;
        for (int64_t j = 0; j < N; j++)
            mean[i * N + j] = j < i ? 0.02f : 0.0f;
    }
}

static st_status judge(int64_t n, st_quality *q, st_error *err)
{
    st_attention a = {mean, receiver, token, surprise};
    CHECK_STATUS(st_quality_of_text(tagger, text, sentence, tag, n, q, NULL), ST_OK);
    return st_quality_of_attention(tagger, text, sentence, tag, n, &a, flow, q, err);
}

static void check_even(void)
{
    st_quality q;
    set_up(10);
    CHECK_STATUS(judge(N, &q, NULL), ST_OK);
    CHECK(isnan(flow[0].lean) && near((double)flow[5].lean, 5 * 2 * 0.02));
    CHECK(near((double)flow[0].used, 1.0) && near((double)flow[11].used, 1.0));
    CHECK(isnan(flow[12].used) && isnan(flow[15].used)); /* nobody is far enough behind them */
    CHECK(near(q.dead_share, 7.0 / 12)); /* all below 2, but five are anchors */
    CHECK_EQ(q.n_claim, 0);
    CHECK(q.jump_share == -1.0 && near(q.support, 0.0) && near(q.support_base, 0.0));
    CHECK(near(q.anchor_share, 5.0 / 12));
    CHECK(near(q.surprise, 7.5) && near(q.surprise_anchor, 2.0) && q.surprise_answer == -1.0);
}

/* Sentence 3 computes, and the answer (the last one) looks at it five times as much as at others.
 */
static void check_support(void)
{
    st_quality q;
    double all = 0, work = 0, at[N] = {0};
    set_up(10);
    tag[3] = st_tagger_find(tagger, "active_computation");
    tag[15] = st_tagger_find(tagger, "final_answer_emission");
    mean[15 * N + 3] = 0.1f;
    CHECK_STATUS(judge(N, &q, NULL), ST_OK);
    at[15] = 1;
    for (int i = 15; i > 0; i--)
        for (int j = 0; j < i; j++)
            at[j] += at[i] * 0.5 * (i == 15 ? (j == 3 ? 5.0 / 19 : 1.0 / 19) : 1.0 / i);
    for (int j = 0; j < 15; j++)
        all += at[j];
    work = at[3];
    CHECK(near(q.support, work / all) && near(q.support_base, 1.0 / 15));
    CHECK(near((double)flow[3].used, 5.0 * 12 / 16) && !flow[3].dead);
    CHECK(near(q.dead_share, 7.0 / 12)); /* sentence 3 is the fourth of the five anchors */
    CHECK(!flow[0].dead && flow[5].dead);
    CHECK(near(q.surprise_answer, 15.0));
    CHECK_EQ(q.n_claim, 2); /* both have a number of their own */
    CHECK(flow[3].jump && !flow[15].jump && near(q.jump_share, 0.5));
}

/* The sentence with the sequence's first token is left out. */
static void check_first(void)
{
    st_quality q;
    set_up(0);
    for (int i = 1; i < N; i++)
        mean[i * N] = 0.4f;
    CHECK_STATUS(judge(N, &q, NULL), ST_OK);
    CHECK(isnan(flow[0].used) && isnan(flow[1].lean) && near((double)flow[2].lean, 0.04));
    CHECK(near((double)flow[1].used, 1.0));
}

static void check_edges(void)
{
    st_quality q;
    st_error err;
    set_up(10);
    CHECK_STATUS(judge(0, &q, NULL), ST_OK);
    CHECK(q.support == -1.0 && q.surprise == -1.0 && q.anchor_share == -1.0);
    receiver[0] = (double)NAN;
    CHECK_STATUS(judge(1, &q, NULL), ST_OK);
    CHECK(q.support == -1.0 && q.dead_share == -1.0 && q.anchor_share == -1.0);
    CHECK(near(q.surprise, 0.0));
    mean[5 * N + 2] = -0.1f;
    CHECK_STATUS(judge(N, &q, &err), ST_ERR_ARG);
    CHECK_EQ(err.position, 5);
    mean[5 * N + 2] = NAN;
    CHECK_STATUS(judge(N, &q, &err), ST_ERR_ARG);
    set_up(10);
    memset(mean, 0, sizeof mean); /* nothing is looked at */
    CHECK_STATUS(judge(N, &q, NULL), ST_OK);
    CHECK(q.support == -1.0 && q.dead_share == -1.0 && near((double)flow[4].lean, 0.0));
}

int main(void)
{
    CHECK_STATUS(st_tagger_open(NULL, &tagger, NULL), ST_OK);
    check_even();
    check_support();
    check_first();
    check_edges();
    st_tagger_free(tagger);
    return check_report();
}
