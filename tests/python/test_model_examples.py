# SPDX-License-Identifier: MIT
"""Every program in examples/ runs and shows what it says it shows."""
import os
import pathlib
import subprocess
import sys

BUILD = pathlib.Path(os.environ["ST_BUILD_DIR"])
EXAMPLES = pathlib.Path(os.environ["ST_SOURCE_DIR"]) / "examples"


def run(*args):
    return subprocess.run([str(a) for a in args], check=True, capture_output=True, text=True).stdout


def test_select_blocks():
    lines = run(BUILD / "example_select_blocks").splitlines()
    mass = {line: float(line.split("mass")[1].split()[0]) for line in lines[1:]}
    heaviest = max(mass, key=mass.get)
    assert "<- the needle" in heaviest and "1232..1247" in heaviest


def test_trace_prompt(tmp_path):
    prompt = tmp_path / "prompt.txt"
    answer = tmp_path / "answer.txt"
    text = run(sys.executable, EXAMPLES / "needle_prompt.py", "--words", "1200", "--answer", answer)
    prompt.write_text(text + "\n" + answer.read_text())
    out = run(BUILD / "example_trace_prompt", os.environ["ST_SMOLLM2"], prompt, tmp_path / "x.trace")
    assert "next token kept" in out and "far from both ends, the last token reads most" in out
    assert "special" in out.split("reads most")[1], "not the needle's sentence"


def test_needle_prompt():
    args = [sys.executable, EXAMPLES / "needle_prompt.py", "--words", "300", "--seed", "5"]
    first, again = run(*args), run(*args)
    assert first == again and first.count("One of the special magic numbers") == 1
    assert run(*args[:-1], "6") != first


def test_each_is_short():
    files = list(EXAMPLES.iterdir())
    assert len(files) >= 3
    for file in files:
        assert len(file.read_text().splitlines()) < 100, file.name
