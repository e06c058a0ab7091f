/* SPDX-License-Identifier: MIT
 *
 * cmd_route.c — sparsetrace route: by which layers and heads a passage reached another, as far as
 * attention mass tells.
 */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "out.h"
#include "paths.h"
#include "proof_out.h"
#include "route_graph.h"
#include "route_prove.h"
#include "span_args.h"

struct route_args {
    const char *file, *from, *to, *heads, *sink, *graph, *weight;
    int64_t top;
    route_prove_args proof;
    route_run run;
    bool json, prove, refine;
};

static int parse(struct route_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"--from", "SPAN", ARG_TEXT, &a->from, 0, 0,
         "the source: tokens 12:40, '\"text\"', '\"text\"#2', @name"},
        {"--to", "SPAN", ARG_TEXT, &a->to, 0, 0, "the target, likewise (last: the last token)"},
        {"--top", "N", ARG_INT, &a->top, 1, ST_ROUTES_MAX, "routes and heads to list (5)"},
        {"--heads", "L.H,...", ARG_TEXT, &a->heads, 0, 0, "only these heads move anything"},
        {"--sink", "HOW", ARG_TEXT, &a->sink, 0, 0,
         "drop: reading the first key block moves nothing (unless\nthe source touches it); keep"},
        {"--weight", "BY", ARG_TEXT, &a->weight, 0, 0,
         "value: mass times the size of what is carried (default\n"
         "where sparsetrace trace --values recorded it); mass"},
        {"--graph", "FILE", ARG_TEXT, &a->graph, 0, 0, "the routes as an attribution graph (JSON)"},
        {"--refine", NULL, ARG_FLAG, &a->refine, 0, 0,
         "run the model again and record the rows that the\n"
         "routes touch token by token: hops name tokens then"},
        {"--prove", NULL, ARG_FLAG, &a->prove, 0, 0,
         "run the model without the routes, with little else,\nand with drawn reads instead"},
        {"-m", "MODEL", ARG_TEXT, &a->run.path, 0, 0,
         "for --refine, --prove: the trace's GGUF file"},
        {"--each", NULL, ARG_FLAG, &a->proof.each, 0, 0, "for --prove: each route by itself too"},
        {"--random", "N", ARG_INT, &a->proof.n_random, 1, 10000, "for --prove: drawn sets (20)"},
        {"--seed", "N", ARG_INT, &a->proof.seed, 0, 0, "for --prove: of the drawing (0)"},
        {"--exact-max", "N", ARG_INT, &a->run.exact_max, 0, INT32_MAX,
         "up to this many tokens the model's runs are exact (16384)"},
        {"--threads", "N", ARG_INT, &a->run.n_thread, 1, 512,
         "of these runs (default: all processors)"},
        {"--quiet", NULL, ARG_FLAG, &a->run.bar.quiet, 0, 0, "no progress bar"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print one JSON object"},
    };
    const arg_verb verb = {
        "route", "TRACE --from SPAN [options]",
        "The ways from one passage to another through layers, heads and the residual stream,\n"
        "weighed by attention mass, or by mass and the size of what it carries. Neither is\n"
        "effect: a route is a suspect, not a proof.",
        option, sizeof option / sizeof *option, 1, 1};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, &a->file, &n_word);
    if (code >= 0)
        return code;
    if (a->from == NULL)
        return args_complain("route", "--from is missing");
    if ((a->prove || a->refine) != (a->run.path != NULL))
        return args_complain("route", a->prove    ? "--prove wants -m MODEL"
                                      : a->refine ? "--refine wants -m MODEL"
                                                  : "-m belongs to --refine or --prove");
    if (a->proof.each && !a->prove)
        return args_complain("route", "--each belongs to --prove");
    if (a->sink != NULL && strcmp(a->sink, "drop") != 0 && strcmp(a->sink, "keep") != 0)
        return args_complain("route", "--sink: no \"%s\" (drop, keep)", a->sink);
    if (a->weight != NULL && strcmp(a->weight, "value") != 0 && strcmp(a->weight, "mass") != 0)
        return args_complain("route", "--weight: no \"%s\" (value, mass)", a->weight);
    return PATHS_APART("route", "--graph", a->graph, a->file, a->run.path);
}

/* "7.3,12.0" into a list (free()). -1 to go on. */
static int parse_heads(const char *text, st_route_params *p)
{
    st_route_head *list = out_need((strlen(text) + 1) * sizeof *list);
    p->head = list;
    for (const char *at = text;; at++) {
        char *end;
        long layer = strtol(at, &end, 10), head = -1;
        if (end != at && *end == '.') {
            at = end + 1;
            head = strtol(at, &end, 10);
        }
        if (end == at || layer < 0 || head < 0 || layer > 65535 || head > 65535 ||
            (*end != ',' && *end != '\0'))
            return args_complain("route", "--heads: \"%s\" is not a list like 7.3,12.0", text);
        list[p->n_head++] = (st_route_head){.layer = (int)layer, .head = (int)head};
        if (*end == '\0')
            return -1;
        at = end;
    }
}

/* ---- text ------------------------------------------------------------------------------------ */

