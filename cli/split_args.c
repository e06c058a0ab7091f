/* SPDX-License-Identifier: MIT
 *
 * split_args.c — one way to split out of --split and --regex.
 */
#include "split_args.h"

#include <string.h>

int split_args_apply(const split_args *s, const char *verb, st_split_params *p)
{
    static const char *const name[] = {"thought-anchors", "newline", "regex"};
    const char *how = s->how != NULL ? s->how : s->regex != NULL ? "regex" : name[0];
    *p = st_split_params_default();
    for (int i = 0; i < 3; i++)
        if (strcmp(how, name[i]) == 0) {
            p->how = (st_split)i;
            p->regex = s->regex;
            if ((p->how == ST_SPLIT_REGEX) == (s->regex != NULL))
                return -1;
            return args_complain(verb, "--split regex and --regex RE belong together");
        }
    return args_complain(verb, "--split: no way \"%s\" (thought-anchors, newline, regex)", how);
}
