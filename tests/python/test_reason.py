# SPDX-License-Identifier: MIT
"""`sparsetrace reason` against implementations that share no code with it: the split as the authors of "Thought
Anchors" describe it, written on Python strings; the tagger's scores from the weights file by
tools/reason/text_features.py and log-space sums; phases by a plain Viterbi; quality by tools/reason/measures.py.

The variable ST_COT_TRACES names a JSONL of labelled traces (full_text, sentences); without it only the three
of tests/golden/reason_trace are read.
"""
import csv
import io
import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import logsumexp

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/reason"))
import measures  # noqa: E402
import text_features  # noqa: E402

CLI = os.environ.get("ST_CLI", str(ROOT / "build/sparsetrace"))
GOLDEN = ROOT / "tests/golden/reason_trace/data/traces.jsonl"
WEIGHTS = ROOT / "src/reason/tagger.safetensors"


def reason(*args, text=None, code=0):
    data = None if text is None else text if isinstance(text, bytes) else text.encode()
    run = subprocess.run([CLI, "reason", *map(str, args)], input=data, capture_output=True, check=False)
    assert run.returncode == code, run.stderr.decode()
    return run.stdout


def read_json(*args, **options):
    return [json.loads(x) for x in reason(*args, "--json", **options).decode().split("\n") if x]


# ---- sentences ----------------------------------------------------------------------------------------------------


def split(text):
    """The split on Python strings, character by character."""
    text = text.strip()
    pieces, current = [], ""
    for i, c in enumerate(text):
        current += c
        blank = text[i : i + 2] == "\n\n" or text[i : i + 4] == "\r\n\r\n"
        ends = c in ".?!" and (text[i + 1 : i + 2] in (" ", "\n") or text[i + 1 : i + 3] == "\r\n") and i + 1 < len(text)
        if (blank or ends) and current.strip():
            pieces.append(current.strip())
            current = ""
    if current.strip():
        pieces.append(current.strip())
    i = 0
    while i < len(pieces) and len(pieces) > 1:
        if len(pieces[i]) >= 10:
            i += 1
        elif i + 1 < len(pieces):
            short = pieces.pop(i)
            pieces[i] = short + " " + pieces[i]
        else:
            short = pieces.pop(i)
            pieces[i - 1] += " " + short
    return pieces


def squeeze(s):
    return " ".join(s.split())


def same_split(text):
    found = [squeeze(s["text"]) for t in read_json("-f", "-", text=text) for s in t["sentences"]]
    assert found == [squeeze(s) for s in split(text)]


def test_split_of_random_texts():
    rng = random.Random(0)
    parts = ["a", "word", "9.5", ".", "?", "!", " ", " ", "\n", "\n\n", "\r\n", "\r\n\r\n", "é", "数学", "\u3000", "\u2028", "1.", "😀"]
    for _ in range(60):
        same_split("".join(rng.choice(parts) for _ in range(rng.randrange(0, 120))))


def traces():
    paths = [GOLDEN, os.environ.get("ST_COT_TRACES")]
    return [json.loads(x) for p in paths if p for x in pathlib.Path(p).read_bytes().split(b"\n") if x]


def test_split_of_labelled_traces():
    """Our sentences are the labelled ones. (One published trace goes on after </think>; only its inside counts.)"""
    for t in traces():
        ours = read_json("-f", "-", text=t["full_text"])[0]["sentences"]
        text = t["full_text"].encode()
        assert all(text[s["begin"] : s["end"]].decode() == s["text"] for s in ours)
        inside = [s for s in t["sentences"] if "</think>" not in s["text"]]
        if len(inside) < len(t["sentences"]):
            continue
        assert [squeeze(s["text"]) for s in ours] == [squeeze(s["text"]) for s in t["sentences"]], t["id"]


# ---- tags ---------------------------------------------------------------------------------------------------------


def log_marginals(score, step, start):
    n = len(score)
    a, b = score.copy(), np.zeros_like(score)
    a[0] += start
    for i in range(1, n):
        a[i] += logsumexp(a[i - 1][:, None] + step, axis=0)
    for i in range(n - 2, -1, -1):
        b[i] = logsumexp(step + score[i + 1] + b[i + 1], axis=1)
    return np.exp(a + b - logsumexp(a + b, axis=1, keepdims=True))


def reference_tags(sentences, weights):
    x = text_features.matrix(text_features.values_of_trace(sentences), weights["text.key"].tolist())
    score = x @ (weights["text.weight"] * weights["text.scale"].astype(np.float64))
    return log_marginals(score, weights["step"].astype(np.float64), weights["start"].astype(np.float64))


@pytest.fixture(scope="module")
def weights():
    return load_file(WEIGHTS)


@pytest.fixture(scope="module")
def read():
    return [r for t in traces()[:6] for r in read_json("-f", "-", text=t["full_text"])]


def test_tags_equal_the_reference(read, weights):
    for t in read:
        p = reference_tags([s["text"].encode() for s in t["sentences"]], weights)
        assert np.abs(p.max(axis=1) - [s["p"] for s in t["sentences"]]).max() < 1e-5
        names = measures_tags()
        assert [names[k] for k in p.argmax(axis=1)] == [s["tag"] for s in t["sentences"]]


def measures_tags():
    import phases

    return phases.TAGS


