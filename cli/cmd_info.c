/* SPDX-License-Identifier: MIT
 *
 * cmd_info.c — sparsetrace info: what a trace holds and shows, what a model is, what this program
 * is.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd.h"
#include "out.h"
#include "part_args.h"

struct info_args {
    const char *file, *who_reads;
    part_args part;
    int64_t top;
    bool json;
};

static int parse(struct info_args *a, int argc, char **argv)
{
    /* clang-format off */
    const arg_option option[] = {
        PART_OPTIONS(a->part),
        {"--top", "N", ARG_INT, &a->top, 0, 1000000, "passages to list (12)"},
        {"--who-reads", "A:B", ARG_TEXT, &a->who_reads, 0, 0,
         "list who reads tokens A..B-1 instead of what is read"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "print one JSON object"},
    };
    const arg_verb verb = {
        "info", "[TRACE | MODEL] [options]",
        "Of a trace: its recipe and certificate, and the passages that carry the most attention\n"
        "from --rows (default: the query block of the last token). Of a GGUF model: its shape.\n"
        "Without a file: this program and machine.",
        option, sizeof option / sizeof *option, 0, 1};
    /* clang-format on */
    const char *word[1] = {NULL};
    int n_word, code = args_parse(&verb, argc, argv, word, &n_word);
    a->file = word[0];
    return code;
}

/* ---- this program, a model ------------------------------------------------------------------- */

static int info_program(bool json)
{
    if (json) {
        printf("{\"version\":\"%s\",\"cpu\":\"%s\"}\n", st_version(), st_cpu_name());
    } else {
        out_row("version", "%s", st_version());
        out_row("kernels", "%s (the variable ST_CPU lowers it)", st_cpu_name());
    }
    return EXIT_OK;
}

static int info_model(const char *path, bool json)
{
    st_model_params p = st_model_params_default();
    st_model_info i;
    st_model *model;
    st_error err;
    char a[32], b[32], name[128];
    p.weights = ST_WEIGHTS_AS_IS;
    if (st_model_open(path, &p, &model, &err) != ST_OK)
        return out_failed(&err);
    st_model_get_info(model, &i);
    st_model_free(model);
    if (json) {
        printf("{\"name\":");
        out_json_string(stdout, i.name, (int64_t)strlen(i.name));
        printf(",\"arch\":");
        out_json_string(stdout, i.arch, (int64_t)strlen(i.arch));
        printf(",\"weights\":");
        out_json_string(stdout, i.weights, (int64_t)strlen(i.weights));
        printf(",\"sha256\":\"%s\",\"n_params\":%lld,"
               "\"n_layer\":%d,\"n_head\":%d,\"n_kv_head\":%d,\"n_embd\":%d,\"n_vocab\":%d,"
               "\"n_ctx_train\":%d,\"n_swa\":%d,\"chat_template\":%s,\"bytes\":%lld}\n",
               i.sha256, (long long)i.n_params, i.n_layer, i.n_head, i.n_kv_head, i.n_embd,
               i.n_vocab, i.n_ctx_train, i.n_swa, i.has_chat_template ? "true" : "false",
               (long long)i.file_bytes);
        return EXIT_OK;
    }
    out_row("model", "%s", out_clean(name, sizeof name, i.name));
    out_row("architecture", "%s, %s parameters, %s weights", i.arch, out_count(a, i.n_params),
            i.weights);
    out_row("shape", "%d layers, %d heads (%d KV heads), width %d, vocabulary %s", i.n_layer,
            i.n_head, i.n_kv_head, i.n_embd, out_count(a, i.n_vocab));
    if (i.n_swa > 0)
        out_row("context", "trained on %s tokens, sliding window %d", out_count(a, i.n_ctx_train),
                i.n_swa);
    else
        out_row("context", "trained on %s tokens", out_count(a, i.n_ctx_train));
    out_row("chat template", "%s", i.has_chat_template ? "yes" : "no");
    out_row("file", "%s, sha256 %s", out_bytes(b, i.file_bytes), i.sha256);
    return EXIT_OK;
}

