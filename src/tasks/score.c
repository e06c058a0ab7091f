/* SPDX-License-Identifier: MIT
 *
 * score.c — RULER's two string matches (its scripts/eval: postprocess_pred, string_match_all,
 * string_match_part), without copying the answer.
 */
#include <string.h>

#include "sparsetrace/tasks.h"

/* What strip() takes off both ends, control characters being line ends by then. */
static bool is_space(char c)
{
    return c > 0 && c <= ' ';
}

/* A byte of the answer as it is compared. */
static char answer_byte(char c)
{
    if (c > 0 && c < ' ')
        return '\n';
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static char output_byte(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool starts_with(const char *text, const char *end, const char *output)
{
    for (; *output != '\0'; text++, output++)
        if (text == end || answer_byte(*text) != output_byte(*output))
            return false;
    return true;
}

static bool contains(const char *text, const char *end, const char *output)
{
    for (; text <= end; text++)
        if (starts_with(text, end, output))
            return true;
    return false;
}

static int64_t n_found(const char *text, const char *const *output, int64_t n_output)
{
    const char *end;
    int64_t n = 0;
    while (is_space(*text))
        text++;
    end = text + strlen(text);
    while (end > text && is_space(end[-1]))
        end--;
    for (int64_t i = 0; i < n_output; i++)
        n += contains(text, end, output[i]);
    return n;
}

double st_score_all(const char *text, const char *const *output, int64_t n_output)
{
    return (double)n_found(text, output, n_output) / (double)n_output;
}

double st_score_part(const char *text, const char *const *output, int64_t n_output)
{
    return n_found(text, output, n_output) > 0 ? 1.0 : 0.0;
}

double st_task_score(const st_task_sample *s, const char *text)
{
    const char *const *output = (const char *const *)s->output;
    return s->any ? st_score_part(text, output, s->n_output)
                  : st_score_all(text, output, s->n_output);
}