def test_tags_of_odd_sentences(weights):
    """Bytes that are no UTF-8 cannot come back out of JSON, so their probability alone is compared."""
    rng = random.Random(1)
    pool = [bytes([c]) for c in range(1, 256) if c not in (10, 13)] + [b"12.5", b"  ", b"wait", b"\xc3\xa9"]
    lines = [b"".join(rng.choice(pool) for _ in range(rng.randrange(1, 60))).strip() for _ in range(40)]
    lines = [x for x in lines if x and x.decode("utf-8", "replace").strip() and b"<" not in x]
    lines.append(b"long " * 3000)
    found = read_json("-f", "-", "--split", "newline", text=b"\n".join(lines))[0]
    joined = b"\n".join(lines)
    sentences = [joined[s["begin"] : s["end"]] for s in found["sentences"]]
    assert len(sentences) == len(lines)
    p = reference_tags(sentences, weights)
    assert np.abs(p.max(axis=1) - [s["p"] for s in found["sentences"]]).max() < 1e-5


def test_labels_are_mostly_found(read):
    """The tagger was trained on these very traces: a broken feature or weight would show."""
    truth = [s["tags"][0] for t in traces()[:3] for s in t["sentences"]]
    found = [s["tag"] for t in read[:3] for s in t["sentences"]]
    assert np.mean([a == b for a, b in zip(truth, found)]) > 0.85


# ---- phases and quality -------------------------------------------------------------------------------------------


def test_phases_equal_the_reference(read, weights):
    import phases

    model = (np.exp(weights["phase.start"]), np.exp(weights["phase.step"]), weights["phase.tag"])
    for t in read:
        p = reference_tags([s["text"].encode() for s in t["sentences"]], weights)
        like = phases.likelihood(model, p, weights["phase.prior"])
        path = phases.best_path(model, like)
        assert [phases.PHASES[z] for z in path] == [s["phase"] for s in t["sentences"]]
        post = phases.posterior(model, like)[0]
        assert np.abs(post[range(len(path)), path] - [s["phase_p"] for s in t["sentences"]]).max() < 1e-4
        assert [(a, b) for a, b in phases.segments(path)] == [(s["begin"], s["end"]) for s in t["phases"]]


def test_quality_equals_the_reference(read, weights):
    model = [weights[f"score.{k}"].astype(float) for k in ("mean", "scale", "weight", "bias")]
    for t in read:
        sentences = [s["text"].encode() for s in t["sentences"]]
        want = measures.measure(sentences, [s["tag"] for s in t["sentences"]])
        for name, value in want.items():
            if name == "log_length":
                continue
            found = t["quality"][name]
            assert (found is None) == (value is None), name
            assert value is None or abs(found - value) < 1e-6, name
        assert abs(measures.score(model, measures.table([want]))[0] - t["quality"]["score"]) < 1e-5


# ---- output -------------------------------------------------------------------------------------------------------


def test_csv_holds_what_json_holds(read):
    rows = list(csv.DictReader(io.StringIO(reason("--jsonl", GOLDEN, "--csv").decode(), newline="")))
    flat = [(t["id"], s) for t in read_json("--jsonl", GOLDEN) for s in t["sentences"]]
    assert len(rows) == len(flat)
    for row, (name, s) in zip(rows, flat):
        assert (row["trace"], row["tag"], row["text"]) == (name, s["tag"], s["text"])
        assert abs(float(row["p"]) - s["p"]) < 1e-5


def test_given_tags(read):
    """Labels from the file itself: they come back, and phases and quality are those of the labels."""
    found = read_json("--jsonl", GOLDEN, "--tags", GOLDEN)
    for t, line in zip(found, traces()):
        labels = [s["tags"][0] for s in line["sentences"]]
        assert t["tags_given"] and [s["tag"] for s in t["sentences"]] == labels
        want = measures.measure([s["text"].encode() for s in t["sentences"]], labels)
        assert t["quality"]["n_doubt"] == want["n_doubt"]
        assert abs(t["quality"]["check_share"] - want["check_share"]) < 1e-6


# ---- training -----------------------------------------------------------------------------------------------------


def test_one_command_trains_a_taxonomy(tmp_path):
    """A made-up taxonomy that the first word gives away is learnt, and the C tagger reads the result."""
    rng = random.Random(2)
    lines = []
    for k in range(12):
        sentences = []
        for _ in range(12):
            kind = rng.choice(["ask", "tell"])
            word = {"ask": "why", "tell": "because"}[kind]
            sentences.append({"text": f"{word} number {rng.randrange(99)} is here", "tags": [kind]})
        lines.append(json.dumps({"id": f"t{k}", "problem": str(k % 4), "sentences": sentences}))
    data, out = tmp_path / "own.jsonl", tmp_path / "own.safetensors"
    data.write_text("\n".join(lines))
    train = [sys.executable, str(ROOT / "tools/reason/train_tagger.py"), str(data), "-o", str(out)]
    run = subprocess.run([*train, "--evaluate"], capture_output=True, text=True, check=True)
    assert "accuracy 1.000" in run.stdout
    text = "because number 7 is here\nwhy number 8 is here"
    found = read_json("-f", "-", "--split", "newline", "--tagger", out, text=text)[0]
    assert [s["tag"] for s in found["sentences"]] == ["tell", "ask"]
    assert "phases" not in found and found["quality"]["score"] is None
