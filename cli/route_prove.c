/* SPDX-License-Identifier: MIT
 *
 * route_prove.c — the hops of routes as edges, and the trace's own tokens run without them, with
 * little else, and with drawn ones in their place.
 */
#include <stdlib.h>

#include "route_prove.h"

static bool same(const st_edit *e, const st_route_hop *h)
{
    return e->layer == h->layer && e->head == h->head && e->q_begin == h->query_begin &&
           e->key_begin == h->key_begin;
}

/* Each hop once. The list is the caller's (free()). */
static st_edit *edges_of(const st_route *route, int64_t n_route, int64_t *n_edge)
{
    int64_t n = 0, most = 0;
    st_edit *edge;
    for (int64_t i = 0; i < n_route; i++)
        most += route[i].n_hop;
    edge = out_need((size_t)(most + 1) * sizeof *edge);
    for (int64_t i = 0; i < n_route; i++)
        for (int64_t k = 0; k < route[i].n_hop; k++) {
            const st_route_hop *h = &route[i].hop[k];
            int64_t j = 0;
            while (j < n && !same(&edge[j], h))
                j++;
            if (j == n)
                edge[n++] = (st_edit){.kind = ST_EDIT_DENY,
                                      .layer = h->layer,
                                      .head = h->head,
                                      .q_begin = h->query_begin,
                                      .q_end = h->query_end,
                                      .key_begin = h->key_begin,
                                      .key_end = h->key_end};
        }
    *n_edge = n;
    return edge;
}

static st_status check(const st_trace *t, const st_routes *r, st_error *err)
{
    st_trace_info info;
    int64_t n_hop = 0;
    for (int64_t i = 0; i < r->n_route; i++)
        n_hop += r->route[i].n_hop;
    st_trace_get_info(t, &info);
    if (r->target_end != info.n_tok)
        return route_refuse(err, "--prove",
                            "what is tested is the next token: --to must end at the last token");
    if (n_hop == 0)
        return route_refuse(err, "--prove", "no route has a hop to prove");
    return ST_OK;
}

/* The list's hops together, then (each) those of each route that has any. The proofs of the others
 * stay as they are: with nothing in them. */
static st_status prove(const st_trace *t, const st_routes *r, bool each, const st_proof_params *p,
                       st_model *model, route_proofs *x, st_error *err)
{
    int64_t n_each = each ? r->n_route : 0, n = 0;
    st_edge_set *set = out_need((size_t)(n_each + 1) * sizeof *set);
    st_proof *proof = out_need((size_t)(n_each + 1) * sizeof *proof);
    st_trace_info info;
    st_status status;
    st_trace_get_info(t, &info);
    set[n].edge = edges_of(r->route, r->n_route, &set[n].n);
    n++;
    for (int64_t i = 0; i < n_each; i++) {
        set[n].edge = edges_of(&r->route[i], 1, &set[n].n);
        if (set[n].n > 0)
            n++;
        else
            free((void *)set[n].edge);
    }
    status = st_prove_sets(model, st_trace_tokens(t), info.n_tok, set, n, p, proof, err);
    if (status == ST_OK) {
        int64_t at = 1;
        x->all = proof[0];
        x->n_each = n_each;
        x->each = each ? out_need((size_t)n_each * sizeof *x->each) : NULL;
        for (int64_t i = 0; i < n_each; i++)
            x->each[i] = r->route[i].n_hop > 0 ? proof[at++] : (st_proof){0};
    }
    for (int64_t i = 0; i < n; i++)
        free((void *)set[i].edge);
    free(set);
    free(proof);
    return status;
}

st_status route_prove(const route_prove_args *args, route_run *run, const st_trace *trace,
                      const st_routes *routes, route_proofs *x, st_error *err)
{
    st_proof_params p = st_proof_params_default();
    st_status status = check(trace, routes, err);
    *x = (route_proofs){.model = run->model};
    p.n_random = (int)args->n_random;
    p.seed = (uint64_t)args->seed;
    p.exact_max_tok = (int)run->exact_max;
    p.select.method = run->select.method;
    p.run.progress = (st_progress){out_progress, &run->bar};
    p.run.type_k = run->type_k;
    p.run.type_v = run->type_v;
    if (status == ST_OK && run->n_edit > 0)
        status = route_refuse(err, "--prove",
                              "the trace was recorded under edits: what it reads "
                              "without them may be something else");
    if (status == ST_OK)
        status = prove(trace, routes, args->each, &p, run->model, x, err);
    out_progress_end(&run->bar);
    if (status != ST_OK)
        route_proofs_free(x);
    return status;
}

void route_proofs_free(route_proofs *x)
{
    st_proof_free(&x->all);
    for (int64_t i = 0; i < x->n_each; i++)
        st_proof_free(&x->each[i]);
    free(x->each);
    *x = (route_proofs){0};
}
