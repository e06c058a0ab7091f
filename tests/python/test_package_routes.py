# SPDX-License-Identifier: MIT
"""Trace.routes and Trace.find against the program's `route --json`, and groups of tokens recorded by hf.trace against
transformers' own attention weights: the thought-anchors definitions by NumPy and SciPy alone."""

import json
import os
import subprocess

import numpy as np
import pytest
import scipy.stats

import sparsetrace as sp
import sparsetrace.hf as hf
import torch
from test_package_attention import ids, make

CLI = os.environ["ST_CLI"]


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """A small random model over 200 tokens, each a word of its own."""
    return hf.trace(
        make("llama"), ids(200), tmp_path_factory.mktemp("r") / "r.trace", k=9, bq=8, bk=4, tokenizer=Words()
    )


class Words:
    """A tokenizer as far as a text is made of tokens: token i is " w<i>"."""

    added_tokens_decoder = {}

    def convert_ids_to_tokens(self, tokens):
        return [f"\u2581w{i}" for i in tokens]


def program(trace, *more):
    done = subprocess.run([CLI, "route", trace.path, *more, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def same(got, want):
    assert got.flow == pytest.approx(want["flow"], rel=1e-6) and got.flow > 0
    assert [h[:2] for h in got.heads[: len(want["heads"])]] == [(h["layer"], h["head"]) for h in want["heads"]]
    assert [h[2] for h in got.heads[: len(want["heads"])]] == pytest.approx([h["share"] for h in want["heads"]], rel=1e-6)
    for mine, theirs in zip(got.layers, want["layers"], strict=True):
        assert mine == pytest.approx([theirs[x] for x in ("layer", "at_source", "between", "at_target")], rel=1e-6)
    for mine, theirs in zip(got.routes, want["routes"], strict=True):
        assert mine.weight == pytest.approx(theirs["weight"], rel=1e-6)
        for hop, h in zip(mine.hops, theirs["hops"], strict=True):
            assert (hop.layer, hop.head) == (h["layer"], h["head"])
            assert hop.query == (h["query"]["begin"], h["query"]["end"])
            assert hop.key == (h["key"]["begin"], h["key"]["end"])
            assert (hop.mass, hop.weight) == pytest.approx((h["mass"], h["weight"]), rel=1e-6)


def test_routes_are_the_programs(trace):
    same(trace.routes((40, 52), n=5), program(trace, "--from", "40:52", "--top", "5"))
    same(trace.routes((40, 52), (100, 104), 3), program(trace, "--from", "40:52", "--to", "100:104", "--top", "3"))
    best = trace.routes((40, 52), n=1).heads[0][:2]
    only = trace.routes((40, 52), n=5, heads=[best])
    same(only, program(trace, "--from", "40:52", "--top", "5", "--heads", f"{best[0]}.{best[1]}"))
    assert {(h.layer, h.head) for r in only.routes for h in r.hops} == {best}
    assert trace.routes((40, 52), n=0).routes == ()
    assert trace.routes((0, 4)).flow == 0 < trace.routes((0, 4), sink=True).flow


def test_passages_by_their_text(trace):
    word = f" w{trace.tokens[77]} w{trace.tokens[78]}"
    assert trace.find(word) == (77, 79) and trace.text_of(word) == word
    np.testing.assert_array_equal(trace.who_reads(word), trace.who_reads((77, 79)))
    same(trace.routes(word, n=5), program(trace, "--from", "77:79", "--top", "5"))
    assert trace.find(" w", 3) == (2, 3)


@pytest.mark.parametrize(
    "use, error, word",
    [
        (lambda t: t.routes((150, 160), (10, 20)), ValueError, "behind"),
        (lambda t: t.routes((10, 12), heads=[]), ValueError, "empty"),
        (lambda t: t.routes((10, 12), heads=[(1, 77)]), ValueError, "77"),
        (lambda t: t.routes((10, 12), n=1001), ValueError, "n is 1001"),
        (lambda t: t.routes((10, 12), n=1.5), TypeError, "n is"),
        (lambda t: t.find(" w"), ValueError, "200"),
        (lambda t: t.find("nowhere"), ValueError, "nowhere|occur"),
        (lambda t: t.find(""), ValueError, "no text"),
        (lambda t: t.find("w", -1), ValueError, "which"),
    ],
)
def test_wrong_questions_are_named(trace, use, error, word):
    with pytest.raises(error, match=word):
        use(trace)


# ---- groups ----------------------------------------------------------------------------------------------------------

SPANS = np.array([(0, 7), (7, 8), (9, 30), (30, 41), (41, 66), (66, 70), (72, 90), (90, 101), (101, 119)])


def weights_between(weights, spans):
    """[S, S] of one head's [n, n]: mean over the rows of i and the columns of j."""
    return np.array([[weights[a:b, c:d].mean() for c, d in spans] for a, b in spans])


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_groups_are_means_of_attention_weights(kind):
    """With everything kept, over several chunks that cut groups, pruned and exact layers alike."""
    model, tokens = make(kind), ids(120)
    trace = hf.trace(model, tokens, k=10_000, bq=8, bk=4, chunk=48, groups=SPANS, precise=True)
    trace.validate()
    np.testing.assert_array_equal(trace.groups.spans, SPANS)
    with torch.no_grad():
        weights = [w[0].double().numpy() for w in model(input_ids=tokens, output_attentions=True).attentions]
    score, kurtosis = {}, {}
    for layer in trace.layers:
        for head in trace.heads[layer]:
            a = weights_between(weights[layer][head], SPANS)
            np.testing.assert_allclose(trace.groups.matrix(layer, head), np.tril(a), atol=1e-5)
            a[np.triu_indices(len(a), 1)] = np.nan
            a[np.abs(np.subtract.outer(range(len(a)), range(len(a)))) < 4] = np.nan
            score[layer, head] = np.array([np.nanmean(c) if np.isfinite(c).any() else np.nan for c in a.T])
            kurtosis[layer, head] = scipy.stats.kurtosis(score[layer, head], nan_policy="omit")
    best = sorted(kurtosis, key=lambda at: -np.nan_to_num(kurtosis[at], nan=-9))[:4]
    got = trace.groups.receivers(4)
    assert [r.kurtosis for r in got] == pytest.approx([kurtosis[at] for at in best], abs=2e-3)
    want = np.mean([score[r.layer, r.head] for r in got], 0)
    np.testing.assert_allclose(trace.groups.scores(got), want, atol=1e-5)


def test_what_pruning_hid_is_weighed(monkeypatch):
    """Sparse: vertical scores are nearer to those of exact attention than what the kept blocks alone give."""
    model, tokens, select = make("llama"), ids(120), sp._core.select
    with torch.no_grad():
        weights = model(input_ids=tokens, output_attentions=True).attentions[0][0].double().numpy()
    far = {}
    for alone in (False, True):
        if alone:
            monkeypatch.setattr(sp._core, "select", lambda *args, groups, **more: select(*args, **more))
        trace = hf.trace(model, tokens, k=5, bq=8, bk=4, groups=SPANS, layers=[0], precise=True)
        far[alone] = 0.0
        for head in range(6):
            a = weights_between(weights[head], SPANS)
            want = [a[j + 4 :, j].mean() for j in range(len(a) - 4)]
            far[alone] += np.abs(trace.groups.vertical(0, head)[:-4] - want).sum()
    assert far[False] < 0.4 * far[True], far


def test_sentences():
    text = "One is here. Two?\n\nThree is a long one! x"
    spans = sp.sentences(text)
    assert [text[a:b] for a, b in spans] == ["One is here.", "Two?\n\nThree is a long one! x"]
    assert [text[a:b] for a, b in sp.sentences(text, "lines")] == ["One is here. Two?", "Three is a long one! x"]
    assert len(sp.sentences(text, regex=" is ")) == 3 and sp.sentences("").shape == (0, 2)
    assert sp.sentences("é" * 12 + ". " + "é" * 12 + ".").tolist() == [[0, 25], [26, 51]]
    with pytest.raises(ValueError, match="words"):
        sp.sentences(text, "words")
    with pytest.raises(sp.ArgumentError, match="expression"):
        sp.sentences(text, regex="(")


def test_groups_that_are_refused(tmp_path):
    model, tokens = make("llama"), ids(40)
    for groups, error, word in (
        ("words", ValueError, "sentences"),
        ("sentences", ValueError, "tokenizer"),
        ([(0, 5), (4, 8)], ValueError, "1"),
        ([(0, 41)], ValueError, "group"),
        ([], ValueError, "shape|empty"),
        ([(0, 1.5)], TypeError, "groups"),
        (np.zeros((2, 3), int), ValueError, "groups has the shape"),
    ):
        with pytest.raises(error, match=word):
            hf.trace(model, tokens, tmp_path / "x", k=6, bq=8, bk=4, groups=groups)
    assert not list(tmp_path.iterdir())
