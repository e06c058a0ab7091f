/* SPDX-License-Identifier: MIT
 *
 * test_records.c — files of records: what was committed is there whatever happens after it, what
 * was not is gone, and one wrong bit in what was is found.
 */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../format/sample_trace.h"
#include "base/records.h"
#include "check.h"

static const char magic[8] = "STTEST1\n";

#define BIG 600000 /* beyond the buffer */

/* Record i: its length and bytes follow from i. */
static size_t length_of(int i)
{
    return i == 5 ? BIG : i == 3 ? 0 : (size_t)(i * 37 % 101);
}

static uint8_t *content(int i)
{
    uint8_t *x = malloc(length_of(i) + 1);
    for (size_t b = 0; b < length_of(i); b++)
        x[b] = (uint8_t)(b * 7 + b / 256 + (size_t)i);
    return x;
}

/* Appends record i in pieces. */
static st_status add(sti_records *r, int i, st_error *err)
{
    uint8_t *x = content(i);
    size_t n = length_of(i), half = n / 3;
    st_out out = sti_records_out(r);
    st_status status = sti_records_begin(r, (uint32_t)(100 + i), err);
    if (status == ST_OK)
        status = sti_records_put(r, x, half, err);
    if (status == ST_OK)
        status = out.write(out.ctx, x + half, n - half, err);
    if (status == ST_OK)
        status = sti_records_end(r, err);
    free(x);
    return status;
}

static void add_all(sti_records *r, int from, int to)
{
    for (int i = from; i < to; i++)
        CHECK_STATUS(add(r, i, NULL), ST_OK);
}

static bool holds(const sti_records *r, int n)
{
    bool same = sti_records_count(r) == n;
    for (int i = 0; same && i < n; i++) {
        sti_record x = sti_records_at(r, i);
        uint8_t *want = content(i);
        same = x.kind == (uint32_t)(100 + i) && x.bytes == (int64_t)length_of(i) && x.at % 8 == 0 &&
               memcmp(x.data, want, length_of(i)) == 0;
        free(want);
    }
    return same;
}

