#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does the certificate's 95 % interval hold the recall of all rows as often as it says?

    calibration.py MODEL.gguf ... [--cot traces.jsonl] [--words 1200] [--record]

Each prompt (needle prompts of examples/needle_prompt.py, and the first --bytes of recorded reasoning) is traced at each
pruned share twice: with 32 certified rows a layer, as by default, under a seed of its own, and with every second row
certified, whose mean stands for the truth (its own interval is a tenth as wide). One line a run; the last says how
many intervals hold it.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from record import ROOT, Table, parser, run_json

SHARES = (0.6, 0.7, 0.8, 0.85)
COLUMNS = (("model", 12), ("prompt", 14), ("pruned", 7), ("recall", 7), ("from", 7), ("to", 7), ("truth", 7), ("holds", 5),
           ("kept", 5))


def prompts(args, folder):
    for i in range(args.prompts):
        text = subprocess.run([sys.executable, ROOT / "examples/needle_prompt.py", "--words", str(args.words), "--depth",
                               str((i + 0.5) / args.prompts), "--seed", str(i), "--answer", folder / "answer"],
                              check=True, capture_output=True, text=True).stdout
        yield f"needle {i}", text + (folder / "answer").read_text()
    for i, line in enumerate(args.cot.read_text().splitlines()[:args.prompts] if args.cot else ()):
        yield f"reasoning {i}", json.loads(line)["full_text"].encode()[:args.bytes].decode(errors="ignore")


def main():
    p = parser("are certificates calibrated?")
    p.add_argument("models", type=pathlib.Path, nargs="+")
    p.add_argument("--cot", type=pathlib.Path, help="JSONL of reasoning traces with a field full_text")
    p.add_argument("--prompts", type=int, default=4, help="of each kind")
    p.add_argument("--words", type=int, default=1200)
    p.add_argument("--bytes", type=int, default=5000)
    args = p.parse_args()
    table, held, runs = Table("calibration", COLUMNS, args.record), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for model in args.models:
            for prompt, text in prompts(args, folder):
                (folder / "prompt.txt").write_text(text)
                for share in SHARES:
                    def trace(*options):
                        return run_json(args.cli, "trace", "-m", model, "-f", folder / "prompt.txt", "--json", "--quiet",
                                        "--pruned", share, *options)
                    said = trace("--against", "dense", "--seed", runs)
                    truth = trace("--against", "none", "--cert-rows", said["n_tok"])["recall"]["mean"]
                    recall, (low, high) = said["recall"]["mean"], said["recall"]["ci95"]
                    held += low <= truth <= high
                    runs += 1
                    table.row(model.stem[:12], prompt, f"{100 * said['pruned_fraction']:.2f}", f"{recall:.4f}", f"{low:.4f}",
                              f"{high:.4f}", f"{truth:.4f}", "yes" if low <= truth <= high else "NO",
                              "yes" if said["next_token"]["agree"] else "NO")
    print(f"{held} of {runs} intervals hold the truth ({100 * held / runs:.1f} %)")


if __name__ == "__main__":
    main()
