# SPDX-License-Identifier: MIT
"""Suppression matrices against each other: pruned against exact, and against those of the writers' own model.

usage: suppression.py EXACT.safetensors [PRUNED.safetensors ...] [--stored TRACES.jsonl --id ID]

The files are those of `sparsetrace suppress`, of one text. TRACES.jsonl: a line with this "id" has "suppression",
for each source a list of [target, value]. Correlations are over pairs of sentences at least so far apart. Needs
numpy, scipy and safetensors.
"""
import argparse
import json

import numpy as np
import scipy.stats
from safetensors.numpy import load_file

FAR = (1, 4, 11)


def read_stored(path, name):
    """[target, source], less its row's mean."""
    for line in open(path, encoding="utf-8"):
        record = json.loads(line)
        if record.get("id") == name:
            stored = record["suppression"]
            matrix = np.full((len(stored),) * 2, np.nan)
            for source, row in enumerate(stored):
                for target, value in row:
                    matrix[int(target), source] = value
            return centre(matrix)
    raise SystemExit(f"{path}: no line with the id {name}")


def centre(x):
    have = ~np.isnan(x)
    count = np.maximum(have.sum(1, keepdims=True), 1)
    return x - np.where(have, x, 0).sum(1, keepdims=True) / count


def compare(name, a, b):
    i, j = np.indices(a.shape)
    for far in FAR:
        use = ~np.isnan(a) & ~np.isnan(b) & (i - j >= far)
        rho, r = scipy.stats.spearmanr(a[use], b[use])[0], np.corrcoef(a[use], b[use])[0, 1]
        print(f"{name:40s} {far:2d} or more apart, {use.sum():6d} pairs: Spearman {rho:.3f}, Pearson {r:.3f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("exact")
    p.add_argument("pruned", nargs="*")
    p.add_argument("--stored")
    p.add_argument("--id")
    args = p.parse_args()
    exact = load_file(args.exact)["effect"]
    stored = read_stored(args.stored, args.id) if args.stored else None
    if stored is not None:
        compare("exact, stored", exact, stored)
    for path in args.pruned:
        pruned = load_file(path)["effect"]
        compare(f"{path}, exact", pruned, exact)
        if stored is not None:
            compare(f"{path}, stored", pruned, stored)


if __name__ == "__main__":
    main()
