/* SPDX-License-Identifier: MIT
 *
 * http.c — a poll loop over a few connections. Requests are collected side by side (browsers open
 * connections that they do not use at once), answers are written one after the other.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "http.h"
#include "out.h"

#define REQUEST_MAX 8192
#define CONNECTION_MAX 32
#define IDLE_SECONDS 20.0

struct connection {
    int fd;
    size_t n;
    double since;
    char text[REQUEST_MAX + 1];
};

int http_listen(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)*port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    *port = ntohs(at.sin_port);
    return fd;
}

/* ---- sending --------------------------------------------------------------------------------- */

static bool send_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0 && !out_interrupted()) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return n == 0;
}

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 431: return "Request Header Fields Too Large";
    default: return "Internal Server Error";
    }
}

static void send_reply(int fd, const http_reply *r)
{
    char head[640];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\nCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
                     "Cross-Origin-Resource-Policy: same-origin\r\n"
                     "Cross-Origin-Opener-Policy: same-origin\r\n"
                     "Content-Security-Policy: frame-ancestors 'none'\r\n%s\r\n",
                     r->status, reason(r->status), r->type, r->bytes[0] + r->bytes[1] + r->bytes[2],
                     r->status == 405 ? "Allow: GET\r\n" : "");
    bool ok = send_all(fd, head, (size_t)n);
    for (int i = 0; i < 3 && ok; i++)
        ok = send_all(fd, r->part[i], r->bytes[i]);
}

/* ---- a request ------------------------------------------------------------------------------- */

/* The value of a header, cut out of the request's lines (each ended by a NUL); NULL: absent. Two of
 * one name count as a wrong one: "". */
static const char *header(const char *line, const char *end, const char *name)
{
    size_t n = strlen(name);
    const char *found = NULL;
    for (; line < end; line += strlen(line) + 1) {
        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
            continue;
        if (found != NULL)
            return "";
        found = line + n + 1 + strspn(line + n + 1, " \t");
    }
    return found;
}

/* Whether `host` is this server by a name that only this machine has. */
static bool own_host(const char *host, int port)
{
    char want[32];
    for (int i = 0; i < 2; i++) {
        snprintf(want, sizeof want, "%s:%d", i == 0 ? "127.0.0.1" : "localhost", port);
        if (strcasecmp(host, want) == 0)
            return true;
    }
    return false;
}

static bool own_page(const char *line, const char *end, int port)
{
    const char *host = header(line, end, "Host"), *origin = header(line, end, "Origin");
    const char *site = header(line, end, "Sec-Fetch-Site");
    if (host == NULL || !own_host(host, port))
        return false;
    if (origin != NULL && (strncmp(origin, "http://", 7) != 0 || strcasecmp(origin + 7, host) != 0))
        return false;
    return site == NULL || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
}

static http_reply refuse(int status)
{
    const char *text = reason(status);
    return (http_reply){
        .status = status, .type = "text/plain", .part = {text}, .bytes = {strlen(text)}};
}

/* c->text holds a whole request head. */
static void answer(struct connection *c, int port, http_route route, void *ctx)
{
    http_reply r = {.status = 404, .type = "text/plain"};
    char *path, *end_of_path, *line = strstr(c->text, "\r\n") + 2;
    const char *end = strstr(c->text, "\r\n\r\n") + 2;
    for (char *p = line; (p = strstr(p, "\r\n")) != NULL; p += 2)
        p[0] = p[1] = '\0';
    line[-2] = '\0';
    path = c->text + 4;
    end_of_path = strncmp(c->text, "GET ", 4) == 0 ? strchr(path, ' ') : NULL;
    if (strlen(c->text) != (size_t)(line - 2 - c->text) || strstr(c->text, " HTTP/1.") == NULL)
        r = refuse(400);
    else if (strncmp(c->text, "GET ", 4) != 0)
        r = refuse(405);
    else if (!own_page(line, end, port))
        r = refuse(403);
    else {
        *end_of_path = '\0';
        route(ctx, path, &r);
        if (r.status != 200)
            r = refuse(r.status);
    }
    send_reply(c->fd, &r);
    free(r.owned);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void accept_one(int listener, struct connection **list, int *n)
{
    struct timeval patience = {.tv_sec = 10};
    struct connection *c;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    c = out_need(sizeof *c);
    c->fd = fd;
    c->n = 0;
    c->since = out_seconds();
    list[(*n)++] = c;
}

/* Reads what is there; true: the connection is done with. */
static bool take_in(struct connection *c, int port, http_route route, void *ctx)
{
    ssize_t got = recv(c->fd, c->text + c->n, REQUEST_MAX - c->n, MSG_DONTWAIT);
    if (got < 0)
        return errno != EAGAIN && errno != EINTR;
    if (got == 0)
        return true;
    c->n += (size_t)got;
    c->text[c->n] = '\0';
    if (strstr(c->text, "\r\n\r\n") != NULL) {
        answer(c, port, route, ctx);
        return true;
    }
    if (c->n < REQUEST_MAX)
        return false;
    http_reply r = refuse(431);
    send_reply(c->fd, &r);
    return true;
}

static void drop(struct connection **list, int *n, int i)
{
    shutdown(list[i]->fd, SHUT_WR);
    close(list[i]->fd);
    free(list[i]);
    list[i] = list[--*n];
}

void http_serve(int listener, int port, http_route route, void *ctx)
{
    struct connection *list[CONNECTION_MAX];
    struct pollfd watched[CONNECTION_MAX + 1];
    int n = 0;
    while (!out_interrupted()) {
        int n_watched = n;
        for (int i = 0; i < n; i++)
            watched[i] = (struct pollfd){.fd = list[i]->fd, .events = POLLIN};
        watched[n] = (struct pollfd){.fd = listener, .events = n < CONNECTION_MAX ? POLLIN : 0};
        if (poll(watched, (nfds_t)n + 1, 250) < 0 && errno != EINTR)
            break;
        if (watched[n_watched].revents != 0)
            accept_one(listener, list, &n);
        for (int i = n_watched - 1; i >= 0; i--)
            if ((watched[i].revents != 0 && take_in(list[i], port, route, ctx)) ||
                out_seconds() - list[i]->since > IDLE_SECONDS)
                drop(list, &n, i);
    }
    while (n > 0)
        drop(list, &n, n - 1);
    close(listener);
}
