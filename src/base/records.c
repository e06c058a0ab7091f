/* SPDX-License-Identifier: MIT
 *
 * records.c — writing and reading files of records. The order at a commit: data to the disk, then
 * the length in the head, then that to the disk; for a new file the rename comes last.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/files.h"
#include "base/records.h"

#define BUFFER_BYTES ((size_t)256 * 1024)
#define COPY_BYTES ((size_t)1024 * 1024)
#define FORGET_BYTES ((int64_t)64 * 1024 * 1024)
#define RECORD_MAGIC 0x45525453u /* "STRE" */

struct head {
    char magic[8];
    uint64_t committed;
    uint32_t crc; /* of the two above */
    uint32_t zero;
};

struct record_head {
    uint32_t magic, kind;
    uint64_t bytes;
    uint32_t crc; /* of the payload, then of kind and bytes */
    uint32_t zero;
};

#define CHECKED_FROM 4 /* kind and bytes */
#define CHECKED_BYTES 12

struct sti_records {
    char *path, *part;
    char magic[8];
    int fd;       /* what is written to, locked */
    int old_fd;   /* the file that a rewritten one is to replace; -1: none */
    bool in_part; /* fd is path.part, not yet in place */
    int64_t committed, old_committed;
    int64_t written; /* handed to the system */
    size_t fill;
    char *buffer;
    /* the record being written */
    struct record_head record;
    int64_t record_at;
    /* what was found */
    sti_mapping map;
    sti_record *item;
    int64_t n_item, cap_item;
};

/* ---- making and closing ---------------------------------------------------------------------- */

static void free_records(sti_records *r)
{
    sti_records_unmap(r);
    if (r->fd >= 0)
        close(r->fd);
    if (r->old_fd >= 0)
        close(r->old_fd);
    sti_free(r->path);
    sti_free(r->part);
    sti_free(r->buffer);
    sti_free(r);
}

static sti_records *new_records(const char *path, const char magic[8])
{
    sti_records *r = sti_calloc(sizeof *r);
    if (r == NULL)
        return NULL;
    r->fd = r->old_fd = -1;
    r->map.fd = -1;
    memcpy(r->magic, magic, sizeof r->magic);
    r->path = sti_path_with(path, "");
    r->part = sti_path_with(path, ".part");
    r->buffer = sti_alloc(BUFFER_BYTES);
    if (r->path != NULL && r->part != NULL && r->buffer != NULL)
        return r;
    free_records(r);
    return NULL;
}

/* Leaves room for the head, which the commit writes. */
static st_status start_part(sti_records *r, int *fd, st_error *err)
{
    static const struct head nothing;
    STI_TRY(sti_open_alone(r->part, r->magic, fd, err));
    if (sti_write_all(*fd, &nothing, sizeof nothing))
        return ST_OK;
    sti_fail_io(err, "write", r->part);
    (void)unlink(r->part);
    close(*fd);
    return ST_ERR_IO;
}

st_status sti_records_create(const char *path, const char magic[8], sti_records **records,
                             st_error *err)
{
    sti_records *r;
    st_status status;
    *records = NULL;
    STI_TRY(sti_check_target(path, err));
    r = new_records(path, magic);
    if (r == NULL)
        return sti_fail_mem(err, BUFFER_BYTES);
    status = start_part(r, &r->fd, err);
    if (status != ST_OK) {
        r->fd = -1;
        free_records(r);
        return status;
    }
    r->in_part = true;
    r->committed = r->written = sizeof(struct head);
    *records = r;
    return ST_OK;
}

void sti_records_close(sti_records *r, bool remove)
{
    if (r == NULL)
        return;
    sti_records_rollback(r);
    if (r->in_part)
        (void)unlink(r->part);
    if (remove && !r->in_part)
        (void)unlink(r->path);
    free_records(r);
}

/* ---- reading --------------------------------------------------------------------------------- */

static st_status damaged(const sti_records *r, int64_t at, st_error *err)
{
    return sti_fail(err, ST_ERR_FORMAT, at, "%s is damaged at byte %lld", r->path, (long long)at);
}

static bool all_zero(const uint8_t *p, int64_t n)
{
    while (n > 0 && p[n - 1] == 0)
        n--;
    return n == 0;
}

