/* SPDX-License-Identifier: MIT
 *
 * error.c — status names, filling in errors, version.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/util.h"

#ifndef ST_VERSION
#error "the build defines ST_VERSION from the file VERSION"
#endif

const char *st_status_name(st_status status)
{
    static const char *const name[] = {"ok",     "argument", "memory", "io",
                                       "format", "limit",    "model",  "cancelled"};
    if ((unsigned)status >= sizeof name / sizeof *name)
        return "unknown";
    return name[status];
}

const char *st_version(void)
{
    return ST_VERSION;
}

st_status sti_fail(st_error *err, st_status status, int64_t position, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;
        err->status = status;
        err->position = position;
        va_start(ap, fmt);
        vsnprintf(err->message, sizeof err->message, fmt, ap);
        va_end(ap);
    }
    return status;
}

st_status sti_fail_mem(st_error *err, size_t bytes)
{
    return sti_fail(err, ST_ERR_MEM, -1, "out of memory: %zu bytes were wanted", bytes);
}

st_status sti_fail_io(st_error *err, const char *what, const char *path)
{
    return sti_fail(err, ST_ERR_IO, -1, "cannot %s %s: %s", what, path, strerror(errno));
}
