# SPDX-License-Identifier: MIT
"""Routes against the definition of docs/method/routes.md, written down a second time in NumPy.

Here token by token, with matrices [n_tok, n_tok] and no word of cells; the program works on cells. The
golden trace is read with the stock safetensors package.
"""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACE = ROOT / "tests/golden/trace_v1/data/trace.safetensors"
CLI = os.environ["ST_CLI"]


def load(path):
    """(n_tok, bq, bk, {layer: (heads, mass [n_head, nbq, nbk])})."""
    with safe_open(path, "np") as f:
        g = json.loads(f.metadata()["geometry"])
        n_tok, bq, bk = g["n_tok"], g["bq"], g["bk"]
        nbq, nbk = -(-n_tok // bq), -(-n_tok // bk)
        layers = {}
        for x in g["layers"]:
            get = {n: f.get_tensor(f"layer.{x['layer']}.{n}") for n in ("head", "indptr", "indices", "mass")}
            dense = np.zeros((len(get["head"]) * nbq, nbk))
            rows = np.repeat(np.arange(len(dense)), np.diff(get["indptr"]))
            dense[rows, get["indices"]] = get["mass"]
            layers[x["layer"]] = (list(get["head"]), dense.reshape(-1, nbq, nbk))
        return n_tok, bq, bk, layers


def token_matrices(mass, n_tok, bq, bk, sink):
    """w [n_head, n_tok, n_tok]: share of attention of each row on each token, mean over heads taken."""
    w = np.zeros((len(mass), n_tok, n_tok))
    for t in range(n_tok):
        b = t // bq
        rows = np.arange(b * bq, min((b + 1) * bq, n_tok))
        same_cell = [s for s in range(n_tok) if s // bq == t // bq and s // bk == t // bk]
        for c in range(0 if sink else 1, t // bk + 1):
            seen = np.arange(c * bk, min((c + 1) * bk, same_cell[-1] + 1))
            scale = len(rows) / (rows >= c * bk).sum()
            w[:, t, seen] = (mass[:, b, c] * scale / len(mass) / len(seen))[:, None]
    return w


def reference(source, target, sink, heads=None, size=None):
    """size {layer: [n_head, nbk]}: weights by value. Gives flow, {layer: (at_source, between, at_target)}, {(layer, head): share}."""
    n_tok, bq, bk, layers = load(TRACE)
    cell = np.array([t // bq * 1000 + t // bk for t in range(n_tok)])
    other_cell = cell[:, None] != cell[None, :]
    used = {}
    step = {}
    for layer, (names, mass) in layers.items():
        w = token_matrices(mass, n_tok, bq, bk, sink)
        base = np.ones(n_tok)
        if size is not None:
            attention = w.sum(axis=(0, 2))
            w *= np.repeat(size[layer], bk, axis=1)[:, None, :n_tok]
            reads = w.sum(axis=(0, 2))
            base[reads > 0] = reads[reads > 0] / attention[reads > 0]
        norm = base + w.sum(axis=(0, 2))
        for i, h in enumerate(names):
            if heads is not None and (layer, h) not in heads:
                w[i] = 0
            used[layer, h] = w[i] / norm[:, None] * other_cell
        step[layer] = (np.diag(base) + w.sum(axis=0)) / norm[:, None]
    own = ~other_cell / (~other_cell).sum(axis=1)[:, None]  # mean over the cell: its tokens are not told apart
    value = [own @ np.isin(np.arange(n_tok), np.arange(*source))]
    back = [own @ np.isin(np.arange(n_tok), np.arange(*target)) / (target[1] - target[0])]
    for layer in layers:
        value.append(step[layer] @ value[-1])
    for layer in reversed(layers):
        back.insert(0, back[0] @ step[layer])
    flow = back[-1] @ value[-1]
    is_source = np.isin(cell, cell[slice(*source)])
    is_target = np.isin(cell, cell[slice(*target)]) & ~is_source
    where, share = {}, {}
    for i, layer in enumerate(layers):
        through = back[i + 1] * value[i + 1] / flow
        where[layer] = [through[is_source].sum(), through[~is_source & ~is_target].sum(),
                        through[is_target].sum()]
        for h in layers[layer][0]:
            share[layer, h] = back[i + 1] @ used[layer, h] @ value[i] / flow
    return flow, where, share


def route(*options, trace=TRACE):
    run = subprocess.run([CLI, "route", trace, "--json", "--top", "1000", *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("sink", ["drop", "keep"])
@pytest.mark.parametrize("source, target", [((9, 14), (49, 50)), ((0, 50), (49, 50)), ((5, 6), (30, 41)),
                                            ((0, 8), (17, 18)), ((30, 45), (33, 47))])
def test_flow(source, target, sink):
    said = route("--from", "%d:%d" % source, "--to", "%d:%d" % target, "--sink", sink)
    flow, where, share = reference(source, target, sink == "keep")
    assert said["flow"] == pytest.approx(flow, abs=1e-6) and flow > 0
    assert [x["layer"] for x in said["layers"]] == list(where)
    for x in said["layers"]:
        np.testing.assert_allclose([x["at_source"], x["between"], x["at_target"]], where[x["layer"]], atol=1e-6)
    heads = {(x["layer"], x["head"]): x["share"] for x in said["heads"]}
    for name, want in share.items():
        assert heads.get(name, 0) == pytest.approx(want, abs=1e-6)
    assert list(heads.values()) == sorted(heads.values(), reverse=True)


def test_heads():
    heads = [(1, 2), (3, 0)]
    said = route("--from", "9:14", "--heads", "3.0,1.2")
    flow, _, share = reference((9, 14), (49, 50), False, heads)
    assert said["flow"] == pytest.approx(flow, abs=1e-6) and flow > 0
    assert {(x["layer"], x["head"]) for x in said["heads"]} <= set(heads)
    for x in said["heads"]:
        assert x["share"] == pytest.approx(share[x["layer"], x["head"]], abs=1e-6)


def test_everything_comes_from_the_whole_text():
    said = route("--from", "0:50", "--sink", "keep")
    assert said["flow"] == pytest.approx(1, abs=1e-9)


def test_a_route_is_a_chain_of_stored_reads():
    """Hops meet, rise in layers, and each has the mass and the weight that the file gives it."""
    n_tok, bq, bk, layers = load(TRACE)
    said = route("--from", "9:14")
    assert len(said["routes"]) > 10
    for x in said["routes"]:
        hops = x["hops"]
        assert all(a["layer"] < b["layer"] for a, b in zip(hops, hops[1:]))
        for a, b in zip(hops, hops[1:]):
            assert a["query"] == b["key"]
        assert hops[0]["key"]["begin"] < 14 and hops[0]["key"]["end"] > 9
        assert hops[-1]["query"]["end"] == n_tok
        for hop in hops:
            names, mass = layers[hop["layer"]]
            row, key = hop["query"]["begin"], hop["key"]["begin"]
            assert hop["mass"] == pytest.approx(mass[names.index(hop["head"]), row // bq, key // bk])
            w = token_matrices(mass, n_tok, bq, bk, False)
            keys = slice(key, hop["key"]["end"])
            want = w[names.index(hop["head"]), row, keys].sum() / (1 + w[:, row].sum())
            assert hop["weight"] == pytest.approx(want, abs=1e-6)
    weights = [x["weight"] for x in said["routes"]]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) <= said["flow"] * (1 + 1e-6)


# ---- weights by value ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sized(tmp_path_factory):
    """The golden trace with sizes of values of our own making, {layer: [n_head, nbk]} beside it."""
    path = tmp_path_factory.mktemp("sized") / "sized.trace"
    rng = np.random.default_rng(7)
    with safe_open(TRACE, "np") as f:
        tensors = {name: f.get_tensor(name) for name in f.keys()}
        meta = f.metadata()
    n_tok, bq, bk, layers = load(TRACE)
    size = {}
    for layer, (heads, mass) in layers.items():
        size[layer] = rng.uniform(0, 3, (len(heads), mass.shape[2])).astype(np.float32)
        size[layer][0, 2] = 0  # a read that writes nothing
        tensors[f"layer.{layer}.value"] = size[layer]
    save_file(tensors, path, meta)
    return path, size


@pytest.mark.parametrize("sink", ["drop", "keep"])
@pytest.mark.parametrize("source, target", [((9, 14), (49, 50)), ((5, 6), (30, 41)), ((30, 45), (33, 47))])
def test_flow_by_value(sized, source, target, sink):
    path, size = sized
    said = route("--from", "%d:%d" % source, "--to", "%d:%d" % target, "--sink", sink, trace=path)
    assert said["by"] == "value"
    flow, where, share = reference(source, target, sink == "keep", size=size)
    assert said["flow"] == pytest.approx(flow, abs=1e-6) and flow > 0
    for x in said["layers"]:
        np.testing.assert_allclose([x["at_source"], x["between"], x["at_target"]], where[x["layer"]], atol=1e-6)
    heads = {(x["layer"], x["head"]): x["share"] for x in said["heads"]}
    for name, want in share.items():
        assert heads.get(name, 0) == pytest.approx(want, abs=1e-6)
    assert sum(x["weight"] for x in said["routes"]) <= flow * (1 + 1e-6)
    for x in said["routes"]:
        for hop in x["hops"]:
            h = load(path)[3][hop["layer"]][0].index(hop["head"])
            assert hop["size"] == size[hop["layer"]][h, hop["key"]["begin"] // 4] > 0


def test_weight_can_be_chosen(sized):
    path, _ = sized
    by_mass = route("--from", "9:14", "--weight", "mass", trace=path)
    assert by_mass["by"] == "mass" and by_mass["flow"] == route("--from", "9:14")["flow"]
    assert route("--from", "9:14")["by"] == "mass"  # the golden trace has no sizes
    refused = subprocess.run([CLI, "route", TRACE, "--from", "9:14", "--weight", "value"], capture_output=True, text=True)
    assert refused.returncode == 1 and "no sizes of values" in refused.stderr


def test_equal_sizes_are_mass(sized, tmp_path):
    """If everything that is read writes equally much, nothing is different, whatever the unit."""
    with safe_open(sized[0], "np") as f:
        tensors = {name: f.get_tensor(name) for name in f.keys()}
        meta = f.metadata()
    for name in tensors:
        if name.endswith(".value"):
            tensors[name] = np.full_like(tensors[name], 40.0)
    save_file(tensors, tmp_path / "equal.trace", meta)
    a, b = route("--from", "9:14", trace=tmp_path / "equal.trace"), route("--from", "9:14")
    assert a["by"] == "value" and a["flow"] == pytest.approx(b["flow"], rel=1e-9)
    assert [x["weight"] for x in a["routes"]] == pytest.approx([x["weight"] for x in b["routes"]], rel=1e-9)
