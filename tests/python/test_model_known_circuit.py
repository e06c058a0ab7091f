# SPDX-License-Identifier: MIT
"""Ground truth: the trace of a model whose every route is designed (tests/golden/known_circuit).

Each designed read (layer, head, query row, key) must be among the kept key blocks, and the sparse run must
give the designed answer. Where fillers are as likely as the needle (*hard*), no summary of a block finds it
for certain: there `auto` must, and the certificate of `stream` must show the loss.
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open

CASE = pathlib.Path(__file__).resolve().parents[1] / "golden/known_circuit"
CLI = os.environ["ST_CLI"]


def make(*args):
    subprocess.run([sys.executable, CASE / "make.py", *map(str, args)], check=True)


class Circuit:
    """Models and prompts, made when asked for."""

    def __init__(self, folder):
        self.folder = folder

    def case(self, kind, hardness, n_tok):
        """Paths of the model and the token ids, and the truth about them."""
        model = self.folder / f"{kind}-{hardness}.gguf"
        ids = self.folder / f"{kind}-{hardness}-{n_tok}.ids"
        if not model.exists():
            make("model", "--kind", kind, "--hardness", hardness, "--out", model)
        if not ids.exists():
            make("prompt", "--model", model, "--n-tok", n_tok, "--out", ids)
        return model, ids, json.loads(ids.with_suffix(".json").read_text())

    def trace(self, kind, hardness, n_tok, *options):
        """(report, truth, designed reads that were not kept)."""
        model, ids, truth = self.case(kind, hardness, n_tok)
        out = self.folder / "circuit.trace"
        run = subprocess.run([CLI, "trace", "-m", model, "--tokens", ids, "-o", out, "--weights", "as-is",
                              "--against", "none", "--json", *options], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        report = json.loads(run.stdout)
        return report, truth, lost_reads(out, report, truth)


@pytest.fixture(scope="module")
def circuit(tmp_path_factory):
    return Circuit(tmp_path_factory.mktemp("circuit"))


def lost_reads(path, report, truth):
    """The designed reads whose key block is not among the kept ones of the reading row."""
    bq, bk = report["block_q"], report["block_k"]
    nbq = -(-truth["n_tok"] // bq)
    lost = []
    with safe_open(path, "np") as f:
        for read in truth["reads"]:
            indptr = f.get_tensor(f"layer.{read['layer']}.indptr")
            indices = f.get_tensor(f"layer.{read['layer']}.indices")
            row = read["head"] * nbq + read["query"] // bq
            if read["key"] // bk not in indices[indptr[row]:indptr[row + 1]]:
                lost.append(read)
    return lost


@pytest.mark.parametrize("n_tok", [4096, 32768])
@pytest.mark.parametrize("kind", ["one", "three"])
def test_stream_keeps_the_designed_reads(circuit, kind, n_tok):
    report, truth, lost = circuit.trace(kind, "easy", n_tok, "--k", "8")
    assert lost == []
    assert report["pruned_fraction"] > 0.94
    assert report["next_token"]["sparse"]["id"] == truth["answer"]["id"]
    assert report["next_token"]["sparse"]["p"] > 0.99


@pytest.mark.parametrize("n_tok", [4096, 32768])
@pytest.mark.parametrize("kind", ["one", "three"])
def test_auto_falls_back_to_scan(circuit, kind, n_tok):
    report, truth, lost = circuit.trace(kind, "hard", n_tok, "--k", "16", "--select", "auto")
    assert lost == []
    assert report["select"] == "auto"
    assert report["next_token"]["sparse"]["id"] == truth["answer"]["id"]


def test_auto_stays_with_stream_where_it_can(circuit):
    report, _, _ = circuit.trace("one", "easy", 4096, "--k", "8", "--select", "auto")
    assert report["scanned"] is False


def test_the_certificate_sees_the_loss(circuit):
    """The baseline loses the needle; the recall of the last row says so, and the scan's does not."""
    hip, truth, lost = circuit.trace("one", "hard", 4096, "--k", "16", "--select", "hip")
    scan, _, kept = circuit.trace("one", "hard", 4096, "--k", "16", "--select", "scan")
    assert any(read["role"] == "retrieval" for read in lost) and kept == []
    assert hip["next_token"]["sparse"]["id"] == truth["default"]["id"]
    assert hip["recall"]["last_row"] < scan["recall"]["last_row"] - 0.1


def test_masses_are_those_of_the_design(circuit):
    """The kept needle blocks of the retrieval heads carry the last row's whole mass."""
    _, truth, _ = circuit.trace("one", "easy", 4096, "--k", "8", "--rows", "-1:", "--block-q", "1")
    with safe_open(circuit.folder / "circuit.trace", "np") as f:
        for read in (r for r in truth["reads"] if r["role"] == "retrieval"):
            indptr = f.get_tensor(f"layer.{read['layer']}.indptr")
            at = slice(*indptr[(read["head"] + 1) * truth["n_tok"] - 1:][:2])
            block = f.get_tensor(f"layer.{read['layer']}.indices")[at] == read["key"] // 16
            mass = f.get_tensor(f"layer.{read['layer']}.mass")[at].astype(np.float64)
            assert mass[block].sum() > 0.99


def test_no_pair_is_the_default_answer(circuit):
    """Without its needle in sight the model answers NONE: the answer above is no accident."""
    report, truth, lost = circuit.trace("one", "easy", 4096, "--k", "4", "--select", "window")
    assert lost != []
    assert report["next_token"]["sparse"]["id"] == truth["default"]["id"]
