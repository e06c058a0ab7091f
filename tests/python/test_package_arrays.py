# SPDX-License-Identifier: MIT
"""sparsetrace.select and attend on NumPy arrays and torch tensors: against reference.py, on any shape and stride, and
against everything that must be refused without a crash."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reference
import sparsetrace as sp

quick = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def operands(seed, n_head, n_kv, n_q, n_k, d, d_v, dtype=np.float32):
    """Heavy-tailed keys, so that selection has something to find."""
    r = np.random.default_rng(seed)
    k = r.standard_normal((n_kv, n_k, d)) * np.where(r.random((n_kv, n_k, 1)) < 0.05, 3, 1)
    drawn = r.standard_normal((n_head, n_q, d)), k, r.standard_normal((n_kv, n_k, d_v))
    return [x.astype(dtype) for x in drawn]


def check(q, k, v, problem, params):
    """Selection and attention of a causal problem against the reference, q, k, v being its numbers in float32."""
    got = sp.select(problem, params)
    own = reference.Params(params.method, params.bq, params.bk, params.k, rows=params.rows)
    a = problem.a
    indptr, indices = reference.select(q, k, np.float32(a.scale), own, a.first_query)
    np.testing.assert_array_equal(got.indptr, indptr)
    np.testing.assert_array_equal(got.indices, indices)
    done = sp.attend(problem, got)
    out, lse, mass = reference.attend(q, k, v, a.scale, a.first_query, params.bq, params.bk, got.indptr, got.indices)
    # 16-bit fixed point: docs/kernels.md, and the tolerance of test_reference.py
    length = [np.linalg.norm(x.astype(np.float64), axis=2).max() for x in (q, k)]
    room = 2e-4 + q.shape[2] ** 0.5 / 32700 * length[0] * length[1] * a.scale
    assert np.abs(done.out - out).max() <= room * np.abs(v).max()
    np.testing.assert_allclose(done.lse, lse, rtol=0, atol=room)
    np.testing.assert_allclose(done.mass, mass, rtol=0, atol=room)


@quick
@given(
    st.integers(0, 10**6),
    st.sampled_from(["stream", "flat", "scan", "hip", "window"]),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([1, 5, 16, 33]),
)
def test_equals_the_reference(seed, method, group, n_kv, n_q, n_k, d):
    n_q = min(n_q, n_k)
    q, k, v = operands(seed, group * n_kv, n_kv, n_q, n_k, d, 7)
    params = sp.Params(method=method, bq=8, bk=4, k=9)
    check(q, k, v, sp.Problem(q, k, v), params)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes(kind, dtype):
    q, k, v = operands(3, 4, 2, 200, 260, 32, 16)
    tensors = [torch.from_numpy(x).to(getattr(torch, dtype)) for x in (q, k, v)]
    numbers = [t.float().numpy() for t in tensors]
    if kind == "numpy":
        if dtype == "bfloat16":
            pytest.skip("NumPy itself has no bfloat16")
        tensors = [t.numpy() for t in tensors]
    check(*numbers, sp.Problem(*tensors), sp.Params(k=8, bk=8, bq=16))


@quick
@given(st.data())
def test_any_strides(data):
    """Transposed, sliced and broadcast views give what their copies give, and are not copied."""
    q, k, v = operands(data.draw(st.integers(0, 99)), 4, 2, 60, 60, 16, 16)
    views = []
    for x in (q, k, v):
        kind = data.draw(
            st.sampled_from(["transposed", "every other token", "reversed heads", "one head for all", "wide rows"])
        )
        if kind == "transposed":
            views.append(np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2))
        elif kind == "every other token":
            views.append(np.repeat(x, 2, axis=1)[:, ::2])
        elif kind == "reversed heads":
            views.append(x[::-1])
        elif kind == "one head for all":
            views.append(np.broadcast_to(x[:1], x.shape))
        else:
            views.append(np.concatenate([x, x], axis=2)[:, :, :16])
    viewed, copied = sp.Problem(*views), sp.Problem(*(np.ascontiguousarray(x) for x in views))
    assert viewed.a.k.data == views[1].ctypes.data
    params = sp.Params(k=6, bq=8, bk=4)
    a, b = sp.select(viewed, params), sp.select(copied, params)
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_array_equal(sp.attend(viewed, a).out, sp.attend(copied, b).out)


def test_two_identities():
    q, k, v = operands(5, 4, 2, 150, 200, 32, 32)
    whole = sp.Problem(q, k, v)
    full = sp.attend(whole, sp.select_all(whole, 16, 8))
    np.testing.assert_allclose(full.out, sp.attend_exact(whole).out, rtol=0, atol=4e-4)  # fixed point, other blocks
    kept = sp.select(whole, sp.Params(k=6, bq=16, bk=8))
    recall, err = sp.certify(whole, kept, sp.attend(whole, kept), [0, 70, 149])
    exact = reference.attend(q, k, v, whole.a.scale, 50, 16, 8, None, None)
    for h in range(4):
        for i, row in enumerate((0, 70, 149)):
            s = q[h, row].astype(np.float64) @ k[h // 2].T * whole.a.scale
            p = np.exp(s[: 51 + row] - exact[1][h, row])
            blocks = kept.row(h, (50 + row) // 16)
            want = sum(p[b * 8 : (b + 1) * 8].sum() for b in blocks)
            assert recall[h, i] == pytest.approx(want, abs=2e-3)
    assert (err >= 0).all() and err.max() > 0.01


def test_windows_softcap_and_sinks():
    """Visible intervals, soft-cap and learned sinks of exact attention, against float64."""
    q, k, v = operands(6, 4, 2, 50, 80, 16, 8)
    hi = np.arange(31, 81)
    lo, sinks = np.maximum(hi - 20, 0), np.array([0.5, -1, 2, 0])
    got = sp.attend_exact(sp.Problem(q, k, v, lo=lo, hi=hi, softcap=5.0, sinks=sinks, precise=True))
    for h in range(4):
        s = 5 * np.tanh(q[h].astype(np.float64) @ k[h // 2].T / 4 / 5)
        j = np.arange(80)
        e = np.exp(s) * ((j >= lo[:, None]) & (j < hi[:, None]))
        want = e @ v[h // 2] / (e.sum(1, keepdims=True) + np.exp(sinks[h]))
        np.testing.assert_allclose(got.out[h], want, atol=2e-4)


def test_a_summary_that_grows_selects_the_same():
    q, k, v = operands(8, 4, 2, 320, 320, 16, 16)
    params, keys = sp.Params(k=6, bq=8, bk=4), sp.Keys(2, 16, 4)
    whole = sp.select(sp.Problem(q, k, v), params)
    for begin, end in ((0, 64), (64, 256), (256, 320)):
        part = sp.Problem(q[:, begin:end], k[:, :end], v[:, :end])
        keys.append(part)
        got = sp.select(part, params, keys=keys)
        for h in range(4):
            for b in range(begin // 8, end // 8):
                np.testing.assert_array_equal(got.row(h, b), whole.row(h, b))
    assert len(keys) == 320 and keys.match(part)
    assert not keys.match(sp.Problem(q, k + 1, v))
    keys.truncate(0)
    assert len(keys) == 0


def test_threads_change_nothing():
    q, k, v = operands(9, 4, 2, 300, 300, 32, 32)
    problem, params, pool = sp.Problem(q, k, v), sp.Params(k=8), sp.Pool(2)
    want = sp.attend(problem, sp.select(problem, params))
    assert len(pool) == 2
    results = []

    def work():
        results.append(sp.attend(problem, sp.select(problem, params, pool=pool), pool=pool).out)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 4 and all(np.array_equal(r, want.out) for r in results)


def test_k_for_pruned():
    params = sp.Params(method="window")
    k = sp.k_for_pruned(0.9, 4096, params)
    q, v = np.zeros((1, 4096, 1), np.float32), np.zeros((1, 4096, 1), np.float32)
    problem = sp.Problem(q, q, v)
    shares = [1 - np.divide(*sp.select(problem, sp.Params(method="window", k=n)).pairs(problem)) for n in (k, k + 1)]
    assert shares[0] >= 0.9 > shares[1]
    with pytest.raises(sp.LimitError, match="0\\."):
        sp.k_for_pruned(0.9, 64, params)


def test_blocks_for_pruned():
    assert sp.blocks_for_pruned(0.96, 100_000) == (32, 16) and sp.blocks_for_pruned(0.9, 2048) == (8, 4)
    assert sp.blocks_for_pruned(0.96, 2048) == (4, 2)
    assert sp.blocks_for_pruned(0.96, 2048, exact_below=1000) == (4, 1)
    with pytest.raises(ValueError, match="n_tok"):
        sp.blocks_for_pruned(0.96, 0)


# ---- what is refused ---------------------------------------------------------------------------------------------


X = np.zeros((2, 8, 4), np.float32)


@pytest.mark.parametrize(
    "bad, error, word",
    [
        ([[1.0]], TypeError, "list"),
        (None, TypeError, "NoneType"),
        (X.astype(np.float64), TypeError, "float64"),
        (X.astype(np.int8), TypeError, "int8"),
        (X.astype(">f4"), TypeError, "byte order"),
        (X[0], ValueError, "shape"),
        (X[:, :0], ValueError, "0"),
        (X.astype(object), TypeError, "object"),
        (X.astype(complex), TypeError, "complex"),
        (np.zeros((2, 8, 8), np.float32)[:, :, ::2], ValueError, "strides"),
        (X.transpose(0, 2, 1), ValueError, "strides"),
        (X[:, :, ::-1], ValueError, "strides"),
        (
            np.frombuffer(bytes(2 * 8 * 4 * 4 + 1), np.uint8)[1:].view(np.float32).reshape(2, 8, 4),
            ValueError,
            "aligned",
        ),
        (torch.zeros(2, 8, 4, dtype=torch.float64), TypeError, "float64"),
        (torch.zeros(2, 8, 4, device="meta"), ValueError, "device meta"),
        (torch.zeros(2, 8, 4).to_sparse(), TypeError, "layout"),
        (torch.zeros(2, 8, 4, dtype=torch.complex64), TypeError, "complex64"),
    ],
)
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_bad_operands_are_named(name, bad, error, word):
    if bad is None and name == "v":
        pytest.skip("v may be None")
    good = {"q": X, "k": X, "v": X}
    with pytest.raises(error, match=word) as caught:
        sp.Problem(**{**good, name: bad})
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"lo": np.zeros(8, int)}, "together"),
        ({"lo": np.zeros(7, int), "hi": np.ones(8, int)}, "lo"),
        ({"lo": np.zeros(8, int), "hi": np.full(8, 9)}, "row 0"),
        ({"lo": np.full(8, -1), "hi": np.ones(8, int)}, "row 0"),
        ({"lo": np.zeros(8), "hi": np.ones(8, int)}, "lo"),
        ({"lo": np.full(8, 2**40), "hi": np.ones(8, int)}, "lo"),
        ({"sinks": np.zeros(3)}, "sinks"),
        ({"scale": "x"}, "scale"),
        ({"first_query": 1.5}, "first_query"),
        ({"first_query": 1}, "rows 1..8"),
        ({"first_query": -1}, "first_query"),
        ({"softcap": -1.0}, "softcap"),
        ({"scale": float("nan")}, "scale"),
        ({"bias": np.zeros((8, 7))}, "bias"),
        ({"first_query": 2**70}, "first_query"),
    ],
)
def test_bad_options_are_named(options, word):
    with pytest.raises((ValueError, TypeError), match=word):
        sp.Problem(X, X, X, **options)


def test_shapes_that_do_not_fit():
    for q, k, v, word in (
        (X, X[:, :, :3], X, "4 numbers"),
        (X, X, X[:1], "heads and tokens"),
        (X, X, X[:, :5], "tokens"),
        (np.zeros((3, 8, 4), np.float32), X, X, "multiple"),
        (X, X[:, :5], X[:, :5], "first_query"),
    ):
        with pytest.raises(ValueError, match=word):
            sp.Problem(q, k, v)
    with pytest.raises(ValueError, match="needs v"):
        sp.attend_exact(sp.Problem(X, X))
    other = sp.select(sp.Problem(X, X, X), sp.Params(bq=4, bk=2))
    wide = sp.Problem(
        np.zeros((2, 64, 4), np.float32), np.zeros((2, 64, 4), np.float32), np.zeros((2, 64, 4), np.float32)
    )
    for use in (lambda: sp.attend(wide, other), lambda: other.pairs(wide)):
        with pytest.raises(ValueError, match="the operands"):
            use()
    with pytest.raises(ValueError, match="keys"):
        sp.select(wide, keys=sp.Keys(2, 4, 16))
    with pytest.raises(ValueError, match="row|head"):
        other.row(5, 0)
    with pytest.raises(ValueError, match="rows"):
        sp.certify(wide, sp.select(wide), sp.attend(wide, sp.select(wide)), [70])


@quick
@given(
    st.dictionaries(
        st.sampled_from(["bq", "bk", "k", "mass", "sink_blk", "window_blk", "rows", "beam", "rerank", "method"]),
        st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none(), st.integers(0, 40)),
        max_size=3,
    )
)
def test_any_params_are_taken_or_refused(fields):
    """Never a crash: a ValueError or TypeError that names a field, or a selection."""
    try:
        params = sp.Params(**fields)
    except (ValueError, TypeError) as e:
        assert any(name in str(e) for name in [*fields, "beam", "k"])
        return
    q, k, v = operands(1, 2, 1, 40, 40, 8, 8)
    problem = sp.Problem(q, k, v)
    try:
        assert np.isfinite(sp.attend(problem, sp.select(problem, params)).out).all()
    except (sp.ArgumentError, MemoryError):
        pass


@quick
@given(st.data())
def test_any_arrays_are_taken_or_refused(data):
    def one():
        shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
        dtype = data.draw(st.sampled_from(["f4", "f2", "f8", "i4", "u1", "c8", "?", ">f2", "O", "S3"]))
        x = np.zeros(shape, dtype)
        axes = data.draw(st.permutations(range(x.ndim)))
        x = x.transpose(axes)
        return x[tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in shape)]

    try:
        problem = sp.Problem(one(), one(), one())
    except (ValueError, TypeError):
        return
    assert sp.attend(problem, sp.select(problem)).out.shape == (problem.a.n_head, problem.a.n_q, problem.a.d_v)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_beyond_reason_do_not_crash(value):
    q, k, v = operands(2, 2, 1, 80, 80, 16, 16)
    for x in (q, k, v):
        x[0, 33, 3] = value
    problem = sp.Problem(q, k, v)
    for method in ("stream", "scan", "exact", "hip"):
        sp.attend(problem, sp.select(problem, sp.Params(method=method, k=4, bq=8, bk=4)))


def test_results_outlive_what_made_them_and_are_read_only():
    q, k, v = operands(4, 2, 1, 80, 80, 16, 16)
    indices = sp.select(sp.Problem(q, k, v), sp.Params(k=4, bq=8, bk=4)).indices
    sums = indices.sum()
    for _ in range(50):
        sp.select(sp.Problem(q, k, v), sp.Params(k=5, bq=8, bk=4))
    assert indices.sum() == sums
    with pytest.raises(ValueError, match="read-only|WRITEABLE"):
        indices[0] = 7
    with pytest.raises(ValueError, match="WRITEABLE"):
        indices.flags.writeable = True
