/* SPDX-License-Identifier: MIT
 *
 * reason_out.c — a trace's sentences, phases, anchors and quality for people and for tables.
 */
#include <math.h>
#include <string.h>

#include "out.h"
#include "reason_out.h"

/* ---- for people ------------------------------------------------------------------------------ */

static char letter(st_phase phase)
{
    return "UPCDVE"[phase];
}

/* The phase with the most sentences of a cell, the first of equals. */
static st_phase cell_phase(const reading *r, int64_t begin, int64_t end)
{
    int64_t count[ST_PHASE_COUNT] = {0};
    st_phase most = 0;
    for (int64_t i = begin; i < end; i++)
        count[r->phase[i]]++;
    for (int p = 1; p < ST_PHASE_COUNT; p++)
        if (count[p] > count[most])
            most = (st_phase)p;
    return most;
}

void reason_strip(const reading *r, char strip[REASON_CELLS + 1])
{
    int64_t cells = r->n < REASON_CELLS ? r->n : REASON_CELLS;
    for (int64_t c = 0; c < cells; c++)
        strip[c] = letter(cell_phase(r, c * r->n / cells, (c + 1) * r->n / cells));
    strip[cells] = '\0';
}

static void print_strip(const reading *r)
{
    char strip[REASON_CELLS + 1];
    reason_strip(r, strip);
    out_row("phases", "|%s|", strip);
    out_row("", "U understand, P plan, C compute, D doubt and backtrack, V verify, E conclude");
}

static void print_phases(const reading *r)
{
    printf("\n  phase        sentences  conf.  begins with\n");
    for (int64_t i = 0, end; i < r->n; i = end) {
        char span[48];
        end = reason_phase_end(r, i);
        snprintf(span, sizeof span, "%lld..%lld", (long long)i, (long long)end - 1);
        printf("  %c %-10s %9s  %4.0f %%  ", letter(r->phase[i]), st_phase_name(r->phase[i]), span,
               100 * reason_phase_confidence(r, i, end));
        out_snippet(stdout, r->text + r->sentence[i].begin, reason_text_bytes(r, i), 56);
        putchar('\n');
    }
}

static void print_tags(const reading *r)
{
    for (int t = -1; t < st_tagger_n_tag(r->tagger); t++) {
        int64_t count = 0;
        for (int64_t i = 0; i < r->n; i++)
            count += r->tag[i] == t;
        if (count > 0)
            printf("    %-24s %5lld  %5.1f %%\n", t < 0 ? "unknown" : st_tagger_tag(r->tagger, t),
                   (long long)count, 100.0 * (double)count / (double)r->n);
    }
}

static void print_share(const char *name, double x, const char *of)
{
    if (x < 0.0)
        out_row(name, "none");
    else
        out_row(name, "%.1f %% %s", 100 * x, of);
}

static void print_quality(const st_quality *q)
{
    char a[32], b[32];
    out_row("doubt", "%s sentences in %s stretches", out_count(a, q->n_doubt),
            out_count(b, q->n_episode));
    print_share("  led on", q->led_share, "of the stretches led to a number not seen before");
    out_row("checking", "%s sentences", out_count(a, q->n_check));
    print_share("  after result", q->checked_after, "of the sentences after the first result");
    print_share("repetition", q->repeated_share, "of the word triples came earlier");
    if (q->answer_at >= 0.0)
        out_row("answer", "first at %.0f %% of the trace", 100 * q->answer_at);
    else
        out_row("answer", "none");
    if (q->score >= 0.0)
        out_row("score",
                "%.2f (weak evidence that the answer is right: see docs/method/quality.md)",
                q->score);
}

/* ---- what attention adds --------------------------------------------------------------------- */

static void print_run(const reading *r)
{
    const st_trace_report *t = &r->attention->run.report;
    char a[32], name[128], recall[64] = "";
    out_row("model", "%s, %s tokens", out_clean(name, sizeof name, r->model_name),
            out_count(a, t->n_tok));
    if (t->has_cert)
        snprintf(recall, sizeof recall, "%.1f %% of the exact mass kept, ",
                 100 * t->cert.recall_mean);
    out_row("pruned", "%.2f %% of the causal pairs, %s%.1f s", 100 * t->pruned_fraction, recall,
            t->seconds_total);
}

static void print_flow(const st_quality *q)
{
    if (q->support >= 0.0)
        out_row("support",
                "%.0f %% of what the answer stands on computes or checks (%.0f %% of the text)",
                100 * q->support, 100 * q->support_base);
    print_share("dead ends", q->dead_share, "of the sentences are not looked back at");
    if (q->jump_share >= 0.0)
        out_row("jumps", "%.1f %% of %lld claims lean on little", 100 * q->jump_share,
                (long long)q->n_claim);
    print_share("anchors hold", q->anchor_share, "of the receiver scores");
    if (q->surprise >= 0.0)
        out_row("surprise", "%.2f nats a token", q->surprise);
    if (q->surprise_anchor >= 0.0)
        out_row("  at anchors", "%.2f", q->surprise_anchor);
    if (q->surprise_answer >= 0.0)
        out_row("  at the answer", "%.2f", q->surprise_answer);
}

