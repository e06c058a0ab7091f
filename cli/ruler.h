/* SPDX-License-Identifier: MIT
 *
 * ruler.h — what the files of `sparsetrace ruler` share.
 *
 * A *row* is one sample with one setting (method and budget); rows go into a CSV file as they come,
 * so that a job can go on where it stopped. A *cell* sums up the rows of one task, length and
 * setting.
 */
#ifndef CLI_RULER_H
#define CLI_RULER_H

#include "args.h"
#include "out.h"
#include "sparsetrace/engine.h"
#include "sparsetrace/tasks.h"

/* ---- rows (ruler_rows.c) --------------------------------------------------------------------- */

typedef struct ruler_row {
    /* what it is of; together the row's key */
    char model[13];  /* first digits of the file's SHA-256 */
    char source[64]; /* "-": generated from the seed alone; else the name of the file behind it */
    char task[64];
    char select[16], target[32]; /* method; budget as typed: "0.95", "0.90-0.96" or "k=8" */
    int64_t chat, seed, length, index, block_q, block_k, sample_rows;
    /* the prompt */
    int64_t n_tok, n_answer;
    double k;
    /* scores 0..1; greedy_*: -1 where it was not asked for */
    double dense, sparse, greedy_dense, greedy_sparse;
    int64_t n_same, kept_pairs, causal_pairs, n_retrieval, n_needle_kept;
    double kl, recall, seconds_dense, seconds_sparse;
    double margin; /* of the dense run: the answer's least lead, nats; -1: not known */
} ruler_row;

typedef struct ruler_rows {
    ruler_row *row;
    int64_t n, cap;
    FILE *file; /* NULL: rows are only kept in memory */
    const char *path;
} ruler_rows;

/* Opens or makes the file; with `resume` the rows in it come first (a torn last line is cut off).
 * -1 to go on, else an exit code after a complaint. path NULL: no file. */
int ruler_rows_open(ruler_rows *rows, const char *path, bool resume);
const ruler_row *ruler_rows_find(const ruler_rows *rows, const ruler_row *key);
/* Adds a row, to the file too. False: it cannot be written (errno). */
bool ruler_rows_add(ruler_rows *rows, const ruler_row *row);
void ruler_rows_close(ruler_rows *rows);

/* A file's name as a key: without folders, commas and what steers a terminal. */
void ruler_source(char *buf, size_t size, const char *path);

/* ---- cells (ruler_cells.c) ------------------------------------------------------------------- */

typedef struct ruler_cell {
    const ruler_row *first;     /* names the cell */
    int64_t n, n_right, n_kept; /* samples; densely right; of these right when pruned, too */
    int64_t n_tok, n_answer, n_same, n_retrieval, n_needle_kept; /* sums */
    int64_t n_recall, n_greedy;
    double dense, sparse, pruned, kl, recall, greedy_dense, greedy_sparse; /* means */
    double kept_pairs, causal_pairs, seconds_dense, seconds_sparse;        /* sums */
    double lost_margin; /* the largest of a right answer that was lost, nats; -1: none, not known */
} ruler_cell;

typedef struct ruler_cells {
    ruler_cell *cell;
    int64_t n;
} ruler_cells;

typedef struct ruler_job ruler_job;

/* The cells of the job's rows that are of its model, chat, seed and block sizes, in the order in
 * which they first come, shorter lengths of a task first. */
ruler_cells ruler_cells_of(const ruler_job *j);
void ruler_cells_free(ruler_cells *cells);

/* What a table says beside its cells. */
typedef struct ruler_about {
    st_model_info model;
    bool chat, greedy, interrupted;
    int64_t seed;
} ruler_about;

void ruler_print_table(const ruler_cells *cells, const ruler_about *about);
void ruler_print_json(const ruler_cells *cells, const ruler_about *about);
/* False: cannot be written (errno). */
bool ruler_write_csv(const ruler_cells *cells, const char *path);
/* ruler_plot.c */
bool ruler_write_plot(const ruler_cells *cells, const ruler_about *about, const char *path);

