/* SPDX-License-Identifier: MIT
 *
 * proof_out.h — a proof as a table, and as a JSON object without a newline.
 */
#ifndef CLI_PROOF_OUT_H
#define CLI_PROOF_OUT_H

#include "sparsetrace/engine.h"

void proof_table(const st_model *model, const st_proof *proof);
const char *proof_verdict(const st_proof *proof);
void proof_json(const st_model *model, const st_proof *proof);

#endif