/* The record at `at`. */
static st_status check_record(const sti_records *r, int64_t at, sti_record *found, st_error *err)
{
    struct record_head h;
    int64_t left = r->map.bytes - at - (int64_t)sizeof h;
    if (left < 0)
        return damaged(r, at, err);
    memcpy(&h, r->map.data + at, sizeof h);
    if (h.magic != RECORD_MAGIC || h.zero != 0 || h.bytes > (uint64_t)left ||
        sti_round_up((int64_t)h.bytes, 8) > left)
        return damaged(r, at, err);
    *found = (sti_record){.kind = h.kind,
                          .at = at + (int64_t)sizeof h,
                          .bytes = (int64_t)h.bytes,
                          .data = r->map.data + at + sizeof h};
    if (sti_crc32(sti_crc32(0, found->data, (size_t)h.bytes), (const char *)&h + CHECKED_FROM,
                  CHECKED_BYTES) != h.crc ||
        !all_zero(found->data + h.bytes, sti_round_up(found->bytes, 8) - found->bytes))
        return damaged(r, at, err);
    return ST_OK;
}

static st_status check_records(sti_records *r, st_error *err)
{
    int64_t forgotten = 0;
    for (int64_t at = sizeof(struct head); at < r->map.bytes;) {
        sti_record found;
        STI_TRY(check_record(r, at, &found, err));
        if (!sti_grow((void **)&r->item, &r->cap_item, r->n_item + 1, sizeof *r->item))
            return sti_fail_mem(err, (size_t)(r->n_item + 1) * sizeof *r->item);
        r->item[r->n_item++] = found;
        at = found.at + sti_round_up(found.bytes, 8);
        if (at - forgotten > FORGET_BYTES) {
            sti_map_forget(&r->map);
            forgotten = at;
        }
    }
    return ST_OK;
}

static st_status read_all(sti_records *r, st_error *err)
{
    struct head h;
    ssize_t n = pread(r->fd, &h, sizeof h, 0);
    if (n < 0)
        return sti_fail_io(err, "read", r->path);
    if (n < (ssize_t)sizeof h)
        return damaged(r, n, err);
    if (memcmp(h.magic, r->magic, sizeof h.magic) != 0)
        return sti_fail(err, ST_ERR_FORMAT, 0, "%s does not begin as such a file does", r->path);
    if (h.crc != sti_crc32(0, &h, 16) || h.zero != 0 || h.committed < sizeof h ||
        h.committed > INT64_MAX || h.committed % 8 != 0)
        return damaged(r, 8, err);
    r->committed = r->written = (int64_t)h.committed;
    STI_TRY(sti_map_start(r->fd, r->path, r->committed, &r->map, err));
    return check_records(r, err);
}

st_status sti_records_open(const char *path, const char magic[8], sti_records **records,
                           st_error *err)
{
    sti_records *r = new_records(path, magic);
    st_status status;
    *records = NULL;
    if (r == NULL)
        return sti_fail_mem(err, BUFFER_BYTES);
    status = sti_open_alone(path, NULL, &r->fd, err);
    if (status != ST_OK)
        r->fd = -1;
    else
        status = read_all(r, err);
    if (status != ST_OK) {
        free_records(r);
        return status;
    }
    sti_records_rollback(r); /* stands behind what counts */
    (void)unlink(r->part);   /* of a rewrite that was cut short */
    *records = r;
    return ST_OK;
}

int64_t sti_records_count(const sti_records *r)
{
    return r->n_item;
}

sti_record sti_records_at(const sti_records *r, int64_t i)
{
    return r->item[i];
}

void sti_records_forget(const sti_records *r)
{
    sti_map_forget(&r->map);
}

void sti_records_unmap(sti_records *r)
{
    sti_unmap(&r->map);
    sti_free(r->item);
    r->item = NULL;
    r->n_item = r->cap_item = 0;
}

/* ---- appending ------------------------------------------------------------------------------- */

static const char *name(const sti_records *r)
{
    return r->in_part ? r->part : r->path;
}

static st_status flush_buffer(sti_records *r, st_error *err)
{
    if (!sti_write_all(r->fd, r->buffer, r->fill))
        return sti_fail_io(err, "write", name(r));
    r->written += (int64_t)r->fill;
    r->fill = 0;
    return ST_OK;
}

static st_status append(sti_records *r, const void *data, size_t bytes, st_error *err)
{
    if (bytes > BUFFER_BYTES - r->fill)
        STI_TRY(flush_buffer(r, err));
    if (bytes > BUFFER_BYTES) {
        if (!sti_write_all(r->fd, data, bytes))
            return sti_fail_io(err, "write", name(r));
        r->written += (int64_t)bytes;
        return ST_OK;
    }
    if (bytes > 0)
        memcpy(r->buffer + r->fill, data, bytes);
    r->fill += bytes;
    return ST_OK;
}

int64_t sti_records_tell(const sti_records *r)
{
    return r->written + (int64_t)r->fill;
}

