/* SPDX-License-Identifier: MIT
 *
 * files.c — mapping, and write-sync-rename. The order matters: data reaches the disk before the
 * name does, so after a crash the name holds the old file or the whole new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

#define BUFFER_BYTES ((size_t)256 * 1024)

char *sti_path_with(const char *path, const char *suffix)
{
    size_t a = strlen(path), b = strlen(suffix);
    char *s = sti_alloc(a + b + 1);
    if (s != NULL) {
        memcpy(s, path, a);
        memcpy(s + a, suffix, b + 1);
    }
    return s;
}

/* /dev/stdout and its like: a rename would replace the link itself. */
static bool names_open_file(const char *path)
{
    char to[8];
    return readlink(path, to, sizeof to) >= 6 && memcmp(to, "/proc/", 6) == 0;
}

st_status sti_check_target(const char *path, st_error *err)
{
    struct stat st;
    if (path == NULL || *path == '\0')
        return sti_fail(err, ST_ERR_ARG, -1, "the output path is empty");
    if (stat(path, &st) != 0 || (S_ISREG(st.st_mode) && !names_open_file(path)))
        return ST_OK; /* a path that cannot be had at all fails when it is created */
    if (S_ISDIR(st.st_mode))
        errno = EISDIR;
    else
        return sti_fail(err, ST_ERR_IO, -1, "cannot write %s: it is not a regular file", path);
    return sti_fail_io(err, "write", path);
}

/* Empty, or 8 bytes of `magic` or of nothing yet. */
static bool may_be_emptied(int fd, const char *magic)
{
    static const char nothing[8];
    char head[8];
    ssize_t n = pread(fd, head, sizeof head, 0);
    return n == 0 || (n == sizeof head && (memcmp(head, magic, sizeof head) == 0 ||
                                           memcmp(head, nothing, sizeof head) == 0));
}

st_status sti_open_alone(const char *path, const char *magic, int *fd, st_error *err)
{
    bool make = magic != NULL;
    const char *what = make ? "create" : "open";
    struct stat st;
    st_status status = ST_OK;
    *fd = open(path, O_RDWR | (make ? O_CREAT : 0) | O_CLOEXEC | O_NONBLOCK, 0666);
    if (*fd < 0)
        return sti_fail_io(err, what, path);
    if (fstat(*fd, &st) != 0)
        status = sti_fail_io(err, what, path);
    else if (!S_ISREG(st.st_mode))
        status = sti_fail(err, ST_ERR_IO, -1, "cannot write %s: it is not a regular file", path);
    else if (flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) /* else: no locks here */
        status = sti_fail(err, ST_ERR_IO, -1, "cannot write %s: another process is using it", path);
    else if (make && !may_be_emptied(*fd, magic))
        status = sti_fail(err, ST_ERR_IO, -1,
                          "cannot write %s: a file that is not ours is there; move it away", path);
    else if (make && ftruncate(*fd, 0) != 0)
        status = sti_fail_io(err, "empty", path);
    if (status != ST_OK)
        close(*fd);
    return status;
}

