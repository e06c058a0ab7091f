# SPDX-License-Identifier: MIT
"""sparsetrace.llama_cpp in a stock llama-cpp-python: its example, and its trace beside the program's of the same text.
Skipped unless tools/llama_cpp_python.sh has installed one: that takes longer than all other tests."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import sparsetrace as sp

CLI, SOURCE, BUILD = (Path(os.environ[x]) for x in ("ST_CLI", "ST_SOURCE_DIR", "ST_BUILD_DIR"))
HAVE = subprocess.run([SOURCE / "tools/llama_cpp_python.sh", "--installed"], capture_output=True, text=True)
MODEL = os.environ["ST_SMOLLM2"]


@pytest.fixture(autouse=True, scope="module")
def installed():
    if HAVE.returncode != 0:
        pytest.exit(f"SKIP: {HAVE.stderr.strip()}", returncode=77)


def python(*args):
    env = os.environ | {"SPARSETRACE_PLUGIN": str(BUILD / "libggml-sparsetrace.so")}
    return subprocess.run([HAVE.stdout.strip(), *map(str, args)], capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    done = python(SOURCE / "examples/bridge_llama_cpp.py", MODEL, folder / "own.trace")
    assert done.returncode == 0, done.stderr
    return done.stdout, sp.open(folder / "own.trace", validate=True), folder


def test_example(example):
    said, trace, _ = example
    assert "4817302" in said.splitlines()[-2], "it does not write the number"
    assert re.search(r"layer calls \(sparse, exact\): \([1-9]\d*, 0\)", said)
    assert float(re.search(r"reads it with ([0-9.]+) %", said).group(1)) > 20
    assert trace.certificate.n_row > 0 and trace.complete and 0.4 < trace.pruned < 1 and len(trace.layers) == 30


def test_same_as_the_program(example):
    """Same tokens, weights and cache: the kept blocks are the program's, but for the two builds' rounding."""
    _, trace, folder = example
    (folder / "ids.txt").write_text("\n".join(map(str, trace.tokens)))
    command = [CLI, "trace", "-m", MODEL, "--tokens", folder / "ids.txt", "--k", "8", "--weights", "as-is", "-o"]
    subprocess.run([*command, folder / "cli.trace", "--against", "none"], check=True, capture_output=True)
    theirs = sp.open(folder / "cli.trace")
    assert trace.text == theirs.text and trace.info.kept_pairs == theirs.info.kept_pairs
    same = kept = 0
    for layer in trace.layers:
        for head in trace.heads[layer]:
            same += trace.mask(layer, head).multiply(theirs.mask(layer, head)).nnz
            kept += theirs.mask(layer, head).nnz
    assert same >= 0.99 * kept, f"{same} of {kept}"
    assert trace.certificate.recall_mean == pytest.approx(theirs.certificate.recall_mean, abs=5e-3)


def test_groups_lengths_and_errors(tmp_path):
    """Sentences; a budget by share; errors that are named, after which the model still runs."""
    done = python("-c", f"""
import llama_cpp, sparsetrace as sp, sparsetrace.llama_cpp as stl
def refused(use):
    try: use()
    except Exception as e: print(type(e).__name__, str(e)[:70])
refused(stl.served)
stl.load(exact_below=0)
llm = llama_cpp.Llama({MODEL!r}, n_ctx=512, n_batch=512, n_ubatch=512, flash_attn=True, verbose=False)
text = "The sky is blue today. Why is that so? Nobody knows for sure! " * 12
t = stl.trace(llm, text, {str(tmp_path / "g.trace")!r}, pruned=0.3, groups="sentences")
print(t.pruned >= 0.3, len(t.groups), t.groups.text(1).strip(), t.text == text)
refused(lambda: stl.trace(llm, text * 4))
refused(lambda: stl.trace(llm, text, bq=0))
refused(lambda: stl.trace(llm, text, groups=[(5, 4)]))
print(len(stl.trace(llm, text, k=6).layers))
off = llama_cpp.Llama({MODEL!r}, n_ctx=512, flash_attn=False, verbose=False)
refused(lambda: stl.trace(off, text))
""")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("RuntimeError the plug-in is not loaded")
    assert said[1] == "True 36 Why is that so? True"
    assert said[2].startswith("ValueError") and "n_ctx" in said[2]
    assert said[3].startswith("ArgumentError") and "bq" in said[3] and said[4].startswith("ArgumentError")
    assert said[5] == "30" and said[6].startswith("RuntimeError attention did not come")
    trace = sp.open(tmp_path / "g.trace", validate=True)
    assert np.isfinite(trace.groups.matrix(3, 2)).all()
    assert not list(tmp_path.glob("*.part"))


def test_without_a_plugin():
    done = python("-c", "import sparsetrace.llama_cpp as s; s.load('/no/where.so')")
    assert done.returncode != 0 and "FileNotFoundError" in done.stderr and "where.so" in done.stderr
