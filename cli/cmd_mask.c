/* SPDX-License-Identifier: MIT
 *
 * cmd_mask.c — sparsetrace mask: selection and attention on raw tensors, without a model.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "budget_args.h"
#include "cmd.h"
#include "out.h"
#include "paths.h"
#include "sparsetrace/attend.h"

struct mask_args {
    const char *in, *out;
    budget_args budget;
    double scale;
    int64_t first_query, n_thread, cert_rows;
    bool json;
};

static int parse(struct mask_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        {"-o", "OUT", ARG_TEXT, &a->out, 0, 0, "safetensors file to write"},
        BUDGET_OPTIONS_WITH(a->budget, "on with --pruned", "on with --pruned",
                            "stream (default), auto, scan, flat, exact, hip, window", "32", "16"),
        {"--first-query", "N", ARG_INT, &a->first_query, 0, INT32_MAX,
         "position of the first query row (default: the rows are the last ones)"},
        {"--scale", "X", ARG_REAL, &a->scale, -1e30, 1e30,
         "factor of q . k (default: 1 / sqrt(d))"},
        {"--cert-rows", "N", ARG_INT, &a->cert_rows, 0, INT32_MAX,
         "rows compared with exact attention (64, spread evenly)"},
        {"--threads", "N", ARG_INT, &a->n_thread, 1, 1024, "default: all processors"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print the report as one JSON object"},
    };
    const arg_verb verb = {
        "mask", "IN.safetensors -o OUT.safetensors [options]",
        "Reads q [n_head, n_q, d], k and optionally v [n_kv_head, n_k, d] (F32, F16 or BF16),\n"
        "selects key blocks for causal attention and writes indptr [n_head * nbq + 1], indices,\n"
        "mass, lse [n_head, n_q] and, with v, out [n_head, n_q, d].",
        option, sizeof option / sizeof *option, 1, 1};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, &a->in, &n_word);
    if (code < 0 && a->out == NULL)
        return args_complain("mask", "where to? -o OUT.safetensors");
    return code < 0 ? PATHS_APART("mask", "-o", a->out, a->in) : code;
}

/* ---- operands -------------------------------------------------------------------------------- */

static st_status fail(st_error *err, const char *fmt, const char *x)
{
    *err = (st_error){.status = ST_ERR_FORMAT, .position = -1};
    snprintf(err->message, sizeof err->message, fmt, x);
    return ST_ERR_FORMAT;
}

static st_status operand(const st_tensors *in, const char *name, st_rows *rows, int64_t shape[3],
                         st_error *err)
{
    const st_tensor *t = st_tensors_find(in, name);
    st_dtype dtype;
    if (t == NULL)
        return fail(err, "the file has no tensor \"%s\"", name);
    if (t->n_dim != 3 || t->shape[0] < 1 || t->shape[1] < 1 || t->shape[2] < 1)
        return fail(err, "tensor \"%s\" must have the shape [heads, tokens, d], nothing zero",
                    name);
    if (t->type == ST_TENSOR_F32)
        dtype = ST_DTYPE_F32;
    else if (t->type == ST_TENSOR_F16)
        dtype = ST_DTYPE_F16;
    else if (t->type == ST_TENSOR_BF16)
        dtype = ST_DTYPE_BF16;
    else
        return fail(err, "tensor \"%s\" must be F32, F16 or BF16", name);
    memcpy(shape, t->shape, 3 * sizeof *shape);
    *rows = st_rows_contiguous(t->data, dtype, t->shape[1], t->shape[2]);
    return ST_OK;
}

static st_status problem(const st_tensors *in, const struct mask_args *args, st_attn *a,
                         st_error *err)
{
    int64_t q[3], k[3], v[3];
    st_status status = operand(in, "q", &a->q, q, err);
    if (status == ST_OK)
        status = operand(in, "k", &a->k, k, err);
    if (status != ST_OK)
        return status;
    if (q[2] != k[2])
        return fail(err, "q and k must have the same d%s", "");
    if (q[0] > 1 << 20 || k[0] > 1 << 20 || q[2] > 2048)
        return fail(err, "at most 2^20 heads of d at most 2048%s", "");
    a->n_head = (int)q[0];
    a->n_kv_head = (int)k[0];
    a->n_q = q[1];
    a->n_k = k[1];
    a->d_k = a->d_v = (int)q[2];
    if (st_tensors_find(in, "v") != NULL) {
        status = operand(in, "v", &a->v, v, err);
        if (status != ST_OK)
            return status;
        if (v[0] != k[0] || v[1] != k[1] || v[2] > 2048)
            return fail(err, "v must have the heads and tokens of k, and d at most 2048%s", "");
        a->d_v = (int)v[2];
    }
    a->scale = !isnan(args->scale) ? (float)args->scale : (float)(1.0 / sqrt((double)q[2]));
    a->first_query = args->first_query >= 0 ? args->first_query : a->n_k - a->n_q;
    if (a->first_query < 0)
        return fail(err, "more query rows than keys: give --first-query%s", "");
    return st_attn_check(a, err);
}

