/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/view.h — what a viewer wants of a trace: an overview of all heads at once, and an
 * excerpt that fits into a stated number of bytes. Both save themselves as safetensors
 * (docs/view-format.md). `sparsetrace view` puts an excerpt into one .html, or serves an overview
 * beside the trace itself. Of a trace with groups (sentences) an overview also has the receiver
 * heads, the receiver scores, who leans on whom (groups.h) and a matrix of who reads whom.
 */
#ifndef SPARSETRACE_VIEW_H
#define SPARSETRACE_VIEW_H

#include "sparsetrace/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- overview: every recorded head as a small picture and seven numbers ---------------------- */

/* One number for a head. m(b, c) is the stored mass of key block c for query block b; means are
 * over the recorded query blocks that have entries. "The window" of query block b is every key
 * block that ends after token b * bq - bk: its own blocks and the one before. */
typedef enum st_view_measure {
    ST_VIEW_RECALL = 0, /* mean of the head's certificate samples */
    ST_VIEW_SINK,       /* mean over b of m(b, 0) */
    ST_VIEW_WINDOW,     /* mean over b of the sum of m(b, c), c >= 1 in the window */
    ST_VIEW_FAR,        /* mean over b of the sum of m(b, c), c >= 1 not in the window */
    ST_VIEW_ENTROPY,    /* mean over b of -sum p log2 p, p = m(b, c) / sum of m(b, .); bits */
    ST_VIEW_NEEDLE,     /* m(last recorded query block, needle[0]); NaN: no needle */
    ST_VIEW_KURTOSIS,   /* Fisher excess kurtosis (biased) over key blocks c >= 1 of the mean of
                           m(b, c) over the query blocks that begin 4 or more key blocks after c.
                           Our reading, for blocks, of the thought-anchors' receiver heads */
    ST_VIEW_MEASURE_COUNT
} st_view_measure;

ST_API const char *st_view_measure_name(st_view_measure measure); /* "recall", ...; "?" */

typedef struct st_overview st_overview;

#define ST_VIEW_NEEDLES 8

/* Needles are far key blocks that some head reads sharply. With b the last recorded query block,
 * the score of key block c is the sum over all heads of m(b, c)^2: one head that puts half of its
 * mass there counts more than ten that put a tenth. Block 0 is none, nor is one that ends less than
 * max(4 bq, 128, but at most n_tok / 4) tokens before b begins: the question stands there. Highest
 * score first, of equals the lower block; blocks less than max(2 bk, 32) tokens from a higher one
 * belong to it and are left out. Our reading. */
typedef struct st_overview_info {
    int64_t n_head;                  /* recorded (layer, head) pairs */
    int cells_q;                     /* a picture has cells_q rows (query blocks) */
    int cells_k;                     /* ... and cells_k columns (key blocks) */
    int n_needle;                    /* 0..ST_VIEW_NEEDLES */
    int64_t needle[ST_VIEW_NEEDLES]; /* key blocks */
} st_overview_info;

typedef struct st_overview_head {
    int layer, head;                      /* the model's numbers */
    float measure[ST_VIEW_MEASURE_COUNT]; /* NaN: not known */
    const uint8_t *map; /* [cells_q, cells_k]: round(255 sqrt(x)), x = sum of the cell's masses
                           divided by its query blocks that have entries */
} st_overview_head;

/* Query block b stands in row floor(b * cells_q / nbq), key block c in column floor(c * cells_k /
 * nbk), with cells_q = min(cells, nbq), cells_k = min(cells, nbk). cells: 1..256. Reads the whole
 * selection once; memory-safe on a trace that was not validated. The overview does not refer to the
 * trace afterwards. Errors: ST_ERR_ARG (cells), ST_ERR_MEM. */
ST_API st_status st_overview_create(const st_trace *trace, int cells, st_overview **overview,
                                    st_error *err);
ST_API void st_overview_free(st_overview *overview);
ST_API void st_overview_get_info(const st_overview *overview, st_overview_info *info);
/* By layer, then by head; NULL past the end. Lives with the overview. */
ST_API const st_overview_head *st_overview_at(const st_overview *overview, int64_t i);
/* Saves it as safetensors. Errors: those of out->write, ST_ERR_MEM. */
ST_API st_status st_overview_save(const st_overview *overview, const st_out *out, st_error *err);

/* ---- excerpt: a trace within a number of bytes ----------------------------------------------- */

typedef struct st_excerpt st_excerpt;

typedef struct st_excerpt_info {
    int64_t bytes;           /* that st_excerpt_save writes, <= max_bytes */
    int bq, bk;              /* its blocks: the trace's times a power of two */
    int mass_bits;           /* 16: the trace's half floats; 8: round(255 sqrt(mass)) */
    float mass_floor;        /* lighter entries were left out */
    int64_t n_entry;         /* entries that are in it */
    int64_t n_entry_trace;   /* entries of the trace */
    double mass_share;       /* mass of its entries / mass of the trace's entries; 1 for none */
    int64_t piece_max_bytes; /* longer tokens were cut to so many bytes; 0: no text; -1: none cut */
    bool has_tokens;         /* token ids are in it */
} st_excerpt_info;

/* The finest of a fixed ladder that fits: first everything (but for the log-sum-exp and the single
 * certificate samples, which no view shows), then without the lightest entries (mass below 2^-12,
 * 2^-10), then with masses of 8 bits, then without entries below 2^-8 or 2^-6, then with blocks
 * of twice the size, and so on. A merged entry's mass is the sum over its key blocks of the mean
 * over its query blocks that have entries, weighted by their rows. Text takes at most half of the
 * bytes: tokens are cut for it. The overview is of the same trace, with pictures folded as small as
 * it must be. The trace must outlive the excerpt. Errors: ST_ERR_LIMIT (not even the coarsest fits;
 * the message names the bytes it takes), ST_ERR_ARG (max_bytes < 1), ST_ERR_MEM. */
ST_API st_status st_excerpt_create(const st_trace *trace, const st_overview *overview,
                                   int64_t max_bytes, st_excerpt **excerpt, st_error *err);
ST_API void st_excerpt_free(st_excerpt *excerpt);
ST_API void st_excerpt_get_info(const st_excerpt *excerpt, st_excerpt_info *info);
ST_API st_status st_excerpt_save(const st_excerpt *excerpt, const st_out *out, st_error *err);

#ifdef __cplusplus
}
#endif
#endif
