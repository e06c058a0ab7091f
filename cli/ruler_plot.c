/* SPDX-License-Identifier: MIT
 *
 * ruler_plot.c — the table as an SVG: one panel a task, score over length, a line a setting.
 */
#include <math.h>
#include <string.h>

#include "ruler.h"

#define PANEL_W 250
#define PANEL_H 190
#define LEFT 48 /* inside a panel, around the axes */
#define RIGHT 18
#define TOP 26
#define BOTTOM 34
#define PER_ROW 3
#define LEGEND_ROW 18
#define SHIFT 3 /* of a setting beside its neighbour */
#define N_COLOR 8

static const char *const color[N_COLOR] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                           "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f"};

struct plot {
    FILE *file;
    const ruler_cells *cells;
    int64_t shortest, longest;
};

static bool same_task(const ruler_row *a, const ruler_row *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->source, b->source) == 0;
}

static bool same_setting(const ruler_row *a, const ruler_row *b)
{
    return strcmp(a->select, b->select) == 0 && strcmp(a->target, b->target) == 0;
}

/* The how many-th different task or setting cell i is; -1: it came before. */
static int ordinal(const ruler_cells *cells, int64_t i,
                   bool (*same)(const ruler_row *, const ruler_row *))
{
    int n = 0;
    for (int64_t j = 0; j < i; j++) {
        bool first = true;
        if (same(cells->cell[j].first, cells->cell[i].first))
            return -1;
        for (int64_t k = 0; first && k < j; k++)
            first = !same(cells->cell[k].first, cells->cell[j].first);
        n += first;
    }
    return n;
}

static double x_of(const struct plot *p, int64_t length)
{
    double span = log2((double)p->longest / (double)p->shortest);
    double share = span > 0 ? log2((double)length / (double)p->shortest) / span : 0.5;
    return LEFT + share * (PANEL_W - LEFT - RIGHT);
}

static double y_of(double score)
{
    return TOP + (1.0 - score) * (PANEL_H - TOP - BOTTOM);
}

/* The line of cell i's task and setting: dense scores, or the pruned ones of the n-th setting, a
 * little aside so that equal scores do not hide each other. */
static void draw_line(const struct plot *p, int64_t i, int n, bool dense, const char *stroke)
{
    const ruler_row *of = p->cells->cell[i].first;
    double aside = dense ? 0 : n % 2 == 0 ? -SHIFT * (n / 2) : SHIFT * (n / 2 + 1);
    fprintf(p->file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"%s points=\"",
            stroke, dense ? "3" : "1.8", dense ? " stroke-opacity=\"0.35\"" : "");
    for (int64_t j = 0; j < p->cells->n; j++) {
        const ruler_cell *c = &p->cells->cell[j];
        if (same_task(c->first, of) && same_setting(c->first, of))
            fprintf(p->file, "%.1f,%.1f ", x_of(p, c->first->length) + aside,
                    y_of(dense ? c->dense : c->sparse));
    }
    fprintf(p->file, "\"/>\n");
    for (int64_t j = 0; !dense && j < p->cells->n; j++) {
        const ruler_cell *c = &p->cells->cell[j];
        if (same_task(c->first, of) && same_setting(c->first, of))
            fprintf(p->file,
                    "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\" fill=\"%s\"><title>%s %s, %lld "
                    "tokens: %.1f (dense %.1f), %.1f %% pruned, n %lld</title></circle>\n",
                    x_of(p, c->first->length) + aside, y_of(c->sparse), stroke, c->first->select,
                    c->first->target, (long long)c->first->length, 100 * c->sparse, 100 * c->dense,
                    100 * c->pruned, (long long)c->n);
    }
}

