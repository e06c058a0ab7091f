/* SPDX-License-Identifier: MIT
 *
 * make.c — writes the sample run of tests/format/sample_trace.h as a trace, and its exports, into a
 * directory. See README.md: the files beside this one are not to be made again.
 */
#include "../../format/sample_trace.h"

static int fail(const char *what, const st_error *err)
{
    fprintf(stderr, "make: %s: %s\n", what, err->message);
    return 1;
}

static st_status export_text(const st_trace *t, const char *path, bool json, st_error *err)
{
    FILE *out = fopen(path, "w");
    st_status status;
    if (out == NULL) {
        perror(path);
        exit(1);
    }
    status =
        json ? st_trace_export_json(t, NULL, out, err) : st_trace_export_csv(t, NULL, out, err);
    if (fclose(out) != 0) {
        perror(path);
        exit(1);
    }
    return status;
}

int main(int argc, char **argv)
{
    sample s = sample_default();
    st_trace_options opt = {.lse = true};
    st_error err;
    st_trace *t;
    char path[512];
    if (argc != 2) {
        fprintf(stderr, "usage: make DIRECTORY\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/trace.safetensors", argv[1]);
    if (sample_write(&s, path, &opt, &err) != ST_OK || st_trace_open(path, &t, &err) != ST_OK)
        return fail(path, &err);
    snprintf(path, sizeof path, "%s/trace.npz", argv[1]);
    if (st_trace_export_npz(t, NULL, path, &err) != ST_OK)
        return fail(path, &err);
    snprintf(path, sizeof path, "%s/trace.csv", argv[1]);
    if (export_text(t, path, false, &err) != ST_OK)
        return fail(path, &err);
    snprintf(path, sizeof path, "%s/trace.json", argv[1]);
    if (export_text(t, path, true, &err) != ST_OK)
        return fail(path, &err);
    st_trace_free(t);
    return 0;
}
