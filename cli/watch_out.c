/* SPDX-License-Identifier: MIT
 *
 * watch_out.c — what sparsetrace watch prints: lines for people, or one JSON object a line.
 */
#include <math.h>
#include <string.h>

#include "watch.h"

#define SNIPPET 60
#define SHOWN_LEAN 0.01 /* a text line names no fainter one; JSON does */

const char *watch_tag_name(const struct watch *w, int64_t i)
{
    return st_tagger_tag(w->tagger, w->tag[i]);
}

/* ---- a sentence ------------------------------------------------------------------------------ */

static void json_edges(const char *name, const st_dependency *edge, int64_t n, bool sources)
{
    printf(",\"%s\":[", name);
    for (int64_t k = 0; k < n; k++) {
        printf("%s{\"sentence\":%lld,\"score\":", k > 0 ? "," : "",
               (long long)(sources ? edge[k].from : edge[k].to));
        out_json_real(stdout, edge[k].score);
        putchar('}');
    }
    putchar(']');
}

static void text_edges(const char *arrow, const st_dependency *edge, int64_t n, bool sources)
{
    for (int64_t k = 0; k < n && edge[k].score >= SHOWN_LEAN; k++)
        printf("%s %lld (%.2f)", k > 0 ? "," : arrow,
               (long long)(sources ? edge[k].from : edge[k].to), edge[k].score);
}

static void json_sentence(const struct watch *w, int64_t i, double p, const char *phase, bool again)
{
    const st_group *s = &w->sentence[i];
    printf("{\"sentence\":%lld,\"begin\":%lld,\"end\":%lld,\"tag\":\"%s\",\"p\":", (long long)i,
           (long long)s->begin, (long long)s->end, watch_tag_name(w, i));
    out_json_real(stdout, p);
    printf(",\"phase\":\"%s\",\"again\":%s", phase, again ? "true" : "false");
    if (w->model.live != NULL) {
        const watch_read *r = &w->model.read[i];
        printf(",\"surprise\":");
        out_json_real(stdout, (double)r->surprise);
        json_edges("leans_on", r->lean, r->n_lean, true);
    }
    printf(",\"text\":");
    out_json_string(stdout, w->text + s->begin, s->end - s->begin);
    printf("}\n");
}

void watch_print_sentence(const struct watch *w, int64_t i, double p, const char *phase, bool again)
{
    const st_group *s = &w->sentence[i];
    if (w->args->json) {
        json_sentence(w, i, p, phase, again);
        return;
    }
    printf("%s%5lld %-10s %-22s %.2f  ", again ? "~" : " ", (long long)i, phase,
           watch_tag_name(w, i), p);
    out_snippet(stdout, w->text + s->begin, s->end - s->begin, SNIPPET);
    if (w->model.live != NULL && !again)
        text_edges("  ->", w->model.read[i].lean, w->model.read[i].n_lean, true);
    putchar('\n');
}

void watch_print_flag(const struct watch *w, const char *name, const char *text)
{
    if (w->args->json) {
        printf("{\"flag\":");
        out_json_string(stdout, name, (int64_t)strlen(name));
        printf(",\"sentence\":%lld,\"rule\":", (long long)w->n - 1);
        out_json_string(stdout, text, (int64_t)strlen(text));
        printf("}\n");
    } else {
        printf("!%5lld %s (%s)\n", (long long)w->n - 1, name, text);
    }
}

/* ---- what the model says --------------------------------------------------------------------- */

static void json_anchors(const watch_model *m)
{
    printf("\"anchors\":[");
    for (int64_t k = 0; k < m->n_anchor; k++) {
        const watch_anchor *a = &m->anchor[k];
        printf("%s{\"sentence\":%lld,\"score\":", k > 0 ? "," : "", (long long)a->sentence);
        out_json_real(stdout, a->score);
        json_edges("readers", a->reader, a->n_reader, false);
        putchar('}');
    }
    putchar(']');
}

void watch_print_anchors(const struct watch *w)
{
    const watch_model *m = &w->model;
    if (w->args->json) {
        putchar('{');
        json_anchors(m);
        printf(",\"at\":%lld}\n", (long long)w->n - 1);
        return;
    }
    printf("*%5lld anchors ", (long long)w->n - 1);
    for (int64_t k = 0; k < m->n_anchor; k++)
        printf("%s%lld", k > 0 ? ", " : "", (long long)m->anchor[k].sentence);
    putchar('\n');
}

static double pruned(const watch_model *m)
{
    return m->causal_pairs > 0 ? 1.0 - (double)m->kept_pairs / (double)m->causal_pairs : 0.0;
}

static void json_end(const struct watch *w)
{
    const watch_model *m = &w->model;
    printf("{\"end\":true,\"sentences\":%lld,\"tokens\":%lld,\"pruned\":", (long long)m->n,
           (long long)m->n_tok);
    out_json_real(stdout, pruned(m));
    printf(",\"heads\":[");
    for (int64_t i = 0; i < m->n_head; i++) {
        printf("%s{\"layer\":%d,\"head\":%d,\"kurtosis\":", i > 0 ? "," : "", m->head[i].layer,
               m->head[i].head);
        out_json_real(stdout, m->head[i].kurtosis);
        putchar('}');
    }
    printf("],");
    json_anchors(m);
    printf(",\"receiver\":[");
    for (int64_t i = 0; i < m->n; i++) {
        fputs(i > 0 ? "," : "", stdout);
        out_json_real(stdout, m->n_head > 0 ? m->receiver[i] : (double)NAN);
    }
    printf("]}\n");
}

void watch_print_end(const struct watch *w)
{
    const watch_model *m = &w->model;
    char tokens[32];
    if (m->live == NULL)
        return;
    if (w->args->json) {
        json_end(w);
        return;
    }
    printf("------ %s tokens read, %.1f %% of the causal pairs left out\n",
           out_count(tokens, m->n_tok), 100.0 * pruned(m));
    for (int64_t k = 0; k < m->n_anchor; k++) {
        const watch_anchor *a = &m->anchor[k];
        const st_group *s = &w->sentence[a->sentence];
        printf("anchor %5lld %.5f  ", (long long)a->sentence, a->score);
        out_snippet(stdout, w->text + s->begin, s->end - s->begin, SNIPPET);
        text_edges("  <-", a->reader, a->n_reader, false);
        putchar('\n');
    }
    if (m->n_head > 0)
        printf("receiver heads");
    for (int64_t i = 0; i < m->n_head; i++)
        printf(" L%d.H%d", m->head[i].layer, m->head[i].head);
    if (m->n_head > 0)
        putchar('\n');
}
