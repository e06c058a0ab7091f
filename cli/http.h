/* SPDX-License-Identifier: MIT
 *
 * http.h — as much of HTTP/1.1 as a page on the loopback address needs: one request a connection.
 */
#ifndef CLI_HTTP_H
#define CLI_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sparsetrace/base.h"

typedef struct http_reply {
    int status; /* 200, ... */
    const char *type;
    const void *part[3]; /* the body in up to three parts */
    size_t bytes[3];
    void *owned; /* free()d when it was sent */
} http_reply;

/* Fills in the reply to a GET of `path`. Only called for requests that passed the checks. */
typedef void (*http_route)(void *ctx, const char *path, http_reply *reply);

/* Listens on 127.0.0.1:*port (0: a free one, put there). Returns the socket, -1: errno. */
int http_listen(int *port);

/* Answers until out_interrupted(). A request must be a GET of at most 8 KiB, its Host must be
 * 127.0.0.1:port or localhost:port (a foreign name that points here is refused), and an Origin or
 * Sec-Fetch-Site that it carries must be this page's own. Closes the socket. */
void http_serve(int listener, int port, http_route route, void *ctx);

#endif
