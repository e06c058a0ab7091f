/* SPDX-License-Identifier: MIT
 *
 * part_args.c — lists and spans to an st_trace_part.
 */
#include <stdlib.h>

#include "part_args.h"

int part_args_apply(const part_args *a, const char *verb, int64_t n_tok, st_trace_part *part)
{
    int32_t *list;
    *part = (st_trace_part){0};
    if (a->layers != NULL) {
        if (!args_numbers(a->layers, &list, &part->n_layer))
            return args_complain(verb, "--layers: \"%s\" is not a list like 0,5,10-14", a->layers);
        part->layer = list;
    }
    if (a->heads != NULL) {
        if (!args_numbers(a->heads, &list, &part->n_head))
            return args_complain(verb, "--heads: \"%s\" is not a list like 0,5,10-14", a->heads);
        part->head = list;
    }
    if (a->rows != NULL && !args_span(a->rows, n_tok, &part->row_begin, &part->row_end))
        return args_complain(verb, "--rows: \"%s\" is no span within %lld tokens", a->rows,
                             (long long)n_tok);
    return -1;
}

void part_args_free(st_trace_part *part)
{
    free((void *)part->layer);
    free((void *)part->head);
}
