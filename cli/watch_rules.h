/* SPDX-License-Identifier: MIT
 *
 * watch_rules.h — rules over a growing chain of thought, out of a small file:
 *
 *   # a name, a colon, conditions that must all hold
 *   doubt-loop: doubts_of_10 >= 6
 *   unchecked-answer: tag = final_answer_emission and checks = 0
 */
#ifndef CLI_WATCH_RULES_H
#define CLI_WATCH_RULES_H

#include "sparsetrace/reason.h"

/* What a rule can ask for. docs/man/sparsetrace-watch.1.md explains each. */
typedef enum watch_value {
    WATCH_SENTENCES,
    WATCH_DOUBTS,
    WATCH_CHECKS,
    WATCH_RESULTS,
    WATCH_ANSWERS,
    WATCH_DOUBTS_OF_10,
    WATCH_SINCE_DOUBT,
    WATCH_SINCE_CHECK,
    WATCH_SINCE_RESULT,
    WATCH_REPEATED,
    WATCH_FIRST_OF_MODEL, /* from here on -m MODEL is needed */
    WATCH_SURPRISE = WATCH_FIRST_OF_MODEL,
    WATCH_SURPRISE_RATIO,
    WATCH_LEANS,
    WATCH_LEANS_BACK,
    WATCH_SINCE_ANCHOR,
    WATCH_ANCHOR_SHARE,
    WATCH_VALUE_COUNT
} watch_value;

typedef struct watch_state {
    double value[WATCH_VALUE_COUNT];
    const char *tag, *phase; /* of the newest sentence */
} watch_state;

typedef struct watch_rules watch_rules;

/* path NULL: those of the manual page. Errors: ST_ERR_IO; ST_ERR_FORMAT with the line as position
 * and what is wrong there, a value that only a model gives, without one, among it. */
st_status watch_rules_open(const char *path, bool model, watch_rules **rules, st_error *err);
void watch_rules_free(watch_rules *rules);

/* Whether every tag and phase that the rules name can come from this tagger; else ST_ERR_FORMAT, as
 * above. */
st_status watch_rules_check(const watch_rules *rules, const st_tagger *tagger, st_error *err);

/* The rules that hold now and did not at the last call, one after the other: the name of the next
 * one, *text its conditions; NULL: no more. Start a round with *at 0. */
const char *watch_rules_next(watch_rules *rules, const watch_state *state, int *at,
                             const char **text);

#endif
