/* SPDX-License-Identifier: MIT
 *
 * prove.c — whether reads are causal: runs without them, with little else, and with drawn ones in
 * their place.
 *
 * All runs that deny begin at the first row that an edge names: what lies before it is the plain
 * run's. Those that keep begin there too, but for the first of them: before that row they all keep
 * the same. Sets are taken by falling first row, so that the rows before one are never another's.
 * Runs that keep are pruned ones whatever the length: every key block that a row may read is named
 * by an edit, so their attention is that of an exact run under the same edits.
 */
#include <math.h>

#include "base/util.h"
#include "engine/engine_int.h"

#define HALVED 0.69314718 /* ln 2 */

/* One set of edges. */
struct set {
    const st_edit *edge;
    int64_t n_edge, first; /* first row that an edge names */
    uint64_t draw;
    st_proof *proof;
};

struct prove {
    const st_model *model;
    const st_proof_params *p;
    struct set *set; /* [n_set] by falling first row */
    int64_t n_set, n_tok;
    st_run *run;
    st_ggml_params ggml;
    st_edit *edit; /* what a run is under: of keep the frame, then a set's edges */
};

st_proof_params st_proof_params_default(void)
{
    st_proof_params p = {.select = st_select_params_default(),
                         .exact_max_tok = 16384,
                         .n_random = 20,
                         .target = -1,
                         .run = st_run_params_default()};
    p.select.k = 64;
    return p;
}

/* ---- sets of edges --------------------------------------------------------------------------- */

static int64_t below(struct set *s, int64_t n)
{
    s->draw = sti_mix(s->draw);
    return (int64_t)(s->draw % (uint64_t)sti_max(n, 1));
}

/* Another edge of the same layer, rows and number of keys: not at the sink, and (if it can be) not
 * where the edge itself is. */
static st_edit drawn(const struct prove *x, struct set *s, const st_edit *e)
{
    st_edit r = *e;
    int64_t sink = x->p->select.bk, n = e->key_end - e->key_begin;
    int64_t room = sti_max(e->q_begin, e->key_end) - n - sink + 1;
    int n_head = e->layer >= 0 ? st_ggml_heads(e->layer) : 0; /* in the run before */
    if (n_head == 0)
        n_head = x->model->info.n_head;
    for (int t = 0; t < 100; t++) {
        if (e->head >= 0)
            r.head = (int)below(s, n_head);
        r.key_begin = room > 0 ? sink + below(s, room) : below(s, e->q_end - n + 1);
        r.key_end = r.key_begin + n;
        if (r.key_end <= e->key_begin || r.key_begin >= e->key_end)
            break;
    }
    return r;
}

static void put_edges(struct prove *x, struct set *s, st_edit *to, st_edit_kind kind, bool random)
{
    for (int64_t i = 0; i < s->n_edge; i++) {
        to[i] = random ? drawn(x, s, &s->edge[i]) : s->edge[i];
        to[i].kind = kind;
    }
}

static st_edit everywhere(int64_t q_begin, int64_t q_end, int64_t key_begin, int64_t key_end)
{
    return (st_edit){ST_EDIT_KEEP, -1, -1, q_begin, q_end, key_begin, key_end};
}