/* The file at `path` opens and holds records 0 .. n - 1. */
static void check_holds(const char *path, int n)
{
    sti_records *r;
    st_error err = {.message = ""};
    st_status status = sti_records_open(path, magic, &r, &err);
    if (status != ST_OK)
        printf("%s\n", err.message);
    CHECK_STATUS(status, ST_OK);
    if (status != ST_OK)
        return;
    CHECK(holds(r, n));
    sti_records_forget(r);
    CHECK(holds(r, n));
    sti_records_close(r, false);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void test_commits(void)
{
    const char *path = sample_path("commits"), *part = sample_path("commits.part");
    sti_records *r;
    CHECK_STATUS(sti_records_create(path, magic, &r, NULL), ST_OK);
    CHECK(!is_there(path) && is_there(part));
    add_all(r, 0, 2);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    CHECK(is_there(path) && !is_there(part));
    add_all(r, 2, 7);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    add_all(r, 7, 9);
    sti_records_close(r, false); /* not committed */
    sample_store(part, "half", 4);
    check_holds(path, 7);
    CHECK(!is_there(part));
    CHECK_STATUS(sti_records_open(path, magic, &r, NULL), ST_OK);
    sti_records_unmap(r);
    add_all(r, 7, 9);
    sti_records_rollback(r);
    add_all(r, 7, 8);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    sti_records_close(r, false);
    check_holds(path, 8);
    CHECK_STATUS(sti_records_open(path, magic, &r, NULL), ST_OK);
    sti_records_close(r, true);
    CHECK(!is_there(path));
    CHECK_STATUS(sti_records_create(path, magic, &r, NULL), ST_OK);
    sti_records_close(r, false); /* it never came to be */
    CHECK(!is_there(path) && !is_there(part));
}

static void test_rewrite(void)
{
    const char *path = sample_path("rewrite"), *part = sample_path("rewrite.part");
    sti_records *r;
    int64_t keep;
    CHECK_STATUS(sti_records_create(path, magic, &r, NULL), ST_OK);
    CHECK_STATUS(sti_records_rewrite(r, 24, NULL), ST_ERR_ARG); /* nothing is committed */
    add_all(r, 0, 6);
    keep = sti_records_tell(r);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    add_all(r, 7, 12);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    CHECK_STATUS(sti_records_rewrite(r, keep + (1 << 30), NULL), ST_ERR_ARG);
    CHECK_STATUS(sti_records_rewrite(r, keep, NULL), ST_OK);
    CHECK(is_there(part));
    add_all(r, 6, 7);
    sti_records_rollback(r); /* the old file stands, and can grow */
    CHECK(!is_there(part));
    add_all(r, 12, 13);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    CHECK_STATUS(sti_records_rewrite(r, keep, NULL), ST_OK);
    add_all(r, 6, 8);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    add_all(r, 8, 9);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    CHECK(!is_there(part));
    sti_records_close(r, false);
    check_holds(path, 9);
}

/* A refused file, with the place; it stays as it is. */
static void refused(const char *path, st_status want, const char *what)
{
    st_error err = {.message = "", .position = -2};
    sti_records *r = (sti_records *)1;
    size_t n = 0, m = 0;
    char *before = sample_load(path, &n), *after;
    CHECK_STATUS(sti_records_open(path, magic, &r, &err), want);
    CHECK(r == NULL);
    CHECK(strstr(err.message, what) != NULL);
    if (want == ST_ERR_FORMAT)
        CHECK(err.position >= 0 && err.position <= (int64_t)n);
    after = sample_load(path, &m);
    CHECK(n == m && memcmp(before, after, n) == 0);
    free(before);
    free(after);
}

/* The states of the disk that a crash between two commits can leave. */
static void test_crash(void)
{
    const char *path = sample_path("crash");
    size_t early_n, late_n;
    char *early, *late, *mix;
    sti_records *r;
    CHECK_STATUS(sti_records_create(path, magic, &r, NULL), ST_OK);
    add_all(r, 0, 3);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    early = sample_load(path, &early_n);
    add_all(r, 3, 5);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    late = sample_load(path, &late_n);
    sti_records_close(r, false);
    mix = malloc(late_n);
    for (size_t n = early_n; n <= late_n; n++) {
        memcpy(mix, early, early_n);
        memcpy(mix + early_n, late + early_n, n - early_n);
        if (n % 3 == 0)
            memset(mix + early_n, 0, n - early_n); /* the length came, the bytes did not */
        sample_store(path, mix, n);
        check_holds(path, 3);
    }
    for (size_t n = 0; n < late_n; n++) { /* what was committed is missing */
        sample_store(path, late, n);
        refused(path, ST_ERR_FORMAT, "crash");
    }
    for (size_t at = 0; at < late_n; at++) {
        late[at] ^= 4;
        sample_store(path, late, late_n);
        refused(path, ST_ERR_FORMAT, "crash");
        late[at] ^= 4;
    }
    sample_store(path, late, late_n);
    check_holds(path, 5);
    free(early);
    free(late);
    free(mix);
}

static void test_places(void)
{
    const char *path = sample_path("place");
    st_error err = {.message = ""};
    sti_records *r, *s;
    CHECK_STATUS(sti_records_open(path, magic, &r, &err), ST_ERR_IO);
    CHECK(strstr(err.message, "place") != NULL);
    CHECK_STATUS(sti_records_create(sample_path("no/such"), magic, &r, NULL), ST_ERR_IO);
    CHECK_STATUS(sti_records_create("/dev/null", magic, &r, NULL), ST_ERR_IO);
    CHECK_STATUS(sti_records_create(path, magic, &r, NULL), ST_OK);
    CHECK_STATUS(sti_records_create(path, magic, &s, &err), ST_ERR_IO);
    CHECK(strstr(err.message, "another process is using it") != NULL);
    add_all(r, 0, 1);
    CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
    refused(path, ST_ERR_IO, "another process is using it");
    sti_records_close(r, false);
    CHECK_STATUS(sti_records_open(path, "STOTHER\n", &r, &err), ST_ERR_FORMAT);
}

/* What lies where the .part is to be goes only if it is one. */
static void test_foreign_part(void)
{
    const char *path = sample_path("foreign"), *part = sample_path("foreign.part");
    st_error err = {.message = ""};
    sti_records *r;
    size_t n;
    char *text;
    sample_store(part, "chapter one", 11);
    CHECK_STATUS(sti_records_create(path, magic, &r, &err), ST_ERR_IO);
    CHECK(strstr(err.message, "foreign.part: a file that is not ours") != NULL);
    text = sample_load(part, &n);
    CHECK(n == 11 && memcmp(text, "chapter one", 11) == 0);
    free(text);
    sample_store(part, magic, 8);
    CHECK_STATUS(sti_records_create(path, magic, &r, NULL), ST_OK);
    sti_records_close(r, false);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit r;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = bytes;
    if (setrlimit(RLIMIT_FSIZE, &r) != 0)
        abort();
}

/* The disk is full at every byte in turn: the last commit stays, and once there is room it goes on.
 */
static void test_disk_full(void)
{
    const char *path = sample_path("full");
    for (rlim_t limit = 0; limit < 500; limit += 3) {
        st_error err = {.message = ""};
        sti_records *r = NULL;
        st_status status;
        int committed = 0;
        remove(path);
        limit_files(limit);
        status = sti_records_create(path, magic, &r, &err);
        for (int i = 0; status == ST_OK && i < 5; i++) {
            status = add(r, i, &err);
            if (status == ST_OK)
                status = sti_records_commit(r, &err);
            committed += status == ST_OK;
        }
        limit_files(RLIM_INFINITY);
        if (r == NULL) {
            CHECK_STATUS(status, ST_ERR_IO);
            continue;
        }
        if (status != ST_OK) {
            CHECK_STATUS(status, ST_ERR_IO);
            CHECK(strstr(err.message, "full") != NULL);
            sti_records_rollback(r);
        }
        add_all(r, committed, 6);
        CHECK_STATUS(sti_records_commit(r, NULL), ST_OK);
        sti_records_close(r, false);
        check_holds(path, 6);
    }
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    test_commits();
    test_rewrite();
    test_crash();
    test_places();
    test_foreign_part();
    test_disk_full();
    return check_report();
}
