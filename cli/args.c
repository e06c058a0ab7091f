/* SPDX-License-Identifier: MIT
 *
 * args.c — getopt_long driven by a table.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "out.h"

#define OPTION_MAX 48

int args_complain(const char *verb, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("sparsetrace: ", stderr);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "; see sparsetrace %s%s--help\n", verb, *verb != '\0' ? " " : "");
    va_end(ap);
    return EXIT_USAGE;
}

static void print_help(const arg_verb *v)
{
    printf("usage: sparsetrace %s %s\n\n%s\n\noptions:\n", v->name, v->usage, v->about);
    for (int i = 0; i < v->n_option; i++) {
        const arg_option *o = &v->option[i];
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value != NULL ? " " : "",
                 o->value != NULL ? o->value : "");
        printf("  %-22s", left);
        for (const char *line = o->help; line != NULL;) {
            const char *end = strchr(line, '\n');
            if (line != o->help)
                printf("%24s", "");
            printf("%.*s\n", (int)(end != NULL ? end - line : (long)strlen(line)), line);
            line = end != NULL ? end + 1 : NULL;
        }
    }
    printf("  %-22sthis text\n", "--help");
}

static bool out_of_range(const arg_option *o, double x)
{
    return (o->min != 0.0 || o->max != 0.0) && !(x >= o->min && x <= o->max);
}

static void complain_of_range(const arg_verb *v, const arg_option *o, long long x)
{
    if (o->max >= 0x1p63) /* no bound but the number's own size */
        args_complain(v->name, "%s is %lld, must be %.0f or more", o->name, x, o->min);
    else
        args_complain(v->name, "%s is %lld, must be %.0f..%.0f", o->name, x, o->min, o->max);
}

/* Stores an option's value. False after a complaint. */
static bool store(const arg_verb *v, const arg_option *o, const char *text)
{
    char *end = NULL;
    errno = 0;
    switch (o->kind) {
    case ARG_FLAG: *(bool *)o->to = true; return true;
    case ARG_TEXT: *(const char **)o->to = text; return true;
    case ARG_INT: {
        long long x = strtoll(text, &end, 10);
        if (*text == '\0' || *end != '\0' || errno != 0) {
            args_complain(v->name, "%s: \"%s\" is not a whole number", o->name, text);
            return false;
        }
        if (out_of_range(o, (double)x)) {
            complain_of_range(v, o, x);
            return false;
        }
        *(int64_t *)o->to = x;
        return true;
    }
    case ARG_REAL: {
        double x = strtod(text, &end);
        if (*text == '\0' || *end != '\0') {
            args_complain(v->name, "%s: \"%s\" is not a number", o->name, text);
            return false;
        }
        if (out_of_range(o, x)) {
            args_complain(v->name, "%s is %g, must be %g..%g", o->name, x, o->min, o->max);
            return false;
        }
        *(double *)o->to = x;
        return true;
    }
    }
    return false;
}

int args_parse(const arg_verb *v, int argc, char **argv, const char **word, int *n_word)
{
    struct option table[OPTION_MAX] = {{"help", no_argument, NULL, 1}};
    char letters[2 * OPTION_MAX + 2] = ":";
    int n_long = 1, code;
    for (int i = 0; i < v->n_option; i++) {
        const arg_option *o = &v->option[i];
        if (o->name[1] != '-') {
            strcat(letters, o->name + 1);
            strcat(letters, o->value != NULL ? ":" : "");
        } else {
            table[n_long++] = (struct option){
                o->name + 2, o->value != NULL ? required_argument : no_argument, NULL, 1000 + i};
        }
    }
    opterr = 0;
    optind = 1;
    while ((code = getopt_long(argc, argv, letters, table, NULL)) != -1) {
        const arg_option *o = NULL;
        if (code == 1) {
            print_help(v);
            return EXIT_OK;
        }
        if (code == ':')
            return args_complain(v->name, "%s wants a value", argv[optind - 1]);
        if (code == '?' && optopt != 0 && optopt < 1000)
            return args_complain(v->name, "no such option: -%c", optopt);
        if (code == '?')
            return args_complain(v->name, "no such option: %s", argv[optind - 1]);
        for (int i = 0; i < v->n_option && o == NULL; i++)
            if (code == 1000 + i || v->option[i].name[1] == code)
                o = &v->option[i];
        if (!store(v, o, optarg))
            return EXIT_USAGE;
    }
    *n_word = argc - optind;
    if (*n_word < v->min_words)
        return args_complain(v->name, "%s wants %s", v->name, v->usage);
    if (*n_word > v->max_words)
        return args_complain(v->name, "unexpected \"%s\"", argv[optind + v->max_words]);
    for (int i = 0; i < *n_word; i++)
        word[i] = argv[optind + i];
    return -1;
}

static int by_value(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

bool args_numbers(const char *text, int32_t **list, int64_t *n)
{
    int64_t cap = 0, kept = 0;
    *list = NULL;
    *n = 0;
    for (const char *at = text;;) {
        char *end;
        long from = strtol(at, &end, 10), to = from;
        if (end == at || from < 0)
            break;
        if (*end == '-') {
            at = end + 1;
            to = strtol(at, &end, 10);
            if (end == at)
                break;
        }
        if (to < from || to > 1 << 20 || (*end != ',' && *end != '\0'))
            break;
        if (*n + to - from + 1 > cap) {
            cap = 2 * cap + to - from + 1;
            int32_t *more = out_need((size_t)cap * sizeof *more);
            memcpy(more, *list != NULL ? *list : more, (size_t)*n * sizeof *more);
            free(*list);
            *list = more;
        }
        for (long x = from; x <= to; x++)
            (*list)[(*n)++] = (int32_t)x;
        if (*end == '\0') {
            qsort(*list, (size_t)*n, sizeof **list, by_value);
            for (int64_t i = 0; i < *n; i++)
                if (i == 0 || (*list)[i] != (*list)[i - 1])
                    (*list)[kept++] = (*list)[i];
            *n = kept;
            return true;
        }
        at = end + 1;
    }
    free(*list);
    *list = NULL;
    *n = 0;
    return false;
}

bool args_span(const char *text, int64_t n, int64_t *begin, int64_t *end)
{
    char *rest;
    const char *colon = strchr(text, ':');
    *begin = 0;
    *end = n;
    if (colon != text) {
        *begin = strtoll(text, &rest, 10);
        if (rest == text || (*rest != ':' && *rest != '\0'))
            return false;
        *begin += *begin < 0 ? n : 0;
    }
    if (colon == NULL) {
        *end = *begin < n ? *begin + 1 : n;
    } else if (colon[1] != '\0') {
        *end = strtoll(colon + 1, &rest, 10);
        if (*rest != '\0')
            return false;
        *end += *end < 0 ? n : 0;
    }
    if (*begin < 0)
        *begin = 0;
    if (*end > n)
        *end = n;
    return *begin < *end;
}
