/* SPDX-License-Identifier: MIT
 *
 * npz.c — a trace as a NumPy archive that scipy.sparse.load_npz opens: a zip file of .npy arrays,
 * stored.
 *
 * Every member carries the zip64 fields, needed or not: one path, tested at any size. A member's
 * checksum is known only after its data; its place in the local header is filled then.
 */
#include <stdio.h>

#include "base/checksum.h"
#include "base/files.h"
#include "trace/trace_int.h"

#define N_MEMBER 8
#define LOCAL_BYTES 30
#define LOCAL_EXTRA_BYTES 20
#define CRC_OFFSET 14 /* of the checksum in the local header */
#define NPY_HEADER_BYTES 128
#define MSDOS_DATE 0x0021 /* 1980-01-01: the same trace gives the same bytes */

struct member {
    char name[24]; /* with .npy */
    int64_t offset, bytes;
    uint32_t crc;
};

struct archive {
    sti_outfile *out;
    struct member member[N_MEMBER];
    int n_member;
};

/* ---- zip ------------------------------------------------------------------------------------- */

/* A small buffer of little-endian fields. */
struct fields {
    uint8_t byte[128];
    size_t n;
};

static void put(struct fields *f, uint64_t value, size_t bytes)
{
    memcpy(f->byte + f->n, &value, bytes);
    f->n += bytes;
}

static void put_text(struct fields *f, const char *s)
{
    memcpy(f->byte + f->n, s, strlen(s));
    f->n += strlen(s);
}

/* What local and central headers have in common, from "version needed" to the name's length. */
static void put_common(struct fields *f, const struct member *m, uint64_t extra_bytes)
{
    put(f, 45, 2); /* version needed: zip64 */
    put(f, 0, 2);  /* flags */
    put(f, 0, 2);  /* stored */
    put(f, 0, 2);  /* time */
    put(f, MSDOS_DATE, 2);
    put(f, m->crc, 4);
    put(f, 0xffffffff, 4); /* sizes are in the zip64 field */
    put(f, 0xffffffff, 4);
    put(f, strlen(m->name), 2);
    put(f, extra_bytes, 2);
}

static st_status begin_member(struct archive *z, const char *name, int64_t bytes, st_error *err)
{
    struct fields f = {.n = 0};
    struct member *m = &z->member[z->n_member];
    *m = (struct member){.offset = sti_outfile_tell(z->out), .bytes = bytes};
    snprintf(m->name, sizeof m->name, "%s.npy", name);
    put(&f, 0x04034b50, 4);
    put_common(&f, m, LOCAL_EXTRA_BYTES);
    put_text(&f, m->name);
    put(&f, 1, 2); /* zip64: id, length, size, stored size */
    put(&f, 16, 2);
    put(&f, (uint64_t)bytes, 8);
    put(&f, (uint64_t)bytes, 8);
    return sti_outfile_write(z->out, f.byte, f.n, err);
}

static st_status member_bytes(struct archive *z, const void *data, size_t bytes, st_error *err)
{
    struct member *m = &z->member[z->n_member];
    m->crc = sti_crc32(m->crc, data, bytes);
    return sti_outfile_write(z->out, data, bytes, err);
}

static st_status end_member(struct archive *z, st_error *err)
{
    struct member *m = &z->member[z->n_member++];
    return sti_outfile_patch(z->out, m->offset + CRC_OFFSET, &m->crc, sizeof m->crc, err);
}

static st_status write_central(struct archive *z, const struct member *m, st_error *err)
{
    struct fields f = {.n = 0};
    put(&f, 0x02014b50, 4);
    put(&f, 45 | 3 << 8, 2); /* made by: zip64, Unix */
    put_common(&f, m, 28);
    put(&f, 0, 2); /* comment */
    put(&f, 0, 2); /* disk */
    put(&f, 0, 2);
    put(&f, 0644u << 16, 4); /* mode */
    put(&f, 0xffffffff, 4);  /* offset is in the zip64 field */
    put_text(&f, m->name);
    put(&f, 1, 2);
    put(&f, 24, 2);
    put(&f, (uint64_t)m->bytes, 8);
    put(&f, (uint64_t)m->bytes, 8);
    put(&f, (uint64_t)m->offset, 8);
    return sti_outfile_write(z->out, f.byte, f.n, err);
}

static st_status end_archive(struct archive *z, st_error *err)
{
    struct fields f = {.n = 0};
    uint64_t begin = (uint64_t)sti_outfile_tell(z->out), end;
    for (int i = 0; i < z->n_member; i++)
        STI_TRY(write_central(z, &z->member[i], err));
    end = (uint64_t)sti_outfile_tell(z->out);
    put(&f, 0x06064b50, 4); /* zip64 end record */
    put(&f, 44, 8);
    put(&f, 45 | 3 << 8, 2);
    put(&f, 45, 2);
    put(&f, 0, 4);
    put(&f, 0, 4);
    put(&f, (uint64_t)z->n_member, 8);
    put(&f, (uint64_t)z->n_member, 8);
    put(&f, end - begin, 8);
    put(&f, begin, 8);
    put(&f, 0x07064b50, 4); /* where that record is */
    put(&f, 0, 4);
    put(&f, end, 8);
    put(&f, 1, 4);
    put(&f, 0x06054b50, 4); /* end record */
    put(&f, 0, 4);
    put(&f, (uint64_t)z->n_member, 2);
    put(&f, (uint64_t)z->n_member, 2);
    put(&f, 0xffffffff, 4);
    put(&f, 0xffffffff, 4);
    put(&f, 0, 2);
    return sti_outfile_write(z->out, f.byte, f.n, err);
}

