/* SPDX-License-Identifier: MIT
 *
 * fuzz_trace.c — any bytes as a trace, as plain safetensors, or as the journal of an interrupted
 * run: they are refused or used, and never more than that.
 *
 * With -DST_FUZZ_ENGINE only LLVMFuzzerTestOneInput is here, for libFuzzer and its like. Without
 * it, main mutates the golden trace and a journal by a fixed sequence:
 *
 *   fuzz_trace [COUNT [SEED]]    COUNT mutations of each (default 3000)
 *   fuzz_trace FILE...           just these inputs
 */
#include <sys/mman.h>

#include "../format/sample_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static st_status try_trace(const char *path)
{
    st_tensors *f;
    st_trace *t;
    st_status status = st_tensors_open(path, &f, NULL);
    int64_t sum = 0;
    for (int64_t i = 0; status == ST_OK && i < st_tensors_count(f); i++)
        for (size_t b = 0; b < st_tensors_at(f, i)->bytes; b++)
            sum += ((const uint8_t *)st_tensors_at(f, i)->data)[b];
    if (status == ST_OK)
        st_tensors_free(f);
    status = st_trace_open(path, &t, NULL);
    if (status != ST_OK)
        return status;
    sum += sample_use(t);
    status = st_trace_validate(t, NULL);
    st_trace_free(t);
    return sum == INT64_MIN ? ST_ERR_FORMAT : status;
}

