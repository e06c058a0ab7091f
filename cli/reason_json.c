/* SPDX-License-Identifier: MIT
 *
 * reason_json.c — a trace as `sparsetrace reason` read it, as one JSON object: what --json prints
 * and what a kept trace carries. docs/trace-format.md, section 3.2, defines it.
 */
#include <math.h>
#include <string.h>

#include "out.h"
#include "reason_out.h"

const char *reason_tag_name(const reading *r, int64_t i)
{
    return r->tag[i] >= 0 ? st_tagger_tag(r->tagger, r->tag[i]) : "unknown";
}

double reason_tag_prob(const reading *r, int64_t i)
{
    return r->tag[i] >= 0 ? (double)r->prob[i * st_tagger_n_tag(r->tagger) + r->tag[i]] : 0.0;
}

/* One past the last sentence of the phase that sentence i is in. */
int64_t reason_phase_end(const reading *r, int64_t i)
{
    int64_t end = i + 1;
    while (end < r->n && r->phase[end] == r->phase[i])
        end++;
    return end;
}

double reason_phase_confidence(const reading *r, int64_t begin, int64_t end)
{
    double sum = 0.0;
    for (int64_t i = begin; i < end; i++)
        sum += (double)r->confidence[i];
    return sum / (double)(end - begin);
}

int64_t reason_text_bytes(const reading *r, int64_t i)
{
    return r->sentence[i].end - r->sentence[i].begin;
}

static void json_share(FILE *f, const char *name, double x)
{
    fprintf(f, ",\"%s\":", name);
    if (x < 0.0)
        fprintf(f, "null");
    else
        out_json_real(f, x);
}

static void json_quality(FILE *f, const st_quality *q, bool attention)
{
    fprintf(
        f, ",\"quality\":{\"n_sentence\":%lld,\"n_doubt\":%lld,\"n_check\":%lld,\"n_episode\":%lld",
        (long long)q->n_sentence, (long long)q->n_doubt, (long long)q->n_check,
        (long long)q->n_episode);
    json_share(f, "doubt_share", q->doubt_share);
    json_share(f, "check_share", q->check_share);
    json_share(f, "led_share", q->led_share);
    json_share(f, "repeated_share", q->repeated_share);
    json_share(f, "answer_at", q->answer_at);
    json_share(f, "checked_after", q->checked_after);
    json_share(f, "score", q->score);
    if (attention) {
        json_share(f, "support", q->support);
        json_share(f, "support_base", q->support_base);
        json_share(f, "dead_share", q->dead_share);
        fprintf(f, ",\"n_claim\":%lld", (long long)q->n_claim);
        json_share(f, "jump_share", q->jump_share);
        json_share(f, "anchor_share", q->anchor_share);
        json_share(f, "surprise", q->surprise);
        json_share(f, "surprise_anchor", q->surprise_anchor);
        json_share(f, "surprise_answer", q->surprise_answer);
    }
    putc('}', f);
}

static void json_run(FILE *f, const reason_run *run, const char *model)
{
    const st_trace_report *r = &run->report;
    fprintf(f, ",\"run\":{\"model\":");
    out_json_string(f, model, (int64_t)strlen(model));
    fprintf(f, ",\"n_tok\":%lld,\"k\":%.17g,\"pruned\":", (long long)r->n_tok, r->k);
    out_json_real(f, r->pruned_fraction);
    fprintf(f, ",\"recall\":");
    out_json_real(f, r->has_cert ? r->cert.recall_mean : (double)NAN);
    fprintf(f, ",\"seconds\":");
    out_json_real(f, r->seconds_total);
    putc('}', f);
}

