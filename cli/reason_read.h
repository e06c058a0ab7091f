/* SPDX-License-Identifier: MIT
 *
 * reason_read.h — reading one chain of thought from its text to its quality.
 */
#ifndef CLI_REASON_READ_H
#define CLI_REASON_READ_H

#include "reason_out.h"

/* What all traces of a job are read with. */
typedef struct reason_reader {
    st_split_params split;
    const st_texts *given; /* the sentences are those its line lists; NULL: they are split */
    st_tagger *tagger;
    const char *tagger_name;
    st_tag_file *tags; /* NULL: the tagger tags */
    const char *tags_path;
    reason_model model;
} reason_reader;

/* The rest of *r, which has id, text, part, line and n_replaced; `at`: the trace's number, for tags
 * from a file. keep: where its trace goes; NULL: nowhere. Free with reason_free, on failure too. */
st_status reason_read(reason_reader *x, int64_t at, const char *keep, reading *r, st_error *err);
void reason_free(reading *r);

#endif
