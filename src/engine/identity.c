/* SPDX-License-Identifier: MIT
 *
 * identity.c — everything that a tracing job's result depends on, as lines of "name value": a
 * checkpoint goes on only in a job of the same lines. Threads are not among them: they change no
 * result. Nor is where the files lie.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "base/util.h"
#include "engine/checkpoint.h"

struct text {
    char *data;
    int64_t n, cap;
    bool failed;
};

static void add(struct text *t, const char *name, const char *fmt, ...) ST_PRINTF(3, 4);

static void add(struct text *t, const char *name, const char *fmt, ...)
{
    char value[160];
    int64_t n;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    for (char *c = value; *c != '\0'; c++)
        *c = *c == '\n' ? ' ' : *c;
    n = (int64_t)(strlen(name) + strlen(value)) + 2;
    t->failed = t->failed || !sti_grow((void **)&t->data, &t->cap, t->n + n + 1, 1);
    if (!t->failed)
        t->n += snprintf(t->data + t->n, (size_t)n + 1, "%s %s\n", name, value);
}

static void add_hash(struct text *t, const char *name, const void *data, int64_t bytes)
{
    char hex[65];
    sti_sha256 sha;
    sti_sha256_init(&sha);
    sti_sha256_add(&sha, data, (size_t)bytes);
    sti_sha256_hex(&sha, hex);
    add(t, name, "%.16s", hex);
}

static void add_select(struct text *t, const st_select_params *s)
{
    add(t, "method", "%s", st_select_method_name(s->method));
    add(t, "block-q", "%d", s->bq);
    add(t, "block-k", "%d", s->bk);
    add(t, "k", "%.17g", s->k);
    add(t, "mass", "%.9g", (double)s->mass);
    add(t, "sink-blocks", "%d", s->sink_blk);
    add(t, "window-blocks", "%d", s->window_blk);
    add(t, "sample-rows", "%d", s->rows);
    add(t, "beam", "%d", s->beam);
    add(t, "rerank", "%.9g", (double)s->rerank);
    add(t, "pooled", "%d", s->pooled);
    add(t, "grow-tokens", "%lld", (long long)s->grow_tok);
}

static void add_record(struct text *t, const st_trace_options *o)
{
    if (o->layer != NULL)
        add_hash(t, "recorded-layers", o->layer, o->n_layer * (int64_t)sizeof *o->layer);
    else
        add(t, "recorded-layers", "all");
    if (o->head != NULL)
        add_hash(t, "recorded-heads", o->head, o->n_head * (int64_t)sizeof *o->head);
    else
        add(t, "recorded-heads", "all");
    if (o->n_group > 0)
        add_hash(t, "recorded-groups", o->group, o->n_group * (int64_t)sizeof *o->group);
    add(t, "recorded-rows", "%lld:%lld", (long long)o->row_begin, (long long)o->row_end);
    add(t, "lse", "%s", o->lse ? "yes" : "no");
    add(t, "mass-floor", "%.9g", (double)o->mass_floor);
}

char *sti_identity(const st_model *m, const int32_t *token, int64_t n_tok, const st_trace_params *p,
                   st_against against)
{
    static const char *const budget[] = {"auto", "k", "pruned", "mass"};
    const char *system = llama_print_system_info();
    struct text t = {.data = NULL};
    add(&t, "version", "%s", st_version());
    add(&t, "kernels", "%s", st_cpu_name());
    add(&t, "matrix-products", "%s", st_ggml_linear() != NULL ? st_ggml_linear() : "ggml");
    add_hash(&t, "libllama", system, (int64_t)strlen(system));
    add(&t, "model", "%.16s", m->info.sha256);
    add(&t, "weights", "%s", m->info.weights);
    add(&t, "tokens", "%lld", (long long)n_tok);
    add_hash(&t, "prompt", token, n_tok * (int64_t)sizeof *token);
    add(&t, "budget", "%s", budget[p->budget]);
    add(&t, "pruned", "%.17g", p->pruned);
    add(&t, "max-kl", "%.17g", p->max_kl);
    add(&t, "values", "%s", p->value ? "yes" : "no");
    add_select(&t, &p->select);
    for (int64_t i = 0; i < p->n_edit; i++) {
        char edit[ST_EDIT_TEXT];
        st_edit_print(&p->edit[i], edit);
        add(&t, "edit", "%s", edit);
    }
    add(&t, "against", "%s", st_against_name(against));
    add(&t, "floor", "%s", p->measure_floor ? "measured" : "assumed");
    add(&t, "cert-rows", "%d", p->cert_rows);
    add(&t, "seed", "%llu", (unsigned long long)p->seed);
    add(&t, "k-cache", "%s", p->run.type_k);
    add(&t, "v-cache", "%s", p->run.type_v);
    add(&t, "ubatch", "%d", sti_run_ubatch(n_tok, p->run.n_ubatch));
    add(&t, "last", "%d", p->run.n_last);
    add(&t, "attention", "%s", p->run.stock_attention ? "stock" : "ours");
    add_record(&t, &p->record);
    if (!t.failed)
        return t.data;
    sti_free(t.data);
    return NULL;
}

/* The line at *at of text [n], as a string that can be shown; moves *at on. Empty at the end. */
static void next_line(const char *text, int64_t n, int64_t *at, char line[192])
{
    int length = 0;
    for (; *at < n && text[*at] != '\n'; (*at)++)
        if (length < 191)
            line[length++] = text[*at] >= ' ' && text[*at] < 0x7f ? text[*at] : '.';
    line[length] = '\0';
    *at += *at < n;
}

st_status sti_identity_check(const char *path, const char *mine, const char *theirs,
                             int64_t n_theirs, st_error *err)
{
    int64_t n = (int64_t)strlen(mine), i = 0, j = 0;
    while (i < n || j < n_theirs) {
        char a[192], b[192];
        size_t name;
        next_line(mine, n, &i, a);
        next_line(theirs, n_theirs, &j, b);
        if (strcmp(a, b) == 0)
            continue;
        name = strcspn(a, " ");
        if (a[name] == ' ' && strncmp(a, b, name + 1) == 0)
            return sti_fail(err, ST_ERR_ARG, -1,
                            "%s is the checkpoint of another run: %.*s was %.80s there, is %.80s",
                            path, (int)name, a, b + name + 1, a + name + 1);
        return sti_fail(err, ST_ERR_ARG, -1, "%s is the checkpoint of another version", path);
    }
    return ST_OK;
}
