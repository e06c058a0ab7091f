#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Peak memory, time and trace size as the prompt grows: straight lines, or something is quadratic.

    memory.py MODEL.gguf [--tokens 2048 4096 ...] [--k 8] [--record]

Each length is a process of its own (--k N --against none: one pass, recorded). The last column is the growth
per token since the length before; where it rises, a T^2 term shows.
"""
import pathlib
import random
import tempfile

from record import Table, parser, run_json

COLUMNS = (("tokens", 8), ("k", 3), ("pruned", 7), ("peak MB", 8), ("B/token", 8), ("trace MB", 8),
           ("seconds", 8), ("us/token", 8), ("keys s", 7), ("select s", 8), ("attend s", 8), ("certify s", 9))


def main():
    p = parser("memory and time by length")
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096, 8192, 16384, 32768])
    p.add_argument("--k", type=int, default=8)
    args = p.parse_args()
    table = Table("memory", COLUMNS, args.record)
    before = None
    with tempfile.TemporaryDirectory() as folder:
        ids, out = pathlib.Path(folder) / "ids.txt", pathlib.Path(folder) / "out.trace"
        for n_tok in args.tokens:
            rng = random.Random(1)
            ids.write_text("".join(f"{rng.randrange(500, 20000)}\n" for _ in range(n_tok)))
            r = run_json(args.cli, "trace", "-m", args.model, "--tokens", ids, "--k", args.k, "--against", "none",
                         "-o", out, "--json")
            s, peak = r["seconds"], r["peak_rss_bytes"]
            grown = f"{(peak - before[1]) / (n_tok - before[0]):.0f}" if before else "-"
            before = (n_tok, peak)
            table.row(n_tok, r["k"], f"{100 * r['pruned_fraction']:.2f}", f"{peak / 1e6:.0f}", grown,
                      f"{r['trace_bytes'] / 1e6:.1f}", f"{s['final']:.1f}", f"{1e6 * s['final'] / n_tok:.0f}",
                      f"{s['keys']:.2f}", f"{s['select']:.2f}", f"{s['attend']:.2f}", f"{s['certify']:.2f}")


if __name__ == "__main__":
    main()
