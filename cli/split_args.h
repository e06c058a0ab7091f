/* SPDX-License-Identifier: MIT
 *
 * split_args.h — the options that say where sentences end, for the verbs that cut texts.
 */
#ifndef CLI_SPLIT_ARGS_H
#define CLI_SPLIT_ARGS_H

#include "args.h"
#include "sparsetrace/reason.h"

typedef struct split_args {
    const char *how, *regex;
} split_args;

/* clang-format off */
#define SPLIT_OPTIONS(s)                                                                           \
    {"--split", "HOW", ARG_TEXT, &(s).how, 0, 0, "thought-anchors (default), newline, regex"},     \
        {"--regex", "RE", ARG_TEXT, &(s).regex, 0, 0,                                              \
         "what stands between sentences, for --split regex"}
/* clang-format on */

/* -1 to go on, else the exit code after a complaint. */
int split_args_apply(const split_args *s, const char *verb, st_split_params *p);

#endif
