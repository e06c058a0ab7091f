# SPDX-License-Identifier: MIT
"""The data in a report, held against NumPy: the overview's measures and pictures, the packed selections, what is
left out when it must be small. No browser, and nothing of ours is imported but the program's output."""

import base64
import hashlib
import json
import os
import re
import subprocess

import numpy as np
import pytest
from made_trace import dense, make_trace
from safetensors import safe_open
from safetensors.numpy import load, save_file

CLI = os.environ["ST_CLI"]
N_TOK, BQ, BK, HEADS, LAYERS = 2000, 32, 16, 3, (0, 1, 3)
NBQ, NBK = -(-N_TOK // BQ), -(-N_TOK // BK)
NEEDLE = (1, 2, 40, 0.875)


def view(trace, page, *options):
    return subprocess.run([CLI, "view", trace, "-o", page, *options], capture_output=True, text=True, check=False)


def data_of(page):
    html = page.read_text()
    raw = base64.b64decode(re.search(r'id="data">([^<]*)</script>', html).group(1), validate=True)
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return load(raw), {k: json.loads(v) if k not in ("format",) else v for k, v in header["__metadata__"].items()}


def unpack(data, n_row, bits):
    """Rows of [(key block, mass)]."""
    at, rows = 0, []

    def varint():
        nonlocal at
        x = shift = 0
        while True:
            byte = int(data[at])
            at += 1
            x |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return x

    for _ in range(n_row):
        row, c = [], 0
        for _ in range(varint()):
            c += varint()
            if bits == 8:
                row.append((c, (int(data[at]) / 255) ** 2))
                at += 1
            else:
                row.append(
                    (c, float(data[at : at + 2].tobytes() and np.frombuffer(data[at : at + 2].tobytes(), "<f2")[0]))
                )
                at += 2
        rows.append(row)
    assert at == len(data)
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    tensors = make_trace(folder / "t.trace", N_TOK, LAYERS, HEADS, BQ, BK, needle=NEEDLE)
    (folder / "routes.json").write_text("{" + 30000 * " " + "}")  # so that a page of little data is long enough
    done = view(folder / "t.trace", folder / "t.html", "--routes", folder / "routes.json")
    assert done.returncode == 0, done.stderr
    return folder, tensors


def all_heads(tensors):
    for layer in LAYERS:
        for head, m in enumerate(dense(tensors, layer, NBQ, NBK, HEADS)):
            yield layer, head, m


def expected_measures(tensors, layer, head, m, needle):
    b, c = np.arange(NBQ)[:, None], np.arange(NBK)[None, :]
    window = ((c + 1) * BK > b * BQ - BK) & (c > 0)
    far = ~window & (c > 0)
    p = m / m.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log2(p), 0).sum(1)
    reads_afar = b * BQ >= (c + 4) * BK
    n = reads_afar.sum(0)
    score = ((m * reads_afar).sum(0)[1:] / np.maximum(n[1:], 1))[n[1:] > 0]
    d = score - score.mean()
    return {
        "recall": tensors[f"layer.{layer}.cert_recall"][head].mean(),
        "sink": m[:, 0].mean(),
        "window": (m * window).sum(1).mean(),
        "far": (m * far).sum(1).mean(),
        "entropy": entropy.mean(),
        "needle": m[-1, needle],
        "kurtosis": (d**4).mean() / (d**2).mean() ** 2 - 3,
    }


def expected_needles(tensors):
    score = sum(m[-1] ** 2 for _, _, m in all_heads(tensors))
    score[0] = 0
    score[(np.arange(NBK) + 1) * BK > (NBQ - 1) * BQ - max(4 * BQ, 128)] = 0
    found = []
    while len(found) < 8 and score.max() > 0:
        found.append(int(score.argmax()))
        score[np.abs(np.arange(NBK) - found[-1]) * BK < 32] = 0
    return found


