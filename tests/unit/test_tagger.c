/* SPDX-License-Identifier: MIT
 *
 * test_tagger.c — the built-in tagger, the chain's arithmetic against brute force, phases, quality,
 * and files of weights and tags that are wrong. tests/python/test_reason.py compares the numbers
 * with an independent implementation.
 */
#include <math.h>

#include "check.h"
#include "reason/chain.h"
#include "sparsetrace/reason.h"
#include "sparsetrace/tensors.h"

static st_tagger *built_in(void)
{
    st_tagger *t = NULL;
    CHECK_STATUS(st_tagger_open(NULL, &t, NULL), ST_OK);
    if (t == NULL)
        exit(1);
    return t;
}

/* ---- the chain against all paths ------------------------------------------------------------- */

enum { L = 3, N = 5, PATHS = 243 };

static double path_score(const sti_chain *c, int64_t code, int32_t path[N])
{
    double sum = 0.0;
    for (int i = 0; i < N; i++, code /= L) {
        path[i] = (int32_t)(code % L);
        sum += c->score[i * L + path[i]];
        sum += (double)(i == 0 ? c->start[path[0]] : c->step[path[i - 1] * L + path[i]]);
    }
    return sum;
}

static void test_chain(void)
{
    float start[L], step[L * L];
    double score[N * L], prob[N * L], stay[N], want[N * L] = {0}, want_stay[N] = {0}, z = 0.0;
    double best = -INFINITY;
    int32_t path[N], best_path[N], got[N];
    sti_chain c = {L, start, step, N, score};
    for (int i = 0; i < N * L; i++)
        score[i] = sin(3.0 * i) * 4.0;
    for (int i = 0; i < L * L; i++)
        step[i] = (float)cos(5.0 * i);
    for (int i = 0; i < L; i++)
        start[i] = (float)-i;
    for (int64_t code = 0; code < PATHS; code++) {
        double s = path_score(&c, code, path), w = exp(s);
        z += w;
        for (int i = 0; i < N; i++) {
            want[i * L + path[i]] += w;
            want_stay[i] += i > 0 && path[i] == path[i - 1] ? w : 0.0;
        }
        if (s > best) {
            best = s;
            memcpy(best_path, path, sizeof path);
        }
    }
    CHECK_STATUS(sti_chain_posterior(&c, prob, stay, NULL), ST_OK);
    CHECK_STATUS(sti_chain_best(&c, got, NULL), ST_OK);
    for (int i = 0; i < N; i++) {
        CHECK(fabs(stay[i] - want_stay[i] / z) < 1e-12);
        CHECK_EQ(got[i], best_path[i]);
    }
    for (int i = 0; i < N * L; i++)
        CHECK(fabs(prob[i] - want[i] / z) < 1e-12);
}

/* ---- tagging --------------------------------------------------------------------------------- */

static const char *text =
    "Okay, so I have this problem about circles. Let me recall the formula for the area. "
    "The area is pi * 3^2 = 28.27. Wait, is that right? Let me check: 3 * 3 = 9, and 9 pi is "
    "28.27. "
    "So the answer is 28.27.\n\n**Final Answer**\nThe area is \\boxed{28.27}.";

static void test_run(void)
{
    st_tagger *t = built_in();
    st_split_params sp = st_split_params_default();
    int n_tag = st_tagger_n_tag(t);
    float prob[16 * 8], hidden[4] = {0};
    int32_t tag[16], alone[16];
    st_group *s;
    int64_t n;
    CHECK_EQ(n_tag, 8);
    CHECK_EQ(st_tagger_find(t, "problem_setup"), 0);
    CHECK_EQ(st_tagger_find(t, "nonsense"), -1);
    CHECK(st_tagger_tag(t, 8) == NULL && st_tagger_tag(t, -1) == NULL);
    CHECK_EQ(st_tagger_n_hidden(t), 0);
    CHECK_STATUS(st_sentences(text, (st_group){0, (int64_t)strlen(text)}, &sp, &s, &n, NULL),
                 ST_OK);
    CHECK_EQ(n, 7);
    CHECK_STATUS(st_tagger_run(t, text, s, n, NULL, tag, prob, NULL), ST_OK);
    CHECK_STATUS(st_tagger_run(t, text, s, n, NULL, alone, NULL, NULL), ST_OK);
    CHECK(memcmp(tag, alone, (size_t)n * sizeof *tag) == 0);
    CHECK(strcmp(st_tagger_tag(t, tag[0]), "problem_setup") == 0);
    CHECK(strcmp(st_tagger_tag(t, tag[2]), "active_computation") == 0);
    CHECK(strcmp(st_tagger_tag(t, tag[6]), "final_answer_emission") == 0);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (int z = 0; z < n_tag; z++) {
            sum += (double)prob[i * n_tag + z];
            CHECK(prob[i * n_tag + z] <= prob[i * n_tag + tag[i]]);
        }
        CHECK(fabs(sum - 1.0) < 1e-5);
    }
    CHECK_STATUS(st_tagger_run(t, text, s, 0, NULL, tag, prob, NULL), ST_OK);
    CHECK_STATUS(st_tagger_run(t, text, s, n, hidden, tag, prob, NULL), ST_ERR_ARG);
    st_sentences_free(s);
    st_tagger_free(t);
}

