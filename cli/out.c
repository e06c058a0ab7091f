/* SPDX-License-Identifier: MIT
 *
 * out.c — printing.
 */
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "out.h"

int out_failed(const st_error *err)
{
    fprintf(stderr, "sparsetrace: %s\n", err->message);
    return EXIT_FAILED;
}

int out_failed_in(const char *path, const st_error *err)
{
    if (strstr(err->message, path) != NULL)
        return out_failed(err);
    fprintf(stderr, "sparsetrace: %s: %s\n", path, err->message);
    return EXIT_FAILED;
}

void *out_need(size_t bytes)
{
    void *p = malloc(bytes > 0 ? bytes : 1);
    if (p == NULL) {
        fprintf(stderr, "sparsetrace: out of memory: %zu bytes were wanted\n", bytes);
        exit(EXIT_FAILED);
    }
    return p;
}

void out_row(const char *name, const char *fmt, ...)
{
    va_list ap;
    printf("  %-16s", name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

const char *out_bytes(char *buf, int64_t bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    double x = (double)bytes;
    int u = 0;
    for (; x >= 1000.0 && u < 4; u++)
        x /= 1000.0;
    snprintf(buf, 32, u == 0 ? "%.0f %s" : "%.1f %s", x, unit[u]);
    return buf;
}

const char *out_count(char *buf, int64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-')
            buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = '\0';
    return buf;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Length of the well-formed UTF-8 sequence at s (of n bytes), 0: none. */
static int utf8(const char *s, int64_t n)
{
    unsigned char c = (unsigned char)s[0];
    int len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (len > n)
        return 0;
    for (int i = 1; i < len; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && (unsigned char)s[1] < 0xa0) || (c == 0xed && (unsigned char)s[1] > 0x9f) ||
        (c == 0xf0 && (unsigned char)s[1] < 0x90) || (c == 0xf4 && (unsigned char)s[1] > 0x8f))
        return 0;
    return len;
}

void out_json_string(FILE *f, const char *text, int64_t n)
{
    fputc('"', f);
    for (int64_t i = 0; i < n;) {
        int len = utf8(text + i, n - i);
        unsigned char c = (unsigned char)text[i];
        if (len == 0)
            fputs("\\ufffd", f);
        else if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\u%04x", c);
        else
            fwrite(text + i, 1, (size_t)len, f);
        i += len > 0 ? len : 1;
    }
    fputc('"', f);
}

void out_json_real(FILE *f, double x)
{
    if (isfinite(x))
        fprintf(f, "%.9g", x);
    else
        fputs("null", f);
}

/* A character of len bytes (0: broken) that is not for a terminal. C1 controls (0xc2 0x80..0x9f)
 * count. */
static bool steers(const char *s, int len)
{
    unsigned char c = (unsigned char)s[0];
    return len == 0 || c < 0x20 || c == 0x7f ||
           (len == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0);
}

const char *out_clean(char *buf, size_t size, const char *text)
{
    size_t n = strlen(text), at = 0;
    for (size_t i = 0; i < n;) {
        int len = utf8(text + i, (int64_t)(n - i));
        bool bad = steers(text + i, len);
        if (at + (size_t)(bad ? 1 : len) >= size)
            break;
        memcpy(buf + at, bad ? "." : text + i, bad ? 1 : (size_t)len);
        at += bad ? 1 : (size_t)len;
        i += len > 0 ? (size_t)len : 1;
    }
    buf[at] = '\0';
    return buf;
}

void out_sound(char *to, const char *text, int64_t n)
{
    for (int64_t i = 0; i < n;) {
        int len = utf8(text + i, n - i);
        if (len > 0)
            memcpy(to + i, text + i, (size_t)len);
        else
            to[i] = '?';
        i += len > 0 ? len : 1;
    }
}

int64_t out_unsound(const char *text, int64_t n)
{
    int64_t i = 0;
    for (int len = 1; i < n && len > 0; i += len)
        len = utf8(text + i, n - i);
    return i;
}

const char *out_token(const st_model *m, int32_t id, char buf[OUT_TOKEN])
{
    char raw[49], clean[100];
    int n = st_model_piece(m, id, raw, sizeof raw - 1);
    raw[n < (int)sizeof raw - 1 ? n : (int)sizeof raw - 1] = '\0';
    snprintf(buf, OUT_TOKEN, "\"%s\"",
             strcmp(raw, "\n") == 0 ? "\\n" : out_clean(clean, sizeof clean, raw));
    return buf;
}

void out_snippet(FILE *f, const char *text, int64_t n, int width)
{
    bool space = true;
    for (int64_t i = 0; i < n && width > 0;) {
        int len = utf8(text + i, n - i);
        unsigned char c = (unsigned char)text[i];
        bool is_space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
        if (is_space && !space)
            fputc(' ', f);
        else if (!is_space && steers(text + i, len))
            fputc('.', f);
        else if (!is_space)
            fwrite(text + i, 1, (size_t)len, f);
        width -= !(is_space && space);
        space = is_space;
        i += len > 0 ? len : 1;
    }
}

/* ---- progress -------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    interrupted = 1;
    signal(signal_number, SIG_DFL);
}

void out_catch_interrupt(void)
{
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
}

bool out_interrupted(void)
{
    return interrupted != 0;
}

double out_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* "dense run [#####.....] 12,288 / 16,384, 3,100/s, 1:19 left" */
static void draw(const out_bar *b, int64_t done, int64_t total, double elapsed)
{
    char count[32], all[32], rate[32];
    int filled = total > 0 ? (int)(24 * done / total) : 0;
    double speed = elapsed > 0 ? (double)(done - b->first) / elapsed : 0.0;
    fprintf(stderr, "\r\033[K%-26s [", b->what);
    for (int i = 0; i < 24; i++)
        fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "] ");
    if (total > 0)
        fprintf(stderr, "%s / %s", out_count(count, done), out_count(all, total));
    if (speed > 0) {
        double left = (double)(total - done) / speed;
        fprintf(stderr, ", %s/s, %d:%02d left", out_count(rate, (int64_t)speed), (int)left / 60,
                (int)left % 60);
    }
    fflush(stderr);
}

bool out_progress(void *ctx, const char *what, int64_t done, int64_t total)
{
    out_bar *b = ctx;
    double t = out_seconds();
    if (interrupted)
        return false;
    if (b->quiet || !isatty(STDERR_FILENO))
        return true;
    if (strcmp(what, b->what) != 0 || done == 0) {
        snprintf(b->what, sizeof b->what, "%s", what);
        b->start = t;
        b->first = done;
        b->last = 0.0;
    }
    if (t - b->last >= 0.1 || done == total) {
        draw(b, done, total, t - b->start);
        b->last = t;
        b->drawn = true;
    }
    return true;
}

void out_progress_end(out_bar *b)
{
    if (b->drawn)
        fputs("\r\033[K", stderr);
    b->drawn = false;
}