def test_measures(made):
    folder, tensors = made
    data, meta = data_of(folder / "t.html")
    assert meta["view"]["needles"] == expected_needles(tensors)
    assert meta["view"]["needles"][0] == NEEDLE[2]
    for n, (layer, head, m) in enumerate(all_heads(tensors)):
        assert tuple(data["view.head"][n]) == (layer, head)
        want = expected_measures(tensors, layer, head, m, NEEDLE[2])
        for name, x in zip(meta["view"]["measures"], data["view.measure"][n], strict=True):
            assert x == pytest.approx(want[name], rel=1e-4, abs=1e-6), (layer, head, name)


def test_needle_is_what_one_head_reads_sharply(tmp_path):
    """Ten heads put a tenth each on one far block and more on one beside the question; one head reads the needle."""
    tensors = make_trace(tmp_path / "t.trace", 1024, (0,), 11, BQ, BK)
    row = {3: 0.1, 55: 0.4, 60: 0.3, 63: 0.2}  # 55 and 60 stand within 128 tokens of the last query block
    rows = [{0: 1.0}] * 31 + [row]
    last = [*[rows] * 10, [{0: 1.0}] * 31 + [{0: 0.5, 20: 0.45, 21: 0.05}]]
    entries = [e for head in last for e in head]
    tensors["layer.0.indptr"] = np.concatenate([[0], np.cumsum([len(e) for e in entries])]).astype(np.int64)
    tensors["layer.0.indices"] = np.array([c for e in entries for c in e], np.int32)
    tensors["layer.0.mass"] = np.array([x for e in entries for x in e.values()], np.float16)
    with safe_open(tmp_path / "t.trace", "numpy") as f:
        meta = f.metadata()
    save_file(tensors, tmp_path / "t.trace", meta)
    view(tmp_path / "t.trace", tmp_path / "t.html")
    data, meta = data_of(tmp_path / "t.html")
    assert meta["view"]["needles"] == [20, 3]
    needle = meta["view"]["measures"].index("needle")
    assert data["view.measure"][:, needle] == pytest.approx([0] * 10 + [0.45], abs=1e-3)


def test_sentences(tmp_path):
    spans = [(i * 40 + (i % 3), i * 40 + 36) for i in range(24)]
    tensors = make_trace(tmp_path / "t.trace", N_TOK, LAYERS, HEADS, BQ, BK, spans=spans, document=True)
    assert view(tmp_path / "t.trace", tmp_path / "t.html").returncode == 0
    data, meta = data_of(tmp_path / "t.html")
    n = len(spans)
    assert data["view.sentence"].tolist() == [list(s) for s in spans]
    assert meta["view"]["join"] == 1 and meta["reasoning"]["id"] == "made"
    heads = [(layer, head) for layer in LAYERS for head in range(HEADS)]
    assert sorted(map(tuple, data["view.receiver"])) == heads  # 9 heads: all are among the 20
    matrices = np.zeros((len(heads), n, n))
    for at, (layer, head) in enumerate(heads):
        mean = tensors[f"layer.{layer}.group_mean"].reshape(HEADS, -1)[head]
        matrices[at][np.tril_indices(n)] = mean
    assert data["view.matrix"].astype(float) == pytest.approx(matrices.mean(0), rel=1e-3, abs=1e-7)
    far = np.where(np.arange(n)[:, None] - np.arange(n) >= 4, matrices, np.nan)
    nothing = np.full(len(heads), np.nan)
    score = np.array([np.nanmean(far[:, j:, j], axis=1) if j < n - 4 else nothing for j in range(n)])
    assert data["view.score"] == pytest.approx(score.mean(1), rel=1e-5, nan_ok=True)
    d = score[: n - 4] - score[: n - 4].mean(0)
    kurtosis = (d**4).mean(0) / (d**2).mean(0) ** 2 - 3
    got = {tuple(h): k for h, k in zip(data["view.receiver"].tolist(), data["view.receiver_kurtosis"], strict=True)}
    assert [got[h] for h in heads] == pytest.approx(kurtosis, rel=1e-4)
    assert (np.diff(data["view.receiver_kurtosis"]) <= 0).all()
    to, back = data["view.edge"].T
    assert (to - back >= 4).all() and np.bincount(to).max() == 2