/* ---- phases, quality ------------------------------------------------------------------------- */

static void test_phases(void)
{
    static const char *const name[] = {"problem_setup",      "problem_setup",
                                       "active_computation", "active_computation",
                                       "active_computation", "final_answer_emission"};
    enum { n = 6 };
    st_tagger *t = built_in();
    int n_tag = st_tagger_n_tag(t);
    float prob[n * 8] = {0}, confidence[n], boundary[n];
    st_phase phase[n];
    for (int i = 0; i < n; i++)
        prob[i * n_tag + st_tagger_find(t, name[i])] = 1.0f;
    CHECK(st_tagger_has_phases(t));
    CHECK_STATUS(st_phases(t, prob, n, phase, confidence, boundary, NULL), ST_OK);
    CHECK(phase[0] == ST_PHASE_UNDERSTAND && phase[1] == ST_PHASE_UNDERSTAND);
    CHECK(phase[3] == ST_PHASE_COMPUTE && phase[5] == ST_PHASE_CONCLUDE);
    CHECK(boundary[0] == 1.0f && boundary[2] > 0.5f && boundary[1] < 0.5f);
    for (int i = 0; i < n; i++)
        CHECK(confidence[i] > 0.0f && confidence[i] <= 1.0f);
    CHECK_STATUS(st_phases(t, prob, n, phase, NULL, NULL, NULL), ST_OK);
    CHECK_STATUS(st_phases(t, prob, 0, phase, NULL, NULL, NULL), ST_OK);
    prob[9] = -1.0f;
    CHECK_STATUS(st_phases(t, prob, n, phase, NULL, NULL, NULL), ST_ERR_ARG);
    prob[9] = NAN;
    CHECK_STATUS(st_phases(t, prob, n, phase, NULL, NULL, NULL), ST_ERR_ARG);
    CHECK(strcmp(st_phase_name(ST_PHASE_DOUBT), "doubt") == 0);
    CHECK(strcmp(st_phase_name((st_phase)6), "?") == 0);
    st_tagger_free(t);
}

static void test_quality(void)
{
    /* two stretches of doubt: the first leads to the new number 7, the second to nothing new */
    static const struct {
        const char *text, *tag;
    } line[] = {
        {"We add 2 and 3 to get 5", "active_computation"},
        {"Wait, is it so?", "uncertainty_management"},
        {"Hmm, I wonder", "uncertainty_management"},
        {"No, it is 7 then", "result_consolidation"},
        {"Or perhaps not?", "uncertainty_management"},
        {"We add 2 and 3 to get 5", "active_computation"},
        {"Check it again", "self_checking"},
        {"The answer is 7", "final_answer_emission"},
    };
    enum { n = 8 };
    st_tagger *t = built_in();
    char all[512] = "";
    st_group s[n];
    int32_t tag[n];
    st_quality q;
    for (int i = 0; i < n; i++) {
        s[i].begin = (int64_t)strlen(all);
        strcat(all, line[i].text);
        s[i].end = (int64_t)strlen(all);
        strcat(all, "\n");
        tag[i] = st_tagger_find(t, line[i].tag);
    }
    CHECK_STATUS(st_quality_of_text(t, all, s, tag, n, &q, NULL), ST_OK);
    CHECK(q.n_sentence == 8 && q.n_doubt == 3 && q.n_check == 1 && q.n_episode == 2);
    CHECK(fabs(q.led_share - 0.5) < 1e-12);
    CHECK(fabs(q.answer_at - 1.0) < 1e-12);
    CHECK(fabs(q.checked_after - 1.0 / 5.0) < 1e-12); /* from the result on: 5 sentences */
    CHECK(q.score > 0.0 && q.score < 1.0);
    CHECK_STATUS(st_quality_of_text(t, all, s, tag, 0, &q, NULL), ST_OK);
    CHECK(q.n_sentence == 0 && q.doubt_share == -1.0 && q.led_share == -1.0 && q.score == -1.0);
    memset(tag, 0xff, sizeof tag);
    CHECK_STATUS(st_quality_of_text(t, all, s, tag, n, &q, NULL), ST_OK);
    CHECK(q.n_doubt == 0 && q.led_share == -1.0 && q.answer_at == -1.0 && q.checked_after == -1.0);
    CHECK(fabs(q.repeated_share - 1.0 / 6.0) < 0.1);
    st_tagger_free(t);
}

/* ---- files that are wrong -------------------------------------------------------------------- */

#define FILE_NAME "test_tagger.tmp.safetensors"

struct parts {
    const char *format, *version, *tags;
    uint32_t second_key;
    float step;
    bool without_start;
};

