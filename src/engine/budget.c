/* SPDX-License-Identifier: MIT
 *
 * budget.c — how many key blocks to keep.
 *
 * "auto" against a dense run: double the searched budget (from 1: with nothing searched only sink
 * and window are left) until the next token is kept, then halve the gap a few times downwards.
 * Agreement is not monotone in k, so the result is "the smallest found", and the recorded run is
 * itself the check of it. Against stability: the smallest k of a doubling ladder whose next token
 * and distribution the run with 2k confirms.
 */
#include <math.h>
#include <stdio.h>

#include "base/util.h"
#include "engine/tracer.h"

#define STABLE_KL 0.05 /* nats between k and 2k */
#define REFINE_STEPS 4

/* Everything is kept from here on. */
static int64_t full_budget(const sti_tracer *t)
{
    int64_t nbk = sti_ceil_div(sti_run_n_tok(t->run), t->p->select.bk);
    return sti_max(nbk, 1);
}

static bool good_enough(const sti_tracer *t, const st_agreement *next)
{
    return sti_tracer_agrees(t, next) && (t->p->max_kl <= 0.0 || next->kl <= t->p->max_kl);
}

static st_status try_budget(sti_tracer *t, int64_t k, bool *ok, st_error *err)
{
    st_agreement next;
    st_pass pass;
    char what[32];
    snprintf(what, sizeof what, "trying k = %lld", (long long)k);
    STI_TRY(sti_tracer_pass(t, (double)k, NULL, what, &pass, err));
    st_compare(t->reference, pass.logits, pass.n_last, pass.n_vocab, &next);
    *ok = good_enough(t, &next);
    return ST_OK;
}

static st_status search_dense(sti_tracer *t, st_error *err)
{
    int64_t full = full_budget(t), least = st_select_min_k(&t->p->select);
    int64_t fails = least, holds, searched = 1;
    bool ok = false;
    for (holds = least; !ok; searched *= 2) {
        fails = holds;
        holds = sti_min(least + searched, full);
        STI_TRY(try_budget(t, holds, &ok, err));
        if (holds == full)
            break; /* exact attention: nothing more to keep */
    }
    if (!ok)
        return sti_fail(err, ST_ERR_LIMIT, -1,
                        "no budget keeps the next token: even k = %lld, everything, does not",
                        (long long)holds);
    for (int step = 0; step < REFINE_STEPS && holds - fails > 1; step++) {
        int64_t k = fails + (holds - fails) / 2;
        STI_TRY(try_budget(t, k, &ok, err));
        if (ok)
            holds = k;
        else
            fails = k;
    }
    t->ggml.select.k = (double)holds;
    return ST_OK;
}

static st_status search_stable(sti_tracer *t, st_error *err)
{
    int64_t full = full_budget(t), k = sti_min(st_select_min_k(&t->p->select) + 4, full);
    st_agreement next;
    st_pass pass;
    char what[32];
    snprintf(what, sizeof what, "trying k = %lld", (long long)k);
    STI_TRY(sti_tracer_pass(t, (double)k, NULL, what, &pass, err));
    for (; k < full; k = sti_min(2 * k, full)) {
        STI_TRY(sti_tracer_keep(t, &pass, err));
        snprintf(what, sizeof what, "trying k = %lld", (long long)sti_min(2 * k, full));
        STI_TRY(sti_tracer_pass(t, (double)sti_min(2 * k, full), NULL, what, &pass, err));
        st_compare(pass.logits, t->reference, pass.n_last, pass.n_vocab, &next);
        if (good_enough(t, &next) && next.kl < STABLE_KL)
            break;
    }
    STI_TRY(sti_tracer_keep(t, &pass, err));
    t->ggml.select.k = (double)k;
    return ST_OK;
}

/* A fixed budget's reference is the run with twice as much, and where a mass is asked for half as
 * much missing. */
static st_status stable_reference(sti_tracer *t, st_error *err)
{
    st_ggml_params own = t->ggml;
    st_pass pass;
    if (own.select.mass > 0.0f)
        t->ggml.select.mass = 0.5f * (1.0f + own.select.mass);
    STI_TRY(sti_tracer_pass(t, fmin(2 * own.select.k, (double)full_budget(t)), NULL, "run with 2k",
                            &pass, err));
    t->ggml = own;
    return sti_tracer_keep(t, &pass, err);
}

st_status sti_find_budget(sti_tracer *t, st_error *err)
{
    const st_trace_params *p = t->p;
    st_against against = t->report->against;
    t->ggml.select.mass = p->budget == ST_BUDGET_MASS ? p->select.mass : 0.0f;
    switch (p->budget) {
    case ST_BUDGET_AUTO:
        if (against == ST_AGAINST_NONE)
            return sti_fail(err, ST_ERR_ARG, -1,
                            "the budget auto needs something to agree with: dense or stable");
        return against == ST_AGAINST_DENSE ? search_dense(t, err) : search_stable(t, err);
    case ST_BUDGET_PRUNED: break; /* the geometry has given it already */
    case ST_BUDGET_K:
    case ST_BUDGET_MASS: t->ggml.select.k = p->select.k; break;
    }
    return against == ST_AGAINST_STABLE ? stable_reference(t, err) : ST_OK;
}