/* What can be salvaged from a journal is a valid trace. */
static void try_journal(const char *path)
{
    const char *out = sample_path("salvaged.safetensors");
    st_error err;
    st_trace *t;
    if (st_trace_salvage(path, out, NULL, NULL) != ST_OK)
        return;
    if (st_trace_open(out, &t, &err) != ST_OK || st_trace_validate(t, &err) != ST_OK) {
        fprintf(stderr, "a bad trace was salvaged: %s\n", err.message);
        abort();
    }
    st_trace_free(t);
    remove(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (size >= 6 && memcmp(data, "STPART", 6) == 0)
        try_journal(path);
    else
        (void)try_trace(path);
    close(fd);
    return 0;
}

#ifndef ST_FUZZ_ENGINE

/* ---- mutations ------------------------------------------------------------------------------- */

static uint64_t state;

/* A number below n. */
static size_t pick(size_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return n == 0 ? 0 : (size_t)((state >> 33) % n);
}

struct input {
    uint8_t *data;
    size_t size;
};

static const uint64_t odd[] = {0,          1,          0x7f,      0x80,
                               0xff,       0x7fff,     0xffff,    0x7fffffff,
                               0x80000000, 0xffffffff, INT64_MAX, (uint64_t)INT64_MIN,
                               UINT64_MAX, 0x7e00,     0x3c01};

/* Overwrites an aligned field of 1 to 8 bytes, a random byte or a random bit of [from, size). */
static void poke(struct input *in, size_t from)
{
    size_t width = (size_t)1 << pick(4), at = from + pick(in->size - from);
    uint64_t value = odd[pick(sizeof odd / sizeof *odd)];
    if (pick(3) == 0) {
        in->data[at] ^= (uint8_t)(1 << pick(8));
        return;
    }
    if (pick(3) == 0) {
        in->data[at] = (uint8_t)pick(256);
        return;
    }
    at = at / width * width;
    if (at + width <= in->size)
        memcpy(in->data + at, &value, width);
}

/* Puts a number where the header has one: the likeliest way for a hostile file to lie. */
static void edit_number(struct input *in)
{
    static const char *const number[] = {"0",
                                         "1",
                                         "2",
                                         "7",
                                         "51",
                                         "-1",
                                         "1e9",
                                         "2147483647",
                                         "4294967296",
                                         "9223372036854775807",
                                         "18446744073709551615",
                                         "0.5",
                                         "null",
                                         "[]",
                                         "\\\"x\\\""};
    const char *put = number[pick(sizeof number / sizeof *number)];
    uint64_t n;
    size_t at, end, len = strlen(put);
    uint8_t *new;
    memcpy(&n, in->data, 8);
    if (n < 16 || n > in->size - 8)
        return;
    at = 8 + pick((size_t)n);
    while (at < 8 + n && (in->data[at] < '0' || in->data[at] > '9'))
        at++;
    for (end = at; end < 8 + n && in->data[end] >= '0' && in->data[end] <= '9'; end++)
        continue;
    new = malloc(in->size + len);
    memcpy(new, in->data, at);
    memcpy(new + at, put, len);
    memcpy(new + at + len, in->data + end, in->size - end);
    n += len - (end - at);
    memcpy(new, &n, 8);
    in->size += len - (end - at);
    free(in->data);
    in->data = new;
}

static void mutate_trace(struct input *in)
{
    for (size_t i = 1 + pick(3); i > 0; i--) {
        uint64_t n = 0;
        memcpy(&n, in->data, in->size < 8 ? in->size : 8);
        switch (pick(6)) {
        case 0: in->size = pick(in->size) + 1; break;
        case 1: poke(in, 0); break;
        case 2: /* in the data alone */
            if (n < in->size - 8 && in->size > 8)
                poke(in, 8 + n);
            break;
        default:
            if (in->size > 8)
                edit_number(in);
        }
        if (in->size < 9)
            return;
    }
}

static uint32_t crc32(const uint8_t *p, size_t n, uint32_t crc)
{
    for (crc = ~crc; n > 0; n--, p++) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Pokes into one record and mends its checksum, so that what is behind the checksum is tried. */
static void mutate_journal(struct input *in)
{
    size_t at = 16, n_record = 0, which;
    uint64_t bytes;
    uint32_t crc;
    for (; at + 24 <= in->size; at += 24 + bytes, n_record++)
        memcpy(&bytes, in->data + at + 8, 8);
    which = pick(n_record);
    for (at = 16; which > 0; which--) {
        memcpy(&bytes, in->data + at + 8, 8);
        at += 24 + bytes;
    }
    memcpy(&bytes, in->data + at + 8, 8);
    for (size_t i = 1 + pick(3); i > 0; i--) {
        struct input payload = {in->data + at + 24, bytes};
        if (pick(2) == 0 && bytes > 160) /* a chunk's or the begin record's fields */
            payload.size = 160;
        poke(&payload, 0);
    }
    crc = crc32(in->data + at + 24, bytes, crc32(in->data + at + 4, 12, 0));
    memcpy(in->data + at + 16, &crc, 4);
    if (pick(20) == 0)
        in->size = pick(in->size);
}

/* ---- running --------------------------------------------------------------------------------- */

static struct input load(const char *path)
{
    struct input in;
    in.data = (uint8_t *)sample_load(path, &in.size);
    if (in.data == NULL) {
        perror(path);
        exit(1);
    }
    return in;
}

static void run(const struct input *seed, void (*mutate)(struct input *), long count)
{
    LLVMFuzzerTestOneInput(seed->data, seed->size);
    for (long i = 0; i < count; i++) {
        struct input in = {malloc(seed->size), seed->size};
        memcpy(in.data, seed->data, seed->size);
        mutate(&in);
        LLVMFuzzerTestOneInput(in.data, in.size);
        free(in.data);
    }
}

static struct input make_journal(void)
{
    sample s = sample_default();
    st_trace_options opt = {.lse = true,
                            .mass_floor = 0.005f,
                            .group = s.group = sample_groups,
                            .n_group = s.n_group = SAMPLE_GROUPS};
    st_trace_writer *w;
    s.value = true;
    if (st_trace_writer_create(sample_path("f.safetensors"), 50, 8, 4, &opt, &w, NULL) != ST_OK ||
        sample_tokens(&s, w, NULL) != ST_OK ||
        st_trace_writer_json(w, "recipe", "{\"seed\": 1}", NULL) != ST_OK ||
        sample_add(&s, w, 0, 50, NULL) != ST_OK)
        abort();
    st_trace_writer_free(w, true);
    return load(sample_path("f.safetensors.part"));
}

/* A trace with all that the golden one lacks. */
static struct input make_trace(void)
{
    sample s = sample_default();
    st_trace_options opt = {.group = s.group = sample_groups, .n_group = s.n_group = SAMPLE_GROUPS};
    s.value = true;
    if (sample_write(&s, sample_path("g.safetensors"), &opt, NULL) != ST_OK)
        abort();
    return load(sample_path("g.safetensors"));
}

int main(int argc, char **argv)
{
    char *end;
    long count = argc > 1 ? strtol(argv[1], &end, 10) : 3000;
    struct input trace, grouped, journal;
    if (argc > 1 && *end != '\0') {
        for (int i = 1; i < argc; i++) {
            struct input in = load(argv[i]);
            LLVMFuzzerTestOneInput(in.data, in.size);
            free(in.data);
        }
        return 0;
    }
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    trace = load(sample_golden("trace.safetensors"));
    grouped = make_trace();
    journal = make_journal();
    run(&trace, mutate_trace, count);
    run(&grouped, mutate_trace, count);
    run(&journal, mutate_journal, count);
    printf("%ld mutations of each of two traces and a journal\n", count);
    free(trace.data);
    free(grouped.data);
    free(journal.data);
    return 0;
}

#endif
