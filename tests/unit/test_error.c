/* SPDX-License-Identifier: MIT
 *
 * test_error.c — names of the statuses, the one way an error is filled in, and the version, which
 * is that of the file VERSION.
 */
#include <errno.h>

#include "base/util.h"
#include "check.h"

static void test_status_names(void)
{
    static const struct {
        st_status status;
        const char *name;
    } want[] = {{ST_OK, "ok"},           {ST_ERR_ARG, "argument"},       {ST_ERR_MEM, "memory"},
                {ST_ERR_IO, "io"},       {ST_ERR_FORMAT, "format"},      {ST_ERR_LIMIT, "limit"},
                {ST_ERR_MODEL, "model"}, {ST_ERR_CANCELLED, "cancelled"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        CHECK(strcmp(st_status_name(want[i].status), want[i].name) == 0);
    CHECK(strcmp(st_status_name((st_status)(ST_ERR_CANCELLED + 1)), "unknown") == 0);
    CHECK(strcmp(st_status_name((st_status)-1), "unknown") == 0);
}

static void test_fail(void)
{
    st_error err = {.message = ""};
    CHECK_STATUS(sti_fail(&err, ST_ERR_LIMIT, 12, "%s has %d", "x", 3), ST_ERR_LIMIT);
    CHECK(err.status == ST_ERR_LIMIT && err.position == 12 && strcmp(err.message, "x has 3") == 0);
    CHECK_STATUS(sti_fail(NULL, ST_ERR_FORMAT, 0, "nobody listens"), ST_ERR_FORMAT);
}

/* A message that is too long is cut, not written past its end. */
static void test_long_message(void)
{
    struct {
        st_error err;
        char after[8];
    } x = {.after = "fence"};
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    CHECK_STATUS(sti_fail(&x.err, ST_ERR_ARG, -1, "%s", text), ST_ERR_ARG);
    CHECK_EQ(strlen(x.err.message), sizeof x.err.message - 1);
    CHECK(strspn(x.err.message, "a") == sizeof x.err.message - 1 && strcmp(x.after, "fence") == 0);
}

static void test_causes(void)
{
    st_error err = {.message = ""};
    CHECK_STATUS(sti_fail_mem(&err, 123456), ST_ERR_MEM);
    CHECK(err.status == ST_ERR_MEM && strstr(err.message, "123456 bytes") != NULL);
    errno = ENOSPC;
    CHECK_STATUS(sti_fail_io(&err, "write", "some/file"), ST_ERR_IO);
    CHECK(err.status == ST_ERR_IO && err.position == -1);
    CHECK(strstr(err.message, "cannot write some/file: ") == err.message);
    CHECK(strstr(err.message, strerror(ENOSPC)) != NULL);
    CHECK_STATUS(sti_fail_io(NULL, "write", "some/file"), ST_ERR_IO);
}

/* The first line of the file VERSION, found from where this file is. */
static void test_version(void)
{
    const char *slash = strrchr(__FILE__, '/');
    char path[600], line[64] = "";
    FILE *f;
    snprintf(path, sizeof path, "%.*s/../../VERSION", slash == NULL ? 1 : (int)(slash - __FILE__),
             slash == NULL ? "." : __FILE__);
    f = fopen(path, "r");
    CHECK(f != NULL && fgets(line, sizeof line, f) != NULL);
    if (f != NULL)
        fclose(f);
    line[strcspn(line, "\n")] = '\0';
    CHECK(strcmp(st_version(), line) == 0);
}

int main(void)
{
    test_status_names();
    test_fail();
    test_long_message();
    test_causes();
    test_version();
    return check_report();
}
