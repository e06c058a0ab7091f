/* SPDX-License-Identifier: MIT
 *
 * jsonl.c — samples as lines of JSON: RULER's own files and ours, which are the same with some
 * fields more. Every line is foreign until proved; one bad line costs one line.
 */
#include <stdlib.h>

#include <yyjson.h>

#include "tasks/draft.h"

#define LINE_MAX_BYTES ((int64_t)256 << 20)
#define OUTPUTS_MAX 4096
#define LENGTH_MAX 1e9

struct st_task_reader {
    FILE *file;
    char *path;
    int64_t n_line;
    sti_text line;
};

st_status st_task_reader_open(const char *path, st_task_reader **reader, st_error *err)
{
    st_task_reader *r = sti_calloc(sizeof *r);
    sti_text name = {0};
    *reader = NULL;
    sti_text_put(&name, path);
    if (r == NULL || name.failed) {
        sti_free(r);
        sti_text_free(&name);
        return sti_fail_mem(err, sizeof *r);
    }
    r->path = name.s;
    r->file = fopen(path, "rb");
    if (r->file == NULL) {
        st_status status = sti_fail_io(err, "read", path);
        st_task_reader_free(r);
        return status;
    }
    *reader = r;
    return ST_OK;
}

void st_task_reader_free(st_task_reader *r)
{
    if (r == NULL)
        return;
    if (r->file != NULL)
        fclose(r->file);
    sti_text_free(&r->line);
    sti_free(r->path);
    sti_free(r);
}

/* ---- one line to one sample ------------------------------------------------------------------ */

/* What a family of tasks looks like where a line does not say: RULER's answer prefixes. */
static const struct family {
    const char *name, *mark; /* mark: part of the answer prefix; NULL: any */
    int n_generate;
    const char *join; /* between the answers */
} family[] = {
    {"niah", "special magic", 128, ", "},
    {"vt", "chain(s) of variable assignment", 30, " "},
    {"cwe", "top 10 words that appear most often", 120, NULL},
    {"fwe", "three most frequently appeared words", 50, ", "},
    {"qa", NULL, 32, NULL},
};

static const struct family *family_of(const char *prefix)
{
    const struct family *f = family;
    while (f->mark != NULL && strstr(prefix, f->mark) == NULL)
        f++;
    return f;
}

/* A fault of a line: "outputs is missing". Written where the caller keeps it. */
struct fault {
    char text[160];
    bool memory;
};

static bool fail(struct fault *f, const char *field, const char *what)
{
    snprintf(f->text, sizeof f->text, "%s %s", field, what);
    return false;
}

/* A string of ours from a JSON string. *to stays NULL on failure. */
static bool take_text(yyjson_val *v, const char *field, char **to, struct fault *f)
{
    const char *s = yyjson_get_str(v);
    size_t n = yyjson_get_len(v);
    if (s == NULL)
        return fail(f, field, v == NULL ? "is missing" : "is not a string");
    if (memchr(s, '\0', n) != NULL)
        return fail(f, field, "holds a NUL character");
    *to = sti_alloc(n + 1);
    if (*to == NULL) {
        f->memory = true;
        return false;
    }
    memcpy(*to, s, n + 1);
    return true;
}

static bool take_outputs(yyjson_val *root, st_task_sample *s, struct fault *f)
{
    yyjson_val *list = yyjson_obj_get(root, "outputs");
    size_t n = yyjson_arr_size(list);
    if (!yyjson_is_arr(list))
        return fail(f, "outputs", list == NULL ? "is missing" : "is not an array");
    if (n < 1 || n > OUTPUTS_MAX)
        return fail(f, "outputs", n < 1 ? "is empty" : "has more than 4,096 strings");
    s->output = sti_calloc(n * sizeof *s->output);
    f->memory = s->output == NULL;
    for (; s->output != NULL && (size_t)s->n_output < n; s->n_output++)
        if (!take_text(yyjson_arr_get(list, (size_t)s->n_output), "outputs: an entry",
                       &s->output[s->n_output], f))
            return false;
    return s->output != NULL;
}

/* An optional whole number >= 0. */
static bool take_number(yyjson_val *root, const char *field, int64_t *to, struct fault *f)
{
    yyjson_val *v = yyjson_obj_get(root, field);
    if (v == NULL || yyjson_is_null(v))
        return true;
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) > LENGTH_MAX)
        return fail(f, field, "is not a whole number of 0..1e9");
    *to = (int64_t)yyjson_get_uint(v);
    return true;
}

