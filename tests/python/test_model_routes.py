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


# ---- token by token, and by value ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocks(circuit, tmp_path_factory):
    """The prompt of the circuit traced by blocks, with sizes of values."""
    trace, truth, model = circuit
    path = tmp_path_factory.mktemp("blocks") / "blocks.trace"
    run(CLI, "trace", "-m", model, "--tokens", trace.with_name("prompt.ids"), "-o", path, "--weights", "as-is", "--against",
        "none", "--k", 16, "--values")
    return path, truth, model


def test_refined_hops_name_tokens(blocks):
    trace, truth, model = blocks
    for key, reads in needle_reads(truth).items():
        said = json.loads(run(CLI, "route", trace, "--from", key, "--top", len(reads), "--json", "--refine", "-m", model))
        found = {(h["layer"], h["head"]): h for x in said["routes"] for h in x["hops"]}
        assert said["by"] == "value"
        assert set(found) == {(r["layer"], r["head"]) for r in reads}
        for read in reads:
            hop = found[read["layer"], read["head"]]
            assert (hop["query"]["begin"], hop["query"]["end"]) == (read["query"], read["query"] + 1)
            assert (hop["key"]["begin"], hop["key"]["end"]) == (key, key + 1)
            assert hop["mass"] > 0.99  # among the 16 keys of the block and 32 rows of its own it was a few per cent
            # a retrieval head writes what it reads whole, a decoy with the gain 0.3 (make.py); junk in the norm takes a little
            assert hop["size"] == pytest.approx(1.0 if read["route"] else 0.3, rel=0.1)


def test_sizes_tell_who_writes(blocks):
    """Of the layer's two readers of the needle the one that writes more comes first by value; by mass they are equal."""
    trace, truth, model = blocks
    for key, reads in needle_reads(truth).items():
        layer = min(r["layer"] for r in reads if r["route"])
        pair = [r for r in reads if r["layer"] == layer]
        only = ",".join(f"{r['layer']}.{r['head']}" for r in pair)
        weight = {}
        for by in ("value", "mass"):
            said = json.loads(run(CLI, "route", trace, "--from", key, "--heads", only, "--json", "--refine", "-m", model, "--weight", by))
            weight[by] = {(h["layer"], h["head"]): h["weight"] for x in said["routes"] for h in x["hops"]}
        [[retrieval], [decoy]] = [[(r["layer"], r["head"]) for r in pair if r["route"] == want] for want in (True, False)]
        assert weight["mass"][retrieval] == pytest.approx(weight["mass"][decoy], rel=1e-3)
        assert weight["value"][decoy] == pytest.approx(0.3 * weight["value"][retrieval], rel=0.05)


def test_refined_routes_are_proved(blocks):
    trace, truth, model = blocks
    key, reads = max(needle_reads(truth).items(), key=lambda x: x[1][0]["layer"])
    said = json.loads(run(CLI, "route", trace, "--from", key, "--top", len(reads), "--refine", "--prove", "--each", "-m", model,
                          "--random", 2, "--json"))
    wanted = {(r["layer"], r["head"]): r["route"] for r in reads}
    for route in said["routes"]:
        [hop] = route["hops"]
        assert route["proof"]["necessary"] == wanted[hop["layer"], hop["head"]]


# ---- a real model ----------------------------------------------------------------------------------------------------


def test_from_needle_of_task_data(tmp_path):
    """Task data to --from @needle: the passage that ruler's sample names, and nothing else."""
    model, data, trace = os.environ["ST_SMOLLM2"], tmp_path / "data.jsonl", tmp_path / "needle.trace"
    run(CLI, "ruler", "-m", model, "--tasks", "niah_single_1", "--lengths", "512", "--samples", "2", "--write-data", data)
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    run(CLI, "trace", "-m", model, "--data", data, "--line", 2, "--chat", "-o", trace, "--k", 6, "--against", "none")
    said = json.loads(run(CLI, "route", trace, "--from", "@needle", "--top", 1, "--json"))
    begin, end = lines[1]["evidence"][0]
    evidence = lines[1]["input"].encode()[begin:end].decode()
    assert evidence in said["from"]["text"] and len(said["from"]["text"]) < len(evidence) + 12
    assert lines[1]["outputs"][0] in said["from"]["text"] and lines[0]["outputs"][0] not in said["from"]["text"]
    whole = json.loads(run(CLI, "route", trace, "--from", "0:1", "--to", "last", "--top", 1, "--json"))
    assert whole["to"]["text"].strip() == lines[1]["answer_prefix"].split()[-1]


def test_sets_proved_together_are_as_by_themselves(tmp_path):
    """Routes whose first rows differ share runs (--each); each comes out as `prove` has it alone."""
    model, data, trace = os.environ["ST_SMOLLM2"], tmp_path / "data.jsonl", tmp_path / "needle.trace"
    run(CLI, "ruler", "-m", model, "--tasks", "niah_single_1", "--lengths", "512", "--samples", "1", "--write-data", data)
    prompt = ("-m", model, "--data", data, "--chat", "--answer", " ")
    run(CLI, "trace", *prompt, "-o", trace, "--k", 6, "--against", "none")
    said = json.loads(run(CLI, "route", trace, "--from", "60:90", "--top", 24, "--prove", "--each", "-m", model, "--random", 1,
                          "--json"))
    routes = [x for x in said["routes"] if x["hops"]]
    first = [min(h["query"]["begin"] for h in x["hops"]) for x in routes]
    assert len(set(first)) > 1
    for x in (routes[first.index(min(first))], routes[first.index(max(first))]):
        edges = tmp_path / "edges.txt"
        edges.write_text("".join(f"deny {h['layer']}.{h['head']}:{h['query']['begin']}-{h['query']['end']}"
                                 f":{h['key']['begin']}-{h['key']['end']}\n" for h in x["hops"]))
        alone = json.loads(run(CLI, "prove", *prompt, "--edges", edges, "--random", 1, "--json"))
        for name in ("plain", "deny", "keep"):
            assert x["proof"][name]["log_p"] == pytest.approx(alone[name]["log_p"], abs=1e-3), name
        for name in ("random_deny", "random_keep"):
            assert x["proof"][name][0][0] == pytest.approx(alone[name][0][0], abs=1e-3), name


@pytest.mark.parametrize("options, code, words", [
    (["--data", "{one}", "--line", "3"], 1, "no sample in line 3"), (["--data", "{data}", "--line", "0"], 2, "--line"),
    (["--line", "1", "-p", "x"], 2, "--line goes with --data"), (["--data", "{data}", "-p", "x"], 2, "one prompt, please"),
    (["--data", "{data}", "--line", "2"], 1, "line 2"),
    (["--data", "{data}.missing"], 1, "No such file")])
def test_bad_task_data(tmp_path, options, code, words):
    data = tmp_path / "data.jsonl"
    data.write_text('{"input": "a", "outputs": ["b"]}\n{"input": 7}\n')
    one = tmp_path / "one.jsonl"
    one.write_text('{"input": "a", "outputs": ["b"]}\n')
    done = subprocess.run([CLI, "trace", "-m", os.environ["ST_SMOLLM2"], *(o.format(data=data, one=one) for o in options)],
                          capture_output=True, text=True)
    assert done.returncode == code and words in done.stderr, done.stderr
