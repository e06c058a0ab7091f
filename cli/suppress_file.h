/* SPDX-License-Identifier: MIT
 *
 * suppress_file.h — the file of a suppression job: the finished matrix, and on the way there what
 * there is of it.
 */
#ifndef CLI_SUPPRESS_FILE_H
#define CLI_SUPPRESS_FILE_H

#include "sparsetrace/engine.h"
#include "sparsetrace/tensors.h"

typedef struct suppress_job {
    const char *recipe; /* JSON: the model and the settings */
    int64_t n, n_tok;
    const int32_t *token; /* [n_tok] */
    const st_group *byte; /* [n] the sentences' bytes of the text */
    const st_group *span; /* [n] their tokens */
    float *effect;        /* [n, n] as st_suppress gives it */
    bool *have;           /* [n] columns that are there */
} suppress_job;

/* Writes what there is: docs/man/sparsetrace-suppress.1.md lists the tensors. */
st_status suppress_file_write(const suppress_job *j, const char *path, st_error *err);

/* Takes effect and have from the file of an earlier job. ST_ERR_ARG: it was another job (the
 * message says what differs); ST_ERR_FORMAT: no such file. */
st_status suppress_file_read(suppress_job *j, const char *path, st_error *err);

#endif
