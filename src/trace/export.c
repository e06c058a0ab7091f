/* SPDX-License-Identifier: MIT
 *
 * export.c — a trace as text: CSV and JSON. Numbers are written by hand, so that they are the same
 * in every locale: a mass is a half float, a multiple of 2^-24, and eight decimals tell any two of
 * them apart.
 */
#include <errno.h>
#include <stdio.h>

#include "trace/trace_int.h"

/* A mass 0..1 as decimal text, without trailing zeros. */
static const char *mass_text(char out[16], uint16_t f16)
{
    uint64_t unit = (uint64_t)(sti_f16_f32(f16) * 16777216.0f); /* exact */
    uint64_t digits = (unit * 100000000 + 8388608) / 16777216;
    int n = snprintf(out, 16, "%u.%08u", (unsigned)(digits / 100000000),
                     (unsigned)(digits % 100000000));
    while (out[n - 1] == '0')
        n--;
    out[out[n - 1] == '.' ? n - 1 : n] = '\0';
    return out;
}

static st_status check_stream(FILE *out, st_error *err)
{
    errno = 0;
    if (fflush(out) == 0 && !ferror(out))
        return ST_OK;
    if (errno == 0) /* the write that failed was an earlier one */
        errno = EIO;
    return sti_fail_io(err, "write", "the export");
}

st_status st_trace_export_csv(const st_trace *t, const st_trace_part *part, FILE *out,
                              st_error *err)
{
    sti_walk w;
    char text[16];
    STI_TRY(sti_walk_init(&w, t, part, err));
    fputs("layer,head,query_block,key_block,mass\n", out);
    while (sti_walk_next(&w) && !ferror(out)) {
        sti_entries e = sti_trace_entries(t, w.layer, w.h, w.blk);
        for (int64_t i = 0; i < e.n; i++)
            if (sti_entry_ok(t, &e, i))
                fprintf(out, "%d,%d,%lld,%d,%s\n", w.layer->pub.layer, w.layer->pub.head[w.h],
                        (long long)w.blk, e.indices[i], mass_text(text, e.mass[i]));
    }
    return check_stream(out, err);
}

static void write_row_json(const st_trace *t, const sti_walk *w, const sti_entries *e,
                           const char *before, FILE *out)
{
    char text[16];
    const char *comma = "";
    fprintf(out, "%s\n{\"layer\":%d,\"head\":%d,\"query_block\":%lld,\"key_blocks\":[", before,
            w->layer->pub.layer, w->layer->pub.head[w->h], (long long)w->blk);
    for (int64_t i = 0; i < e->n; i++) {
        if (!sti_entry_ok(t, e, i))
            continue;
        fprintf(out, "%s%d", comma, e->indices[i]);
        comma = ",";
    }
    fputs("],\"mass\":[", out);
    comma = "";
    for (int64_t i = 0; i < e->n; i++) {
        if (!sti_entry_ok(t, e, i))
            continue;
        fprintf(out, "%s%s", comma, mass_text(text, e->mass[i]));
        comma = ",";
    }
    fputs("]}", out);
}

st_status st_trace_export_json(const st_trace *t, const st_trace_part *part, FILE *out,
                               st_error *err)
{
    sti_walk w;
    const char *before = "";
    STI_TRY(sti_walk_init(&w, t, part, err));
    fprintf(out, "{\"bq\":%d,\"bk\":%d,\"n_tok\":%lld,\"rows\":[", t->info.bq, t->info.bk,
            (long long)t->info.n_tok);
    while (sti_walk_next(&w) && !ferror(out)) {
        sti_entries e = sti_trace_entries(t, w.layer, w.h, w.blk);
        if (e.n == 0)
            continue;
        write_row_json(t, &w, &e, before, out);
        before = ",";
    }
    fputs("\n]}\n", out);
    return check_stream(out, err);
}
