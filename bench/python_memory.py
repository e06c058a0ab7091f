#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a picture of attention costs in transformers: eager attention with output_attentions=True beside
sparsetrace.hf.trace, same model, same tokens; seconds and peak memory of a process each, length after length until it
breaks.

usage: python_memory.py MODEL.gguf [--tokens 512 1024 ...] [--limit-gib 16] [--threads 2] [-k 8]

Needs the Python package, torch, transformers, gguf. Each measurement is a process of its own, whose address space is
limited; the model's loading is in its memory but not in its seconds. Prints CSV.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time


def load(path, attention):
    import torch
    from transformers import AutoModelForCausalLM

    folder, name = os.path.split(path)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32, attn_implementation=attention
    )
    return model.eval(), torch


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(args):
    """In a process of its own: one line of JSON."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(args.limit_gib * 2**30),) * 2)
    model, torch = load(args.model, "eager" if args.one == "eager" else "sdpa")
    torch.set_num_threads(args.threads)
    n = args.tokens[0]
    ids = torch.randint(100, 10000, (1, n), generator=torch.Generator().manual_seed(1))
    base, start = peak_gib(), time.monotonic()
    if args.one == "eager":
        with torch.no_grad():
            got = model(input_ids=ids, output_attentions=True, logits_to_keep=1)
        size = sum(a.nbytes for a in got.attentions)
    else:
        import sparsetrace.hf as hf

        trace = hf.trace(model, ids, k=args.k, against="none", threads=args.threads)
        size = trace.bytes
    print(json.dumps({"seconds": time.monotonic() - start, "peak": peak_gib(), "base": base, "bytes": size}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192, 16384, 32768])
    parser.add_argument("--limit-gib", type=float, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--one", choices=["eager", "trace"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return measure(args)
    print("what,tokens,seconds,peak_gib,of_which_model_gib,result_mb")
    for what in ("eager", "trace"):
        for n in args.tokens:
            done = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    args.model,
                    "--one",
                    what,
                    "--tokens",
                    str(n),
                    "--limit-gib",
                    str(args.limit_gib),
                    "--threads",
                    str(args.threads),
                    "-k",
                    str(args.k),
                ],
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
                print(f"{what},{n},breaks: {reason[:100]}", flush=True)
                break
            r = json.loads(done.stdout.splitlines()[-1])
            print(f"{what},{n},{r['seconds']:.1f},{r['peak']:.2f},{r['base']:.2f},{r['bytes'] / 1e6:.1f}", flush=True)


if __name__ == "__main__":
    main()
