/* SPDX-License-Identifier: MIT
 *
 * ruler_cells.c — rows summed up by task, length and setting; as a table, JSON and CSV.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ruler.h"

/* ---- summing up ------------------------------------------------------------------------------ */

static bool of_job(const ruler_row *r, const ruler_job *j)
{
    ruler_row of = ruler_job_key(j, r->length, r->target);
    return strcmp(r->model, of.model) == 0 && r->chat == of.chat && r->seed == of.seed &&
           r->block_q == of.block_q && r->block_k == of.block_k && r->sample_rows == of.sample_rows;
}

static bool same_cell(const ruler_row *a, const ruler_row *b)
{
    return a->length == b->length && strcmp(a->task, b->task) == 0 &&
           strcmp(a->select, b->select) == 0 && strcmp(a->target, b->target) == 0 &&
           strcmp(a->source, b->source) == 0;
}

static bool whole(double score)
{
    return score > 1.0 - 1e-9;
}

static void add(ruler_cell *c, const ruler_row *r)
{
    c->n++;
    c->n_right += whole(r->dense);
    c->n_kept += whole(r->dense) && whole(r->sparse);
    if (whole(r->dense) && !whole(r->sparse))
        c->lost_margin = fmax(c->lost_margin, r->margin);
    c->n_tok += r->n_tok;
    c->n_answer += r->n_answer;
    c->n_same += r->n_same;
    c->n_retrieval += r->n_retrieval;
    c->n_needle_kept += r->n_needle_kept;
    c->dense += r->dense;
    c->sparse += r->sparse;
    c->kl += r->kl * (double)r->n_answer;
    c->kept_pairs += (double)r->kept_pairs;
    c->causal_pairs += (double)r->causal_pairs;
    c->seconds_dense += r->seconds_dense;
    c->seconds_sparse += r->seconds_sparse;
    if (r->recall >= 0) {
        c->recall += r->recall;
        c->n_recall++;
    }
    if (r->greedy_dense >= 0) {
        c->greedy_dense += r->greedy_dense;
        c->greedy_sparse += r->greedy_sparse;
        c->n_greedy++;
    }
}

/* Sums to means; -1 where there is nothing. */
static void divide(ruler_cell *c)
{
    double n = (double)c->n, greedy = (double)c->n_greedy;
    c->dense /= n;
    c->sparse /= n;
    c->kl /= (double)c->n_answer;
    c->pruned = c->causal_pairs > 0 ? 1.0 - c->kept_pairs / c->causal_pairs : 0.0;
    c->recall = c->n_recall > 0 ? c->recall / (double)c->n_recall : -1.0;
    c->greedy_dense = c->n_greedy > 0 ? c->greedy_dense / greedy : -1.0;
    c->greedy_sparse = c->n_greedy > 0 ? c->greedy_sparse / greedy : -1.0;
}

static bool same_task(const ruler_cell *a, const ruler_cell *b)
{
    return strcmp(a->first->task, b->first->task) == 0 &&
           strcmp(a->first->source, b->first->source) == 0;
}

/* Where cell n goes among those before it: behind the last of its task that is no longer, or
 * before its task's first, or where it is. */
static int64_t place_of(const ruler_cells *cells, int64_t n)
{
    const ruler_cell *x = &cells->cell[n];
    int64_t to = n;
    for (int64_t i = n; i > 0; i--) {
        if (!same_task(&cells->cell[i - 1], x))
            continue;
        if (cells->cell[i - 1].first->length <= x->first->length)
            return i;
        to = i - 1;
    }
    return to;
}

/* Tasks as they first come, a task's cells by length; those of one length stay as they are. */
static void sort_cells(ruler_cells *cells)
{
    for (int64_t c = 1; c < cells->n; c++) {
        ruler_cell x = cells->cell[c];
        int64_t to = place_of(cells, c);
        memmove(&cells->cell[to + 1], &cells->cell[to], (size_t)(c - to) * sizeof x);
        cells->cell[to] = x;
    }
}

