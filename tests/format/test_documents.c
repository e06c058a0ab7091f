/* SPDX-License-Identifier: MIT
 *
 * test_documents.c — single values out of a trace's JSON documents: each kind of value, what is not
 * there, and buffers that are too short.
 */
#include <locale.h>

#include "../unit/check.h"
#include "sample_trace.h"

static const char document[] =
    "{\"model\": {\"name\": \"n\\u00e4me \\\"x\\\"\", \"empty\": \"\","
    " \"layers\": [7, 8, {\"h\": 9}]},"
    " \"zero\": 0, \"minus\": -12, \"large\": 9007199254740993, \"least\": -9223372036854775808,"
    " \"half\": 0.5, \"minus_real\": -2.25, \"third\": 0.3333333333, \"tiny\": 1e-9,"
    " \"whole\": 3.0, \"yes\": true, \"no\": false, \"nothing\": null, \"comma\": \"1,5\","
    " \"a/b\": 1, \"c~d\": 2, \"\": 3}";

static st_trace *trace;

/* The value, read into a buffer that is filled with something else before. */
static bool is(const char *key, const char *pointer, const char *want)
{
    char buf[128];
    const char *got;
    memset(buf, '#', sizeof buf);
    got = st_trace_value(trace, key, pointer, buf, sizeof buf);
    if (got != buf || strcmp(buf, want) != 0)
        printf("%s %s is \"%.100s\", wanted \"%s\"\n", key, pointer, got, want);
    return got == buf && strcmp(buf, want) == 0;
}

static void test_kinds(void)
{
    CHECK(is("doc", "/model/name", "n\xc3\xa4me \"x\""));
    CHECK(is("doc", "/comma", "1,5"));
    CHECK(is("doc", "/zero", "0"));
    CHECK(is("doc", "/minus", "-12"));
    CHECK(is("doc", "/large", "9007199254740993")); /* more than a double holds */
    CHECK(is("doc", "/least", "-9223372036854775808"));
    CHECK(is("doc", "/half", "0.5"));
    CHECK(is("doc", "/minus_real", "-2.25"));
    CHECK(is("doc", "/third", "0.333333"));
    CHECK(is("doc", "/tiny", "1e-09"));
    CHECK(is("doc", "/whole", "3"));
    CHECK(is("doc", "/yes", "true"));
    CHECK(is("doc", "/no", "false"));
}

static void test_pointers(void)
{
    CHECK(is("doc", "/model/layers/1", "8"));
    CHECK(is("doc", "/model/layers/2/h", "9"));
    CHECK(is("doc", "/a~1b", "1"));
    CHECK(is("doc", "/c~0d", "2"));
    CHECK(is("doc", "/", "3"));
    CHECK(is("text", "", "alone")); /* the empty pointer is the document itself */
    CHECK(is("number", "", "42"));
}

/* Empty for what is not there and for what is neither string nor number nor truth value. */
static void test_nothing(void)
{
    static const char *const pointer[] = {
        "/nothing", "/model",        "/model/layers",   "/model/empty", "",
        "/absent",  "/model/name/x", "/model/layers/3", "/yes/0",       "/model/layers/-1",
        "zero",     "model/name",    "/Zero",           "/zero/"};
    for (size_t i = 0; i < sizeof pointer / sizeof *pointer; i++)
        CHECK(is("doc", pointer[i], ""));
    CHECK(is("absent", "/zero", ""));
    CHECK(is("", "/zero", ""));
    CHECK(is("text", "/zero", ""));
    CHECK(is("format", "", "")); /* metadata, but no document: "sparsetrace.trace" is no JSON */
}

/* The writer's own documents, and those of the sample. */
static void test_own_documents(void)
{
    CHECK(is("recipe", "/model", "none"));
    CHECK(is("recipe", "/seed", "1"));
    CHECK(is("result", "/text", "\xc3\xa9 \"quoted\""));
    CHECK(is("geometry", "/n_tok", "50"));
    CHECK(is("geometry", "/complete", "true"));
    CHECK(is("geometry", "/layers/2/kind", "exact"));
    CHECK(is("certificate", "/n_head", "6"));
    CHECK(is("certificate", "/recall_p5", "0.578125"));
}

/* Cut at the buffer's end, NUL included; nothing is written behind it. */
static void test_short_buffers(void)
{
    static const struct {
        const char *pointer, *whole;
    } row[] = {{"/comma", "1,5"}, {"/minus", "-12"}, {"/no", "false"}, {"/minus_real", "-2.25"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (size_t size = 1; size <= 8; size++) {
            char buf[16], want[16];
            size_t n = strlen(row[i].whole) < size ? strlen(row[i].whole) : size - 1;
            memset(buf, '#', sizeof buf);
            memset(want, '#', sizeof want);
            memcpy(want, row[i].whole, n);
            want[n] = '\0';
            CHECK(st_trace_value(trace, "doc", row[i].pointer, buf, size) == buf);
            CHECK(strcmp(buf, want) == 0);
            CHECK(memcmp(buf + size, want + size, sizeof want - size) == 0);
        }
}

/* Real numbers have a point wherever the program runs. */
static void test_locale(void)
{
    static const char *const name[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        if (setlocale(LC_ALL, name[i]) == NULL)
            continue;
        CHECK(is("doc", "/half", "0.5"));
        CHECK(is("doc", "/minus_real", "-2.25"));
        CHECK(is("doc", "/comma", "1,5"));
    }
    setlocale(LC_ALL, "C");
}

static void write_trace(const char *path)
{
    static const char *const row[][2] = {{"recipe", "{\"model\": \"none\", \"seed\": 1}"},
                                         {"result", "{\"text\": \"\\u00e9 \\\"quoted\\\"\"}"},
                                         {"doc", document},
                                         {"text", "\"alone\""},
                                         {"number", "42"}};
    sample s = sample_default();
    st_trace_writer *w;
    CHECK_STATUS(st_trace_writer_create(path, s.n_tok, s.bq, s.bk, NULL, &w, NULL), ST_OK);
    CHECK_STATUS(sample_add(&s, w, 0, s.n_tok, NULL), ST_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        CHECK_STATUS(st_trace_writer_json(w, row[i][0], row[i][1], NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
}

int main(void)
{
    const char *path = sample_path("documents.safetensors");
    write_trace(path);
    CHECK_STATUS(st_trace_open(path, &trace, NULL), ST_OK);
    if (trace == NULL)
        return check_report();
    CHECK(strcmp(st_trace_json(trace, "doc"), document) == 0);
    test_kinds();
    test_pointers();
    test_nothing();
    test_own_documents();
    test_short_buffers();
    test_locale();
    st_trace_free(trace);
    return check_report();
}
