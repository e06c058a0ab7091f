# SPDX-License-Identifier: MIT
"""Routes of the known circuit (tests/golden/known_circuit): which heads took the needle to the answer is
known by design. Decoys read the same needle as hard and write to nowhere: masses cannot tell them from the
retrieval head, so they may stand beside it, and nobody else may.
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest

CASE = pathlib.Path(__file__).resolve().parents[1] / "golden/known_circuit"
CLI = os.environ["ST_CLI"]


def run(*args):
    done = subprocess.run(list(map(str, args)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=[("one", 0), ("three", 1)], ids=str)
def circuit(request, tmp_path_factory):
    """(trace of the last row, token by token; the truth; the model)"""
    kind, seed = request.param
    folder = tmp_path_factory.mktemp("routes")
    model, ids, trace = folder / "model.gguf", folder / "prompt.ids", folder / "last.trace"
    run(sys.executable, CASE / "make.py", "model", "--kind", kind, "--hardness", "easy", "--seed", seed, "--out", model)
    run(sys.executable, CASE / "make.py", "prompt", "--model", model, "--seed", seed, "--n-tok", 1024, "--out", ids)
    run(CLI, "trace", "-m", model, "--tokens", ids, "-o", trace, "--weights", "as-is", "--against", "none",
        "--k", 64, "--block-q", 1, "--block-k", 1, "--rows", "-1:")
    return trace, json.loads(ids.with_suffix(".json").read_text()), model


def hops(trace, key, *options):
    said = json.loads(run(CLI, "route", trace, "--from", key, "--json", *options))
    return [[(hop["layer"], hop["head"]) for hop in x["hops"]] for x in said["routes"]], said


def needle_reads(truth):
    """The last row's reads of needles, as {key: [read]}."""
    reads = {}
    for read in truth["reads"]:
        if read["role"] in ("retrieval", "decoy"):
            assert read["query"] == truth["n_tok"] - 1
            reads.setdefault(read["key"], []).append(read)
    return reads


def test_the_designed_readers_come_first(circuit):
    trace, truth, _ = circuit
    for key, reads in needle_reads(truth).items():
        routes, said = hops(trace, key)
        assert sorted(routes[:len(reads)]) == sorted([(r["layer"], r["head"])] for r in reads)
        for route in said["routes"][:len(reads)]:
            assert route["hops"][0]["mass"] > 0.99
            assert (route["hops"][0]["key"]["begin"], route["hops"][0]["key"]["end"]) == (key, key + 1)


def test_without_decoys_the_retrieval_head_comes_first(circuit):
    trace, truth, _ = circuit
    honest = ",".join(f"{h['layer']}.{h['head']}" for h in truth["heads"] if h["role"] != "decoy")
    for key, reads in needle_reads(truth).items():
        [retrieval] = [r for r in reads if r["route"]]
        routes, said = hops(trace, key, "--heads", honest)
        assert routes[0] == [(retrieval["layer"], retrieval["head"])]
        assert said["heads"][0]["share"] > 0.5
        if len(routes) > 1:
            assert said["routes"][0]["weight"] > 2 * said["routes"][1]["weight"]


def test_only_the_designed_route_is_causal(circuit):
    trace, truth, model = circuit
    answer = max(reads[0]["layer"] for reads in needle_reads(truth).values())
    for key, reads in needle_reads(truth).items():
        for read in reads:
            if read["layer"] < answer:
                continue  # of three hops the last one writes the answer
            only = f"{read['layer']}.{read['head']}"
            said = json.loads(run(CLI, "route", trace, "--from", key, "--heads", only, "--top", 1, "--prove", "-m", model,
                                  "--random", 4, "--json"))
            assert said["proof"]["necessary"] == read["route"], read


def test_each_route_by_itself(circuit):
    trace, truth, model = circuit
    key, reads = max(needle_reads(truth).items(), key=lambda x: x[1][0]["layer"])
    wanted = {(r["layer"], r["head"]): r["route"] for r in reads}
    said = json.loads(run(CLI, "route", trace, "--from", key, "--top", len(reads), "--prove", "--each", "-m", model,
                          "--random", 4, "--json"))
    assert len(said["routes"]) == len(reads)
    for route in said["routes"]:
        [hop] = route["hops"]
        assert route["proof"]["necessary"] == wanted[hop["layer"], hop["head"]]
    assert said["proof"]["necessary"]
    text = run(CLI, "route", trace, "--from", key, "--top", len(reads), "--prove", "--each", "-m", model, "--random", 4)
    assert text.count("by itself: not causal") == len(reads) - 1 and text.count("by itself: ") == len(reads)


def test_what_cannot_be_proved_is_refused(circuit, tmp_path):
    trace, truth, model = circuit
    key = next(iter(needle_reads(truth)))
    for options, words in (((), "wants -m"), (("-m", model, "--to", "5:9"), "last token"), (("-m", tmp_path), "")):
        done = subprocess.run([CLI, "route", trace, "--from", str(key if "--to" not in options else 2), "--prove", *map(str, options)],
                              capture_output=True, text=True)
        assert done.returncode in (1, 2) and words in done.stderr
