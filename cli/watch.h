/* SPDX-License-Identifier: MIT
 *
 * watch.h — a chain of thought that grows: its text, its sentences, and what a model that reads
 * along says of them.
 */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include "out.h"
#include "sparsetrace/groups.h"
#include "sparsetrace/live.h"
#include "split_args.h"
#include "watch_rules.h"

#define WATCH_LEAN 3    /* sources named of each sentence, and readers of each anchor */
#define WATCH_HEADS 20  /* receiver heads: the authors' choice */
#define WATCH_ANCHORS 5 /* listed */

/* A sentence as the model read it. */
typedef struct watch_read {
    float surprise; /* mean -ln p of its tokens, nats; NaN: not known */
    int64_t n_lean;
    st_dependency lean[WATCH_LEAN]; /* earlier sentences that it leans on, by what was known then */
} watch_read;

typedef struct watch_anchor {
    int64_t sentence, n_reader;
    double score;
    st_dependency reader[WATCH_LEAN]; /* later sentences that lean on it, most first */
} watch_anchor;

/* The model that reads along; all zero: there is none. */
typedef struct watch_model {
    st_model *model;
    st_model_info info;
    st_live *live;
    st_growing *growing;
    int64_t n_hidden; /* that the tagger wants of a sentence; 0: it reads the text */
    float *hidden;    /* [n, n_hidden] */
    watch_read *read; /* [n] */
    int64_t n, cap, n_tok, fed; /* text up to byte `fed` was read */
    int64_t kept_pairs, causal_pairs;
    st_receiver head[WATCH_HEADS];
    int64_t n_head;
    double *receiver, *judged; /* [n] scores; NaN where too few sentences could look back */
    watch_anchor anchor[WATCH_ANCHORS];
    int64_t n_anchor;
    double anchor_share; /* share of the judged scores that the anchors hold; NaN: none */
    out_bar bar;
} watch_model;

/* What is typed for it; 0, NULL: not typed. */
typedef struct watch_model_args {
    const char *path, *select; /* path NULL: no model */
    int64_t k, block_q, block_k, max_tok, n_thread;
} watch_model_args;

/* Opens the model, then the text it reads, whose hidden states behind `layer` (-1: none) a tagger
 * wants. -1 to go on, else an exit code after a complaint. */
int watch_model_open(watch_model *m, const watch_model_args *a);
int watch_model_begin(watch_model *m, const watch_model_args *a, int layer, int64_t n_hidden);
void watch_model_free(watch_model *m);

/* Reads on to the end of the next sentence. What is no sound UTF-8 is read as question marks.
 * Errors: those of st_live_add. */
st_status watch_model_read(watch_model *m, const char *text, st_group sentence, st_error *err);
/* The sentences so far were none. */
void watch_model_forget(watch_model *m);

/* The model's part of what rules see; -1 where there is nothing. */
void watch_model_state(const watch_model *m, watch_state *s);

/* ---- the text -------------------------------------------------------------------------------- */

struct watch_args {
    const char *file, *rules, *tagger;
    split_args split;
    watch_model_args model;
    bool follow, json;
};

struct watch {
    const struct watch_args *args;
    st_split_params split;
    st_tagger *tagger;
    watch_rules *rules;
    watch_model model;
    FILE *in;
    bool grows;                 /* not a file that is there as a whole */
    char *text;                 /* all of it so far */
    int64_t n_bytes, cap, done; /* up to `done` it is cut */
    st_group *sentence;         /* whole ones */
    int32_t *tag;
    st_phase *phase;
    int64_t n, cap_n;
};

/* ---- what is printed (watch_out.c) ----------------------------------------------------------- */

const char *watch_tag_name(const struct watch *w, int64_t i);
void watch_print_sentence(const struct watch *w, int64_t i, double p, const char *phase,
                          bool again);
void watch_print_flag(const struct watch *w, const char *name, const char *text);
void watch_print_anchors(const struct watch *w); /* when they have changed */
void watch_print_end(const struct watch *w);     /* what the model has to say in the end */

#endif
