# SPDX-License-Identifier: MIT
"""The certificate a second time: which rows a run draws, and the interval of what they show (docs/trace-format.md, section 5)."""
import numpy as np

MASK64 = 2**64 - 1


def mix(x):
    """splitmix64"""
    x = (x + 0x9E3779B97F4A7C15) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


def certified_rows(n_tok, first, n_row, seed, layer):
    """One row of each of n_row strata of the rows first .. n_tok - 2."""
    n = min(n_row, n_tok - 1 - first)
    edge = [first + i * (n_tok - 1 - first) // n for i in range(n + 1)]
    return np.array([e + mix(seed ^ layer << 40 ^ i) % (edge[i + 1] - e) for i, e in enumerate(edge[:-1])])


def interval(samples):
    """(mean, low, high) of the layers' samples, each [n_head, rows]."""
    head = sum(len(x) for x in samples)
    mean = sum(len(x) / head * float(x.mean()) for x in samples)
    variance = 0.0
    for x in samples:
        row = x.mean(0)
        variance += (len(x) / head) ** 2 * float(np.square(np.diff(row)).sum()) / (2 * len(row) * (len(row) - 1))
    half = 1.96 * variance**0.5
    return mean, max(0.0, mean - half), min(1.0, mean + half)
