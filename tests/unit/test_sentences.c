/* SPDX-License-Identifier: MIT
 *
 * test_sentences.c — the split by hand-worked examples, and what must hold for any bytes.
 */
#include "base/util.h"
#include "check.h"
#include "sparsetrace/reason.h"

/* The sentences of a text, joined with '|'. */
static const char *split_as(const char *text, int64_t n, st_split how, const char *regex)
{
    static char out[4096];
    st_split_params p = {how, regex};
    st_group *s;
    int64_t n_s;
    size_t at = 0;
    CHECK_STATUS(st_sentences(text, (st_group){0, n}, &p, &s, &n_s, NULL), ST_OK);
    for (int64_t i = 0; i < n_s; i++)
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%.*s", i > 0 ? "|" : "",
                               (int)(s[i].end - s[i].begin), text + s[i].begin);
    out[at] = '\0';
    st_sentences_free(s);
    return out;
}

static void same(const char *text, const char *want)
{
    const char *got = split_as(text, (int64_t)strlen(text), ST_SPLIT_THOUGHT_ANCHORS, NULL);
    check_done++;
    if (strcmp(got, want) != 0) {
        check_failed++;
        printf("\"%s\" gives \"%s\", not \"%s\"\n", text, got, want);
    }
}

static void test_thought_anchors(void)
{
    same("", "");
    same(" \n\t ", "");
    same("One sentence, no end", "One sentence, no end");
    same("This is the first. This is the second? This is third!",
         "This is the first.|This is the second?|This is third!");
    same("The value 3.14 stays whole. e.g.x does too.",
         "The value 3.14 stays whole.|e.g.x does too.");
    same("A heading line\n\nAnd its paragraph\nof two lines",
         "A heading line|And its paragraph\nof two lines");
    same("A heading line\r\n\r\nAnd its paragraph", "A heading line|And its paragraph");
    same("Lines that end so.\r\nAs Windows writes them.\r\n",
         "Lines that end so.|As Windows writes them.");
    same("A tab after.\tNo sentence ends here", "A tab after.\tNo sentence ends here");
    same("Yes. No. Maybe so it is. This is done.", "Yes. No. Maybe so it is.|This is done.");
    same("This is long enough. Short.", "This is long enough. Short.");
    same("Hm. So.", "Hm. So.");
    same("1. First of the points. 2. Second of the points.",
         "1. First of the points.|2. Second of the points.");
    /* nine characters, ten bytes: short; ten characters: not */
    same("123456\xc3\xa4"
         "8. 0123456789",
         "123456\xc3\xa4"
         "8. 0123456789");
    same("123456\xc3\xa4"
         "89. 0123456789",
         "123456\xc3\xa4"
         "89.|0123456789");
    /* a joint counts as one character: "Hm. abcde." has ten */
    same("Hm.\n\nabcde. And the rest of it", "Hm.\n\nabcde.|And the rest of it");
    same("Hm.\n\nabcd. And the rest of it", "Hm.\n\nabcd. And the rest of it");
    /* trimmed of what Unicode calls white space */
    same("\xc2\xa0\xe3\x80\x80 Ideographic space here.\xe2\x80\x83", "Ideographic space here.");
}

static void test_other_ways(void)
{
    const char *text = " a\n\n bb \r\nc. d";
    int64_t n = (int64_t)strlen(text);
    CHECK(strcmp(split_as(text, n, ST_SPLIT_NEWLINE, NULL), "a|bb|c. d") == 0);
    CHECK(strcmp(split_as("a;b;;c", 6, ST_SPLIT_REGEX, ";+"), "a|b|c") == 0);
    CHECK(strcmp(split_as("a;b;;c", 6, ST_SPLIT_REGEX, "x*"), "a;b;;c") == 0);
    CHECK(strcmp(split_as("Step 1: x Step 2: y", 19, ST_SPLIT_REGEX, "Step [0-9]+:"), "x|y") == 0);
    CHECK(strcmp(split_as("a1b1", 4, ST_SPLIT_REGEX, "^a"), "1b1") == 0);
    /* a NUL is a byte like any other, but each piece is printed up to its NUL */
    CHECK(strcmp(split_as("a\0;b", 4, ST_SPLIT_REGEX, ";"), "a|b") == 0);
}

