# SPDX-License-Identifier: MIT
"""Hidden states of sentences out of a real run, and the tagger that reads them."""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLI, MODEL = os.environ["ST_CLI"], os.environ["ST_SMOLLM2"]
TAGGER = ROOT / "src/reason/tagger_smollm2_135m.safetensors"
TEXT = "First we add two and two. That gives us four in all. Let me check this once more. So the answer is four."
GOLDEN = ROOT / "tests/golden/reason_trace/data/traces.jsonl"


def reason(*args, code=0):
    run = subprocess.run([CLI, "reason", *map(str, args), "--quiet"], capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    return run.stdout if code == 0 else run.stderr


def hidden(tmp_path, text, *args):
    (tmp_path / "in.txt").write_text(text)
    out = tmp_path / "out.safetensors"
    reason("-f", tmp_path / "in.txt", "-m", MODEL, "--layer", 20, "--hidden", out, *args)
    return load_file(out)["trace.0"]


def test_hidden_states_see_the_past_alone(tmp_path):
    """A sentence's states do not change with the text after it. (They are not those of another sentence, either.)"""
    whole, start = hidden(tmp_path, TEXT), hidden(tmp_path, TEXT[: TEXT.index(" Let me")])
    assert whole.shape == (4, 2 * 576) and start.shape == (2, 2 * 576)
    spread = np.abs(whole[0] - whole[1]).mean()
    assert np.abs(whole[:2] - start).mean() < 0.05 * spread


def test_last_token_is_a_part_of_the_mean(tmp_path):
    """A line of one token: its mean is its last token."""
    x = hidden(tmp_path, "yes\nFirst we add two and two\nno\n", "--split", "newline").reshape(3, 2, 576)
    assert np.array_equal(x[0, 0], x[0, 1]) and np.array_equal(x[2, 0], x[2, 1])
    assert not np.allclose(x[1, 0], x[1, 1], atol=0.1)


def test_sparse_attention_with_all_blocks_gives_the_same(tmp_path):
    exact, sparse = hidden(tmp_path, TEXT), hidden(tmp_path, TEXT, "--k", 1000)
    assert np.abs(exact - sparse).mean() < 0.02 * np.abs(exact - exact.mean(axis=0)).mean()


@pytest.fixture(scope="module")
def tagged():
    lines = reason("--jsonl", GOLDEN, "-m", MODEL, "--tagger", TAGGER, "--json").split("\n")
    return [json.loads(x) for x in lines if x]


def test_tagger_over_hidden_states(tagged):
    """It was trained on these traces: states or weights out of place would show."""
    labels = [json.loads(x) for x in GOLDEN.read_text(encoding="utf-8").split("\n") if x]
    truth = [s["tags"][0] for t in labels for s in t["sentences"]]
    found = [s["tag"] for t in tagged for s in t["sentences"]]
    assert len(truth) == len(found)
    assert np.mean([a == b for a, b in zip(truth, found)]) > 0.75


def test_refused(tmp_path):
    (tmp_path / "in.txt").write_text(TEXT)
    at = ["-f", tmp_path / "in.txt"]
    assert "give -m MODEL" in reason(*at, "--tagger", TAGGER, code=2)
    assert "reads layer 20" in reason(*at, "--tagger", TAGGER, "-m", MODEL, "--layer", 7, code=2)
    assert "reads text alone" in reason(*at, "-m", MODEL, code=2)
    assert "layer is 29" in reason(*at, "-m", MODEL, "--layer", 29, "--hidden", tmp_path / "x", code=1)
    assert not (tmp_path / "x").exists()
