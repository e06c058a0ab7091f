#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Mass that each method keeps, relative to the oracle's at the same k, on recorded q and k.

    recall.py --qkv DIR [--record]

DIR holds safetensors files with q [n_head, n_q, d] (already scaled), k and v, as real models made them. The
mass of a row comes from log-sum-exps: exp(lse over the kept blocks - lse over all). rel: kept mass over the
oracle's (--select exact), sink and window included in both; mean and lowest over heads, lowest over the
query blocks of all heads. needle: where index.json names a needle, the key blocks of it to which a query
block of some head gives more than 10 % of its mass, and how many of those were kept. Needs numpy and
safetensors.
"""
import json
import pathlib
import tempfile

import numpy as np
from safetensors import safe_open

from record import Table, parser, run_json

SHAPES = ((32, 16, 8), (32, 32, 7))            # bq, bk, k: 4 blocks are searched in each
METHODS = ("stream", "flat", "scan", "hip", "window")
COLUMNS = (("case", 34), ("bq", 3), ("bk", 3), ("k", 3), ("method", 7), ("pruned", 7), ("mass", 6),
           ("rel", 6), ("worst head", 10), ("worst block", 11), ("needle", 7))


class Run:
    """One call: lse [n_head, n_q] float64, mass by (row of the selection, key block), pruned share."""

    def __init__(self, cli, source, folder, *options):
        out = folder / "out.safetensors"
        report = run_json(cli, "mask", source, "-o", out, "--scale", 1, "--cert-rows", 0, "--json", *options)
        self.pruned = report["pruned_fraction"]
        with safe_open(out, "np") as f:
            self.lse = f.get_tensor("lse").astype(np.float64)
            ptr, blocks, mass = (f.get_tensor(n) for n in ("indptr", "indices", "mass"))
        rows = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
        self.mass = dict(zip(zip(rows.tolist(), blocks.tolist()), mass.tolist()))


def needle_kept(run, full, needle, bk):
    """"kept/cases" of the needle's key blocks that carry more than 10 % of a query block's mass."""
    if needle is None:
        return "-"
    blocks = range(needle[0] // bk, (needle[1] - 1) // bk + 1)
    cases = [at for at, m in full.mass.items() if at[1] in blocks and m > 0.1]
    return f"{sum(at in run.mass for at in cases)}/{len(cases)}"


def measure(cli, source, needle, folder, table):
    for bq, bk, k in SHAPES:
        shape = ["--block-q", bq, "--block-k", bk]
        full = Run(cli, source, folder, *shape, "--k", 10**6)
        best = np.exp(Run(cli, source, folder, *shape, "--k", k, "--select", "exact").lse - full.lse)
        for method in METHODS:
            run = Run(cli, source, folder, *shape, "--k", k, "--select", method)
            mass = np.exp(run.lse - full.lse)
            blocks = mass.shape[1] // bq * bq
            by_block = [x[:, -blocks:].reshape(len(x), -1, bq).sum(axis=2) for x in (mass, best)]
            heads = mass.sum(axis=1) / best.sum(axis=1)
            table.row(source.stem, bq, bk, k, method, f"{100 * run.pruned:.2f}", f"{mass.mean():.4f}",
                      f"{heads.mean():.4f}", f"{heads.min():.4f}", f"{(by_block[0] / by_block[1]).min():.4f}",
                      needle_kept(run, full, needle, bk))


def needles(folder):
    """{file name: (first token, one past the last)} of index.json, if there is one."""
    index = folder / "index.json"
    cases = json.loads(index.read_text()) if index.exists() else []
    return {case["file"]: case["needle"] for case in cases if case.get("needle")}


def main():
    p = parser("recall of the selection methods on recorded q and k")
    p.add_argument("--qkv", type=pathlib.Path, required=True)
    args = p.parse_args()
    table = Table("recall", COLUMNS, args.record)
    needle = needles(args.qkv)
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(args.qkv.glob("*.safetensors")):
            measure(args.cli, source, needle.get(source.name), pathlib.Path(folder), table)


if __name__ == "__main__":
    main()
