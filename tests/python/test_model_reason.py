# SPDX-License-Identifier: MIT
"""`sparsetrace reason -m MODEL`: one run gives hidden states, surprise and sentence matrices; what it says of them
against NumPy and SciPy over the trace that it keeps."""
import csv
import io
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import scipy.stats
from safetensors import safe_open
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLI, MODEL = os.environ["ST_CLI"], os.environ["ST_SMOLLM2"]
TAGGER = ROOT / "src/reason/tagger_smollm2_135m.safetensors"
TEXT = "First we add two and two. That gives us four in all. Let me check this once more. So the answer is four."
GOLDEN = ROOT / "tests/golden/reason_trace/data/traces.jsonl"
NEAR, HEADS, ANCHORS = 4, 20, 5


def reason(*args, code=0):
    run = subprocess.run([CLI, "reason", *map(str, args), "--quiet"], capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    return run.stdout if code == 0 else run.stderr


# ---- hidden states ------------------------------------------------------------------------------------------------


def hidden(tmp_path, text, *args):
    (tmp_path / "in.txt").write_text(text)
    out = tmp_path / "out.safetensors"
    reason("-f", tmp_path / "in.txt", "-m", MODEL, "--layer", 20, "--hidden", out, *args)
    with safe_open(out, "np") as f:
        assert f.metadata()["layer"] == "20" and f.metadata()["model"].startswith("Smollm2 135M")
    return load_file(out)["trace.0"]


def test_hidden_states_see_the_past_alone(tmp_path):
    """A sentence's states do not change with the text after it. (They are not those of another sentence, either.)"""
    whole = hidden(tmp_path, TEXT, "--k", 1000)
    start = hidden(tmp_path, TEXT[: TEXT.index(" Let me")], "--k", 1000)
    assert whole.shape == (4, 2 * 576) and start.shape == (2, 2 * 576)
    spread = np.abs(whole[0] - whole[1]).mean()
    assert np.abs(whole[:2] - start).mean() < 0.05 * spread


def test_last_token_is_a_part_of_the_mean(tmp_path):
    """A line of one token: its mean is its last token."""
    x = hidden(tmp_path, "yes\nFirst we add two and two\nno\n", "--split", "newline").reshape(3, 2, 576)
    assert np.array_equal(x[0, 0], x[0, 1]) and np.array_equal(x[2, 0], x[2, 1])
    assert not np.allclose(x[1, 0], x[1, 1], atol=0.1)


# ---- whole traces -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """What was printed, and the files that were kept."""
    folder = tmp_path_factory.mktemp("traces") / "kept"
    lines = reason("--jsonl", GOLDEN, "-m", MODEL, "-o", folder, "--json").split("\n")
    files = sorted(folder.iterdir())
    assert [f.name for f in files] == [f"line-{i:06d}.trace" for i in (1, 2, 3)]
    return [(json.loads(a), f) for a, f in zip(lines, files, strict=False)]


def test_tagger_over_hidden_states(traces):
    """It was trained on these traces: states or weights out of place would show."""
    labels = [json.loads(x) for x in GOLDEN.read_text(encoding="utf-8").split("\n") if x]
    truth = [s["tags"][0] for t in labels for s in t["sentences"]]
    found = [s["tag"] for t, _ in traces for s in t["sentences"]]
    assert all(t["tagger"].startswith("Smollm2 135M") for t, _ in traces)
    assert len(truth) == len(found)
    assert np.mean([a == b for a, b in zip(truth, found, strict=True)]) > 0.75


def test_document_is_what_was_printed(traces):
    for printed, path in traces:
        with safe_open(path, "np") as f:
            kept = json.loads(f.metadata()["reasoning"])
        assert kept == printed and kept["version"] == 1
        assert subprocess.run([CLI, "check", path], capture_output=True, check=False).returncode == 0


def test_sentences_are_the_groups(traces):
    for t, path in traces:
        with safe_open(path, "np") as f:
            groups, ptr, text = (f.get_tensor(x) for x in ("groups", "piece_ptr", "text"))
        assert len(groups) == len(t["sentences"])
        for (a, b), s in zip(groups, t["sentences"], strict=True):
            assert s["text"].strip() in bytes(text[ptr[a] : ptr[b]]).decode("utf-8", "replace")


def test_one_run_pruned(traces):
    for t, _ in traces:
        assert 0.97 <= t["run"]["pruned"] < 0.971 and 0.3 < t["run"]["recall"] <= 1


def test_query_blocks_by_what_is_kept(tmp_path):
    """Blocks of 4 tokens; of 1 where a share leaves a row fewer than 40 keys in the mean (98 % and more: any length); as
    typed where typed."""
    line = json.loads(GOLDEN.read_text().splitlines()[0])
    (tmp_path / "in.txt").write_text(line["full_text"][:3000])
    out = tmp_path / "out.trace"
    for options, rows in (((), 1), (("--pruned", 0.8), 4), (("--block-q", 8), 8), (("--k", 32), 4)):
        reason("-f", tmp_path / "in.txt", "-m", MODEL, "-o", out, *options)
        with safe_open(out, "np") as f:
            geometry, n_tok = json.loads(f.metadata()["geometry"]), json.loads(f.metadata()["result"])["n_tok"]
            assert len(f.get_tensor("layer.3.cert_rows")) == 8
        assert 267 <= n_tok < 1066 and (geometry["bq"], geometry["bk"]) == (rows, 1), options


def matrices(path):
    """{(layer, head): A [S, S]}, token counts [S], whether sentence 0 has the first token."""
    out = {}
    with safe_open(path, "np") as f:
        groups = f.get_tensor("groups")
        n = len(groups)
        for layer in json.loads(f.metadata()["geometry"])["layers"]:
            name = f"layer.{layer['layer']}.group_"
            indptr = f.get_tensor(name + "indptr")
            a = np.zeros((layer["n_head"] * n, n))
            a[np.repeat(np.arange(len(a)), np.diff(indptr)), f.get_tensor(name + "indices")] = f.get_tensor(name + "mean")
            out |= {(layer["layer"], h): x for h, x in enumerate(a.reshape(layer["n_head"], n, n))}
    return out, groups[:, 1] - groups[:, 0], groups[0, 0] == 0


def vertical(a):
    n = len(a)
    return np.array([a[j + NEAR :, j].mean() if j + NEAR < n else np.nan for j in range(n)])


def test_receivers_and_anchors(traces):
    for t, path in traces:
        heads = matrices(path)[0]
        score = {h: vertical(a) for h, a in heads.items()}
        kurtosis = {h: scipy.stats.kurtosis(v, nan_policy="omit") for h, v in score.items()}
        best = sorted((h for h in kurtosis if np.isfinite(kurtosis[h])), key=lambda h: (-kurtosis[h], h))[:HEADS]
        named = [(h["layer"], h["head"]) for h in t["heads"]]  # of equals (one number above zero) any
        np.testing.assert_allclose([h["kurtosis"] for h in t["heads"]], [kurtosis[h] for h in named], rtol=1e-4)
        np.testing.assert_allclose([kurtosis[h] for h in named], [kurtosis[h] for h in best], rtol=1e-4)
        best = named
        receiver = np.mean([score[h] for h in best], axis=0)
        found = np.array([np.nan if s["receiver"] is None else s["receiver"] for s in t["sentences"]])
        np.testing.assert_allclose(found, receiver, rtol=1e-4)
        n = len(receiver)
        judged = receiver[: n - NEAR - min(20, n // 4) + 1]
        assert [a["sentence"] for a in t["anchors"]] == list(np.argsort(-judged, kind="stable")[:ANCHORS])
        assert np.isclose(t["quality"]["anchor_share"], np.sort(judged)[-ANCHORS:].sum() / judged.sum(), rtol=1e-4)
        mean = np.mean([heads[h] for h in best], axis=0)
        for a in t["anchors"]:
            j = a["sentence"]
            want = j + NEAR + np.argsort(-mean[j + NEAR :, j], kind="stable")[:3]
            want = want[mean[want, j] > 0]
            assert [r["sentence"] for r in a["readers"]] == list(want)
            np.testing.assert_allclose([r["mean"] for r in a["readers"]], mean[want, j], rtol=1e-4)


def numbers_are_new(texts):
    import re

    seen, new = set(), []
    for s in texts:
        found = set(re.findall(r"[0-9]+(?:\.[0-9]+)?", s))
        new.append(bool(found - seen))
        seen |= found
    return np.array(new)


def test_flow(traces):
    for t, path in traces:
        heads, width, has_first = matrices(path)
        mean, n, first = np.mean(list(heads.values()), axis=0), len(width), int(has_first)
        tag = np.array([s["tag"] for s in t["sentences"]])
        column = {k: np.array([np.nan if s[k] is None else s[k] for s in t["sentences"]], float)
                  for k in ("lean", "used", "dead", "jump", "surprise")}
        mass = mean * width
        lean = np.array([mass[i, first:i].sum() if i > first else np.nan for i in range(n)])
        np.testing.assert_allclose(column["lean"], lean, rtol=1e-4)
        used = np.full(n, np.nan)
        for i in range(n):
            end = i - NEAR + 1
            if end - first >= 10 and mass[i, first:end].sum() > 0:
                usual = mass[i, first:end].sum() / width[first:end].sum()
                used[first:end] = np.fmax(used[first:end], mean[i, first:end] / usual)
        np.testing.assert_allclose(column["used"], used, rtol=1e-4)
        dead = used < 2
        dead[[a["sentence"] for a in t["anchors"]]] = False
        assert np.array_equal(column["dead"], dead)
        assert np.isclose(t["quality"]["dead_share"], dead.sum() / (~np.isnan(used)).sum())
        claims = np.isin(tag, ["active_computation", "result_consolidation", "final_answer_emission"])
        claims &= numbers_are_new([s["text"] for s in t["sentences"]]) & ~np.isnan(lean)
        jump = claims & (lean < 0.75 * np.nanmedian(lean))
        assert np.array_equal(column["jump"], jump) and t["quality"]["n_claim"] == claims.sum()
        answer = tag == "final_answer_emission"
        if not answer.any():
            results = np.flatnonzero(tag == "result_consolidation")
            answer[results[-1] if len(results) else n - 1] = True
        flow, last = answer / answer.sum(), np.flatnonzero(answer)[-1]
        for i in range(last, first, -1):
            if lean[i] > 0:
                flow[first:i] += 0.5 * flow[i] * mass[i, first:i] / lean[i]
        before = (np.arange(n) >= first) & (np.arange(n) < last) & (tag != "final_answer_emission")
        works = np.isin(tag, ["active_computation", "self_checking"])
        assert np.isclose(t["quality"]["support"], flow[before & works].sum() / flow[before].sum(), rtol=1e-4)
        assert np.isclose(t["quality"]["support_base"], width[before & works].sum() / width[before].sum())
        cost = column["surprise"]
        assert np.isclose(t["quality"]["surprise"], (cost * width).sum() / width.sum(), rtol=1e-4)
        assert 0.5 < t["quality"]["surprise"] < 5


def test_csv(traces):
    rows = list(csv.DictReader(io.StringIO(reason("--jsonl", GOLDEN, "-m", MODEL, "--csv"))))
    want = [s for t, _ in traces for s in t["sentences"]]
    assert len(rows) == len(want)
    for row, s in zip(rows, want, strict=True):
        assert row["tag"] == s["tag"] and row["dead"] == str(int(s["dead"]))
        for k in ("receiver", "used", "lean", "surprise"):
            assert (row[k] == "") == (s[k] is None)
            assert s[k] is None or np.isclose(float(row[k]), s[k], rtol=1e-4)


def test_report(tmp_path):
    """Without -o nothing is left behind, and what is printed has it all."""
    (tmp_path / "in.txt").write_text(TEXT * 4)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = os.environ | {"TMPDIR": str(scratch)}
    run = subprocess.run([CLI, "reason", "-f", tmp_path / "in.txt", "-m", MODEL, "--quiet"], capture_output=True,
                         text=True, check=False, env=env)
    assert run.returncode == 0 and list(scratch.iterdir()) == []
    for word in ("receiver heads", "anchor ", "<- ", "dead ends", "surprise", "support", "pruned "):
        assert word in run.stdout, word


def test_short_traces(tmp_path):
    """One sentence, or none: nothing to compare, no failure."""
    for text in ("", "One sentence alone.", "One sentence here. And a second one."):
        (tmp_path / "in.txt").write_text(text)
        t = json.loads(reason("-f", tmp_path / "in.txt", "-m", MODEL, "--json"))
        assert t.get("anchors", []) == [] and t["quality"].get("support") is None


def test_nothing_to_keep(tmp_path):
    """No sentence, no trace: what stood there stays, and the exit code says so. Nor does a second part go over the text."""
    text, out = tmp_path / "in.txt", tmp_path / "out"
    for empty in ("", "<think></think> The answer is 4."):
        text.write_text(empty)
        out.write_text("old")
        assert f"no sentence in it: {out} is not written" in reason("-f", text, "-m", MODEL, "-o", out, code=1)
        assert out.read_text() == "old"
    two = tmp_path / "out-2"
    two.write_text("<think>One thought, then another one.</think> So. <think>A second time, to be sure of it.</think>")
    whole = two.read_text()
    assert "which it needs" in reason("-f", two, "-m", MODEL, "-o", out, code=1)
    assert two.read_text() == whole


def test_any_bytes(tmp_path):
    """The model reads a question mark for each byte that is no UTF-8: the same tokens, the same sentences."""
    column = {}
    for name, data in (("bytes", b"A \xff\xe2\x82 is broken here. Another \xc3\xa9 sentence here."),
                       ("marks", b"A ??? is broken here. Another \xc3\xa9 sentence here.")):
        (tmp_path / name).write_bytes(data)
        t = json.loads(reason("-f", tmp_path / name, "-m", MODEL, "--json", "--threads", 1))
        column[name] = [(s["begin"], s["end"], s["surprise"]) for s in t["sentences"]]
        assert t["sentences"][0]["text"] == "A " + ("\ufffd" if name == "bytes" else "?") * 3 + " is broken here."
    assert column["bytes"] == column["marks"] and len(column["bytes"]) == 2


def test_refused(tmp_path):
    (tmp_path / "in.txt").write_text(TEXT)
    at = ["-f", tmp_path / "in.txt"]
    assert "give -m MODEL" in reason(*at, "--tagger", TAGGER, code=2)
    assert "reads layer 20" in reason(*at, "--tagger", TAGGER, "-m", MODEL, "--layer", 7, code=2)
    assert "belong to -m MODEL" in reason(*at, "-o", tmp_path / "x", code=2)
    assert "two budgets" in reason(*at, "-m", MODEL, "--k", 9, "--pruned", 0.9, code=2)
    assert "--k auto" in reason(*at, "-m", MODEL, "--k", "auto", code=2)
    assert "layer is 29" in reason(*at, "-m", MODEL, "--layer", 29, "--hidden", tmp_path / "x", code=1)
    (tmp_path / "long.txt").write_text("One more of ten thousand sentences. " * 10000)
    assert "10000 sentences, with -m at most 4000" in reason("-f", tmp_path / "long.txt", "-m", MODEL, code=1)
    assert not (tmp_path / "x").exists()
