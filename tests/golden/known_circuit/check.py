#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Judges a known-circuit model and prompt by an independent NumPy forward pass (float64).

Owns: a plain llama forward pass from the GGUF's tensors, the masses on the designed keys, and the
measure of how well summaries of key blocks see the needle. Shares no code with make.py, so a
mistake in the construction cannot hide here. Memory is linear in the prompt's length.

    check.py run    --model model.gguf --prompt prompt.ids
    check.py sweep  --n-tok 256 4096 32768 --seeds 3
    check.py edges  --n-tok 256 4096 --seeds 3
    check.py blocks --n-tok 4096 32768 --seeds 20

Rows: `all` attends exactly in every row (quadratic time). `near` attends exactly in the rows that
the design speaks of, while all other rows see key 0 and the last 256 to 511 keys only; what the
designed heads carry is the same, only the junk that diffuse and soft heads write differs.
"""
import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

P_MIN, MASS_MIN = 0.999, 0.5
NEAR = 256                                # rows per chunk, and keys before it, in `near` mode
SCORES_MAX = 1 << 22                      # score elements held at once
ALL_ROWS_MAX = 8192                       # up to here `--rows auto` means all


# ---- reading -----------------------------------------------------------------------------------

class Model:
    """A llama GGUF: hyperparameters and float64 tensors by name."""

    def __init__(self, path):
        reader = gguf.GGUFReader(str(path))

        def field(name):
            return reader.fields[f"llama.{name}"].contents()

        self.n_layer = field("block_count")
        self.n_head = field("attention.head_count")
        self.n_kv_head = field("attention.head_count_kv")
        self.d_head = field("attention.key_length")
        self.eps = field("attention.layer_norm_rms_epsilon")
        self.base = float(field("rope.freq_base"))
        self.tensors = {t.name: np.array(t.data, dtype=np.float64) for t in reader.tensors}

    def layer(self, layer, name):
        return self.tensors[f"blk.{layer}.{name}.weight"]


def read_prompt(path):
    """Token ids [n_tok] and the JSON beside them."""
    raw = path.read_bytes()
    ids = np.array((gzip.decompress(raw) if path.suffix == ".gz" else raw).split(), dtype=np.int64)
    stem = path.with_suffix("") if path.suffix == ".gz" else path
    return ids, json.loads(stem.with_suffix(".json").read_text())


# ---- the forward pass --------------------------------------------------------------------------

def rms_norm(x, w, eps):
    """x [n, n_embd] over its root mean square, times w [n_embd]."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * w