/* ---- a trace: its recipe --------------------------------------------------------------------- */

static const char *value(const st_trace *t, const char *key, const char *pointer, char buf[128])
{
    char raw[128];
    st_trace_value(t, key, pointer, raw, sizeof raw);
    return *raw != '\0' ? out_clean(buf, 128, raw) : "?";
}

static double pruned(const st_trace_info *i)
{
    return i->visible_pairs > 0 ? 1.0 - (double)i->kept_pairs / (double)i->visible_pairs : 0.0;
}

static void print_recipe(const st_trace *t, const st_trace_info *i, const char *path)
{
    char a[128], b[128], c[128], reference[128], n[32];
    bool agrees = strcmp(value(t, "result", "/next_token/agree", a), "true") == 0;
    const char *against = value(t, "result", "/next_token/against", reference);
    bool compared = strcmp(against, "none") != 0 && *against != '?'; /* salvaged: no result */
    out_row("trace", "%s, %s%s", path, out_bytes(n, i->bytes),
            i->complete ? "" : ", SALVAGED from an interrupted run");
    out_row("model", "%s (sha256 %.12s..., %s weights)", value(t, "recipe", "/model/name", a),
            value(t, "recipe", "/model/sha256", b), value(t, "recipe", "/model/weights", c));
    out_row("tokens", "%s", out_count(n, i->n_tok));
    out_row("k", "%s key blocks of %d tokens per query block of %d (select: %s)",
            value(t, "recipe", "/select/k", a), i->bk, i->bq,
            value(t, "recipe", "/select/method", b));
    out_row("pruned", "%.2f %% of the causal pairs of the pruned layers", 100 * pruned(i));
    if (compared)
        out_row("next token", "%s (against %s, KL %s)", agrees ? "kept" : "CHANGED: NOT FAITHFUL",
                against, value(t, "result", "/kl", c));
    if (i->has_cert)
        out_row("recall",
                "%.1f %% of the exact mass, 95 %% interval %.1f..%.1f, worst head %.1f %%",
                100 * i->cert.recall_mean, 100 * i->cert.recall_ci95[0],
                100 * i->cert.recall_ci95[1], 100 * i->cert.recall_worst);
}

/* ---- a trace: what is read ------------------------------------------------------------------- */

struct passage {
    int64_t block; /* key block, or query block for --who-reads */
    double share;
    int layer, head; /* that read it the most (reads only) */
    double strongest;
};

static int by_share(const void *x, const void *y)
{
    const struct passage *a = x, *b = y;
    return a->share != b->share ? (a->share < b->share) - (a->share > b->share)
                                : (a->block > b->block) - (a->block < b->block);
}

/* The entries of `share` above 0, heaviest first (free()). */
static struct passage *rank(const double *share, int64_t n, int64_t *n_kept)
{
    struct passage *p = out_need((size_t)n * sizeof *p);
    *n_kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (share[i] > 0.0)
            p[(*n_kept)++] = (struct passage){.block = i, .share = share[i]};
    qsort(p, (size_t)*n_kept, sizeof *p, by_share);
    return p;
}

static bool listed(const int32_t *list, int64_t n, int32_t x)
{
    for (int64_t i = 0; i < n; i++)
        if (list[i] == x)
            return true;
    return n == 0;
}

/* Which head of the part reads each passage the most: its mean mass over the part's query blocks.
 */
