/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/trace.h — the trace file: write, read, validate, query, export.
 *
 * A trace holds, for each recorded layer and head and each query block, the kept key blocks and the
 * attention mass on each; the tokens and their text; the recipe of the run; and the certificate
 * that says how faithful the picture is. It is a safetensors file (tensors.h), so any safetensors
 * reader opens it. docs/trace-format.md is the format's definition; this header is the way to use
 * it.
 */
#ifndef SPARSETRACE_TRACE_H
#define SPARSETRACE_TRACE_H

#include <stdio.h>

#include "sparsetrace/attend.h"
#include "sparsetrace/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what a run hands over, one micro-batch of one layer at a time --------------------------- */

typedef enum st_chunk_kind {
    ST_CHUNK_SPARSE = 0, /* attention ran over the selection */
    ST_CHUNK_EXACT,      /* attention was exact (short window, or a mask the selection cannot
                            follow); the selection lists the heaviest blocks for the record */
} st_chunk_kind;

typedef struct st_chunk {
    int layer; /* 0-based, the model's own numbering */
    st_chunk_kind kind;
    int64_t first_query, n_q; /* rows [first_query, first_query + n_q) of the sequence */
    const st_selection *sel;  /* of these rows */
    const float *mass;        /* [nnz of sel] */
    const float *lse;         /* [n_head, n_q] or NULL */
    int64_t kept_pairs;       /* token pairs attended, summed over heads */
    int64_t visible_pairs;    /* token pairs the model itself lets these rows see, over heads */
    int64_t n_cert;           /* certified rows among these rows */
    const int64_t *cert_rows; /* [n_cert] ascending positions in the sequence */
    const float *cert_recall; /* [n_head, n_cert] exact mass of the kept blocks */
    const float *cert_err;    /* [n_head, n_cert] relative output error */
    const float *last_recall; /* [n_head] the same for the sequence's last row, which no draw may */
    const float *last_err; /* miss; both NULL if it is not among these rows                     */
    const st_group_sums *groups; /* of these rows (attn.h), NULL: not wanted */
    /* [n_head, nbk of the whole sequence] size of what a head writes if it puts all its attention
     * on a key: mean over the block's keys of |W_O v|. Only with the rows that end the sequence;
     * NULL: not known */
    const float *value;
} st_chunk;

/* ---- certificate ----------------------------------------------------------------------------- */

/* Recall = exact attention mass of the kept blocks. The sampled rows are stratified over the
 * sequence, drawn anew for each layer; the mean is over rows, heads and layers; ci95 is the
 * interval for the mean over all rows (docs/method/certificate.md; the formulas are in
 * docs/trace-format.md, section 5). */
typedef struct st_certificate {
    int64_t n_layer, n_head, n_row; /* samples: layers, heads (summed over layers), rows a layer
                                       (the most of any layer) */
    double recall_mean;
    double recall_ci95[2]; /* [0, 1] if a layer has fewer than two rows */
    double recall_p5;      /* 5th percentile over rows, layers and heads */
    double recall_worst;   /* the lowest mean over rows of any one head */
    int worst_layer, worst_head;
    double err_mean; /* mean relative output error */
} st_certificate;

/* The samples of one layer. */
typedef struct st_cert_samples {
    int layer;
    int64_t n_head, n_row; /* both >= 1 */
    const float *recall;   /* [n_head, n_row] 0..1, rows in rising order */
    const float *err;      /* [n_head, n_row] >= 0, finite */
} st_cert_samples;

/* The summary of n_layer >= 1 layers' samples. Pure; O(n log n). Errors: ST_ERR_ARG (no samples, a
 * value out of its range), ST_ERR_MEM. */
ST_API st_status st_certificate_compute(const st_cert_samples *layer, int64_t n_layer,
                                        st_certificate *cert, st_error *err);

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct st_trace_writer st_trace_writer;

/* What is left out is left out of the file only: token pairs and certificate samples are kept of
 * all layers, heads and rows that ran. */
typedef struct st_trace_options {
    /* false; true: store the log-sum-exp of every row (4 bytes a row and head) */
    bool lse;
    /* 0..1; 0: leave out kept blocks whose mass (as F16) is below this */
    float mass_floor;
    /* recorded layers, ascending; NULL: all */
    const int32_t *layer;
    int64_t n_layer;
    /* recorded heads, ascending, the same in each layer; NULL: all. A layer that has none of them
     * is not recorded */
    const int32_t *head;
    int64_t n_head;
    /* record only query blocks that touch rows [begin, end); 0, 0: all */
    int64_t row_begin, row_end;
    /* record attention from group to group of tokens (sentences, say) for the recorded layers and
     * heads, of all rows; group [n_group] as st_groups_check wants it, copied. Every chunk must
     * bring the sums then. 0: none */
    const st_group *group;
    int64_t n_group;
} st_trace_options;

