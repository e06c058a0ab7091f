/* SPDX-License-Identifier: MIT
 *
 * cmd_groups.c — sparsetrace groups: receiver heads and anchors of traces that were recorded with
 * groups of tokens.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "out.h"
#include "args.h"
#include "sparsetrace/groups.h"

#define MAX_TRACES 4096

struct groups_args {
    const char *file[MAX_TRACES];
    int n_file;
    int64_t heads, anchors, near, edges;
    bool json;
};

struct traces {
    st_trace *trace[MAX_TRACES];
    int n;
};

static int parse(struct groups_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"--heads", "N", ARG_INT, &a->heads, 1, 1000000, "receiver heads, the most receiving (20)"},
        {"--anchors", "N", ARG_INT, &a->anchors, 1, 1000000, "anchors to list of each trace (5)"},
        {"--near", "N", ARG_INT, &a->near, 0, 1000000,
         "groups nearer than this do not count (4)"},
        {"--edges", "N", ARG_INT, &a->edges, 1, 1000000,
         "also the N earlier groups that each group leans on most, with a score 0..1"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print one JSON object, with all scores"},
    };
    const arg_verb verb = {
        "groups", "TRACE... [options]",
        "Of traces recorded with --groups (sentences, say): the receiver heads over all of them,\n"
        "and of each trace the groups that these heads look back to, its anchors.",
        option, sizeof option / sizeof *option, 1, MAX_TRACES};
    /* clang-format on */
    return args_parse(&verb, argc, argv, a->file, &a->n_file);
}

/* ---- the two outputs ------------------------------------------------------------------------- */

static void print_anchor(const st_trace *t, int64_t g, double score)
{
    const st_group *group = &st_trace_groups(t)[g];
    int64_t n;
    const char *text = st_trace_text(t, group->begin, group->end, &n);
    printf("  %5lld  %.3g  ", (long long)g, score);
    out_snippet(stdout, text, n, 78);
    printf("\n");
}

static void print_heads(const struct groups_args *a, const st_receiver *r, int64_t n)
{
    if (n == 0) {
        printf("too few groups for receiver heads (--near %lld)\n", (long long)a->near);
        return;
    }
    printf("receiver heads (layer.head kurtosis):");
    for (int64_t i = 0; i < n; i++)
        printf("%s L%d.H%d %.1f", i % 6 == 0 ? "\n " : "", r[i].layer, r[i].head, r[i].kurtosis);
    printf("\n");
}

static void json_heads(const struct groups_args *a, const st_receiver *r, int64_t n)
{
    printf("{\"weights\":[");
    for (int i = 0; i < ST_DEPENDENCY_WEIGHTS; i++) {
        printf("%s", i > 0 ? "," : "");
        out_json_real(stdout, st_dependency_weights()[i]);
    }
    printf("],\"near\":%lld,\"heads\":[", (long long)a->near);
    for (int64_t i = 0; i < n; i++) {
        printf("%s{\"layer\":%d,\"head\":%d,\"kurtosis\":", i > 0 ? "," : "", r[i].layer,
               r[i].head);
        out_json_real(stdout, r[i].kurtosis);
        printf("}");
    }
    printf("],\"traces\":[");
}

static void json_trace(const char *file, const double *score, int64_t n, const int64_t *anchor,
                       int64_t n_anchor)
{
    printf("{\"file\":");
    out_json_string(stdout, file, (int64_t)strlen(file));
    printf(",\"n_group\":%lld,\"anchors\":[", (long long)n);
    for (int64_t i = 0; i < n_anchor; i++)
        printf("%s%lld", i > 0 ? "," : "", (long long)anchor[i]);
    printf("],\"scores\":[");
    for (int64_t i = 0; i < n; i++) {
        printf("%s", i > 0 ? "," : "");
        out_json_real(stdout, score[i]);
    }
    printf("]");
}

static void print_edges(const st_dependency *edge, int64_t n)
{
    printf("leans on (group: earlier group score, ...):");
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || edge[i].to != edge[i - 1].to)
            printf("\n  %5lld:", (long long)edge[i].to);
        printf(" %lld %.3f", (long long)edge[i].from, edge[i].score);
    }
    printf("\n");
}