static void test_refused(void)
{
    st_split_params p = {ST_SPLIT_REGEX, "("};
    st_group *s;
    int64_t n;
    st_error err;
    CHECK_STATUS(st_sentences("x", (st_group){0, 1}, &p, &s, &n, &err), ST_ERR_ARG);
    CHECK(strstr(err.message, "regular expression") != NULL && s == NULL && n == 0);
    p.regex = NULL;
    CHECK_STATUS(st_sentences("x", (st_group){0, 1}, &p, &s, &n, NULL), ST_ERR_ARG);
    p = (st_split_params){(st_split)9, NULL};
    CHECK_STATUS(st_sentences("x", (st_group){0, 1}, &p, &s, &n, NULL), ST_ERR_ARG);
    p = st_split_params_default();
    CHECK_STATUS(st_sentences("x", (st_group){1, 0}, &p, &s, &n, NULL), ST_ERR_ARG);
    CHECK_STATUS(st_sentences("x", (st_group){0, INT64_MAX}, &p, &s, &n, NULL), ST_ERR_ARG);
}

static void part_is(const char *text, int64_t from, const char *want)
{
    st_group part = {-1, -1};
    bool found = st_think_next(text, (int64_t)strlen(text), from, &part);
    CHECK_EQ(found, want != NULL);
    if (found && want != NULL)
        CHECK(part.end - part.begin == (int64_t)strlen(want) &&
              memcmp(text + part.begin, want, strlen(want)) == 0);
}

static void test_think(void)
{
    const char *chat = "q <think> one </think> a <think>two</think> b";
    st_group part;
    part_is("no marks at all ", 0, "no marks at all");
    part_is("q\n<think>\nthe thought\n</think>\nanswer", 0, "the thought");
    part_is("q <think> cut off", 0, "cut off");
    part_is("opened by the template</think> answer", 0, "opened by the template");
    part_is("by the template</think> a <think>two</think>", 0, "by the template");
    part_is("<think></think>", 0, "");
    part_is("", 0, "");
    part_is(chat, 0, "one");
    CHECK(st_think_next(chat, (int64_t)strlen(chat), 0, &part));
    part_is(chat, part.end, "two");
    CHECK(st_think_next(chat, (int64_t)strlen(chat), part.end, &part));
    part_is(chat, part.end, NULL);
}

/* Any bytes: spans rise, none is empty, and nothing but white space lies between them. */
static void test_any_bytes(void)
{
    static const char letters[] = "ab. ?!\n\r\xc3\xa4\xe2\x80\x83\xff\xed";
    char text[300];
    for (uint64_t seed = 0; seed < 3000; seed++) {
        int64_t n = (int64_t)(sti_mix(seed) % sizeof text), before = 0, n_s;
        st_split_params p = st_split_params_default();
        st_group *s;
        for (int64_t i = 0; i < n; i++)
            text[i] = letters[sti_mix(seed * 1000 + (uint64_t)i) % (sizeof letters - 1)];
        p.how = (st_split)(seed % 2);
        CHECK_STATUS(st_sentences(text, (st_group){0, n}, &p, &s, &n_s, NULL), ST_OK);
        for (int64_t i = 0; i <= n_s; i++) {
            int64_t begin = i < n_s ? s[i].begin : n, end = i < n_s ? s[i].end : n + 1;
            bool sound = begin >= before && end > begin;
            for (int64_t j = before; j < begin; j++)
                sound = sound && strchr(" \n\r\xe2\x80\x83", text[j]) != NULL;
            CHECK(sound);
            before = end;
        }
        st_sentences_free(s);
    }
}

int main(void)
{
    test_thought_anchors();
    test_other_ways();
    test_refused();
    test_think();
    test_any_bytes();
    return check_report();
}