static void find_strongest(const st_trace *t, const st_trace_info *info, const st_trace_part *part,
                           struct passage *p, int64_t n)
{
    int64_t b0 = part->row_begin / info->bq;
    int64_t b1 = part->row_end > 0 ? (part->row_end - 1) / info->bq + 1 : info->nbq;
    double *sum = out_need((size_t)info->nbk * sizeof *sum);
    for (int64_t l = 0; l < info->n_layer; l++) {
        st_trace_layer layer;
        if (st_trace_get_layer(t, l, &layer, NULL) != ST_OK ||
            !listed(part->layer, part->n_layer, layer.layer))
            continue;
        for (int64_t h = 0; h < layer.n_head; h++) {
            if (!listed(part->head, part->n_head, layer.head[h]))
                continue;
            memset(sum, 0, (size_t)info->nbk * sizeof *sum);
            for (int64_t b = b0; b < b1; b++) {
                const int32_t *index;
                const uint16_t *mass;
                int64_t m = st_trace_row(&layer, info->nbq, h, b, &index, &mass);
                for (int64_t i = 0; i < m; i++)
                    if (index[i] >= 0 && index[i] < info->nbk)
                        sum[index[i]] += (double)st_trace_mass(mass[i]) / (double)(b1 - b0);
            }
            for (int64_t i = 0; i < n; i++)
                if (sum[p[i].block] > p[i].strongest) {
                    p[i].strongest = sum[p[i].block];
                    p[i].layer = layer.layer;
                    p[i].head = layer.head[h];
                }
        }
    }
    free(sum);
}

/* The sequence as a strip of 64 cells, each as high as its heaviest block; sink and window, which
 * are always kept, do not set the scale. */
static void print_strip(const st_trace_info *info, const double *share, int64_t n)
{
    static const char *const bar[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double cell[64] = {0}, top = 0.0;
    int64_t cells = n < 64 ? n : 64;
    for (int64_t i = 0; i < n; i++) {
        double *c = &cell[i * cells / n];
        *c = share[i] > *c ? share[i] : *c;
        if (i > 0 && i < n - 4 && share[i] > top)
            top = share[i];
    }
    printf("  |");
    for (int64_t i = 0; i < cells; i++) {
        double height = top > 0.0 ? 8.0 * cell[i] / top + 0.5 : 0.0;
        fputs(bar[height < 8.0 ? (int)height : 8], stdout);
    }
    printf("|\n   0%*lld\n", (int)cells, (long long)info->n_tok);
}

static void print_passage(const st_trace *t, const st_trace_info *info, const struct passage *p,
                          int64_t block_size, bool reads)
{
    int64_t begin = p->block * block_size, n;
    int64_t end = begin + block_size < info->n_tok ? begin + block_size : info->n_tok;
    const char *text = st_trace_text(t, begin, end, &n);
    printf("  %5.2f %%  %8lld..%-8lld", 100 * p->share, (long long)begin, (long long)end - 1);
    if (reads)
        printf(" %5.1f %% L%d.H%-4d", 100 * p->strongest, p->layer, p->head);
    fputc(' ', stdout);
    out_snippet(stdout, text, n, reads ? 60 : 72);
    putchar('\n');
}

static void json_passages(const st_trace *t, const st_trace_info *info, const struct passage *p,
                          int64_t n, int64_t block_size, bool reads)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t begin = p[i].block * block_size, bytes;
        int64_t end = begin + block_size < info->n_tok ? begin + block_size : info->n_tok;
        const char *text = st_trace_text(t, begin, end, &bytes);
        printf("%s{\"begin\":%lld,\"end\":%lld,\"share\":", i > 0 ? "," : "", (long long)begin,
               (long long)end);
        out_json_real(stdout, p[i].share);
        if (reads) {
            printf(",\"strongest\":{\"layer\":%d,\"head\":%d,\"share\":", p[i].layer, p[i].head);
            out_json_real(stdout, p[i].strongest);
            printf("}");
        }
        printf(",\"text\":");
        out_json_string(stdout, text, bytes);
        printf("}");
    }
}

static void json_trace(const st_trace *t, const st_trace_info *i, const struct passage *p,
                       int64_t n, int64_t block_size, bool reads)
{
    const char *recipe = st_trace_json(t, "recipe"), *result = st_trace_json(t, "result");
    printf("{\"n_tok\":%lld,\"block_q\":%d,\"block_k\":%d,\"n_layer\":%lld,\"bytes\":%lld,"
           "\"complete\":%s,\"kept_pairs\":%lld,\"causal_pairs\":%lld,\"pruned_fraction\":",
           (long long)i->n_tok, i->bq, i->bk, (long long)i->n_layer, (long long)i->bytes,
           i->complete ? "true" : "false", (long long)i->kept_pairs, (long long)i->visible_pairs);
    out_json_real(stdout, pruned(i));
    printf(",\"recipe\":%s,\"result\":%s,\"%s\":[", recipe != NULL ? recipe : "null",
           result != NULL ? result : "null", reads ? "reads" : "readers");
    json_passages(t, i, p, n, block_size, reads);
    printf("]}\n");
}

