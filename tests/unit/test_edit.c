/* SPDX-License-Identifier: MIT
 *
 * test_edit.c — edits as text: what is understood, and where each error points.
 */
#include "check.h"
#include "sparsetrace/edit.h"

static void understood(const char *text, const char *canonical)
{
    st_edit e;
    char buf[ST_EDIT_TEXT];
    st_error err;
    st_status status = st_edit_parse(ST_EDIT_DENY, text, 100, &e, &err);
    CHECK_STATUS(status, ST_OK);
    if (status != ST_OK)
        return;
    st_edit_print(&e, buf);
    if (strcmp(buf, canonical) != 0)
        printf("\"%s\" became \"%s\", wanted \"%s\"\n", text, buf, canonical);
    CHECK(strcmp(buf, canonical) == 0);
}

static void refused(const char *text, int64_t position)
{
    st_edit e;
    st_error err;
    CHECK_STATUS(st_edit_parse(ST_EDIT_DENY, text, 100, &e, &err), ST_ERR_FORMAT);
    if (err.position != position)
        printf("\"%s\": %s\n", text, err.message);
    CHECK_EQ(err.position, position);
}

static void test_parse(void)
{
    understood("12.7:40-96:16-24", "deny 12.7:40-96:16-24");
    understood("*.*:*:*", "deny *.*:0-100:0-100");
    understood("3.*:99:7", "deny 3.*:99-100:7-8");
    understood("0.0:50-:0-1", "deny 0.0:50-100:0-1");
    refused("", 0);
    refused("x", 0);
    refused("12", 2);
    refused("12.", 3);
    refused("12.7", 4);
    refused("12.7:", 5);
    refused("12.7:3", 6);
    refused("12.7:3-:", 8);
    refused("12.7:3-5:4-6 ", 12);
    refused("12.7:-5:4-6", 5);
    refused("12.7:99999999999999999999:4", 5);
    refused("-1.7:3:4", 0);
    refused("\xff", 0);
}

static void wrong(st_edit e, int64_t position)
{
    st_edit list[2] = {{.layer = -1, .head = -1, .q_end = 100, .key_end = 1}, e};
    st_error err;
    CHECK_STATUS(st_edits_check(list, 2, 4, 3, 100, &err), ST_ERR_ARG);
    CHECK_EQ(err.position, position);
}

static void test_check(void)
{
    st_edit fine = {
        .layer = 3, .head = 2, .q_begin = 10, .q_end = 100, .key_begin = 99, .key_end = 100};
    CHECK_STATUS(st_edits_check(&fine, 1, 4, 3, 100, NULL), ST_OK);
    CHECK_STATUS(st_edits_check(NULL, 0, 4, 3, 100, NULL), ST_OK);
    wrong((st_edit){.layer = 4, .q_end = 9, .key_end = 9}, 1);
    wrong((st_edit){.layer = -2, .q_end = 9, .key_end = 9}, 1);
    wrong((st_edit){.head = 3, .q_end = 9, .key_end = 9}, 1);
    wrong((st_edit){.q_begin = 9, .q_end = 9, .key_end = 9}, 1);
    wrong((st_edit){.q_begin = -1, .q_end = 9, .key_end = 9}, 1);
    wrong((st_edit){.q_end = 101, .key_end = 9}, 1);
    wrong((st_edit){.q_end = 9, .key_begin = 5, .key_end = 5}, 1);
    wrong((st_edit){.q_end = 9, .key_begin = 5, .key_end = 101}, 1);
    wrong((st_edit){.q_end = 9, .key_begin = 9, .key_end = 20}, 1); /* nobody sees these */
    wrong((st_edit){.kind = (st_edit_kind)7, .q_end = 9, .key_end = 9}, 1);
}

static const char *write_file(const char *text, size_t n)
{
    static char path[64];
    FILE *f;
    snprintf(path, sizeof path, "edits-%p.txt", (const void *)path);
    f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(text, 1, n, f) == n);
    fclose(f);
    return path;
}

static void test_read(void)
{
    static const char good[] = "# what the route needs\n\n  keep 1.2:5-9:0-4\r\ndeny\t*.*:50:3";
    static const char *const bad[] = {"deny 1.2:5:0\nforbid 1.2:5:0\n",
                                      "deny 1.2:5:0\n\n keep 1.2:5\n", "keep1.2:5:0\n", "deny\n"};
    static const int line[] = {2, 3, 1, 1};
    static const char *const column[] = {"column 1:", "column 12:", "column 1:", "column 1:"};
    st_edit *edit;
    int64_t n;
    st_error err;
    const char *path = write_file(good, sizeof good - 1);
    CHECK_STATUS(st_edits_read(path, 100, &edit, &n, &err), ST_OK);
    CHECK_EQ(n, 2);
    if (n == 2) {
        CHECK(edit[0].kind == ST_EDIT_KEEP && edit[0].layer == 1 && edit[0].key_end == 4);
        CHECK(edit[1].kind == ST_EDIT_DENY && edit[1].head == -1 && edit[1].q_begin == 50);
    }
    st_edits_free(edit);
    for (int i = 0; i < 4; i++) {
        path = write_file(bad[i], strlen(bad[i]));
        CHECK_STATUS(st_edits_read(path, 100, &edit, &n, &err), ST_ERR_FORMAT);
        CHECK(edit == NULL && n == 0);
        CHECK_EQ(err.position, line[i]);
        if (strstr(err.message, column[i]) == NULL)
            printf("%s\n", err.message);
        CHECK(strstr(err.message, column[i]) != NULL);
    }
    path = write_file("deny 0.0:1:0\0 and more\n", 23);
    CHECK_STATUS(st_edits_read(path, 100, &edit, &n, &err), ST_ERR_FORMAT);
    CHECK(strstr(err.message, "column 13: a byte 0") != NULL);
    path = write_file("# nothing\n", 10);
    CHECK_STATUS(st_edits_read(path, 100, &edit, &n, &err), ST_ERR_FORMAT);
    CHECK_STATUS(st_edits_read(".", 100, &edit, &n, &err), ST_ERR_IO);
    remove(path);
    CHECK_STATUS(st_edits_read(path, 100, &edit, &n, &err), ST_ERR_IO);
}

int main(void)
{
    test_parse();
    test_check();
    test_read();
    return check_report();
}
