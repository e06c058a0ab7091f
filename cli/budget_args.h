/* SPDX-License-Identifier: MIT
 *
 * budget_args.h — the options of the budget and the selection, which trace and mask share.
 */
#ifndef CLI_BUDGET_ARGS_H
#define CLI_BUDGET_ARGS_H

#include "args.h"
#include "sparsetrace/engine.h"

/* As typed; fill with budget_args_default before parsing. */
typedef struct budget_args {
    const char *k, *select, *pooled, *grow;
    double pruned, mass; /* -1: not given */
    double otherwise;    /* the pruned share if no budget is given; -1: --k auto */
    bool pool_auto;      /* false. true: --k auto pools and grows too, unless told otherwise */
    bool even;           /* budgets do not grow along the text unless --grow is typed */
    int64_t block_q, block_k, rows; /* 0: not typed */
    int else_q, else_k;             /* block_q and block_k if not typed; 0: the usual ones */
} budget_args;

budget_args budget_args_default(void);
/* Whether `otherwise` gives way to keeping everything: the text is below 256 tokens, or so short
 * for the model's window that the share is out of reach. It costs nothing there. */
bool budget_args_too_short(const budget_args *b, const st_select_params *select, double pruned,
                           int64_t n_tok, int64_t n_swa);

/* For verbs whose prompt is known only now: block sizes that suit its length, if a share to prune
 * was typed and neither size was. */
void budget_args_blocks(const budget_args *b, int64_t n_tok, int64_t exact_below,
                        st_select_params *select);

/* For attention from sentence to sentence: 97 % pruned, budgets pooled but not growing along the
 * text, key blocks of 1 token (docs/method/receivers.md has what others lose). */
budget_args budget_args_sentences(void);
/* Query blocks for it: of 4 tokens, of 1 where `pruned` is 98 % or more, or leaves a row of n_tok
 * tokens fewer than 40 keys in the mean; what was typed stays. */
void budget_args_sentence_rows(const budget_args *b, double pruned, int64_t n_tok,
                               st_select_params *select);

/* Rows for a verb's option table; `b` is the budget_args to fill, the strings are the help's word
 * for what holds if nothing is typed. */
/* clang-format off */
#define BUDGET_OPTIONS(b)                                                                          \
    BUDGET_OPTIONS_WITH(b, "on with --pruned, auto", "on with --pruned, auto",                     \
                        "stream (default), auto, scan, flat, exact, hip, window",                  \
                        "32; trace --pruned: by length", "16; trace --pruned: by length")
#define BUDGET_OPTIONS_WITH(b, pooled_word, grow_word, select_words, q_word, k_word)               \
    {"--k", "N", ARG_TEXT, &(b).k, 0, 0,                                                           \
     "key blocks kept per query block, always-kept ones included"},                                \
        {"--pruned", "SHARE", ARG_REAL, &(b).pruned, 0, 0.999999,                                  \
         "prune at least this share of the causal pairs, e.g. 0.97"},                              \
        {"--mass", "SHARE", ARG_REAL, &(b).mass, 1e-6, 0.999999,                                   \
         "keep the fewest blocks that hold this share of the mass, at most --k (256)"},            \
        {"--pooled", "on|off", ARG_TEXT, &(b).pooled, 0, 0,                                        \
         "heads and neighbours share their budgets, --k is a mean (" pooled_word ")"},             \
        {"--grow", "on|off", ARG_TEXT, &(b).grow, 0, 0,                                            \
         "budgets grow along the text, --k is the mean (" grow_word ")"},                          \
        {"--select", "METHOD", ARG_TEXT, &(b).select, 0, 0, select_words},                         \
        {"--block-q", "N", ARG_INT, &(b).block_q, 1, 1024,                                         \
         "rows of a query block (" q_word ")"},                                                    \
        {"--block-k", "N", ARG_INT, &(b).block_k, 1, 1024,                                         \
         "keys of a key block (" k_word ")"},                                                      \
        {"--sample-rows", "N", ARG_INT, &(b).rows, 1, ST_SELECT_ROWS_MAX,                          \
         "rows of a query block that choose for it (8)"}
/* clang-format on */

/* Whether a budget was typed. */
bool budget_args_given(const budget_args *b);
/* The first of all these options that was typed; NULL: none. For verbs that run without a model. */
const char *budget_args_typed(const budget_args *b);

/* What was typed as budget and settings. `verb` for complaints. -1 to go on, else an exit code. */
int budget_args_apply(const budget_args *b, const char *verb, st_select_params *select,
                      st_budget *budget, double *pruned);

#endif
