/* SPDX-License-Identifier: MIT
 *
 * journal.h — the `.part` file: what a run has recorded so far, as a log of checksummed records.
 * Its layout is in docs/trace-format.md, section 7.
 *
 * The writer only appends. Finishing and salvaging read it back: every record up to the first that
 * is torn or makes no sense. Journals are read as hostile files are: nothing is used before it is
 * checked.
 */
#ifndef STI_JOURNAL_H
#define STI_JOURNAL_H

#include "sparsetrace/trace.h"
#include "base/files.h"

#define STI_N_TOK_MAX INT32_MAX
#define STI_BLOCK_MAX 65536
#define STI_LAYER_MAX 65535
#define STI_HEAD_MAX 65535

/* ---- records --------------------------------------------------------------------------------- */

typedef enum sti_record_kind {
    STI_RECORD_BEGIN = 1, /* sti_begin and its groups: first, once */
    STI_RECORD_CHUNK,     /* sti_chunk_head and its arrays */
    STI_RECORD_TOKENS,    /* sti_tokens_head, piece_ptr, tokens, text */
    STI_RECORD_JSON,      /* u64 length of the key, of the document; both, each with a NUL */
} sti_record_kind;

typedef struct sti_begin {
    int64_t n_tok, bq, bk;
    int64_t row_begin, row_end; /* recorded rows: whole query blocks, never 0, 0 */
    int64_t lse;                /* 0, 1 */
    double mass_floor;
    int64_t n_group; /* st_group [n_group] follow */
} sti_begin;

/* A chunk as it is stored: recorded heads and query blocks only; certificate samples of all heads.
 */
typedef struct sti_chunk_head {
    int64_t layer, kind; /* st_chunk_kind */
    int64_t first_query, n_q;
    int64_t n_head;              /* the model's */
    int64_t n_rec;               /* recorded heads; 0: the layer is not recorded */
    int64_t first_blk, nbq, nnz; /* recorded query blocks of the chunk's */
    int64_t first_lse, n_lse;    /* rows of the sequence whose lse is stored */
    int64_t n_cert;
    int64_t kept_pairs, visible_pairs;
    int64_t first_group, n_group, group_nnz; /* groups that the chunk's rows touch */
    int64_t n_value;                         /* nbk of the whole sequence, or 0 */
} sti_chunk_head;

typedef struct sti_chunk {
    sti_chunk_head h;
    const int64_t *indptr;        /* [n_rec * nbq + 1] from 0 */
    const int64_t *cert_rows;     /* [n_cert] */
    const int64_t *group_indptr;  /* [n_rec * n_group + 1] from 0 */
    const int32_t *head;          /* [n_rec] */
    const int32_t *indices;       /* [nnz] */
    const int32_t *group_indices; /* [group_nnz] */
    const float *group_sum;       /* [group_nnz] as st_group_sums */
    const float *lse;             /* [n_rec, n_lse] */
    const float *cert_recall;     /* [n_head, n_cert] */
    const float *cert_err;        /* [n_head, n_cert] */
    const float *value;           /* [n_rec, n_value] */
    const uint16_t *mass;         /* [nnz] */
} sti_chunk;

#define STI_CHUNK_ARRAYS 12

/* Byte sizes of a chunk's arrays, in the order of sti_chunk. The head's fields are within the
 * limits above (no overflow then). */
void sti_chunk_sizes(const sti_chunk_head *h, size_t bytes[STI_CHUNK_ARRAYS]);

/* ST_ERR_ARG unless the chunk keeps every rule of st_chunk and fits the sequence. */
st_status sti_chunk_check(const st_chunk *c, const sti_begin *begin, const st_group *group,
                          st_error *err);

typedef struct sti_tokens_head {
    int64_t n_tok;
    int64_t text_bytes; /* -1: no piece_ptr and no text */
} sti_tokens_head;

/* 1..64 of a-z 0-9 _ - . and not one of the metadata keys that the trace writer fills itself. */
bool sti_document_key_ok(const char *key);
/* note.c: ST_ERR_ARG unless a document may be stored so. */
st_status sti_document_check(const char *key, const char *json, st_error *err);

/* ---- appending ------------------------------------------------------------------------------- */

typedef struct sti_journal_out {
    char *path;
    int fd; /* locked for this writer alone */
    int64_t bytes;
    uint32_t check; /* of all records so far: the checksum of their checksums */
} sti_journal_out;

typedef struct sti_bytes {
    const void *data;
    size_t bytes;
} sti_bytes;

/* Creates or empties `path` and writes its head. On failure there is nothing to close. */
st_status sti_journal_create(sti_journal_out *out, const char *path, st_error *err);
/* Appends one record whose payload is the pieces, one after the other. On failure the file is as it
 * was. */
st_status sti_journal_append(sti_journal_out *out, sti_record_kind kind, const sti_bytes *piece,
                             int n_piece, st_error *err);
/* Notes in the head that nothing more will come: needs no room on the disk. */
st_status sti_journal_seal(sti_journal_out *out, st_error *err);
/* Everything appended is on the disk. */
st_status sti_journal_sync(sti_journal_out *out, st_error *err);
void sti_journal_close(sti_journal_out *out, bool remove);
/* Opens a journal that was left, to append at out->bytes once sti_journal_cut_to was called; until
 * then the file stays as it is. On failure there is nothing to close. */
