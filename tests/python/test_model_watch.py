# SPDX-License-Identifier: MIT
"""`sparsetrace watch -m MODEL`: read a sentence at a time, a text gives what it gives as a whole."""
import json
import os
import pathlib
import subprocess
import time

import numpy as np
import pytest
import scipy.stats

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLI, MODEL = os.environ["ST_CLI"], os.environ["ST_SMOLLM2"]
GOLDEN = ROOT / "tests/golden/reason_trace/data/traces.jsonl"
ALL = ["--k", "100000", "--block-q", "32", "--block-k", "16"]  # every key: exact attention


def watch(*args, code=0, **more):
    run = subprocess.run([CLI, "watch", "--threads", "1", *map(str, args)], capture_output=True, text=True, check=False, **more)
    assert run.returncode == code, run.stderr
    return [json.loads(x) for x in run.stdout.splitlines()] if "--json" in args and code == 0 else run.stdout + run.stderr


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The shortest of the real traces."""
    texts = [json.loads(x)["full_text"] for x in GOLDEN.read_text(encoding="utf-8").splitlines() if x.strip()]
    path = tmp_path_factory.mktemp("watch") / "trace.txt"
    path.write_text(min(texts, key=len), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exact(text):
    return watch("-m", MODEL, "-f", text, "--json", *ALL)


def as_array(values):
    return np.array([np.nan if x is None else x for x in values], float)


def test_like_the_whole_text(text, exact):
    """Exact attention both times: only the order of rounding differs."""
    done = subprocess.run([CLI, "reason", "--threads", "1", "-m", MODEL, "-f", text, "--json", "--quiet", *ALL], capture_output=True,
                          text=True, check=True)
    whole, end = json.loads(done.stdout), exact[-1]
    n = len(whole["sentences"])
    last = {x["sentence"]: x for x in exact if "tag" in x}
    assert end["end"] and end["sentences"] == n == len(last) and end["pruned"] == 0
    assert abs(end["tokens"] - whole["run"]["n_tok"]) <= 0.01 * end["tokens"]
    for key in ("tag", "phase"):
        assert np.mean([last[i][key] == s[key] for i, s in enumerate(whole["sentences"])]) > 0.95, key
    ours, theirs = (as_array(x) for x in (end["receiver"], [s["receiver"] for s in whole["sentences"]]))
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    ok = ~np.isnan(ours)
    assert scipy.stats.spearmanr(ours[ok], theirs[ok])[0] > 0.99
    heads = [{(h["layer"], h["head"]) for h in x["heads"]} for x in (end, whole)]
    assert len(heads[0] & heads[1]) >= 18
    anchors = [{a["sentence"] for a in x["anchors"]} for x in (end, whole)]
    assert len(anchors[0] & anchors[1]) >= 4
    cost = [as_array(x) for x in ([last[i]["surprise"] for i in range(n)], [s["surprise"] for s in whole["sentences"]])]
    np.testing.assert_allclose(cost[0], cost[1], atol=0.1)


def test_anchors_and_leans_come_as_it_goes(exact):
    """Anchors from the moment that there are any, each time of sentences that were there; sources lie far enough back."""
    at = [x["at"] for x in exact if "at" in x]
    assert at == sorted(set(at)) and len(at) > 3
    assert all(a["sentence"] <= x["at"] - 4 for x in exact if "at" in x for a in x["anchors"])
    for x in exact:
        for edge in x.get("leans_on", []):
            assert edge["sentence"] <= x["sentence"] - 4 and 0 <= edge["score"] <= 1
    readers = [r for x in exact if "at" in x for a in x["anchors"] for r in a["readers"]]
    assert readers and all(r["score"] >= 0 for r in readers)


def test_reads_do_not_matter(text, tmp_path):
    """Through a pipe in pieces of 97 bytes, and at once: the same lines."""
    some = text.read_bytes()[:1500]
    (tmp_path / "part.txt").write_bytes(some)
    command = [CLI, "watch", "--threads", "1", "-m", MODEL, "--json"]
    outs = []
    for size in (97, len(some)):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
            for at in range(0, len(some), size):
                run.stdin.write(some[at : at + size])
                run.stdin.flush()
                time.sleep(0.002)
            outs.append(run.communicate()[0])
        assert run.returncode == 0
    assert outs[0] == outs[1] and outs[0].count(b"leans_on") > 5


def test_rules_of_the_model(text, tmp_path):
    rules = tmp_path / "rules.txt"
    rules.write_text("seen: surprise > 0.01 and since_anchor >= 0 and leans > 0 and leans_back >= 4\n"
                     "never: surprise_ratio < 0 and anchor_share > 2\n")
    part = tmp_path / "part.txt"
    part.write_bytes(text.read_bytes()[:1200])
    flags = [x for x in watch("-m", MODEL, "-f", part, "--rules", rules, "--json") if "flag" in x]
    assert {x["flag"] for x in flags} == {"seen"} and flags[0]["sentence"] >= 5
    assert 'without -m MODEL there is no "surprise"' in watch("-f", part, "--rules", rules, code=1)


def test_odd_texts(tmp_path):
    part = tmp_path / "part.txt"
    part.write_bytes(b"")
    assert watch("-m", MODEL, "-f", part, "--json")[-1]["sentences"] == 0
    part.write_bytes(b"One sentence alone.")
    lines = watch("-m", MODEL, "-f", part, "--json")
    assert lines[0]["tag"] and lines[0]["leans_on"] == [] and lines[-1]["anchors"] == []
    part.write_bytes(b"Broken \xff bytes are read on. And a \x00 zero byte. Third one here.")
    assert "Third one" in watch("-m", MODEL, "-f", part)
    part.write_text("This goes on and on and on. " * 30)
    assert "the 64 tokens that there is room for" in watch("-m", MODEL, "-f", part, "--max-tokens", 64, code=1)
    assert "always kept" in watch("-m", MODEL, "-f", part, "--k", 2, code=2)
