# SPDX-License-Identifier: MIT
"""sparsetrace.Trace against the stock safetensors package, `sparsetrace export`, `info`, NumPy and torch; the writer;
the wheel."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch
from safetensors import safe_open
from torch.nn.attention import flex_attention

import sparsetrace as sp
from test_groups import make_trace

CLI, SOURCE = os.environ["ST_CLI"], Path(os.environ["ST_SOURCE_DIR"])
GOLDEN = SOURCE / "tests/golden/trace_v1/data/trace.safetensors"


@pytest.fixture(scope="module")
def trace():
    return sp.open(GOLDEN, validate=True)


def run(*args):
    return subprocess.run([CLI, *map(str, args)], check=True, capture_output=True, text=True).stdout


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_same_numbers_as_safetensors(trace):
    with safe_open(GOLDEN, "np") as f:
        geometry, text = json.loads(f.metadata()["geometry"]), f.get_tensor("text").tobytes()
        np.testing.assert_array_equal(trace.tokens, f.get_tensor("tokens"))
        assert (trace.n_tok, trace.bq, trace.bk) == (geometry["n_tok"], geometry["bq"], geometry["bk"])
        assert trace.text == text.decode("utf-8", "replace")
        pieces = f.get_tensor("piece_ptr")
        assert trace.bytes_of((5, 9)) == text[pieces[5] : pieces[9]]
        assert trace.layers == tuple(x["layer"] for x in geometry["layers"] if x["recorded"])
        for number in trace.layers:
            layer = trace.layer(number)
            for name in ("indptr", "indices", "mass"):
                np.testing.assert_array_equal(getattr(layer, name), f.get_tensor(f"layer.{number}.{name}"))
            assert trace.heads[number] == tuple(f.get_tensor(f"layer.{number}.head"))
        assert trace.certificate.recall_mean == json.loads(f.metadata()["certificate"])["recall_mean"]


def test_same_as_export(trace, tmp_path):
    """Every entry of every head, as the program exports them in csv and npz."""
    run("export", GOLDEN, "-o", tmp_path / "t.npz")
    whole, names = scipy.sparse.load_npz(tmp_path / "t.npz"), np.load(tmp_path / "t.npz")
    want = {}
    for row in csv.DictReader(io.StringIO(run("export", GOLDEN))):
        key = int(row["layer"]), int(row["head"])
        want.setdefault(key, {})[int(row["query_block"]), int(row["key_block"])] = float(row["mass"])
    for layer in trace.layers:
        for head in trace.heads[layer]:
            mass, mask = trace.mass(layer, head).tocoo(), trace.mask(layer, head)
            got = {(int(r), int(c)): float(m) for r, c, m in zip(mass.row, mass.col, mass.data)}
            assert got.keys() == want[layer, head].keys()
            assert all(abs(got[at] - want[layer, head][at]) < 1e-8 for at in got)
            assert mask.dtype == bool and mask.nnz == len(got) and mask.shape == (trace.nbq, trace.nbk)
            own = whole[(names["layer"] == layer) & (names["head"] == head)].toarray()
            np.testing.assert_array_equal(
                own,
                trace.mass(layer, head).toarray()[
                    names["query_block"][(names["layer"] == layer) & (names["head"] == head)]
                ],
            )


def test_rows_and_who_reads(trace):
    """Means over layers and heads, by NumPy from the masses."""
    dense = np.array([trace.mass(n, h).toarray() for n in trace.layers for h in trace.heads[n]], np.float64)
    recorded = slice(*(x(trace) for x in (lambda t: t.info.row_begin // t.bq, lambda t: -(-t.info.row_end // t.bq))))
    np.testing.assert_allclose(trace.rows(), dense[:, recorded].mean((0, 1)), atol=1e-7)
    np.testing.assert_allclose(
        trace.who_reads((3, 9)), dense[:, :, 3 // trace.bk : 8 // trace.bk + 1].sum(2).mean(0), atol=1e-7
    )
    one = trace.rows((16, 24), layers=[trace.layers[1]], heads=[1])
    np.testing.assert_allclose(
        one, trace.mass(trace.layers[1], 1).toarray()[16 // trace.bq : -(-24 // trace.bq)].mean(0), atol=1e-7
    )
    assert trace.span(-1) == (trace.n_tok - 1, trace.n_tok) and trace.span(slice(-3, None)) == (
        trace.n_tok - 3,
        trace.n_tok,
    )
    best = trace.readers((3, 9), 3)
    assert best == sorted(best, key=lambda f: -f[0]) and len(best) == 3
    assert best[0][0] == pytest.approx(dense[:, :, 3 // trace.bk : 8 // trace.bk + 1].sum(2).mean(1).max())


@pytest.mark.parametrize(
    "use, error, word",
    [
        (lambda t: t.mass(99, 0), KeyError, "layer 99"),
        (lambda t: t.mass(t.layers[0], 77), KeyError, "head 77"),
        (lambda t: t.mass(0.5, 0), KeyError, "0.5"),
        (lambda t: t.mass([], 0), KeyError, r"\[\]"),
        (lambda t: t.rows((5, 5)), ValueError, "no token"),
        (lambda t: t.rows((0, 10**9)), ValueError, "span"),
        (lambda t: t.rows((0, 1.5)), TypeError, "span"),
        (lambda t: t.rows((1, 2, 3)), ValueError, "begin, end"),
        (lambda t: t.rows(layers=[98]), ValueError, "98"),
        (lambda t: t.rows(layers=[]), ValueError, "empty"),
        (lambda t: t.rows(layers=["a"]), (TypeError, ValueError), "layers"),
        (lambda t: t.who_reads(slice(0, 9, 2)), ValueError, "step"),
        (lambda t: t.text_of((9, 3)), ValueError, "no token"),
    ],
)
def test_wrong_questions_are_named(trace, use, error, word):
    with pytest.raises(error, match=word):
        use(trace)


def test_bad_files(tmp_path):
    whole = GOLDEN.read_bytes()
    with pytest.raises(OSError, match="none.trace"):
        sp.open(tmp_path / "none.trace")
    for name, data in (
        ("empty", b""),
        ("text", b"not a trace"),
        ("cut", whole[: len(whole) // 2]),
        ("header", b"\xff" * 64),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises((sp.FormatError, sp.LimitError)):
            sp.open(tmp_path / name)
    rng = np.random.default_rng(0)
    for _ in range(200):  # any flipped bytes: an exception, or a trace that answers
        bad = bytearray(whole)
        for at in rng.integers(8, len(bad), 4):
            bad[at] = rng.integers(0, 256)
        (tmp_path / "bad").write_bytes(bad)
        try:
            got = sp.open(tmp_path / "bad")
            got.rows(), got.who_reads((0, 1)), got.text
            for layer in got.layers:
                got.csr(layer, got.heads[layer][0])
            got.validate()
        except (sp.SparseTraceError, ValueError, IndexError, KeyError):
            pass


def test_arrays_outlive_the_trace():
    indices = sp.open(GOLDEN).layer(0).indices
    assert indices.sum() == sp.open(GOLDEN).layer(0).indices.sum()
    with pytest.raises(ValueError):
        indices[0] = 1


# ---- groups
# ------------------------------------------------------------------------------------------------------------


def test_groups_are_the_thought_anchors_definition(tmp_path):
    truth = make_trace(tmp_path / "g.trace", 30, seed=3)
    trace = sp.open(tmp_path / "g.trace", validate=True)
    groups = trace.groups
    np.testing.assert_array_equal(groups.spans, truth["groups"])
    score, kurtosis = {}, {}
    for layer in trace.layers:
        for head in trace.heads[layer]:
            a = truth["A"][layer][head].copy()
            np.testing.assert_array_equal(groups.matrix(layer, head), truth["A"][layer][head].astype(np.float32))
            a[np.triu_indices(30, 1)] = np.nan
            a[np.abs(np.subtract.outer(np.arange(30), np.arange(30))) < 4] = np.nan
            with np.errstate(all="ignore"):
                score[layer, head] = np.array([np.nanmean(c) if np.isfinite(c).any() else np.nan for c in a.T])
            np.testing.assert_allclose(groups.vertical(layer, head), score[layer, head], rtol=1e-6)
            kurtosis[layer, head] = scipy.stats.kurtosis(score[layer, head], nan_policy="omit")
    best = sorted(kurtosis, key=lambda at: -kurtosis[at])
    got = groups.receivers(3)
    assert [(r.layer, r.head) for r in got] == best[:3]
    np.testing.assert_allclose([r.kurtosis for r in got], [kurtosis[at] for at in best[:3]], rtol=1e-6)
    mean = np.mean([score[at] for at in best[:3]], 0)
    np.testing.assert_allclose(groups.scores(got), mean, rtol=1e-6)
    assert groups.anchors(4, heads=got) == list(np.argsort(-np.nan_to_num(mean, nan=-1), kind="stable")[:4])
    assert sp.open(GOLDEN).groups is None


def test_example_of_anchors(tmp_path):
    make_trace(tmp_path / "g.trace", 30, seed=4)
    said = subprocess.run(
        [sys.executable, SOURCE / "examples/anchors_of_reasoning.py", tmp_path / "g.trace"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    groups = sp.open(tmp_path / "g.trace").groups
    assert said[0] == "30 sentences, 6 heads recorded" and said[1].startswith("L") and "kurtosis" in said[1]
    assert [int(line.split()[1].rstrip(",")) for line in said[-3:]] == groups.anchors(3)


# ---- for other tools
# ---------------------------------------------------------------------------------------------------


def dense_mask(trace, layer, head):
    blocks = trace.mask(layer, head).toarray()
    whole = np.kron(blocks, np.ones((trace.bq, trace.bk), bool))[: trace.n_tok, : trace.n_tok]
    return whole & np.tri(trace.n_tok, dtype=bool)


def test_block_mask(trace, monkeypatch):
    """FlexAttention under our BlockMask equals softmax under the dense mask."""
    layer = trace.layers[1]
    mask = trace.to_block_mask(layer)
    heads = trace.heads[layer]
    assert mask.shape == (1, len(heads), trace.n_tok, trace.n_tok)
    want = np.array([trace.mask(layer, h).toarray() for h in heads])
    np.testing.assert_array_equal(mask.to_dense()[0].numpy().astype(bool), want)
    q, k, v = torch.randn(3, 1, len(heads), trace.n_tok, 8, generator=torch.Generator().manual_seed(0))
    dense = torch.from_numpy(np.array([dense_mask(trace, layer, h) for h in heads]))
    exact = torch.softmax((q @ k.mT / 8**0.5).masked_fill(~dense, -torch.inf), -1).nan_to_num() @ v
    rows = dense[0].any(-1)
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)  # as it is, without a compiler
    got = flex_attention.flex_attention(q, k, v, block_mask=mask)
    torch.testing.assert_close(got[:, :, rows], exact[:, :, rows], atol=1e-5, rtol=0)


def test_bsr(trace):
    layer, head = trace.layers[0], trace.heads[trace.layers[0]][0]
    b = trace.to_bsr(layer, head)
    assert (b.indptr.dtype, b.indices.dtype, b.M, b.R, b.C) == (np.int32, np.int32, trace.n_tok, trace.bq, trace.bk)
    got = scipy.sparse.csr_array((np.ones(len(b.indices), bool), b.indices, b.indptr), shape=(trace.nbq, trace.nbk))
    assert (got != trace.mask(layer, head)).nnz == 0


def test_picture(trace):
    import matplotlib

    matplotlib.use("Agg")
    layer, head = trace.layers[0], trace.heads[trace.layers[0]][0]
    ax = trace.plot_head(layer, head)
    picture = ax.images[0].get_array()
    np.testing.assert_allclose(np.asarray(picture) ** 2, trace.mass(layer, head).toarray(), atol=1e-6)
    assert ax.get_title() == f"L{layer}.H{head}"


def test_page(trace, monkeypatch, tmp_path):
    page = trace.show(cli=CLI)
    assert "<html" in page.html and "srcdoc=" in page._repr_html_() and "allow-same-origin" not in page._repr_html_()
    page.save(tmp_path / "p.html")
    run("view", GOLDEN, "-o", tmp_path / "own.html")
    assert (tmp_path / "p.html").read_text() == (tmp_path / "own.html").read_text()
    monkeypatch.delenv("SPARSETRACE_CLI", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="SPARSETRACE_CLI"):
        trace.show()
    with pytest.raises(RuntimeError, match="sparsetrace view failed"):
        trace.show(cli=CLI, max_bytes=10)


# ---- writing
# -----------------------------------------------------------------------------------------------------------


def write(path, n_tok=100, seed=0, **options):
    r = np.random.default_rng(seed)
    q, k, v = (r.standard_normal((h, n_tok, 16)).astype(np.float32) for h in (4, 2, 2))
    params = sp.Params(k=6, bq=8, bk=4)
    problem = sp.Problem(q, k, v)
    kept = sp.select(problem, params)
    done = sp.attend(problem, kept)
    rows = np.array([5, 50])
    with sp.Writer(path, n_tok, 8, 4, **options) as w:
        w.add(
            2,
            problem,
            kept,
            done.mass,
            lse=done.lse if options.get("lse") else None,
            cert=(rows, *sp.certify(problem, kept, done, rows)),
            last=sp.certify(problem, kept, done, [n_tok - 1]),
        )
        w.tokens(np.arange(n_tok), [f"w{i} ".encode() for i in range(n_tok)])
        w.json("recipe", {"model": {"name": "numbers"}})
        size = w.finish()
    assert size == path.stat().st_size
    return kept, done


def test_written_and_read_back(tmp_path):
    kept, done = write(tmp_path / "a.trace", lse=True)
    trace = sp.open(tmp_path / "a.trace", validate=True)
    assert "is sound" in run("check", tmp_path / "a.trace")
    np.testing.assert_array_equal(trace.layer(2).indices, kept.indices)
    np.testing.assert_allclose(trace.layer(2).mass, done.mass, atol=6e-4)
    np.testing.assert_array_equal(trace.layer(2).lse, done.lse)
    assert trace.text_of((3, 5)) == "w3 w4 " and trace.recipe == {"model": {"name": "numbers"}} and trace.complete
    assert trace.certificate.n_row == 2 and 0 < trace.pruned < 1


def test_a_broken_run_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), sp.Writer(tmp_path / "b.trace", 10, 8, 4):
        raise RuntimeError("stop")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError):
        sp.Writer(tmp_path / "no" / "b.trace", 10, 8, 4)
    w = sp.Writer(tmp_path / "c.trace", 10, 8, 4)
    for use, word in (
        (lambda: w.tokens(np.arange(9)), "tokens"),
        (lambda: w.tokens(np.arange(10), [b""]), "1 pieces"),
        (lambda: w.json("geometry", {}), "writer.s own"),
        (lambda: w.json("x", float("nan")), "JSON"),
        (lambda: w.tokens(np.arange(10.0)), "tokens"),
    ):
        with pytest.raises((ValueError, TypeError), match=word):
            use()
    w.close()
    with pytest.raises(ValueError, match="closed"):
        w.finish()


# ---- the wheel
# -----------------------------------------------------------------------------------------------------------


def test_wheel(tmp_path):
    """pip builds a wheel for any Python 3 that imports by itself, on the least machine, without torch or SciPy."""
    if not (SOURCE / "python/pyproject.toml").exists():
        pytest.fail("python/pyproject.toml is gone")
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARSETRACE_LIBRARY")}
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-build-isolation",
            "--no-deps",
            "-q",
            "-w",
            tmp_path,
            "--disable-pip-version-check",
            "-C",
            f"build-dir={tmp_path / 'b'}",
            SOURCE / "python",
        ],
        capture_output=True,
        text=True,
        env=env,
    )
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("sparsetrace-" + (SOURCE / "VERSION").read_text().strip() + "-py3-none-")
    with zipfile.ZipFile(wheel) as z:
        names = set(z.namelist())
        z.extractall(tmp_path / "site")
    assert {"sparsetrace/py.typed", "sparsetrace/libsparsetrace.so", "sparsetrace/_trace.py"} <= names
    assert sum(n.endswith(".so") for n in names) == 1
    code = (
        "import sys, numpy as np, sparsetrace as s; x = np.ones((1, 99, 8), 'f4'); p = s.Problem(x, x, x);"
        "print(s.cpu_name(), s.attend(p, s.select(p)).out.sum(), sorted({'torch', 'scipy'} & set(sys.modules)))"
    )
    env |= {"PYTHONPATH": str(tmp_path / "site"), "ST_CPU": "scalar"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert ran.stdout.split() == ["scalar", "792.0", "[]"], ran.stderr
