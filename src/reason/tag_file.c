/* SPDX-License-Identifier: MIT
 *
 * tag_file.c — tags that someone else gave: a labeller's JSON, JSONL, or plain lines. The first
 * byte tells JSON from plain lines; JSON is tried as one document first, then line by line.
 */
#include <stdlib.h>

#include "reason/lines.h"
#include "reason/tagger.h"

struct tags_of_trace {
    char *id; /* ours, or NULL */
    int32_t *tag;
    int64_t n, cap;
};

struct st_tag_file {
    struct tags_of_trace *trace;
    int64_t n, cap;
};

struct reading {
    const st_tagger *tagger;
    st_tag_file *file;
    int64_t line, n_unknown;
    st_error first; /* of the unknown names */
};

/* ---- adding ---------------------------------------------------------------------------------- */

static bool add_trace(struct reading *r)
{
    st_tag_file *f = r->file;
    if (!sti_grow((void **)&f->trace, &f->cap, f->n + 1, sizeof *f->trace))
        return false;
    f->trace[f->n++] = (struct tags_of_trace){0};
    return true;
}

static bool add_tag(struct reading *r, const char *name)
{
    struct tags_of_trace *t = &r->file->trace[r->file->n - 1];
    int tag = st_tagger_find(r->tagger, name);
    if (!sti_grow((void **)&t->tag, &t->cap, t->n + 1, sizeof *t->tag))
        return false;
    if (tag < 0 && r->n_unknown++ == 0)
        sti_fail(&r->first, ST_ERR_FORMAT, r->line,
                 "line %lld: the tag \"%.60s\" is not in the taxonomy", (long long)r->line, name);
    t->tag[t->n++] = tag;
    return true;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* The first tag of one sentence's value, NULL: it has none. */
static const char *name_of(yyjson_val *v)
{
    static const char *const field[] = {"function_tags", "tags", "tag"};
    for (size_t i = 0; yyjson_is_obj(v) && i < sizeof field / sizeof *field; i++) {
        yyjson_val *inside = yyjson_obj_get(v, field[i]);
        if (inside != NULL)
            return name_of(inside);
    }
    if (yyjson_is_arr(v))
        v = yyjson_arr_get_first(v);
    return yyjson_get_str(v);
}

/* The list of sentences in a trace's value, NULL: there is none. */
static yyjson_val *list_of(yyjson_val *v)
{
    static const char *const field[] = {"sentences", "chunks", "tags"};
    for (size_t i = 0; yyjson_is_obj(v) && i < sizeof field / sizeof *field; i++) {
        yyjson_val *inside = yyjson_obj_get(v, field[i]);
        if (yyjson_is_arr(inside))
            return inside;
    }
    return yyjson_is_arr(v) ? v : NULL;
}

static st_status keep_id(struct reading *r, yyjson_val *id, st_error *err)
{
    struct tags_of_trace *t = &r->file->trace[r->file->n - 1];
    size_t bytes = yyjson_get_len(id) + 1;
    if (!yyjson_is_str(id))
        return ST_OK;
    t->id = sti_alloc(bytes);
    if (t->id == NULL)
        return sti_fail_mem(err, bytes);
    memcpy(t->id, yyjson_get_str(id), bytes);
    return ST_OK;
}

static st_status read_trace(struct reading *r, yyjson_val *v, st_error *err)
{
    yyjson_val *list = list_of(v), *s;
    size_t i, n;
    if (list == NULL)
        return sti_fail(err, ST_ERR_FORMAT, r->line,
                        "line %lld has no list of tags (sentences, chunks or tags)",
                        (long long)r->line);
    if (!add_trace(r))
        return sti_fail_mem(err, sizeof *r->file->trace);
    STI_TRY(keep_id(r, yyjson_obj_get(v, "id"), err));
    yyjson_arr_foreach(list, i, n, s)
    {
        const char *name = name_of(s);
        if (name == NULL)
            return sti_fail(err, ST_ERR_FORMAT, r->line, "line %lld: sentence %zu has no tag",
                            (long long)r->line, i);
        if (!add_tag(r, name))
            return sti_fail_mem(err, n * sizeof(int32_t));
    }
    return ST_OK;
}

static st_status read_json_line(struct reading *r, char *line, int64_t n, st_error *err)
{
    yyjson_doc *doc;
    st_status status;
    sti_mend_surrogates(line, n);
    STI_TRY(sti_parse_line(line, n, r->line, &doc, err));
    status = read_trace(r, yyjson_doc_get_root(doc), err);
    yyjson_doc_free(doc);
    return status;
}

/* ---- the three kinds of file ----------------------------------------------------------------- */

/* The next line of `text`, cut off with a NUL; *text moves behind it. */
static char *cut_line(char **text, int64_t *n)
{
    char *line = *text, *end = strchr(line, '\n');
    *n = end != NULL ? end - line : (int64_t)strlen(line);
    *text = line + *n + (end != NULL);
    line[*n] = '\0';
    while (*n > 0 && strchr(" \t\r", line[*n - 1]) != NULL)
        line[--*n] = '\0';
    return line;
}

static st_status read_json_lines(struct reading *r, char *text, st_error *err)
{
    while (*text != '\0') {
        int64_t n;
        char *line = cut_line(&text, &n);
        r->line++;
        if (n > 0)
            STI_TRY(read_json_line(r, line, n, err));
    }
    return ST_OK;
}

static st_status read_plain(struct reading *r, char *text, st_error *err)
{
    bool open = false;
    while (*text != '\0') {
        int64_t n;
        char *line = cut_line(&text, &n);
        r->line++;
        if (n > 0 && !open && !add_trace(r))
            return sti_fail_mem(err, sizeof *r->file->trace);
        open = n > 0;
        if (n > 0 && !add_tag(r, line))
            return sti_fail_mem(err, sizeof(int32_t));
    }
    return ST_OK;
}

static st_status read_all(struct reading *r, char *text, int64_t n, st_error *err)
{
    yyjson_doc *whole;
    st_status status;
    char *at = text;
    while (*at != '\0' && strchr(" \t\r\n", *at) != NULL)
        at++;
    if (*at != '{' && *at != '[')
        return read_plain(r, text, err);
    sti_mend_surrogates(text, n);
    if (sti_parse_line(text, n, 1, &whole, NULL) != ST_OK)
        return read_json_lines(r, text, err);
    r->line = 1;
    status = read_trace(r, yyjson_doc_get_root(whole), err);
    yyjson_doc_free(whole);
    return status;
}

st_status st_tag_file_open(const char *path, const st_tagger *tagger, st_tag_file **file,
                           int64_t *n_unknown, st_error *err)
{
    struct reading r = {.tagger = tagger, .file = sti_calloc(sizeof *r.file)};
    sti_lines lines = {0};
    char *text;
    int64_t n;
    st_status status;
    *file = NULL;
    *n_unknown = 0;
    if (r.file == NULL)
        return sti_fail_mem(err, sizeof *r.file);
    status = sti_lines_open(path, &lines, err);
    if (status == ST_OK)
        status = sti_lines_rest(&lines, &text, &n, err);
    if (status == ST_OK)
        status = read_all(&r, text, n, err);
    sti_lines_close(&lines);
    if (status != ST_OK) {
        st_tag_file_free(r.file);
        return status;
    }
    if (r.n_unknown > 0 && err != NULL)
        *err = r.first;
    *n_unknown = r.n_unknown;
    *file = r.file;
    return ST_OK;
}

void st_tag_file_free(st_tag_file *f)
{
    if (f == NULL)
        return;
    for (int64_t i = 0; i < f->n; i++) {
        sti_free(f->trace[i].id);
        sti_free(f->trace[i].tag);
    }
    sti_free(f->trace);
    sti_free(f);
}

const int32_t *st_tag_file_get(const st_tag_file *f, const char *id, int64_t i, int64_t *n)
{
    static const int32_t none = -1; /* of a trace that is there and has no sentence */
    const struct tags_of_trace *t = NULL;
    for (int64_t k = 0; k < f->n && t == NULL && *id != '\0'; k++)
        if (f->trace[k].id != NULL && strcmp(f->trace[k].id, id) == 0)
            t = &f->trace[k];
    if (t == NULL && i >= 0 && i < f->n && f->trace[i].id == NULL)
        t = &f->trace[i];
    *n = t != NULL ? t->n : 0;
    return t == NULL ? NULL : t->tag != NULL ? t->tag : &none;
}