static void print_span(const st_trace *t, const char *name, int64_t begin, int64_t end)
{
    int64_t n;
    const char *text = st_trace_text(t, begin, end, &n);
    printf("  %-16stokens %lld..%lld  ", name, (long long)begin, (long long)end - 1);
    out_snippet(stdout, text, n, 60);
    putchar('\n');
}

static void print_cell(const st_trace *t, int64_t begin, int64_t end)
{
    int64_t n;
    const char *text = st_trace_text(t, begin, end, &n);
    printf("%lld..%lld ", (long long)begin, (long long)end - 1);
    out_snippet(stdout, text, n, 28);
}

static void print_routes(const st_trace *t, const st_routes *r, const route_proofs *proofs)
{
    printf("\nroutes (share of the target's state; of the flow; then each hop: mass read, share of "
           "the reader's state)\n");
    for (int64_t i = 0; i < r->n_route; i++) {
        const st_route *x = &r->route[i];
        printf("  %-3lld %.4f %%  %.1f %% of the flow%s\n", (long long)i + 1, 100 * x->weight,
               100 * x->weight / r->flow, x->n_hop == 0 ? ", stays where it is" : "");
        if (proofs->each != NULL && x->n_hop > 0)
            printf("      by itself: %s (without it %.3f nats lost, drawn ones at most %.3f)\n",
                   proof_verdict(&proofs->each[i]), proofs->each[i].deny_loss,
                   proofs->each[i].random_loss_max);
        for (int64_t k = 0; k < x->n_hop; k++) {
            const st_route_hop *h = &x->hop[k];
            printf("      L%d.H%-3d %5.1f %% %6.2f %%  ", h->layer, h->head, 100 * h->mass,
                   100 * h->weight);
            print_cell(t, h->query_begin, h->query_end);
            printf("  <-  ");
            print_cell(t, h->key_begin, h->key_end);
            putchar('\n');
        }
    }
}