static void open_parts(struct parts p, st_status want, const char *says)
{
    static int8_t weight[2 * 2];
    uint32_t key[2] = {5, p.second_key};
    float two[2] = {1, 1}, four[4] = {p.step, 0, 0, 0};
    const st_tensor tensor[] = {
        {"step", ST_TENSOR_F32, 2, {2, 2}, four, 16, 0},
        {"text.scale", ST_TENSOR_F32, 1, {2}, two, 8, 0},
        {"text.key", ST_TENSOR_U32, 1, {2}, key, 8, 0},
        {"text.weight", ST_TENSOR_I8, 2, {2, 2}, weight, 4, 0},
        {"start", ST_TENSOR_F32, 1, {2}, two, 8, 0},
    };
    const char *const meta[][2] = {
        {"format", p.format}, {"format_version", p.version}, {"tags", p.tags}};
    st_tagger *t;
    st_error err = {.message = ""};
    CHECK_STATUS(st_tensors_write(FILE_NAME, tensor, p.without_start ? 4 : 5, meta, 3, NULL),
                 ST_OK);
    CHECK_STATUS(st_tagger_open(FILE_NAME, &t, &err), want);
    CHECK((t != NULL) == (want == ST_OK));
    if (says != NULL && strstr(err.message, says) == NULL) {
        printf("\"%s\" does not say \"%s\"\n", err.message, says);
        check_failed++;
    }
    st_tagger_free(t);
    remove(FILE_NAME);
}

static void test_files(void)
{
    const struct parts good = {"sparsetrace-tagger", "1", "[\"a\",\"b\"]", 6, 0.0f, false};
    struct parts p = good;
    st_tagger *t;
    open_parts(good, ST_OK, NULL);
    p.format = "other";
    open_parts(p, ST_ERR_FORMAT, "not a tagger");
    p = good, p.version = "2";
    open_parts(p, ST_ERR_FORMAT, "version 2");
    p = good, p.tags = "[\"a\"]";
    open_parts(p, ST_ERR_FORMAT, "must be");
    p = good, p.tags = "[]";
    open_parts(p, ST_ERR_FORMAT, "1 to 64");
    p = good, p.tags = "[\"a\",7]";
    open_parts(p, ST_ERR_FORMAT, "tag 1");
    p = good, p.tags = "not JSON";
    open_parts(p, ST_ERR_FORMAT, "tags");
    p = good, p.second_key = 5;
    open_parts(p, ST_ERR_FORMAT, "does not rise at 1");
    p = good, p.step = INFINITY;
    open_parts(p, ST_ERR_FORMAT, "not finite");
    p = good, p.without_start = true;
    open_parts(p, ST_ERR_FORMAT, "\"start\"");
    CHECK_STATUS(st_tagger_open("no such file", &t, NULL), ST_ERR_IO);
}

static void tags_are(const char *content, st_status want, int64_t n_unknown, const char *tags)
{
    st_tagger *t = built_in();
    st_tag_file *f;
    st_error err = {.message = ""};
    int64_t n, unknown;
    char got[64] = "";
    FILE *file = fopen("test_tagger.tmp", "wb");
    fputs(content, file);
    fclose(file);
    CHECK_STATUS(st_tag_file_open("test_tagger.tmp", t, &f, &unknown, &err), want);
    if (want == ST_OK) {
        CHECK_EQ(unknown, n_unknown);
        for (int64_t k = 0;; k++) {
            const int32_t *tag = st_tag_file_get(f, k == 0 ? "first" : "", k, &n);
            if (tag == NULL)
                break;
            for (int64_t i = 0; i < n; i++)
                strcat(got, tag[i] < 0 ? "?" : (char[]){(char)('0' + tag[i]), 0});
            strcat(got, "|");
        }
        CHECK(strcmp(got, tags) == 0);
    }
    CHECK((*err.message != '\0') == (want != ST_OK || n_unknown > 0));
    st_tag_file_free(f);
    st_tagger_free(t);
    remove("test_tagger.tmp");
}

static void test_tag_files(void)
{
    tags_are("problem_setup\nplan_generation\r\n\n\nself_checking\n", ST_OK, 0, "01|6|");
    tags_are("problem_setup\nnonsense", ST_OK, 1, "0?|");
    tags_are("", ST_OK, 0, "");
    tags_are("[{\"function_tags\":[\"plan_generation\",\"self_checking\"]},\"problem_setup\"]",
             ST_OK, 0, "10|");
    tags_are("{\"id\":\"first\",\"sentences\":[{\"tags\":[\"plan_generation\"]}]}\n"
             "{\"sentences\":[]}\n[\"self_checking\",\"odd\"]\n",
             ST_OK, 1, "1||6?|");
    tags_are("[{\"function_tags\":[]}]", ST_ERR_FORMAT, 0, "");
    tags_are("{\"id\":3}", ST_ERR_FORMAT, 0, "");
    tags_are("{\"tags\":[\"problem_setup\"]}\n{broken\n", ST_ERR_FORMAT, 0, "");
}

int main(void)
{
    test_chain();
    test_run();
    test_phases();
    test_quality();
    test_files();
    test_tag_files();
    return check_report();
}
