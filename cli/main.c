/* SPDX-License-Identifier: MIT
 *
 * main.c — finds the verb.
 */
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "cmd.h"
#include "sparsetrace/base.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} verb[] = {
    {"trace", cmd_trace, "run a model over a long prompt and record what it reads"},
    {"info", cmd_info, "what a trace or a model holds; what was read, by whom"},
    {"groups", cmd_groups, "receiver heads and anchors of traces recorded with --groups"},
    {"view", cmd_view, "a trace in the browser: one .html, or served"},
    {"reason", cmd_reason, "what the sentences of a chain of thought do, and its phases"},
    {"watch", cmd_watch, "a chain of thought while it grows: tags, phases, flags"},
    {"suppress", cmd_suppress, "what later sentences lose if one cannot be looked at"},
    {"route", cmd_route, "the ways from one passage to another: layers, heads, tokens"},
    {"mask", cmd_mask, "the same selection on raw q, k, v tensors, without a model"},
    {"export", cmd_export, "a trace as npz (scipy), csv or json"},
    {"prove", cmd_prove, "whether given reads are how the model comes to its next token"},
    {"bench", cmd_bench, "what this machine does with a model, beside stock libllama"},
    {"ruler", cmd_ruler, "RULER's long-context tasks, dense beside pruned"},
    {"check", cmd_check, "prove that a trace is sound, or salvage an interrupted one"},
};

static void print_usage(FILE *f)
{
    fprintf(f, "sparsetrace %s: see what a language model reads\n\n", st_version());
    for (size_t i = 0; i < sizeof verb / sizeof *verb; i++)
        fprintf(f, "  sparsetrace %-8s %s\n", verb[i].name, verb[i].about);
    fprintf(f, "\nEach verb has --help.\n");
}

static int run(int argc, char **argv)
{
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("sparsetrace %s (%s kernels)\n", st_version(), st_cpu_name());
        return EXIT_OK;
    }
    for (size_t i = 0; i < sizeof verb / sizeof *verb; i++)
        if (strcmp(argv[1], verb[i].name) == 0)
            return verb[i].run(argc - 1, argv + 1);
    return args_complain("", "no verb \"%s\"", argv[1]);
}

int main(int argc, char **argv)
{
    int code;
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    code = run(argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && code != EXIT_FAILED) {
        fprintf(stderr, "sparsetrace: cannot write the output\n");
        return EXIT_FAILED;
    }
    return code;
}
