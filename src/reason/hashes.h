/* SPDX-License-Identifier: MIT
 *
 * hashes.h — a hash of bytes, and a set of hashes.
 */
#ifndef STI_HASHES_H
#define STI_HASHES_H

#include "base/util.h"

#define STI_HASH_START 0xcbf29ce484222325u

/* FNV-1a, to be ended with sti_mix. */
static inline uint64_t sti_hash_bytes(uint64_t h, const char *s, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h;
}

typedef struct sti_hash_set {
    uint64_t *slot; /* 0: empty */
    int64_t n, cap; /* cap: a power of two, or 0 */
} sti_hash_set;

bool sti_hash_set_has(const sti_hash_set *set, uint64_t hash);
/* False: out of memory. */
bool sti_hash_set_add(sti_hash_set *set, uint64_t hash);
void sti_hash_set_clear(sti_hash_set *set);
void sti_hash_set_free(sti_hash_set *set);

#endif