static void json_heads(FILE *f, const reason_attention *a)
{
    fprintf(f, ",\"heads\":[");
    for (int64_t i = 0; i < a->n_head; i++) {
        fprintf(f, "%s{\"layer\":%d,\"head\":%d,\"kurtosis\":", i > 0 ? "," : "", a->head[i].layer,
                a->head[i].head);
        out_json_real(f, a->head[i].kurtosis);
        putc('}', f);
    }
    fprintf(f, "],\"anchors\":[");
    for (int64_t i = 0; i < a->n_anchor; i++) {
        const reason_anchor *x = &a->anchor[i];
        fprintf(f, "%s{\"sentence\":%lld,\"score\":", i > 0 ? "," : "", (long long)x->sentence);
        out_json_real(f, a->receiver[x->sentence]);
        fprintf(f, ",\"readers\":[");
        for (int64_t k = 0; k < x->n_reader; k++) {
            fprintf(f, "%s{\"sentence\":%lld,\"mean\":", k > 0 ? "," : "",
                    (long long)x->reader[k].sentence);
            out_json_real(f, x->reader[k].mean);
            putc('}', f);
        }
        fprintf(f, "]}");
    }
    putc(']', f);
}

static void json_flow(FILE *f, const reason_attention *a, int64_t i)
{
    fprintf(f, ",\"receiver\":");
    out_json_real(f, a->receiver[i]);
    fprintf(f, ",\"used\":");
    out_json_real(f, (double)a->flow[i].used);
    fprintf(f, ",\"lean\":");
    out_json_real(f, (double)a->flow[i].lean);
    fprintf(f, ",\"surprise\":");
    out_json_real(f, (double)a->run.surprise[i]);
    fprintf(f, ",\"dead\":%s,\"jump\":%s", a->flow[i].dead ? "true" : "false",
            a->flow[i].jump ? "true" : "false");
}

static void json_phases(FILE *f, const reading *r)
{
    fprintf(f, ",\"phases\":[");
    for (int64_t i = 0, end; i < r->n; i = end) {
        end = reason_phase_end(r, i);
        fprintf(f,
                "%s{\"phase\":\"%s\",\"begin\":%lld,\"end\":%lld,\"confidence\":", i > 0 ? "," : "",
                st_phase_name(r->phase[i]), (long long)i, (long long)end);
        out_json_real(f, reason_phase_confidence(r, i, end));
        fprintf(f, ",\"boundary\":");
        out_json_real(f, (double)r->boundary[i]);
        putc('}', f);
    }
    putc(']', f);
}

static void json_sentence(FILE *f, const reading *r, int64_t i)
{
    const char *name = reason_tag_name(r, i);
    fprintf(f, "{\"begin\":%lld,\"end\":%lld,\"tag\":", (long long)r->sentence[i].begin,
            (long long)r->sentence[i].end);
    out_json_string(f, name, (int64_t)strlen(name));
    if (!r->given) {
        fprintf(f, ",\"p\":");
        out_json_real(f, reason_tag_prob(r, i));
    }
    if (r->has_phases) {
        fprintf(f, ",\"phase\":\"%s\",\"phase_p\":", st_phase_name(r->phase[i]));
        out_json_real(f, (double)r->confidence[i]);
    }
    if (r->attention != NULL)
        json_flow(f, r->attention, i);
    fprintf(f, ",\"text\":");
    out_json_string(f, r->text + r->sentence[i].begin, reason_text_bytes(r, i));
    putc('}', f);
}

void reason_print_json(FILE *f, const reading *r)
{
    fprintf(f, "{\"version\":1,\"id\":");
    out_json_string(f, r->id, (int64_t)strlen(r->id));
    if (r->line > 0)
        fprintf(f, ",\"line\":%lld", (long long)r->line);
    fprintf(f, ",\"begin\":%lld,\"end\":%lld,\"n_replaced\":%lld,\"tags_given\":%s",
            (long long)r->part.begin, (long long)r->part.end, (long long)r->n_replaced,
            r->given ? "true" : "false");
    fprintf(f, ",\"tagger\":");
    out_json_string(f, r->tagger_name, (int64_t)strlen(r->tagger_name));
    json_quality(f, &r->quality, r->attention != NULL);
    if (r->attention != NULL)
        json_run(f, &r->attention->run, r->model_name);
    if (r->has_phases)
        json_phases(f, r);
    if (r->attention != NULL)
        json_heads(f, r->attention);
    fprintf(f, ",\"sentences\":[");
    for (int64_t i = 0; i < r->n; i++) {
        fputs(i > 0 ? "," : "", f);
        json_sentence(f, r, i);
    }
    fprintf(f, "]}");
}
