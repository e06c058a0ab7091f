# SPDX-License-Identifier: MIT
"""`sparsetrace mask` against reference.py, the independent NumPy version of the method.

Of every method but `exact` the kept blocks must be the same integers. `exact` is held against
float64 masses computed here; where its F32 sums fall the other way, the kept mass must be the same
to 1e-6. Attention is held against float64: output, log-sum-exp and
masses to what fixed point may do (see tolerance). Inputs are rounded to their type before both sides see
them.
"""
import json
import os
import subprocess
from dataclasses import dataclass, field

import numpy as np
import pytest
from safetensors import safe_open

import reference

CLI = os.environ["ST_CLI"]
TOLERANCE = 2e-4  # values in 16-bit fixed point, in units of the largest one: docs/kernels.md
METHODS = ["stream", "flat", "scan", "hip", "window"]


# ---- problems ------------------------------------------------------------------------------------


@dataclass
class Problem:
    """Operands as the file's type holds them, in float32."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    dtype: str = "F32"
    bq: int = 32
    bk: int = 16
    method: str = "stream"
    rows: int = 16
    options: list = field(default_factory=list)
    first_query: int = None
    scale: float = None

    @property
    def first(self):
        last_rows = self.k.shape[1] - self.q.shape[1]
        return last_rows if self.first_query is None else self.first_query

    @property
    def factor(self):
        return np.float32(self.q.shape[2] ** -0.5 if self.scale is None else self.scale)

    def command(self, source, out):
        words = [CLI, "mask", source, "-o", out, "--json", "--select", self.method,
                 "--block-q", self.bq, "--block-k", self.bk, "--sample-rows", self.rows,
                 *self.options]
        if self.first_query is not None:
            words += ["--first-query", self.first_query]
        if self.scale is not None:
            words += ["--scale", repr(self.scale)]
        return [str(w) for w in words]


def to_bytes(x, dtype):
    """(bytes in the type, the float32 numbers that they mean)"""
    if dtype == "F16":
        return x.astype("<f2").tobytes(), x.astype(np.float16).astype(np.float32)
    if dtype == "BF16":
        high = (x.view(np.uint32) >> 16).astype("<u2")
        return high.tobytes(), (high.astype(np.uint32) << 16).view(np.float32)
    return x.astype("<f4").tobytes(), x


def write_tensors(path, dtype, tensors):
    header, data = {}, b""
    for name, x in tensors.items():
        raw = to_bytes(x, dtype)[0]
        span = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": x.shape, "data_offsets": span}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def operands(seed, dtype, n_head, n_kv, n_q, n_k, d, d_v):
    """Heavy-tailed keys, so that selection has something to find."""
    r = np.random.default_rng(seed)
    k = r.standard_normal((n_kv, n_k, d)) * np.where(r.random((n_kv, n_k, 1)) < 0.05, 3, 1)
    drawn = [r.standard_normal((n_head, n_q, d)), k, r.standard_normal((n_kv, n_k, d_v))]
    return [to_bytes(x.astype(np.float32), dtype)[1] for x in drawn]


def random_problem(seed, method, dtype="F32"):
    r = np.random.default_rng([seed, 1])
    bq, bk = int(r.choice([1, 3, 8, 16, 32, 50])), int(r.choice([1, 4, 7, 16, 24]))
    n_k = int(r.integers(1, 24 * bk + 3 * bq))
    n_q = n_k if r.random() < 0.3 else int(r.integers(1, min(n_k, 6 * bq) + 1))
    group, n_kv = int(r.integers(1, 4)), int(r.integers(1, 3))
    d, d_v = int(r.choice([1, 5, 16, 33, 64])), int(r.choice([1, 7, 16, 40]))
    p = Problem(*operands(seed, dtype, group * n_kv, n_kv, n_q, n_k, d, d_v), dtype, bq, bk, method,
                int(r.integers(1, 17)))
    if r.random() < 0.3:
        p.first_query = int(r.integers(0, n_k - n_q + 1))
    if r.random() < 0.3:
        p.scale = float(r.uniform(0.02, 1.0))
    p.options = ["--k", least_k(bq, bk) + int(r.integers(0, 64)) / 8]
    return p


def least_k(bq, bk):
    """Always-kept blocks of a query block deep in the sequence: the most over all alignments."""
    p = reference.Params(bq=bq, bk=bk)
    deep = 4 * (bq + bk) // bq
    blocks = range(deep, deep + bk)
    return max(len(reference.make_frame(p, 0, (deep + bk) * bq, qb).always()) for qb in blocks)


# ---- both sides ----------------------------------------------------------------------------------


def run(p, folder, level=None):
    """(tensors of the output file, report)"""
    source, out = folder / "in.safetensors", folder / "out.safetensors"
    write_tensors(source, p.dtype, {"q": p.q, "k": p.k, "v": p.v})
    env = dict(os.environ, ST_CPU=level) if level else None
    done = subprocess.run(p.command(source, out), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    with safe_open(out, "np") as f:
        return {name: f.get_tensor(name) for name in f.keys()}, json.loads(done.stdout)


def params(p, report, mass):
    method = p.method
    if method == "auto":
        method = "scan" if report["scanned"] else "stream"
    pooled = "--pooled" in p.options
    grow = -1 if "--grow" in p.options and "off" not in p.options else 0
    return reference.Params(method, p.bq, p.bk, report["k"], mass, rows=p.rows, pooled=pooled, grow_tok=grow)


def tolerance(p):
    """What fixed point may do: TOLERANCE and the largest error of a score, a rounding of half a unit
    in each of d channels of q and of k, of 32,700 units in a vector's length."""
    length = [np.linalg.norm(x.astype(np.float64), axis=2).max() for x in (p.q, p.k)]
    return TOLERANCE + p.q.shape[2] ** 0.5 / 32700 * length[0] * length[1] * float(p.factor)


