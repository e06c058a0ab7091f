/* SPDX-License-Identifier: MIT
 *
 * test_tasks_file.c — files of samples: RULER's own lines, ours there and back, and hostile lines,
 * which are named by number and cost only themselves.
 */
#include "../unit/check.h"
#include "sample_trace.h"
#include "sparsetrace/tasks.h"

static const char *write_lines(const char *text, size_t n)
{
    const char *path = sample_path("lines.jsonl");
    sample_store(path, text, n);
    return path;
}

/* The only sample of a file of one line. */
static st_task_sample *read_one(const char *line)
{
    st_task_reader *r;
    st_task_sample *s = NULL, *end = NULL;
    st_error err = {.message = ""};
    CHECK_STATUS(st_task_reader_open(write_lines(line, strlen(line)), &r, &err), ST_OK);
    CHECK_STATUS(st_task_reader_next(r, &s, &err), ST_OK);
    CHECK_STATUS(st_task_reader_next(r, &end, &err), ST_OK);
    CHECK(s != NULL && end == NULL);
    if (s == NULL)
        printf("%s\n", err.message);
    st_task_reader_free(r);
    return s;
}

static bool evidence_is(const st_task_sample *s, int64_t i, const char *text)
{
    int64_t n = (int64_t)strlen(text), begin = s->evidence[i].begin;
    return s->evidence[i].end - begin == n && memcmp(s->input + begin, text, (size_t)n) == 0;
}

static void test_rulers_lines(void)
{
    st_task_sample *s = read_one(
        "{\"index\": 7, \"input\": \"A special magic number is hidden.\\nGrass. One of "
        "the special magic numbers for a-b is: 1234567. Sky.\\nWhat is it?\", \"outputs\": "
        "[\"1234567\"], \"length\": 4000, \"length_w_model_temp\": 4040, "
        "\"answer_prefix\": \" The special magic number for a-b mentioned in the provided "
        "text is\", \"token_position_answer\": 12}");
    CHECK(strcmp(s->task, "niah") == 0 && !s->any);
    CHECK_EQ(s->index, 1);
    CHECK_EQ(s->length, 4000);
    CHECK_EQ(s->max_tok, 0);
    CHECK_EQ(s->n_generate, 128);
    CHECK(strcmp(s->answer, " 1234567") == 0);
    CHECK_EQ(s->n_evidence, 1);
    CHECK(evidence_is(s, 0, "One of the special magic numbers for a-b is: 1234567."));
    st_task_sample_free(s);

    s = read_one("{\"input\":\"VAR A = 1\",\"outputs\":[\"A\",\"B\"],\"answer_prefix\":\" Answer: "
                 "According to the chain(s) of variable assignment in the text above, 2\"}\n");
    CHECK(strcmp(s->task, "vt") == 0 && strcmp(s->answer, " A B") == 0);
    CHECK_EQ(s->n_evidence, 0);
    st_task_sample_free(s);

    s = read_one("{\"input\":\"1. a\",\"outputs\":[\"a\",\"b\"],\"answer_prefix\":\" Answer: The "
                 "top 10 words that appear most often in the list are:\"}");
    CHECK(strcmp(s->task, "cwe") == 0 && strcmp(s->answer, " 1. a 2. b") == 0);
    st_task_sample_free(s);

    s = read_one("{\"input\":\"Who?\",\"outputs\":[\"Ada\",\"Lovelace\"],\"answer_prefix\":\" "
                 "Answer:\"}");
    CHECK(strcmp(s->task, "qa") == 0 && s->any && strcmp(s->answer, " Ada") == 0);
    CHECK(st_task_score(s, "it was lovelace") == 1.0);
    st_task_sample_free(s);
}

static int64_t count_bytes(void *ctx, const char *text, int64_t n_bytes)
{
    (void)ctx;
    (void)text;
    return n_bytes / 4 + 1;
}

static void test_there_and_back(void)
{
    st_task_params p = {.max_tok = 2048,
                        .template_tok = 9,
                        .seed = 3,
                        .index = 5,
                        .count = count_bytes,
                        .haystack =
                            "One \"quoted\" sentence with \xc3\xa9. Another one\tthat ends! "};
    for (int task = 0; task < ST_TASK_COUNT; task++) {
        const char *path = sample_path("own.jsonl");
        FILE *f = fopen(path, "w");
        st_task_sample *made, *read;
        st_task_reader *r;
        CHECK_STATUS(st_task_make((st_task)task, &p, &made, NULL), ST_OK);
        CHECK_STATUS(st_task_write_line(f, made, NULL), ST_OK);
        fclose(f);
        CHECK_STATUS(st_task_reader_open(path, &r, NULL), ST_OK);
        CHECK_STATUS(st_task_reader_next(r, &read, NULL), ST_OK);
        CHECK(strcmp(made->task, read->task) == 0 && strcmp(made->input, read->input) == 0);
        CHECK(strcmp(made->answer_prefix, read->answer_prefix) == 0);
        CHECK(strcmp(made->answer, read->answer) == 0 && made->n_output == read->n_output);
        for (int64_t i = 0; i < made->n_output; i++)
            CHECK(strcmp(made->output[i], read->output[i]) == 0);
        CHECK_EQ(made->n_evidence, read->n_evidence);
        CHECK(memcmp(made->evidence, read->evidence,
                     (size_t)made->n_evidence * sizeof *made->evidence) == 0);
        CHECK_EQ(made->length, read->length);
        CHECK_EQ(made->max_tok, read->max_tok);
        CHECK_EQ(made->n_generate, read->n_generate);
        st_task_reader_free(r);
        st_task_sample_free(made);
        st_task_sample_free(read);
    }
}

