/* SPDX-License-Identifier: MIT
 *
 * settings.h — the configuration and counters of the process, shared by all contexts.
 */
#ifndef STI_SETTINGS_H
#define STI_SETTINGS_H

#include "sparsetrace/ggml.h"

typedef struct sti_settings {
    st_ggml_params p;
    st_sink sink; /* .chunk NULL: none */
} sti_settings;

/* A copy of what holds now. */
sti_settings sti_settings_get(void);

/* Counters are added to by the thread that runs a graph. */
void sti_stats_add(const st_ggml_stats *delta);
void sti_stats_keys_bytes(int64_t delta);
void sti_note_error(const st_error *err);
void sti_note_heads(int layer, int n_head);

int64_t sti_now_ns(void); /* monotonic */

#endif
