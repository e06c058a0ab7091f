# SPDX-License-Identifier: MIT
"""`sparsetrace trace --groups` on a real model: matrices against the block masses that the same trace records."""
import json
import os
import subprocess

import numpy as np
import pytest
from safetensors import safe_open

CLI, SMOLLM2 = os.environ["ST_CLI"], os.environ["ST_SMOLLM2"]
TEXT = "".join(f"Line {i}: the {'red' if i % 3 else 'blue'} box holds {i * 7 % 13} stones. " for i in range(60))


def trace(out, spans, *options, code=0):
    spans_file = out.parent / "spans.txt"
    spans_file.write_text(spans if isinstance(spans, str) else "".join(f"{a} {b}\n" for a, b in spans))
    done = subprocess.run([CLI, "trace", "-m", SMOLLM2, "-p", TEXT, "--groups", spans_file, "--against", "none",
                           "-o", out, "--threads", "2", "--quiet", "--json", *map(str, options)],
                          capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def load(path):
    """{layer: (A [H, S, S], block mass [H, nbq, nbk])}, groups, geometry."""
    with safe_open(path, "np") as f:
        geometry, groups = json.loads(f.metadata()["geometry"]), f.get_tensor("groups")
        n, bq, bk = geometry["n_tok"], geometry["bq"], geometry["bk"]
        out = {}
        for layer in geometry["layers"]:
            get = lambda noun: f.get_tensor(f"layer.{layer['layer']}.{noun}")
            out[layer["layer"]] = tuple(
                dense(get(p + "indptr"), get(p + "indices"), get(v), layer["n_head"], width)
                for p, v, width in (("group_", "group_mean", len(groups)), ("", "mass", -(-n // bk))))
    return out, groups, geometry


def dense(indptr, indices, values, n_head, width):
    out = np.zeros(((len(indptr) - 1), width))
    out[np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices] = values
    return out.reshape(n_head, -1, width)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Where each token's bytes begin."""
    path = tmp_path_factory.mktemp("pieces") / "t"
    trace(path, [(0, 5)], "--k", 8, "--layers", 0)
    with safe_open(path, "np") as f:
        return f.get_tensor("piece_ptr")


@pytest.mark.parametrize("options", [
    ["--k", 9, "--select", "hip"], ["--k", 100000], ["--k", 9, "--select", "hip", "--ubatch", 80],
    ["--k", 9], ["--k", 9.5, "--pooled", "on", "--ubatch", 80]])
def test_blocks_as_groups(tmp_path, pieces, options):
    """Groups that are the query blocks: each matrix entry is the mass of two key blocks. The masses are half
    floats, the matrices fixed point: 1e-3 of a block's mass. A method that weighs more than it keeps adds what it
    left out: kept blocks count for less, and others are there too."""
    weighs = options[:2] != ["--k", 100000] and "hip" not in options
    n = len(pieces) - 1
    edges = list(range(0, n, 32)) + [n]
    trace(tmp_path / "t", [(pieces[a], pieces[b]) for a, b in zip(edges, edges[1:])], *options)
    layers, groups, _ = load(tmp_path / "t")
    assert groups.tolist() == [[a, b] for a, b in zip(edges, edges[1:])]
    for a, mass in layers.values():
        mass = np.pad(mass, ((0, 0), (0, 0), (0, -mass.shape[2] % 2)))
        want = mass.reshape(*mass.shape[:2], -1, 2).sum(-1)
        got = a * np.diff(edges)
        if weighs:
            assert got[want > 0.05].mean() < want[want > 0.05].mean()
            assert got[want == 0].sum() > 0 and (got.sum(-1) < 1.01).all()
        else:
            assert np.abs(got - want).max() < 2e-3
        assert (got.sum(-1) > 0.99).all() and (np.triu(got, 1) == 0).all()


def test_layouts_agree(tmp_path, pieces):
    """Any layout: fine groups added up are coarse groups, gaps only leave out."""
    n = len(pieces) - 1
    rng = np.random.default_rng(1)
    cuts = np.unique(np.concatenate([[0, n], rng.integers(1, n, 60)]))
    trace(tmp_path / "fine", [(pieces[a], pieces[b]) for a, b in zip(cuts, cuts[1:])], "--k", 9)
    coarse = cuts[::3] if cuts[::3][-1] == n else np.append(cuts[::3], n)
    trace(tmp_path / "coarse", [(pieces[a], pieces[b]) for a, b in zip(coarse, coarse[1:])][1::2], "--k", 9)
    fine, fine_groups, _ = load(tmp_path / "fine")
    rough, rough_groups, _ = load(tmp_path / "coarse")
    width = np.diff(fine_groups, axis=1)[:, 0]
    member = np.array([[b <= f[0] and f[1] <= e for f in fine_groups] for b, e in rough_groups], float)
    assert (member.sum(1) > 0).all()
    for layer, (a, _) in fine.items():
        sums = a * width[:, None] * width[None, :]
        want = member @ sums @ member.T
        area = (member @ width)[:, None] * (member @ width)[None, :]
        assert np.abs(rough[layer][0] - want / area).max() < 1e-6


@pytest.mark.parametrize("spans, says", [
    ("0 5\n3 9\n", "span 2: bytes 3 to 9"),
    ("0 5\n9 7\n", "span 2: bytes 9 to 7"),
    ("0 5\n6 999999\n", "span 2: bytes 6 to 999999"),
    ("0 5\nsix 9\n", "line 2"),
    ("0 5 9\n", "line 1"),
    ("# nothing\n\n", "has no span"),
    ("0 1\n1 2\n", "spans.txt, span 2, bytes 1 to 2, has no token of its own"),
])
def test_bad_spans(tmp_path, spans, says):
    assert says in trace(tmp_path / "t", spans, "--k", 8, code=1).stderr
    assert not (tmp_path / "t").exists() and not (tmp_path / "t.part").exists()


def test_spans_of_a_token_file(tmp_path):
    """Bytes then count in what the tokens spell."""
    ids, spans, out = tmp_path / "prompt.ids", tmp_path / "spans", tmp_path / "t"
    trace(tmp_path / "plain", [[0, 5], [5, 9]], "--k", 6)
    with safe_open(tmp_path / "plain", "np") as f:
        tokens, ptr = f.get_tensor("tokens"), f.get_tensor("piece_ptr")
    ids.write_text("".join(f"{t}\n" for t in tokens[:8]))
    spans.write_text(f"0 {ptr[3]}\n{ptr[3]} {ptr[8]}\n")
    done = subprocess.run([CLI, "trace", "-m", SMOLLM2, "--tokens", ids, "--groups", spans, "--against", "none", "--k", "6",
                           "-o", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with safe_open(out, "np") as f:
        assert f.get_tensor("groups").tolist() == [[0, 3], [3, 8]]


def test_bad_span_behind_a_template(tmp_path):
    """Its bytes are counted as the file does, in the prompt."""
    said = trace(tmp_path / "t", "0 1\n1 2\n", "--k", 8, "--chat", code=1).stderr
    assert "spans.txt, span 2, bytes 1 to 2, has no token of its own" in said