st_status sti_journal_reopen(sti_journal_out *out, const char *path, st_error *err);
/* Forgets what the file holds beyond `bytes`, and that it was sealed. */
st_status sti_journal_cut_to(sti_journal_out *out, int64_t bytes, uint32_t check, st_error *err);

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct sti_journal_layer {
    int layer;
    int64_t n_head, n_rec;
    const int32_t *head; /* [n_rec], in the map */
    int64_t n_chunk;
    const int64_t *chunk; /* [n_chunk] byte offsets of the chunks, rising rows */
    int64_t row_end;      /* behind the last chunk's rows */
} sti_journal_layer;

typedef struct sti_journal {
    sti_mapping map;
    int64_t valid_bytes; /* up to the first torn record */
    uint32_t check;      /* of the records up to there, as in sti_journal_out */
    bool sealed;         /* the run had ended, and all of it is here */
    sti_begin begin;
    const st_group *group; /* [begin.n_group] */
    int64_t n_layer;
    sti_journal_layer *layer; /* rising */
    int64_t *chunk;
    const int32_t *token; /* [begin.n_tok] or NULL */
    const int64_t *piece_ptr;
    const char *text;
    int64_t n_json;
    const char *(*json)[2]; /* key, document */
} sti_journal;

/* Reads the journal that `map` holds, and owns the map from then on, on failure too. Errors:
 * ST_ERR_FORMAT (not even the begin record is whole), ST_ERR_LIMIT (another version's), ST_ERR_MEM.
 */
st_status sti_journal_open(sti_mapping map, sti_journal *j, st_error *err);
void sti_journal_free(sti_journal *j);

/* Forgets the chunks that do not end within the first n_tok rows, and the layers that have none
 * left. */
void sti_journal_cut(sti_journal *j, int64_t n_tok);

sti_chunk sti_journal_chunk(const sti_journal *j, int64_t at);

/* ---- rows, put together from chunks ---------------------------------------------------------- */

/* Walks over the recorded rows (query blocks) of one head, in rising order. */
typedef struct sti_rows {
    const sti_journal *journal;
    int64_t nbk; /* key blocks from here on are left out */
    const sti_journal_layer *layer;
    int64_t head; /* position in layer->head */
    int64_t next_chunk, row;
    sti_chunk chunk; /* that `row` is in */
    /* room to join the pieces of a row that several chunks share: [2 * cap], two lists in turn */
    int32_t *index;
    float *sum;
    uint16_t *mass; /* [cap] */
    int64_t cap;
} sti_rows;

typedef struct sti_row {
    int64_t blk, n;
    const int32_t *indices; /* [n] good until the next call */
    const uint16_t *mass;   /* [n] */
} sti_row;

void sti_rows_init(sti_rows *r, const sti_journal *j, int64_t nbk);
void sti_rows_start(sti_rows *r, const sti_journal_layer *layer, int64_t head);
/* row->blk is -1 at the end. Errors: ST_ERR_MEM. */
st_status sti_rows_next(sti_rows *r, sti_row *row, st_error *err);
void sti_rows_free(sti_rows *r);

/* ---- attention from group to group, put together from chunks ----------------------------------
 */

/* Walks over the rows of one head's matrix, group after group. */
typedef struct sti_group_walk {
    const sti_journal *journal;
    const st_group *group; /* [n_group], cut at the trace's end */
    int64_t n_group;
    const sti_journal_layer *layer;
    int64_t head, next; /* position in layer->head, group */
    int64_t chunk;      /* of layer's, the first that may reach group `next` */
    double *sum;        /* [n_group] */
    int32_t *index;
    float *mean;
} sti_group_walk;

typedef struct sti_group_row {
    int64_t n;
    const int32_t *indices; /* [n] good until the next call */
    const float *mean;      /* [n] above 0, at most 1 */
} sti_group_row;

/* Errors: ST_ERR_MEM; free accepts it then too. */
st_status sti_group_walk_init(sti_group_walk *w, const sti_journal *j, const st_group *group,
                              int64_t n_group, st_error *err);
void sti_group_walk_start(sti_group_walk *w, const sti_journal_layer *layer, int64_t head);
sti_group_row sti_group_walk_next(sti_group_walk *w); /* n_group times */
void sti_group_walk_free(sti_group_walk *w);

/* ---- certificate samples --------------------------------------------------------------------- */

typedef struct sti_samples {
    int64_t n_layer;
    st_cert_samples *layer; /* layers that have samples */
    const int64_t **rows;   /* [n_layer][n_row] */
    void *memory;
} sti_samples;

/* Gathers the samples of all chunks. Errors: ST_ERR_MEM. */
st_status sti_journal_samples(const sti_journal *j, sti_samples *s, st_error *err);
void sti_samples_free(sti_samples *s);

/* ---- the trace file -------------------------------------------------------------------------- */

/* Writes the trace of the journal's rows [0, n_tok) to `path`. complete: the run had ended; whether
 * every layer ran on every row is looked up here. Errors: ST_ERR_IO, ST_ERR_LIMIT, ST_ERR_MEM. */
st_status sti_trace_assemble(const sti_journal *j, int64_t n_tok, bool complete, const char *path,
                             int64_t *bytes, st_error *err);

#endif