/* Starts `path.part`; an older .part is overwritten, one that another process is writing is not.
 * Chunks go into it as they come, in any order of layers but with rising rows in each layer; memory
 * use does not grow with them. n_tok is the sequence's full length, 1..2^31-1; bq, bk 1..65536. opt
 * may be NULL. Errors: ST_ERR_ARG, ST_ERR_MEM, ST_ERR_IO: `path` is there and is not a regular
 * file, the directory cannot be written, the disk is full. */
ST_API st_status st_trace_writer_create(const char *path, int64_t n_tok, int bq, int bk,
                                        const st_trace_options *opt, st_trace_writer **w,
                                        st_error *err);

/* Takes in one chunk; nothing of it is needed afterwards. Mass and recall are clamped to 0..1, an
 * infinite cert_err becomes FLT_MAX. Where two chunks share a query block (micro-batches that do
 * not end at a block's end), the trace holds the union of their key blocks and the mean mass over
 * both's rows. Errors: ST_ERR_ARG (a rule of st_chunk is broken, rows given twice, a NaN; the
 * message names layer and place), ST_ERR_IO (disk full: the .part is as before the call),
 * ST_ERR_MEM. */
ST_API st_status st_trace_writer_add(st_trace_writer *w, const st_chunk *chunk, st_error *err);

/* token ids [n_tok] and their bytes: piece i is text[piece_ptr[i] .. piece_ptr[i + 1]); any bytes.
 * piece_ptr and text may both be NULL. At most once. */
ST_API st_status st_trace_writer_tokens(st_trace_writer *w, const int32_t *token,
                                        const int64_t *piece_ptr, const char *text, st_error *err);

/* A JSON document stored under `key` of the metadata ("recipe", "result", "timings", ...),
 * replacing an earlier one of that key. Must parse. key: 1..64 of a-z 0-9 _ - . , none of the
 * writer's own ("format", "format_version", "writer", "geometry", "certificate"). */
ST_API st_status st_trace_writer_json(st_trace_writer *w, const char *key, const char *json,
                                      st_error *err);

/* The certificate of the samples so far. ST_ERR_ARG if there are none. Reads the .part once. */
ST_API st_status st_trace_writer_certificate(st_trace_writer *w, st_certificate *cert,
                                             st_error *err);

/* Writes the final file beside the .part (`path.tmp`), syncs, renames it to `path`, removes the
 * .part. On failure `path` is as it was, the .part stays, and finish may be called again. `bytes`
 * (may be NULL): size of the file. The writer stays the caller's; it takes nothing more. */
ST_API st_status st_trace_writer_finish(st_trace_writer *w, int64_t *bytes, st_error *err);

/* Frees the writer. An unfinished .part stays on disk and can be salvaged if `keep_part`, else
 * goes. */
ST_API void st_trace_writer_free(st_trace_writer *w, bool keep_part);

/* A place in the .part that a later writer can go on from. */
typedef struct st_trace_mark {
    int64_t bytes;  /* of the .part so far */
    uint64_t check; /* of what it holds */
} st_trace_mark;

/* Brings the .part to the disk and marks the place. Errors: ST_ERR_IO, ST_ERR_ARG (finished). */
ST_API st_status st_trace_writer_mark(st_trace_writer *w, st_trace_mark *mark, st_error *err);

/* Goes on in the `path.part` that an interrupted writer left (kept or not freed at all): what came
 * after the mark is forgotten. n_tok, bq, bk, opt: as for the writer that made the mark. Errors:
 * ST_ERR_ARG (other options), ST_ERR_IO (no such file; in use), ST_ERR_FORMAT with the byte (it
 * is damaged, too short, or of another run), ST_ERR_MEM. On failure the .part stays as it was. */
ST_API st_status st_trace_writer_resume(const char *path, int64_t n_tok, int bq, int bk,
                                        const st_trace_options *opt, const st_trace_mark *mark,
                                        st_trace_writer **w, st_error *err);

/* Puts a JSON document into the finished trace at `path`, as st_trace_writer_json would have,
 * replacing one of that key: the file is written anew beside the old one and renamed. Whoever has
 * the old one open keeps it. On failure the trace is as it was. Errors: ST_ERR_ARG (key, or not
 * JSON: position is the byte), those of st_trace_open and st_tensors_write. */
