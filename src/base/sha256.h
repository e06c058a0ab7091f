/* SPDX-License-Identifier: MIT
 *
 * sha256.h — SHA-256 (FIPS 180-4), so that a trace can name its model and prompt in the form that
 * sha256sum prints.
 */
#ifndef STI_SHA256_H
#define STI_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct sti_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
} sti_sha256;

void sti_sha256_init(sti_sha256 *s);
void sti_sha256_add(sti_sha256 *s, const void *data, size_t n);
/* hex: 64 digits and NUL */
void sti_sha256_hex(sti_sha256 *s, char hex[65]);

#endif
