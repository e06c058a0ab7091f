/* SPDX-License-Identifier: MIT
 *
 * checksum.h — CRC-32 as zip, PNG and Ethernet have it (polynomial 0xedb88320, reflected).
 */
#ifndef STI_CHECKSUM_H
#define STI_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` covers followed by `data`; crc 0 covers nothing. */
uint32_t sti_crc32(uint32_t crc, const void *data, size_t bytes);

#endif