static bool take_task(yyjson_val *root, st_task_sample *s, struct fault *f)
{
    const struct family *fam = family_of(s->answer_prefix);
    yyjson_val *v = yyjson_obj_get(root, "task");
    const char *name = v != NULL ? yyjson_get_str(v) : fam->name;
    size_t n = name != NULL ? strlen(name) : 0;
    if (n == 0 || n >= sizeof s->task ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != n)
        return fail(f, "task", "is not 1..63 letters, digits, _ . -");
    memcpy(s->task, name, n);
    s->any = fam->mark == NULL;
    s->n_generate = fam->n_generate;
    return true;
}

/* The whole answer as the family's examples write it. */
static bool make_answer(st_task_sample *s, struct fault *f)
{
    const struct family *fam = family_of(s->answer_prefix);
    sti_text t = {0};
    int64_t n = s->any ? 1 : s->n_output;
    for (int64_t i = 0; i < n; i++) {
        if (fam->join == NULL && !s->any)
            sti_text_printf(&t, " %lld. ", (long long)i + 1);
        else
            sti_text_put(&t, i > 0 ? fam->join : " ");
        sti_text_put(&t, s->output[i]);
    }
    s->answer = t.s;
    f->memory = t.failed;
    return !t.failed;
}

/* Of a needle task: each output's first place in the input, with the rest of its sentence. */
static bool find_evidence(st_task_sample *s, struct fault *f)
{
    int64_t n = s->n_output;
    if (strcmp(family_of(s->answer_prefix)->name, "niah") != 0)
        return true;
    s->evidence = sti_alloc((size_t)n * sizeof *s->evidence);
    f->memory = s->evidence == NULL;
    for (int64_t i = 0; s->evidence != NULL && i < n; i++) {
        const char *at = strstr(s->input, s->output[i]), *begin = at;
        if (at == NULL)
            continue;
        while (begin > s->input && at - begin < 160 && begin[-1] != '\n' &&
               strncmp(begin, "One of the special magic", 24) != 0)
            begin--;
        at += strlen(s->output[i]);
        s->evidence[s->n_evidence++] =
            (st_task_span){begin - s->input, at + (*at == '.') - s->input};
    }
    return s->evidence != NULL;
}

static bool take_evidence(yyjson_val *root, st_task_sample *s, struct fault *f)
{
    yyjson_val *list = yyjson_obj_get(root, "evidence"), *span;
    int64_t end = 0, bytes = (int64_t)strlen(s->input);
    yyjson_arr_iter at;
    if (list == NULL || yyjson_is_null(list))
        return find_evidence(s, f);
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > OUTPUTS_MAX)
        return fail(f, "evidence", "is not an array of at most 4,096 spans");
    s->evidence = sti_alloc((yyjson_arr_size(list) + 1) * sizeof *s->evidence);
    if (s->evidence == NULL) {
        f->memory = true;
        return false;
    }
    yyjson_arr_iter_init(list, &at);
    while ((span = yyjson_arr_iter_next(&at)) != NULL) {
        yyjson_val *a = yyjson_arr_get(span, 0), *b = yyjson_arr_get(span, 1);
        if (!yyjson_is_uint(a) || !yyjson_is_uint(b) || yyjson_get_uint(b) > (uint64_t)bytes ||
            yyjson_get_uint(a) >= yyjson_get_uint(b) || yyjson_get_uint(a) < (uint64_t)end)
            return fail(f, "evidence",
                        "has a span that is not [begin, end] inside the input, "
                        "after the one before");
        end = (int64_t)yyjson_get_uint(b);
        s->evidence[s->n_evidence++] = (st_task_span){(int64_t)yyjson_get_uint(a), end};
    }
    return true;
}

static bool fill(yyjson_val *root, st_task_sample *s, struct fault *f)
{
    yyjson_val *prefix = yyjson_obj_get(root, "answer_prefix");
    yyjson_val *answer = yyjson_obj_get(root, "answer");
    if (!yyjson_is_obj(root))
        return fail(f, "the line", "is not a JSON object");
    if (!take_text(yyjson_obj_get(root, "input"), "input", &s->input, f) ||
        !take_outputs(root, s, f))
        return false;
    if (s->input[0] == '\0')
        return fail(f, "input", "is empty");
    if (prefix != NULL ? !take_text(prefix, "answer_prefix", &s->answer_prefix, f)
                       : (s->answer_prefix = sti_calloc(1)) == NULL) {
        f->memory = f->memory || prefix == NULL;
        return false;
    }
    if (!take_task(root, s, f) || !take_number(root, "length", &s->length, f) ||
        !take_number(root, "max_length", &s->max_tok, f) || !take_evidence(root, s, f))
        return false;
    return answer != NULL ? take_text(answer, "answer", &s->answer, f) : make_answer(s, f);
}

