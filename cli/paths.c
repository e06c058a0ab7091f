/* SPDX-License-Identifier: MIT
 *
 * paths.c — which file a path means, and files that appear as a whole.
 */
#include "paths.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"

/* The folder of a path, resolved, into dir [PATH_MAX]; gives the name in it. NULL: no such
 * folder. */
static const char *split(const char *path, char *dir)
{
    char cut[PATHS_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (n >= sizeof cut) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(cut, path, n);
    cut[n] = '\0';
    return realpath(n > 0 ? cut : ".", dir) != NULL ? (slash != NULL ? slash + 1 : path) : NULL;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    char dir_a[PATH_MAX], dir_b[PATH_MAX];
    const char *name_a, *name_b;
    bool is_a = stat(a, &x) == 0, is_b = stat(b, &y) == 0;
    if (is_a && is_b)
        return S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
    if (is_a != is_b)
        return false;
    name_a = split(a, dir_a);
    name_b = split(b, dir_b);
    return name_a != NULL && name_b != NULL && strcmp(name_a, name_b) == 0 &&
           strcmp(dir_a, dir_b) == 0;
}

int paths_apart(const char *verb, const char *option, const char *out, const char *const *in,
                int n)
{
    char beside[PATHS_MAX]; /* what it is written as until it is whole */
    bool fits = out != NULL && snprintf(beside, sizeof beside, "%s.tmp", out) < PATHS_MAX;
    for (int i = 0; out != NULL && i < n; i++)
        if (in[i] != NULL && (same_file(out, in[i]) || (fits && same_file(beside, in[i]))))
            return args_complain(verb, "%s would write over %s, which it needs", option, in[i]);
    return -1;
}

int paths_writable(const char *out)
{
    struct stat there;
    char dir[PATH_MAX];
    bool is = out != NULL && stat(out, &there) == 0;
    if (out == NULL || (is && !S_ISREG(there.st_mode) && !S_ISDIR(there.st_mode)))
        return -1;
    if (is && S_ISDIR(there.st_mode))
        errno = EISDIR;
    else if (split(out, dir) != NULL && access(dir, W_OK | X_OK) == 0)
        return -1;
    fprintf(stderr, "sparsetrace: cannot write %s: %s\n", out, strerror(errno));
    return EXIT_FAILED;
}

/* Not a file to be replaced: a device, a pipe, or what /dev/stdout stands for, whose link a rename
 * would destroy. */
static bool is_special(const char *path)
{
    struct stat there, open;
    if (stat(path, &there) != 0)
        return false;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &open) == 0 && open.st_dev == there.st_dev && open.st_ino == there.st_ino)
            return true;
    return !S_ISREG(there.st_mode);
}

FILE *paths_create(const char *path, char beside[PATHS_MAX])
{
    bool special = is_special(path);
    if (snprintf(beside, PATHS_MAX, special ? "%s" : "%s.tmp", path) >= PATHS_MAX) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    if (!special)
        remove(beside); /* then made new: never through a link that lies there */
    return fopen(beside, special ? "ab" : "wbx");
}

bool paths_close(FILE *f, const char *path, const char *beside, bool good)
{
    bool special = strcmp(path, beside) == 0, whole = !ferror(f);
    int why;
    whole = fclose(f) == 0 && whole;
    if (special || (good && whole && rename(beside, path) == 0))
        return whole;
    why = errno;
    remove(beside);
    errno = why;
    return !good && whole;
}
