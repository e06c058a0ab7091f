#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stock llama-cpp-python with and without our plug-in: seconds of a prefill, next token, KL.

    plugin_speed.py MODEL.gguf [--tokens 16384 ...] [--settings k=8] [--rounds 3] [--least 5] [--record]

llama-cpp-python is built from its source package into the cache (tools/llama_cpp_python.sh), unless --python
names an interpreter that can import it. Each run is a process of its own that loads the plug-in with
ggml_backend_load before the model, as any program can, or does not; the runs alternate. Same for both:
weights (BF16 as `sparsetrace` converts them, --weights as-is for the file itself), flash attention, F16
cache, batch and micro-batch of 2,048, threads. The prompt is examples/needle_prompt.py's without a chat
template, grown to just under the number of tokens; it ends where the answer's number begins.

A row holds medians of the rounds; cpu s is the process's time on all cores, which other programs on the
machine disturb less; served counts the plug-in's sparse+exact layer calls. --least R fails unless every row
is R times faster by the clock with the same next token in all runs.
"""
import array
import ctypes
import hashlib
import json
import math
import mmap
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from record import ROOT, Table, parser

COLUMNS = (("tokens", 6), ("threads", 7), ("settings", 10), ("rounds", 6), ("stock s", 8), ("plug-in s", 9),
           ("ratio", 6), ("of rounds", 12), ("cpu s", 14), ("ratio", 6), ("next token", 14), ("same", 4),
           ("KL", 6), ("served", 7), ("peak MB", 11))


# ---- a run: a process of its own, in the Python that has llama-cpp-python ----------------------------------

def load_plugin(llama_cpp, path):
    """Loads the plug-in; a function that tells how many layer calls it served. ggml is reached through
    libllama because the package's libggml.so is another file than the libggml.so.0 that libllama has loaded,
    with a registry of its own: a plug-in loaded there is never used."""
    lib = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib/libllama.so"))
    lib.ggml_backend_load.restype = lib.ggml_backend_reg_get_proc_address.restype = ctypes.c_void_p
    reg = lib.ggml_backend_load(path.encode())
    if not reg:
        sys.exit(f"ggml cannot load {path}")
    take_stats = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(
        lib.ggml_backend_reg_get_proc_address(ctypes.c_void_p(reg), b"st_ggml_take_stats"))

    def served():
        numbers = (ctypes.c_int64 * 16)()  # at least st_ggml_stats: seven times, n_sparse, n_exact, ...
        take_stats(numbers)
        return numbers[7:9]
    return served


def needle_tokens(llm, n_tok):
    """The longest needle prompt of at most n_tok tokens."""
    sys.path.insert(0, str(ROOT / "examples"))
    import needle_prompt

    def tokens(n_word):
        text, answer, _ = needle_prompt.make(n_word, 0, 0.4)
        return llm.tokenize(f"{text}\n{answer}".encode(), special=True)
    low, high = 1, n_tok
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(tokens(middle)) <= n_tok else (low, middle - 1)
    return tokens(low)


def child(job):
    import llama_cpp
    served = load_plugin(llama_cpp, job["plugin"]) if job["plugin"] else lambda: (0, 0)
    llm = llama_cpp.Llama(job["model"], n_ctx=job["n_tok"] + 256, n_batch=2048, n_ubatch=2048,
                          flash_attn=True, n_threads=job["n_thread"], n_threads_batch=job["n_thread"],
                          verbose=False)
    prompt = needle_tokens(llm, job["n_tok"])
    begin = time.perf_counter(), time.process_time()
    llm.eval(prompt)
    row = llama_cpp.llama_get_logits_ith(llm.ctx, -1)  # waits for the last layer
    end = time.perf_counter(), time.process_time()
    logits = array.array("f", row[:llm.n_vocab()])
    pathlib.Path(job["logits"]).write_bytes(logits.tobytes())
    best = max(range(len(logits)), key=logits.__getitem__)
    peak = next(x for x in open("/proc/self/status") if x.startswith("VmHWM"))
    print(json.dumps({"n_tok": len(prompt), "seconds": end[0] - begin[0], "cpu": end[1] - begin[1],
                      "next": best, "text": llm.detokenize([best]).decode(errors="replace"),
                      "served": served(), "peak_mb": int(peak.split()[1]) / 1e3}))


# ---- the measurement ---------------------------------------------------------------------------------------

def bf16(cli, model):
    """The copy that the tool makes of quantised weights (src/engine/weights.c), or a float file itself."""
    cache = os.environ.get("SPARSETRACE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sparsetrace")
    with open(model, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        copy = pathlib.Path(cache) / f"weights/{hashlib.sha256(whole).hexdigest()[:32]}-bf16.gguf"
    if not copy.exists():
        with tempfile.TemporaryDirectory() as folder:
            ids = pathlib.Path(folder) / "ids.txt"
            ids.write_text("\n".join(map(str, range(100, 164))))
            subprocess.run([cli, "trace", "-m", model, "--tokens", ids, "--k", "4", "--against", "none", "-o",
                            f"{folder}/x.trace"], check=True, stdout=subprocess.DEVNULL)
    return copy if copy.exists() else model


def run(python, settings, job, plugin, logits):
    job = {**job, "plugin": plugin and str(plugin), "logits": logits}
    env = {k: v for k, v in os.environ.items() if k != "GGML_BACKEND_PATH"}
    done = subprocess.run([python, __file__, "--child", json.dumps(job)], text=True, stdout=subprocess.PIPE,
                          env={**env, "SPARSETRACE": settings})
    if done.returncode != 0:
        sys.exit(f"failed {'with' if plugin else 'without'} the plug-in")
    result = json.loads(done.stdout.splitlines()[-1])
    if plugin and sum(result["served"]) == 0:
        sys.exit("the plug-in was loaded but no attention ran through it")
    return result


def kl(a_file, b_file):
    """KL(a || b) in nats of two files of logits."""
    a, b = (array.array("f", pathlib.Path(x).read_bytes()) for x in (a_file, b_file))
    za, zb = (max(x) + math.log(math.fsum(math.exp(v - m) for v in x)) for x, m in ((a, max(a)), (b, max(b))))
    return math.fsum(math.exp(u - za) * ((u - za) - (v - zb)) for u, v in zip(a, b))


def main():
    p = parser("stock llama-cpp-python with and without the plug-in")
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("--tokens", type=int, nargs="+", default=[16384])
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--settings", default="k=8", help="the variable SPARSETRACE")
    p.add_argument("--weights", choices=("bf16", "as-is"), default="bf16")
    p.add_argument("--plugin", type=pathlib.Path, default=ROOT / "build/libggml-sparsetrace.so")
    p.add_argument("--python", help="a Python that can import llama_cpp")
    p.add_argument("--least", type=float, help="fail unless this many times faster, same next token")
    args = p.parse_args()
    python = args.python or subprocess.run([ROOT / "tools/llama_cpp_python.sh"], check=True, text=True,
                                           stdout=subprocess.PIPE).stdout.strip()
    model = bf16(args.cli, args.model) if args.weights == "bf16" else args.model
    table, failed = Table("plugin_speed", COLUMNS, args.record), False
    with tempfile.TemporaryDirectory() as folder:
        for n_tok in args.tokens:
            job = {"model": str(model), "n_tok": n_tok, "n_thread": args.threads}
            stock, ours = [], []
            for _ in range(args.rounds):
                stock.append(run(python, args.settings, job, None, f"{folder}/a"))
                ours.append(run(python, args.settings, job, args.plugin, f"{folder}/b"))
            a, b, cpu_a, cpu_b, mb_a, mb_b = (statistics.median(r[what] for r in runs) for what in
                                              ("seconds", "cpu", "peak_mb") for runs in (stock, ours))
            ratios = [x["seconds"] / y["seconds"] for x, y in zip(stock, ours)]
            same = len({r["next"] for r in stock + ours}) == 1
            failed = failed or args.least is not None and not (same and a / b >= args.least)
            table.row(ours[0]["n_tok"], args.threads, args.settings, args.rounds, f"{a:.2f}", f"{b:.2f}",
                      f"{a / b:.2f}", f"{min(ratios):.2f}..{max(ratios):.2f}", f"{cpu_a:.1f} {cpu_b:.1f}",
                      f"{cpu_a / cpu_b:.2f}", f"{stock[0]['text']!r} {ours[0]['text']!r}",
                      "yes" if same else "NO", f"{kl(f'{folder}/a', f'{folder}/b'):.3f}",
                      "{}+{}".format(*ours[0]["served"]), f"{mb_a:.0f} {mb_b:.0f}")
    sys.exit(failed)


if __name__ == "__main__":
    child(json.loads(sys.argv[2])) if sys.argv[1:2] == ["--child"] else main()