ST_API st_status st_trace_note(const char *path, const char *key, const char *json, st_error *err);

/* Makes a trace of what an interrupted run left in a .part: all rows before the first incomplete
 * micro-batch. A micro-batch counts as complete once a later one has begun, or the run had ended.
 * `n_tok` (may be NULL) gives the rows saved. The .part stays. Errors: ST_ERR_FORMAT if not even
 * one micro-batch is complete, ST_ERR_IO (also: the run is still writing), ST_ERR_LIMIT (another
 * version's), ST_ERR_MEM. */
ST_API st_status st_trace_salvage(const char *part, const char *path, int64_t *n_tok,
                                  st_error *err);

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct st_trace st_trace;

/* Opens in two steps: `open` is bounded by the header (shapes and types agree with the format;
 * O(layers) work), `validate` reads everything (indices ascending and in range, mass finite and in
 * 0..1, pieces in order, certificate agrees with its samples). Queries on an opened trace are
 * memory-safe even if it was not validated: what is out of range is left out. Errors: those of
 * st_tensors_open; ST_ERR_FORMAT with the byte at fault; ST_ERR_LIMIT (a newer version of the
 * format). An open trace may be read by several threads. */
ST_API st_status st_trace_open(const char *path, st_trace **trace, st_error *err);
ST_API st_status st_trace_validate(const st_trace *trace, st_error *err);
ST_API void st_trace_free(st_trace *trace);

typedef struct st_trace_info {
    int64_t n_tok, nbq, nbk, bytes;
    int64_t n_tok_run; /* tokens that the run was to have; > n_tok: salvaged */
    int bq, bk;
    int64_t n_layer; /* recorded layers */
    bool complete;   /* false: salvaged from an interrupted run, or rows are missing */
    bool has_lse;    /* every recorded layer has its log-sum-exp */
    bool has_cert;
    int64_t n_group; /* groups of tokens, 0: no matrices from group to group */
    float mass_floor;
    int64_t row_begin, row_end;        /* the query blocks that touch these rows are recorded */
    int64_t kept_pairs, visible_pairs; /* of the pruned layers, recorded or not, their exact rows
                                          included; pruned share = 1 - kept_pairs / visible_pairs */
    int64_t exact_pairs;               /* of the layers that ran exactly throughout */
    st_certificate cert;               /* as the file states it; valid if has_cert */
} st_trace_info;

ST_API void st_trace_get_info(const st_trace *trace, st_trace_info *info);

typedef struct st_trace_layer {
    int layer;  /* the model's numbering */
    bool exact; /* ran exactly in all its chunks */
    int64_t n_head, nnz;
    const int32_t *head;    /* [n_head] the model's numbering */
    const int64_t *indptr;  /* [n_head * nbq + 1] */
    const int32_t *indices; /* [nnz] */
    const uint16_t *mass;   /* [nnz] F16 */
    const float *lse;       /* [n_head, n_tok] or NULL; -inf: saw nothing, or not recorded */
    int64_t kept_pairs, visible_pairs; /* of its sparse chunks, all heads of the layer */
    int64_t exact_pairs;               /* of its exact chunks, all heads */
    int64_t group_nnz;                 /* attention from group to group; NULL without groups */
    const int64_t *group_indptr;       /* [n_head * n_group + 1] */
    const int32_t *group_indices;      /* [group_nnz] */
    const float *group_mean;           /* [group_nnz] */
    const float *value; /* [n_head, nbk] size of what the head writes by a read (st_chunk); NULL:
                           not recorded */
} st_trace_layer;

/* i: 0 .. n_layer - 1. ST_ERR_ARG if out of range. The arrays are the file's own bytes: follow
 * indptr only in a validated trace, else use st_trace_row. */
ST_API st_status st_trace_get_layer(const st_trace *trace, int64_t i, st_trace_layer *layer,
                                    st_error *err);

/* The entries of one row: h = position in the layer's `head` list, blk = query block. Returns their
 * number (0 for anything out of range) and sets *indices, *mass. Memory-safe on any opened trace,
 * but the indices and masses themselves are the file's. */
ST_API int64_t st_trace_row(const st_trace_layer *layer, int64_t nbq, int64_t h, int64_t blk,
                            const int32_t **indices, const uint16_t **mass);
ST_API float st_trace_mass(uint16_t f16); /* the number that a stored mass means */

