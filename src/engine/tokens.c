/* SPDX-License-Identifier: MIT
 *
 * tokens.c — text to tokens and back, the chat template, and files of token ids.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/engine_int.h"

extern char **environ;

void st_tokens_free(int32_t *token)
{
    sti_free(token);
}

void st_text_free(char *text)
{
    sti_free(text);
}

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

int sti_utf8_length(const char *text, int64_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    int len = s[0] < 0x80   ? 1
              : s[0] < 0xc2 ? 0
              : s[0] < 0xe0 ? 2
              : s[0] < 0xf0 ? 3
              : s[0] < 0xf5 ? 4
                            : 0;
    if (len == 0 || len > n)
        return 0;
    for (int i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

static st_status check_utf8(const char *text, int64_t n, st_error *err)
{
    int64_t line = 1;
    for (int64_t i = 0; i < n;) {
        int len = sti_utf8_length(text + i, n - i);
        if (len == 0)
            return sti_fail(err, ST_ERR_FORMAT, i,
                            "the text is not UTF-8: bad byte 0x%02x at offset %lld (line %lld)",
                            (unsigned char)text[i], (long long)i, (long long)line);
        line += text[i] == '\n';
        i += len;
    }
    return ST_OK;
}

/* ---- ids ------------------------------------------------------------------------------------- */

st_status sti_check_tokens(const st_model *m, const int32_t *token, int64_t n_tok, st_error *err)
{
    for (int64_t i = 0; i < n_tok; i++)
        if (token[i] < 0 || token[i] >= m->info.n_vocab)
            return sti_fail(err, ST_ERR_ARG, i, "token %lld is %d, the model has ids 0..%d",
                            (long long)i, token[i], m->info.n_vocab - 1);
    return ST_OK;
}

/* A GGUF may come without a vocabulary; libllama would end the process if asked for one. */
static bool has_text(const st_model *m)
{
    return llama_vocab_type(m->vocab) != LLAMA_VOCAB_TYPE_NONE;
}

/* ---- tokenizing ------------------------------------------------------------------------------ */

st_status st_model_tokenize(const st_model *m, const char *text, int64_t n_bytes, bool special,
                            int32_t **token, int64_t *n_tok, st_error *err)
{
    int32_t n, room;
    *token = NULL;
    STI_TRY(check_utf8(text, n_bytes, err));
    if (!has_text(m))
        return sti_fail(err, ST_ERR_MODEL, -1, "%s has no vocabulary: give token ids",
                        m->info.name);
    if (n_bytes > INT32_MAX / 2)
        return sti_fail(err, ST_ERR_LIMIT, -1, "the text has %lld bytes, at most %d are read",
                        (long long)n_bytes, INT32_MAX / 2);
    room = (int32_t)n_bytes + 16; /* a token is at least a byte, plus the special ones around */
    *token = sti_alloc((size_t)room * sizeof **token);
    if (*token == NULL)
        return sti_fail_mem(err, (size_t)room * sizeof **token);
    n = llama_tokenize(m->vocab, text, (int32_t)n_bytes, *token, room, special, special);
    if (n <= 0) {
        sti_free(*token);
        *token = NULL;
        return n == 0 ? sti_fail(err, ST_ERR_ARG, -1, "the prompt has no tokens")
                      : sti_fail(err, ST_ERR_MODEL, -1, "libllama cannot tokenize the text: %s",
                                 sti_llama_error("no reason given"));
    }
    *n_tok = n;
    return ST_OK;
}

st_status st_model_chat(const st_model *m, const char *text, int64_t n_bytes, char **chat,
                        int64_t *n_chat, st_error *err)
{
    const char *tmpl = llama_model_chat_template(m->llama, NULL);
    struct llama_chat_message message = {.role = "user"};
    char *copy, *out;
    int32_t n;
    *chat = NULL;
    if (tmpl == NULL)
        return sti_fail(err, ST_ERR_MODEL, -1, "%s has no chat template: run without --chat",
                        m->info.name);
    if (memchr(text, '\0', (size_t)n_bytes) != NULL)
        return sti_fail(err, ST_ERR_FORMAT,
                        (const char *)memchr(text, '\0', (size_t)n_bytes) - text,
                        "the text has a NUL byte, which a chat message cannot carry");
    copy = sti_alloc((size_t)n_bytes + 1);
    if (copy == NULL)
        return sti_fail_mem(err, (size_t)n_bytes + 1);
    memcpy(copy, text, (size_t)n_bytes);
    copy[n_bytes] = '\0';
    message.content = copy;
    n = llama_chat_apply_template(tmpl, &message, 1, true, NULL, 0);
    out = n >= 0 ? sti_alloc((size_t)n + 1) : NULL;
    if (out != NULL)
        llama_chat_apply_template(tmpl, &message, 1, true, out, n + 1);
    sti_free(copy);
    if (n < 0)
        return sti_fail(err, ST_ERR_MODEL, -1, "libllama does not know the chat template of %s",
                        m->info.name);
    if (out == NULL)
        return sti_fail_mem(err, (size_t)n + 1);
    out[n] = '\0';
    *chat = out;
    *n_chat = n;
    return ST_OK;
}