ruler_cells ruler_cells_of(const ruler_job *j)
{
    const ruler_rows *rows = &j->rows;
    ruler_cells cells = {.cell = out_need((size_t)(rows->n + 1) * sizeof *cells.cell)};
    for (int64_t i = 0; i < rows->n; i++) {
        int64_t c = 0;
        if (!of_job(&rows->row[i], j))
            continue;
        while (c < cells.n && !same_cell(cells.cell[c].first, &rows->row[i]))
            c++;
        if (c == cells.n)
            cells.cell[cells.n++] = (ruler_cell){.first = &rows->row[i], .lost_margin = -1.0};
        add(&cells.cell[c], &rows->row[i]);
    }
    for (int64_t c = 0; c < cells.n; c++)
        divide(&cells.cell[c]);
    sort_cells(&cells);
    return cells;
}

void ruler_cells_free(ruler_cells *cells)
{
    free(cells->cell);
    *cells = (ruler_cells){.n = 0};
}

/* ---- the table ------------------------------------------------------------------------------- */

static const char *percent(char buf[16], double share)
{
    if (share < 0)
        return "-";
    snprintf(buf, 16, "%.1f", 100.0 * share);
    return buf;
}

static void print_cell(const ruler_cell *c, bool greedy)
{
    char a[16], b[16], d[16], e[16], f[16], g[16], h[16], kept[32], needle[48], blocks[24];
    char lost[16] = "-";
    double same = c->n_answer > 0 ? (double)c->n_same / (double)c->n_answer : -1.0;
    if (c->lost_margin >= 0)
        snprintf(lost, sizeof lost, "%.3f", c->lost_margin);
    snprintf(kept, sizeof kept, "%lld/%lld", (long long)c->n_kept, (long long)c->n_right);
    snprintf(
        needle, sizeof needle, c->n_retrieval > 0 ? "%s of %lld" : "-",
        percent(h, c->n_retrieval > 0 ? (double)c->n_needle_kept / (double)c->n_retrieval : -1),
        (long long)c->n_retrieval);
    snprintf(blocks, sizeof blocks, "%lldx%lld", (long long)c->first->block_q,
             (long long)c->first->block_k);
    printf("%-15s %7lld %-6s %-9s %6s %6s %4lld %6s %6s %8s %7s %6s %7.3f %6s %13s", c->first->task,
           (long long)c->first->length, c->first->select, c->first->target, blocks,
           percent(a, c->pruned), (long long)c->n, percent(b, c->dense), percent(d, c->sparse),
           kept, lost, percent(e, same), c->kl, percent(f, c->recall), needle);
    if (greedy)
        printf(" %6s %6s", percent(g, c->greedy_dense), percent(h, c->greedy_sparse));
    putchar('\n');
}

void ruler_print_table(const ruler_cells *cells, const ruler_about *about)
{
    char name[128];
    printf("%s (%s weights), chat template %s, seed %lld\n"
           "scores by teacher forcing: string_match_all of the most probable token at each "
           "position of the right answer, x 100\n\n",
           out_clean(name, sizeof name, about->model.name), about->model.weights,
           about->chat ? "on" : "off", (long long)about->seed);
    printf("%-15s %7s %-6s %-9s %6s %6s %4s %6s %6s %8s %7s %6s %7s %6s %13s%s\n", "task", "length",
           "select", "budget", "blocks", "pruned", "n", "dense", "sparse", "kept", "lost by",
           "argmax", "KL", "recall", "needle kept", about->greedy ? " greedy dense/sparse" : "");
    for (int64_t i = 0; i < cells->n; i++)
        print_cell(&cells->cell[i], about->greedy);
    printf("\npruned: %% of the causal pairs; kept: right answers that stay right; lost by: of "
           "those that do not, the surest:\nnats by which dense puts each of its tokens before "
           "any other; argmax, KL: answer tokens against dense;\nneedle kept: cases in which a "
           "head reads the needle from the answer and its block stays\n");
}

/* ---- JSON and CSV ---------------------------------------------------------------------------- */

static void put_share(const char *name, double x, const char *end)
{
    printf("\"%s\":", name);
    out_json_real(stdout, x < 0 ? NAN : x);
    fputs(end, stdout);
}