st_status sti_records_begin(sti_records *r, uint32_t kind, st_error *err)
{
    r->record = (struct record_head){.magic = RECORD_MAGIC, .kind = kind};
    r->record_at = sti_records_tell(r);
    return append(r, &r->record, sizeof r->record, err);
}

st_status sti_records_put(sti_records *r, const void *data, size_t bytes, st_error *err)
{
    r->record.crc = sti_crc32(r->record.crc, data, bytes);
    r->record.bytes += bytes;
    return append(r, data, bytes, err);
}

static st_status put_out(void *ctx, const void *data, size_t bytes, st_error *err)
{
    return sti_records_put(ctx, data, bytes, err);
}

st_out sti_records_out(sti_records *r)
{
    return (st_out){put_out, r};
}

st_status sti_records_end(sti_records *r, st_error *err)
{
    static const char zeros[8];
    struct record_head *h = &r->record;
    h->crc = sti_crc32(h->crc, (const char *)h + CHECKED_FROM, CHECKED_BYTES);
    STI_TRY(append(r, zeros, (size_t)(-h->bytes & 7), err));
    if (r->record_at >= r->written)
        memcpy(r->buffer + (r->record_at - r->written), h, sizeof *h);
    else if (pwrite(r->fd, h, sizeof *h, r->record_at) != (ssize_t)sizeof *h)
        return sti_fail_io(err, "write", name(r));
    return ST_OK;
}

/* ---- commits --------------------------------------------------------------------------------- */

static st_status write_head(sti_records *r, st_error *err)
{
    struct head h = {.committed = (uint64_t)r->written};
    memcpy(h.magic, r->magic, sizeof h.magic);
    h.crc = sti_crc32(0, &h, 16);
    if (pwrite(r->fd, &h, sizeof h, 0) != (ssize_t)sizeof h || fsync(r->fd) != 0)
        return sti_fail_io(err, "write", name(r));
    return ST_OK;
}

static st_status put_in_place(sti_records *r, st_error *err)
{
    if (rename(r->part, r->path) != 0)
        return sti_fail_io(err, "rename to", r->path);
    sti_sync_directory(r->path);
    if (r->old_fd >= 0)
        close(r->old_fd);
    r->old_fd = -1;
    r->in_part = false;
    return ST_OK;
}

st_status sti_records_commit(sti_records *r, st_error *err)
{
    STI_TRY(flush_buffer(r, err));
    if (!r->in_part && fsync(r->fd) != 0) /* the head must not be on the disk before the rest */
        return sti_fail_io(err, "sync", r->path);
    STI_TRY(write_head(r, err));
    if (r->in_part)
        STI_TRY(put_in_place(r, err));
    r->committed = r->written;
    return ST_OK;
}

void sti_records_rollback(sti_records *r)
{
    r->fill = 0;
    if (r->in_part && r->old_fd >= 0) { /* back to the file that still stands */
        (void)unlink(r->part);
        close(r->fd);
        r->fd = r->old_fd;
        r->old_fd = -1;
        r->in_part = false;
        r->committed = r->old_committed;
    }
    /* if it fails, the tail stays: the head says that it never happened */
    if (lseek(r->fd, r->committed, SEEK_SET) == r->committed && ftruncate(r->fd, r->committed) != 0)
        r->fill = 0;
    r->written = r->committed;
}

static st_status copy(sti_records *r, int from, int to, int64_t keep, st_error *err)
{
    char *buffer = sti_alloc(COPY_BYTES);
    st_status status = buffer != NULL ? ST_OK : sti_fail_mem(err, COPY_BYTES);
    for (int64_t at = sizeof(struct head); status == ST_OK && at < keep;) {
        ssize_t n = pread(from, buffer, (size_t)sti_min(keep - at, COPY_BYTES), at);
        if (n <= 0)
            status = sti_fail_io(err, "read", r->path);
        else if (!sti_write_all(to, buffer, (size_t)n))
            status = sti_fail_io(err, "write", r->part);
        at += n;
    }
    sti_free(buffer);
    return status;
}

st_status sti_records_rewrite(sti_records *r, int64_t keep, st_error *err)
{
    int fd;
    st_status status;
    sti_records_rollback(r);
    if (r->in_part || keep > r->committed)
        return sti_fail(err, ST_ERR_ARG, -1, "%s has no %lld committed bytes", r->path,
                        (long long)keep);
    sti_records_unmap(r);
    STI_TRY(start_part(r, &fd, err));
    status = copy(r, r->fd, fd, keep, err);
    if (status != ST_OK) {
        (void)unlink(r->part);
        close(fd);
        return status;
    }
    r->old_fd = r->fd;
    r->old_committed = r->committed;
    r->fd = fd;
    r->in_part = true;
    r->committed = r->written = keep;
    return ST_OK;
}
