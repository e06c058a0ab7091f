/* SPDX-License-Identifier: MIT
 *
 * journal_write.c — appending to the journal. A record is on the file as a whole or not at all:
 * what a full disk cut short is taken back at once, what a crash cut short is found by its
 * checksum.
 */
#include <stddef.h>
#include <unistd.h>

#include "base/checksum.h"
#include "trace/journal.h"
#include "trace/journal_layout.h"

st_status sti_journal_create(sti_journal_out *out, const char *path, st_error *err)
{
    struct journal_head head = {.sealed_bytes = 0};
    st_status status;
    memcpy(head.magic, JOURNAL_MAGIC, sizeof head.magic);
    out->path = sti_path_with(path, "");
    out->bytes = sizeof head;
    out->check = 0;
    if (out->path == NULL)
        return sti_fail_mem(err, strlen(path));
    status = sti_open_alone(path, JOURNAL_MAGIC, &out->fd, err);
    if (status != ST_OK) {
        sti_free(out->path);
        return status;
    }
    if (sti_write_all(out->fd, &head, sizeof head))
        return ST_OK;
    status = sti_fail_io(err, "write", path);
    sti_journal_close(out, true);
    return status;
}

static uint32_t record_checksum(const struct record_head *r, const sti_bytes *piece, int n_piece)
{
    uint32_t crc = sti_crc32(0, (const char *)r + RECORD_CHECKED_FROM, RECORD_CHECKED_BYTES);
    for (int i = 0; i < n_piece; i++)
        crc = sti_crc32(crc, piece[i].data, piece[i].bytes);
    return crc;
}

st_status sti_journal_append(sti_journal_out *out, sti_record_kind kind, const sti_bytes *piece,
                             int n_piece, st_error *err)
{
    static const char zeros[8];
    struct record_head r = {.magic = RECORD_MAGIC, .kind = kind};
    sti_bytes pad = {zeros, 0};
    bool ok;
    for (int i = 0; i < n_piece; i++)
        r.bytes += piece[i].bytes;
    pad.bytes = (size_t)(-r.bytes & 7);
    r.bytes += pad.bytes;
    r.crc = record_checksum(&r, piece, n_piece);
    r.crc = sti_crc32(r.crc, pad.data, pad.bytes);
    ok = sti_write_all(out->fd, &r, sizeof r);
    for (int i = 0; i < n_piece && ok; i++)
        ok = sti_write_all(out->fd, piece[i].data, piece[i].bytes);
    if (ok && sti_write_all(out->fd, pad.data, pad.bytes)) {
        out->bytes += (int64_t)(sizeof r + r.bytes);
        out->check = sti_crc32(out->check, &r.crc, sizeof r.crc);
        return ST_OK;
    }
    sti_fail_io(err, "write", out->path);
    (void)lseek(out->fd, out->bytes, SEEK_SET);
    if (ftruncate(out->fd, out->bytes) != 0)
        return ST_ERR_IO; /* the torn record stays, its checksum gives it away */
    return ST_ERR_IO;
}

st_status sti_journal_seal(sti_journal_out *out, st_error *err)
{
    uint64_t bytes = (uint64_t)out->bytes;
    if (pwrite(out->fd, &bytes, 8, offsetof(struct journal_head, sealed_bytes)) != 8)
        return sti_fail_io(err, "write", out->path);
    return ST_OK;
}

st_status sti_journal_sync(sti_journal_out *out, st_error *err)
{
    return fsync(out->fd) == 0 ? ST_OK : sti_fail_io(err, "sync", out->path);
}

st_status sti_journal_reopen(sti_journal_out *out, const char *path, st_error *err)
{
    st_status status;
    *out = (sti_journal_out){.path = sti_path_with(path, "")};
    if (out->path == NULL)
        return sti_fail_mem(err, strlen(path));
    status = sti_open_alone(path, NULL, &out->fd, err);
    if (status != ST_OK)
        sti_free(out->path);
    return status;
}

st_status sti_journal_cut_to(sti_journal_out *out, int64_t bytes, uint32_t check, st_error *err)
{
    static const uint64_t not_sealed;
    if (ftruncate(out->fd, bytes) != 0 || lseek(out->fd, bytes, SEEK_SET) != bytes ||
        pwrite(out->fd, &not_sealed, 8, offsetof(struct journal_head, sealed_bytes)) != 8)
        return sti_fail_io(err, "cut", out->path);
    out->bytes = bytes;
    out->check = check;
    return ST_OK;
}

void sti_journal_close(sti_journal_out *out, bool remove)
{
    if (remove)
        (void)unlink(out->path);
    close(out->fd);
    sti_free(out->path);
}
