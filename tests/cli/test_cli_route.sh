#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_cli_route.sh — sparsetrace route from outside: ways to name a passage, hostile ones, and the
# attribution graph against the published field list. The numbers are the business of
# tests/unit/test_routes.c and tests/python/test_route_flow.py.
set -euo pipefail
. "$ST_SOURCE_DIR/tests/cli/lib.sh"

trace=trace.safetensors # 50 tokens, " a", "b", "b" over and over; tokens 4 and 5 are one character

span_is() { # BEGIN END OPTIONS...: what --from came to
    local begin=$1 end=$2
    shift 2
    good route $trace --json "$@"
    check "$*: tokens $begin..$end" says "$out" "{\"from\":{\"begin\":$begin,\"end\":$end,"
}

test_spans() {
    span_is 12 40 --from 12:40
    span_is 12 13 --from 12
    span_is 49 50 --from last
    span_is 49 50 --from -1
    span_is 30 50 --from 30:
    span_is 0 4 --from :4
    span_is 4 6 --from '"é"'
    span_is 7 10 --from '"bb a"#2'
    good route $trace --from 0:4 --to 20:24 --json
    check "--to" says "$out" '"to":{"begin":20,"end":24,'
    span_is 8 12 --from @needle
}

test_bad_spans() {
    refused "occurs 31 times" route $trace --from '"b"'
    refused "#1" route $trace --from '"b"'
    refused "no occurrence 32" route $trace --from '"b"#32'
    refused "does not occur" route $trace --from '"nowhere"'
    refused 'no span "nothing"' route $trace --from @nothing
    refused 'no span' route $trace --from @
    refused 'no span' route $trace --from @/needle
    refused "no span" route $trace --from "@$(printf 'x%.0s' {1..5000})"
    refused 'no span "backwards"' route $trace --from @backwards
    refused 'no span "beyond"' route $trace --from @beyond
    refused "nothing flows backwards" route $trace --from 20:24 --to 4:8
    local span
    for span in '' ' ' word '"' '""' '"b' '"b"#' '"b"#0' '"b"#-1' '"b"#x' '"b"#2x' '"b"2' 1:2:3 1e3 \
        0x10 nan '#1' $'1\n2' $'\033[2J'; do
        misused "is no span" route $trace --from "$span"
        misused "is no span" route $trace --from 4 --to "$span"
    done
    for span in 50 50: 8:8 9:8 -1:0 99999999999999999999; do
        misused "within 50 tokens" route $trace --from "$span"
    done
}

test_options() {
    misused "--from is missing" route $trace
    misused "TRACE" route --from 4
    misused '"two"' route $trace two --from 4
    misused "--top" route $trace --from 4 --top 0
    misused "--top" route $trace --from 4 --top 1001
    misused '"some"' route $trace --from 4 --sink some
    local list
    for list in '' , 1 1. .1 1.2, 1.2.3 1.-1 -1.0 1,2 x 1.2x 99999999999.0; do
        misused "is not a list" route $trace --from 4 --heads "$list"
    done
    refused "head 2 of layer 0 is not recorded" route $trace --from 4 --heads 1.2,0.2
    refused "head 0 of layer 2 is not recorded" route $trace --from 4 --heads 2.0
    refused "No such file" route missing --from 4
    good route $trace --from 4 --heads 1.2,0.1 --top 1000
    good route $trace --from 4 --sink keep
    check "says that the sink counts" says "$out" "counts"
    good route $trace --from 0
    check "a source in the sink counts it" says "$out" "counts"
    good route $trace --from 4
    check "the sink is left out" says "$out" "left out"
    good route $trace --from 4 --heads 0.0 --to 20
}

test_graph() {
    good route $trace --from 4:9 --top 20 --graph graph.json
    check "the table is printed besides" says "$out" "routes"
    check "the graph keeps to the published fields" check_graph
    rm graph.json
    refused "cannot write" route $trace --from 4 --graph missing/graph.json
    refused "cannot write" route $trace --from 4 --graph directory
}

# Required fields and types of Neuronpedia's graph-schema.json (title "Anthropic Attribution Graph",
# version 1.0.0) and of circuit-tracer's frontend/graph_models.py, written down here.
check_graph() {
    good route $trace --from 4:9 --top 20 --json
    py graph.json "$out" <<'PYTHON'
import json
import sys

graph, routes = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
number, text = (int, float), str
METADATA = {"slug": text, "scan": text, "transcoder_list": list, "prompt_tokens": list, "prompt": text,
            "node_threshold": number, "schema_version": int}
QPARAMS = {"pinnedIds": list, "supernodes": list, "linkType": text, "clickedId": text, "sg_pos": text}
NODE = {"node_id": text, "feature": int, "layer": text, "ctx_idx": int, "feature_type": text,
        "token_prob": number, "is_target_logit": bool, "run_idx": int, "reverse_ctx_idx": int,
        "jsNodeId": text, "clerp": text, "influence": number, "activation": number}
LINK = {"source": text, "target": text, "weight": number}


def fits(thing, fields, more=()):
    assert set(fields) <= set(thing) <= set(fields) | set(more), (thing, fields)
    for name, kind in fields.items():
        assert isinstance(thing[name], kind), (name, thing[name])


assert set(graph) == {"metadata", "qParams", "nodes", "links"}
fits(graph["metadata"], METADATA, ["info"])
fits(graph["qParams"], QPARAMS)
for node in graph["nodes"]:
    fits(node, NODE)
for link in graph["links"]:
    fits(link, LINK)
tokens = graph["metadata"]["prompt_tokens"]
assert all(isinstance(t, str) for t in tokens)
ids = {node["node_id"]: node for node in graph["nodes"]}
assert len(ids) == len(graph["nodes"])
assert all(0 <= node["ctx_idx"] < len(tokens) for node in graph["nodes"])
assert {node["feature_type"] for node in graph["nodes"]} == {"embedding", "attention head", "logit"}
[target] = [node for node in graph["nodes"] if node["is_target_logit"]]
assert target["feature_type"] == "logit" and "(p=" in target["clerp"]
assert max(node["influence"] for node in graph["nodes"]) - 1 < 1e-6

# the graph is the routes: what goes into a node comes out of it, all of it ends at the target
total = sum(route["weight"] for route in routes["routes"])
assert len(routes["routes"]) == 20
into = {name: 0 for name in ids}
out = dict(into)
for link in graph["links"]:
    into[link["target"]] += link["weight"]
    out[link["source"]] += link["weight"]
for name, node in ids.items():
    if node["feature_type"] != "embedding":
        assert abs(into[name] - node["activation"]) < 1e-6 * total
    if node["feature_type"] != "logit":
        assert abs(out[name] - node["activation"]) < 1e-6 * total
assert abs(into[target["node_id"]] - total) < 1e-6 * total
PYTHON
}

"$ST_MAKE_TRACE" . >/dev/null
mkdir directory
py <<'PYTHON'
# the trace again, with names for some spans
import json
from safetensors import safe_open
from safetensors.numpy import save_file

with safe_open("trace.safetensors", "np") as f:
    tensors, meta = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
meta["spans"] = json.dumps({"needle": [8, 12], "backwards": [12, 8], "beyond": [8, 51]})
save_file(tensors, "trace.safetensors", meta)
PYTHON
test_spans
test_bad_spans
test_options
test_graph
report
