/* SPDX-License-Identifier: MIT
 *
 * files.h — what the rooms ask of the file system: writing a file alone, mapping one for reading,
 * and replacing one as a whole or not at all.
 */
#ifndef STI_FILES_H
#define STI_FILES_H

#include "base/util.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are mapped and used as they are: this room needs a little-endian machine"
#endif

/* `path` followed by `suffix`; the caller's to sti_free. NULL: out of memory. */
char *sti_path_with(const char *path, const char *suffix);

/* ST_OK if `path` does not exist or is a regular file; ST_ERR_ARG for an empty path. Whoever means
 * to rename a file onto `path` asks first: renaming onto /dev/null would replace the device. */
st_status sti_check_target(const char *path, st_error *err);

/* Opens a regular file to read and write, locked against other writers. magic: it is created, or
 * emptied if it begins with these 8 bytes or never got so far; somebody else's stays and is an
 * error. NULL: it must be there. Errors: ST_ERR_IO. */
st_status sti_open_alone(const char *path, const char *magic, int *fd, st_error *err);

/* write(2) until all is written. False: errno says why. */
bool sti_write_all(int fd, const void *data, size_t bytes);

/* Makes a rename or a removal in the directory of `path` durable, where the file system can. */
void sti_sync_directory(const char *path);

/* ---- a file mapped for reading --------------------------------------------------------------- */

typedef struct sti_mapping {
    const uint8_t *data; /* page-aligned; never NULL */
    int64_t bytes;
    int fd; /* -1: the descriptor is someone else's */
} sti_mapping;

/* Maps a regular file. Errors: ST_ERR_IO. */
st_status sti_map_path(const char *path, sti_mapping *map, st_error *err);
/* Maps what `fd` holds now; `path` is for messages, the descriptor stays the caller's. */
st_status sti_map_fd(int fd, const char *path, sti_mapping *map, st_error *err);
/* The same for its first `bytes` bytes alone. ST_ERR_FORMAT: it has fewer. */
st_status sti_map_start(int fd, const char *path, int64_t bytes, sti_mapping *map, st_error *err);
void sti_unmap(sti_mapping *map);
/* Gives the memory of the pages read so far back; they are read again when they are looked at
 * again. */
void sti_map_forget(const sti_mapping *map);

/* ---- a file that replaces another one -------------------------------------------------------- */

/* Written as `path.tmp`, in order, through a buffer. Either committed (synced, renamed to `path`)
 * or abandoned (removed); both free it. */
typedef struct sti_outfile sti_outfile;

st_status sti_outfile_create(const char *path, sti_outfile **out, st_error *err);
st_status sti_outfile_write(sti_outfile *out, const void *data, size_t bytes, st_error *err);
int64_t sti_outfile_tell(const sti_outfile *out); /* bytes written so far */
/* Overwrites bytes that were already written. */
st_status sti_outfile_patch(sti_outfile *out, int64_t at, const void *data, size_t bytes,
                            st_error *err);
st_status sti_outfile_commit(sti_outfile *out, st_error *err);
void sti_outfile_abandon(sti_outfile *out); /* NULL is fine */

#endif