def test_matrix_of_many_sentences_is_joined(tmp_path):
    """1,100 sentences of different lengths: two by two, weighted by pairs of tokens."""
    spans = [(3 * i, 3 * i + 1 + i % 3) for i in range(1100)]
    tensors = make_trace(tmp_path / "t.trace", 3300, (0,), 1, BQ, BK, spans=spans)
    assert view(tmp_path / "t.trace", tmp_path / "t.html").returncode == 0
    data, meta = data_of(tmp_path / "t.html")
    a = np.zeros((1100, 1100))
    a[np.tril_indices(1100)] = tensors["layer.0.group_mean"]
    length = np.diff(spans)[:, 0]
    pairs = np.outer(length, length)
    want = (a * pairs).reshape(550, 2, 550, 2).sum((1, 3)) / pairs.reshape(550, 2, 550, 2).sum((1, 3))
    assert meta["view"]["join"] == 2 and len(data["view.edge"]) == 0
    assert data["view.matrix"].astype(float) == pytest.approx(want, rel=1e-3, abs=1e-7)
    view(tmp_path / "t.trace", tmp_path / "s.html", "--max-bytes", "900000")
    data, meta = data_of(tmp_path / "s.html")
    assert (tmp_path / "s.html").stat().st_size <= 900_000 and meta["view"]["join"] == 8


def test_pictures(made):
    folder, tensors = made
    data, _ = data_of(folder / "t.html")
    _, rows, columns = data["view.map"].shape
    assert (rows, columns) == (min(64, NBQ), min(64, NBK))
    row_of, column_of = np.arange(NBQ) * rows // NBQ, np.arange(NBK) * columns // NBK
    for n, (_, _, m) in enumerate(all_heads(tensors)):
        cell = np.zeros((rows, columns))
        np.add.at(cell, (row_of[:, None], column_of[None, :]), m)
        cell /= np.bincount(row_of, minlength=rows)[:, None]
        want = 255 * np.sqrt(np.minimum(cell, 1))
        assert np.abs(data["view.map"][n] - want).max() <= 0.51


def test_whole_selection(made):
    folder, tensors = made
    data, meta = data_of(folder / "t.html")
    view_document = meta["view"]
    assert (view_document["mass_bits"], meta["geometry"]["bq"], meta["geometry"]["bk"]) == (16, BQ, BK)
    assert view_document["n_entry"] == view_document["n_entry_trace"]
    assert view_document["mass_share_ppm"] == 1000000
    for layer in LAYERS:
        rows = unpack(data[f"layer.{layer}.packed"], HEADS * NBQ, 16)
        flat = [entry for row in rows for entry in row]
        assert np.array_equal(np.cumsum([0, *map(len, rows)]), tensors[f"layer.{layer}.indptr"])
        assert [c for c, _ in flat] == tensors[f"layer.{layer}.indices"].tolist()
        assert [m for _, m in flat] == tensors[f"layer.{layer}.mass"].astype(float).tolist()
    assert data["text"].tobytes() == tensors["text"].tobytes()


def size_with(folder, share):
    """Bytes of a page with so much of the data's size left for data."""
    html = (folder / "t.html").read_text()
    data = len(re.search(r'id="data">([^<]*)</script>', html).group(1))
    return len(html.encode()) - data + int(share * data)