/* Each line is bad in its own way; the message names it. */
static const struct {
    const char *line, *says;
} hostile[] = {
    {"nonsense", "not JSON at byte 1"},
    {"{\"input\":\"x\"", "not JSON"},
    {"[1,2]", "not a JSON object"},
    {"{}", "input is missing"},
    {"{\"input\":5,\"outputs\":[\"a\"]}", "input is not a string"},
    {"{\"input\":\"\",\"outputs\":[\"a\"]}", "input is empty"},
    {"{\"input\":\"a\\u0000b\",\"outputs\":[\"a\"]}", "input holds a NUL"},
    {"{\"input\":\"\\ud800\",\"outputs\":[\"a\"]}", "not JSON"},
    {"{\"input\":\"\xff\",\"outputs\":[\"a\"]}", "not JSON"},
    {"{\"input\":\"x\"}", "outputs is missing"},
    {"{\"input\":\"x\",\"outputs\":\"a\"}", "outputs is not an array"},
    {"{\"input\":\"x\",\"outputs\":[]}", "outputs is empty"},
    {"{\"input\":\"x\",\"outputs\":[null]}", "outputs: an entry is not a string"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"answer_prefix\":1}", "answer_prefix is not a string"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"length\":-1}", "length is not a whole number"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"length\":1e400}", "not JSON"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"max_length\":\"9\"}", "max_length is not a whole"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"task\":\"a,b\"}", "task is not"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"task\":\"\"}", "task is not"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"evidence\":[[0,2]]}", "evidence has a span"},
    {"{\"input\":\"xyz\",\"outputs\":[\"a\"],\"evidence\":[[1,2],[0,1]]}", "evidence has a span"},
    {"{\"input\":\"xyz\",\"outputs\":[\"a\"],\"evidence\":[[1,1]]}", "evidence has a span"},
    {"{\"input\":\"xyz\",\"outputs\":[\"a\"],\"evidence\":[7]}", "evidence has a span"},
    {"{\"input\":\"x\",\"outputs\":[\"a\"],\"answer\":{}}", "answer is not a string"},
};

static void test_hostile_lines(void)
{
    static const char good[] = "{\"input\":\"x\",\"outputs\":[\"a\"]}\n", blank[] = " \t\r\n";
    int64_t n = sizeof hostile / sizeof *hostile, n_bytes = 0, n_good = 0;
    char text[8192];
    st_task_reader *r;
    st_task_sample *s;
    st_error err;
    for (int64_t i = 0; i < n; i++)
        n_bytes += snprintf(text + n_bytes, sizeof text - (size_t)n_bytes, "%s\n%s%s",
                            hostile[i].line, blank, good);
    CHECK_STATUS(st_task_reader_open(write_lines(text, (size_t)n_bytes), &r, &err), ST_OK);
    for (int64_t i = 0; i < n; i++) {
        char line[32];
        CHECK_STATUS(st_task_reader_next(r, &s, &err), ST_ERR_FORMAT);
        CHECK(s == NULL);
        CHECK_EQ(err.position, 3 * i + 1);
        snprintf(line, sizeof line, "line %lld: ", (long long)(3 * i + 1));
        CHECK(strstr(err.message, line) != NULL && strstr(err.message, hostile[i].says) != NULL);
        if (strstr(err.message, hostile[i].says) == NULL)
            printf("%s -> %s\n", hostile[i].line, err.message);
        CHECK_STATUS(st_task_reader_next(r, &s, &err), ST_OK);
        n_good += s != NULL && s->index == 3 * i + 3;
        st_task_sample_free(s);
    }
    CHECK_STATUS(st_task_reader_next(r, &s, &err), ST_OK);
    CHECK(s == NULL);
    CHECK_EQ(n_good, n);
    st_task_reader_free(r);
}

static void test_bytes_that_are_no_text(void)
{
    static const char text[] = "a\0b\n{\"input\":\"x\",\"outputs\":[\"a\"]}";
    st_task_reader *r;
    st_task_sample *s;
    st_error err;
    CHECK_STATUS(st_task_reader_open(write_lines(text, sizeof text - 1), &r, &err), ST_OK);
    CHECK_STATUS(st_task_reader_next(r, &s, &err), ST_ERR_FORMAT);
    CHECK_EQ(err.position, 1);
    CHECK_STATUS(st_task_reader_next(r, &s, &err), ST_OK);
    CHECK(s != NULL && s->index == 2);
    st_task_sample_free(s);
    st_task_reader_free(r);
    CHECK_STATUS(st_task_reader_open("no/such/file", &r, &err), ST_ERR_IO);
    CHECK(r == NULL && strstr(err.message, "no/such/file") != NULL);
}

int main(void)
{
    test_rulers_lines();
    test_there_and_back();
    test_hostile_lines();
    test_bytes_that_are_no_text();
    return check_report();
}
