/* SPDX-License-Identifier: MIT
 *
 * route_graph.c — routes in the JSON of attribution graphs, as circuit-tracer writes and
 * Neuronpedia reads it (its published graph-schema.json; docs/man/sparsetrace-route.1.md says which
 * field means what here).
 *
 * A node is the source's cell (type embedding), a head that reads (attention head), or the target
 * (logit). A column of the graph (ctx_idx) is a cell that a route touches, and prompt_tokens holds
 * these cells' texts: a column for each token of a long prompt could not be shown.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "paths.h"
#include "route_graph.h"

typedef struct node {
    int layer, head; /* -1: source, INT32_MAX: target */
    int64_t begin, end;
    double through, influence;
} node;

typedef struct link {
    int64_t from, to; /* nodes */
    double weight;
} link;

typedef struct graph {
    const st_trace *trace;
    const st_routes *routes;
    node *node;
    link *link;
    int64_t n_node, n_link;
    int64_t *column; /* first tokens, rising */
    int64_t *column_end, n_column;
} graph;

enum { SOURCE = -1, TARGET = INT32_MAX };

static int64_t node_of(graph *g, int layer, int head, int64_t begin, int64_t end, double weight)
{
    int64_t i = 0;
    while (i < g->n_node &&
           (g->node[i].layer != layer || g->node[i].head != head || g->node[i].begin != begin))
        i++;
    if (i == g->n_node)
        g->node[g->n_node++] = (node){layer, head, begin, end, 0.0, 0.0};
    g->node[i].through += weight;
    return i;
}

static void add_link(graph *g, int64_t from, int64_t to, double weight)
{
    int64_t i = 0;
    while (i < g->n_link && (g->link[i].from != from || g->link[i].to != to))
        i++;
    if (i == g->n_link)
        g->link[g->n_link++] = (link){from, to, 0.0};
    g->link[i].weight += weight;
}

static void add_route(graph *g, const st_route *r)
{
    const st_routes *all = g->routes;
    int64_t begin = r->n_hop > 0 ? r->hop[0].key_begin : all->target_begin;
    int64_t end = r->n_hop > 0 ? r->hop[0].key_end : all->target_end;
    int64_t at = node_of(g, SOURCE, 0, begin, end, r->weight), to;
    for (int64_t i = 0; i < r->n_hop; i++) {
        const st_route_hop *h = &r->hop[i];
        to = node_of(g, h->layer, h->head, h->query_begin, h->query_end, r->weight);
        add_link(g, at, to, r->weight);
        at = to;
    }
    to = node_of(g, TARGET, 0, all->target_begin, all->target_end, r->weight);
    add_link(g, at, to, r->weight);
}

