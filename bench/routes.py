#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is the route that is found and proved the designed one? The known circuit (tests/golden/known_circuit) by seeds.

    routes.py [--tokens 4096] [--seeds 100] [--first 0] [--threads 2] [--record]

Seed s makes its own model and prompt: one needle hop or three (s even, odd), fillers easy for `stream` or hard, then
for `scan` (s // 2 even, odd). The last row is traced token by token. From each needle that the designed heads read:

  found    the heaviest routes are the designed head's and the decoys' that read the same token, nobody else's
  proved   each of these routes run by itself (route --prove --each): of the heads that write the answer the
           retrieval head's is needed and no decoy's is

A decoy's read looks the same in the trace: only the proof tells them apart. One line a seed; the last says how many
seeds have both right. Needs the packages of the tests (tools/test.sh makes an environment for them).
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from record import ROOT, Table, parser

CASE = ROOT / "tests/golden/known_circuit/make.py"
COLUMNS = (("tokens", 8), ("seed", 5), ("hops", 5), ("fillers", 7), ("method", 6), ("needles", 7), ("found", 5), ("proved", 6),
           ("least needed", 12), ("most of decoys", 14))


def run(*args):
    done = subprocess.run(list(map(str, args)), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def circuit(args, folder, seed):
    kind, hardness = ("one", "three")[seed % 2], ("easy", "hard")[seed // 2 % 2]
    method = "stream" if hardness == "easy" else "scan"
    model, ids, trace = folder / "model.gguf", folder / "prompt.ids", folder / "last.trace"
    run(sys.executable, CASE, "model", "--kind", kind, "--hardness", hardness, "--seed", seed, "--out", model)
    run(sys.executable, CASE, "prompt", "--model", model, "--seed", seed, "--n-tok", args.tokens, "--out", ids)
    run(args.cli, "trace", "-m", model, "--tokens", ids, "-o", trace, "--weights", "as-is", "--against", "none", "--quiet",
        "--threads", args.threads, "--k", args.k, "--block-q", 1, "--block-k", 1, "--rows", "-1:", "--select", method)
    return model, trace, json.loads(ids.with_suffix(".json").read_text()), (kind, hardness, method)


def needles(truth):
    """{key: reads of it by the last row}, and the layer that writes the answer."""
    reads = {}
    for read in truth["reads"]:
        if read["role"] in ("retrieval", "decoy"):
            reads.setdefault(read["key"], []).append(read)
    return reads, max(r["layer"] for x in reads.values() for r in x if r["route"])


def judge(args, model, trace, truth):
    """found, proved, the least loss without a needed read, the most without a decoy's"""
    reads, answer = needles(truth)
    found = proved = True
    needed, decoys = [], [0.0]
    for key, wanted in reads.items():
        said = json.loads(run(args.cli, "route", trace, "--from", key, "--top", len(wanted), "--json", "--quiet", "--prove",
                              "--each", "-m", model, "--random", args.random, "--threads", args.threads))
        by_head = {tuple((h["layer"], h["head"]) for h in x["hops"]): x for x in said["routes"]}
        found &= sorted(by_head) == sorted(((r["layer"], r["head"]),) for r in wanted)
        for read in wanted:
            route = by_head.get(((read["layer"], read["head"]),))
            if route is None or read["layer"] < answer and read["route"]:
                continue  # an earlier hop leads to the next needle: the answer's hop has its own key
            loss = route["proof"]["necessity"]["loss"]
            (needed if read["route"] else decoys).append(loss)
            proved &= route["proof"]["necessary"] == read["route"]
    return len(reads), found, proved and len(needed) > 0, min(needed, default=0.0), max(decoys)


def main():
    p = parser("routes of the known circuit, found and proved")
    p.add_argument("--tokens", type=int, default=4096)
    p.add_argument("--seeds", type=int, default=100)
    p.add_argument("--first", type=int, default=0, help="the first seed")
    p.add_argument("--k", type=int, default=64, help="key blocks (of one token) kept")
    p.add_argument("--random", type=int, default=5, help="drawn sets of a proof")
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    table, right = Table("routes", COLUMNS, args.record), 0
    with tempfile.TemporaryDirectory() as name:
        for seed in range(args.first, args.first + args.seeds):
            model, trace, truth, (kind, hardness, method) = circuit(args, pathlib.Path(name), seed)
            n, found, proved, needed, decoys = judge(args, model, trace, truth)
            right += found and proved
            table.row(args.tokens, seed, kind, hardness, method, n, "yes" if found else "NO", "yes" if proved else "NO",
                      f"{needed:.3f}", f"{decoys:.3f}")
    print(f"the designed route, and no decoy called causal: {right} of {args.seeds} seeds")


if __name__ == "__main__":
    main()
