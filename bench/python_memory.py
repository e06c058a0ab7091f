#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a picture of attention costs in the tools of today and with sparsetrace.hf.trace: same model, same tokens, one run.

usage: python_memory.py MODEL.gguf [--what eager lens bertviz trace] [--tokens 512 1024 ...] [--limit-gib 16]
                        [--threads 1] [-k 8] [--plot FILE.svg]

  eager    transformers, attn_implementation="eager", output_attentions=True
  lens     TransformerLens, TransformerBridge.run_with_cache (patterns, scores and the other activations)
  bertviz  eager, and from it the page of bertviz.head_view
  trace    sparsetrace.hf.trace with its certificate, not compared with an exact run

Needs the Python package and tools/bridge_requirements.txt. Each measurement is a process of its own, whose memory is
limited; lengths rise until a tool breaks. The model is converted once; loading it counts in the peak, not in the time.
Time is CPU seconds of all threads, which other programs on the machine disturb less than the clock. Prints CSV.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

WHAT = ("eager", "lens", "bertviz", "trace")


def convert(path, folder):
    """The GGUF's weights as transformers keeps them: loads in a second."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    at, name = os.path.split(os.path.abspath(path))
    read = AutoModelForCausalLM.from_pretrained(at, gguf_file=name, dtype=torch.float32)
    config = AutoConfig.from_pretrained(at, gguf_file=name)
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # one that transformers agrees to save
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(at, gguf_file=name).save_pretrained(folder)


def eager(model, ids, args):
    got = model(input_ids=ids, output_attentions=True, logits_to_keep=1)
    return sum(a.nbytes for a in got.attentions), got.attentions


def lens(model, ids, args):
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    bridge = TransformerBridge.boot_transformers(args.model, hf_model=model, tokenizer=tokenizer)
    _, cache = bridge.run_with_cache(ids)
    return sum(x.nbytes for x in {x.data_ptr(): x for x in cache.cache_dict.values()}.values()), cache


def bertviz(model, ids, args):
    import bertviz

    page = bertviz.head_view(eager(model, ids, args)[1], [str(i) for i in ids[0].tolist()], html_action="return")
    return len(page.data), page


def trace(model, ids, args):
    import sparsetrace.hf as hf

    got = hf.trace(model, ids, k=args.k, against="none", threads=args.threads)
    return got.bytes, got


def measure(args):
    """In a process of its own: one line of JSON."""
    import torch
    from transformers import AutoModelForCausalLM

    resource.setrlimit(resource.RLIMIT_DATA, (int(args.limit_gib * 2**30),) * 2)
    torch.set_num_threads(args.threads)
    implementation = "sdpa" if args.one == "trace" else "eager"
    model = AutoModelForCausalLM.from_pretrained(args.model, attn_implementation=implementation).eval()
    ids = torch.randint(100, 10000, (1, args.tokens[0]), generator=torch.Generator().manual_seed(1))
    base, start, clock = peak_gib(), time.process_time(), time.monotonic()
    with torch.no_grad():
        size, _held = globals()[args.one](model, ids, args)
    told = {"cpu": time.process_time() - start, "clock": time.monotonic() - clock}
    print(json.dumps({**told, "peak": peak_gib(), "base": base, "bytes": size}))


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def rows(args, folder):
    """(what, tokens, dict or the reason of its end), printed as they come."""
    for what in args.what:
        for n in args.tokens:
            more = ["--limit-gib", args.limit_gib, "--threads", args.threads, "-k", args.k]
            command = [sys.executable, __file__, folder, "--one", what, "--tokens", n, *more]
            done = subprocess.run([*map(str, command)], capture_output=True, text=True)
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or ["killed"])[-1][:100]
                print(f"{what},{n},breaks: {reason}", flush=True)
                yield what, n, reason
                break
            r = json.loads(done.stdout.splitlines()[-1])
            numbers = [f"{r[x]:.2f}" for x in ("cpu", "clock", "peak", "base")]
            print(f"{what},{n},{','.join(numbers)},{r['bytes'] / 1e6:.1f}", flush=True)
            yield what, n, r


def plot(found, path, limit):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    _, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for ax, key, label in zip(axes, ("peak", "cpu"), ("peak memory, GiB", "CPU seconds")):
        for what in dict.fromkeys(f[0] for f in found):
            own = [(n, r[key]) for w, n, r in found if w == what and isinstance(r, dict)]
            ax.plot(*zip(*own), marker="o", label=what)
            broken = [n for w, n, r in found if w == what and isinstance(r, str)]
            if broken and key == "peak":
                ax.plot(broken, [limit], marker="x", color=ax.lines[-1].get_color())
        ax.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label)
        ax.set_xticks(sorted({n for _, n, _ in found}), labels=sorted({n for _, n, _ in found}), rotation=45)
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(ticker.ScalarFormatter())
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes[0].axhline(limit, color="grey", linestyle=":")
    axes[0].legend()
    plt.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192, 16384, 32768])
    parser.add_argument("--limit-gib", type=float, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--plot", help="an .svg of the table")
    parser.add_argument("--one", choices=WHAT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return measure(args)
    with tempfile.TemporaryDirectory() as folder:
        convert(args.model, folder)
        print("what,tokens,cpu_s,clock_s,peak_gib,of_which_model_gib,result_mb")
        found = list(rows(args, folder))
    if args.plot:
        plot(found, args.plot, args.limit_gib)


if __name__ == "__main__":
    main()
