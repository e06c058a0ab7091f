#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The smallest budget that keeps the next token, on needle prompts and on recorded reasoning.

    budgets.py MODEL.gguf [--cot traces.jsonl] [--record]

Needle: prompts of examples/needle_prompt.py in the model's chat template; the next token is the number's
first digit. Reasoning: texts of the JSONL's field full_text up to the opening brace of their last \\\\boxed{, so
that the next token begins the answer. Each is traced with --k auto against a dense run.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from record import ROOT, Table, parser, run_json

NEEDLES = ((3000, 0.1), (3000, 0.5), (3000, 0.9), (5900, 0.1), (5900, 0.5), (5900, 0.9))  # words, depth
COLUMNS = (("prompt", 34), ("tokens", 6), ("k", 4), ("pruned", 7), ("kept", 5), ("p dense", 7),
           ("p sparse", 8), ("KL", 7), ("same of 32", 10), ("recall", 6), ("last row", 8), ("runs", 4),
           ("dense s", 7), ("final s", 7))


def trace(cli, model, folder, text, *options):
    prompt = folder / "prompt.txt"
    prompt.write_text(text)
    return run_json(cli, "trace", "-m", model, "-f", prompt, "--json", "--against", "dense", *options)


def show(table, name, r):
    n, recall = r["next_token"], r["recall"]
    table.row(name, r["n_tok"], r["k"], f"{100 * r['pruned_fraction']:.2f}", "yes" if n["agree"] else "NO",
              f"{n['dense']['p']:.3f}", f"{n['sparse']['p']:.3f}", f"{r['kl']:.3f}", n["n_same_last"],
              f"{recall['mean']:.3f}", f"{recall['last_row']:.3f}", r["n_run"],
              f"{r['seconds']['dense']:.1f}", f"{r['seconds']['final']:.1f}")


def needles(args, folder, table):
    for words, depth in NEEDLES:
        answer = folder / "answer.txt"
        text = subprocess.run([sys.executable, ROOT / "examples/needle_prompt.py", "--words", str(words),
                               "--depth", str(depth), "--seed", "1", "--answer", answer],
                              check=True, capture_output=True, text=True).stdout
        show(table, f"needle, {words} words, depth {depth}",
             trace(args.cli, args.model, folder, text, "--chat", "--answer", answer.read_text()))


def reasoning(args, folder, table):
    done = 0
    for line in args.cot.read_text().splitlines():
        item = json.loads(line)
        cut = item["full_text"].rfind("\\boxed{")
        if cut < 0 or done == args.traces:
            continue
        done += 1
        show(table, item["id"][-34:], trace(args.cli, args.model, folder, item["full_text"][:cut + 7]))


def main():
    p = parser("smallest budgets that keep the next token")
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("--cot", type=pathlib.Path, help="JSONL of reasoning traces with a field full_text")
    p.add_argument("--traces", type=int, default=6, help="how many of them")
    args = p.parse_args()
    table = Table("budgets", COLUMNS, args.record)
    with tempfile.TemporaryDirectory() as folder:
        needles(args, pathlib.Path(folder), table)
        if args.cot:
            reasoning(args, pathlib.Path(folder), table)


if __name__ == "__main__":
    main()
