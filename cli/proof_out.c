/* SPDX-License-Identifier: MIT
 *
 * proof_out.c — what runs without the edges, and with little else, did to the target.
 */
#include <math.h>

#include "out.h"
#include "proof_out.h"

static int n_target(const st_effect *e, int n, int32_t target)
{
    int same = 0;
    for (int i = 0; i < n; i++)
        same += e[i].top == target;
    return same;
}

static void row(const st_model *m, const char *name, const st_effect *e, double loss)
{
    char buf[OUT_TOKEN];
    out_row(name, "%.2f %%: %.3f nats lost, next token %s", 100 * exp(e->log_p), loss,
            out_token(m, e->top, buf));
}

const char *proof_verdict(const st_proof *p)
{
    if (p->necessary && p->sufficient)
        return "causal: the model needs these reads, and they are enough";
    if (p->necessary)
        return "needed, but not enough alone";
    if (p->sufficient)
        return "enough alone, but not needed: there are other ways";
    return "not causal";
}

void proof_table(const st_model *m, const st_proof *p)
{
    char buf[OUT_TOKEN];
    printf("%s\n", proof_verdict(p));
    out_row("target", "%s, %.2f %% in the plain run%s", out_token(m, p->target, buf),
            100 * exp(p->plain.log_p), p->exact ? " (exact)" : " (pruned)");
    row(m, "without them", &p->deny, p->deny_loss);
    out_row("without drawn", "%.3f nats lost (mean of %d; 95 %% interval %.3f..%.3f, most %.3f)",
            p->random_loss, p->n_random, p->random_loss_ci[0], p->random_loss_ci[1],
            p->random_loss_max);
    row(m, "them alone", &p->keep, p->keep_loss);
    out_row("drawn alone",
            "%.3f nats lost (mean; 95 %% interval %.3f..%.3f, least %.3f), target kept by %d",
            p->random_keep_loss, p->random_keep_loss_ci[0], p->random_keep_loss_ci[1],
            p->random_keep_loss_min, n_target(p->random_keep, p->n_random, p->target));
    out_row("seconds", "%.1f, %lld tokens run, %lld taken from an earlier run's cache", p->seconds,
            (long long)p->n_tok_run, (long long)p->n_tok_reused);
}

static void json_effect(const char *name, const st_effect *e)
{
    printf("\"%s\":{\"log_p\":", name);
    out_json_real(stdout, e->log_p);
    printf(",\"top\":%d}", e->top);
}

static void json_effects(const char *name, const st_effect *e, int n)
{
    printf(",\"%s\":[", name);
    for (int i = 0; i < n; i++) {
        printf(i > 0 ? ",[" : "[");
        out_json_real(stdout, e[i].log_p);
        printf(",%d]", e[i].top);
    }
    printf("]");
}

static void json_loss(const char *name, double loss, double random, const double ci[2])
{
    printf(",\"%s\":{\"loss\":", name);
    out_json_real(stdout, loss);
    printf(",\"random\":");
    out_json_real(stdout, random);
    printf(",\"random_ci95\":[");
    out_json_real(stdout, ci[0]);
    printf(",");
    out_json_real(stdout, ci[1]);
    printf("]}");
}

void proof_json(const st_model *m, const st_proof *p)
{
    char piece[64];
    int n = st_model_piece(m, p->target, piece, sizeof piece);
    printf("{\"target\":{\"id\":%d,\"text\":", p->target);
    out_json_string(stdout, piece, n < (int)sizeof piece ? n : (int)sizeof piece);
    printf("},\"exact\":%s,\"necessary\":%s,\"sufficient\":%s,\"causal\":%s,",
           p->exact ? "true" : "false", p->necessary ? "true" : "false",
           p->sufficient ? "true" : "false", p->necessary && p->sufficient ? "true" : "false");
    json_effect("plain", &p->plain);
    printf(",");
    json_effect("deny", &p->deny);
    printf(",");
    json_effect("keep", &p->keep);
    json_effects("random_deny", p->random_deny, p->n_random);
    json_effects("random_keep", p->random_keep, p->n_random);
    json_loss("necessity", p->deny_loss, p->random_loss, p->random_loss_ci);
    json_loss("sufficiency", p->keep_loss, p->random_keep_loss, p->random_keep_loss_ci);
    printf(",\"seconds\":%.3f,\"tokens_run\":%lld,\"tokens_reused\":%lld}", p->seconds,
           (long long)p->n_tok_run, (long long)p->n_tok_reused);
}
