/* SPDX-License-Identifier: MIT
 *
 * args.h — a verb's options as a table: parsing, checking and the help text come from it.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stdint.h>

/* Exit codes of the program. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CHANGED = 3 };

typedef enum arg_kind {
    ARG_FLAG, /* bool *: set to true */
    ARG_INT,  /* int64_t *, within min..max */
    ARG_REAL, /* double *, within min..max */
    ARG_TEXT  /* const char ** */
} arg_kind;

typedef struct arg_option {
    const char *name;  /* "--name", or "-n" for a short option */
    const char *value; /* name of the value in the help, NULL for a flag */
    arg_kind kind;
    void *to;
    double min, max; /* ARG_INT, ARG_REAL; both 0: any */
    const char *help;
} arg_option;

typedef struct arg_verb {
    const char *name, *usage, *about; /* usage: what follows "sparsetrace NAME" */
    const arg_option *option;
    int n_option;
    int min_words, max_words; /* words that are not options */
} arg_verb;

/* Parses argv[1..] (argv[0] is the verb). Words go to word[0..*n_word). Returns -1 to go on, else
 * the exit code: EXIT_OK after --help, EXIT_USAGE after a complaint. */
int args_parse(const arg_verb *verb, int argc, char **argv, const char **word, int *n_word);

/* A complaint about wrong usage; returns EXIT_USAGE. */
int args_complain(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "0,3,5-9" into a sorted list without repeats (free()); false if it is anything else. */
bool args_numbers(const char *text, int32_t **list, int64_t *n);

/* "A:B", ":B", "A:" or "A" (one row); negative counts from the end of n. False if malformed or
 * empty. */
bool args_span(const char *text, int64_t n, int64_t *begin, int64_t *end);

#endif