static void draw_axes(const struct plot *p, const ruler_row *task)
{
    fprintf(p->file, "<text x=\"%d\" y=\"16\" font-weight=\"bold\">%s</text>\n", LEFT, task->task);
    for (int score = 0; score <= 100; score += 25)
        fprintf(p->file,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%d</text>\n",
                LEFT, PANEL_W - RIGHT, y_of(score / 100.0), y_of(score / 100.0), LEFT - 5,
                y_of(score / 100.0) + 4, score);
    for (int64_t i = 0; i < p->cells->n; i++) {
        const ruler_row *r = p->cells->cell[i].first;
        bool first = true;
        for (int64_t j = 0; first && j < i; j++)
            first = p->cells->cell[j].first->length != r->length;
        if (first)
            fprintf(p->file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%lld</text>\n",
                    x_of(p, r->length), PANEL_H - BOTTOM + 16, (long long)r->length);
    }
}

static void draw_panels(const struct plot *p, int top)
{
    for (int64_t i = 0; i < p->cells->n; i++) {
        const ruler_row *task = p->cells->cell[i].first;
        int n = ordinal(p->cells, i, same_task);
        if (n < 0)
            continue;
        fprintf(p->file, "<g transform=\"translate(%d,%d)\">\n", n % PER_ROW * PANEL_W,
                top + n / PER_ROW * PANEL_H);
        draw_axes(p, task);
        draw_line(p, i, 0, true, "#000");
        for (int64_t j = 0; j < p->cells->n; j++) {
            int64_t setting = 0, first = j;
            for (int64_t k = 0; first == j && k < j; k++)
                if (same_task(p->cells->cell[k].first, p->cells->cell[j].first) &&
                    same_setting(p->cells->cell[k].first, p->cells->cell[j].first))
                    first = k;
            if (first != j || !same_task(p->cells->cell[j].first, task))
                continue;
            while (!same_setting(p->cells->cell[setting].first, p->cells->cell[j].first))
                setting++;
            n = ordinal(p->cells, setting, same_setting);
            draw_line(p, j, n, false, color[n % N_COLOR]);
        }
        fprintf(p->file, "</g>\n");
    }
}

static void draw_legend(const struct plot *p, const ruler_about *about)
{
    char name[128];
    int row = 1;
    out_clean(name, sizeof name, about->model.name);
    fprintf(p->file,
            "<text x=\"8\" y=\"16\" font-size=\"13\">RULER tasks, score x 100 over tokens: ");
    for (const char *c = name; *c != '\0'; c++)
        if (strchr("<>&", *c) == NULL)
            fputc(*c, p->file);
    fprintf(p->file, "</text>\n<text x=\"8\" y=\"%d\" fill=\"#777\">dense (wide, gray)</text>\n",
            16 + LEGEND_ROW);
    for (int64_t i = 0; i < p->cells->n; i++) {
        const ruler_cell *c = &p->cells->cell[i];
        int n = ordinal(p->cells, i, same_setting);
        if (n < 0)
            continue;
        fprintf(p->file, "<text x=\"8\" y=\"%d\" fill=\"%s\">%s, budget %s</text>\n",
                16 + LEGEND_ROW * ++row, color[n % N_COLOR], c->first->select, c->first->target);
    }
}

bool ruler_write_plot(const ruler_cells *cells, const ruler_about *about, const char *path)
{
    struct plot p = {.file = fopen(path, "w"), .cells = cells, .shortest = INT64_MAX};
    int n_task = 0, n_setting = 0, top, height;
    bool good;
    if (p.file == NULL)
        return false;
    for (int64_t i = 0; i < cells->n; i++) {
        int64_t length = cells->cell[i].first->length;
        p.shortest = length < p.shortest ? length : p.shortest;
        p.longest = length > p.longest ? length : p.longest;
        n_task += ordinal(cells, i, same_task) >= 0;
        n_setting += ordinal(cells, i, same_setting) >= 0;
    }
    top = 16 + LEGEND_ROW * (n_setting + 2);
    height = top + (n_task + PER_ROW - 1) / PER_ROW * PANEL_H;
    fprintf(p.file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"11\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            PER_ROW * PANEL_W, height);
    draw_legend(&p, about);
    draw_panels(&p, top);
    fprintf(p.file, "</svg>\n");
    good = !ferror(p.file);
    return fclose(p.file) == 0 && good;
}
