/* SPDX-License-Identifier: MIT
 *
 * utf8.c — just enough of UTF-8 to trim and to count.
 */
#include "reason/utf8.h"

/* The character that starts at s (n > 0 bytes): its length, and its code point or -1 if broken. */
static int decode(const unsigned char *s, int64_t n, int32_t *point)
{
    int len = s[0] < 0x80   ? 1
              : s[0] < 0xc2 ? 0
              : s[0] < 0xe0 ? 2
              : s[0] < 0xf0 ? 3
              : s[0] < 0xf5 ? 4
                            : 0;
    int32_t x = len == 1 ? s[0] : s[0] & (0x7f >> len);
    *point = -1;
    if (len == 0 || len > n)
        return 1;
    for (int i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 1;
        x = x << 6 | (s[i] & 0x3f);
    }
    if ((len == 3 && (x < 0x800 || (x >= 0xd800 && x < 0xe000))) ||
        (len == 4 && (x < 0x10000 || x > 0x10ffff)))
        return 1;
    *point = x;
    return len;
}

/* Python's str.isspace, which is what the paper's code trims with. */
static bool is_space(int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

st_group sti_trim(const char *text, st_group span)
{
    const unsigned char *s = (const unsigned char *)text;
    int32_t c;
    while (span.begin < span.end) {
        int len = decode(s + span.begin, span.end - span.begin, &c);
        if (!is_space(c))
            break;
        span.begin += len;
    }
    while (span.begin < span.end) {
        int64_t at = span.end - 1;
        while (at > span.begin && span.end - at < 4 && (s[at] & 0xc0) == 0x80)
            at--;
        if (at + decode(s + at, span.end - at, &c) != span.end || !is_space(c))
            break;
        span.end = at;
    }
    return span;
}

int64_t sti_count_chars(const char *text, st_group span)
{
    int64_t n = 0;
    int32_t c;
    for (int64_t i = span.begin; i < span.end; n++)
        i += decode((const unsigned char *)text + i, span.end - i, &c);
    return n;
}
