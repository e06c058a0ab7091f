/* SPDX-License-Identifier: MIT
 *
 * serve.h — the viewer over HTTP, for this machine alone.
 */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include "page_out.h"

/* Serves the page and the trace (opened from `path`, validated) at 127.0.0.1:port until the user
 * interrupts it; port 0: any free one. Prints the address. Returns an exit code.
 *
 * GET alone, and these routes alone (numbers are decimal, A < B):
 *   /                  the page
 *   /overview          the overview as safetensors
 *   /bytes/A-B         bytes [A, B) of the trace file, at most 16 MiB
 *   /rows/A-B          st_trace_export_json of rows [A, B), at most 128 query blocks
 *   /reads/A-B/HEADS   st_trace_reads of rows [A, B): F64 [nbk]
 *   /readers/A-B/HEADS st_trace_readers of keys [A, B): F64 [nbq]
 * HEADS: "all", or "layer.head" pairs joined by commas; the mean over them. */
int serve_trace(const char *path, const st_trace *trace, const st_overview *overview,
                const page_documents *documents, int port);

#endif