/* ---- the job --------------------------------------------------------------------------------- */

struct result {
    st_selection *sel;
    float *mass, *lse, *out, *recall;
    int64_t *rows;
    int64_t n_row, kept, visible;
    double recall_mean, recall_worst; /* over rows and heads; over heads, mean of rows */
    double seconds_select, seconds_attend;
};

static void result_free(struct result *r)
{
    st_selection_free(r->sel);
    free(r->mass);
    free(r->lse);
    free(r->out);
    free(r->recall);
    free(r->rows);
}

static st_status certify(const st_attn *a, const st_attend_out *out, struct result *r,
                         st_pool *pool, int64_t n_row, st_error *err)
{
    st_status status;
    r->n_row = n_row < a->n_q ? n_row : a->n_q;
    r->rows = out_need((size_t)r->n_row * sizeof *r->rows);
    r->recall = out_need((size_t)(r->n_row * a->n_head) * sizeof *r->recall);
    for (int64_t i = 0; i < r->n_row; i++)
        r->rows[i] = (i + 1) * a->n_q / r->n_row - 1;
    status = st_certify(a, r->sel, out, r->rows, r->n_row, pool, r->recall, NULL, err);
    r->recall_worst = 1.0;
    for (int h = 0; status == ST_OK && h < a->n_head; h++) {
        double mean = 0.0;
        for (int64_t i = 0; i < r->n_row; i++)
            mean += (double)r->recall[h * r->n_row + i] / (double)r->n_row;
        r->recall_mean += mean / a->n_head;
        if (!(mean >= r->recall_worst)) /* a NaN is the worst */
            r->recall_worst = mean;
    }
    return status;
}

static st_status work(const st_attn *a, const st_select_params *p, int64_t cert_rows,
                      struct result *r, st_pool *pool, st_error *err)
{
    double start = out_seconds();
    st_attend_out out = {.stride_tok = a->d_v, .stride_head = a->n_q * a->d_v};
    st_status status = st_select(a, p, NULL, pool, &r->sel, err);
    int64_t nnz;
    if (status != ST_OK)
        return status;
    r->seconds_select = out_seconds() - start;
    nnz = r->sel->indptr[r->sel->n_head * r->sel->nbq];
    out.mass = r->mass = out_need((size_t)nnz * sizeof *r->mass);
    out.lse = r->lse = out_need((size_t)(a->n_head * a->n_q) * sizeof *r->lse);
    if (a->v.data != NULL)
        out.out = r->out = out_need((size_t)(a->n_head * a->n_q * a->d_v) * sizeof *r->out);
    start = out_seconds();
    status = st_attend(a, r->sel, pool, &out, err);
    r->seconds_attend = out_seconds() - start;
    st_selection_pairs(r->sel, a, &r->kept, &r->visible);
    if (status == ST_OK && cert_rows > 0)
        status = certify(a, &out, r, pool, cert_rows, err);
    return status;
}

static st_tensor tensor(const char *name, st_tensor_type type, int n_dim, const int64_t *shape,
                        const void *data)
{
    st_tensor t = {.name = name, .type = type, .n_dim = n_dim, .data = data};
    t.bytes = st_tensor_type_bytes(type);
    for (int i = 0; i < n_dim; i++) {
        t.shape[i] = shape[i];
        t.bytes *= (size_t)shape[i];
    }
    return t;
}

static st_status write_result(const char *path, const st_attn *a, const struct result *r,
                              const st_select_params *p, st_error *err)
{
    const st_selection *sel = r->sel;
    int64_t n = sel->n_head * sel->nbq, nnz = sel->indptr[n];
    char bq[16], bk[16], first[24];
    const char *meta[][2] = {{"format", "sparsetrace.mask"},
                             {"version", st_version()},
                             {"select", st_select_method_name(p->method)},
                             {"block_q", bq},
                             {"block_k", bk},
                             {"first_query", first}};
    st_tensor t[] = {
        tensor("indptr", ST_TENSOR_I64, 1, (int64_t[]){n + 1}, sel->indptr),
        tensor("indices", ST_TENSOR_I32, 1, (int64_t[]){nnz}, sel->indices),
        tensor("mass", ST_TENSOR_F32, 1, (int64_t[]){nnz}, r->mass),
        tensor("lse", ST_TENSOR_F32, 2, (int64_t[]){a->n_head, a->n_q}, r->lse),
        tensor("out", ST_TENSOR_F32, 3, (int64_t[]){a->n_head, a->n_q, a->d_v}, r->out),
    };
    snprintf(bq, sizeof bq, "%d", sel->bq);
    snprintf(bk, sizeof bk, "%d", sel->bk);
    snprintf(first, sizeof first, "%lld", (long long)a->first_query);
    return st_tensors_write(path, t, r->out != NULL ? 5 : 4, meta, 6, err);
}