/* The sink, and for each query block itself and the window before it. */
static int64_t put_frame(const struct prove *x, st_edit *to)
{
    const st_select_params *p = &x->p->select;
    int64_t n = 0, window = (int64_t)p->window_blk * p->bk;
    to[n++] = everywhere(0, x->n_tok, 0, sti_min((int64_t)p->sink_blk * p->bk, x->n_tok));
    for (int64_t q = 0; q < x->n_tok; q += p->bq) {
        int64_t end = sti_min(q + p->bq, x->n_tok);
        to[n++] = everywhere(q, end, sti_max(q - window, 0), end);
    }
    return n;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static st_effect effect_of(const float *logits, int n_vocab, int32_t target)
{
    st_effect e = {.top = 0};
    double sum = 0.0;
    for (int i = 1; i < n_vocab; i++)
        if (logits[i] > logits[e.top])
            e.top = i;
    for (int i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - logits[e.top]);
    e.log_p = (double)logits[target < 0 ? e.top : target] - logits[e.top] - log(sum);
    return e;
}

/* A run from the row `from` on, on the account of `proof`. */
static st_status measure(struct prove *x, int64_t n_edit, int64_t from, const char *what,
                         st_proof *proof, st_effect *effect, st_error *err)
{
    st_pass pass;
    x->ggml.edit = x->edit;
    x->ggml.n_edit = n_edit;
    STI_TRY(st_run_again(x->run, &x->ggml, NULL, from, what, &pass, err));
    *effect = effect_of(pass.logits + (int64_t)(pass.n_last - 1) * pass.n_vocab, pass.n_vocab,
                        proof->target);
    proof->seconds += pass.seconds;
    proof->n_tok_run += x->n_tok - pass.first;
    proof->n_tok_reused += pass.first;
    return ST_OK;
}

static st_status plain_run(struct prove *x, st_error *err)
{
    st_proof *r = x->set[0].proof;
    x->ggml.exact = r->exact;
    STI_TRY(measure(x, 0, 0, "plain run", r, &r->plain, err));
    for (int64_t i = x->n_set - 1; i >= 0; i--) {
        st_proof *own = x->set[i].proof;
        own->plain = r->plain;
        own->target = own->target < 0 ? r->plain.top : own->target;
    }
    return ST_OK;
}

static st_status deny_runs(struct prove *x, struct set *s, st_error *err)
{
    st_proof *r = s->proof;
    put_edges(x, s, x->edit, ST_EDIT_DENY, false);
    STI_TRY(measure(x, s->n_edge, s->first, "without the edges", r, &r->deny, err));
    for (int i = 0; i < r->n_random; i++) {
        put_edges(x, s, x->edit, ST_EDIT_DENY, true);
        STI_TRY(measure(x, s->n_edge, s->first, "without drawn ones", r, &r->random_deny[i], err));
    }
    return ST_OK;
}

static st_status keep_runs(struct prove *x, struct set *s, st_error *err)
{
    st_proof *r = s->proof;
    int64_t n = put_frame(x, x->edit), first = s == x->set ? 0 : s->first;
    put_edges(x, s, x->edit + n, ST_EDIT_KEEP, false);
    STI_TRY(measure(x, n + s->n_edge, first, "the edges alone", r, &r->keep, err));
    for (int i = 0; i < r->n_random; i++) {
        put_edges(x, s, x->edit + n, ST_EDIT_KEEP, true);
        STI_TRY(
            measure(x, n + s->n_edge, s->first, "drawn ones alone", r, &r->random_keep[i], err));
    }
    return ST_OK;
}

static st_status all_runs(struct prove *x, st_error *err)
{
    STI_TRY(plain_run(x, err));
    for (int64_t i = 0; i < x->n_set; i++)
        STI_TRY(deny_runs(x, &x->set[i], err));
    x->ggml.exact = false;
    x->ggml.select.k = (double)st_select_min_k(&x->p->select);
    for (int64_t i = 0; i < x->n_set; i++)
        STI_TRY(keep_runs(x, &x->set[i], err));
    return ST_OK;
}

/* ---- what follows ---------------------------------------------------------------------------- */

/* Mean loss with the 95 % interval of the mean (normal), and the extremes. */
static void losses(const st_effect *e, int n, double plain, double *mean, double ci[2], double *min,
                   double *max)
{
    double sum = 0.0, squares = 0.0, half;
    *min = INFINITY;
    *max = -INFINITY;
    for (int i = 0; i < n; i++) {
        double loss = plain - e[i].log_p;
        sum += loss;
        *min = fmin(*min, loss);
        *max = fmax(*max, loss);
    }
    *mean = sum / n;
    for (int i = 0; i < n; i++)
        squares += (plain - e[i].log_p - *mean) * (plain - e[i].log_p - *mean);
    half = n > 1 ? 1.96 * sqrt(squares / (n - 1) / n) : INFINITY;
    ci[0] = *mean - half;
    ci[1] = *mean + half;
}

static void conclude(st_proof *r)
{
    double ignored;
    r->deny_loss = r->plain.log_p - r->deny.log_p;
    r->keep_loss = r->plain.log_p - r->keep.log_p;
    losses(r->random_deny, r->n_random, r->plain.log_p, &r->random_loss, r->random_loss_ci,
           &ignored, &r->random_loss_max);
    losses(r->random_keep, r->n_random, r->plain.log_p, &r->random_keep_loss,
           r->random_keep_loss_ci, &r->random_keep_loss_min, &ignored);
    r->necessary = r->deny_loss > HALVED && r->deny_loss > r->random_loss_max;
    r->sufficient = r->keep.top == r->target && r->keep_loss < r->random_keep_loss_min;
}

/* ---- the call -------------------------------------------------------------------------------- */

static st_status check_set(const struct prove *x, const st_edge_set *set, st_error *err)
{
    const st_model_info *info = &x->model->info;
    if (set->n < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "no edges: nothing to prove");
    for (int64_t i = 0; i < set->n; i++) {
        st_edit e = set->edge[i];
        e.kind = ST_EDIT_DENY;
        if (st_edits_check(&e, 1, info->n_layer, info->n_head, x->n_tok, err) == ST_OK)
            continue;
        return sti_fail(err, ST_ERR_ARG, i, "edge %lld of %lld names nothing that there is",
                        (long long)i + 1, (long long)set->n);
    }
    return ST_OK;
}

static st_status check(const struct prove *x, const int32_t *token, const st_edge_set *set,
                       int64_t n_set, st_error *err)
{
    const st_model_info *info = &x->model->info;
    const st_proof_params *p = x->p;
    STI_TRY(st_select_params_check(&p->select, err));
    STI_TRY(sti_check_tokens(x->model, token, x->n_tok, err));
    if (n_set < 1)
        return sti_fail(err, ST_ERR_ARG, -1, "no set of edges: nothing to prove");
    if (p->n_random < 1 || p->n_random > 10000)
        return sti_fail(err, ST_ERR_ARG, -1, "n_random is %d, must be 1..10000", p->n_random);
    if (p->target < -1 || p->target >= info->n_vocab)
        return sti_fail(err, ST_ERR_ARG, -1, "target is %d, the model has tokens 0..%d", p->target,
                        info->n_vocab - 1);
    for (int64_t i = 0; i < n_set; i++)
        STI_TRY(check_set(x, &set[i], err));
    return ST_OK;
}

/* Into its place among those before it, by falling first row. */
static void insert(struct prove *x, struct set s)
{
    int64_t at = x->n_set++;
    for (; at > 0 && x->set[at - 1].first < s.first; at--)
        x->set[at] = x->set[at - 1];
    x->set[at] = s;
}

static st_status prepare_set(struct prove *x, const st_edge_set *set, st_proof *proof,
                             st_error *err)
{
    size_t bytes = (size_t)x->p->n_random * sizeof(st_effect);
    struct set s = {.edge = set->edge, .n_edge = set->n, .first = x->n_tok - 1, .proof = proof};
    for (int64_t i = 0; i < s.n_edge; i++)
        s.first = sti_min(s.first, s.edge[i].q_begin);
    s.draw = x->p->seed ^ 0x70726f7665ull;
    proof->random_deny = sti_calloc(bytes);
    proof->random_keep = sti_calloc(bytes);
    if (proof->random_deny == NULL || proof->random_keep == NULL)
        return sti_fail_mem(err, bytes);
    insert(x, s);
    return ST_OK;
}

static st_status prepare(struct prove *x, const int32_t *token, const st_edge_set *set,
                         int64_t n_set, st_proof *proof, st_error *err)
{
    const st_proof_params *p = x->p;
    int64_t n_edit = 1 + sti_ceil_div(x->n_tok, p->select.bq), most = 0;
    for (int64_t i = 0; i < n_set; i++)
        most = sti_max(most, set[i].n);
    x->set = sti_alloc((size_t)n_set * sizeof *x->set);
    x->edit = sti_alloc((size_t)(n_edit + most) * sizeof *x->edit);
    if (x->set == NULL || x->edit == NULL)
        return sti_fail_mem(err, (size_t)(n_edit + most) * sizeof *x->edit);
    for (int64_t i = 0; i < n_set; i++)
        STI_TRY(prepare_set(x, &set[i], &proof[i], err));
    x->ggml = st_ggml_params_default();
    x->ggml.select = p->select;
    x->ggml.exact_below = st_model_exact_below(x->model, x->n_tok, &p->run);
    x->ggml.cert_rows = 0;
    return st_run_create((st_model *)x->model, token, x->n_tok, &p->run, &x->run, err);
}

st_status st_prove_sets(st_model *model, const int32_t *token, int64_t n_tok,
                        const st_edge_set *set, int64_t n_set, const st_proof_params *p,
                        st_proof *proof, st_error *err)
{
    struct prove x = {.model = model, .p = p, .n_tok = n_tok};
    st_status status;
    for (int64_t i = 0; i < n_set; i++)
        proof[i] = (st_proof){
            .target = p->target, .exact = n_tok <= p->exact_max_tok, .n_random = p->n_random};
    STI_TRY(check(&x, token, set, n_set, err));
    status = prepare(&x, token, set, n_set, proof, err);
    if (status == ST_OK)
        status = all_runs(&x, err);
    for (int64_t i = 0; i < n_set; i++) {
        if (status == ST_OK)
            conclude(&proof[i]);
        else
            st_proof_free(&proof[i]);
    }
    st_run_free(x.run);
    sti_free(x.edit);
    sti_free(x.set);
    return status;
}

st_status st_prove(st_model *model, const int32_t *token, int64_t n_tok, const st_edit *edge,
                   int64_t n_edge, const st_proof_params *p, st_proof *proof, st_error *err)
{
    st_edge_set set = {edge, n_edge};
    return st_prove_sets(model, token, n_tok, &set, 1, p, proof, err);
}

void st_proof_free(st_proof *proof)
{
    sti_free(proof->random_deny);
    sti_free(proof->random_keep);
    proof->random_deny = proof->random_keep = NULL;
}
