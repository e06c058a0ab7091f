/* SPDX-License-Identifier: MIT
 *
 * fuzz_tasks.c — any bytes as a file of samples: every line is refused or is a whole sample.
 *
 * With -DST_FUZZ_ENGINE only LLVMFuzzerTestOneInput is here, for libFuzzer and its like. Without
 * it, main mutates a file of good lines by a fixed sequence:
 *
 *   fuzz_tasks [COUNT [SEED]]    COUNT mutations (default 3000)
 */
#include "../format/sample_trace.h"
#include "sparsetrace/tasks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything a sample promises. */
static void use(const st_task_sample *s)
{
    int64_t n = (int64_t)strlen(s->input), end = 0;
    if (n == 0 || s->n_output < 1 || s->answer == NULL || s->answer_prefix == NULL)
        abort();
    for (int64_t i = 0; i < s->n_output; i++)
        if (strlen(s->output[i]) > (size_t)1 << 20)
            abort();
    for (int64_t i = 0; i < s->n_evidence; i++) {
        if (s->evidence[i].begin < 0 || s->evidence[i].end > n ||
            s->evidence[i].begin >= s->evidence[i].end)
            abort();
        end += s->evidence[i].end;
    }
    if (st_task_score(s, s->answer) < 0.0 || end < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = sample_path("fuzz.jsonl");
    st_task_reader *r;
    st_task_sample *s;
    st_status status;
    sample_store(path, data, size);
    if (st_task_reader_open(path, &r, NULL) != ST_OK)
        abort();
    do {
        status = st_task_reader_next(r, &s, NULL);
        if (status == ST_OK && s != NULL) {
            use(s);
            st_task_sample_free(s);
        } else if (status != ST_OK && s != NULL) {
            abort();
        }
    } while (status != ST_OK || s != NULL);
    st_task_reader_free(r);
    return 0;
}

#ifndef ST_FUZZ_ENGINE

static const char seed_text[] =
    "{\"index\":3,\"input\":\"A\\nOne of the special magic numbers for a is: 12. B\",\"outputs\":"
    "[\"12\"],\"length\":40,\"answer_prefix\":\" The special magic number for a is\"}\n"
    "{\"input\":\"VAR \\u00e9 = 1\",\"outputs\":[\"A\",\"B\"],\"answer_prefix\":\" in the "
    "chain(s) of variable assignment\",\"task\":\"vt\",\"max_length\":64,\"answer\":\" A B\","
    "\"evidence\":[[0,4],[4,9]]}\n";

static uint64_t state;

/* A number below n. */
static size_t pick(size_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return n == 0 ? 0 : (size_t)((state >> 33) % n);
}

int main(int argc, char **argv)
{
    static const char odd[] = "\"\\{}[]:,\n0-9e\x00\xff\xc3u";
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 3000;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (long i = 0; i < count; i++) {
        char data[sizeof seed_text];
        size_t size = sizeof seed_text - 1;
        memcpy(data, seed_text, sizeof data);
        for (size_t n = 1 + pick(4); n > 0; n--)
            data[pick(size)] = odd[pick(sizeof odd - 1)];
        if (pick(8) == 0)
            size = pick(size);
        LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    }
    printf("%ld mutations of a file of samples\n", count);
    return 0;
}

#endif
