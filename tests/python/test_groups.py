# SPDX-License-Identifier: MIT
"""`sparsetrace groups` against NumPy and SciPy: vertical scores, kurtosis, receiver heads, anchors.

The traces are made here from docs/trace-format.md with the stock safetensors package; nothing of ours computes
what is compared.
"""
import json
import os
import subprocess

import numpy as np
import pytest
import scipy.stats
from safetensors import safe_open
from safetensors.numpy import save_file

CLI = os.environ["ST_CLI"]
LAYERS, HEADS, NEAR = (0, 2), 3, 4


def csr(matrix):
    """[rows, S] to indptr, indices, values above 0."""
    rows, columns = np.nonzero(matrix)
    indptr = np.searchsorted(rows, np.arange(len(matrix) + 1)).astype(np.int64)
    return indptr, columns.astype(np.int32), matrix[rows, columns].astype(np.float32)


def make_trace(path, n_group, seed, rows=0, heads=HEADS):
    """A trace of random matrices, some columns heavy, and `rows` certified rows a layer."""
    rng = np.random.default_rng(seed)
    width = rng.integers(1, 9, n_group)
    gap = rng.integers(0, 3, n_group)
    end = np.cumsum(width + gap)
    n_tok = int(end[-1]) + 2
    nbq, nbk = -(-n_tok // 8), -(-n_tok // 4)
    tensors = {"groups": np.stack([end - width, end], 1).astype(np.int64)}
    truth = {"groups": tensors["groups"], "A": {}, "recall": {}}
    for layer in LAYERS:
        a = rng.random((heads, n_group, n_group)) ** 8 * (rng.random(n_group) ** 4)
        a = np.tril(a * (rng.random(a.shape) < 0.4)).astype(np.float32)
        name = f"layer.{layer}."
        tensors[name + "head"] = np.arange(heads, dtype=np.int32)
        tensors[name + "indptr"] = np.zeros(heads * nbq + 1, np.int64)
        tensors[name + "indices"] = np.zeros(0, np.int32)
        tensors[name + "mass"] = np.zeros(0, np.float16)
        indptr, indices, mean = csr(a.reshape(-1, n_group))
        tensors.update({name + "group_indptr": indptr, name + "group_indices": indices, name + "group_mean": mean})
        truth["A"][layer] = a.astype(np.float64)
        if rows:
            at = np.sort(rng.choice(n_tok, rows, replace=False)).astype(np.int64)
            recall = rng.random((heads, rows)).astype(np.float32)
            tensors.update({name + "cert_rows": at, name + "cert_recall": recall,
                            name + "cert_err": np.zeros((heads, rows), np.float32)})
            truth["recall"][layer] = recall.astype(np.float64)
    geometry = {"n_tok": n_tok, "n_tok_run": n_tok, "bq": 8, "bk": 4, "complete": True, "row_begin": 0,
                "row_end": n_tok, "mass_floor": 0.0,
                "layers": [{"layer": layer, "n_head": heads, "kind": "sparse", "recorded": True, "kept_pairs": 1,
                            "visible_pairs": 2, "exact_pairs": 0} for layer in LAYERS]}
    meta = {"format": "sparsetrace.trace", "format_version": "1", "geometry": json.dumps(geometry)}
    if rows:
        meta["certificate"] = json.dumps(certificate(truth, heads, rows))
    save_file(tensors, path, meta)
    return truth


def certificate(truth, heads, rows):
    """docs/trace-format.md, section 5, for layers of equal size."""
    recall = np.array([truth["recall"][layer] for layer in LAYERS])
    x = recall.mean(1)
    variance = sum(((x[i, 1:] - x[i, :-1]) ** 2).sum() / (2 * rows * (rows - 1)) for i in range(len(LAYERS)))
    half = 1.96 * np.sqrt(variance) / len(LAYERS)
    per_head = recall.mean(2)
    layer, head = np.unravel_index(per_head.argmin(), per_head.shape)
    return {"n_layer": len(LAYERS), "n_head": heads * len(LAYERS), "n_row": rows,
            "recall_mean": recall.mean(), "recall_ci95": [max(recall.mean() - half, 0), min(recall.mean() + half, 1)],
            "recall_p5": np.percentile(recall, 5), "recall_worst": per_head.min(),
            "worst_layer": LAYERS[layer], "worst_head": int(head), "err_mean": 0.0}


def vertical(truth, layer, head):
    """D: nanmean of each column over rows i >= j + NEAR."""
    a = truth["A"][layer][head].copy()
    n = len(a)
    i, j = np.indices(a.shape)
    a[i - j < NEAR] = np.nan
    with np.errstate(all="ignore"):
        return np.array([np.nan if np.isnan(a[:, c]).all() else np.nanmean(a[:, c]) for c in range(n)])


def expected(truths, n_head):
    """[(kurtosis, layer, head)] of the receiver heads, and each trace's receiver scores."""
    heads = []
    for layer in LAYERS:
        for head in range(HEADS):
            k = [scipy.stats.kurtosis(vertical(t, layer, head), fisher=True, bias=True, nan_policy="omit")
                 for t in truths]
            heads.append((float(np.nanmean(k)), layer, head))
    heads.sort(key=lambda x: (-x[0], x[1], x[2]))
    heads = heads[:n_head]
    return heads, [np.mean([vertical(t, x[1], x[2]) for x in heads], axis=0) for t in truths]


def run(*args, code=0):
    done = subprocess.run([CLI, "groups", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("rows", [0, 9])
def test_receivers(tmp_path, rows):
    files = [tmp_path / f"{i}.trace" for i in range(3)]
    truths = [make_trace(f, n, seed, rows) for seed, (f, n) in enumerate(zip(files, (30, 41, 12)))]
    got = json.loads(run(*files, "--json", "--heads", 4).stdout)
    heads, scores = expected(truths, 4)
    assert [(h["layer"], h["head"]) for h in got["heads"]] == [h[1:] for h in heads]
    np.testing.assert_allclose([h["kurtosis"] for h in got["heads"]], [h[0] for h in heads], rtol=1e-6)
    for trace, want in zip(got["traces"], scores):
        mine = np.array([np.nan if x is None else x for x in trace["scores"]])
        assert np.isnan(mine[-NEAR:]).all() and not np.isnan(mine[:-NEAR]).any()
        np.testing.assert_allclose(mine, want, rtol=1e-6)
        assert trace["anchors"] == list(np.argsort(-np.nan_to_num(want, nan=-1), kind="stable")[:5])


def logistic_scores(truth, weights):
    """include/sparsetrace/groups.h, dependencies, word by word."""
    a = np.concatenate([truth["A"][layer] for layer in LAYERS])
    n = a.shape[1]
    v = np.stack([a[:, j + NEAR:, j].mean(1) if j + NEAR < n else np.zeros(len(a)) for j in range(n)], 1)
    b = a + v[:, None, :] / 2
    mean, column, layers = b.mean(0), v.mean(0), [len(truth["A"][layer]) for layer in LAYERS]
    top = np.mean([x.max(0) for x in np.split(b, np.cumsum(layers)[:-1])], axis=0)
    i, j = np.indices((n, n))
    x1 = np.log(mean + 1e-6)
    x = [np.log(np.maximum(i - j, 1)), x1, x1 - np.log(column + 1e-6), np.log(np.sqrt(b).mean(0) + 1e-3),
         np.log(top + 1e-6), np.ones((n, n))]
    return 1 / (1 + np.exp(-sum(w * f for w, f in zip(weights, x))))


@pytest.mark.parametrize("rows", [0, 9])
def test_edges(tmp_path, rows):
    truth = make_trace(tmp_path / "t", 30, 5, rows)
    got = json.loads(run(tmp_path / "t", "--json", "--edges", 3).stdout)
    want = logistic_scores(truth, got["weights"])
    edges = got["traces"][0]["edges"]
    assert len(edges) == sum(min(3, i - NEAR + 1) for i in range(NEAR, 30))
    for i in range(NEAR, 30):
        mine = [e for e in edges if e[0] == i]
        best = np.sort(want[i, :i - NEAR + 1])[::-1][:3]
        np.testing.assert_allclose([e[2] for e in mine], best, rtol=1e-4)
        np.testing.assert_allclose([want[i, e[1]] for e in mine], best, rtol=1e-4)


def test_older_files(tmp_path):
    """They may have `layer.<l>.cert_rest`: neither its numbers nor its shape matter."""
    make_trace(tmp_path / "t", 30, 5, rows=9)
    with safe_open(tmp_path / "t", "np") as f:
        meta, tensors = f.metadata(), {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    said = run(tmp_path / "t", "--json", "--edges", 3).stdout
    for rest in (np.full((HEADS * 9, 30), 0.02, np.float32), np.full(7, np.nan, np.float32)):
        save_file(tensors | {f"layer.{layer}.cert_rest": rest for layer in LAYERS}, tmp_path / "t", meta)
        assert run(tmp_path / "t", "--json", "--edges", 3).stdout == said
        done = subprocess.run([CLI, "check", tmp_path / "t"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_near(tmp_path):
    """Fewer groups than `near` + 1: no score, and no crash. One more: a score, but nothing it stands out from."""
    make_trace(tmp_path / "t", 4, 1)
    got = json.loads(run(tmp_path / "t", "--json").stdout)
    assert got["traces"][0]["scores"] == [None] * 4 and got["traces"][0]["anchors"] == []
    assert got["heads"] == []
    make_trace(tmp_path / "u", NEAR + 1, 1)
    got = json.loads(run(tmp_path / "u", "--json", "--edges", 2).stdout)
    assert got["heads"] == [] and got["traces"][0]["anchors"] == [] and len(got["traces"][0]["edges"]) == 1
    said = run(tmp_path / "u").stdout
    assert said == f"too few groups for receiver heads (--near {NEAR})\n{tmp_path}/u: {NEAR + 1} groups\n"
    assert len(json.loads(run(tmp_path / "u", "--json", "--near", 1).stdout)["heads"]) > 0


def test_bad_input(tmp_path):
    truth = make_trace(tmp_path / "a", 20, 1)
    make_trace(tmp_path / "b", 20, 2, heads=2)
    assert truth["A"]
    assert "6, the first one" not in run(tmp_path / "a", code=0).stderr
    assert "trace 1 has 4 recorded heads, the first one 6" in run(tmp_path / "a", tmp_path / "b", code=1).stderr
    assert "cannot open" in run(tmp_path / "none", code=1).stderr
    (tmp_path / "c").write_bytes(b"\x08" + bytes(40))
    assert run(tmp_path / "c", code=1).stderr.startswith("sparsetrace: ")
    assert run(code=2).stdout == ""
