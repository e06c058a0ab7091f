/* SPDX-License-Identifier: MIT
 *
 * cmd_check.c — sparsetrace check: the validator, and the rescue of an interrupted recording.
 */
#include <string.h>

#include "args.h"
#include "cmd.h"
#include "out.h"
#include "paths.h"

static int report(const char *path, bool json, st_status status, const st_error *err,
                  const st_trace_info *info)
{
    char a[32], b[32];
    if (json) {
        printf("{\"file\":");
        out_json_string(stdout, path, (int64_t)strlen(path));
        printf(",\"ok\":%s", status == ST_OK ? "true" : "false");
        if (status == ST_OK) {
            printf(",\"complete\":%s,\"n_tok\":%lld,\"n_layer\":%lld,\"bytes\":%lld",
                   info->complete ? "true" : "false", (long long)info->n_tok,
                   (long long)info->n_layer, (long long)info->bytes);
        } else {
            printf(",\"error\":\"%s\",\"position\":%lld,\"message\":", st_status_name(err->status),
                   (long long)err->position);
            out_json_string(stdout, err->message, (int64_t)strlen(err->message));
        }
        printf("}\n");
    } else if (status == ST_OK) {
        printf("%s is sound: %s tokens, %lld layers, %s%s\n", path, out_count(a, info->n_tok),
               (long long)info->n_layer, out_bytes(b, info->bytes),
               info->complete ? "" : ", salvaged from an interrupted run");
    } else {
        out_failed(err);
    }
    return status == ST_OK ? EXIT_OK : EXIT_FAILED;
}

static int check(const char *path, bool json)
{
    st_trace *trace = NULL;
    st_trace_info info = {0};
    st_error err;
    st_status status = st_trace_open(path, &trace, &err);
    if (status == ST_OK)
        status = st_trace_validate(trace, &err);
    if (status == ST_OK)
        st_trace_get_info(trace, &info);
    st_trace_free(trace);
    return report(path, json, status, &err, &info);
}

int cmd_check(int argc, char **argv)
{
    const char *path, *out = NULL;
    bool json = false;
    /* clang-format off */
    const arg_option option[] = {
        {"--salvage", "OUT", ARG_TEXT, &out, 0, 0,
         "FILE is the .part of an interrupted recording: make a trace of what it holds"},
        {"--json", NULL, ARG_FLAG, &json, 0, 0, "print the verdict as one JSON object"},
    };
    const arg_verb verb = {
        "check", "FILE [--salvage OUT] [--json]",
        "Reads the whole trace and proves it sound: structure, order and range of every index,\n"
        "mass, text, and the certificate against its samples. Exit 1 with the place if not.",
        option, sizeof option / sizeof *option, 1, 1};
    /* clang-format on */
    int n_word, code = args_parse(&verb, argc, argv, &path, &n_word);
    int64_t n_tok;
    st_error err;
    if (code < 0)
        code = PATHS_APART("check", "--salvage", out, path);
    if (code >= 0)
        return code;
    if (out != NULL && st_trace_salvage(path, out, &n_tok, &err) != ST_OK)
        return report(path, json, err.status, &err, NULL);
    return check(out != NULL ? out : path, json);
}
