#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains a tagger on labelled traces and writes the one file that `sparsetrace reason --tagger` and
st_tagger_open read.

  python tools/reason/train_tagger.py labelled.jsonl -o my-tagger.safetensors [--evaluate]

labelled.jsonl has one trace a line: {"sentences": [{"text": "...", "tags": ["..."]}, ...]}, and may have "id",
"problem" (traces of one problem are held out together) and "is_correct" (for the score). The first tag of a
sentence counts. The taxonomy is every tag that occurs at least --least times, or --tags A,B,...; sentences
with other tags train as nothing: they keep their place with the tag before them. With --hidden FILE (.npz or
.safetensors, one array [n_sentence, d] a trace, under its id or as "trace.<line from 0>") the tagger reads
hidden states as well, and wants them when it runs; `sparsetrace reason -m MODEL --layer N --hidden FILE` writes them.

Packages: tools/reason/requirements.txt. One thread, about a minute for 4,000 sentences; --evaluate takes as
many times that as there are problems, and prints what docs/method/reasoning.md reports.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import crf
import measures
import numpy as np
import phases
import scipy.sparse
import text_features
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


class Trace:
    def __init__(self, line, i):
        self.id = line.get("id", f"trace.{i}")
        self.problem = str(line.get("problem", self.id))
        self.correct = line.get("is_correct")
        self.texts = [s["text"].encode("utf-8", "replace") for s in line["sentences"]]
        self.names = [first_tag(s) for s in line["sentences"]]
        self.hidden = None


def first_tag(sentence):
    tags = sentence.get("tags", sentence.get("function_tags", []))
    return tags if isinstance(tags, str) else tags[0] if tags else "unknown"


def read_traces(path):
    traces = []
    with open(path, encoding="utf-8") as f:
        for n, line in enumerate(f):
            if line.strip():
                try:
                    traces.append(Trace(json.loads(line), n))
                except (ValueError, KeyError, TypeError) as e:
                    sys.exit(f"{path}: line {n + 1}: {type(e).__name__}: {e}")
    return [t for t in traces if t.texts]


def read_hidden(path, traces):
    """Gives the traces their hidden states; returns what the file says of where they come from."""
    meta = {}
    if path.endswith(".npz"):
        arrays = dict(np.load(path))
    else:
        arrays = load_file(path)
        with safe_open(path, "np") as f:
            meta = f.metadata() or {}
    for i, t in enumerate(traces):
        x = arrays.get(t.id, arrays.get(f"trace.{i}"))
        if x is None or len(x) != len(t.texts):
            have = "no array" if x is None else f"{len(x)} rows"
            sys.exit(f"{path}: {t.id} has {len(t.texts)} sentences and {have}")
        t.hidden = x.reshape(len(x), -1).astype(np.float64)
    return meta


def choose_taxonomy(traces, option, least):
    if option:
        return option.split(",")
    count = {}
    for t in traces:
        for name in t.names:
            count[name] = count.get(name, 0) + 1
    names = [n for n in count if count[n] >= least and n != "unknown"]
    if set(names) == set(phases.TAGS):
        return phases.TAGS
    return sorted(names)


def label(trace, taxonomy):
    """Indices into the taxonomy; a tag outside takes the one before it, at the start the first known one."""
    known = [taxonomy.index(n) if n in taxonomy else None for n in trace.names]
    last = next((k for k in known if k is not None), 0)
    out = []
    for k in known:
        last = last if k is None else k
        out.append(last)
    return np.array(out)


# ---- the model ----------------------------------------------------------------------------------------------------


def choose_keys(traces, spread):
    problems = {}
    for t in traces:
        for row in t.values:
            for key in row:
                problems.setdefault(key, set()).add(t.problem)
    spread = min(spread, len({t.problem for t in traces}))
    return sorted(k for k, p in problems.items() if len(p) >= spread)


