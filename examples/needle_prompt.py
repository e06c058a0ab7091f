#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a needle-in-a-haystack prompt: one fact among thousands of words of filler, asked for at the end.

    needle_prompt.py --words 3000 [--seed 0] [--depth 0.4] [--answer FILE] > prompt.txt

The wording is that of RULER's niah_single_1 (noise haystack), so a small model can answer it. --answer FILE
receives what the assistant's answer begins with; the next token after it is the first of the number.
"""
import argparse
import random
import sys
from pathlib import Path

NOISE = ("The grass is green. The sky is blue. The sun is yellow. Here we go. "
         "There and back again.")
NAMES = ("amber", "brisk", "cedar", "delta", "ember", "fable", "grove", "hazel", "ivory", "jolly")
TASK = ("Some special magic numbers are hidden within the following text. Make sure to memorize it. "
        "I will quiz you about the numbers afterwards.\n{text}\nWhat are all the special magic numbers "
        "for {name} mentioned in the provided text?")
ANSWER = "The special magic number for {name} mentioned in the provided text is "


def make(n_word, seed, depth):
    """(prompt, beginning of the answer, the number) with about n_word words."""
    rng = random.Random(seed)
    name = f"{rng.choice(NAMES)}-{rng.choice(NAMES)}"
    number = str(rng.randint(1_000_000, 9_999_999))
    lines = [NOISE] * max(1, round(n_word / len(NOISE.split())))
    lines.insert(round(depth * len(lines)),
                 f"One of the special magic numbers for {name} is: {number}.")
    return (TASK.format(text="\n".join(lines), name=name), ANSWER.format(name=name), number)


def main():
    parser = argparse.ArgumentParser(description="needle-in-a-haystack prompt")
    parser.add_argument("--words", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--depth", type=float, default=0.4, help="where the needle is, 0..1")
    parser.add_argument("--answer", type=Path, help="file for what the answer begins with")
    args = parser.parse_args()
    if args.words < 1 or not 0 <= args.depth <= 1:
        parser.error("--words must be positive and --depth within 0..1")
    prompt, answer, _ = make(args.words, args.seed, args.depth)
    if args.answer:
        args.answer.write_text(answer)
    sys.stdout.write(prompt)


if __name__ == "__main__":
    main()
