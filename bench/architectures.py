# SPDX-License-Identifier: MIT
"""Every architecture that llama.cpp can make a small random model of, traced beside ggml's own attention.

usage: architectures.py SPARSETRACE DIR [--only REGEX] [--tokens 500] [--threads 1]

The models come from llama.cpp's own test of its architectures (tests/test-llama-archs.cpp of the pinned package), which is
compiled into DIR and writes them there (1 GB). Each is traced with F32 weights and an F32 cache, k 6 blocks of 16, and
against ggml's attention (--floor). A line a model: layers, those that are exact, KL of the exact run to ggml's, KL of the
pruned run to the exact one, pruned share of the causal pairs of the pruned layers, recall; or the error. Random weights
attend nearly alike everywhere: this is about what runs and what it computes, not about what is kept.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What the test uses of llama.cpp's example code, for the part of it that writes models.
COMMON = """#pragma once
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>
#include "llama.h"
struct common_batch {
    common_batch(llama_context *) {}
    void add(llama_token, int, int, bool) {}
    void clear() {}
    llama_batch_ext *get() { return nullptr; }
};
static inline void common_init() {}
"""
LOG = """#pragma once
#include <cstdio>
#define LOG(...) printf(__VA_ARGS__)
#define LOG_INF(...) printf(__VA_ARGS__)
#define LOG_ERR(...) fprintf(stderr, __VA_ARGS__)
#define LOG_LEVEL_DEBUG 5
#define LOG_LEVEL_ERROR 1
static inline int common_log_get_verbosity(int) { return 9; }
static inline int common_log_main() { return 0; }
static inline void common_log_flush(int) {}
static inline void common_log_set_verbosity_thold(int) {}
"""


def generator(folder):
    """The compiled test, with the headers and libraries of the build that the program stands on."""
    source, program = folder / "llama.cpp", folder / "make_models"
    if program.exists():
        return program
    archive = subprocess.run(["bash", "-c", ". tools/fetch.sh; fetch llama-cpp-python"], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout.strip()
    prefix = subprocess.run([ROOT / "tools/deps.sh"], check=True, capture_output=True, text=True).stdout.strip()
    parts = ("tests/test-llama-archs.cpp", "src/*.h", "include/*", "ggml/include/*", "ggml/src/*.h", "vendor/*")
    source.mkdir(exist_ok=True)
    subprocess.run(["tar", "xzf", archive, "-C", source, "--strip-components=3", "--wildcards",
                    *(f"*/vendor/llama.cpp/{x}" for x in parts)], check=True)
    (folder / "common.h").write_text(COMMON)
    (folder / "log.h").write_text(LOG)
    include = [f"-I{x}" for x in (folder, source / "src", source / "include", source / "ggml/include", source / "ggml/src",
                                  source / "vendor")]
    libraries = [f"{prefix}/lib/lib{x}.a" for x in ("llama", "ggml", "ggml-cpu", "ggml-base")]
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17", "-O1", "-w", *include, source / parts[0], *libraries,
                    "-lpthread", "-ldl", "-lm", "-o", program], check=True)
    return program


def line_of(args, path, ids):
    command = [args.sparsetrace, "trace", "-m", path, "--tokens", ids, "--k", "6", "--floor", "--weights", "f32", "--ctk", "f32",
               "--ctv", "f32", "--threads", args.threads, "--json", "-o", ids.with_name("run.trace")]
    done = subprocess.run([str(x) for x in command], capture_output=True, text=True)
    if done.returncode != 0:
        return f"exit {done.returncode}: " + (done.stderr.strip().split("\n") or [""])[-1].removeprefix("sparsetrace: ")
    sound = subprocess.run([args.sparsetrace, "check", command[-1]], capture_output=True).returncode == 0
    r = json.loads(done.stdout)
    recall = f"{r['recall']['mean']:.3f}" if r.get("recall") else "-"
    return (f"{r['n_layer']:2} layers, {r['n_exact_layer']} exact  floor {r['floor']['kl']:.0e}  KL {r['kl']:.0e}  "
            f"pruned {r['pruned_fraction']:.3f}  recall {recall}" + ("" if sound else "  NOT SOUND"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sparsetrace")
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--only", default=".")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--threads", default="1")
    args = parser.parse_args()
    models = args.dir / "models"
    models.mkdir(parents=True, exist_ok=True)
    subprocess.run([generator(args.dir), "-s", "1", "-a", args.only, "-o", models], stdout=subprocess.DEVNULL, check=True)
    ids, draw = args.dir / "tokens.ids", random.Random(3)
    ids.write_text("".join(f"{draw.randrange(5, 125)}\n" for _ in range(args.tokens)))
    said = {path.stem: line_of(args, path, ids) for path in sorted(models.glob("*.gguf"))}
    for name, line in said.items():
        print(f"{name:24} {line}")
    print(f"{len(said)} models, {sum(not x.startswith('exit') for x in said.values())} traced")
    return 0 if said else 1


if __name__ == "__main__":
    sys.exit(main())