static int by_number(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

static int by_through(const void *a, const void *b)
{
    const node *const *x = a, *const *y = b;
    return ((*x)->through < (*y)->through) - ((*x)->through > (*y)->through);
}

/* The columns; and the influence that dynamic pruning expects: the nodes' shares added up, the
 * heaviest first. */
static void finish(graph *g)
{
    int64_t (*span)[2] = out_need((size_t)g->n_node * sizeof *span);
    node **order = out_need((size_t)g->n_node * sizeof *order);
    double total = 0.0, sum = 0.0;
    for (int64_t i = 0; i < g->n_node; i++) {
        span[i][0] = g->node[i].begin;
        span[i][1] = g->node[i].end;
        order[i] = &g->node[i];
        total += g->node[i].through;
    }
    qsort(span, (size_t)g->n_node, sizeof *span, by_number);
    qsort(order, (size_t)g->n_node, sizeof(node *), by_through);
    for (int64_t i = 0; i < g->n_node; i++) {
        sum += order[i]->through;
        order[i]->influence = sum / total;
        if (g->n_column == 0 || g->column[g->n_column - 1] != span[i][0]) {
            g->column[g->n_column] = span[i][0];
            g->column_end[g->n_column++] = span[i][1];
        }
    }
    free(span);
    free(order);
}

static long long column_of(const graph *g, int64_t begin)
{
    int64_t i = 0;
    while (i + 1 < g->n_column && g->column[i] < begin)
        i++;
    return i;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void print_id(FILE *f, const graph *g, const node *n)
{
    long long column = column_of(g, n->begin);
    if (n->layer == SOURCE)
        fprintf(f, "\"E_%lld_%lld\"", (long long)n->begin, column);
    else if (n->layer == TARGET)
        fprintf(f, "\"T_%lld_%lld\"", (long long)n->begin, column);
    else
        fprintf(f, "\"%d_%d_%lld\"", n->layer, n->head, column);
}

/* The probability of the token that the run predicts, if the target is what it is predicted from.
 */
static double token_prob(const graph *g)
{
    char text[64];
    st_trace_info info;
    st_trace_get_info(g->trace, &info);
    if (g->routes->target_end != info.n_tok)
        return 0.0;
    return strtod(st_trace_value(g->trace, "result", "/next_token/sparse/p", text, sizeof text),
                  NULL);
}

/* {"node_id": ...}: layers and heads are the model's numbers. */
static void print_node(FILE *f, const graph *g, const node *n)
{
    bool source = n->layer == SOURCE, target = n->layer == TARGET;
    int last = g->routes->layer[g->routes->n_layer - 1].layer;
    double p = target ? token_prob(g) : 0.0;
    char label[96];
    fputs("{\"node_id\":", f);
    print_id(f, g, n);
    fprintf(f, ",\"feature\":%lld,\"layer\":", source || target ? (long long)n->begin : n->head);
    if (source)
        fputs("\"E\"", f);
    else
        fprintf(f, "\"%d\"", target ? last + 1 : n->layer);
    if (source || target)
        snprintf(label, sizeof label, "%s, tokens %lld..%lld (p=%.3f)",
                 source ? "source" : "target", (long long)n->begin, (long long)n->end - 1, p);
    else
        snprintf(label, sizeof label, "L%d.H%d reads, tokens %lld..%lld", n->layer, n->head,
                 (long long)n->begin, (long long)n->end - 1);
    fprintf(f, ",\"ctx_idx\":%lld,\"feature_type\":\"%s\",\"token_prob\":", column_of(g, n->begin),
            source   ? "embedding"
            : target ? "logit"
                     : "attention head");
    out_json_real(f, p);
    fprintf(f, ",\"is_target_logit\":%s,\"run_idx\":0,\"reverse_ctx_idx\":0,\"jsNodeId\":",
            target ? "true" : "false");
    print_id(f, g, n);
    fputs(",\"clerp\":", f);
    out_json_string(f, label, (int64_t)strlen(label));
    fputs(",\"influence\":", f);
    out_json_real(f, n->influence);
    fputs(",\"activation\":", f);
    out_json_real(f, n->through);
    fputc('}', f);
}

static void print_metadata(FILE *f, const graph *g, const char *name)
{
    char model[128];
    st_trace_value(g->trace, "recipe", "/model/name", model, sizeof model);
    fputs("{\"metadata\":{\"slug\":", f);
    out_json_string(f, name, (int64_t)strlen(name));
    fputs(",\"scan\":", f);
    out_json_string(f, model, (int64_t)strlen(model));
    fputs(",\"transcoder_list\":[],\"prompt_tokens\":[", f);
    for (int64_t i = 0; i < g->n_column; i++) {
        int64_t n;
        const char *text = st_trace_text(g->trace, g->column[i], g->column_end[i], &n);
        fputs(i > 0 ? "," : "", f);
        out_json_string(f, text, n);
    }
    fputs("],\"prompt\":", f);
    {
        int64_t n;
        const char *text =
            st_trace_text(g->trace, g->routes->source_begin, g->routes->target_end, &n);
        out_json_string(f, text, n);
    }
    fprintf(f,
            ",\"node_threshold\":1,\"schema_version\":1,\"info\":{\"generator\":{\"name\":"
            "\"sparsetrace\",\"version\":\"%s\"}}},\"qParams\":{\"pinnedIds\":[],\"supernodes\":[],"
            "\"linkType\":\"both\",\"clickedId\":\"\",\"sg_pos\":\"\"}",
            st_version());
}

static void print_graph(FILE *f, const graph *g, const char *name)
{
    print_metadata(f, g, name);
    fputs(",\"nodes\":[", f);
    for (int64_t i = 0; i < g->n_node; i++) {
        fputs(i > 0 ? ",\n" : "\n", f);
        print_node(f, g, &g->node[i]);
    }
    fputs("],\"links\":[", f);
    for (int64_t i = 0; i < g->n_link; i++) {
        fputs(i > 0 ? ",\n{\"source\":" : "\n{\"source\":", f);
        print_id(f, g, &g->node[g->link[i].from]);
        fputs(",\"target\":", f);
        print_id(f, g, &g->node[g->link[i].to]);
        fputs(",\"weight\":", f);
        out_json_real(f, g->link[i].weight);
        fputc('}', f);
    }
    fputs("]}\n", f);
}

static st_status io_error(st_error *err, const char *path)
{
    *err = (st_error){.status = ST_ERR_IO, .position = -1};
    snprintf(err->message, sizeof err->message, "cannot write %.300s: %s", path, strerror(errno));
    return ST_ERR_IO;
}

static st_status write_file(const graph *g, const char *name, const char *path, st_error *err)
{
    char beside[PATHS_MAX];
    FILE *f = paths_create(path, beside);
    if (f == NULL)
        return io_error(err, path);
    print_graph(f, g, name);
    return paths_close(f, path, beside, true) ? ST_OK : io_error(err, path);
}

st_status route_graph_write(const st_trace *trace, const st_routes *routes, const char *name,
                            const char *path, st_error *err)
{
    graph g = {.trace = trace, .routes = routes};
    int64_t most = 2; /* source and target, even if there is no route */
    st_status status;
    for (int64_t i = 0; i < routes->n_route; i++)
        most += routes->route[i].n_hop + 2;
    g.node = out_need((size_t)most * sizeof *g.node);
    g.link = out_need((size_t)most * sizeof *g.link);
    g.column = out_need((size_t)most * sizeof *g.column);
    g.column_end = out_need((size_t)most * sizeof *g.column_end);
    for (int64_t i = 0; i < routes->n_route; i++)
        add_route(&g, &routes->route[i]);
    finish(&g);
    status = write_file(&g, name, path, err);
    free(g.node);
    free(g.link);
    free(g.column);
    free(g.column_end);
    return status;
}
