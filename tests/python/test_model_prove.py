# SPDX-License-Identifier: MIT
"""Proof on the known circuit: designed routes are causal, decoys are not; bad edges."""
import json
import os
import subprocess

import pytest
from test_model_known_circuit import Circuit

CLI = os.environ["ST_CLI"]


@pytest.fixture(scope="module")
def circuit(tmp_path_factory):
    return Circuit(tmp_path_factory.mktemp("prove"))


def prove(circuit, kind, wanted, *options, code=0, n_tok=2048):
    """(result, truth) of `prove` for the designed reads that `wanted` takes."""
    model, ids, truth = circuit.case(kind, "easy", n_tok)
    edges = circuit.folder / "edges.txt"
    edges.write_text("".join(f"deny {r['layer']}.{r['head']}:{r['query']}:{r['key']}\n"
                             for r in truth["reads"] if wanted(r)))
    done = subprocess.run([CLI, "prove", "-m", model, "--tokens", ids, "--edges", edges, "--json", *options],
                          capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return (json.loads(done.stdout) if code == 0 else done.stderr), truth


@pytest.mark.parametrize("kind", ["one", "three"])
def test_route_is_causal(circuit, kind):
    r, truth = prove(circuit, kind, lambda read: read["route"])
    assert r["causal"] and r["necessary"] and r["sufficient"]
    assert r["target"]["id"] == truth["answer"]["id"] == r["keep"]["top"]
    assert r["deny"]["top"] == truth["default"]["id"]
    assert len(r["random_deny"]) == len(r["random_keep"]) == 20
    assert all(top == truth["answer"]["id"] for _, top in r["random_deny"])
    assert all(top == truth["default"]["id"] for _, top in r["random_keep"])


@pytest.mark.parametrize("kind", ["one", "three"])
def test_decoys_are_not(circuit, kind):
    r, truth = prove(circuit, kind, lambda read: read["role"] == "decoy", "--random", "3")
    assert not r["causal"] and not r["necessary"] and not r["sufficient"]
    assert r["deny"]["top"] == truth["answer"]["id"]


def test_part_of_a_route_is_needed_but_not_enough(circuit):
    """The first of three retrievals. (What the previous-token head reads lies in the window, which is kept.)"""
    r, _ = prove(circuit, "three", lambda read: read["role"] == "retrieval" and read["hop"] == 1, "--random", "3")
    assert r["necessary"] and not r["sufficient"] and not r["causal"]


def test_pruned_runs_say_the_same(circuit):
    """And with the last row alone named, an earlier run's cache is used for all but the last 256 tokens: of the plain
    run by those that deny (three), of the first that keeps by the others (two)."""
    r, truth = prove(circuit, "one", lambda read: read["role"] == "retrieval", "--random", "2", "--exact-max", "0",
                     "--k", "16")
    assert r["necessary"] and not r["exact"]
    n = truth["n_tok"]
    assert r["tokens_reused"] == 5 * ((n - 1) // 256 * 256)


def test_target_may_be_another_token(circuit):
    r, truth = prove(circuit, "one", lambda read: read["route"], "--random", "1", "--target", "260")
    assert r["target"]["id"] == 260 == truth["default"]["id"]
    assert r["necessity"]["loss"] < 0  # without the route the default answer gains


@pytest.mark.parametrize("edges, complaint", [
    ("", "holds no edit"), ("deny 0.0:1:0\nallow 0.0:1:0\n", "line 2, column 1"),
    ("deny 9.0:1:0\n", "edge 1 of 1"), ("deny 0.0:1:9999999\n", "edge 1 of 1")])
def test_bad_edges(circuit, edges, complaint):
    model, ids, _ = circuit.case("one", "easy", 2048)
    path = circuit.folder / "bad.txt"
    path.write_text(edges)
    done = subprocess.run([CLI, "prove", "-m", model, "--tokens", ids, "--edges", path],
                          capture_output=True, text=True)
    assert done.returncode == 1 and complaint in done.stderr