static void print_anchors(const reading *r)
{
    const reason_attention *a = r->attention;
    printf("\n  anchor  score     tag, text; who leans on it most\n");
    for (int64_t k = 0; k < a->n_anchor; k++) {
        const reason_anchor *x = &a->anchor[k];
        printf("  %6lld  %-8.2g  %s: ", (long long)x->sentence, a->receiver[x->sentence],
               reason_tag_name(r, x->sentence));
        out_snippet(stdout, r->text + r->sentence[x->sentence].begin,
                    reason_text_bytes(r, x->sentence), 56);
        putchar('\n');
        for (int64_t i = 0; i < x->n_reader; i++) {
            int64_t s = x->reader[i].sentence;
            printf("                    <- %lld %s: ", (long long)s, reason_tag_name(r, s));
            out_snippet(stdout, r->text + r->sentence[s].begin, reason_text_bytes(r, s), 40);
            putchar('\n');
        }
    }
    printf("\n  receiver heads (kurtosis)");
    for (int64_t i = 0; i < a->n_head; i++)
        printf("%sL%d.H%d %.1f", i % 5 == 0 ? "\n    " : "  ", a->head[i].layer, a->head[i].head,
               a->head[i].kurtosis);
    putchar('\n');
}

static void print_sentences(const reading *r)
{
    putchar('\n');
    for (int64_t i = 0; i < r->n; i++) {
        printf("  %5lld %c %-22s ", (long long)i, r->has_phases ? letter(r->phase[i]) : ' ',
               reason_tag_name(r, i));
        if (r->given)
            printf("     ");
        else
            printf("%.2f ", reason_tag_prob(r, i));
        out_snippet(stdout, r->text + r->sentence[i].begin, reason_text_bytes(r, i), 64);
        putchar('\n');
    }
}

void reason_print_text(const reading *r, bool sentences)
{
    char a[32], name[256];
    printf("%s\n", out_clean(name, sizeof name, r->id));
    out_row("sentences", "%s%s", out_count(a, r->n), r->given ? ", tags given" : "");
    if (r->n_replaced > 0)
        out_row("", "%s broken characters (lone surrogates) shown as U+FFFD",
                out_count(a, r->n_replaced));
    if (r->attention != NULL)
        print_run(r);
    if (r->n > 0) {
        out_row("tagger", "%s", out_clean(name, sizeof name, r->tagger_name));
        print_tags(r);
        if (r->has_phases)
            print_strip(r);
        print_quality(&r->quality);
        if (r->attention != NULL)
            print_flow(&r->quality);
        if (r->has_phases)
            print_phases(r);
        if (r->attention != NULL)
            print_anchors(r);
        if (sentences)
            print_sentences(r);
    }
    putchar('\n');
}

/* ---- for tables ------------------------------------------------------------------------------ */

static void csv_string(const char *s, int64_t n)
{
    putchar('"');
    for (int64_t i = 0; i < n; i++) {
        if (s[i] == '"')
            putchar('"');
        putchar(s[i]);
    }
    putchar('"');
}

void reason_print_csv_head(bool attention)
{
    printf("trace,sentence,begin,end,tag,p,phase,phase_p,boundary_p,%stext\n",
           attention ? "receiver,used,lean,surprise,dead,jump," : "");
}

static void csv_real(double x)
{
    if (!isnan(x))
        printf("%.6g", x);
    putchar(',');
}

static void csv_flow(const reason_attention *a, int64_t i)
{
    csv_real(a->receiver[i]);
    csv_real((double)a->flow[i].used);
    csv_real((double)a->flow[i].lean);
    csv_real((double)a->run.surprise[i]);
    printf("%d,%d,", a->flow[i].dead, a->flow[i].jump);
}

void reason_print_csv(const reading *r)
{
    for (int64_t i = 0; i < r->n; i++) {
        const char *name = reason_tag_name(r, i);
        csv_string(r->id, (int64_t)strlen(r->id));
        printf(",%lld,%lld,%lld,", (long long)i, (long long)r->sentence[i].begin,
               (long long)r->sentence[i].end);
        csv_string(name, (int64_t)strlen(name));
        if (r->given)
            printf(",,");
        else
            printf(",%.6f,", reason_tag_prob(r, i));
        if (r->has_phases)
            printf("%s,%.6f,%.6f,", st_phase_name(r->phase[i]), (double)r->confidence[i],
                   (double)r->boundary[i]);
        else
            printf(",,,");
        if (r->attention != NULL)
            csv_flow(r->attention, i);
        csv_string(r->text + r->sentence[i].begin, reason_text_bytes(r, i));
        putchar('\n');
    }
}
