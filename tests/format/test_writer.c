/* SPDX-License-Identifier: MIT
 *
 * test_writer.c — writing under bad conditions: a disk that is full at every byte, places that
 * cannot be written, two writers at once. What stood at the path before stays as it was; a run that
 * gets room again goes on where it was.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../unit/check.h"
#include "sample_trace.h"

/* Lets this process write no file beyond `bytes`; RLIM_INFINITY: as before. */
static void limit_files(rlim_t bytes)
{
    struct rlimit r;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = bytes;
    if (setrlimit(RLIMIT_FSIZE, &r) != 0)
        abort();
}

static bool same_file(const char *path, const char *want, size_t bytes)
{
    size_t n;
    char *data = sample_load(path, &n);
    bool same = data != NULL && n == bytes && memcmp(data, want, n) == 0;
    free(data);
    return same;
}

static bool absent(const char *path)
{
    return access(path, F_OK) != 0 && errno == ENOENT;
}

/* ---- a full disk ----------------------------------------------------------------------------- */

/* The limit falls at every byte of the run in turn. */
static void test_disk_full(void)
{
    sample s = sample_default();
    const char *path = sample_path("full.safetensors");
    const char *part = sample_path("full.safetensors.part"),
               *tmp = sample_path("full.safetensors.tmp");
    size_t bytes, failed = 0;
    char *old;
    CHECK_STATUS(sample_write(&s, path, NULL, NULL), ST_OK);
    old = sample_load(path, &bytes);
    s.n_batch = 25;
    for (rlim_t limit = 0;; limit += limit < 600 ? 1 : 37) {
        st_error err = {.message = ""};
        st_status status;
        limit_files(limit);
        status = sample_write(&s, path, NULL, &err);
        limit_files(RLIM_INFINITY);
        CHECK(absent(part) && absent(tmp));
        if (status == ST_OK)
            break;
        failed++;
        CHECK_STATUS(status, ST_ERR_IO);
        CHECK(strstr(err.message, "full.safetensors") != NULL && strstr(err.message, ": ") != NULL);
        CHECK(same_file(path, old, bytes));
    }
    CHECK(failed > 600);
    CHECK(!same_file(path, old, bytes));
    free(old);
}

/* After a failed call the writer is as it was before it. */
static void test_room_again(void)
{
    sample s = sample_default();
    const char *path = sample_path("again.safetensors"),
               *part = sample_path("again.safetensors.part");
    const char *straight = sample_path("straight.safetensors");
    size_t bytes;
    char *want;
    st_trace_writer *w;
    struct stat file;
    CHECK_STATUS(st_trace_writer_create(straight, 50, 8, 4, NULL, &w, NULL), ST_OK);
    CHECK_STATUS(sample_add(&s, w, 0, 50, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    want = sample_load(straight, &bytes);

    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &w, NULL), ST_OK);
    for (int64_t first = 0; first < 50; first += 20) {
        for (int l = 0; l < SAMPLE_LAYERS; l++) {
            sample_chunk x;
            sample_chunk_make(&x, &s, l, first);
            CHECK(stat(part, &file) == 0);
            limit_files((rlim_t)file.st_size + 200);
            CHECK_STATUS(st_trace_writer_add(w, &x.chunk, NULL), ST_ERR_IO);
            limit_files(RLIM_INFINITY);
            CHECK_STATUS(st_trace_writer_add(w, &x.chunk, NULL), ST_OK);
            sample_chunk_free(&x);
        }
    }
    limit_files(3000);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_ERR_IO);
    limit_files(RLIM_INFINITY);
    CHECK(absent(path) && access(part, F_OK) == 0);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_OK);
    st_trace_writer_free(w, false);
    CHECK(same_file(path, want, bytes));
    free(want);
}

/* A disk that is full at the very end: everything is in the journal, and all of it can be salvaged.
 */
static void test_full_at_the_end(void)
{
    sample s = sample_default();
    const char *path = sample_path("end.safetensors"), *part = sample_path("end.safetensors.part");
    st_trace_writer *w;
    struct stat file;
    int64_t saved = 0;
    s.n_batch = 50;
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &w, NULL), ST_OK);
    CHECK_STATUS(sample_add(&s, w, 0, 50, NULL), ST_OK);
    CHECK(stat(part, &file) == 0);
    limit_files(3000);
    CHECK_STATUS(st_trace_writer_finish(w, NULL, NULL), ST_ERR_IO);
    limit_files(RLIM_INFINITY);
    st_trace_writer_free(w, true);
    CHECK_STATUS(st_trace_salvage(part, path, &saved, NULL), ST_OK);
    CHECK_EQ(saved, 50);
}

