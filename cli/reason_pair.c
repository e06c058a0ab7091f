/* SPDX-License-Identifier: MIT
 *
 * reason_pair.c — two traces of one problem side by side: tags, phases, measures, and how much of
 * each the other one has too.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "reason_out.h"

#define WIDE 34 /* columns of one side's text */

/* ---- what both say --------------------------------------------------------------------------- */

/* Letters and digits of a sentence in lower case; free(). What is compared: spelling, not dress. */
static char *core_of(const reading *r, int64_t i)
{
    const char *s = r->text + r->sentence[i].begin;
    int64_t n = reason_text_bytes(r, i), to = 0;
    char *core = out_need((size_t)n + 1);
    for (int64_t k = 0; k < n; k++)
        if (isalnum((unsigned char)s[k]) || (unsigned char)s[k] >= 0x80)
            core[to++] = (char)tolower((unsigned char)s[k]);
    core[to] = '\0';
    return core;
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static char **cores_of(const reading *r)
{
    char **core = out_need(((size_t)r->n + 1) * sizeof *core);
    for (int64_t i = 0; i < r->n; i++)
        core[i] = core_of(r, i);
    return core;
}

/* Sentences of a that b has too, letter by letter. */
static int64_t count_shared(const reading *a, const reading *b)
{
    char **x = cores_of(a), **y = cores_of(b);
    int64_t count = 0;
    qsort(y, (size_t)b->n, sizeof *y, by_text);
    for (int64_t i = 0; i < a->n; i++)
        count += bsearch(&x[i], y, (size_t)b->n, sizeof *y, by_text) != NULL;
    for (int64_t i = 0; i < a->n; i++)
        free(x[i]);
    for (int64_t i = 0; i < b->n; i++)
        free(y[i]);
    free(x);
    free(y);
    return count;
}

/* ---- for people ------------------------------------------------------------------------------ */

static void row(const char *name, const char *a, const char *b)
{
    printf("  %-24s %12s %12s\n", name, a, b);
}

static void row_count(const char *name, int64_t a, int64_t b)
{
    char x[32], y[32];
    row(name, out_count(x, a), out_count(y, b));
}

static const char *write_real(double x, char buf[32])
{
    if (x < 0.0)
        return "none";
    snprintf(buf, 32, "%.3g", x);
    return buf;
}

static void row_real(const char *name, double a, double b)
{
    char x[32], y[32];
    row(name, write_real(a, x), write_real(b, y));
}

static void print_measures(const st_quality *a, const st_quality *b, bool attention)
{
    row_count("doubts", a->n_doubt, b->n_doubt);
    row_count("stretches of doubt", a->n_episode, b->n_episode);
    row_real("  led on, share", a->led_share, b->led_share);
    row_real("checking, share", a->check_share, b->check_share);
    row_real("  after the result", a->checked_after, b->checked_after);
    row_real("repetition", a->repeated_share, b->repeated_share);
    row_real("answer at", a->answer_at, b->answer_at);
    row_real("score", a->score, b->score);
    if (!attention)
        return;
    row_real("support", a->support, b->support);
    row_real("  by chance", a->support_base, b->support_base);
    row_real("dead ends, share", a->dead_share, b->dead_share);
    row_real("jumps, share", a->jump_share, b->jump_share);
    row_real("anchors hold", a->anchor_share, b->anchor_share);
    row_real("surprise, nats", a->surprise, b->surprise);
    row_real("  at anchors", a->surprise_anchor, b->surprise_anchor);
    row_real("  at the answer", a->surprise_answer, b->surprise_answer);
}

static int64_t count_tag(const reading *r, int tag)
{
    int64_t count = 0;
    for (int64_t i = 0; i < r->n; i++)
        count += r->tag[i] == tag;
    return count;
}

static void print_anchor(const reading *r, int64_t k)
{
    if (k >= r->attention->n_anchor)
        return;
    int64_t i = r->attention->anchor[k].sentence;
    printf("%5lld ", (long long)i);
    out_snippet(stdout, r->text + r->sentence[i].begin, reason_text_bytes(r, i), 2 * WIDE);
    putchar('\n');
}

static void print_side(const char *name, const reading *r)
{
    char strip[REASON_CELLS + 1], id[256];
    printf("%s  %s\n", name, out_clean(id, sizeof id, r->id));
    if (r->has_phases && r->n > 0) {
        reason_strip(r, strip);
        printf("   |%s|\n", strip);
    }
}

void reason_print_pair(const reading *a, const reading *b)
{
    bool attention = a->attention != NULL && b->attention != NULL;
    print_side("A", a);
    print_side("B", b);
    putchar('\n');
    row("", "A", "B");
    row_count("sentences", a->n, b->n);
    row_count("  that the other has", count_shared(a, b), count_shared(b, a));
    for (int t = 0; t < st_tagger_n_tag(a->tagger); t++)
        row_count(st_tagger_tag(a->tagger, t), count_tag(a, t), count_tag(b, t));
    print_measures(&a->quality, &b->quality, attention);
    for (int side = 0; attention && side < 2; side++) {
        printf("\nanchors of %s\n", side == 0 ? "A" : "B");
        for (int64_t k = 0; k < REASON_ANCHORS; k++)
            print_anchor(side == 0 ? a : b, k);
    }
}

/* ---- for programs ---------------------------------------------------------------------------- */

void reason_print_json_pair(const reading *a, const reading *b)
{
    printf("{\"shared\":[%lld,%lld],\"a\":", (long long)count_shared(a, b),
           (long long)count_shared(b, a));
    reason_print_json(stdout, a);
    printf(",\"b\":");
    reason_print_json(stdout, b);
    printf("}\n");
}