def check_selection(p, got, report, mass=0.0):
    indptr, indices = reference.select(p.q, p.k, p.factor, params(p, report, mass), p.first)
    np.testing.assert_array_equal(got["indptr"], indptr)
    np.testing.assert_array_equal(got["indices"], indices)


def check_attention(p, got):
    """Over the selection that the program itself wrote."""
    out, lse, mass = reference.attend(p.q, p.k, p.v, float(p.factor), p.first, p.bq, p.bk,
                                      got["indptr"], got["indices"])
    assert np.abs(got["out"] - out).max() <= tolerance(p) * np.abs(p.v).max()
    np.testing.assert_allclose(got["lse"], lse, rtol=0, atol=tolerance(p))
    np.testing.assert_allclose(got["mass"], mass, rtol=0, atol=tolerance(p))


def check_all(p, folder, mass=0.0):
    got, report = run(p, folder)
    check_selection(p, got, report, mass)
    check_attention(p, got)
    return got, report


# ---- every method, any shape ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("method", METHODS)
def test_random_problems(tmp_path, method, seed):
    check_all(random_problem(100 * METHODS.index(method) + seed, method), tmp_path)


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("method", ["stream", "flat", "scan"])
def test_pooled_budgets(tmp_path, method, seed):
    p = random_problem(2000 + 100 * METHODS.index(method) + seed, method)
    _, alone = run(p, tmp_path)
    p.options += ["--pooled", "on"]
    _, together = check_all(p, tmp_path)
    assert together["kept_pairs"] <= alone["kept_pairs"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("options", [["--grow", "on"], ["--grow", "on", "--pooled", "on"]])
@pytest.mark.parametrize("method", ["stream", "scan"])
def test_growing_budgets(tmp_path, method, options, seed):
    p = random_problem(3000 + 100 * METHODS.index(method) + seed, method)
    p.options += options
    check_all(p, tmp_path)


def test_budgets_grow_about_their_mean(tmp_path):
    """To seven times as much, doubled in the last 64 rows, and as many pairs in all."""
    q, k, v = operands(7, "F32", 1, 1, 2048, 2048, 16, 16)
    p = Problem(q, k, v, options=["--k", 12])
    got, alike = run(p, tmp_path)
    p.options += ["--grow", "on"]
    grown, growing = run(p, tmp_path)
    blocks = [np.diff(x["indptr"]) for x in (got, grown)]
    assert abs(growing["kept_pairs"] / alike["kept_pairs"] - 1) < 0.05
    assert (blocks[0][-8:] == 12).all()
    for first, end, times in ((16, 24, 1), (54, 62, 1), (62, 64, 2)):
        searched = times * 8 * (1 + 6 * (first + end - 1) / 2 / 64) / (4 + 7 * 64 / 2048)
        assert blocks[1][first:end].mean() == pytest.approx(4 + searched, abs=0.3)


def test_a_pool_gives_to_the_head_that_reads_much(tmp_path):
    """One head reads one block, the other many: together they keep more of the mass with as many pairs."""
    q, k, v = operands(7, "F32", 2, 1, 512, 1024, 32, 32)
    q[0] = 8 * k[0, 100]
    q[1] *= 0.8
    p = Problem(q, k, v, options=["--k", 10])
    got, alone = run(p, tmp_path)
    p.options += ["--pooled", "on"]
    pooled, together = run(p, tmp_path)
    heads = [np.diff(x["indptr"]).reshape(2, -1).sum(1) for x in (got, pooled)]
    assert heads[0][0] == heads[0][1] and heads[1][0] < heads[0][0] and heads[1][1] > heads[0][1]
    assert together["kept_pairs"] == alone["kept_pairs"]
    assert together["recall"]["mean"] > alone["recall"]["mean"] + 0.01


@pytest.mark.parametrize("options, words", [
    (["--pooled", "maybe"], "neither on nor off"),
    (["--grow", "1"], "neither on nor off"),
    (["--grow", "on", "--mass", "0.9"], "--grow and --mass"),
    (["--pooled", "on", "--select", "hip"], "pooled goes with"),
    (["--pooled", "on", "--mass", "0.9"], "pooled goes with"),
])
def test_pool_is_refused_by_name(tmp_path, options, words):
    done = subprocess.run([CLI, "mask", "x", "-o", "y", *options], capture_output=True, text=True)
    assert done.returncode == 2 and words in done.stderr


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_types(tmp_path, dtype, method, seed):
    check_all(random_problem(1000 + 10 * METHODS.index(method) + seed, method, dtype), tmp_path)


@pytest.mark.parametrize("method", [*METHODS, "exact", "auto"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_one_token(tmp_path, dtype, method):
    p = Problem(*operands(1, dtype, 2, 1, 1, 1, 3, 2), dtype, method=method)
    got, report = run(p, tmp_path)
    assert got["indptr"].tolist() == [0, 1, 2] and got["indices"].tolist() == [0, 0]
    np.testing.assert_allclose(got["out"][:, 0], np.repeat(p.v[:, 0], 2, axis=0), rtol=2e-4)
    assert (report["kept_pairs"], report["causal_pairs"]) == (2, 2)


@pytest.mark.parametrize("bq, bk", [(1024, 1024), (1024, 1), (1, 1024), (64, 300), (300, 64)])
def test_big_blocks(tmp_path, bq, bk):
    p = Problem(*operands(bq + bk, "F32", 2, 2, 700, 700, 16, 16), bq=bq, bk=bk,
                options=["--k", least_k(bq, bk) + 1])
    check_all(p, tmp_path)


def test_deep_pyramid(tmp_path):
    """Enough key blocks for several levels of the descent, and a beam that leaves some out."""
    p = Problem(*operands(7, "F32", 1, 1, 96, 3000, 32, 8), bk=4, options=["--k", 14])
    got, report = check_all(p, tmp_path)
    assert report["pruned_fraction"] > 0.9
    p.method = "window"
    assert run(p, tmp_path)[0]["indices"].tolist() != got["indices"].tolist()


@pytest.mark.parametrize("n_blk", [62, 96])
def test_long_sequence(tmp_path, n_blk):
    """On both sides of the 32,768 searched keys from which the beam is twice as wide."""
    p = Problem(*operands(n_blk, "F32", 4, 1, 64, n_blk * 512, 8, 2), bq=16, bk=512,
                options=["--k", 6])
    check_all(p, tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_auto_is_stream_or_scan(tmp_path, seed):
    check_all(random_problem(3000 + seed, "auto"), tmp_path)


# ---- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("method", ["stream", "flat", "scan"])
def test_mass_budget(tmp_path, method, share):
    p = random_problem(4000 + int(100 * share), method)
    p.options = ["--mass", share]
    _, report = check_all(p, tmp_path, share)
    assert report["k"] == 256
    p.options = ["--mass", share, "--k", least_k(p.bq, p.bk) + 2]
    got, report = check_all(p, tmp_path, share)
    assert np.diff(got["indptr"]).max() <= report["k"]


def test_mass_budget_prunes(tmp_path):
    """A smaller share keeps fewer blocks, and some in any case."""
    p = Problem(*operands(5, "F32", 2, 1, 400, 400, 32, 8), bq=8, bk=8)
    kept = []
    for share in (0.3, 0.7, 0.95):
        p.options = ["--mass", share]
        kept.append(len(check_all(p, tmp_path, share)[0]["indices"]))
    assert 0 < kept[0] < kept[1] < kept[2]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("grow", ["on", "off"])
def test_pruned_budget(tmp_path, grow, share):
    """The k that is found prunes enough; one more block does not."""
    p = Problem(*operands(6, "F32", 2, 1, 640, 640, 16, 4), bk=8, method="window")
    p.options = ["--pruned", share, "--grow", grow]
    _, report = check_all(p, tmp_path)
    assert report["pruned_fraction"] >= share
    p.options = ["--k", report["k"] + 1, "--grow", grow]
    _, more = run(p, tmp_path)
    assert more["pruned_fraction"] < share or share == 0


# ---- exact ---------------------------------------------------------------------------------------


def block_masses(p, h, frame):
    """Mean exact mass of each visible key block over the frame's rows, float64."""
    x = p.q[h, frame.first - p.first:][:frame.n_row].astype(np.float64) * float(p.factor)
    s = x @ p.k[h // (len(p.q) // len(p.k))].astype(np.float64).T
    position = frame.first + np.arange(frame.n_row)
    s[np.arange(s.shape[1]) > position[:, None]] = -np.inf
    e = np.exp(s - s.max(1, keepdims=True))
    e /= e.sum(1, keepdims=True)
    return np.add.reduceat(e, np.arange(0, s.shape[1], p.bk), axis=1).mean(0)


def oracle(p, h, frame, mass):
    """Blocks that the exact masses choose."""
    share = block_masses(p, h, frame)
    candidates = np.arange(frame.cand_lo, frame.cand_hi)
    chosen = candidates[reference.top(share[candidates], frame.budget)]
    kept, have = frame.always(), share[frame.always()].sum()
    for block in chosen:
        if mass == 0 or have < mass or share[block] > 1 - mass:
            kept.append(int(block))
            have += share[block]
    return sorted(kept), share


def check_oracle(p, got, report, mass=0.0):
    settings = params(p, report, mass)
    first_blk, last_blk = p.first // p.bq, (p.first + p.q.shape[1] - 1) // p.bq
    row = 0
    for h in range(len(p.q)):
        for qb in range(first_blk, last_blk + 1):
            kept = got["indices"][slice(*got["indptr"][row:row + 2])]
            frame = reference.make_frame(settings, p.first, p.q.shape[1], qb)
            want, share = oracle(p, h, frame, mass)
            assert len(kept) == len(want)
            if kept.tolist() != want:  # a near tie
                assert abs(share[kept].sum() - share[want].sum()) < 1e-6
            row += 1
    assert row == len(got["indptr"]) - 1


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("seed", range(8))
def test_exact(tmp_path, seed, dtype):
    p = random_problem(5000 + seed, "exact", dtype)
    got, report = run(p, tmp_path)
    check_oracle(p, got, report)
    check_attention(p, got)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_exact_mass_budget(tmp_path, share):
    p = Problem(*operands(8, "F32", 2, 1, 300, 300, 24, 4), bq=8, bk=8, method="exact",
                options=["--mass", share])
    got, report = run(p, tmp_path)
    check_oracle(p, got, report, share)


# ---- machines ------------------------------------------------------------------------------------


def machine_has(level):
    done = subprocess.run([CLI, "info", "--json"], capture_output=True, text=True, check=True,
                          env=dict(os.environ, ST_CPU=level))
    return json.loads(done.stdout)["cpu"] == level


@pytest.mark.parametrize("level", ["scalar", "avx2", "avx512"])
@pytest.mark.parametrize("method", METHODS)
def test_levels_select_the_same(tmp_path, method, level):
    if not machine_has(level):
        pytest.skip(f"this machine has no {level} kernels")
    for seed, dtype in enumerate(["F32", "F16", "BF16"]):
        p = random_problem(6000 + 10 * METHODS.index(method) + seed, method, dtype)
        got, report = run(p, tmp_path, level)
        check_selection(p, got, report)
        check_attention(p, got)


# ---- the two identities --------------------------------------------------------------------------


def exact_attention(p, hidden):
    """Softmax attention in float64 where hidden [n_head, n_q, n_k] is False -> out, lse."""
    group = len(p.q) // len(p.k)
    k, v = np.repeat(p.k, group, 0).astype(np.float64), np.repeat(p.v, group, 0).astype(np.float64)
    s = float(p.factor) * np.einsum("hid,hjd->hij", p.q.astype(np.float64), k)
    s[hidden] = -np.inf
    lse = np.logaddexp.reduce(s, axis=2)
    return np.exp(s - lse[:, :, None]) @ v, lse


def future(p):
    position = p.first + np.arange(p.q.shape[1])
    later = np.arange(p.k.shape[1]) > position[:, None]
    return np.repeat(later[None], len(p.q), 0)


def not_kept(p, got):
    hidden = np.ones((len(p.q), p.q.shape[1], p.k.shape[1]), bool)
    blk = (p.first + np.arange(p.q.shape[1])) // p.bq - p.first // p.bq
    nbq = blk[-1] + 1
    for h in range(len(p.q)):
        for i, b in enumerate(blk):
            for c in got["indices"][slice(*got["indptr"][h * nbq + b:][:2])]:
                hidden[h, i, c * p.bk:(c + 1) * p.bk] = False
    return hidden


def check_identity(p, got, hidden):
    out, lse = exact_attention(p, hidden)
    assert np.abs(got["out"] - out).max() <= tolerance(p) * np.abs(p.v).max()
    np.testing.assert_allclose(got["lse"], lse, rtol=0, atol=tolerance(p))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", [*METHODS, "exact", "auto"])
def test_full_selection_is_exact_attention(tmp_path, method, seed):
    p = random_problem(7000 + seed, method)
    p.options = ["--k", 10000]
    got, report = run(p, tmp_path)
    assert report["kept_pairs"] == report["causal_pairs"]
    assert report["pruned_fraction"] == 0
    check_identity(p, got, future(p))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", [*METHODS, "exact", "auto"])
def test_sparse_is_exact_under_the_mask(tmp_path, method, seed):
    p = Problem(*operands(8000 + seed, "F32", 4, 2, 100 + seed, 260, 20, 6), bq=16, bk=8,
                method=method, options=["--k", 6])
    got, report = run(p, tmp_path)
    hidden = future(p) | not_kept(p, got)
    check_identity(p, got, hidden)
    assert report["kept_pairs"] == (~hidden).sum() < report["causal_pairs"] == (~future(p)).sum()


# ---- the report ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [1, 7, 64, 1000])
def test_recall_is_the_exact_mass_kept(tmp_path, wanted):
    p = Problem(*operands(9, "F32", 4, 2, 120, 300, 24, 8), bq=16, bk=8,
                options=["--k", 6, "--cert-rows", wanted])
    got, report = run(p, tmp_path)
    n = min(wanted, p.q.shape[1])
    rows = (np.arange(n) + 1) * p.q.shape[1] // n - 1
    _, lse_all = exact_attention(p, future(p))
    _, lse_kept = exact_attention(p, future(p) | not_kept(p, got))
    recall = np.exp(lse_kept - lse_all)[:, rows].mean(1)
    assert report["recall"]["rows"] == n
    assert report["recall"]["mean"] == pytest.approx(recall.mean(), abs=tolerance(p))
    assert report["recall"]["worst_head"] == pytest.approx(recall.min(), abs=tolerance(p))


def test_without_v_there_is_no_output(tmp_path):
    p = random_problem(2, "stream")
    with_v, _ = run(p, tmp_path)
    write_tensors(tmp_path / "qk.safetensors", "F32", {"q": p.q, "k": p.k})
    out = tmp_path / "qk.out"
    subprocess.run(p.command(tmp_path / "qk.safetensors", out), check=True, capture_output=True)
    with safe_open(out, "np") as f:
        assert sorted(f.keys()) == ["indices", "indptr", "lse", "mass"]
        for name in f.keys():
            np.testing.assert_array_equal(f.get_tensor(name), with_v[name])
