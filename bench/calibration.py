#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does the certificate's 95 % interval hold the exact recall as often as it says, and is a changed token named?

    calibration.py MODEL.gguf ... [--cot traces.jsonl] [--prompts 3] [--draws 200] [--keep FOLDER] [--record]

Each prompt (needle prompts of examples/needle_prompt.py, and beginnings of recorded reasoning) is traced with each
budget once, against a dense run, *all* rows certified: their mean is the exact recall. Which 32 rows a layer a run with
--seed s certifies is a hash of s, so what that run would say is computed from the file (and, once a model, compared with what
it does say). One line a run, with the interval of a seed of its own; `of draws` is how many of --draws seeds hold the truth.
--keep leaves the rows' recalls in FOLDER, for other estimators to be tried on.
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from interval import certified_rows, interval
from record import ROOT, Table, parser, run_json

BUDGETS = (("--pruned", "0.6"), ("--pruned", "0.8"), ("--k", "8"), ("--mass", "0.6"),
           ("--pruned", "0.9", "--block-q", "8", "--block-k", "4"), ("--pruned", "0.96", "--block-q", "4", "--block-k", "1"))
COLUMNS = (("model", 12), ("prompt", 12), ("tokens", 6), ("budget", 13), ("pruned", 6), ("recall", 7), ("from", 7), ("to", 7),
           ("truth", 7), ("holds", 5), ("of draws", 8), ("next token", 12))


def prompts(args, folder):
    for i in range(args.prompts):
        text = subprocess.run([sys.executable, ROOT / "examples/needle_prompt.py", "--words", str(args.words + 150 * i),
                               "--depth", str((i + 0.5) / args.prompts), "--seed", str(i), "--answer", folder / "answer"],
                              check=True, capture_output=True, text=True).stdout
        yield f"needle {i}", text + (folder / "answer").read_text()
    for i, line in enumerate(args.cot.read_text().splitlines()[:args.prompts] if args.cot else ()):
        yield f"reasoning {i}", json.loads(line)["full_text"].encode()[:args.bytes + 700 * i].decode(errors="ignore")


def rows_of(path):
    """layer -> (certified rows, recall [n_head, rows]) of a trace."""
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        head = json.loads(f.read(size))

        def tensor(name, kind):
            begin, end = head[name]["data_offsets"]
            f.seek(8 + size + begin)
            return np.frombuffer(f.read(end - begin), kind).reshape(head[name]["shape"])

        names = [n[:-len(".cert_rows")] for n in head if n.endswith(".cert_rows")]
        return {int(n.split(".")[1]): (tensor(n + ".cert_rows", "<i8"), tensor(n + ".cert_recall", "<f4")) for n in names}


def drawn(layers, n_tok, seed, n_row=32):
    """What a run that certifies n_row rows a layer would say: (mean, low, high)."""
    sample = []
    for layer, (rows, recall) in layers.items():
        want = certified_rows(n_tok, int(rows[0]), n_row, seed, layer)
        sample.append(recall[:, np.searchsorted(rows, want)])
    return interval(sample)


def main():
    p = parser("are certificates calibrated?")
    p.add_argument("models", type=pathlib.Path, nargs="+")
    p.add_argument("--cot", type=pathlib.Path, help="JSONL of reasoning traces with a field full_text")
    p.add_argument("--prompts", type=int, default=3, help="of each kind")
    p.add_argument("--words", type=int, default=700)
    p.add_argument("--bytes", type=int, default=3500)
    p.add_argument("--draws", type=int, default=200)
    p.add_argument("--keep", type=pathlib.Path)
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    table, runs, held, draws_held, faithful_but_changed = Table("calibration", COLUMNS, args.record), 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for model in args.models:
            checked = False
            for prompt, text in prompts(args, folder):
                (folder / "prompt.txt").write_text(text)
                for budget in BUDGETS:
                    def trace(*options):
                        return run_json(args.cli, "trace", "-m", model, "-f", folder / "prompt.txt", "--json", "--quiet",
                                        "--threads", args.threads, *budget, *options)
                    said = trace("--against", "dense", "--cert-rows", 65536, "-o", folder / "all.trace")
                    layers = rows_of(folder / "all.trace")
                    truth = float(np.mean([r.mean() for _, r in layers.values()]))
                    if not checked:
                        one = trace("--against", "none", "--seed", runs)["recall"]
                        mine = drawn(layers, said["n_tok"], runs)
                        assert np.allclose((one["mean"], *one["ci95"]), mine, atol=1e-6), (one, mine)
                        checked = True
                    if args.keep:
                        args.keep.mkdir(parents=True, exist_ok=True)
                        np.savez_compressed(args.keep / f"{runs:03d}.npz", n_tok=said["n_tok"],
                                            **{f"rows{l}": r for l, (r, _) in layers.items()},
                                            **{f"recall{l}": x.astype("f4") for l, (_, x) in layers.items()})
                    recall, low, high = drawn(layers, said["n_tok"], runs)
                    of_draws = np.mean([a <= truth <= b for _, a, b in (drawn(layers, said["n_tok"], 1000 + s)
                                                                     for s in range(args.draws))])
                    next_token = said["next_token"]
                    same = next_token["dense"]["id"] == next_token["sparse"]["id"]
                    word = "kept" if same else "within floor" if next_token["agree"] else "changed"
                    runs, held, draws_held = runs + 1, held + (low <= truth <= high), draws_held + of_draws
                    table.row(model.stem[:12], prompt, said["n_tok"], " ".join(b.lstrip("-") for b in budget[:2]),
                              f"{100 * said['pruned_fraction']:.2f}", f"{recall:.4f}", f"{low:.4f}", f"{high:.4f}", f"{truth:.4f}",
                              "yes" if low <= truth <= high else "NO", f"{100 * of_draws:.1f}", word)
    print(f"{held} of {runs} intervals hold the exact recall ({100 * held / runs:.1f} %); of {args.draws} draws of each "
          f"{100 * draws_held / runs:.1f} %")


if __name__ == "__main__":
    main()
