/* SPDX-License-Identifier: MIT
 *
 * fuzz_records.c — any bytes as a file of records: refused, or every record lies within them.
 *
 * With -DST_FUZZ_ENGINE only LLVMFuzzerTestOneInput is here, for libFuzzer and its like. Without
 * it, main mutates a file by a fixed sequence, checksums mended:
 *
 *   fuzz_records [COUNT [SEED]]    COUNT mutations (default 3000)
 */

#include "../format/sample_trace.h"
#include "base/checksum.h"
#include "base/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char magic[8] = "STFUZZ1\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = sample_path("fuzz");
    sti_records *r;
    int64_t sum = 0;
    sample_store(path, data, size);
    if (sti_records_open(path, magic, &r, NULL) != ST_OK)
        return 0;
    for (int64_t i = 0; i < sti_records_count(r); i++) {
        sti_record x = sti_records_at(r, i);
        if (x.at < 0 || x.bytes < 0 || x.at + x.bytes > (int64_t)size)
            abort();
        for (int64_t b = 0; b < x.bytes; b++)
            sum += x.data[b];
    }
    sti_records_close(r, false);
    return sum < 0;
}

#ifndef ST_FUZZ_ENGINE

static uint64_t state;

/* A number below n. */
static size_t pick(size_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return n == 0 ? 0 : (size_t)((state >> 33) % n);
}

/* Overwrites a field of the head or of some record's head, or a byte; the checksums are made to
 * agree again, as far as the lengths still lead from record to record. */
static void mutate(uint8_t *data, size_t size)
{
    static const uint64_t odd[] = {0, 1, 7, 8, 24, 1000, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    uint32_t crc;
    for (size_t at = 24; at + 24 <= size;) {
        uint64_t bytes;
        if (pick(3) == 0)
            memcpy(data + at + 8, &odd[pick(9)], 8);
        if (pick(5) == 0)
            data[at + pick(24)] ^= (uint8_t)(1 << pick(8));
        memcpy(&bytes, data + at + 8, 8);
        if (bytes > size - at - 24)
            break;
        crc = sti_crc32(sti_crc32(0, data + at + 24, bytes), data + at + 4, 12);
        memcpy(data + at + 16, &crc, 4);
        at += 24 + (bytes + 7) / 8 * 8;
    }
    if (pick(2) == 0)
        memcpy(data + 8, &odd[pick(9)], 8);
    crc = sti_crc32(0, data, 16);
    memcpy(data + 16, &crc, 4);
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 3000;
    const char *path = sample_path("seed");
    sti_records *r;
    size_t size = 0;
    char *seed;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (sti_records_create(path, magic, &r, NULL) != ST_OK)
        abort();
    for (uint32_t i = 0; i < 5; i++)
        if (sti_records_begin(r, i, NULL) != ST_OK || sti_records_put(r, magic, i, NULL) != ST_OK ||
            sti_records_put(r, &state, i, NULL) != ST_OK || sti_records_end(r, NULL) != ST_OK)
            abort();
    if (sti_records_commit(r, NULL) != ST_OK)
        abort();
    sti_records_close(r, false);
    seed = sample_load(path, &size);
    for (long i = 0; i < count; i++) {
        uint8_t *data = malloc(size);
        memcpy(data, seed, size);
        mutate(data, size);
        LLVMFuzzerTestOneInput(data, pick(10) == 0 ? pick(size) : size);
        free(data);
    }
    free(seed);
    printf("%ld mutations of a file of records\n", count);
    return 0;
}

#endif
