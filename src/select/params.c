/* SPDX-License-Identifier: MIT
 *
 * params.c — names, defaults and ranges of the selection's settings; budgets as token pairs.
 */
#include "base/attn_rows.h"
#include "base/util.h"
#include "select/frame.h"

static const char *const method_name[ST_SELECT_METHOD_COUNT] = {"stream", "flat",   "scan", "exact",
                                                                "hip",    "window", "auto"};

const char *st_select_method_name(st_select_method method)
{
    return (unsigned)method < ST_SELECT_METHOD_COUNT ? method_name[method] : "unknown";
}

st_status st_select_method_parse(const char *name, st_select_method *method, st_error *err)
{
    for (int m = 0; m < ST_SELECT_METHOD_COUNT; m++)
        if (strcmp(name, method_name[m]) == 0) {
            *method = (st_select_method)m;
            return ST_OK;
        }
    return sti_fail(err, ST_ERR_ARG, -1,
                    "no selection method \"%.40s\" (stream, flat, scan, exact, hip, window, auto)",
                    name);
}

st_select_params st_select_params_default(void)
{
    return (st_select_params){.method = ST_SELECT_STREAM,
                              .bq = 32,
                              .bk = 16,
                              .k = 32,
                              .sink_blk = 1,
                              .window_blk = 1,
                              .rows = 8,
                              .beam = 16,
                              .rerank = 1.5f,
                              .pooled = false,
                              .grow_tok = 0};
}

