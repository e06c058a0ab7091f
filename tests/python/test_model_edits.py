# SPDX-License-Identifier: MIT
"""Edits on a real model: what a head may not read changes the answer, what it may does not; bad edits."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

CLI, SOURCE, SMOLLM2 = os.environ["ST_CLI"], pathlib.Path(os.environ["ST_SOURCE_DIR"]), os.environ["ST_SMOLLM2"]


def run(*args, code=0):
    done = subprocess.run([CLI, "trace", "-m", SMOLLM2, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def needle(tmp_path_factory):
    """(options of a prompt of about 900 tokens, the needle's tokens, how many there are, the plain report)."""
    folder = tmp_path_factory.mktemp("edits")
    prompt, answer, out = folder / "prompt.txt", folder / "answer.txt", folder / "plain.trace"
    prompt.write_bytes(subprocess.run([sys.executable, SOURCE / "examples/needle_prompt.py", "--words", "600",
                                       "--seed", "1", "--answer", answer], check=True, capture_output=True).stdout)
    options = ["-f", prompt, "--chat", "--answer", answer.read_text(), "--k", "1000", "--json"]
    report = json.loads(run(*options, "-o", out).stdout)
    with safe_open(out, "np") as f:
        text, pieces = f.get_tensor("text").tobytes().decode(), f.get_tensor("piece_ptr")
    begin = text.index("One of the special magic numbers")
    end = text.index(".", begin)
    span = [int(np.searchsorted(pieces, at, "right") - 1) for at in (begin, end)]
    return options, span, report["n_tok"], report


def p_of(report, token):
    got = report["next_token"]["sparse"]
    return got["p"] if got["id"] == token else 0.0


def test_denied_needle_is_not_answered(needle):
    options, (begin, end), n_tok, plain = needle
    token, p = plain["next_token"]["sparse"]["id"], plain["next_token"]["sparse"]["p"]
    assert p > 0.8
    denied = json.loads(run(*options, "--deny", f"*.*:{end}-:{begin}-{end}").stdout)
    assert p_of(denied, token) < 0.5 * p
    assert denied["next_token"]["agree"]  # the dense reference runs under the same edits
    beside = json.loads(run(*options, "--deny", f"*.*:{end + 80}-:{end + 40}-{end + 40 + end - begin}").stdout)
    assert p_of(beside, token) > 0.9 * p


def test_keeping_everything_changes_nothing(needle):
    options, _, _, plain = needle
    kept = json.loads(run(*options, "--keep", "*.*:*:*").stdout)
    assert kept["next_token"] == plain["next_token"] and kept["kept_pairs"] == plain["kept_pairs"]


def test_pruned_run_reads_what_is_to_be_kept(needle, tmp_path):
    """With a budget too small for it, one head's last rows still read what keep names, and nothing else."""
    options, (begin, end), n_tok, _ = needle
    out = tmp_path / "kept.trace"
    run(*options, "--k", 4, "--keep", f"7.7:{n_tok - 3}-:{begin}-{end}", "-o", out)
    with safe_open(out, "np") as f:
        nbq = -(-n_tok // 32)
        row = 7 * nbq + nbq - 1
        ptr, blocks = f.get_tensor("layer.7.indptr"), f.get_tensor("layer.7.indices")
        mass = f.get_tensor("layer.7.mass").astype(float)
        kept = blocks[ptr[row]:ptr[row + 1]]
        got = dict(zip(kept.tolist(), mass[ptr[row]:ptr[row + 1]].tolist()))
    named = range(begin // 16, (end - 1) // 16 + 1)
    rows = n_tok - (nbq - 1) * 32
    assert sum(got[b] for b in named) >= min(3, rows) / rows - 0.01


def test_file_and_recipe(needle, tmp_path):
    options, _, n_tok, _ = needle
    edits, out = tmp_path / "edits.txt", tmp_path / "out.trace"
    edits.write_text("# two\ndeny 1.2:50-60:3\n\nkeep 3.*:100:90-\n")
    run(*options, "--edits", edits, "--deny", "0.0:9:1-3", "-o", out)
    with safe_open(out, "np") as f:
        recipe = json.loads(f.metadata()["recipe"])
    assert recipe["edits"] == ["deny 1.2:50-60:3-4", f"keep 3.*:100-101:90-{n_tok}", "deny 0.0:9-10:1-3"]


@pytest.mark.parametrize("option, spec, complaint", [
    ("--deny", "", "column 1"), ("--deny", "1.1:5:0,", "column 1"), ("--keep", "1.1:5", "column 6"),
    ("--deny", "30.0:5:0", "there is no layer 30"), ("--deny", "0.9:5:0", "there is no head 9"),
    ("--deny", "0.0:5-5:0", "names no token"), ("--deny", "0.0:0-9999999:0", "the sequence has"),
    ("--deny", "0.0:5:6", "edits nothing"), ("--edits", "/nowhere", "cannot read")])
def test_bad_edits(needle, option, spec, complaint):
    options, *_ = needle
    assert complaint in run(*options, option, spec, code=1).stderr


@pytest.mark.parametrize("text, complaint", [
    ("", "holds no edit"), ("# nothing\n\n", "holds no edit"), ("deny 1.2:3\n", "line 1, column 11"),
    ("deny 0.0:9:1\nallow 0.0:9:1\n", "line 2, column 1"), ("deny 0.0:9:1\0\n", "a byte 0"),
    ("deny 0.0:99999999999:1\n", "a number above"), ("keep -1.0:9:1\n", "line 1, column 6"), ("deny 0.0:9:9-9\n", "names no token"),
    ("deny 99.0:9:1\n", "no layer 99")])
def test_bad_files(needle, tmp_path, text, complaint):
    """An edit on the command line beside it changes nothing about that."""
    path = tmp_path / "bad.txt"
    path.write_text(text)
    for more in ((), ("--deny", "0.0:9:1-3")):
        done = run(*needle[0], "--edits", path, *more, code=1)
        assert complaint in done.stderr, done.stderr


def test_nothing_left_to_read(needle):
    """Every row of one layer blind: its attention gives 0, and the run goes on."""
    options, *_ = needle
    report = json.loads(run(*options, "--against", "none", "--deny", "5.*:*:*").stdout)
    assert 0 < report["next_token"]["sparse"]["p"] <= 1


def test_routes_of_an_edited_trace(needle, tmp_path):
    """Token by token the edits of the recipe hold too, of a run by mass as well; a proof is refused."""
    options, (begin, end), _, _ = needle
    path = tmp_path / "edited.trace"
    run(*options[:5], "--mass", "0.5", "--deny", f"*.*:*:{begin}-{end}", "--against", "none", "--weights", "f32", "--ctk", "q8_0",
        "-o", path)

    def route(first, last, *more):
        return subprocess.run([CLI, "route", path, "--from", f"{first}:{last}", "-m", SMOLLM2, "--json", *more],
                              capture_output=True, text=True)

    for more in ((), ("--exact-max", "10")):
        said = json.loads(route(begin, end, "--refine", *more).stdout)
        assert said["flow"] == 0 and json.loads(route(end, end + 30, "--refine", *more).stdout)["flow"] > 0
    refused = route(end, end + 30, "--prove")
    assert refused.returncode == 1 and "recorded under edits" in refused.stderr
