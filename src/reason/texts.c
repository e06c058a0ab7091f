/* SPDX-License-Identifier: MIT
 *
 * texts.c — reading texts: a file as it is, or a field of each line of JSONL. A broken line costs
 * itself and nothing else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <yyjson.h>

#include "base/util.h"
#include "reason/given.h"
#include "reason/lines.h"
#include "sparsetrace/reason.h"

struct st_texts {
    sti_lines lines;
    bool jsonl, done;
    char *field; /* ours, or NULL */
    yyjson_doc *doc;
    char *joined; /* ours: the text of a line with messages */
};

/* ---- a line's text --------------------------------------------------------------------------- */

static const char *const usual_field[] = {"full_text", "text", "solution", "content"};

static yyjson_val *find_field(const st_texts *t, yyjson_val *root)
{
    yyjson_val *v = NULL;
    if (t->field != NULL)
        return yyjson_obj_get(root, t->field);
    for (size_t i = 0; v == NULL && i < sizeof usual_field / sizeof *usual_field; i++)
        v = yyjson_obj_get(root, usual_field[i]);
    return v;
}

struct joiner {
    char *text;
    int64_t n, cap;
};

static bool append(struct joiner *j, const char *s, size_t n)
{
    if (!sti_grow((void **)&j->text, &j->cap, j->n + (int64_t)n + 1, 1))
        return false;
    memcpy(j->text + j->n, s, n);
    j->n += (int64_t)n;
    j->text[j->n] = '\0';
    return true;
}

static bool append_value(struct joiner *j, yyjson_val *v)
{
    return !yyjson_is_str(v) || append(j, yyjson_get_str(v), yyjson_get_len(v));
}

/* The assistant's messages, one after the other; reasoning that stands in a field of its own gets
 * its marks back. */
static bool join_messages(yyjson_val *list, struct joiner *j)
{
    yyjson_val *m;
    size_t i, n;
    bool ok = append(j, "", 0);
    yyjson_arr_foreach(list, i, n, m)
    {
        yyjson_val *thought = yyjson_obj_get(m, "reasoning_content");
        if (!ok || !yyjson_equals_str(yyjson_obj_get(m, "role"), "assistant"))
            continue;
        if (yyjson_is_str(thought))
            ok = append(j, "<think>\n", 8) && append_value(j, thought) &&
                 append(j, "\n</think>\n", 10);
        ok = ok && append_value(j, yyjson_obj_get(m, "content")) && append(j, "\n", 1);
    }
    return ok;
}

static st_status take_messages(st_texts *t, yyjson_val *list, st_text *text, st_error *err)
{
    struct joiner j = {0};
    bool ok = join_messages(list, &j);
    t->joined = j.text;
    if (!ok)
        return sti_fail_mem(err, (size_t)j.cap);
    text->text = j.text;
    text->n_bytes = j.n;
    return ST_OK;
}

static st_status take_text(st_texts *t, st_text *text, st_error *err)
{
    yyjson_val *root = yyjson_doc_get_root(t->doc), *v = find_field(t, root);
    yyjson_val *messages = yyjson_obj_get(root, "messages"), *id = yyjson_obj_get(root, "id");
    long long line = (long long)text->line;
    if (yyjson_is_str(id))
        text->id = yyjson_get_str(id);
    if (!yyjson_is_obj(root))
        return sti_fail(err, ST_ERR_FORMAT, text->line, "line %lld is no JSON object", line);
    if (v == NULL && t->field == NULL && yyjson_is_arr(messages))
        return take_messages(t, messages, text, err);
    if (v == NULL && t->field != NULL)
        return sti_fail(err, ST_ERR_FORMAT, text->line, "line %lld has no field \"%.60s\"", line,
                        t->field);
    if (v == NULL)
        return sti_fail(err, ST_ERR_FORMAT, text->line,
                        "line %lld has none of the fields full_text, text, solution, content, "
                        "messages",
                        line);
    if (!yyjson_is_str(v))
        return sti_fail(err, ST_ERR_FORMAT, text->line, "line %lld: the text is no string", line);
    text->text = yyjson_get_str(v);
    text->n_bytes = (int64_t)yyjson_get_len(v);
    return ST_OK;
}

static st_status parse_line(st_texts *t, char *line, int64_t n, st_text *text, st_error *err)
{
    text->n_replaced = sti_mend_surrogates(line, n);
    STI_TRY(sti_parse_line(line, n, text->line, &t->doc, err));
    return take_text(t, text, err);
}

/* ---- the file -------------------------------------------------------------------------------- */

st_status st_texts_open(const char *path, bool jsonl, const char *field, st_texts **texts,
                        st_error *err)
{
    st_texts *t = sti_calloc(sizeof *t);
    st_status status = ST_OK;
    *texts = NULL;
    if (t == NULL)
        return sti_fail_mem(err, sizeof *t);
    t->jsonl = jsonl;
    if (field != NULL) {
        t->field = sti_alloc(strlen(field) + 1);
        if (t->field != NULL)
            memcpy(t->field, field, strlen(field) + 1);
        else
            status = sti_fail_mem(err, strlen(field) + 1);
    }
    if (status == ST_OK)
        status = sti_lines_open(path, &t->lines, err);
    if (status != ST_OK) {
        st_texts_free(t);
        return status;
    }
    *texts = t;
    return ST_OK;
}

st_status st_texts_sentences(const st_texts *t, const st_text *text, st_group part,
                             st_group **sentence, int64_t *n, st_error *err)
{
    yyjson_val *root = yyjson_doc_get_root(t->doc);
    return sti_given_sentences(yyjson_obj_get(root, "sentences"), text->text, part, text->line,
                               sentence, n, err);
}

static void forget_text(st_texts *t)
{
    yyjson_doc_free(t->doc);
    sti_free(t->joined);
    t->doc = NULL;
    t->joined = NULL;
}

void st_texts_free(st_texts *t)
{
    if (t == NULL)
        return;
    forget_text(t);
    sti_lines_close(&t->lines);
    sti_free(t->field);
    sti_free(t);
}

static bool is_blank(const char *line, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

static st_status next_line(st_texts *t, st_text *text, st_error *err)
{
    for (;;) {
        char *line;
        int64_t n;
        STI_TRY(sti_lines_next(&t->lines, &line, &n, err));
        if (line == NULL)
            return ST_OK;
        text->line = t->lines.number;
        if (!is_blank(line, n))
            return parse_line(t, line, n, text, err);
    }
}

st_status st_texts_next(st_texts *t, st_text *text, st_error *err)
{
    st_status status = ST_OK;
    char *all;
    *text = (st_text){.id = ""};
    forget_text(t);
    if (t->done)
        return ST_OK;
    if (t->jsonl) {
        status = next_line(t, text, err);
        t->done =
            (status == ST_OK && text->text == NULL) || status == ST_ERR_IO || status == ST_ERR_MEM;
    } else {
        t->done = true;
        status = sti_lines_rest(&t->lines, &all, &text->n_bytes, err);
        text->text = status == ST_OK ? all : NULL;
    }
    return status;
}