class Model:
    """A fitted tagger, quantised as in its file, so that what is measured is what is shipped. It knows the
    features that traces of enough different problems have: words of one problem teach nothing of the next."""

    def __init__(self, traces, tags, options):
        self.keys = choose_keys(traces, options.spread)
        text = scipy.sparse.vstack([text_features.matrix(t.values, self.keys) for t in traces]).tocsr()
        self.mean = self.scale = hidden = None
        if traces[0].hidden is not None:
            hidden = np.concatenate([t.hidden for t in traces])
            self.mean, self.scale = hidden.mean(axis=0), 1 / (hidden.std(axis=0) + 1e-6)
            hidden = (hidden - self.mean) * self.scale
        w, self.v, self.step, self.start = crf.fit(
            text,
            hidden,
            np.concatenate(tags),
            [len(t.texts) for t in traces],
            options.n_tag,
            options.l2,
            options.l2_hidden,
            n_iter=options.iterations,
        )
        self.w_scale = np.maximum(np.abs(w).max(axis=0), 1e-9) / 127
        self.w = np.rint(w / self.w_scale).astype(np.int8)

    def prob(self, trace):
        score = text_features.matrix(trace.values, self.keys) @ (self.w * self.w_scale)
        if self.v is not None:
            score = score + (trace.hidden - self.mean) * self.scale @ self.v
        return crf.marginals(score, self.step, self.start)


# ---- evaluation ---------------------------------------------------------------------------------------------------


def hold_out(traces, tags, options):
    """Leave one problem out: for each trace the probabilities of a model that saw no trace of its problem."""
    prob = [None] * len(traces)
    for problem in sorted({t.problem for t in traces}):
        rest = [i for i, t in enumerate(traces) if t.problem != problem]
        if not rest:
            sys.exit("--evaluate wants at least two problems")
        model = Model([traces[i] for i in rest], [tags[i] for i in rest], options)
        for i, t in enumerate(traces):
            if t.problem == problem:
                prob[i] = model.prob(t)
        print(f"held out {problem}", file=sys.stderr, flush=True)
    return prob


def f1_scores(truth, found, n):
    hit = np.array([((truth == k) & (found == k)).sum() for k in range(n)])
    n_truth, n_found = (np.bincount(x, minlength=n) for x in (truth, found))
    return hit / np.maximum(1, n_truth), hit / np.maximum(1, n_found), 2 * hit / np.maximum(1, n_truth + n_found)


def interval(values_by_problem, statistic, n_draw=2000):
    """95 % interval by drawing problems with replacement (seed 0)."""
    rng, keys = np.random.default_rng(0), sorted(values_by_problem)
    draws = []
    for _ in range(n_draw):
        chosen = [v for k in rng.choice(len(keys), len(keys)) for v in values_by_problem[keys[k]]]
        draws.append(statistic(chosen))
    return [round(float(x), 3) for x in np.nanpercentile(draws, [2.5, 97.5])]


def by_problem(traces, values):
    out = {}
    for t, v in zip(traces, values):
        out.setdefault(t.problem, []).append(v)
    return out


def report_tags(traces, tags, prob, taxonomy):
    pairs = [(t, p.argmax(axis=1)) for t, p in zip(tags, prob)]
    truth, found = (np.concatenate(x) for x in zip(*pairs))

    def accuracy(ps):
        return np.concatenate([a == b for a, b in ps]).mean()

    def macro(ps):
        a, b = (np.concatenate(x) for x in zip(*ps))
        return f1_scores(a, b, len(taxonomy))[2].mean()

    groups = by_problem(traces, pairs)
    recall, precision, f1 = f1_scores(truth, found, len(taxonomy))
    print(f"tags: accuracy {accuracy(pairs):.3f} {interval(groups, accuracy)}, macro-F1 {macro(pairs):.3f}", end=" ")
    print(f"{interval(groups, macro)} (95 % over problems), {len(truth)} sentences, {len(groups)} problems")
    print(f"{'':24s} {'n':>5s} recall prec.    F1")
    for k, name in enumerate(taxonomy):
        print(f"{name:24s} {(truth == k).sum():5d} {recall[k]:6.2f} {precision[k]:5.2f} {f1[k]:5.2f}")
    print("confusion (row: label, column: found)")
    for k, name in enumerate(taxonomy):
        row = " ".join(f"{((truth == k) & (found == j)).sum():5d}" for j in range(len(taxonomy)))
        print(f"{name:24s} {row}")


