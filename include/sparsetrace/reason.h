/* SPDX-License-Identifier: MIT
 *
 * sparsetrace/reason.h — reading a chain of thought: its sentences, what each one does, its phases,
 * and what the text alone says of its quality. No model and no network is needed.
 *
 *   st_group part, *sentence;  int64_t n;  st_tagger *tagger;
 *   st_think_next(text, n_bytes, 0, &part);
 *   st_split_params sp = st_split_params_default();
 *   st_sentences(text, part, &sp, &sentence, &n, &err);
 *   st_tagger_open(NULL, &tagger, &err);
 *   st_tagger_run(tagger, text, sentence, n, NULL, tag, prob, &err);
 *   st_phases(tagger, prob, n, phase, confidence, boundary, &err);
 *
 * A sentence is a span of bytes, an st_group: st_groups_from_bytes (groups.h) turns it into tokens
 * of any tokenizer. Definitions and measurements: docs/method/reasoning.md, docs/method/quality.md.
 * Source: "Thought Anchors" (arXiv 2506.19143) and its authors' code, for sentences and tags;
 * phases and quality are our own.
 */
#ifndef SPARSETRACE_REASON_H
#define SPARSETRACE_REASON_H

#include "sparsetrace/attn.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ST_TEXT_MAX_BYTES ((int64_t)1 << 30) /* of one reasoning part */

/* ---- sentences ------------------------------------------------------------------------------- */

/* The next reasoning part at or after byte `from`: what stands between <think> and the </think>
 * after it (or the end of the text), trimmed. From 0 on, a text that closes a part it never opened
 * (chat templates open it) has its first part before that </think>, and a text without any mark is
 * one part as a whole. False: there is no further part. The next one is looked for from
 * part->end on. */
ST_API bool st_think_next(const char *text, int64_t n_bytes, int64_t from, st_group *part);

typedef enum st_split {
    ST_SPLIT_THOUGHT_ANCHORS = 0, /* a piece ends at . ? ! before a space or newline (\n or \r\n),
                                     and at a blank line (\n\n or \r\n\r\n); what follows the last
                                     end is a piece too. Trimmed (Unicode white space), empty ones
                                     left out. A piece under 10 characters joins the next one, the
                                     last one the previous. Our reading in one place: the authors'
                                     code drops the rest after the last end, their published labels
                                     keep it */
    ST_SPLIT_NEWLINE,             /* lines, trimmed, empty ones left out */
    ST_SPLIT_REGEX                /* what stands between the matches of a POSIX extended regular
                                     expression, trimmed, empty ones left out */
} st_split;

typedef struct st_split_params {
    st_split how;
    const char *regex; /* ST_SPLIT_REGEX only */
} st_split_params;

ST_API st_split_params st_split_params_default(void);

/* The sentences of the bytes `part` of text, rising, without overlap, none empty; *n may be 0. The
 * text may be any bytes: broken UTF-8 counts one character a byte. *sentence is the caller's
 * (st_sentences_free). Errors: ST_ERR_ARG (part, unknown split, no or a bad regular expression),
 * ST_ERR_MEM. */
ST_API st_status st_sentences(const char *text, st_group part, const st_split_params *p,
                              st_group **sentence, int64_t *n, st_error *err);
ST_API void st_sentences_free(st_group *sentence);

/* ---- function tags --------------------------------------------------------------------------- */

/* Weights that give each sentence one of a few tags: a linear-chain conditional random field over
 * hashed features of the text, and, if it was trained so, over the hidden states of a model. */
typedef struct st_tagger st_tagger;

/* path NULL: the tagger of text alone that is part of the library (eight tags of "Thought
 * Anchors"); else a file that tools/reason/train_tagger.py wrote. Errors: as st_tensors_open, and
 * ST_ERR_FORMAT with what is missing or of the wrong shape. */
ST_API st_status st_tagger_open(const char *path, st_tagger **tagger, st_error *err);
ST_API void st_tagger_free(st_tagger *tagger);

/* The library's tagger for the hidden states of the model of this name (general.name of its GGUF
 * file) with n_hidden numbers a sentence, if it has one; else the one of text alone, whose
 * st_tagger_n_hidden is 0. Errors: as st_tagger_open. */
ST_API st_status st_tagger_open_for(const char *model, int64_t n_hidden, st_tagger **tagger,
                                    st_error *err);

