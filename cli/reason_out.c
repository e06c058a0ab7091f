/* SPDX-License-Identifier: MIT
 *
 * reason_out.c — a trace's sentences, phases and quality for people, programs and tables.
 */
#include <string.h>

#include "out.h"
#include "reason_out.h"

#define CELLS 64 /* of the strip */

static const char *tag_name(const reading *r, int64_t i)
{
    return r->tag[i] >= 0 ? st_tagger_tag(r->tagger, r->tag[i]) : "unknown";
}

static double tag_prob(const reading *r, int64_t i)
{
    return r->tag[i] >= 0 ? (double)r->prob[i * st_tagger_n_tag(r->tagger) + r->tag[i]] : 0.0;
}

/* One past the last sentence of the phase that sentence i is in. */
static int64_t phase_end(const reading *r, int64_t i)
{
    int64_t end = i + 1;
    while (end < r->n && r->phase[end] == r->phase[i])
        end++;
    return end;
}

static double mean_confidence(const reading *r, int64_t begin, int64_t end)
{
    double sum = 0.0;
    for (int64_t i = begin; i < end; i++)
        sum += (double)r->confidence[i];
    return sum / (double)(end - begin);
}

static int64_t text_bytes(const reading *r, int64_t i)
{
    return r->sentence[i].end - r->sentence[i].begin;
}

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

static void print_strip(const reading *r)
{
    int64_t cells = r->n < CELLS ? r->n : CELLS;
    char strip[CELLS + 1] = "";
    for (int64_t c = 0; c < cells; c++)
        strip[c] = letter(cell_phase(r, c * r->n / cells, (c + 1) * r->n / cells));
    out_row("phases", "|%s|", strip);
    out_row("", "U understand, P plan, C compute, D doubt and backtrack, V verify, E conclude");
}

static void print_phases(const reading *r)
{
    printf("\n  phase        sentences  conf.  begins with\n");
    for (int64_t i = 0, end; i < r->n; i = end) {
        char span[48];
        end = phase_end(r, i);
        snprintf(span, sizeof span, "%lld..%lld", (long long)i, (long long)end - 1);
        printf("  %c %-10s %9s  %4.0f %%  ", letter(r->phase[i]), st_phase_name(r->phase[i]), span,
               100 * mean_confidence(r, i, end));
        out_snippet(stdout, r->text + r->sentence[i].begin, text_bytes(r, i), 56);
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

static void print_sentences(const reading *r)
{
    putchar('\n');
    for (int64_t i = 0; i < r->n; i++) {
        printf("  %5lld %c %-22s ", (long long)i, r->has_phases ? letter(r->phase[i]) : ' ',
               tag_name(r, i));
        if (r->given)
            printf("     ");
        else
            printf("%.2f ", tag_prob(r, i));
        out_snippet(stdout, r->text + r->sentence[i].begin, text_bytes(r, i), 64);
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
    if (r->n > 0) {
        print_tags(r);
        if (r->has_phases)
            print_strip(r);
        print_quality(&r->quality);
        if (r->has_phases)
            print_phases(r);
        if (sentences)
            print_sentences(r);
    }
    putchar('\n');
}

/* ---- for programs ---------------------------------------------------------------------------- */

static void json_share(const char *name, double x)
{
    printf(",\"%s\":", name);
    if (x < 0.0)
        printf("null");
    else
        out_json_real(stdout, x);
}

static void json_quality(const st_quality *q)
{
    printf(",\"quality\":{\"n_sentence\":%lld,\"n_doubt\":%lld,\"n_check\":%lld,\"n_episode\":%lld",
           (long long)q->n_sentence, (long long)q->n_doubt, (long long)q->n_check,
           (long long)q->n_episode);
    json_share("doubt_share", q->doubt_share);
    json_share("check_share", q->check_share);
    json_share("led_share", q->led_share);
    json_share("repeated_share", q->repeated_share);
    json_share("answer_at", q->answer_at);
    json_share("checked_after", q->checked_after);
    json_share("score", q->score);
    putchar('}');
}

static void json_phases(const reading *r)
{
    printf(",\"phases\":[");
    for (int64_t i = 0, end; i < r->n; i = end) {
        end = phase_end(r, i);
        printf("%s{\"phase\":\"%s\",\"begin\":%lld,\"end\":%lld,\"confidence\":", i > 0 ? "," : "",
               st_phase_name(r->phase[i]), (long long)i, (long long)end);
        out_json_real(stdout, mean_confidence(r, i, end));
        printf(",\"boundary\":");
        out_json_real(stdout, (double)r->boundary[i]);
        putchar('}');
    }
    putchar(']');
}

static void json_sentence(const reading *r, int64_t i)
{
    const char *name = tag_name(r, i);
    printf("{\"begin\":%lld,\"end\":%lld,\"tag\":", (long long)r->sentence[i].begin,
           (long long)r->sentence[i].end);
    out_json_string(stdout, name, (int64_t)strlen(name));
    if (!r->given) {
        printf(",\"p\":");
        out_json_real(stdout, tag_prob(r, i));
    }
    if (r->has_phases) {
        printf(",\"phase\":\"%s\",\"phase_p\":", st_phase_name(r->phase[i]));
        out_json_real(stdout, (double)r->confidence[i]);
    }
    printf(",\"text\":");
    out_json_string(stdout, r->text + r->sentence[i].begin, text_bytes(r, i));
    putchar('}');
}

void reason_print_json(const reading *r)
{
    printf("{\"id\":");
    out_json_string(stdout, r->id, (int64_t)strlen(r->id));
    if (r->line > 0)
        printf(",\"line\":%lld", (long long)r->line);
    printf(",\"begin\":%lld,\"end\":%lld,\"n_replaced\":%lld,\"tags_given\":%s",
           (long long)r->part.begin, (long long)r->part.end, (long long)r->n_replaced,
           r->given ? "true" : "false");
    json_quality(&r->quality);
    if (r->has_phases)
        json_phases(r);
    printf(",\"sentences\":[");
    for (int64_t i = 0; i < r->n; i++) {
        fputs(i > 0 ? "," : "", stdout);
        json_sentence(r, i);
    }
    printf("]}\n");
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

void reason_print_csv_head(void)
{
    printf("trace,sentence,begin,end,tag,p,phase,phase_p,boundary_p,text\n");
}

void reason_print_csv(const reading *r)
{
    for (int64_t i = 0; i < r->n; i++) {
        const char *name = tag_name(r, i);
        csv_string(r->id, (int64_t)strlen(r->id));
        printf(",%lld,%lld,%lld,", (long long)i, (long long)r->sentence[i].begin,
               (long long)r->sentence[i].end);
        csv_string(name, (int64_t)strlen(name));
        if (r->given)
            printf(",,");
        else
            printf(",%.6f,", tag_prob(r, i));
        if (r->has_phases)
            printf("%s,%.6f,%.6f,", st_phase_name(r->phase[i]), (double)r->confidence[i],
                   (double)r->boundary[i]);
        else
            printf(",,,");
        csv_string(r->text + r->sentence[i].begin, text_bytes(r, i));
        putchar('\n');
    }
}
