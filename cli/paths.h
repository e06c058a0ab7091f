/* SPDX-License-Identifier: MIT
 *
 * paths.h — files that a verb writes: never one that it reads, and known to be possible before a
 * long job.
 */
#ifndef CLI_PATHS_H
#define CLI_PATHS_H

#include <stdbool.h>
#include <stdio.h>

#define PATHS_MAX 4096

/* A complaint (EXIT_USAGE) if `out`, or `out`.tmp, as which it is written until it is whole, is one
 * of the n files `in` that the verb reads, by whatever name; -1 to go on. NULL is no file; devices
 * and pipes may be read and written. */
int paths_apart(const char *verb, const char *option, const char *out, const char *const *in,
                int n);
#define PATHS_APART(verb, option, out, ...)                                                        \
    paths_apart(verb, option, out, (const char *const[]){__VA_ARGS__},                             \
                (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

/* A message (EXIT_FAILED) if no file can be written there; -1 to go on. NULL: none is wanted. */
int paths_writable(const char *out);

/* A file that is written beside itself, so that what stood there stays until the new one is whole;
 * a device, a pipe or standard output is written to as it is. paths_close with good = false leaves
 * what was there. NULL, false: errno. */
FILE *paths_create(const char *path, char beside[PATHS_MAX]);
bool paths_close(FILE *f, const char *path, const char *beside, bool good);

#endif