static void test_exports_full(void)
{
    sample s = sample_default();
    const char *npz = sample_path("full.npz");
    FILE *full = fopen("/dev/full", "w");
    st_error err = {.message = ""};
    st_trace *t;
    CHECK_STATUS(sample_write(&s, sample_path("x.safetensors"), NULL, NULL), ST_OK);
    CHECK_STATUS(st_trace_open(sample_path("x.safetensors"), &t, NULL), ST_OK);
    CHECK_STATUS(st_trace_export_csv(t, NULL, full, &err), ST_ERR_IO);
    CHECK(strstr(err.message, strerror(ENOSPC)) != NULL);
    CHECK_STATUS(st_trace_export_json(t, NULL, full, &err), ST_ERR_IO);
    limit_files(1000);
    CHECK_STATUS(st_trace_export_npz(t, NULL, npz, &err), ST_ERR_IO);
    limit_files(RLIM_INFINITY);
    CHECK(absent(npz) && absent(sample_path("full.npz.tmp")));
    fclose(full);
    st_trace_free(t);
}

/* ---- places that cannot be written ----------------------------------------------------------- */

static void check_place(const char *path, const char *what)
{
    st_trace_writer *w = (st_trace_writer *)1;
    st_error err = {.message = ""};
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &w, &err), ST_ERR_IO);
    CHECK(w == NULL);
    if (strstr(err.message, what) == NULL)
        printf("\"%s\" does not say \"%s\"\n", err.message, what);
    CHECK(strstr(err.message, what) != NULL);
}

static void test_places(void)
{
    const char *dir = sample_path("dir"), *file = sample_path("file");
    sample s = sample_default();
    st_error err = {.message = ""};
    CHECK(mkdir(dir, 0700) == 0 && mkdir(sample_path("p.safetensors.part"), 0700) == 0 &&
          mkdir(sample_path("q.safetensors.tmp"), 0700) == 0);
    CHECK(mkfifo(sample_path("r.safetensors.part"), 0600) == 0);
    sample_store(file, "x", 1);
    check_place(dir, strerror(EISDIR));
    check_place(sample_path("no/such/place"), strerror(ENOENT));
    check_place(sample_path("file/inside"), strerror(ENOTDIR));
    check_place("/proc/sparsetrace", "/proc/sparsetrace.part");
    check_place("/dev/null", "not a regular file");
    check_place(sample_path("p.safetensors"), strerror(EISDIR));
    check_place(sample_path("r.safetensors"), "not a regular file");
    CHECK_STATUS(sample_write(&s, sample_path("q.safetensors"), NULL, &err), ST_ERR_IO);
    CHECK(absent(sample_path("q.safetensors")));
    CHECK(chdir(sample_path("")) == 0); /* a path without a directory */
    CHECK_STATUS(sample_write(&s, "plain.safetensors", NULL, NULL), ST_OK);
    CHECK(access(sample_path("plain.safetensors"), F_OK) == 0);
    CHECK(chdir("/") == 0);
}

/* ---- several writers ------------------------------------------------------------------------- */

static void test_two_writers(void)
{
    sample s = sample_default();
    const char *path = sample_path("two.safetensors"), *part = sample_path("two.safetensors.part");
    st_trace_writer *a, *b;
    st_error err = {.message = ""};
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &a, NULL), ST_OK);
    CHECK_STATUS(sample_add(&s, a, 0, 20, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &b, &err), ST_ERR_IO);
    CHECK(strstr(err.message, "another process is using it") != NULL);
    CHECK_STATUS(sample_add(&s, a, 20, 50, NULL), ST_OK); /* the first is not disturbed */
    CHECK_STATUS(st_trace_writer_finish(a, NULL, NULL), ST_OK);
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &b, NULL), ST_OK);
    st_trace_writer_free(a, false); /* and leaves the second one's journal alone */
    CHECK(access(part, F_OK) == 0);
    st_trace_writer_free(b, true);
    CHECK(access(part, F_OK) == 0);
    CHECK_STATUS(st_trace_writer_create(path, 50, 8, 4, NULL, &b, NULL), ST_OK); /* takes it over */
    st_trace_writer_free(b, false);
    CHECK(absent(part));
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    test_disk_full();
    test_room_again();
    test_full_at_the_end();
    test_exports_full();
    test_places();
    test_two_writers();
    return check_report();
}
