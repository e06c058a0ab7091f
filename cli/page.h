/* SPDX-License-Identifier: MIT
 *
 * page.h — the viewer's page, packed from viewer/ when the program is built: page_head, the source
 * that its scripts may connect to, page_body, the data, page_tail (tools/pack_viewer.py).
 */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H

#include <stddef.h>

extern const unsigned char page_head[], page_body[], page_tail[];
extern const size_t page_head_bytes, page_body_bytes, page_tail_bytes;

#endif