ST_API int st_tagger_n_tag(const st_tagger *tagger);
ST_API const char *st_tagger_tag(const st_tagger *tagger, int tag);   /* NULL beyond the last */
ST_API int st_tagger_find(const st_tagger *tagger, const char *name); /* -1: not in the taxonomy */
/* Width of the hidden vector of a sentence it wants; 0: it reads the text alone. */
ST_API int64_t st_tagger_n_hidden(const st_tagger *tagger);
/* The layer whose hidden states it was trained on; -1: it reads the text alone, or does not say. */
ST_API int st_tagger_hidden_layer(const st_tagger *tagger);
/* The name of the model whose hidden states they were; "" if it does not say. */
ST_API const char *st_tagger_model(const st_tagger *tagger);
ST_API bool st_tagger_has_phases(const st_tagger *tagger); /* st_phases works with it */

/* tag [n]: the most probable tag of each sentence, given all of them (ties to the lower tag); prob
 * [n, n_tag], or NULL: the probabilities, rows sum to 1. hidden [n, st_tagger_n_hidden], F32, NULL
 * for a tagger of text alone: e.g. mean and last token after a layer (st_run_hidden, engine.h).
 * O(bytes + n n_tag^2) time. Errors: ST_ERR_ARG (hidden missing, or given to a tagger without;
 * a value that is not finite, with the sentence as position), ST_ERR_MEM. */
ST_API st_status st_tagger_run(const st_tagger *tagger, const char *text, const st_group *sentence,
                               int64_t n, const float *hidden, int32_t *tag, float *prob,
                               st_error *err);

/* ---- tags from elsewhere --------------------------------------------------------------------- */

/* A file of tags: a labeller's JSON (an array of objects with "function_tags" or "tags", or of
 * names; the first of several tags counts), JSONL with one trace a line (such an array, or an
 * object that has it as "sentences", "chunks" or "tags", and may have an "id"), or plain lines, one
 * tag each, a blank line between two traces. */
typedef struct st_tag_file st_tag_file;

/* Names that the tagger's taxonomy lacks become tag -1; *n_unknown counts them and `err`, if not
 * NULL, then holds a message that names the first one and its line, though the call succeeds.
 * Errors: ST_ERR_IO, ST_ERR_FORMAT (position: line). */
ST_API st_status st_tag_file_open(const char *path, const st_tagger *tagger, st_tag_file **file,
                                  int64_t *n_unknown, st_error *err);
ST_API void st_tag_file_free(st_tag_file *file);

/* The tags of the trace with this id, else of the trace number `i`; NULL: there are none. */
ST_API const int32_t *st_tag_file_get(const st_tag_file *file, const char *id, int64_t i,
                                      int64_t *n);

/* ---- phases ---------------------------------------------------------------------------------- */

typedef enum st_phase {
    ST_PHASE_UNDERSTAND = 0,
    ST_PHASE_PLAN,
    ST_PHASE_COMPUTE,
    ST_PHASE_DOUBT, /* doubt and backtracking */
    ST_PHASE_VERIFY,
    ST_PHASE_CONCLUDE,
    ST_PHASE_COUNT
} st_phase;

ST_API const char *st_phase_name(st_phase phase); /* "understand", ...; "?" beyond the last */

/* The most probable path of the hidden Markov model over phases that comes with the tagger's
 * weights. prob [n, n_tag] are st_tagger_run's, or rows with a single 1 for tags that are known; a
 * row of zeros says nothing of its sentence. phase [n]; confidence [n]: posterior probability of
 * that phase there; boundary [n]: posterior probability that a phase begins there (1 at the first);
 * confidence and boundary may be NULL. Errors: ST_ERR_ARG (a tagger without phases: own taxonomies
 * have them only if they were trained with them; a probability below 0 or not finite), ST_ERR_MEM.
 */
ST_API st_status st_phases(const st_tagger *tagger, const float *prob, int64_t n, st_phase *phase,
                           float *confidence, float *boundary, st_error *err);

/* ---- quality: what the text alone says ------------------------------------------------------- */

/* Definitions, ranges and examples: docs/method/quality.md. Shares are of the sentences; -1: not
 * defined (no sentence, no doubt, ...). */
