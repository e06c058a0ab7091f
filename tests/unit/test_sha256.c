/* SPDX-License-Identifier: MIT
 *
 * test_sha256.c — the vectors of FIPS 180-4, and pieces of every size.
 */
#include <string.h>

#include "base/sha256.h"
#include "check.h"

static bool is(const char *text, int repeat, const char *want)
{
    char hex[65];
    sti_sha256 s;
    sti_sha256_init(&s);
    for (int i = 0; i < repeat; i++)
        sti_sha256_add(&s, text, strlen(text));
    sti_sha256_hex(&s, hex);
    return strcmp(hex, want) == 0;
}

int main(void)
{
    char data[300], one[65], pieces[65];
    CHECK(is("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    CHECK(is("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    CHECK(is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
             "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
    CHECK(is("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    for (size_t n = 0; n < sizeof data; n++) {
        sti_sha256 s;
        sti_sha256_init(&s);
        sti_sha256_add(&s, data, n);
        sti_sha256_hex(&s, one);
        sti_sha256_init(&s);
        sti_sha256_add(&s, data, n / 3);
        sti_sha256_add(&s, data + n / 3, n - n / 3);
        sti_sha256_hex(&s, pieces);
        CHECK(strcmp(one, pieces) == 0);
    }
    return check_report();
}