def report_phases(traces, tags, prob, tag_prior):
    rows = []
    for problem in sorted({t.problem for t in traces}):
        model = phases.fit([tags[i] for i, t in enumerate(traces) if t.problem != problem])
        for i, t in enumerate(traces):
            if t.problem == problem:
                gold = phases.best_path(model, phases.likelihood(model, np.eye(8)[tags[i]], tag_prior))
                ours = phases.best_path(model, phases.likelihood(model, prob[i], tag_prior))
                guess = np.full(len(gold), np.bincount(gold).argmax())
                rows.append((t.problem, gold, ours, guess))

    def f1(pairs):
        m, a, b = (sum(x) for x in zip(*(phases.boundary_f1(g, o) for g, o in pairs)))
        return 2 * m / max(1, a + b)

    def cover(pairs):
        return sum(len(g) * phases.overlap(g, o) for g, o in pairs) / sum(len(g) for g, _ in pairs)

    def same(pairs):
        return np.concatenate([g == o for g, o in pairs]).mean()

    groups = {}
    for problem, g, o, _ in rows:
        groups.setdefault(problem, []).append((g, o))
    pairs = [(g, o) for _, g, o, _ in rows]
    one = [(g, x) for _, g, _, x in rows]
    print("phases against those of the labels, same model of phases:")
    print(f"  boundary F1 (within 2 sentences) {f1(pairs):.3f} {interval(groups, f1)}")
    print(f"  segment overlap {cover(pairs):.3f} {interval(groups, cover)} (one phase throughout: {cover(one):.3f})")
    print(f"  sentences in the same phase {same(pairs):.3f} {interval(groups, same)} (one phase: {same(one):.3f})")
    n_gold, n_ours = (sum(len(phases.segments(p[k])) for p in pairs) for k in (0, 1))
    print(f"  segments: {n_gold} by the labels, {n_ours} found")


def predicted_names(prob, taxonomy):
    return [[taxonomy[k] for k in p.argmax(axis=1)] for p in prob]


def report_score(traces, prob, taxonomy):
    use = [i for i, t in enumerate(traces) if t.correct is not None]
    names = predicted_names(prob, taxonomy)
    found = [measures.measure(traces[i].texts, names[i]) for i in use]
    x, correct = measures.table(found), np.array([traces[i].correct for i in use])
    held = np.zeros(len(use))
    for problem in {traces[i].problem for i in use}:
        out = np.array([traces[i].problem == problem for i in use])
        held[out] = measures.score(measures.fit_score(x[~out], correct[~out]), x[out])
    rows = {"score, held out": held, "length": x[:, 0], "number of doubts": [m["n_doubt"] for m in found]}
    for k, name in enumerate(measures.MEASURES[1:], 1):
        rows[name] = np.nan_to_num(x[:, k])
    print(f"correct or not, {len(use)} traces, {correct.sum()} correct: AUROC (0.5: chance)")
    for name, value in rows.items():
        data = {}
        for i, c, v in zip(use, correct, value):
            data.setdefault(traces[i].problem, []).append((c, v))
        at = measures.auroc(correct, value)
        print(f"  {name:18s} {at:.2f} {interval(data, lambda d: measures.auroc(*zip(*d)))}")
    return x, correct


# ---- the file -----------------------------------------------------------------------------------------------------


