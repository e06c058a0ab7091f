/* SPDX-License-Identifier: MIT
 *
 * prompt_args.c — a prompt from a file, the command line, or as token ids.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"
#include "prompt_args.h"

int prompt_args_check(const prompt_args *a, const char *verb)
{
    if (a->model == NULL)
        return args_complain(verb, "which model? -m MODEL");
    if ((a->file != NULL) + (a->text != NULL) + (a->tokens != NULL) + (a->data != NULL) != 1)
        return args_complain(verb,
                             "one prompt, please: -f FILE, -p TEXT, --tokens FILE or --data FILE");
    if (a->data == NULL && a->line > 0)
        return args_complain(verb, "--line goes with --data FILE");
    if (a->tokens != NULL && (a->chat || a->answer != NULL))
        return args_complain(verb, "--tokens are used as they are: no --chat, no --answer");
    return -1;
}

static char *grown(char *buf, size_t used, size_t size)
{
    char *more = out_need(size);
    if (used > 0)
        memcpy(more, buf, used);
    free(buf);
    return more;
}

/* The whole file into memory (free()). */
static char *read_file(const char *path, int64_t *n, st_error *err)
{
    FILE *f = fopen(path, "rb");
    char *buf = NULL;
    int64_t cap = 0;
    *n = 0;
    for (size_t got = 1; f != NULL && got > 0; *n += (int64_t)got) {
        if (cap - *n < 65536) {
            cap = 2 * cap + 65536;
            buf = grown(buf, (size_t)*n, (size_t)cap);
        }
        got = fread(buf + *n, 1, (size_t)(cap - *n), f);
    }
    if (f == NULL || ferror(f)) {
        *err = (st_error){.status = ST_ERR_IO, .position = -1};
        snprintf(err->message, sizeof err->message, "cannot read %s: %s", path, strerror(errno));
        free(buf);
        buf = NULL;
    }
    if (f != NULL)
        fclose(f);
    return buf;
}

/* The line of --data that is wanted, once. */
static st_status read_sample(prompt_args *a, st_error *err)
{
    st_task_reader *reader;
    st_status status = ST_OK;
    if (a->sample != NULL)
        return ST_OK;
    if (st_task_reader_open(a->data, &reader, err) != ST_OK)
        return err->status;
    do {
        st_task_sample_free(a->sample);
        status = st_task_reader_next(reader, &a->sample, err);
    } while (status == ST_OK && a->sample != NULL && a->line > 0 && a->sample->index < a->line);
    st_task_reader_free(reader);
    if (status == ST_OK && (a->sample == NULL || (a->line > 0 && a->sample->index != a->line))) {
        *err = (st_error){.status = ST_ERR_ARG, .position = a->line};
        snprintf(err->message, sizeof err->message, "%.300s has no sample in line %lld", a->data,
                 (long long)(a->line > 0 ? a->line : 1));
        status = ST_ERR_ARG;
    }
    return status;
}

char *prompt_args_text(prompt_args *a, int64_t *n, st_error *err)
{
    const char *text = a->text != NULL ? a->text : "";
    char *copy;
    if (a->file != NULL)
        return read_file(a->file, n, err);
    if (a->data != NULL && read_sample(a, err) != ST_OK)
        return NULL;
    if (a->data != NULL)
        text = a->sample->input;
    *n = (int64_t)strlen(text);
    copy = out_need((size_t)*n + 1);
    memcpy(copy, text, (size_t)*n);
    return copy;
}

char *prompt_args_spans(const prompt_args *a, const st_model *model, const int32_t *token,
                        int64_t n_tok)
{
    const st_task_sample *s = a->sample;
    int64_t n = s != NULL ? s->n_evidence : 0, found = 0;
    char *json = out_need((size_t)n * 96 + 8), *at = json + sprintf(json, "{");
    for (int64_t i = 0; i < n; i++) {
        int64_t begin, end;
        if (!st_model_locate(model, token, n_tok, s->input + s->evidence[i].begin,
                             s->evidence[i].end - s->evidence[i].begin, &begin, &end))
            continue;
        found++;
        at += sprintf(at, found > 1 ? ",\"needle%lld\":" : "\"needle\":", (long long)found);
        at += sprintf(at, "[%lld,%lld]", (long long)begin, (long long)end);
    }
    strcpy(at, "}");
    if (found > 0)
        return json;
    free(json);
    return NULL;
}

void prompt_args_free(prompt_args *a)
{
    st_task_sample_free(a->sample);
    a->sample = NULL;
}

/* text + what the answer begins with: the sample's, then the option's (free()) */
static char *with_answer(const char *text, int64_t *n, const prompt_args *a)
{
    const char *prefix = a->sample != NULL ? a->sample->answer_prefix : "";
    const char *answer = a->answer != NULL ? a->answer : "";
    size_t n_prefix = strlen(prefix), n_answer = strlen(answer);
    char *all = out_need((size_t)*n + n_prefix + n_answer + 1);
    memcpy(all, text, (size_t)*n);
    memcpy(all + *n, prefix, n_prefix);
    memcpy(all + *n + (int64_t)n_prefix, answer, n_answer);
    *n += (int64_t)(n_prefix + n_answer);
    return all;
}

/* Before the template and the answer move its bytes: the place is one in `whose` text. */
static st_status check_text(const char *text, int64_t n, const char *whose, st_error *err)
{
    int64_t at = out_unsound(text, n), line = 1;
    if (at == n)
        return ST_OK;
    for (int64_t i = 0; i < at; i++)
        line += text[i] == '\n';
    *err = (st_error){.status = ST_ERR_FORMAT, .position = at};
    snprintf(err->message, sizeof err->message,
             "the text of %.300s is not UTF-8: bad byte 0x%02x at offset %lld (line %lld)", whose,
             (unsigned char)text[at], (long long)at, (long long)line);
    return ST_ERR_FORMAT;
}

static st_status check_texts(const prompt_args *a, const char *text, int64_t n, st_error *err)
{
    const char *whose = a->file != NULL ? a->file : a->data != NULL ? a->data : "-p";
    st_status status = check_text(text, n, whose, err);
    if (status == ST_OK && a->answer != NULL)
        status = check_text(a->answer, (int64_t)strlen(a->answer), "--answer", err);
    return status;
}

static st_status tokens_of_text(prompt_args *a, const st_model *model, int32_t **token,
                                int64_t *n_tok, st_error *err)
{
    int64_t n;
    char *text = prompt_args_text(a, &n, err), *chat = NULL, *all;
    st_status status = text != NULL ? check_texts(a, text, n, err) : err->status;
    if (status == ST_OK && a->chat)
        status = st_model_chat(model, text, n, &chat, &n, err);
    if (status == ST_OK) {
        all = with_answer(chat != NULL ? chat : text, &n, a);
        status = st_model_tokenize(model, all, n, true, token, n_tok, err);
        free(all);
    }
    st_text_free(chat);
    free(text);
    return status;
}

st_status prompt_args_read(prompt_args *a, const st_model *model, int32_t **token, int64_t *n_tok,
                           st_error *err)
{
    return a->tokens != NULL ? st_model_read_tokens(model, a->tokens, token, n_tok, err)
                             : tokens_of_text(a, model, token, n_tok, err);
}