static st_status parse(const st_task_reader *r, st_task_sample **sample, st_error *err)
{
    yyjson_read_err bad;
    struct fault f = {.memory = false};
    st_task_sample *s = sti_calloc(sizeof *s);
    yyjson_doc *doc = yyjson_read_opts(r->line.s, (size_t)r->line.n, 0, NULL, &bad);
    st_status status = ST_OK;
    f.memory = s == NULL || (doc == NULL && bad.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION);
    if (!f.memory && doc == NULL)
        snprintf(f.text, sizeof f.text, "not JSON at byte %zu: %.80s", bad.pos + 1, bad.msg);
    if (f.memory || doc == NULL || !fill(yyjson_doc_get_root(doc), s, &f))
        status = f.memory ? sti_fail_mem(err, (size_t)r->line.n)
                          : sti_fail(err, ST_ERR_FORMAT, r->n_line, "%.200s, line %lld: %s",
                                     r->path, (long long)r->n_line, f.text);
    yyjson_doc_free(doc);
    if (status != ST_OK) {
        st_task_sample_free(s);
        return status;
    }
    s->index = r->n_line;
    *sample = s;
    return ST_OK;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* The next line without its end; false at the end of the file. Of one that is too long only the
 * beginning, with *cut. */
static bool read_line(st_task_reader *r, bool *cut)
{
    char buf[4096];
    int64_t n = 0;
    int c;
    *cut = false;
    r->line.n = 0;
    do {
        c = getc(r->file);
        if (c != EOF && c != '\n')
            buf[n++] = (char)c;
        if (n == (int64_t)sizeof buf || c == EOF || c == '\n') {
            *cut = *cut || r->line.n + n > LINE_MAX_BYTES;
            if (!*cut)
                sti_text_add(&r->line, buf, n);
            n = 0;
        }
    } while (c != EOF && c != '\n');
    return c != EOF || r->line.n > 0 || *cut;
}

st_status st_task_reader_next(st_task_reader *r, st_task_sample **sample, st_error *err)
{
    bool cut;
    *sample = NULL;
    while (read_line(r, &cut)) {
        r->n_line++;
        if (r->line.failed)
            return sti_fail_mem(err, (size_t)r->line.n);
        if (cut)
            return sti_fail(err, ST_ERR_LIMIT, r->n_line, "%.200s, line %lld: longer than 256 MB",
                            r->path, (long long)r->n_line);
        if (r->line.n > 0 && strspn(r->line.s, " \t\r\n") < (size_t)r->line.n)
            return parse(r, sample, err);
    }
    return ferror(r->file) ? sti_fail_io(err, "read", r->path) : ST_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

st_status st_task_write_line(FILE *out, const st_task_sample *s, st_error *err)
{
    yyjson_mut_doc *d = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(d), *list;
    char *text;
    bool written;
    yyjson_mut_doc_set_root(d, root);
    yyjson_mut_obj_add_int(d, root, "index", s->index);
    yyjson_mut_obj_add_str(d, root, "input", s->input);
    list = yyjson_mut_obj_add_arr(d, root, "outputs");
    for (int64_t i = 0; i < s->n_output; i++)
        yyjson_mut_arr_add_str(d, list, s->output[i]);
    yyjson_mut_obj_add_int(d, root, "length", s->length);
    yyjson_mut_obj_add_int(d, root, "length_w_model_temp", s->length + s->template_tok);
    yyjson_mut_obj_add_str(d, root, "answer_prefix", s->answer_prefix);
    yyjson_mut_obj_add_str(d, root, "task", s->task);
    yyjson_mut_obj_add_int(d, root, "max_length", s->max_tok);
    yyjson_mut_obj_add_str(d, root, "answer", s->answer);
    list = yyjson_mut_obj_add_arr(d, root, "evidence");
    for (int64_t i = 0; i < s->n_evidence; i++) {
        yyjson_mut_val *span = yyjson_mut_arr_add_arr(d, list);
        yyjson_mut_arr_add_int(d, span, s->evidence[i].begin);
        yyjson_mut_arr_add_int(d, span, s->evidence[i].end);
    }
    text = yyjson_mut_write(d, 0, NULL);
    yyjson_mut_doc_free(d);
    if (text == NULL)
        return sti_fail_mem(err, strlen(s->input));
    written = fputs(text, out) >= 0 && fputc('\n', out) != EOF;
    free(text);
    return written ? ST_OK : sti_fail_io(err, "write", "the samples");
}
