/* SPDX-License-Identifier: MIT
 *
 * test_spans.c — spans of bytes to groups of tokens: who gets a token that two spans share, gaps,
 * and spans that no token can stand for.
 */
#include "check.h"
#include "sparsetrace/groups.h"

/* Five tokens of the text "abcdefghij": ab | cde | (empty) | f | ghij */
static const int64_t piece_ptr[] = {0, 2, 5, 5, 6, 10};

static void check_groups(const st_group *bytes, int n, const st_group *want)
{
    st_group got[4];
    CHECK_STATUS(st_groups_from_bytes(bytes, n, piece_ptr, 5, got, NULL), ST_OK);
    for (int i = 0; i < n; i++) {
        CHECK_EQ(got[i].begin, want[i].begin);
        CHECK_EQ(got[i].end, want[i].end);
    }
}

static void test_layouts(void)
{
    check_groups((st_group[]){{0, 10}}, 1, (st_group[]){{0, 5}});
    check_groups((st_group[]){{0, 2}, {2, 6}}, 2, (st_group[]){{0, 1}, {1, 4}});
    /* the second token lies in both: the first span has it */
    check_groups((st_group[]){{1, 3}, {3, 7}}, 2, (st_group[]){{0, 2}, {3, 5}});
    check_groups((st_group[]){{4, 5}, {9, 10}}, 2, (st_group[]){{1, 2}, {4, 5}});
}

static void test_in_place(void)
{
    st_group g[] = {{0, 3}, {5, 6}, {7, 8}};
    CHECK_STATUS(st_groups_from_bytes(g, 3, piece_ptr, 5, g, NULL), ST_OK);
    CHECK_EQ(g[0].end, 2);
    CHECK_EQ(g[1].begin, 3);
    CHECK_EQ(g[2].begin, 4);
}

static void test_errors(void)
{
    static const struct {
        st_group g[2];
        int at;
    } bad[] = {{{{0, 3}, {3, 4}}, 1},  /* no token of its own */
               {{{0, 3}, {2, 6}}, 1},  /* overlap */
               {{{0, 3}, {6, 11}}, 1}, /* beyond the text */
               {{{3, 3}, {4, 5}}, 0}};
    st_group got[2];
    st_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_STATUS(st_groups_from_bytes(bad[i].g, 2, piece_ptr, 5, got, &err), ST_ERR_ARG);
        CHECK_EQ(err.position, bad[i].at);
    }
}

int main(void)
{
    test_layouts();
    test_in_place();
    test_errors();
    return check_report();
}