def rope(x, base):
    """Rotates the pairs (2i, 2i+1) of x [n, ..., d] by position times base^(-2i/d)."""
    n, d = x.shape[0], x.shape[-1]
    angle = np.arange(n)[:, None] * base ** (-np.arange(0, d, 2) / d)
    angle = angle.reshape(n, *[1] * (x.ndim - 2), d // 2)
    cos, sin = np.cos(angle), np.sin(angle)
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return out


def softmax(s):
    """Softmax over the last index."""
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attend(q, k, v, rows, cols):
    """Causal attention of q [r, d] at positions rows over k, v [c, d] at positions cols: [r, d]."""
    s = q @ k.T
    s[cols[None, :] > rows[:, None]] = -np.inf
    return softmax(s) @ v


def attend_exact(q, k, v, rows):
    """Exact causal attention in the given rows: q, k, v [n, d] -> [len(rows), d]."""
    out = np.empty((len(rows), v.shape[1]))
    first = 0
    while first < len(rows):
        step = max(1, SCORES_MAX // (rows[first] + 1))
        part = rows[first:first + step]
        n = part[-1] + 1
        out[first:first + step] = attend(q[part], k[:n], v[:n], part, np.arange(n))
        first += step
    return out


def attend_near(q, k, v):
    """Attention of every row over key 0 and the keys of its own and the previous chunk: [n, d]."""
    n = len(q)
    out = np.empty((n, v.shape[1]))
    for first in range(0, n, NEAR):
        rows = np.arange(first, min(first + NEAR, n))
        cols = np.arange(max(first - NEAR, 0), rows[-1] + 1)
        if cols[0] > 0:
            cols = np.concatenate([[0], cols])
        out[rows] = attend(q[rows], k[cols], v[cols], rows, cols)
    return out


def attend_own(q, k, v):
    """Attention of every row over key 0, the previous key and its own: [n, d]."""
    n = len(q)
    cols = np.stack([np.zeros(n, int), np.arange(n) - 1, np.arange(n)], axis=1)
    s = np.einsum("nd,ncd->nc", q, k[cols])
    s[:2, 0] = s[0, 1] = -np.inf          # rows 0 and 1 have no more than their own and previous
    return np.einsum("nc,ncd->nd", softmax(s), v[cols])


@dataclass
class View:
    """What rows may see. mode: all, near (see the top) or own (see attend_own)."""
    mode: str
    exact_rows: np.ndarray = None         # rows of `near` that are exact
    deny: tuple = ()                      # edges cut: (layer, head, query, key)
    keep: tuple = ()                      # edges that rows of `own` see besides


def attend_rows(q, k, v, view, layer, head):
    """Output [n, d] of one head under the view."""
    if view.mode == "own":
        out = attend_own(q, k, v)
    elif view.mode == "all":
        out = attend_exact(q, k, v, np.arange(len(q)))
    else:
        out = attend_near(q, k, v)
        out[view.exact_rows] = attend_exact(q, k, v, view.exact_rows)
    for row, key in [e[2:] for e in view.deny if e[:2] == (layer, head)]:
        cols = np.delete(np.arange(row + 1), key)
        out[row] = softmax(k[cols] @ q[row]) @ v[cols]
    for row, key in [e[2:] for e in view.keep if e[:2] == (layer, head)]:
        cols = np.unique([0, row - 1, row, key])
        out[row] = softmax(k[cols] @ q[row]) @ v[cols]
    return out


def project(model, x, layer, g):
    """q [n, group, d] (scaled), k, v [n, d] of key/value head g from normed x [n, n_embd]."""
    group, d = model.n_head // model.n_kv_head, model.d_head
    heads, kv = slice(g * group * d, (g + 1) * group * d), slice(g * d, (g + 1) * d)
    q = (x @ model.layer(layer, "attn_q")[heads].T).reshape(len(x), group, d)
    k = x @ model.layer(layer, "attn_k")[kv].T
    v = x @ model.layer(layer, "attn_v")[kv].T
    return rope(q, model.base) / np.sqrt(d), rope(k, model.base), v


def feed_forward(model, x, layer):
    """The gated feed-forward block on the residual x [n, n_embd]; nothing if its output is zero."""
    down = model.layer(layer, "ffn_down")
    if not down.any():
        return 0
    x = rms_norm(x, model.layer(layer, "ffn_norm"), model.eps)
    gate = x @ model.layer(layer, "ffn_gate").T
    return (gate / (1 + np.exp(-gate)) * (x @ model.layer(layer, "ffn_up").T)) @ down.T


def forward(model, ids, view, see=None):
    """Logits of the last row. Calls see(layer, kv head, q, k), if any, for every key/value head."""
    h = model.tensors["token_embd.weight"][ids]
    group, d = model.n_head // model.n_kv_head, model.d_head
    for layer in range(model.n_layer):
        x = rms_norm(h, model.layer(layer, "attn_norm"), model.eps)
        w_out = model.layer(layer, "attn_output")
        for g in range(model.n_kv_head):
            q, k, v = project(model, x, layer, g)
            if see:
                see(layer, g, q, k)
            for head in range(g * group, (g + 1) * group):
                out = attend_rows(q[:, head - g * group], k, v, view, layer, head)
                h += out @ w_out[:, head * d:(head + 1) * d].T
        h += feed_forward(model, h, layer)
    last = rms_norm(h[-1:], model.tensors["output_norm.weight"], model.eps)
    return (last @ model.tensors["output.weight"].T)[0]


# ---- judging one prompt ------------------------------------------------------------------------

def design_rows(truth):
    """Rows of which the design speaks: readers, keys and values, the question."""
    rows = {truth["n_tok"] - 1, truth["n_tok"] - 2}
    for pair in truth["needles"] + truth["distractors"]:
        rows |= {pair["key"]["pos"], pair["value"]["pos"]}
    for read in truth["reads"]:
        rows |= {read["query"], read["key"]}
    return np.array(sorted(rows))


def base_view(truth, rows):
    """The unedited view for --rows all, near or auto."""
    if rows == "auto":
        rows = "all" if truth["n_tok"] <= ALL_ROWS_MAX else "near"
    return View(rows, design_rows(truth))


def run(model, ids, truth, rows, see=None):
    """Runs the prompt. Returns {p, token, mass: one for each read, ok, rows}."""
    view = base_view(truth, rows)
    group = model.n_head // model.n_kv_head
    mass = np.zeros(len(truth["reads"]))

    def watch(layer, g, q, k):
        for i, r in enumerate(truth["reads"]):
            if r["layer"] == layer and r["head"] // group == g:
                row = r["query"]
                mass[i] = softmax(k[:row + 1] @ q[row, r["head"] % group])[r["key"]]
        if see:
            see(layer, g, q, k)

    p = softmax(forward(model, ids, view, watch))
    order = np.argsort(-p, kind="stable")
    right = order[0] == truth["answer"]["id"] and p[order[0]] > P_MIN
    return {"token": int(order[0]), "p": float(p[order[0]]), "mass": mass,
            "ok": bool(right and mass.min() > MASS_MIN), "rows": view.mode}


def print_run(name, truth, result):
    """One line for a run: the answer, and by role the mass that misses the designed key (worst)."""
    worst = {}
    for read, m in zip(truth["reads"], result["mass"]):
        worst[read["role"]] = max(1 - m, worst.get(read["role"], 0))
    missed = "  ".join(f"{role} {worst[role]:.1e}" for role in sorted(worst))
    verdict = "ok  " if result["ok"] else "FAIL"
    print(f"{verdict} {name} rows {result['rows']:<4}  token {result['token']}"
          f" (answer {truth['answer']['id']})  1-p {1 - result['p']:.1e}  1-mass: {missed}",
          flush=True)


# ---- which edges carry the answer ----------------------------------------------------------------

def edge(read):
    """A designed read as (layer, head, query, key)."""
    return read["layer"], read["head"], read["query"], read["key"]


def answer_p(model, ids, truth, view):
    """Probability of the answer under a view."""
    return softmax(forward(model, ids, view))[truth["answer"]["id"]]


def judge_edges(model, ids, truth, rows):
    """Highest p with one route edge cut, lowest with one decoy edge cut, p with the route alone."""
    base = base_view(truth, rows)
    cut = {True: [], False: []}
    for read in truth["reads"]:
        view = View(base.mode, base.exact_rows, deny=(edge(read),))
        cut[read["route"]].append(answer_p(model, ids, truth, view))
    route = tuple(edge(r) for r in truth["reads"] if r["route"])
    alone = answer_p(model, ids, truth, View("own", keep=route))
    without = answer_p(model, ids, truth, View("own"))
    return max(cut[True]), min(cut[False]), alone, without


# ---- how well block summaries see the needle -----------------------------------------------------

def block_extremes(k, bk):
    """Mean, minimum, maximum [nbk, d] of the key blocks of k [n, d]; the last may be short."""
    starts = np.arange(0, len(k), bk)
    size = np.diff(np.append(starts, len(k)))[:, None]
    return (np.add.reduceat(k, starts) / size, np.minimum.reduceat(k, starts),
            np.maximum.reduceat(k, starts))


def block_exemplars(k, bk, weight):
    """Key of each block [nbk, d] that is furthest from its mean in channels weighted by [d]."""
    mean = np.repeat(block_extremes(k, bk)[0], bk, axis=0)[:len(k)]
    far = (k - mean) ** 2 @ weight
    return np.array([k[b + np.argmax(far[b:b + bk])] for b in range(0, len(k), bk)])


def block_scores(q, k, bk, weight):
    """Scores [nbk] of the key blocks of k [n, d] for the row q [d], by summary."""
    mean, low, high = block_extremes(k, bk)
    starts = np.arange(0, len(k), bk)
    centre = np.minimum(starts + bk // 2, len(k) - 1)
    return {
        "centre": k[centre] @ q,
        "mean": mean @ q,
        "bounds": np.maximum(q * low, q * high).sum(axis=1),
        "exemplar": block_exemplars(k, bk, weight) @ q,
        "best key": np.maximum.reduceat(k @ q, starts),
    }


def needle_ranks(model, ids, truth, bk, rows):
    """Rank of the needle's block, by hop and summary, for retrieval heads at the last row.

    Rank 1 is best; ties count against the needle. Block 0 (the sink) and the last four blocks
    (the window) are always kept by a selection, so they do not take part.
    """
    group = model.n_head // model.n_kv_head
    reads = [r for r in truth["reads"] if r["role"] == "retrieval"]
    ranks = {}

    def see(layer, g, q, k):
        for r in reads:
            if r["layer"] == layer and r["head"] // group == g:
                weight = np.mean(q * q, axis=(0, 1))
                scores = block_scores(q[-1, r["head"] % group], k, bk, weight)
                needle = r["key"] // bk
                for name, s in scores.items():
                    rivals = np.delete(s, needle)[1:-4]
                    ranks[r["hop"], name] = 1 + int(np.sum(rivals >= s[needle]))

    result = run(model, ids, truth, rows, see)
    return ranks, result


# ---- sweeps --------------------------------------------------------------------------------------

def make(folder, kind, hardness, seed, n_tok):
    """Model and prompt of one case, by make.py beside this file."""
    tool = [sys.executable, str(Path(__file__).with_name("make.py"))]
    case = ["--kind", kind, "--hardness", hardness, "--seed", str(seed)]
    gguf_path, ids_path = folder / "model.gguf", folder / "prompt.ids"
    subprocess.run([*tool, "model", *case, "--out", str(gguf_path)], check=True)
    subprocess.run([*tool, "prompt", *case, "--n-tok", str(n_tok), "--out", str(ids_path)],
                   check=True)
    return Model(gguf_path), *read_prompt(ids_path)


def cases(args):
    """All (n_tok, kind, hardness, seed) that the command line asks for."""
    return [(n, kind, hardness, seed) for n in args.n_tok for kind in args.kind
            for hardness in args.hardness for seed in range(args.first_seed,
                                                            args.first_seed + args.seeds)]


def sweep(args):
    """Judges many generated cases. Returns the number of failures."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for n_tok, kind, hardness, seed in cases(args):
            model, ids, truth = make(Path(folder), kind, hardness, seed, n_tok)
            result = run(model, ids, truth, args.rows)
            print_run(f"{kind:5} {hardness} seed {seed:2} n_tok {n_tok:7}", truth, result)
            bad += not result["ok"]
    print(f"{len(cases(args))} cases, {bad} failed")
    return bad


def edges(args):
    """Proves the designed route in generated cases. Returns the number of failures."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for n_tok, kind, hardness, seed in cases(args):
            model, ids, truth = make(Path(folder), kind, hardness, seed, n_tok)
            cut, decoy, alone, without = judge_edges(model, ids, truth, args.rows)
            ok = max(cut, without) < 1 - P_MIN and min(decoy, alone) > P_MIN
            bad += not ok
            print(f"{'ok  ' if ok else 'FAIL'} {kind:5} {hardness} seed {seed:2} n_tok {n_tok:7}"
                  f"  p(answer): a route edge cut <= {cut:.1e}, a decoy edge cut >= 1-"
                  f"{1 - decoy:.1e}, route alone 1-{1 - alone:.1e}, nothing {without:.1e}",
                  flush=True)
    print(f"{len(cases(args))} cases, {bad} failed")
    return bad


def blocks(args):
    """Prints how block summaries rank the needle's block. Returns the number of failed runs."""
    bad, table = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        for n_tok, kind, hardness, seed in cases(args):
            model, ids, truth = make(Path(folder), kind, hardness, seed, n_tok)
            ranks, result = needle_ranks(model, ids, truth, args.block_k, args.rows)
            bad += not result["ok"]
            for (hop, name), rank in ranks.items():
                table.setdefault((kind, hardness, n_tok, hop, name), []).append(rank)
    print(f"{'kind':5} {'hard':4} {'n_tok':>7} hop {'summary':9} {'median':>7} {'p90':>6} "
          f"{'worst':>6}  rank > 1  > 16")
    for (kind, hardness, n_tok, hop, name), ranks in table.items():
        r = np.array(ranks)
        print(f"{kind:5} {hardness:4} {n_tok:7} {hop:3} {name:9} {np.median(r):7.1f} "
              f"{np.percentile(r, 90):6.0f} {r.max():6}  {np.mean(r > 1):8.2f}  "
              f"{np.mean(r > 16):4.2f}")
    return bad


# ---- command line --------------------------------------------------------------------------------

def parse_args(argv):
    parser = argparse.ArgumentParser(description="judges known-circuit models and prompts")
    sub = parser.add_subparsers(dest="verb", required=True)
    one = sub.add_parser("run", help="judge one model and prompt")
    one.add_argument("--model", type=Path, required=True)
    one.add_argument("--prompt", type=Path, required=True)
    many = sub.add_parser("sweep", help="generate and judge many")
    cut = sub.add_parser("edges", help="prove the designed route by cutting edges")
    rank = sub.add_parser("blocks", help="rank the needle's block under block summaries")
    rank.add_argument("--block-k", type=int, default=16)
    for p in (many, cut, rank):
        p.add_argument("--n-tok", type=int, nargs="+", required=True)
        p.add_argument("--kind", nargs="+", default=["one", "three"])
        p.add_argument("--hardness", nargs="+", default=["easy", "hard"])
        p.add_argument("--seeds", type=int, default=3, help="how many seeds")
        p.add_argument("--first-seed", type=int, default=0)
    for p in (one, many, cut, rank):
        p.add_argument("--rows", choices=("auto", "all", "near"), default="auto")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    if args.verb != "run":
        return 1 if {"sweep": sweep, "edges": edges, "blocks": blocks}[args.verb](args) else 0
    ids, truth = read_prompt(args.prompt)
    result = run(Model(args.model), ids, truth, args.rows)
    print_run(args.prompt.name, truth, result)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
