/* SPDX-License-Identifier: MIT
 *
 * output_gram.h — W_O' W_O of every head, from the model's file.
 */
#ifndef STI_OUTPUT_GRAM_H
#define STI_OUTPUT_GRAM_H

#include "engine/engine_int.h"

typedef struct sti_output_grams {
    st_output_gram *layer; /* [n] by layer */
    int64_t n;
} sti_output_grams;

/* libllama gives no way to a loaded tensor, so the file that runs is read again. d_v is taken to be
 * the same in all heads. Errors: ST_ERR_MODEL (a layer has no attn_output: another architecture, or
 * a file in several parts), ST_ERR_FORMAT, ST_ERR_IO, ST_ERR_MEM; nothing is left to free then. */
st_status sti_output_grams_read(const st_model *model, sti_output_grams *grams, st_error *err);
void sti_output_grams_free(sti_output_grams *grams);

#endif
