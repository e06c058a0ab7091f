/* SPDX-License-Identifier: MIT
 *
 * budget_args.c — one budget out of --k, --pruned and --mass.
 */
#include <stdlib.h>
#include <string.h>

#include "budget_args.h"

/* The most blocks that --mass keeps unless --k says else: without a bound every block would be
 * looked at. */
#define MASS_MOST 256

#define SHORT_TOK 256

/* Rows of a query block, from sentence to sentence, where less than FINE_SHARE is pruned and a row
 * keeps MANY_KEYS or more in the mean; of fewer, neighbours want too different ones to share. */
#define SENTENCE_ROWS 4
#define FINE_SHARE 0.98
#define MANY_KEYS 40

budget_args budget_args_default(void)
{
    return (budget_args){.pruned = -1, .mass = -1, .otherwise = -1};
}

budget_args budget_args_sentences(void)
{
    budget_args b = budget_args_default();
    b.otherwise = 0.97;
    b.even = true; /* early sentences are read by all later ones: they must come out well */
    b.else_q = SENTENCE_ROWS;
    b.else_k = 1;
    return b;
}

void budget_args_sentence_rows(const budget_args *b, double pruned, int64_t n_tok,
                               st_select_params *select)
{
    if (b->block_q == 0)
        select->bq =
            pruned >= FINE_SHARE || (1.0 - pruned) * (double)n_tok < 2 * MANY_KEYS ? 1 : b->else_q;
}

bool budget_args_given(const budget_args *b)
{
    return b->k != NULL || b->pruned >= 0 || b->mass >= 0;
}

const char *budget_args_typed(const budget_args *b)
{
    return b->k != NULL        ? "--k"
           : b->pruned >= 0    ? "--pruned"
           : b->mass >= 0      ? "--mass"
           : b->pooled != NULL ? "--pooled"
           : b->grow != NULL   ? "--grow"
           : b->select != NULL ? "--select"
           : b->block_q > 0    ? "--block-q"
           : b->block_k > 0    ? "--block-k"
           : b->rows > 0       ? "--sample-rows"
                               : NULL;
}

bool budget_args_too_short(const budget_args *b, const st_select_params *select, double pruned,
                           int64_t n_tok, int64_t n_swa)
{
    double k;
    return !budget_args_given(b) &&
           (n_tok < SHORT_TOK ||
            st_select_k_for_pruned(select, 0, n_tok, n_swa, pruned, &k, NULL) != ST_OK);
}

void budget_args_blocks(const budget_args *b, int64_t n_tok, int64_t exact_below,
                        st_select_params *select)
{
    if (b->pruned >= 0 && b->block_q == 0 && b->block_k == 0)
        st_select_blocks_for_pruned(select, n_tok, exact_below, b->pruned);
}

static int parse_k(const char *text, const char *verb, st_select_params *p, st_budget *budget)
{
    char *end;
    double k = strtod(text, &end);
    int64_t least = st_select_min_k(p);
    *budget = ST_BUDGET_K;
    if (strcmp(text, "auto") == 0) {
        *budget = ST_BUDGET_AUTO;
        return -1;
    }
    if (*text == '\0' || *end != '\0' || !(k >= 1 && k <= INT32_MAX))
        return args_complain(verb, "--k: \"%s\" is neither a number of blocks nor auto", text);
    if (k < (double)least)
        return args_complain(
            verb, "--k is %g, but %lld blocks are always kept (sink, window, diagonal)", k,
            (long long)least);
    p->k = k;
    return -1;
}

/* "on", "off", or as it is if nothing was typed. */
static int parse_switch(const char *verb, const char *option, const char *text, bool *on)
{
    if (text == NULL)
        return -1;
    *on = strcmp(text, "on") == 0;
    if (!*on && strcmp(text, "off") != 0)
        return args_complain(verb, "%s: \"%s\" is neither on nor off", option, text);
    return -1;
}

/* Pooled and growing where the budget is auto or a pruned share, for methods that can, unless told
 * otherwise. */
static int parse_spread(const budget_args *b, const char *verb, st_budget budget,
                        st_select_params *p)
{
    bool spread = budget == ST_BUDGET_PRUNED || (b->pool_auto && budget == ST_BUDGET_AUTO);
    bool grow = spread && !b->even;
    st_error err;
    int code = parse_switch(verb, "--grow", b->grow, &grow);
    p->pooled = spread;
    if (code < 0)
        code = parse_switch(verb, "--pooled", b->pooled, &p->pooled);
    if (code >= 0)
        return code;
    p->grow_tok = grow ? -1 : 0;
    if (p->mass > 0 && grow)
        return args_complain(verb, "--grow and --mass are two ways to spread a budget: give one");
    if (st_select_params_check(p, &err) == ST_OK)
        return -1;
    if (b->pooled != NULL)
        return args_complain(verb, "--pooled: %s", err.message);
    p->pooled = false;
    return -1;
}

int budget_args_apply(const budget_args *b, const char *verb, st_select_params *p,
                      st_budget *budget, double *pruned)
{
    st_error err;
    *p = st_select_params_default();
    *budget = ST_BUDGET_AUTO;
    p->bq = b->block_q > 0 ? (int)b->block_q : b->else_q > 0 ? b->else_q : p->bq;
    p->bk = b->block_k > 0 ? (int)b->block_k : b->else_k > 0 ? b->else_k : p->bk;
    p->rows = b->rows > 0 ? (int)b->rows : p->rows;
    if (b->select != NULL && st_select_method_parse(b->select, &p->method, &err) != ST_OK)
        return args_complain(verb, "--select: %s", err.message);
    if (b->pruned >= 0 && b->mass >= 0)
        return args_complain(verb, "--pruned and --mass are two budgets: give one");
    if (b->pruned >= 0 && b->k != NULL)
        return args_complain(verb, "--k and --pruned are two budgets: give one");
    if (b->pruned >= 0 || (b->otherwise >= 0 && !budget_args_given(b))) {
        *budget = ST_BUDGET_PRUNED;
        *pruned = b->pruned >= 0 ? b->pruned : b->otherwise;
    }
    if (b->k != NULL) {
        int code = parse_k(b->k, verb, p, budget);
        if (code >= 0)
            return code;
    }
    if (b->mass >= 0) { /* --k is then the most that may be kept */
        if (b->k != NULL && *budget == ST_BUDGET_AUTO)
            return args_complain(verb, "--k auto and --mass are two budgets: give one");
        if (b->k == NULL)
            p->k = MASS_MOST;
        p->mass = (float)b->mass;
        *budget = ST_BUDGET_MASS;
    }
    return parse_spread(b, verb, *budget, p);
}