def write(path, model, taxonomy, phase_model, tag_prior, score_model, recipe):
    tensors = {
        "text.key": np.array(model.keys, np.uint32),
        "text.weight": model.w,
        "text.scale": model.w_scale,
        "step": model.step,
        "start": model.start,
    }
    if model.v is not None:
        tensors |= {"hidden.weight": model.v, "hidden.mean": model.mean, "hidden.scale": model.scale}
    if phase_model is not None:
        start, step, table = phase_model
        tensors |= {"phase.start": np.log(start), "phase.step": np.log(step), "phase.tag": table}
        tensors["phase.prior"] = tag_prior
    if score_model is not None:
        tensors |= dict(zip(("score.mean", "score.scale", "score.weight", "score.bias"), score_model))
    tensors = {
        k: np.ascontiguousarray(v if v.dtype in (np.int8, np.uint32) else v.astype(np.float32))
        for k, v in tensors.items()
    }
    meta = {
        "format": "sparsetrace-tagger",
        "format_version": "1",
        "tags": json.dumps(taxonomy),
        "recipe": json.dumps(recipe),
    }
    if model.v is not None:
        meta["hidden_layer"] = str(recipe["layer"])
        meta["hidden_model"] = recipe["model"]
    save_file(tensors, path, meta)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("labelled")
    p.add_argument("-o", "--output")
    p.add_argument("--hidden", help="hidden states of the sentences, .npz or .safetensors")
    p.add_argument("--model", help="general.name of the model they come from (the file says)")
    p.add_argument("--layer", type=int, help="the layer they come from (the file says)")
    p.add_argument("--tags", help="the taxonomy: names with commas between")
    p.add_argument("--least", type=int, default=5, help="a tag occurs this often, else it is left out (5)")
    p.add_argument("--spread", type=int, default=2, help="a feature occurs in traces of this many problems (2)")
    p.add_argument("--kinds", default="".join(text_features.VALUE), help="kinds of text features, e.g. p (all)")
    p.add_argument("--l2", type=float, default=5.0, help="penalty of text weights (5)")
    p.add_argument("--l2-hidden", type=float, default=1500.0, help="penalty of hidden weights (1500)")
    p.add_argument("--iterations", type=int, default=60, help="of L-BFGS-B (60)")
    p.add_argument("--evaluate", action="store_true", help="leave one problem out, print the figures")
    p.add_argument("--probabilities", help="with --evaluate: keep the held-out probabilities here (.npz)")
    options = p.parse_args()
    if not options.output and not options.evaluate:
        p.error("nothing to do: give -o FILE, --evaluate, or both")
    return options


def main():
    options = parse()
    traces = read_traces(options.labelled)
    if not traces:
        sys.exit(f"{options.labelled}: no trace with sentences")
    meta = {}
    if options.hidden:
        meta = read_hidden(options.hidden, traces)
        options.layer = int(meta.get("layer", -1)) if options.layer is None else options.layer
        options.model = options.model or meta.get("model", "")
        if options.layer < 0 or not options.model:
            sys.exit(f"{options.hidden} does not say its model and layer: give --model NAME --layer N")
    taxonomy = choose_taxonomy(traces, options.tags, options.least)
    if not 1 <= len(taxonomy) <= 64:
        sys.exit(f"the taxonomy has {len(taxonomy)} tags, must be 1 to 64")
    options.n_tag = len(taxonomy)
    tags = [label(t, taxonomy) for t in traces]
    for t in traces:
        t.values = text_features.values_of_trace(t.texts, options.kinds)
    tag_prior = np.bincount(np.concatenate(tags), minlength=len(taxonomy)) + 1.0
    tag_prior /= tag_prior.sum()
    known = taxonomy == phases.TAGS
    score_model = None
    if options.evaluate:
        prob = hold_out(traces, tags, options)
        report_tags(traces, tags, prob, taxonomy)
        if options.probabilities:
            np.savez_compressed(options.probabilities, **{f"trace.{i}": p for i, p in enumerate(prob)})
        if known:
            report_phases(traces, tags, prob, tag_prior)
        if known and len({t.correct for t in traces} & {True, False}) == 2:
            score_model = measures.fit_score(*report_score(traces, prob, taxonomy))
    if options.output:
        model = Model(traces, tags, options)
        recipe = {
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "labels_sha256": hashlib.sha256(Path(options.labelled).read_bytes()).hexdigest(),
            "n_trace": len(traces),
            "n_sentence": int(sum(len(t.texts) for t in traces)),
            "kinds": options.kinds,
            "spread": options.spread,
            "l2": options.l2,
            "l2_hidden": options.l2_hidden if options.hidden else None,
            "iterations": options.iterations,
            "model": options.model,
            "attention": meta.get("attention"),
            "layer": options.layer,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        }
        phase_model = phases.fit(tags) if known else None
        write(options.output, model, taxonomy, phase_model, tag_prior, score_model, recipe)
        print(f"{options.output}: {Path(options.output).stat().st_size} bytes, tags {', '.join(taxonomy)}")


if __name__ == "__main__":
    main()
