# SPDX-License-Identifier: MIT
"""A trace opened by strangers: the stock safetensors package, NumPy, SciPy, csv and json.

Nothing of ours is imported. The numbers are held against the formulas of tests/format/sample_trace.h, written
down here a second time, and the certificate is computed anew as docs/trace-format.md, section 5, says.

Two sets of files: the golden one, and one that today's code writes. For the latter the variable ST_MAKE_TRACE
names the built tests/golden/trace_v1/make.c; without it build*/**/make_trace_v1 is looked for.
"""
import csv
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import scipy.sparse
from safetensors import safe_open

ROOT = pathlib.Path(__file__).resolve().parents[2]
N_TOK, N_BATCH, BQ, BK = 50, 20, 8, 4
NBQ, NBK = -(-N_TOK // BQ), -(-N_TOK // BK)
LAYERS = {0: 2, 1: 3, 3: 1}  # layer: heads


def make_program():
    if "ST_MAKE_TRACE" in os.environ:
        return os.environ["ST_MAKE_TRACE"]
    return next(map(str, ROOT.glob("build*/**/make_trace_v1")), None)


@pytest.fixture(scope="module", params=["golden", "fresh"])
def folder(request, tmp_path_factory):
    if request.param == "golden":
        return ROOT / "tests/golden/trace_v1/data"
    program = make_program()
    if program is None:
        pytest.skip("make_trace_v1 is not built and ST_MAKE_TRACE is not set")
    out = tmp_path_factory.mktemp("trace")
    subprocess.run([program, out], check=True)
    return out


@pytest.fixture(scope="module")
def trace(folder):
    with safe_open(folder / "trace.safetensors", "np") as f:
        return f.metadata(), {name: f.get_tensor(name) for name in f.keys()}


def expected_row(layer_index, head, block):
    """{key block: mass} of one row, joined from the micro-batches that share the query block."""
    mass, rows = {}, 0
    for first in range(0, N_TOK, N_BATCH):
        end = min(first + N_BATCH, N_TOK)
        begin, stop = max(block * BQ, first), min((block + 1) * BQ, end)
        if begin >= stop:
            continue
        rows += stop - begin
        last = (stop - 1) // BK
        for c in range(last + 1):
            if c in (0, last) or (7 * c + 3 * block + head + layer_index + first // 5) % 3 == 0:
                value = 1 + (c * 5 + block * 3 + head * 2 + layer_index + first) % 13
                mass[c] = mass.get(c, 0) + (stop - begin) * value / 256
    return {c: m / rows for c, m in sorted(mass.items())}


def all_rows():
    for index, (layer, n_head) in enumerate(LAYERS.items()):
        for head in range(n_head):
            for block in range(NBQ):
                yield layer, head, block, expected_row(index, head, block)


def csr_row(tensors, layer, head, block):
    at, end = tensors[f"layer.{layer}.indptr"][head * NBQ + block:][:2]
    return tensors[f"layer.{layer}.indices"][at:end], tensors[f"layer.{layer}.mass"][at:end]


def test_metadata(trace):
    meta, _ = trace
    geometry = json.loads(meta["geometry"])
    assert (meta["format"], meta["format_version"]) == ("sparsetrace.trace", "1")
    assert (geometry["n_tok"], geometry["bq"], geometry["bk"]) == (N_TOK, BQ, BK)
    assert geometry["complete"] is True
    assert {x["layer"]: x["n_head"] for x in geometry["layers"]} == LAYERS
    assert [x["kind"] for x in geometry["layers"]] == ["sparse", "sparse", "exact"]
    visible = sum(x["visible_pairs"] for x in geometry["layers"])
    assert visible == 5 * N_TOK * (N_TOK + 1) // 2
    assert json.loads(meta["recipe"]) == {"model": "none", "seed": 1}
    assert json.loads(meta["result"]) == {"text": 'é "quoted"'}


def test_types(trace):
    _, t = trace
    for layer, n_head in LAYERS.items():
        nnz = len(t[f"layer.{layer}.indices"])
        for noun, dtype, shape in [
            ("head", np.int32, (n_head,)),
            ("indptr", np.int64, (n_head * NBQ + 1,)),
            ("indices", np.int32, (nnz,)),
            ("mass", np.float16, (nnz,)),
            ("lse", np.float32, (n_head, N_TOK)),
        ]:
            x = t[f"layer.{layer}.{noun}"]
            assert (x.dtype, x.shape) == (dtype, shape), noun


def test_alignment(folder):
    raw = (folder / "trace.safetensors").read_bytes()
    n = int.from_bytes(raw[:8], "little")
    size = {"I64": 8, "I32": 4, "F32": 4, "F16": 2, "U8": 1}
    assert (8 + n) % 8 == 0
    for name, info in json.loads(raw[8:8 + n]).items():
        if name != "__metadata__":
            assert info["data_offsets"][0] % size[info["dtype"]] == 0, name


def test_rows(trace):
    _, t = trace
    for layer, head, block, want in all_rows():
        indices, mass = csr_row(t, layer, head, block)
        assert list(indices) == list(want)
        np.testing.assert_allclose(mass.astype(float), list(want.values()), rtol=1e-3)


def test_lse(trace):
    _, t = trace
    row = np.arange(N_TOK)
    for index, (layer, n_head) in enumerate(LAYERS.items()):
        want = (row * 3 + np.arange(n_head)[:, None] * 5 + index) * 0.25
        np.testing.assert_array_equal(t[f"layer.{layer}.lse"], want)


def test_tokens(trace):
    _, t = trace
    text, ptr = t["text"].tobytes(), t["piece_ptr"]
    pieces = [text[a:b] for a, b in zip(ptr[:-1], ptr[1:])]
    assert list(t["tokens"]) == [i * 37 % 1000 for i in range(N_TOK)]
    assert pieces[:7] == [b" a", b"b", b"b", b" a", b"\xc3", b"\xa9", b" a"]
    assert b"".join(pieces) == text


def test_certificate(trace):
    """Section 5 of the format, in NumPy."""
    meta, t = trace
    said = json.loads(meta["certificate"])
    recall = {l: t[f"layer.{l}.cert_recall"].astype(float) for l in LAYERS}
    error = {l: t[f"layer.{l}.cert_err"].astype(float) for l in LAYERS}
    for index, layer in enumerate(LAYERS):
        rows = t[f"layer.{layer}.cert_rows"]
        assert list(rows) == [r for r in range(N_TOK) if r % 7 == index + 1]
        head = np.arange(LAYERS[layer])[:, None]
        np.testing.assert_array_equal(recall[layer],
                                      1 - (rows * 7 + head * 3 + index * 11) % 29 / 64)
    weight = {l: h / sum(LAYERS.values()) for l, h in LAYERS.items()}
    mean = sum(weight[l] * recall[l].mean() for l in LAYERS)
    variance = 0
    for layer in LAYERS:
        x = recall[layer].mean(axis=0)
        n = len(x)
        variance += weight[layer] ** 2 * (np.diff(x) ** 2).sum() / (2 * n * (n - 1))
    half = 1.96 * np.sqrt(variance)
    heads = {(l, h): recall[l][h].mean() for l in LAYERS for h in range(LAYERS[l])}
    assert said["recall_mean"] == pytest.approx(mean)
    assert said["recall_ci95"] == pytest.approx([max(0, mean - half), min(1, mean + half)])
    pooled = np.concatenate([r.ravel() for r in recall.values()])
    assert said["recall_p5"] == pytest.approx(np.percentile(pooled, 5))
    assert said["recall_worst"] == pytest.approx(min(heads.values()))
    assert heads[said["worst_layer"], said["worst_head"]] == pytest.approx(min(heads.values()))
    assert said["err_mean"] == pytest.approx(sum(weight[l] * error[l].mean() for l in LAYERS))
    assert (said["n_layer"], said["n_head"], said["n_row"]) == (3, 6, 7)


def test_npz(folder, trace):
    _, t = trace
    matrix = scipy.sparse.load_npz(folder / "trace.npz")
    names = np.load(folder / "trace.npz")  # checks every member's CRC as it reads
    assert matrix.format == "csr" and matrix.shape == (sum(LAYERS.values()) * NBQ, NBK)
    matrix.check_format(full_check=True)
    for r, (layer, head, block, want) in enumerate(all_rows()):
        assert (names["layer"][r], names["head"][r], names["query_block"][r]) == (layer, head, block)
        row = matrix[[r], :]
        assert list(row.indices) == list(want)
        np.testing.assert_array_equal(row.data, csr_row(t, layer, head, block)[1])


def test_csv(folder, trace):
    _, t = trace
    with open(folder / "trace.csv", newline="", encoding="ascii") as f:
        lines = list(csv.DictReader(f))
    want = [(layer, head, block, c, m)
            for layer, head, block, _ in all_rows()
            for c, m in zip(*csr_row(t, layer, head, block))]
    assert len(lines) == len(want)
    for line, (layer, head, block, c, mass) in zip(lines, want):
        assert [int(line[k]) for k in ("layer", "head", "query_block", "key_block")] == \
            [layer, head, block, c]
        assert np.float16(line["mass"]) == mass


def test_json(folder, trace):
    _, t = trace
    document = json.loads((folder / "trace.json").read_text())
    assert (document["n_tok"], document["bq"], document["bk"]) == (N_TOK, BQ, BK)
    assert len(document["rows"]) == sum(LAYERS.values()) * NBQ
    for row in document["rows"]:
        indices, mass = csr_row(t, row["layer"], row["head"], row["query_block"])
        assert row["key_blocks"] == list(indices)
        np.testing.assert_array_equal(np.float16(row["mass"]), mass)
