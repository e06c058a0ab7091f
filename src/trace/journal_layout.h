/* SPDX-License-Identifier: MIT
 *
 * journal_layout.h — the bytes around a journal's payloads, for its writer and its reader alone.
 */
#ifndef STI_JOURNAL_LAYOUT_H
#define STI_JOURNAL_LAYOUT_H

#include <stdint.h>

#define JOURNAL_MAGIC "STPART3\n"
#define RECORD_MAGIC 0x43525453u /* "STRC" */

struct journal_head {
    char magic[8];         /* without a NUL */
    uint64_t sealed_bytes; /* length of the journal once the run has ended, 0 before */
};

struct record_head {
    uint32_t magic, kind;
    uint64_t bytes; /* of the payload, a multiple of 8 */
    uint32_t crc;   /* of kind, bytes and the payload */
    uint32_t zero;
};

#define RECORD_CHECKED_FROM 4 /* kind and bytes, as they lie in record_head */
#define RECORD_CHECKED_BYTES 12

#endif