int st_model_piece(const st_model *m, int32_t token, char *buf, int size)
{
    int32_t n;
    if (token < 0 || token >= m->info.n_vocab || !has_text(m))
        return 0;
    n = llama_token_to_piece(m->vocab, token, buf, size, 0, true);
    return n < 0 ? -n : n;
}

/* ---- files of ids ---------------------------------------------------------------------------- */

/* A stream to read from, and for .gz the gzip that writes into it. */
struct source {
    FILE *file;
    pid_t gzip; /* 0: none */
};

static st_status open_gzip(const char *path, struct source *s, st_error *err)
{
    char *argv[] = {"gzip", "-dc", "--", (char *)path, NULL};
    posix_spawn_file_actions_t fa;
    int fd[2], failed;
    if (pipe(fd) != 0)
        return sti_fail_io(err, "open a pipe for", path);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, fd[1], 1);
    posix_spawn_file_actions_addclose(&fa, fd[0]);
    posix_spawn_file_actions_addclose(&fa, fd[1]);
    failed = posix_spawnp(&s->gzip, "gzip", &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    close(fd[1]);
    if (failed != 0) {
        close(fd[0]);
        s->gzip = 0;
        return sti_fail(err, ST_ERR_IO, -1, "cannot read %s: gzip does not start: %s", path,
                        strerror(failed));
    }
    s->file = fdopen(fd[0], "r");
    return s->file != NULL ? ST_OK : sti_fail_io(err, "read", path);
}

static st_status open_source(const char *path, struct source *s, st_error *err)
{
    size_t n = strlen(path);
    *s = (struct source){0};
    if (access(path, R_OK) != 0)
        return sti_fail_io(err, "read", path);
    if (n > 3 && strcmp(path + n - 3, ".gz") == 0)
        return open_gzip(path, s, err);
    s->file = fopen(path, "r");
    return s->file != NULL ? ST_OK : sti_fail_io(err, "read", path);
}

/* ok: everything was read. */
static st_status close_source(struct source *s, const char *path, bool ok, st_error *err)
{
    int wait_status = 0;
    bool bad = s->file == NULL || ferror(s->file);
    if (s->file != NULL)
        fclose(s->file);
    if (s->gzip != 0)
        waitpid(s->gzip, &wait_status, 0);
    if (ok && (bad || wait_status != 0))
        return sti_fail(err, ST_ERR_IO, -1, "cannot read %s%s", path,
                        s->gzip != 0 ? ": gzip reports damaged data" : "");
    return ST_OK;
}

/* One line: 1 an id, 0 nothing on it, -1 not an id. */
static int parse_line(const char *line, int n_vocab, int32_t *id)
{
    char *end;
    long v;
    line += strspn(line, " \t\r\n");
    if (*line == '\0' || *line == '#')
        return 0;
    errno = 0;
    v = strtol(line, &end, 10);
    end += strspn(end, " \t\r\n");
    if (errno != 0 || *end != '\0' || v < 0 || v >= n_vocab)
        return -1;
    *id = (int32_t)v;
    return 1;
}

static st_status read_ids(FILE *f, const char *path, int n_vocab, int32_t **token, int64_t *n_tok,
                          st_error *err)
{
    char *line = NULL;
    size_t size = 0;
    int64_t cap = 0, n_line = 0;
    st_status status = ST_OK;
    while (status == ST_OK && getline(&line, &size, f) >= 0) {
        int32_t id;
        int kind = parse_line(line, n_vocab, &id);
        n_line++;
        line[strcspn(line, "\r\n")] = '\0';
        if (kind < 0)
            status = sti_fail(err, ST_ERR_FORMAT, n_line,
                              "%s, line %lld: \"%.40s\" is not a token id below %d", path,
                              (long long)n_line, line, n_vocab);
        else if (kind > 0 && !sti_grow((void **)token, &cap, *n_tok + 1, sizeof **token))
            status = sti_fail_mem(err, (size_t)(*n_tok + 1) * sizeof **token);
        else if (kind > 0)
            (*token)[(*n_tok)++] = id;
    }
    free(line);
    return status;
}

st_status st_model_read_tokens(const st_model *m, const char *path, int32_t **token, int64_t *n_tok,
                               st_error *err)
{
    struct source s;
    st_status status, closed;
    *token = NULL;
    *n_tok = 0;
    STI_TRY(open_source(path, &s, err));
    status = read_ids(s.file, path, m->info.n_vocab, token, n_tok, err);
    closed = close_source(&s, path, status == ST_OK, err);
    if (status == ST_OK)
        status = closed;
    if (status == ST_OK && *n_tok == 0)
        status = sti_fail(err, ST_ERR_FORMAT, -1, "%s holds no token ids", path);
    if (status != ST_OK) {
        sti_free(*token);
        *token = NULL;
    }
    return status;
}