/* ---- samples (ruler_samples.c) --------------------------------------------------------------- */

typedef struct ruler_source_args {
    const char *tasks, *lengths, *data, *haystack, *words;
    int64_t n_sample, seed;
} ruler_source_args;

/* The samples of a job, one after the other. */
typedef struct ruler_samples ruler_samples;

/* What is wrong without a model; -1 to go on, else an exit code after a complaint. */
int ruler_samples_open(const ruler_source_args *args, ruler_samples **samples);
void ruler_samples_free(ruler_samples *samples);

/* How tokens are counted, once there is a model. */
void ruler_samples_count(ruler_samples *s, st_task_count_fn count, void *ctx, int64_t template_tok);

/* Goes to the next sample: its source, task, length and index into `row`; *more false: there is
 * none. ST_ERR_FORMAT and ST_ERR_LIMIT: a line of the file that is no sample; the next call goes on
 * behind it. */
st_status ruler_samples_next(ruler_samples *s, ruler_row *row, bool *more, st_error *err);
/* Makes that sample (st_task_sample_free). ST_ERR_LIMIT: none of its cell can be made. */
st_status ruler_samples_take(ruler_samples *s, st_task_sample **sample, st_error *err);
/* No more of the generated cell at hand. */
void ruler_samples_skip_cell(ruler_samples *s);
int64_t ruler_samples_longest(const ruler_samples *s);

/* ---- the job (ruler_run.c) ------------------------------------------------------------------- */

#define RULER_SETTING_MAX 64

typedef struct ruler_args {
    ruler_source_args source;
    const char *model, *select, *pruned, *k, *chat, *out, *csv, *plot, *write_data;
    const char *weights, *ctk, *ctv;
    int64_t block_q, block_k; /* 0: by length and share */
    int64_t sample_rows, cert_rows, n_thread, ubatch;
    bool resume, greedy, json, quiet, verbose;
} ruler_args;

/* A method with a budget. Of a share, `select` gets block sizes and k with a sample's length. Of a
 * range, a sample takes the first of some shares, from `pruned` down to `least`, that leaves every
 * answer token what the dense run says, or else `least`. */
typedef struct ruler_setting {
    st_select_params select;
    double pruned; /* < 0: select.k is the budget */
    double least;  /* of a range of shares the lower end; else as pruned */
    char target[32];
} ruler_setting;

struct ruler_job {
    const ruler_args *a;
    ruler_setting setting[RULER_SETTING_MAX];
    int n_setting;
    st_model *model;
    st_model_info info;
    st_run_params run;
    bool chat;
    int64_t template_tok;
    ruler_rows rows;
    int64_t n_sample; /* written, run, or there already */
    out_bar bar;
    char label[32]; /* of the bar: task, length, sample */
};

/* "0.95", or "0.90-0.96": the least share and the most. False: neither. */
bool ruler_parse_share(const char *text, double *least, double *most);
/* st_task_count_fn; ctx is the st_model. -1: it failed. */
int64_t ruler_count_tokens(void *ctx, const char *text, int64_t n_bytes);
/* The key of a row, as far as the job decides it; the budget (ruler_row.target) decides the block
 * sizes with its length. */
ruler_row ruler_job_key(const ruler_job *j, int64_t length, const char *target);
/* Whether prompts go through the chat template, and how many tokens that adds. */
st_status ruler_settle_chat(ruler_job *j, st_error *err);
/* `sample`: source, task, length and index. Whether its rows are all there already. */
bool ruler_all_done(const ruler_job *j, const ruler_row *sample);
/* Runs a sample and adds the rows that are not there yet. */
st_status ruler_run_sample(ruler_job *j, const st_task_sample *s, const ruler_row *sample,
                           st_error *err);

#endif
