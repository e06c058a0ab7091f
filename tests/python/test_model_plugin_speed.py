# SPDX-License-Identifier: MIT
"""The plug-in in a stock llama-cpp-python: really used, and the next token stays. Skipped unless
tools/llama_cpp_python.sh has installed one: that takes longer than all other tests."""
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE, BUILD = (pathlib.Path(os.environ[x]) for x in ("ST_SOURCE_DIR", "ST_BUILD_DIR"))
HAVE = subprocess.run([SOURCE / "tools/llama_cpp_python.sh", "--installed"], capture_output=True, text=True)


@pytest.fixture(autouse=True)
def installed():
    if HAVE.returncode != 0:
        pytest.exit(f"SKIP: {HAVE.stderr.strip()}", returncode=77)


def bench(*options):
    return subprocess.run([sys.executable, SOURCE / "bench/plugin_speed.py", os.environ["ST_SMOLLM2"],
                           "--python", HAVE.stdout.strip(), "--cli", BUILD / "sparsetrace",
                           "--plugin", BUILD / "libggml-sparsetrace.so", *options], capture_output=True, text=True)


def test_used_and_same_next_token():
    done = bench("--tokens", "2048", "--least", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30+0" in done.stdout.split()  # every layer's attention, all of it sparse


def test_exact_is_stock():
    done = bench("--tokens", "1024", "--settings", "exact=1", "--least", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    assert "0+30" in words and float(words[words.index("0+30") - 1]) < 0.01  # KL


def test_says_when_it_cannot():
    assert bench("--tokens", "64", "--least", "1000").returncode == 1
    wrong = bench("--tokens", "64", "--settings", "k=five")
    assert wrong.returncode != 0 and "k=five" in wrong.stderr and "cannot load" in wrong.stderr