typedef struct st_quality {
    int64_t n_sentence, n_doubt, n_check;
    double doubt_share, check_share; /* sentences tagged uncertainty_management, self_checking */
    int64_t n_episode;               /* stretches of doubt: backtracking begins with one */
    double led_share;                /* of these, how many led to a number not seen before */
    double repeated_share;           /* mean share of a sentence's word triples that came earlier */
    double answer_at; /* where the first final_answer_emission stands, 0 first .. 1 last sentence */
    double checked_after; /* share of self_checking among the sentences from the first
                             result_consolidation or answer on */
    double score; /* estimated probability that the final answer is right; -1: the tagger's file
                     has no such estimate. Weak: see the document */

    /* What a model's attention adds (st_quality_of_attention); -1 until then. */
    double support;      /* share of computing and checking in what the answer stands on */
    double support_base; /* their share of the tokens before the answer: support by chance */
    double dead_share;   /* sentences that no later one looks back at */
    int64_t n_claim;     /* sentences that compute or conclude with a number not seen before */
    double jump_share;   /* of these, how many lean on the text before them far less than usual */
    double anchor_share; /* share of the receiver scores that the five anchors hold */
    double surprise, surprise_anchor, surprise_answer; /* -ln p a token, nats */
} st_quality;

/* tag [n]: as of st_tagger_run, -1 allowed. Tags are found by the names of the built-in taxonomy.
 * Errors: ST_ERR_MEM. */
ST_API st_status st_quality_of_text(const st_tagger *tagger, const char *text,
                                    const st_group *sentence, const int32_t *tag, int64_t n,
                                    st_quality *quality, st_error *err);

/* One run's attention from sentence to sentence. */
typedef struct st_attention {
    const float *mean;      /* [n, n] A, mean over all heads: st_group_mean */
    const double *receiver; /* [n] receiver scores, NaN allowed */
    const st_group *token;  /* [n] the sentences' tokens */
    const float *surprise;  /* [n] -ln p a token of each sentence, NaN allowed; NULL: not known */
} st_attention;

/* What attention says of one sentence. NaN: not defined. */
typedef struct st_flow {
    float lean; /* 0..1: mean attention of its tokens that falls on earlier sentences */
    float used; /* the most that a later sentence, ST_NEAR (groups.h) or more behind it, looks at
                   its tokens, in units of what it looks at such tokens on average */
    bool dead;  /* no anchor, and no later one looks at it more than at others: used below the
                   document's bound */
    bool jump;  /* a claim that leans on little */
} st_flow;

/* Fills the attention's part of *quality, which st_quality_of_text has filled before, and flow
 * [n]. Tags are found by the names of the built-in taxonomy. Errors: ST_ERR_ARG (a value of `mean`
 * that is negative or not finite), ST_ERR_MEM. */
ST_API st_status st_quality_of_attention(const st_tagger *tagger, const char *text,
                                         const st_group *sentence, const int32_t *tag, int64_t n,
                                         const st_attention *attention, st_flow *flow,
                                         st_quality *quality, st_error *err);

/* ---- texts ----------------------------------------------------------------------------------- */

/* A file of texts: as it is (one text), or JSONL, one text a line. */
typedef struct st_texts st_texts;

typedef struct st_text {
    const char *id;   /* the line's "id"; "" if there is none. Lives until the next call */
    const char *text; /* likewise; n_bytes bytes, NUL-terminated */
    int64_t n_bytes;
    int64_t line;       /* 1-based; 0 for a text as it is */
    int64_t n_replaced; /* lone surrogates that became U+FFFD */
} st_text;

/* path "-": standard input. jsonl false: the whole file is one text. field: the name of the string
 * that holds the text, NULL: the first there is of full_text, text, solution, content; a line with
 * "messages" gives the contents of its assistant messages, a "reasoning_content" in <think> marks.
 * Errors: ST_ERR_IO, ST_ERR_MEM. */
ST_API st_status st_texts_open(const char *path, bool jsonl, const char *field, st_texts **texts,
                               st_error *err);
ST_API void st_texts_free(st_texts *texts);

/* The next text; text->text NULL: the end. A line that is broken gives ST_ERR_FORMAT (not JSON, no
 * such field, the field is no string) or ST_ERR_LIMIT (longer than ST_TEXT_MAX_BYTES) with the line
 * as position; the next call goes on behind it. ST_ERR_IO and ST_ERR_MEM end the file. Blank lines
 * are passed over. */
ST_API st_status st_texts_next(st_texts *texts, st_text *text, st_error *err);

/* The sentences that the line of the text that st_texts_next gave last names itself: its
 * "sentences", strings or objects with "text", as labelled data has them. Each is found behind the
 * one before it, within the bytes `part`; white space matches any. *sentence: st_sentences_free.
 * Errors: ST_ERR_FORMAT with the line as position (no such list, a sentence that is not found),
 * ST_ERR_MEM. */
ST_API st_status st_texts_sentences(const st_texts *texts, const st_text *text, st_group part,
                                    st_group **sentence, int64_t *n, st_error *err);

#ifdef __cplusplus
}
#endif
#endif
