/* SPDX-License-Identifier: MIT
 *
 * prompt_args.h — the options that say which model reads what.
 */
#ifndef CLI_PROMPT_ARGS_H
#define CLI_PROMPT_ARGS_H

#include "args.h"
#include "sparsetrace/engine.h"
#include "sparsetrace/tasks.h"

typedef struct prompt_args {
    const char *model, *file, *text, *tokens, *answer, *data;
    int64_t line; /* of data, from 1; 0: the first sample */
    bool chat;
    st_task_sample *sample; /* once it was read (prompt_args_free) */
} prompt_args;

/* clang-format off */
#define PROMPT_OPTIONS(a)                                                                          \
    {"-m", "MODEL", ARG_TEXT, &(a)->model, 0, 0, "GGUF file"},                                     \
    {"-f", "FILE", ARG_TEXT, &(a)->file, 0, 0, "prompt from a file of UTF-8 text"},                \
    {"-p", "TEXT", ARG_TEXT, &(a)->text, 0, 0, "prompt as it stands here"},                        \
    {"--tokens", "FILE", ARG_TEXT, &(a)->tokens, 0, 0,                                             \
     "prompt as token ids, one a line (.gz too), used as they are"},                               \
    {"--data", "FILE", ARG_TEXT, &(a)->data, 0, 0,                                                 \
     "prompt from task data (JSONL, as sparsetrace ruler --write-data makes it): input, then\n"    \
     "answer_prefix; where the answer stands becomes the trace's spans @needle, @needle2, ..."},   \
    {"--line", "N", ARG_INT, &(a)->line, 1, INT64_MAX, "line of --data (the first sample's)"},     \
    {"--chat", NULL, ARG_FLAG, &(a)->chat, 0, 0,                                                   \
     "put the prompt into the model's chat template as a user's message"},                         \
    {"--answer", "TEXT", ARG_TEXT, &(a)->answer, 0, 0,                                             \
     "what the assistant's answer begins with (put after the prompt and --data's answer_prefix)"}
/* clang-format on */

/* -1 to go on, else the exit code after a complaint. */
int prompt_args_check(const prompt_args *a, const char *verb);

/* The prompt's text as it was given, without template and answer, [*n] bytes (free()); empty for
 * tokens. NULL with *err: it cannot be read. */
char *prompt_args_text(prompt_args *a, int64_t *n, st_error *err);

/* The prompt's tokens: the caller's (st_tokens_free). */
st_status prompt_args_read(prompt_args *a, const st_model *model, int32_t **token, int64_t *n_tok,
                           st_error *err);

/* {"needle": [begin, end], "needle2": ...} for --data whose evidence is found among the tokens
 * (free()); NULL: none. */
char *prompt_args_spans(const prompt_args *a, const st_model *model, const int32_t *token,
                        int64_t n_tok);
void prompt_args_free(prompt_args *a);

#endif
