/* SPDX-License-Identifier: MIT
 *
 * report.c — a trace's recipe and result as JSON.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "base/sha256.h"
#include "base/util.h"
#include "engine/engine_int.h"

typedef yyjson_mut_doc Doc;
typedef yyjson_mut_val Val;

/* Text as JSON can carry it: bytes that are not UTF-8 become U+FFFD. n at most 256. */
static Val *text_value(Doc *d, const char *raw, int n)
{
    char text[3 * 256];
    int len = 0;
    for (int i = 0; i < n;) {
        int size = sti_utf8_length(raw + i, n - i);
        memcpy(text + len, size > 0 ? raw + i : "\xef\xbf\xbd", size > 0 ? (size_t)size : 3);
        len += size > 0 ? size : 3;
        i += size > 0 ? size : 1;
    }
    return yyjson_mut_strncpy(d, text, (size_t)len);
}

static Val *piece(Doc *d, const st_model *m, int32_t token)
{
    char raw[256];
    int n = st_model_piece(m, token, raw, sizeof raw);
    return text_value(d, raw, n > (int)sizeof raw ? (int)sizeof raw : n);
}

static void add_token(Doc *d, Val *to, const char *key, const st_model *m, int32_t id, double p)
{
    Val *o = yyjson_mut_obj_add_obj(d, to, key);
    yyjson_mut_obj_add_int(d, o, "id", id);
    yyjson_mut_obj_add_val(d, o, "text", piece(d, m, id));
    yyjson_mut_obj_add_real(d, o, "p", p);
}

static void add_next_token(Doc *d, Val *root, const st_model *m, const st_trace_report *r)
{
    Val *o = yyjson_mut_obj_add_obj(d, root, "next_token");
    bool compared = r->against != ST_AGAINST_NONE;
    if (compared)
        yyjson_mut_obj_add_bool(d, o, "agree", r->agree);
    else
        yyjson_mut_obj_add_null(d, o, "agree");
    yyjson_mut_obj_add_str(d, o, "against", st_against_name(r->against));
    if (compared)
        add_token(d, o, r->against == ST_AGAINST_DENSE ? "dense" : "reference", m, r->next.top_a,
                  r->next.p_a);
    add_token(d, o, "sparse", m, r->next.top_b, r->next.p_b);
    if (!compared)
        return;
    yyjson_mut_obj_add_real(d, o, "margin", r->next.margin_a);
    yyjson_mut_obj_add_int(d, o, "n_same_last", r->next.n_same);
    yyjson_mut_obj_add_int(d, o, "n_compared_last", r->next.n_compared);
}

static void add_floor(Doc *d, Val *root, const st_trace_report *r)
{
    Val *o = yyjson_mut_obj_add_obj(d, root, "floor");
    yyjson_mut_obj_add_real(d, o, "kl", r->floor_kl);
    yyjson_mut_obj_add_real(d, o, "margin", r->floor_margin);
    yyjson_mut_obj_add_bool(d, o, "measured", r->floor_measured);
}

static void add_recall(Doc *d, Val *root, const st_trace_report *r)
{
    Val *o, *ci, *at;
    if (!r->has_cert) {
        yyjson_mut_obj_add_null(d, root, "recall");
        return;
    }
    o = yyjson_mut_obj_add_obj(d, root, "recall");
    yyjson_mut_obj_add_real(d, o, "mean", r->cert.recall_mean);
    yyjson_mut_obj_add_real(d, o, "p5", r->cert.recall_p5);
    yyjson_mut_obj_add_real(d, o, "worst_head", r->cert.recall_worst);
    at = yyjson_mut_obj_add_arr(d, o, "worst_head_at");
    yyjson_mut_arr_add_int(d, at, r->cert.worst_layer);
    yyjson_mut_arr_add_int(d, at, r->cert.worst_head);
    ci = yyjson_mut_obj_add_arr(d, o, "ci95");
    yyjson_mut_arr_add_real(d, ci, r->cert.recall_ci95[0]);
    yyjson_mut_arr_add_real(d, ci, r->cert.recall_ci95[1]);
    yyjson_mut_obj_add_real(d, o, "last_row", r->recall_last);
    yyjson_mut_obj_add_real(d, o, "output_error", r->cert.err_mean);
    yyjson_mut_obj_add_int(d, o, "rows_per_layer", r->cert.n_row);
}