/* One past the last row of the query blocks that touch rows up to `end`. */
static int64_t whole_blocks_end(int64_t end, const st_trace_info *info)
{
    int64_t whole = (end + info->bq - 1) / info->bq * info->bq;
    return whole < info->n_tok ? whole : info->n_tok;
}

static int show(const st_trace *t, const struct info_args *a, const st_trace_info *info,
                st_trace_part *part)
{
    bool reads = a->who_reads == NULL;
    int64_t n = reads ? info->nbk : info->nbq, n_ranked, key_begin = 0, key_end = 0;
    int64_t size = reads ? info->bk : info->bq;
    double *share = out_need((size_t)n * sizeof *share);
    struct passage *p;
    st_error err;
    st_status status;
    if (!reads && !args_span(a->who_reads, info->n_tok, &key_begin, &key_end)) {
        free(share);
        return args_complain("info", "--who-reads: \"%s\" is no span within %lld tokens",
                             a->who_reads, (long long)info->n_tok);
    }
    if (reads && part->row_end == 0) {
        part->row_begin =
            info->row_end > 0 && info->row_end < info->n_tok ? info->row_end - 1 : info->n_tok - 1;
        part->row_end = part->row_begin + 1;
    }
    status = reads ? st_trace_reads(t, part, share, &err)
                   : st_trace_readers(t, part, key_begin, key_end, share, &err);
    if (status != ST_OK) {
        free(share);
        return out_failed(&err);
    }
    p = rank(share, n, &n_ranked);
    n_ranked = n_ranked < a->top ? n_ranked : a->top;
    if (reads)
        find_strongest(t, info, part, p, n_ranked);
    if (a->json) {
        json_trace(t, info, p, n_ranked, size, reads);
    } else {
        print_recipe(t, info, a->file);
        if (reads)
            printf(
                "\nread by rows %lld..%lld (share of the mass, mean over heads; then the head that "
                "reads it most)\n",
                (long long)(part->row_begin / info->bq * info->bq),
                (long long)whole_blocks_end(part->row_end, info) - 1);
        else
            printf("\nwho reads tokens %lld..%lld (share of their mass, mean over heads)\n",
                   (long long)key_begin, (long long)key_end - 1);
        print_strip(info, share, n);
        for (int64_t i = 0; i < n_ranked; i++)
            print_passage(t, info, &p[i], size, reads);
    }
    free(p);
    free(share);
    return EXIT_OK;
}

static int info_trace(const struct info_args *a)
{
    st_trace *trace;
    st_trace_info info;
    st_trace_part part;
    st_error err;
    int code;
    if (st_trace_open(a->file, &trace, &err) != ST_OK)
        return out_failed(&err);
    st_trace_get_info(trace, &info);
    code = part_args_apply(&a->part, "info", info.n_tok, &part);
    if (code < 0)
        code = show(trace, a, &info, &part);
    part_args_free(&part);
    st_trace_free(trace);
    return code;
}

int cmd_info(int argc, char **argv)
{
    struct info_args a = {.top = 12};
    char magic[4] = {0};
    struct stat there;
    FILE *f;
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    if (a.file == NULL)
        return info_program(a.json);
    f = stat(a.file, &there) == 0 && S_ISREG(there.st_mode) ? fopen(a.file, "rb") : NULL;
    if (f != NULL) {
        if (fread(magic, 1, 4, f) != 4)
            magic[0] = 0;
        fclose(f);
    }
    return memcmp(magic, "GGUF", 4) == 0 ? info_model(a.file, a.json) : info_trace(&a);
}