static void json_edges(const st_dependency *edge, int64_t n)
{
    printf(",\"edges\":[");
    for (int64_t i = 0; i < n; i++) {
        printf("%s[%lld,%lld,", i > 0 ? "," : "", (long long)edge[i].to, (long long)edge[i].from);
        out_json_real(stdout, edge[i].score);
        printf("]");
    }
    printf("]");
}

/* ---- the work -------------------------------------------------------------------------------- */

static st_status show_edges(const struct groups_args *a, const st_trace *t, st_error *err)
{
    st_dependency *edge;
    int64_t n;
    st_status status =
        st_dependencies_find(t, NULL, a->near > 1 ? a->near : 1, a->edges, &edge, &n, err);
    if (status != ST_OK)
        return status;
    if (a->json)
        json_edges(edge, n);
    else
        print_edges(edge, n);
    st_dependencies_free(edge);
    return ST_OK;
}

static st_status show_trace(const struct groups_args *a, int i, const st_trace *t,
                            const st_receiver *r, int64_t n_head, st_error *err)
{
    st_trace_info info;
    double *score;
    int64_t *anchor, n_anchor;
    st_status status = ST_OK;
    st_trace_get_info(t, &info);
    score = out_need((size_t)info.n_group * sizeof *score);
    anchor = out_need((size_t)a->anchors * sizeof *anchor);
    for (int64_t j = 0; j < info.n_group; j++)
        score[j] = (double)NAN;
    if (n_head > 0)
        status = st_receiver_scores(t, r, n_head, a->near, score, err);
    if (status == ST_OK) {
        n_anchor = st_anchors(score, info.n_group, a->anchors, anchor);
        if (a->json) {
            printf("%s", i > 0 ? "," : "");
            json_trace(a->file[i], score, info.n_group, anchor, n_anchor);
        } else if (n_head == 0) {
            printf("%s: %lld groups\n", a->file[i], (long long)info.n_group);
        } else {
            printf("%s: %lld groups; anchors (number, receiver score, text):\n", a->file[i],
                   (long long)info.n_group);
            for (int64_t k = 0; k < n_anchor; k++)
                print_anchor(t, anchor[k], score[anchor[k]]);
        }
    }
    if (status == ST_OK && a->edges > 0)
        status = show_edges(a, t, err);
    if (status == ST_OK && a->json)
        printf("}");
    free(score);
    free(anchor);
    return status;
}

static st_status show(const struct groups_args *a, const struct traces *x, st_error *err)
{
    st_receiver *receiver;
    int64_t n;
    st_status status = st_receivers_find((const st_trace *const *)x->trace, x->n, a->near,
                                         &receiver, &n, err);
    if (status != ST_OK)
        return status;
    n = n < a->heads ? n : a->heads;
    while (n > 0 && isnan(receiver[n - 1].kurtosis)) /* they stand last: no receiver heads */
        n--;
    if (a->json)
        json_heads(a, receiver, n);
    else
        print_heads(a, receiver, n);
    for (int i = 0; status == ST_OK && i < x->n; i++)
        status = show_trace(a, i, x->trace[i], receiver, n, err);
    if (a->json && status == ST_OK)
        printf("]}\n");
    st_receivers_free(receiver);
    return status;
}

/* Names the file: one that was not opened, or the trace that the message counts. */
static int failed(const struct groups_args *a, const struct traces *x, const st_error *err)
{
    bool counted = strncmp(err->message, "trace ", 6) == 0 && err->position >= 0;
    int64_t at = counted ? err->position : x->n;
    return at < a->n_file ? out_failed_in(a->file[at], err) : out_failed(err);
}

int cmd_groups(int argc, char **argv)
{
    static struct groups_args a = {.heads = 20, .anchors = 5, .near = ST_NEAR};
    static struct traces x;
    st_error err;
    st_status status = ST_OK;
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    for (; status == ST_OK && x.n < a.n_file; x.n += status == ST_OK) {
        status = st_trace_open(a.file[x.n], &x.trace[x.n], &err);
        if (status == ST_OK && (status = st_trace_validate(x.trace[x.n], &err)) != ST_OK)
            st_trace_free(x.trace[x.n]);
    }
    if (status == ST_OK)
        status = show(&a, &x, &err);
    code = status == ST_OK ? EXIT_OK : failed(&a, &x, &err);
    for (int i = 0; i < x.n; i++)
        st_trace_free(x.trace[i]);
    return code;
}
