/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/tasks.h — RULER's synthetic tasks: samples made afresh from the published parameters,
 * RULER's own JSONL, and RULER's score.
 *
 *   task             haystack                               question                       answer
 *   niah_single_1    five short sentences over and over     the number of a key            1 number
 *   niah_single_2    a text of yours, sentence by sentence  the number of a key            1 number
 *   niah_multikey_2  other needles                          the number of a key            1 number
 *   niah_multikey_3  other needles, keys and values UUIDs   the UUID of a key              1 UUID
 *   vt               the five sentences                     variables of a chain, 4 hops   5 names
 *   cwe              a numbered list of words               the 10 most common of them    10 words
 *   fwe              made-up words, Zipf with exponent 2    the 3 most frequent of them    3 words
 *
 * Templates, answer prefixes, needle sentence, depths, one-shot examples and tokens left to the
 * answer are RULER's (arXiv 2404.06654; github.com/NVIDIA/RULER, commit c3f5e3b). What differs: the
 * words are a list of our own (st_task_params.word takes another), sentences of a user's text end
 * at . ? ! instead of where NLTK ends them, keys of one sample never repeat, and every sample is
 * made as long as fits, where RULER finds the size once a file. So samples are of the same kind as
 * RULER's, not the same.
 *
 * A sample is a function of its task, length, seed, index and the tokens that `count` finds, on any
 * machine. The functions may be called from several threads if `count` may.
 */
#ifndef SPARSETRACE_TASKS_H
#define SPARSETRACE_TASKS_H

#include <stdio.h>

#include "sparsetrace/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum st_task {
    ST_TASK_NIAH_SINGLE_1 = 0,
    ST_TASK_NIAH_SINGLE_2,
    ST_TASK_NIAH_MULTIKEY_2,
    ST_TASK_NIAH_MULTIKEY_3,
    ST_TASK_VT,
    ST_TASK_CWE,
    ST_TASK_FWE,
    ST_TASK_COUNT
} st_task;

ST_API const char *st_task_name(st_task task);
/* ST_ERR_ARG for an unknown name; the message lists the known ones. */
ST_API st_status st_task_parse(const char *name, st_task *task, st_error *err);

/* ---- samples --------------------------------------------------------------------------------- */

/* Bytes [begin, end) of a sample's input. */
typedef struct st_task_span {
    int64_t begin, end;
} st_task_span;

/* The prompt is `input` (as the user's message, where a chat template is used) and then
 * `answer_prefix`, with which the assistant's answer begins. Texts are UTF-8 without NUL bytes. */
typedef struct st_task_sample {
    char task[64];      /* a task's name; of a file's line without one: niah, vt, cwe, fwe or qa */
    int64_t index;      /* of a file: the line's number, from 1                                  */
    int64_t max_tok;    /* the length it was made for; 0: unknown                                */
    int64_t length;     /* tokens of prompt and answer, without the chat template                */
    int64_t n_generate; /* of these, left to the answer                                          */
    int64_t template_tok; /* tokens of the chat template, as st_task_params had them; 0: unknown  */
    char *input, *answer_prefix;
    char **output; /* [n_output >= 1] what is looked for in the answer */
    int64_t n_output;
    char *answer; /* a whole right answer as it would follow answer_prefix; begins with a space */
    st_task_span *evidence; /* [n_evidence] where the answer stands in the input, ascending; none
                               for cwe, fwe and qa                                            */
    int64_t n_evidence;
    bool any; /* one of the outputs is enough: scored by st_score_part (qa) */
} st_task_sample;

ST_API void st_task_sample_free(st_task_sample *sample);

/* Tokens of a text; below 0: it failed. */
typedef int64_t (*st_task_count_fn)(void *ctx, const char *text, int64_t n_bytes);

typedef struct st_task_params {
    int64_t max_tok;      /* prompt, chat template and the room for the answer have at most this
                             many tokens, 1..2^30                                             */
    int64_t template_tok; /* 0: tokens that a chat template adds                              */
    uint64_t seed;
    int64_t index; /* which sample: 0, 1, ... */
    st_task_count_fn count;
    void *ctx;               /* for count                                                        */
    const char *haystack;    /* niah_single_2: the text, NUL-terminated UTF-8                    */
    const char *const *word; /* cwe: [n_word] different words; NULL: the built-in list        */
    int64_t n_word;
} st_task_params;

/* Makes one sample. *sample is the caller's (st_task_sample_free). Errors: ST_ERR_ARG (no count, no
 * haystack for niah_single_2, a value out of range), ST_ERR_LIMIT (max_tok is too few for the
 * smallest sample of this task, or cwe wants more words than there are; the message gives the
 * number), ST_ERR_MODEL (count failed), ST_ERR_MEM. */
ST_API st_status st_task_make(st_task task, const st_task_params *p, st_task_sample **sample,
                              st_error *err);

/* ---- files ----------------------------------------------------------------------------------- */

/* A JSONL file as RULER's scripts write it: one object a line with `input`, `outputs` (strings) and
 * optionally `answer_prefix`, `length`; other fields are ignored, but for those that
 * st_task_write_line adds. Blank lines are skipped. */
typedef struct st_task_reader st_task_reader;

/* Errors: ST_ERR_IO, ST_ERR_MEM. */
ST_API st_status st_task_reader_open(const char *path, st_task_reader **reader, st_error *err);
ST_API void st_task_reader_free(st_task_reader *reader);

/* The next line's sample, the caller's; *sample NULL with ST_OK: the file has ended. ST_ERR_FORMAT:
 * this line is no sample; err->position is its number and the message names file, line and fault.
 * The next call goes on with the line after it. ST_ERR_LIMIT: a line above 256 MB, likewise.
 * ST_ERR_IO and ST_ERR_MEM end the reading. */
ST_API st_status st_task_reader_next(st_task_reader *reader, st_task_sample **sample,
                                     st_error *err);

/* The sample as one such line: RULER's index, input, outputs, length, length_w_model_temp and
 * answer_prefix, and our task, max_length, answer and evidence ([begin, end] in bytes of the
 * input). ST_ERR_IO, ST_ERR_MEM. */
ST_API st_status st_task_write_line(FILE *out, const st_task_sample *sample, st_error *err);

/* ---- score ----------------------------------------------------------------------------------- */

/* RULER's string_match_all of one sample, 0..1: the share of the outputs found in the answer. As
 * there, white space around the answer goes, control characters count as line ends, and case does
 * not matter (of ASCII letters; others must be equal). text is NUL-terminated; n_output >= 1. */
ST_API double st_score_all(const char *text, const char *const *output, int64_t n_output);
/* RULER's string_match_part: 1 if any output is found, else 0. */
ST_API double st_score_part(const char *text, const char *const *output, int64_t n_output);
/* The one that goes with the sample. */
ST_API double st_task_score(const st_task_sample *sample, const char *text);

#ifdef __cplusplus
}
#endif
#endif