@pytest.mark.parametrize("share", [0.6, 0.4, 0.2])
def test_coarser_until_it_fits(made, share):
    folder, tensors = made
    max_bytes = size_with(folder, share)
    page = folder / f"{max_bytes}.html"
    done = view(folder / "t.trace", page, "--routes", folder / "routes.json", "--max-bytes", str(max_bytes), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["bytes"] == page.stat().st_size <= max_bytes
    data, meta = data_of(page)
    geometry, document = meta["geometry"], meta["view"]
    fold = geometry["bq"] // BQ
    assert geometry["bk"] == fold * BK
    nbq, nbk = -(-NBQ // fold), -(-NBK // fold)
    kept, total = 0.0, 0.0
    for layer in LAYERS:
        rows = unpack(data[f"layer.{layer}.packed"], HEADS * nbq, document["mass_bits"])
        weight = np.minimum(N_TOK - np.arange(NBQ) * BQ, BQ)
        for head, m in enumerate(dense(tensors, layer, NBQ, NBK, HEADS)):
            total += m.sum()
            for b in range(nbq):
                part = slice(b * fold, min(NBQ, (b + 1) * fold))
                mean = (m[part] * weight[part, None]).sum(0) / weight[part].sum()
                want = np.pad(mean, (0, nbk * fold - NBK)).reshape(nbk, fold).sum(1).astype(np.float16).astype(float)
                want[want < geometry["mass_floor"]] = 0
                got = dict(rows[head * nbq + b])
                kept += want.sum() * (part.stop - part.start)
                assert set(got) >= set(np.flatnonzero(want)), (layer, head, b)
                for c, x in got.items():
                    assert np.sqrt(x) == pytest.approx(
                        np.sqrt(want[c]), abs=2e-3 if document["mass_bits"] == 8 else 2e-4
                    )
    assert document["mass_share_ppm"] / 1e6 == pytest.approx(kept / total, abs=2e-3)
    assert share > 0.3 or fold > 1


def test_too_small_is_refused(made):
    folder, _ = made
    done = view(folder / "t.trace", folder / "no.html", "--routes", folder / "routes.json",
                "--max-bytes", str(size_with(folder, 0.03)))
    assert done.returncode == 1 and "does not fit" in done.stderr
    assert not (folder / "no.html").exists() and not (folder / "no.html.tmp").exists()


def test_long_tokens_are_cut(tmp_path):
    pieces = [b"a"] * 64
    pieces[5] = b"x" * 10_000_000
    make_trace(tmp_path / "t.trace", 64, pieces=pieces)
    assert view(tmp_path / "t.trace", tmp_path / "t.html", "--max-bytes", "1000000").returncode == 0
    assert (tmp_path / "t.html").stat().st_size <= 1000000
    data, meta = data_of(tmp_path / "t.html")
    most = meta["view"]["piece_max_bytes"]
    assert data["text"].tobytes() == b"a" * 5 + b"x" * most + b"a" * 58


def test_policy_and_nothing_from_outside(made):
    folder, _ = made
    html = (folder / "t.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1)
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy and "unsafe" not in policy
    for tag in ('script type="module"', "style"):
        text = re.search(rf"<{tag}>(.*?)</{tag.split()[0]}>", html, re.S).group(1)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    addresses = set(re.findall(r"https?://[^\"'\s<]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg"}, addresses
    assert not re.search(r"<(link|iframe|img|object|embed)\b|\ssrc=", html)


@pytest.mark.parametrize("spoil", ["empty", "foreign", "cut", "version"])
def test_files_that_are_no_trace(made, tmp_path, spoil):
    folder, _ = made
    good = (folder / "t.trace").read_bytes()
    bad = {
        "empty": b"",
        "foreign": b"GIF89a" + bytes(5000),
        "cut": good[: len(good) // 2],
        "version": good.replace(b'"format_version":"1"', b'"format_version":"9"'),
    }[spoil]
    (tmp_path / "bad").write_bytes(bad)
    for way in (["-o", tmp_path / "x.html"], ["--serve", "0"]):
        done = subprocess.run(
            [CLI, "view", tmp_path / "bad", *way], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 1 and done.stderr.startswith("sparsetrace: ") and done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert not (tmp_path / "x.html").exists()
