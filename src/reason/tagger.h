/* SPDX-License-Identifier: MIT
 *
 * tagger.h — an open tagger file. docs/method/reasoning.md says what its tensors mean.
 */
#ifndef STI_TAGGER_H
#define STI_TAGGER_H

#include "sparsetrace/reason.h"
#include "sparsetrace/tensors.h"

#define STI_TAGS_MAX 64
#define STI_N_MEASURE 5 /* of quality.c, that the score weighs */

struct st_tagger {
    st_tensors *file; /* the pointers below point into it */
    int n_tag;
    char *name[STI_TAGS_MAX]; /* ours */
    const uint32_t *key;      /* [n_key] rising: the high halves of the known features' hashes */
    const int8_t *weight;     /* [n_key, n_tag] */
    int64_t n_key;
    const float *scale; /* [n_tag] */
    const float *start, *step;
    int64_t n_hidden; /* 0: none, and the next three NULL */
    const float *hidden_weight, *hidden_mean, *hidden_scale;
    const float *phase_start, *phase_step, *phase_tag, *tag_prior;     /* NULL: no phases */
    const float *score_mean, *score_scale, *score_weight, *score_bias; /* NULL: no score */
};

/* tagger_data.c and its like, which the build makes from the .safetensors files. */
extern const unsigned char sti_tagger_data[];
extern const unsigned long sti_tagger_data_bytes;
extern const unsigned char sti_tagger_smollm2_135m_data[];
extern const unsigned long sti_tagger_smollm2_135m_data_bytes;

#endif
