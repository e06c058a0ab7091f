/* SPDX-License-Identifier: MIT
 *
 * cmd_view.c — sparsetrace view: a trace as one .html that needs nothing else, or served.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "args.h"
#include "cmd.h"
#include "out.h"
#include "page_out.h"
#include "paths.h"
#include "serve.h"

#define CELLS 64 /* rows and columns of a head's picture */

struct view_args {
    const char *trace, *out, *routes, *reason;
    int64_t max_bytes, port;
    bool serve, json;
    page_documents documents;
};

static int parse(struct view_args *a, int argc, char **argv)
{
    const char *word[2] = {NULL, NULL};
    /* clang-format off */
    const arg_option option[] = {
        {"-o", "OUT", ARG_TEXT, &a->out, 0, 0, "the .html to write"},
        {"--max-bytes", "N", ARG_INT, &a->max_bytes, 200000, 2e9,
         "at most so many bytes (20,000,000): what does not fit is left out,\n"
         "the lightest entries first, and the page says so"},
        {"--serve", NULL, ARG_FLAG, &a->serve, 0, 0,
         "serve the whole trace at 127.0.0.1:PORT (7007; 0: any free port)\n"
         "until Ctrl-C"},
        {"--routes", "FILE", ARG_TEXT, &a->routes, 0, 0, "show routes: what route --json printed"},
        {"--reason", "FILE", ARG_TEXT, &a->reason, 0, 0,
         "show reasoning beside the trace's own: what reason --json printed"},
        {"--json", NULL, ARG_FLAG, &a->json, 0, 0, "say what was written as JSON"},
    };
    const arg_verb verb = {"view", "TRACE -o OUT.html [options] | TRACE --serve [PORT] [options]",
                           "Shows a trace in a browser.", option,
                           sizeof option / sizeof *option, 1, 2};
    /* clang-format on */
    int n_word, code;
    char *end;
    code = args_parse(&verb, argc, argv, word, &n_word);
    if (code >= 0)
        return code;
    a->trace = word[0];
    if (a->serve == (a->out != NULL))
        return args_complain("view", a->serve ? "-o and --serve are two ways: give one"
                                              : "view wants -o OUT.html or --serve");
    if (word[1] != NULL && !a->serve)
        return args_complain("view", "unexpected \"%s\"", word[1]);
    if (word[1] != NULL) {
        a->port = strtoll(word[1], &end, 10);
        if (end == word[1] || *end != '\0' || a->port < 0 || a->port > 65535)
            return args_complain("view", "--serve: \"%s\" is not a port, 0..65535", word[1]);
    }
    return PATHS_APART("view", "-o", a->out, a->trace, a->routes, a->reason);
}

/* ---- the report ------------------------------------------------------------------------------ */

static st_status io_error(st_error *err, const char *path)
{
    *err = (st_error){.status = ST_ERR_IO, .position = -1};
    snprintf(err->message, sizeof err->message, "cannot write %.300s: %s", path, strerror(errno));
    return ST_ERR_IO;
}

static st_status write_page(const struct view_args *a, const st_excerpt *x, st_error *err)
{
    char beside[PATHS_MAX];
    st_status status;
    FILE *f = paths_create(a->out, beside);
    if (f == NULL)
        return io_error(err, a->out);
    status = page_print(&a->documents, x, f, err);
    if (!paths_close(f, a->out, beside, status == ST_OK) && status == ST_OK)
        status = io_error(err, a->out);
    return status;
}

/* What the page's own parts leave of max_bytes for the data before base64. */
static int64_t room(const struct view_args *a)
{
    int64_t left = a->max_bytes - page_size(&a->documents);
    return left > 0 ? left / 4 * 3 : 0;
}

static void say(const struct view_args *a, const st_excerpt_info *e, const st_trace_info *i)
{
    char n[32];
    struct stat there = {0};
    stat(a->out, &there);
    if (a->json) {
        printf("{\"file\":");
        out_json_string(stdout, a->out, (int64_t)strlen(a->out));
        printf(",\"bytes\":%lld,\"block_q\":%d,\"block_k\":%d,\"mass_bits\":%d,\"mass_floor\":",
               (long long)there.st_size, e->bq, e->bk, e->mass_bits);
        out_json_real(stdout, (double)e->mass_floor);
        printf(",\"entries\":%lld,\"entries_of_trace\":%lld,\"mass_share\":", (long long)e->n_entry,
               (long long)e->n_entry_trace);
        out_json_real(stdout, e->mass_share);
        printf(",\"token_bytes_max\":%lld}\n", (long long)e->piece_max_bytes);
        return;
    }
    printf("%s, %s: ", a->out, out_bytes(n, (int64_t)there.st_size));
    if (e->bq == i->bq && e->n_entry == e->n_entry_trace && e->mass_bits == 16)
        printf("the whole trace\n");
    else
        printf("blocks of %d x %d (the trace has %d x %d), %.1f %% of the mass, %d-bit masses\n",
               e->bq, e->bk, i->bq, i->bk, 100 * e->mass_share, e->mass_bits);
}

static int report(const struct view_args *a, const st_trace *trace, const st_overview *overview)
{
    st_excerpt *x;
    st_excerpt_info info;
    st_trace_info trace_info;
    st_error err;
    st_status status;
    if (room(a) < 1)
        return args_complain("view", "--max-bytes: the page alone takes more than %lld bytes",
                             (long long)a->max_bytes);
    if (st_excerpt_create(trace, overview, room(a), &x, &err) != ST_OK)
        return out_failed(&err);
    st_excerpt_get_info(x, &info);
    st_trace_get_info(trace, &trace_info);
    status = write_page(a, x, &err);
    st_excerpt_free(x);
    if (status != ST_OK)
        return out_failed(&err);
    say(a, &info, &trace_info);
    return EXIT_OK;
}

int cmd_view(int argc, char **argv)
{
    struct view_args a = {.max_bytes = 20000000, .port = 7007};
    st_trace *trace;
    st_overview *overview = NULL;
    st_error err;
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    if ((a.routes != NULL && page_read(&a.documents, PAGE_ROUTES, a.routes, &err) != ST_OK) ||
        (a.reason != NULL && page_read(&a.documents, PAGE_REASON, a.reason, &err) != ST_OK) ||
        st_trace_open(a.trace, &trace, &err) != ST_OK) {
        page_free(&a.documents);
        return out_failed(&err);
    }
    if (st_trace_validate(trace, &err) != ST_OK ||
        st_overview_create(trace, CELLS, &overview, &err) != ST_OK)
        code = out_failed(&err);
    else
        code = a.serve ? serve_trace(a.trace, trace, overview, &a.documents, (int)a.port)
                       : report(&a, trace, overview);
    st_overview_free(overview);
    st_trace_free(trace);
    page_free(&a.documents);
    return code;
}