/* ---- npy ------------------------------------------------------------------------------------- */

/* Begins a member that holds an array of n elements (n < 0: a scalar). */
static st_status begin_array(struct archive *z, const char *name, const char *descr,
                             int64_t elem_bytes, int64_t n, st_error *err)
{
    char header[NPY_HEADER_BYTES + 1], shape[32] = "";
    uint16_t length = NPY_HEADER_BYTES - 10;
    int used;
    if (n >= 0)
        snprintf(shape, sizeof shape, "%lld,", (long long)n);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    memcpy(header + 8, &length, 2);
    used = 10 + snprintf(header + 10, sizeof header - 10,
                         "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    memset(header + used, ' ', (size_t)(NPY_HEADER_BYTES - used));
    header[NPY_HEADER_BYTES - 1] = '\n';
    STI_TRY(begin_member(z, name, NPY_HEADER_BYTES + (n < 0 ? 1 : n) * elem_bytes, err));
    return member_bytes(z, header, NPY_HEADER_BYTES, err);
}

static st_status write_format(struct archive *z, int64_t n_row, int64_t n_col, st_error *err)
{
    int64_t shape[2] = {n_row, n_col};
    STI_TRY(begin_array(z, "format", "|S3", 3, -1, err));
    STI_TRY(member_bytes(z, "csr", 3, err));
    STI_TRY(end_member(z, err));
    STI_TRY(begin_array(z, "shape", "<i8", 8, 2, err));
    STI_TRY(member_bytes(z, shape, sizeof shape, err));
    return end_member(z, err);
}

static int64_t count_good(const st_trace *t, const sti_entries *e)
{
    int64_t n = 0;
    for (int64_t i = 0; i < e->n; i++)
        n += sti_entry_ok(t, e, i);
    return n;
}

/* The row pointers; gives the number of entries. */
static st_status write_pointers(struct archive *z, sti_walk *w, int64_t *nnz, st_error *err)
{
    *nnz = 0;
    STI_TRY(begin_array(z, "indptr", "<i8", 8, w->n_row + 1, err));
    STI_TRY(member_bytes(z, nnz, sizeof *nnz, err));
    for (sti_walk_rewind(w); sti_walk_next(w);) {
        sti_entries e = sti_trace_entries(w->trace, w->layer, w->h, w->blk);
        *nnz += count_good(w->trace, &e);
        STI_TRY(member_bytes(z, nnz, sizeof *nnz, err));
    }
    return end_member(z, err);
}

static st_status write_entries(struct archive *z, sti_walk *w, int64_t nnz, bool mass,
                               st_error *err)
{
    STI_TRY(begin_array(z, mass ? "data" : "indices", mass ? "<f4" : "<i4", 4, nnz, err));
    for (sti_walk_rewind(w); sti_walk_next(w);) {
        sti_entries e = sti_trace_entries(w->trace, w->layer, w->h, w->blk);
        for (int64_t i = 0; i < e.n; i++) {
            float m = sti_f16_f32(e.mass[i]);
            if (sti_entry_ok(w->trace, &e, i))
                STI_TRY(member_bytes(z, mass ? (const void *)&m : &e.indices[i], 4, err));
        }
    }
    return end_member(z, err);
}

/* One array of what row r is: 0 the layer, 1 the head, 2 the query block. */
static st_status write_row_names(struct archive *z, sti_walk *w, int which, st_error *err)
{
    static const char *const name[] = {"layer", "head", "query_block"};
    STI_TRY(begin_array(z, name[which], "<i4", 4, w->n_row, err));
    for (sti_walk_rewind(w); sti_walk_next(w);) {
        int32_t value[3] = {w->layer->pub.layer, w->layer->pub.head[w->h], (int32_t)w->blk};
        STI_TRY(member_bytes(z, &value[which], 4, err));
    }
    return end_member(z, err);
}

static st_status write_archive(struct archive *z, sti_walk *w, st_error *err)
{
    int64_t nnz;
    STI_TRY(write_format(z, w->n_row, w->trace->info.nbk, err));
    STI_TRY(write_pointers(z, w, &nnz, err));
    STI_TRY(write_entries(z, w, nnz, false, err));
    STI_TRY(write_entries(z, w, nnz, true, err));
    for (int which = 0; which < 3; which++)
        STI_TRY(write_row_names(z, w, which, err));
    return end_archive(z, err);
}

st_status st_trace_export_npz(const st_trace *t, const st_trace_part *part, const char *path,
                              st_error *err)
{
    struct archive z = {.n_member = 0};
    sti_walk w;
    st_status status;
    STI_TRY(sti_walk_init(&w, t, part, err));
    STI_TRY(sti_outfile_create(path, &z.out, err));
    status = write_archive(&z, &w, err);
    if (status == ST_OK)
        return sti_outfile_commit(z.out, err);
    sti_outfile_abandon(z.out);
    return status;
}