bool sti_write_all(int fd, const void *data, size_t bytes)
{
    const char *p = data;
    while (bytes > 0) {
        ssize_t n = write(fd, p, bytes < ((size_t)1 << 30) ? bytes : (size_t)1 << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

void sti_sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = sti_path_with(path, "");
    int fd;
    if (dir == NULL)
        return;
    if (slash == NULL)
        strcpy(dir, ".");
    else
        dir[slash == path ? 1 : slash - path] = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    sti_free(dir);
}

/* ---- mapping --------------------------------------------------------------------------------- */

/* bytes -1: all of them */
static st_status map_some(int fd, const char *path, int64_t bytes, sti_mapping *map, st_error *err)
{
    struct stat st;
    void *p;
    *map = (sti_mapping){.data = (const uint8_t *)"", .bytes = 0, .fd = -1};
    if (fstat(fd, &st) != 0)
        return sti_fail_io(err, "read", path);
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return sti_fail_io(err, "read", path);
    }
    if (!S_ISREG(st.st_mode))
        return sti_fail(err, ST_ERR_IO, -1, "cannot read %s: it is not a regular file", path);
    if (bytes > st.st_size)
        return sti_fail(err, ST_ERR_FORMAT, st.st_size, "%s ends at byte %lld, it had %lld", path,
                        (long long)st.st_size, (long long)bytes);
    if (bytes < 0)
        bytes = st.st_size;
    if (bytes == 0)
        return ST_OK;
    p = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return sti_fail_io(err, "map", path);
    map->data = p;
    map->bytes = bytes;
    return ST_OK;
}

st_status sti_map_fd(int fd, const char *path, sti_mapping *map, st_error *err)
{
    return map_some(fd, path, -1, map, err);
}

st_status sti_map_start(int fd, const char *path, int64_t bytes, sti_mapping *map, st_error *err)
{
    return map_some(fd, path, bytes, map, err);
}

st_status sti_map_path(const char *path, sti_mapping *map, st_error *err)
{
    st_status status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* do not wait for a pipe's writer */
    if (fd < 0) {
        *map = (sti_mapping){.data = (const uint8_t *)"", .bytes = 0, .fd = -1};
        return sti_fail_io(err, "open", path);
    }
    status = sti_map_fd(fd, path, map, err);
    if (status == ST_OK)
        map->fd = fd;
    else
        close(fd);
    return status;
}

void sti_unmap(sti_mapping *map)
{
    if (map->bytes > 0)
        munmap((void *)(uintptr_t)map->data, (size_t)map->bytes);
    if (map->fd >= 0)
        close(map->fd);
    *map = (sti_mapping){.data = (const uint8_t *)"", .bytes = 0, .fd = -1};
}

void sti_map_forget(const sti_mapping *map)
{
    if (map->bytes > 0)
        (void)madvise((void *)(uintptr_t)map->data, (size_t)map->bytes, MADV_DONTNEED);
}

/* ---- replacing ------------------------------------------------------------------------------- */

struct sti_outfile {
    char *path, *tmp;
    int fd;
    int64_t flushed; /* bytes handed to the system */
    size_t fill;     /* bytes in the buffer */
    char *buffer;
};

static void free_outfile(sti_outfile *out)
{
    if (out->fd >= 0)
        close(out->fd);
    sti_free(out->path);
    sti_free(out->tmp);
    sti_free(out->buffer);
    sti_free(out);
}

st_status sti_outfile_create(const char *path, sti_outfile **out, st_error *err)
{
    sti_outfile *o;
    *out = NULL;
    STI_TRY(sti_check_target(path, err));
    o = sti_calloc(sizeof *o);
    if (o == NULL)
        return sti_fail_mem(err, sizeof *o);
    o->fd = -1;
    o->path = sti_path_with(path, "");
    o->tmp = sti_path_with(path, ".tmp");
    o->buffer = sti_alloc(BUFFER_BYTES);
    if (o->path == NULL || o->tmp == NULL || o->buffer == NULL) {
        free_outfile(o);
        return sti_fail_mem(err, BUFFER_BYTES);
    }
    if (unlink(o->tmp) == 0 || errno == ENOENT) /* a stale one may be a link to elsewhere */
        o->fd = open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        st_status status = sti_fail_io(err, "create", o->tmp);
        free_outfile(o);
        return status;
    }
    *out = o;
    return ST_OK;
}

static st_status flush_buffer(sti_outfile *out, st_error *err)
{
    if (!sti_write_all(out->fd, out->buffer, out->fill))
        return sti_fail_io(err, "write", out->tmp);
    out->flushed += (int64_t)out->fill;
    out->fill = 0;
    return ST_OK;
}

st_status sti_outfile_write(sti_outfile *out, const void *data, size_t bytes, st_error *err)
{
    if (bytes == 0)
        return ST_OK;
    if (bytes > BUFFER_BYTES - out->fill)
        STI_TRY(flush_buffer(out, err));
    if (bytes > BUFFER_BYTES) {
        if (!sti_write_all(out->fd, data, bytes))
            return sti_fail_io(err, "write", out->tmp);
        out->flushed += (int64_t)bytes;
        return ST_OK;
    }
    memcpy(out->buffer + out->fill, data, bytes);
    out->fill += bytes;
    return ST_OK;
}

int64_t sti_outfile_tell(const sti_outfile *out)
{
    return out->flushed + (int64_t)out->fill;
}

st_status sti_outfile_patch(sti_outfile *out, int64_t at, const void *data, size_t bytes,
                            st_error *err)
{
    STI_TRY(flush_buffer(out, err));
    if (pwrite(out->fd, data, bytes, at) != (ssize_t)bytes)
        return sti_fail_io(err, "write", out->tmp);
    return ST_OK;
}

st_status sti_outfile_commit(sti_outfile *out, st_error *err)
{
    st_status status = flush_buffer(out, err);
    if (status == ST_OK && fsync(out->fd) != 0)
        status = sti_fail_io(err, "sync", out->tmp);
    if (status == ST_OK && rename(out->tmp, out->path) != 0)
        status = sti_fail_io(err, "rename to", out->path);
    if (status == ST_OK)
        sti_sync_directory(out->path); /* the file is whole in any case */
    else
        (void)unlink(out->tmp);
    free_outfile(out);
    return status;
}

void sti_outfile_abandon(sti_outfile *out)
{
    if (out == NULL)
        return;
    (void)unlink(out->tmp);
    free_outfile(out);
}