ST_API const int32_t *st_trace_tokens(const st_trace *trace); /* [n_tok] or NULL */
/* The bytes of tokens [begin, end), not NUL-terminated; *n_bytes 0 if the trace has no text. Never
 * NULL. */
ST_API const char *st_trace_text(const st_trace *trace, int64_t begin, int64_t end,
                                 int64_t *n_bytes);
/* The groups [info.n_group], NULL if there are none. As the file has them: sound in a validated
 * trace. */
ST_API const st_group *st_trace_groups(const st_trace *trace);
/* A metadata JSON document by key, or NULL if there is none or it does not parse. */
ST_API const char *st_trace_json(const st_trace *trace, const char *key);
/* One string, number or truth value of such a document as text, by JSON pointer ("/model/name");
 * empty if it is not there. Written to buf (at most size >= 1 bytes with the NUL), which is
 * returned. */
ST_API const char *st_trace_value(const st_trace *trace, const char *key, const char *pointer,
                                  char *buf, size_t size);

/* ---- querying -------------------------------------------------------------------------------- */

/* Which part of the trace a query or an export looks at. Empty lists and 0, 0 mean all; a NULL part
 * is the whole trace. ST_ERR_ARG: a layer or head that is not recorded, rows outside 0 <= begin <
 * end <= n_tok, or no recorded query block among them. */
typedef struct st_trace_part {
    const int32_t *layer;
    int64_t n_layer;
    const int32_t *head;
    int64_t n_head;
    int64_t row_begin, row_end; /* query blocks that touch these rows */
} st_trace_part;

/* What the rows of `part` read: reads[c] = mean over the part's layers, heads and recorded query
 * blocks of the mass on key block c. reads: [nbk]. */
ST_API st_status st_trace_reads(const st_trace *trace, const st_trace_part *part, double *reads,
                                st_error *err);

/* Who reads the keys [key_begin, key_end): readers[b] = mean over the part's layers and heads of
 * the mass that query block b puts on the key blocks that touch the span; 0 for blocks outside the
 * part. readers: [nbq]. */
ST_API st_status st_trace_readers(const st_trace *trace, const st_trace_part *part,
                                  int64_t key_begin, int64_t key_end, double *readers,
                                  st_error *err);

/* Attention from group to group in one head: mean[i * n_group + j] = mean over the rows of group i
 * that were run and the tokens of group j of the probability that the row puts on the token, as far
 * as the run knows it: over the kept keys, and what was weighed and left out (st_select_weighed); 0
 * where nothing of j is known. i: layer as in st_trace_get_layer, h: position in its head list.
 * mean: [n_group, n_group]. ST_ERR_ARG: no groups, i or h out of range. */
ST_API st_status st_trace_group_matrix(const st_trace *trace, int64_t i, int64_t h, float *mean,
                                       st_error *err);

/* The certificate's samples of a recorded layer, as the file has them. */
typedef struct st_trace_samples {
    int64_t n_row;       /* 0: none, and the others NULL */
    const int64_t *rows; /* [n_row] positions, rising */
    const float *recall; /* [heads of the model, n_row] exact mass of the kept blocks */
} st_trace_samples;

/* i: as in st_trace_get_layer; ST_ERR_ARG if out of range. */
ST_API st_status st_trace_get_samples(const st_trace *trace, int64_t i, st_trace_samples *samples,
                                      st_error *err);

/* ---- exporting ------------------------------------------------------------------------------- */

/* Of the part's rows; a row is a (layer, head, query block).
 *   npz   scipy.sparse.load_npz gives a CSR matrix [rows, nbk] in F32; row r is (layer[r], head[r],
 *         query_block[r]), I32 arrays of the same archive. `path` is written beside, then renamed
 *   csv   header line, then layer,head,query_block,key_block,mass; one line an entry
 *   json  {"bq","bk","n_tok","rows":[{"layer","head","query_block","key_blocks":[],"mass":[]}]},
 *         without the rows that have no entry
 * Text does not depend on the locale. Errors: ST_ERR_ARG as above, ST_ERR_IO, ST_ERR_MEM. */
ST_API st_status st_trace_export_npz(const st_trace *trace, const st_trace_part *part,
                                     const char *path, st_error *err);
ST_API st_status st_trace_export_csv(const st_trace *trace, const st_trace_part *part, FILE *out,
                                     st_error *err);
ST_API st_status st_trace_export_json(const st_trace *trace, const st_trace_part *part, FILE *out,
                                      st_error *err);

#ifdef __cplusplus
}
#endif
#endif
