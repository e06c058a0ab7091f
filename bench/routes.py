#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is the route that is found and proved the designed one? The known circuit (tests/golden/known_circuit) by seeds.

    routes.py [--tokens 4096] [--seeds 100] [--first 0] [--hard] [--threads 2] [--record]

Seed s makes its own model and prompt: one needle hop or three (s even, odd), fillers easy for `stream` or hard, then
for `scan` (s // 2 even, odd; --hard: all hard). Beside each needle's reader stand decoys that read the same token. The
prompt is traced by blocks; from each needle that the designed heads read, `route --refine --prove --each`:

  found    the heaviest routes are the retrieval head's and the decoys' that read the same token, nobody else's
  proved   run by themselves, each retrieval head's route is needed, and no decoy's is
  causal   `prove`: the routes that were needed, of all needles together, are needed and enough

A decoy's read looks the same in the trace: only the proof tells them apart. One line a seed; the last says how many
seeds have all three. Needs the packages of the tests (tools/test.sh makes an environment for them).
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from record import ROOT, Table, parser

CASE = ROOT / "tests/golden/known_circuit/make.py"
COLUMNS = (("tokens", 8), ("seed", 5), ("hops", 5), ("fillers", 7), ("method", 6), ("needles", 7), ("found", 5), ("proved", 6),
           ("causal", 6), ("least needed", 12), ("most of decoys", 14))


def run(*args):
    done = subprocess.run(list(map(str, args)), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def circuit(args, folder, seed):
    kind, hardness = ("one", "three")[seed % 2], ("easy", "hard")[args.hard or seed // 2 % 2]
    method = "stream" if hardness == "easy" else "scan"
    model, ids, trace = folder / "model.gguf", folder / "prompt.ids", folder / "blocks.trace"
    run(sys.executable, CASE, "model", "--kind", kind, "--hardness", hardness, "--seed", seed, "--out", model)
    run(sys.executable, CASE, "prompt", "--model", model, "--seed", seed, "--n-tok", args.tokens, "--out", ids)
    run(args.cli, "trace", "-m", model, "--tokens", ids, "-o", trace, "--weights", "as-is", "--against", "none", "--quiet",
        "--threads", args.threads, "--k", args.k, "--select", method)
    return model, ids, trace, json.loads(ids.with_suffix(".json").read_text()), (kind, hardness, method)


def needles(truth):
    """{key: reads of it by the last row}"""
    reads = {}
    for read in truth["reads"]:
        if read["role"] in ("retrieval", "decoy"):
            reads.setdefault(read["key"], []).append(read)
    return reads


def is_causal(args, model, ids, edges, folder, method):
    """Whether these reads (layer, head, query, key) are needed and enough."""
    path = folder / "edges.txt"
    path.write_text("".join(f"deny {layer}.{head}:{query}:{key}\n" for layer, head, query, key in sorted(edges)))
    said = json.loads(run(args.cli, "prove", "-m", model, "--tokens", ids, "--edges", path, "--json", "--quiet", "--random",
                          args.random, "--threads", args.threads, "--exact-max", args.exact_max, "--select", method))
    return said["causal"]


def judge(args, folder, model, ids, trace, truth, method):
    """found, proved, causal, the least loss without a needed read, the most without a decoy's"""
    found = proved = True
    needed, decoys, edges = [], [0.0], set()
    for key, wanted in needles(truth).items():
        said = json.loads(run(args.cli, "route", trace, "--from", key, "--top", len(wanted), "--json", "--quiet", "--refine",
                              "--prove", "--each", "-m", model, "--random", args.random, "--threads", args.threads,
                              "--exact-max", args.exact_max))
        reads = {tuple((h["layer"], h["head"], h["query"]["begin"], h["key"]["begin"]) for h in x["hops"]): x
                 for x in said["routes"]}
        found &= sorted(reads) == sorted(((r["layer"], r["head"], r["query"], r["key"]),) for r in wanted)
        edges |= {hop for hops, x in reads.items() if x.get("proof", {}).get("necessary") for hop in hops}
        for read in wanted:
            route = reads.get(((read["layer"], read["head"], read["query"], read["key"]),))
            if route is not None:
                (needed if read["route"] else decoys).append(route["proof"]["necessity"]["loss"])
                proved &= route["proof"]["necessary"] == read["route"]
    causal = bool(edges) and is_causal(args, model, ids, edges, folder, method)
    return found, proved, causal, min(needed, default=0.0), max(decoys)


def main():
    p = parser("routes of the known circuit, found and proved")
    p.add_argument("--tokens", type=int, default=4096)
    p.add_argument("--seeds", type=int, default=100)
    p.add_argument("--first", type=int, default=0, help="the first seed")
    p.add_argument("--hard", action="store_true", help="hard fillers and scan at every seed")
    p.add_argument("--k", type=int, default=16, help="key blocks kept")
    p.add_argument("--exact-max", type=int, default=16384, help="longer prompts are run with the method, pruned")
    p.add_argument("--random", type=int, default=5, help="drawn sets of a proof")
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    table, right = Table("routes", COLUMNS, args.record), 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for seed in range(args.first, args.first + args.seeds):
            model, ids, trace, truth, (kind, hardness, method) = circuit(args, folder, seed)
            found, proved, causal, needed, decoys = judge(args, folder, model, ids, trace, truth, method)
            right += found and proved and causal
            table.row(args.tokens, seed, kind, hardness, method, len(needles(truth)),
                      *("yes" if x else "NO" for x in (found, proved, causal)), f"{needed:.3f}", f"{decoys:.3f}")
    print(f"the designed route found, proved, and no decoy called needed: {right} of {args.seeds} seeds")


if __name__ == "__main__":
    main()