st_status st_select_params_check(const st_select_params *p, st_error *err)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } field[] = {
        {"method", p->method, 0, ST_SELECT_METHOD_COUNT - 1},
        {"bq", p->bq, 1, 1024},
        {"bk", p->bk, 1, 1024},
        {"sink_blk", p->sink_blk, 1, 1 << 20},
        {"window_blk", p->window_blk, 0, 1 << 20},
        {"rows", p->rows, 1, ST_SELECT_ROWS_MAX},
        {"beam", p->beam, 1, 1 << 16},
        {"grow_tok", p->grow_tok, -1, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        if (field[i].value < field[i].min || field[i].value > field[i].max)
            return sti_fail(err, ST_ERR_ARG, -1, "%s is %lld, must be %lld..%lld", field[i].name,
                            (long long)field[i].value, (long long)field[i].min,
                            (long long)field[i].max);
    if (!(p->k >= 1.0 && p->k <= INT32_MAX))
        return sti_fail(err, ST_ERR_ARG, -1, "k is %g, must be 1..%d", p->k, INT32_MAX);
    if (!(p->rerank >= 1.0f && p->rerank <= 64.0f))
        return sti_fail(err, ST_ERR_ARG, -1, "rerank is %g, must be 1..64", (double)p->rerank);
    if (!(p->mass >= 0.0f && p->mass < 1.0f))
        return sti_fail(err, ST_ERR_ARG, -1, "mass is %g, must be 0 (none) or between 0 and 1",
                        (double)p->mass);
    if (p->mass > 0.0f && (p->method == ST_SELECT_HIP || p->method == ST_SELECT_WINDOW))
        return sti_fail(err, ST_ERR_ARG, -1,
                        "method %s estimates no mass: give it a number of blocks",
                        st_select_method_name(p->method));
    if (p->pooled && (p->mass > 0.0f || p->method == ST_SELECT_HIP ||
                      p->method == ST_SELECT_WINDOW || p->method == ST_SELECT_EXACT))
        return sti_fail(err, ST_ERR_ARG, -1,
                        "pooled goes with methods stream, flat, scan and auto, "
                        "and not with mass");
    if (p->grow_tok != 0 && p->mass > 0.0f)
        return sti_fail(err, ST_ERR_ARG, -1, "grow_tok is %lld: with mass it must be 0",
                        (long long)p->grow_tok);
    return ST_OK;
}

/* Causal rows for which only positions matter. */
static st_attn positions_only(int64_t first_query, int64_t n_q)
{
    return (st_attn){.first_query = first_query,
                     .n_q = n_q,
                     .n_k = first_query + n_q,
                     .n_head = 1,
                     .n_kv_head = 1,
                     .d_k = 1,
                     .d_v = 1};
}

int64_t st_select_min_k(const st_select_params *p)
{
    /* any query block so deep that everything else is a candidate */
    int64_t deep = p->sink_blk + p->window_blk + 4 + (int64_t)p->bq / p->bk;
    int64_t qb = sti_ceil_div(deep * p->bk, p->bq), most = 0;
    st_attn a = positions_only(0, (qb + p->bk + 1) * p->bq);
    for (int64_t i = 0; i < p->bk;
         i++) { /* alignment of bq and bk repeats after at most bk blocks */
        sti_frame f = sti_frame_make(&a, p, qb + i);
        most = sti_max(most, sti_frame_always(&f));
    }
    return most;
}

int64_t st_causal_pairs(int64_t first_query, int64_t n_q)
{
    return n_q * first_query + n_q * (n_q + 1) / 2;
}

/* Visible pairs of key block b with the rows of f. */
static int64_t block_pairs(const st_attn *a, const sti_frame *f, int bk, int64_t b)
{
    int64_t pairs = 0;
    for (int64_t i = f->row0; i < f->row0 + f->n_row; i++) {
        int64_t lo = sti_max(sti_row_lo(a, i), b * bk),
                hi = sti_min(sti_row_hi(a, i), (b + 1) * bk);
        pairs += sti_max(hi - lo, 0);
    }
    return pairs;
}

/* The rows whose pruned share is asked for; the first of them, up to `exact`, keep everything. */
struct rows {
    int64_t first, n, exact;
};

/* Pairs kept with budget p->k. */
static int64_t pairs_with_budget(const st_select_params *p, struct rows r)
{
    int64_t first = r.first + r.exact, kept = st_causal_pairs(r.first, r.exact);
    st_attn a = positions_only(first, r.n - r.exact);
    for (int64_t qb = first / p->bq; qb * p->bq < a.n_k; qb++) {
        sti_frame f = sti_frame_make(&a, p, qb);
        kept += f.quota * p->bk * f.n_row;
        for (int64_t b = f.blk_lo; b < f.cand_lo; b++)
            kept += block_pairs(&a, &f, p->bk, b);
        for (int64_t b = f.cand_hi; b < f.blk_hi; b++)
            kept += block_pairs(&a, &f, p->bk, b);
    }
    return kept;
}

static double pruned_share(st_select_params p, int64_t eighths, struct rows r)
{
    p.k = (double)eighths / 8;
    return 1.0 - (double)pairs_with_budget(&p, r) / (double)st_causal_pairs(r.first, r.n);
}

st_status st_select_k_for_pruned(const st_select_params *p, int64_t first_query, int64_t n_q,
                                 int64_t exact_below, double pruned, double *k, st_error *err)
{
    int64_t n_tok = first_query + n_q;
    int64_t lo = 8 * st_select_min_k(p), hi = sti_max(lo + 1, 8 * (n_tok / p->bk + 2));
    struct rows r = {first_query, n_q, sti_clamp(exact_below - first_query, 0, n_q - 1)};
    if (!(pruned >= 0.0 && pruned < 1.0))
        return sti_fail(err, ST_ERR_ARG, -1, "pruned is %g, must be at least 0 and below 1",
                        pruned);
    if (first_query < 0 || n_q < 1 || n_tok > INT32_MAX)
        return sti_fail(err, ST_ERR_ARG, -1, "rows %lld..%lld: must lie in 0..%d",
                        (long long)first_query, (long long)n_tok - 1, INT32_MAX - 1);
    if (pruned_share(*p, lo, r) < pruned)
        return sti_fail(
            err, ST_ERR_LIMIT, -1,
            "%.2f %% pruned is out of reach for %lld tokens: with block-q %d, block-k %d the "
            "least budget, k = %lld, prunes %.2f %%; smaller blocks prune more",
            100.0 * pruned, (long long)n_tok, p->bq, p->bk, (long long)lo / 8,
            100.0 * pruned_share(*p, lo, r));
    while (hi - lo > 1) { /* share(lo) >= pruned; share(hi) may be less */
        int64_t mid = lo + (hi - lo) / 2;
        if (pruned_share(*p, mid, r) >= pruned)
            lo = mid;
        else
            hi = mid;
    }
    *k = (double)lo / 8;
    return ST_OK;
}

#define AIM_PRUNED 0.96

/* Whether p's blocks leave `least` blocks or more to a query block at that share. */
static bool leaves(const st_select_params *p, int64_t n_tok, int64_t exact_below, double pruned,
                   int64_t least)
{
    double k;
    return st_select_k_for_pruned(p, 0, n_tok, exact_below, pruned, &k, NULL) == ST_OK &&
           k >= (double)least;
}

void st_select_blocks_for_pruned(st_select_params *p, int64_t n_tok, int64_t exact_below,
                                 double pruned)
{
    static const int size[][2] = {{32, 16}, {16, 8}, {8, 4}, {4, 2}, {4, 1}};
    const int coarse = 3, n = sizeof size / sizeof *size; /* the last two: what the share needs */
    for (int i = 0; i < n; i++) {
        int64_t least;
        p->bq = size[i][0];
        p->bk = size[i][1];
        least = st_select_min_k(p);
        if ((i >= coarse || (leaves(p, n_tok, 0, AIM_PRUNED, 2 * least) &&
                             leaves(p, n_tok, 0, pruned, 3 * least))) &&
            leaves(p, n_tok, exact_below, pruned, least + 1))
            return;
    }
}

void st_selection_pairs(const st_selection *sel, const st_attn *a, int64_t *kept, int64_t *visible)
{
    st_select_params p = st_select_params_default();
    *kept = *visible = 0;
    p.bq = sel->bq;
    p.bk = sel->bk;
    for (int64_t b = 0; b < sel->nbq; b++) {
        sti_frame f = sti_frame_make(a, &p, sel->first_blk + b);
        int64_t full = (int64_t)f.n_row * p.bk, all_lo = 0, all_hi = INT64_MAX;
        for (int64_t i = f.row0; i < f.row0 + f.n_row; i++) {
            all_lo = sti_max(all_lo, sti_row_lo(a, i));
            all_hi = sti_min(all_hi, sti_row_hi(a, i));
            *visible += (int64_t)sel->n_head * (sti_row_hi(a, i) - sti_row_lo(a, i));
        }
        for (int h = 0; h < sel->n_head; h++) {
            const int64_t *row = sel->indptr + (int64_t)h * sel->nbq + b;
            for (int64_t i = row[0]; i < row[1]; i++) {
                int64_t key = (int64_t)sel->indices[i] * p.bk;
                bool whole = key >= all_lo && key + p.bk <= all_hi;
                *kept += whole ? full : block_pairs(a, &f, p.bk, sel->indices[i]);
            }
        }
    }
}
