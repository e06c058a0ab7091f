/* SPDX-License-Identifier: MIT
 *
 * span_args.h — a passage of a trace as a user writes it.
 */
#ifndef CLI_SPAN_ARGS_H
#define CLI_SPAN_ARGS_H

#include "args.h"
#include "sparsetrace/analyse.h"

/* "12:40", "12" (tokens, negative from the end), "last", "\"text\"", "\"text\"#2" (the second
 * occurrence), "@name" (a span that the trace names). option: for complaints. -1 to go on, else an
 * exit code. */
int span_args_find(const char *verb, const char *option, const char *span, const st_trace *trace,
                   int64_t *begin, int64_t *end);

#endif