static void print_json(const st_attn *a, const struct result *r, const st_select_params *p)
{
    printf("{\"n_head\":%d,\"n_q\":%lld,\"n_k\":%lld,\"d\":%d,\"block_q\":%d,\"block_k\":%d,"
           "\"select\":\"%s\",\"scanned\":%s,\"k\":%.17g,\"kept_blocks\":%lld,\"kept_pairs\":%lld,"
           "\"causal_pairs\":%lld,\"pruned_fraction\":",
           a->n_head, (long long)a->n_q, (long long)a->n_k, a->d_k, p->bq, p->bk,
           st_select_method_name(p->method), r->sel->scanned ? "true" : "false", p->k,
           (long long)r->sel->indptr[r->sel->n_head * r->sel->nbq], (long long)r->kept,
           (long long)r->visible);
    out_json_real(stdout, r->visible > 0 ? 1.0 - (double)r->kept / (double)r->visible : 0.0);
    printf(",\"recall\":");
    if (r->n_row > 0) {
        printf("{\"mean\":");
        out_json_real(stdout, r->recall_mean);
        printf(",\"worst_head\":");
        out_json_real(stdout, r->recall_worst);
        printf(",\"rows\":%lld}", (long long)r->n_row);
    } else {
        printf("null");
    }
    printf(",\"seconds\":{\"select\":%.6f,\"attend\":%.6f}}\n", r->seconds_select,
           r->seconds_attend);
}

static void print_table(const st_attn *a, const struct result *r, const st_select_params *p)
{
    char x[32], y[32];
    out_row("problem", "%d heads, %s query rows from position %s, %lld keys, d %d", a->n_head,
            out_count(x, a->n_q), out_count(y, a->first_query), (long long)a->n_k, a->d_k);
    out_row("selection", "%s%s, k = %g key blocks of %d per query block of %d%s",
            st_select_method_name(p->method), r->sel->scanned ? " (fell back to scan)" : "",
            p->k, p->bk, p->bq, p->mass > 0 ? ", or fewer for the mass" : "");
    out_row("kept", "%s of %s causal token pairs", out_count(x, r->kept), out_count(y, r->visible));
    out_row("pruned", "%.2f %% of the causal pairs",
            r->visible > 0 ? 100.0 * (1.0 - (double)r->kept / (double)r->visible) : 0.0);
    if (r->n_row > 0)
        out_row("recall", "%.2f %% of the exact mass (%lld rows), worst head %.2f %%",
                100 * r->recall_mean, (long long)r->n_row, 100 * r->recall_worst);
    out_row("seconds", "select %.3f, attend %.3f", r->seconds_select, r->seconds_attend);
}

static int run(const struct mask_args *args, st_select_params *p, st_budget budget, double pruned)
{
    st_tensors *in = NULL;
    st_pool *pool = NULL;
    st_attn a = {0};
    struct result r = {0};
    st_error err;
    st_status status = st_tensors_open(args->in, &in, &err);
    if (status == ST_OK)
        status = problem(in, args, &a, &err);
    if (status == ST_OK && budget == ST_BUDGET_PRUNED)
        status = st_select_k_for_pruned(p, a.first_query, a.n_q, 0, pruned, &p->k, &err);
    if (status == ST_OK)
        status = st_pool_create((int)args->n_thread, &pool, &err);
    if (status == ST_OK)
        status = work(&a, p, args->cert_rows, &r, pool, &err);
    if (status == ST_OK)
        status = write_result(args->out, &a, &r, p, &err);
    if (status == ST_OK && args->json)
        print_json(&a, &r, p);
    else if (status == ST_OK)
        print_table(&a, &r, p);
    result_free(&r);
    st_pool_free(pool);
    st_tensors_free(in);
    return status == ST_OK ? EXIT_OK : out_failed(&err);
}

int cmd_mask(int argc, char **argv)
{
    struct mask_args a = {
        .budget = budget_args_default(), .scale = NAN, .first_query = -1, .cert_rows = 64};
    st_select_params p;
    st_budget budget;
    double pruned = 0.0;
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    code = budget_args_apply(&a.budget, "mask", &p, &budget, &pruned);
    if (code >= 0)
        return code;
    if (budget == ST_BUDGET_AUTO && a.budget.k != NULL)
        return args_complain("mask", "--k auto needs a model: give a number, --pruned or --mass");
    return run(&a, &p, budget, pruned);
}
