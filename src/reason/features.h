/* SPDX-License-Identifier: MIT
 *
 * features.h — hashed features of sentences; tools/reason/text_features.py is the same in Python,
 * docs/method/reasoning.md the definition.
 */
#ifndef STI_FEATURES_H
#define STI_FEATURES_H

#include "reason/hashes.h"
#include "sparsetrace/attn.h"

/* A normalised sentence and its words, which point into `norm`. */
typedef struct sti_words {
    char *norm; /* ours, with a space before and after; NULL: there is no such sentence */
    int64_t n_norm, n;
    struct {
        int32_t at, len;
    } *word;
} sti_words;

typedef struct sti_feature {
    uint64_t hash;
    float value;
} sti_feature;

/* The sentences of a trace one after the other; neighbours are normalised when they come near. */
typedef struct sti_features {
    const char *text;
    const st_group *sentence;
    int64_t n;
    sti_words near_by[5];          /* sentences i - 2 .. i + 2 */
    sti_hash_set numbers, triples; /* of the sentences before i */
    sti_feature *feature;          /* of sentence i: each name once */
    int64_t n_feature, cap;
    double said_before; /* share of sentence i's word triples that came earlier; -1: it has none */
    int64_t n_number, n_new_number; /* numbers in sentence i, and how many of them are new */
} sti_features;

/* st_status as the library's calls: only ST_ERR_MEM. Begin, then sentences 0 .. n - 1, then free,
 * which is fine after any failure. */
st_status sti_features_begin(sti_features *f, const char *text, const st_group *sentence, int64_t n,
                             st_error *err);
st_status sti_features_next(sti_features *f, int64_t i, st_error *err);
void sti_features_free(sti_features *f);

/* One sentence's numbers and word triples alone, for measures that need no features. */
st_status sti_features_read(sti_features *f, int64_t i, st_error *err);

#endif
