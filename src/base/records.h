/* SPDX-License-Identifier: MIT
 *
 * records.h — a file of checksummed records that grows by commits: what a checkpoint is kept in.
 *
 *   bytes 0 .. 23    magic (8), u64: length of what is committed, u32: CRC-32 of these 16, zero (4)
 *   then records     u32 "STRE", u32 kind, u64 bytes, u32: CRC-32 of the payload and of kind and
 *                    bytes, zero (4); the payload; zeros up to a multiple of 8
 *
 * What lies behind the committed length never happened. What lies before it must be sound to the
 * last bit, or the file is refused. A process that dies at any moment leaves the last commit.
 */
#ifndef STI_RECORDS_H
#define STI_RECORDS_H

#include "base/util.h"

typedef struct sti_records sti_records;

typedef struct sti_record {
    uint32_t kind;
    int64_t at; /* of the payload in the file */
    int64_t bytes;
    const uint8_t *data; /* a multiple of 8 into a page */
} sti_record;

/* A new file: `path.part` until the first commit, which puts it in place of what is at `path`.
 * Errors: ST_ERR_IO, ST_ERR_MEM. */
st_status sti_records_create(const char *path, const char magic[8], sti_records **r, st_error *err);

/* Opens what was committed at `path`, reads and checks it; a `path.part` beside it goes.
 * ST_ERR_FORMAT with the byte at fault, ST_ERR_IO (no such file, in use), ST_ERR_MEM. */
st_status sti_records_open(const char *path, const char magic[8], sti_records **r, st_error *err);

/* NULL is fine. Without `remove` the file holds what was committed (nothing: it is not there). */
void sti_records_close(sti_records *r, bool remove);

/* ---- reading: what sti_records_open found ---------------------------------------------------- */

int64_t sti_records_count(const sti_records *r);
sti_record sti_records_at(const sti_records *r, int64_t i);
/* Gives the memory of what was read back; it may be read again. */
void sti_records_forget(const sti_records *r);
/* No more reading. */
void sti_records_unmap(sti_records *r);

/* ---- appending ------------------------------------------------------------------------------- */

/* One record: begin, the payload in pieces, end. Errors: ST_ERR_IO; then call sti_records_rollback.
 */
st_status sti_records_begin(sti_records *r, uint32_t kind, st_error *err);
st_status sti_records_put(sti_records *r, const void *data, size_t bytes, st_error *err);
st_status sti_records_end(sti_records *r, st_error *err);
st_out sti_records_out(sti_records *r); /* sti_records_put */

int64_t sti_records_tell(const sti_records *r); /* length of the file, as far as it is written */

/* Brings everything to the disk and makes it count. */
st_status sti_records_commit(sti_records *r, st_error *err);
/* Forgets what was appended since the last commit. */
void sti_records_rollback(sti_records *r);

/* Begins the file anew with its first `keep` bytes, a record's end at or before the committed
 * length: as after sti_records_create, until the next commit the old file stands. */
st_status sti_records_rewrite(sti_records *r, int64_t keep, st_error *err);

#endif