static void put_text(const char *name, const char *text)
{
    printf("\"%s\":", name);
    out_json_string(stdout, text, (int64_t)strlen(text));
    putchar(',');
}

static void put_cell(const ruler_cell *c)
{
    double n_answer = (double)c->n_answer;
    putchar('{');
    put_text("task", c->first->task);
    put_text("source", c->first->source);
    put_text("select", c->first->select);
    put_text("budget", c->first->target);
    printf("\"length\":%lld,\"block_q\":%lld,\"block_k\":%lld,\"samples\":%lld,",
           (long long)c->first->length, (long long)c->first->block_q, (long long)c->first->block_k,
           (long long)c->n);
    put_share("n_tok", (double)c->n_tok / (double)c->n, ",");
    put_share("pruned", c->pruned, ",");
    put_share("dense", c->dense, ",");
    put_share("sparse", c->sparse, ",");
    printf("\"dense_right\":%lld,\"kept_right\":%lld,", (long long)c->n_right,
           (long long)c->n_kept);
    put_share("lost_margin", c->lost_margin, ",");
    printf("\"answer_tokens\":%lld,", (long long)c->n_answer);
    put_share("argmax_same", (double)c->n_same / n_answer, ",");
    put_share("kl", c->kl, ",");
    put_share("recall", c->recall, ",");
    printf("\"needle_cases\":%lld,\"needle_kept\":%lld,", (long long)c->n_retrieval,
           (long long)c->n_needle_kept);
    put_share("greedy_dense", c->greedy_dense, ",");
    put_share("greedy_sparse", c->greedy_sparse, ",");
    put_share("seconds_dense", c->seconds_dense, ",");
    put_share("seconds_sparse", c->seconds_sparse, "}");
}

void ruler_print_json(const ruler_cells *cells, const ruler_about *about)
{
    putchar('{');
    put_text("model", about->model.name);
    put_text("sha256", about->model.sha256);
    put_text("weights", about->model.weights);
    printf("\"chat\":%s,\"seed\":%lld,\"interrupted\":%s,\"cells\":[",
           about->chat ? "true" : "false", (long long)about->seed,
           about->interrupted ? "true" : "false");
    for (int64_t i = 0; i < cells->n; i++) {
        fputs(i > 0 ? "," : "", stdout);
        put_cell(&cells->cell[i]);
    }
    printf("]}\n");
}

bool ruler_write_csv(const ruler_cells *cells, const char *path)
{
    FILE *f = fopen(path, "w");
    bool good = f != NULL;
    if (good)
        fprintf(
            f,
            "task,source,length,select,budget,block_q,block_k,samples,pruned,dense,sparse,"
            "dense_right,kept_right,lost_margin,answer_tokens,argmax_same,kl,recall,needle_cases,"
            "needle_kept,greedy_dense,greedy_sparse,seconds_dense,seconds_sparse\n");
    for (int64_t i = 0; good && i < cells->n; i++) {
        const ruler_cell *c = &cells->cell[i];
        const ruler_row *r = c->first;
        fprintf(f,
                "%s,%s,%lld,%s,%s,%lld,%lld,%lld,%.6f,%.6f,%.6f,%lld,%lld,%.6g,%lld,%lld,%.6g,%.6g,"
                "%lld,%lld,%.6g,%.6g,%.3f,%.3f\n",
                r->task, r->source, (long long)r->length, r->select, r->target,
                (long long)r->block_q, (long long)r->block_k, (long long)c->n, c->pruned, c->dense,
                c->sparse, (long long)c->n_right, (long long)c->n_kept, c->lost_margin,
                (long long)c->n_answer, (long long)c->n_same, c->kl, c->recall,
                (long long)c->n_retrieval, (long long)c->n_needle_kept, c->greedy_dense,
                c->greedy_sparse, c->seconds_dense, c->seconds_sparse);
        good = !ferror(f);
    }
    if (f != NULL)
        good = fclose(f) == 0 && good;
    return good;
}