static void add_seconds(Doc *d, Val *root, const st_trace_report *r)
{
    Val *o = yyjson_mut_obj_add_obj(d, root, "seconds");
    yyjson_mut_obj_add_real(d, o, "total", r->seconds_total);
    yyjson_mut_obj_add_real(d, o, "dense", r->seconds_dense);
    yyjson_mut_obj_add_real(d, o, "search", r->seconds_search);
    yyjson_mut_obj_add_real(d, o, "final", r->seconds_final);
    yyjson_mut_obj_add_real(d, o, "linear", r->seconds_linear);
    yyjson_mut_obj_add_real(d, o, "keys", r->seconds_keys);
    yyjson_mut_obj_add_real(d, o, "select", r->seconds_select);
    yyjson_mut_obj_add_real(d, o, "attend", r->seconds_attend);
    yyjson_mut_obj_add_real(d, o, "certify", r->seconds_certify);
}

/* The document's text in our own memory; frees the document. */
static char *finish(Doc *d)
{
    size_t n = 0;
    char *text = yyjson_mut_write(d, 0, &n), *own = text != NULL ? sti_alloc(n + 1) : NULL;
    if (own != NULL)
        memcpy(own, text, n + 1);
    free(text);
    yyjson_mut_doc_free(d);
    return own;
}

/* A whole number of blocks is written as one. */
static void add_budget(Doc *d, Val *o, double k)
{
    if (k == floor(k))
        yyjson_mut_obj_add_int(d, o, "k", (int64_t)k);
    else
        yyjson_mut_obj_add_real(d, o, "k", k);
}

st_status st_trace_report_json(const st_model *m, const st_trace_report *r, char **json,
                               st_error *err)
{
    Doc *d = yyjson_mut_doc_new(NULL);
    Val *root = yyjson_mut_obj(d);
    *json = NULL;
    yyjson_mut_doc_set_root(d, root);
    yyjson_mut_obj_add_int(d, root, "n_tok", r->n_tok);
    yyjson_mut_obj_add_int(d, root, "n_layer", r->n_layer);
    yyjson_mut_obj_add_int(d, root, "n_head", r->n_head);
    yyjson_mut_obj_add_int(d, root, "n_exact_layer", r->n_exact_layer);
    add_budget(d, root, r->k);
    if (r->budget == ST_BUDGET_MASS)
        yyjson_mut_obj_add_real(d, root, "mass", r->mass);
    yyjson_mut_obj_add_int(d, root, "block_q", r->block_q);
    yyjson_mut_obj_add_int(d, root, "block_k", r->block_k);
    yyjson_mut_obj_add_str(d, root, "select", st_select_method_name(r->select));
    yyjson_mut_obj_add_bool(d, root, "scanned", r->scanned);
    yyjson_mut_obj_add_real(d, root, "pruned_fraction", r->pruned_fraction);
    yyjson_mut_obj_add_int(d, root, "kept_pairs", r->kept_pairs);
    yyjson_mut_obj_add_int(d, root, "causal_pairs", r->causal_pairs);
    add_next_token(d, root, m, r);
    if (r->against != ST_AGAINST_NONE)
        yyjson_mut_obj_add_real(d, root, "kl", r->next.kl);
    else
        yyjson_mut_obj_add_null(d, root, "kl");
    add_floor(d, root, r);
    add_recall(d, root, r);
    add_seconds(d, root, r);
    yyjson_mut_obj_add_int(d, root, "n_run", r->n_run);
    yyjson_mut_obj_add_int(d, root, "peak_rss_bytes", r->peak_rss_bytes);
    yyjson_mut_obj_add_int(d, root, "trace_bytes", r->trace_bytes);
    *json = finish(d);
    return *json != NULL ? ST_OK : sti_fail_mem(err, 4096);
}