static void print_all(const st_trace *t, const st_route_params *p, const st_routes *r, int64_t top,
                      const route_proofs *proofs)
{
    print_span(t, "from", p->source_begin, p->source_end);
    print_span(t, "to", p->target_begin, p->target_end);
    out_row("sink", p->sink ? "counts" : "left out: reading the first key block moves nothing");
    out_row("flow", "%.4f %% of the target's state came from the source, by %s", 100 * r->flow,
            r->by_value ? "attention mass and the size of what it carries" : "attention mass");
    if (r->n_route == 0) {
        printf("\nno route: nothing that was kept leads from the source to the target\n");
        return;
    }
    printf("\nafter each layer, the share of the flow that has left the source (and is at the "
           "target)\n");
    for (int64_t i = 0; i < r->n_layer; i++)
        printf("  L%-4d %6.1f %%  (%5.1f %%)\n", r->layer[i].layer,
               100 * (r->layer[i].between + r->layer[i].at_target), 100 * r->layer[i].at_target);
    printf("\nheads that move it (share of the flow)\n");
    for (int64_t i = 0; i < r->n_head && i < top; i++)
        printf("  L%d.H%-4d %6.1f %%\n", r->head[i].layer, r->head[i].head, 100 * r->head[i].share);
    print_routes(t, r, proofs);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_real(const char *name, double x)
{
    printf(",\"%s\":", name);
    out_json_real(stdout, x);
}

static void json_span(const st_trace *t, const char *name, int64_t begin, int64_t end)
{
    int64_t n;
    const char *text = st_trace_text(t, begin, end, &n);
    printf("\"%s\":{\"begin\":%lld,\"end\":%lld,\"text\":", name, (long long)begin, (long long)end);
    out_json_string(stdout, text, n);
    putchar('}');
}

static void json_route(const st_trace *t, const st_route *x, const route_proofs *proofs,
                       int64_t number)
{
    fputs("{\"weight\":", stdout);
    out_json_real(stdout, x->weight);
    fputs(",\"hops\":[", stdout);
    for (int64_t i = 0; i < x->n_hop; i++) {
        const st_route_hop *h = &x->hop[i];
        printf("%s{\"layer\":%d,\"head\":%d,", i > 0 ? "," : "", h->layer, h->head);
        json_span(t, "query", h->query_begin, h->query_end);
        putchar(',');
        json_span(t, "key", h->key_begin, h->key_end);
        json_real("mass", h->mass);
        json_real("weight", h->weight);
        if (h->size >= 0.0)
            json_real("size", h->size);
        putchar('}');
    }
    putchar(']');
    if (proofs->each != NULL && x->n_hop > 0) {
        fputs(",\"proof\":", stdout);
        proof_json(proofs->model, &proofs->each[number]);
    }
    putchar('}');
}

static void json_all(const st_trace *t, const st_route_params *p, const st_routes *r, int64_t top,
                     const route_proofs *proofs)
{
    putchar('{');
    json_span(t, "from", p->source_begin, p->source_end);
    putchar(',');
    json_span(t, "to", p->target_begin, p->target_end);
    printf(",\"sink\":\"%s\",\"by\":\"%s\"", p->sink ? "keep" : "drop",
           r->by_value ? "value" : "mass");
    json_real("flow", r->flow);
    fputs(",\"layers\":[", stdout);
    for (int64_t i = 0; i < r->n_layer; i++) {
        printf("%s{\"layer\":%d", i > 0 ? "," : "", r->layer[i].layer);
        json_real("at_source", r->layer[i].at_source);
        json_real("between", r->layer[i].between);
        json_real("at_target", r->layer[i].at_target);
        putchar('}');
    }
    fputs("],\"heads\":[", stdout);
    for (int64_t i = 0; i < r->n_head && i < top; i++) {
        printf("%s{\"layer\":%d,\"head\":%d", i > 0 ? "," : "", r->head[i].layer, r->head[i].head);
        json_real("share", r->head[i].share);
        putchar('}');
    }
    fputs("],\"routes\":[", stdout);
    for (int64_t i = 0; i < r->n_route; i++) {
        fputs(i > 0 ? "," : "", stdout);
        json_route(t, &r->route[i], proofs, i);
    }
    putchar(']');
    if (proofs->model != NULL) {
        fputs(",\"proof\":", stdout);
        proof_json(proofs->model, &proofs->all);
    }
    puts("}");
}

/* ---- the verb -------------------------------------------------------------------------------- */

/* Whether reading the first key block counts. */
static bool sink_counts(const struct route_args *a, const st_trace *t, const st_route_params *p)
{
    st_trace_info info;
    st_trace_get_info(t, &info);
    return a->sink != NULL ? strcmp(a->sink, "keep") == 0 : p->source_begin < info.bk;
}

/* The options as parameters. -1 to go on. */
static int apply(const struct route_args *a, const st_trace *t, st_route_params *p)
{
    int code = span_args_find("route", "--from", a->from, t, &p->source_begin, &p->source_end);
    if (code < 0)
        code = span_args_find("route", "--to", a->to, t, &p->target_begin, &p->target_end);
    if (code < 0 && a->heads != NULL)
        code = parse_heads(a->heads, p);
    p->n_route = a->top;
    p->by = a->weight == NULL                 ? ST_ROUTE_WEIGHT_AUTO
            : strcmp(a->weight, "value") == 0 ? ST_ROUTE_WEIGHT_VALUE
                                              : ST_ROUTE_WEIGHT_MASS;
    p->sink = sink_counts(a, t, p);
    return code;
}

/* The routes of the listed places, token by token: *t and *r are replaced. -1 to go on. */
static int refine(struct route_args *a, st_trace **t, st_route_params *p, st_routes **r)
{
    st_trace *fine;
    st_routes *better;
    st_error err;
    if (route_refine(&a->run, *t, *r, p, &fine, &err) != ST_OK)
        return out_failed(&err);
    st_trace_free(*t);
    *t = fine;
    p->sink = sink_counts(a, fine, p);
    if (st_routes_find(fine, p, &better, &err) != ST_OK)
        return out_failed(&err);
    st_routes_free(*r);
    *r = better;
    return -1;
}

static int show(const struct route_args *a, const st_trace *t, const st_route_params *p,
                const st_routes *r, const route_proofs *proofs)
{
    const char *name = strrchr(a->file, '/');
    st_error err;
    if (a->graph != NULL &&
        route_graph_write(t, r, name != NULL ? name + 1 : a->file, a->graph, &err) != ST_OK)
        return out_failed(&err);
    if (a->json) {
        json_all(t, p, r, a->top, proofs);
        return EXIT_OK;
    }
    print_all(t, p, r, a->top, proofs);
    if (proofs->model != NULL) {
        fputs("\nproof: the listed routes together are ", stdout);
        proof_table(proofs->model, &proofs->all);
    }
    return EXIT_OK;
}

/* *t may be replaced. */
static int find(struct route_args *a, st_trace **t, st_route_params *p)
{
    route_proofs proofs = {0};
    st_routes *r = NULL;
    st_error err;
    int code = -1;
    if (st_routes_find(*t, p, &r, &err) != ST_OK)
        code = out_failed(&err);
    if (code < 0 && a->run.path != NULL &&
        route_run_open(&a->run, a->refine ? "--refine" : "--prove", *t, &err) != ST_OK)
        code = out_failed(&err);
    if (code < 0 && a->refine)
        code = refine(a, t, p, &r);
    if (code < 0 && a->prove && route_prove(&a->proof, &a->run, *t, r, &proofs, &err) != ST_OK)
        code = out_failed(&err);
    if (code < 0)
        code = show(a, *t, p, r, &proofs);
    route_proofs_free(&proofs);
    st_routes_free(r);
    route_run_close(&a->run);
    return code;
}

int cmd_route(int argc, char **argv)
{
    struct route_args a = {
        .top = 5, .to = "last", .proof = {.n_random = 20}, .run = {.exact_max = 16384}};
    st_route_params p = st_route_params_default();
    st_trace *trace;
    st_error err;
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    if (st_trace_open(a.file, &trace, &err) != ST_OK)
        return out_failed(&err);
    code = apply(&a, trace, &p);
    if (code < 0)
        code = find(&a, &trace, &p);
    free((void *)p.head);
    st_trace_free(trace);
    return code;
}
