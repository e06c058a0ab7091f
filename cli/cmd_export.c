/* SPDX-License-Identifier: MIT
 *
 * cmd_export.c — sparsetrace export: a trace for other tools.
 */
#include <errno.h>
#include <string.h>

#include "cmd.h"
#include "out.h"
#include "part_args.h"
#include "paths.h"

struct export_args {
    const char *trace, *out, *format;
    part_args part;
};

static int parse(struct export_args *a, int argc, char **argv)
{
    bool json = false;
    /* clang-format off */
    const arg_option option[] = {
        {"-o", "OUT", ARG_TEXT, &a->out, 0, 0, "file to write; its ending gives the format"},
        {"--format", "NAME", ARG_TEXT, &a->format, 0, 0,
         "npz (scipy.sparse.load_npz), csv, json; csv and json go to\n"
         "standard output without -o"},
        {"--json", NULL, ARG_FLAG, &json, 0, 0, "the same as --format json"},
        PART_OPTIONS(a->part),
    };
    const arg_verb verb = {"export", "TRACE [-o OUT] [--format npz|csv|json] [options]",
                           "Writes the kept key blocks and their mass, row by row.", option,
                           sizeof option / sizeof *option, 1, 1};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, &a->trace, &n_word);
    const char *dot, *slash;
    if (code >= 0)
        return code;
    if (json && a->format != NULL && strcmp(a->format, "json") != 0)
        return args_complain("export", "--json and --format %s are two formats: give one",
                             a->format);
    if (json)
        a->format = "json";
    slash = a->out != NULL ? strrchr(a->out, '/') : NULL;
    dot = a->out != NULL ? strrchr(slash != NULL ? slash : a->out, '.') : NULL;
    if (a->format == NULL)
        a->format = dot != NULL ? dot + 1 : "csv";
    if (strcmp(a->format, "npz") != 0 && strcmp(a->format, "csv") != 0 &&
        strcmp(a->format, "json") != 0)
        return args_complain("export", "no format \"%s\" (npz, csv, json)", a->format);
    if (strcmp(a->format, "npz") == 0 && a->out == NULL)
        return args_complain("export", "npz wants a file: -o OUT.npz");
    return PATHS_APART("export", "-o", a->out, a->trace);
}

static st_status io_error(st_error *err, const char *path)
{
    *err = (st_error){.status = ST_ERR_IO, .position = -1};
    snprintf(err->message, sizeof err->message, "cannot write %.300s: %s", path, strerror(errno));
    return ST_ERR_IO;
}

static st_status print_text(const struct export_args *a, const st_trace *trace,
                            const st_trace_part *part, FILE *f, st_error *err)
{
    return strcmp(a->format, "csv") == 0 ? st_trace_export_csv(trace, part, f, err)
                                         : st_trace_export_json(trace, part, f, err);
}

static st_status write_text(const struct export_args *a, const st_trace *trace,
                            const st_trace_part *part, st_error *err)
{
    char beside[PATHS_MAX];
    st_status status;
    FILE *f;
    if (a->out == NULL)
        return print_text(a, trace, part, stdout, err);
    f = paths_create(a->out, beside);
    if (f == NULL)
        return io_error(err, a->out);
    status = print_text(a, trace, part, f, err);
    if (!paths_close(f, a->out, beside, status == ST_OK) && status == ST_OK)
        status = io_error(err, a->out);
    return status;
}

int cmd_export(int argc, char **argv)
{
    struct export_args a = {0};
    st_trace *trace;
    st_trace_info info;
    st_trace_part part;
    st_error err;
    st_status status;
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    if (st_trace_open(a.trace, &trace, &err) != ST_OK)
        return out_failed(&err);
    st_trace_get_info(trace, &info);
    code = part_args_apply(&a.part, "export", info.n_tok, &part);
    if (code < 0) {
        status = strcmp(a.format, "npz") == 0 ? st_trace_export_npz(trace, &part, a.out, &err)
                                              : write_text(&a, trace, &part, &err);
        code = status == ST_OK ? EXIT_OK : out_failed(&err);
    }
    part_args_free(&part);
    st_trace_free(trace);
    return code;
}