static void add_model(Doc *d, Val *root, const st_model *m)
{
    const st_model_info *i = &m->info;
    Val *o = yyjson_mut_obj_add_obj(d, root, "model");
    yyjson_mut_obj_add_val(d, o, "name", text_value(d, i->name, (int)strlen(i->name)));
    yyjson_mut_obj_add_val(d, o, "arch", text_value(d, i->arch, (int)strlen(i->arch)));
    yyjson_mut_obj_add_strcpy(d, o, "sha256", i->sha256);
    yyjson_mut_obj_add_val(d, o, "weights", text_value(d, i->weights, (int)strlen(i->weights)));
    yyjson_mut_obj_add_bool(d, o, "converted", i->converted);
    yyjson_mut_obj_add_int(d, o, "n_layer", i->n_layer);
    yyjson_mut_obj_add_int(d, o, "n_head", i->n_head);
    yyjson_mut_obj_add_int(d, o, "n_kv_head", i->n_kv_head);
}

static void add_select(Doc *d, Val *root, const st_trace_params *p, int64_t n_tok, double k)
{
    Val *o = yyjson_mut_obj_add_obj(d, root, "select");
    yyjson_mut_obj_add_str(d, o, "method", st_select_method_name(p->select.method));
    yyjson_mut_obj_add_int(d, o, "bq", p->select.bq);
    yyjson_mut_obj_add_int(d, o, "bk", p->select.bk);
    add_budget(d, o, k);
    yyjson_mut_obj_add_real(d, o, "mass",
                            p->budget == ST_BUDGET_MASS ? (double)p->select.mass : 0.0);
    yyjson_mut_obj_add_int(d, o, "sink_blk", p->select.sink_blk);
    yyjson_mut_obj_add_int(d, o, "window_blk", p->select.window_blk);
    yyjson_mut_obj_add_int(d, o, "rows", p->select.rows);
    yyjson_mut_obj_add_int(d, o, "beam", p->select.beam);
    yyjson_mut_obj_add_real(d, o, "rerank", (double)p->select.rerank);
    yyjson_mut_obj_add_bool(d, o, "pooled", p->select.pooled);
    yyjson_mut_obj_add_int(d, o, "grow_tok", p->select.grow_tok < 0 ? n_tok : p->select.grow_tok);
}

/* As they can be read again by st_edits_read. */
static void add_edits(Doc *d, Val *root, const st_trace_params *p)
{
    Val *list = yyjson_mut_obj_add_arr(d, root, "edits");
    for (int64_t i = 0; i < p->n_edit; i++) {
        char edit[ST_EDIT_TEXT];
        st_edit_print(&p->edit[i], edit);
        yyjson_mut_arr_add_strcpy(d, list, edit);
    }
}

char *sti_recipe_json(const st_model *m, const int32_t *token, int64_t n_tok,
                      const st_trace_params *p, double k)
{
    Doc *d = yyjson_mut_doc_new(NULL);
    Val *root = yyjson_mut_obj(d);
    char hex[65];
    sti_sha256 sha;
    sti_sha256_init(&sha);
    sti_sha256_add(&sha, token, (size_t)n_tok * sizeof *token);
    sti_sha256_hex(&sha, hex);
    yyjson_mut_doc_set_root(d, root);
    yyjson_mut_obj_add_str(d, root, "program", "sparsetrace");
    yyjson_mut_obj_add_str(d, root, "version", st_version());
    yyjson_mut_obj_add_str(d, root, "cpu", st_cpu_name());
    yyjson_mut_obj_add_str(d, root, "linear", st_ggml_linear() != NULL ? st_ggml_linear() : "ggml");
    add_model(d, root, m);
    yyjson_mut_obj_add_strcpy(d, root, "prompt_sha256", hex); /* of the token ids, int32 */
    yyjson_mut_obj_add_int(d, root, "n_tok", n_tok);
    add_select(d, root, p, n_tok, k);
    if (p->n_edit > 0)
        add_edits(d, root, p);
    yyjson_mut_obj_add_int(d, root, "cert_rows", p->cert_rows);
    yyjson_mut_obj_add_uint(d, root, "seed", p->seed);
    yyjson_mut_obj_add_strcpy(d, root, "type_k", p->run.type_k);
    yyjson_mut_obj_add_strcpy(d, root, "type_v", p->run.type_v);
    yyjson_mut_obj_add_int(d, root, "n_thread", m->n_thread);
    return finish(d);
}
