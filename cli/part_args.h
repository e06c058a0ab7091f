/* SPDX-License-Identifier: MIT
 *
 * part_args.h — --layers, --heads and --rows of the verbs that look at a part of a trace.
 */
#ifndef CLI_PART_ARGS_H
#define CLI_PART_ARGS_H

#include "args.h"
#include "sparsetrace/trace.h"

typedef struct part_args {
    const char *layers, *heads, *rows;
} part_args;

/* clang-format off */
#define PART_OPTIONS(p)                                                                            \
    {"--layers", "LIST", ARG_TEXT, &(p).layers, 0, 0, "only these layers, e.g. 0,5,10-14"},        \
        {"--heads", "LIST", ARG_TEXT, &(p).heads, 0, 0, "only these heads of each layer"},         \
        {"--rows", "A:B", ARG_TEXT, &(p).rows, 0, 0,                                               \
         "only what these rows (tokens) read; negative from the end, e.g. -64:"}
/* clang-format on */

/* Into part (its lists are free()d by part_args_free). -1 to go on, else an exit code. */
int part_args_apply(const part_args *a, const char *verb, int64_t n_tok, st_trace_part *part);
void part_args_free(st_trace_part *part);

#endif
