# SPDX-License-Identifier: MIT
"""Receiver heads, anchors and dependencies of real chains of thought: pruned runs beside the exact one.

usage: anchors.py SPARSETRACE MODEL TRACES.jsonl OUT.json [--limit N] [--pruned 0.97,0.98,0.99]
                  [--select stream,hip,window] [--blocks auto] [--spread "--pooled on --grow off"]
                  [--threads 1] [--jobs 1] [--work DIR [--report]]

TRACES.jsonl: one trace a line with "id", "full_text" and "sentences", a list of {"text", "depends_on",
"counterfactual_importance_kl", ...}. Needs numpy, scipy and safetensors.

For each pruned share, over all traces: Spearman's correlation of the receiver scores with the exact run's, how
many of the 20 receiver heads and of the 5 anchors are the same (means over traces; heads are found once for all
traces, as the method wants it). Dependencies: far edges (4 or more sentences apart) of `depends_on` against all
other far pairs; logistic models on distance alone and on distance and attention, trained without the problem they
are judged on. Anchors and the mean importance by tag stand beside the importances that others measured.

With --work the traces are kept and what is there already is not run again: an interrupted job goes on, and --report
says what there is so far, of the texts that have every run. Texts come in an order that mixes the problems;
--jobs of them run at a time.
"""
import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import scipy.optimize
import scipy.stats
from safetensors import safe_open

NEAR, HEADS, ANCHORS = 4, 20, 5


# ---- runs ----------------------------------------------------------------------------------------


def spans_of(text, sentences):
    """Byte spans of the labelled sentences that are found in order, and their numbers."""
    at = text.find("<think>") + len("<think>") if "<think>" in text else 0
    spans, numbers = [], []
    for number, sentence in enumerate(sentences):
        begin = text.find(sentence["text"], at)
        if begin < 0 or not sentence["text"]:
            continue
        at = begin + len(sentence["text"])
        first = len(text[:begin].encode())
        spans.append((first, first + len(sentence["text"].encode())))
        numbers.append(number)
    return spans, numbers


def run(args, folder, name, out, options):
    """Traces one text, unless it is there."""
    if out.exists():
        return
    command = [args.sparsetrace, "trace", "-m", args.model, "-f", folder / f"{name}.txt", "--groups",
               folder / f"{name}.spans", "-o", out, "--against", "none", "--rows=-1:", "--threads", args.threads,
               "--quiet", *options]
    done = subprocess.run([str(x) for x in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())


def result_of(path):
    with safe_open(path, "np") as f:
        return json.loads(f.metadata()["result"])


def run_pruned(args, folder, trace, method, pruned, out):
    bq, bk = blocks(args, trace, pruned)
    options = ["--pruned", pruned, "--select", method, "--block-q", bq, "--block-k", bk, "--cert-rows", 8]
    run(args, folder, trace["name"], out, options + (args.spread.split() if method == "stream" else []))


def blocks(args, trace, pruned):
    """auto: as sparsetrace reason takes them: 4 x 1, 1 x 1 at 98 % or where a row keeps fewer than 40 keys in the mean."""
    if args.blocks == "auto":
        return 1 if pruned >= 0.98 or (1 - pruned) * trace["n_tok"] < 80 else 4, 1
    return args.blocks.split("x")


def groups(args, files):
    done = subprocess.run([args.sparsetrace, "groups", *map(str, files), "--json", "--heads", str(HEADS)],
                          capture_output=True, text=True, check=True)
    out = json.loads(done.stdout)
    heads = [(h["layer"], h["head"]) for h in out["heads"]]
    scores = [np.array([np.nan if x is None else x for x in t["scores"]]) for t in out["traces"]]
    return heads, scores, [t["anchors"] for t in out["traces"]]


# ---- comparing -----------------------------------------------------------------------------------


def bootstrap(values, n=2000):
    values = np.asarray(values, float)
    draws = np.random.default_rng(0).choice(values, (n, len(values))).mean(1)
    return [round(float(x), 4) for x in (values.mean(), *np.percentile(draws, [2.5, 97.5]))]


def compare(exact, pruned):
    rho, same = [], []
    for e, p, ea, pa in zip(exact[1], pruned[1], exact[2], pruned[2]):
        ok = ~np.isnan(e) & ~np.isnan(p)
        r = scipy.stats.spearmanr(e[ok], p[ok])[0] if ok.sum() > 2 and np.ptp(p[ok]) > 0 else 0.0
        rho.append(r)
        same.append(len(set(ea) & set(pa)))
    return {"spearman": bootstrap(rho), "same_heads": len(set(exact[0]) & set(pruned[0])),
            "same_anchors": bootstrap(same)}


# ---- dependencies --------------------------------------------------------------------------------


def matrices(path):
    """[layers, H, S, S] mean attention from sentence to sentence."""
    with safe_open(path, "np") as f:
        geometry, n = json.loads(f.metadata()["geometry"]), len(f.get_tensor("groups"))
        layers = []
        for layer in geometry["layers"]:
            name = f"layer.{layer['layer']}.group_"
            indptr, indices = f.get_tensor(name + "indptr"), f.get_tensor(name + "indices")
            a = np.zeros((layer["n_head"] * n, n), np.float32)
            a[np.repeat(np.arange(len(a)), np.diff(indptr)), indices] = f.get_tensor(name + "mean")
            layers.append(a.reshape(layer["n_head"], n, n))
    return np.stack(layers)


SMOOTH = 0.5  # of a column, for pairs of which a pruned run knows nothing, as in src/analyse/dependency.h


def attention_features(path):
    """[S, S, F]: logarithms of the mean over heads, of its share of the column, and of the largest layer's mean."""
    a = matrices(path)
    n, floor = a.shape[-1], 1e-6
    vertical = np.stack([a[..., c + NEAR:, c].mean(-1) if c + NEAR < n else np.zeros(a.shape[:2]) for c in range(n)], -1)
    a += SMOOTH * vertical[:, :, None, :].astype(np.float32)
    mean, column = a.mean((0, 1)), vertical.mean((0, 1))
    return np.stack([np.log(mean + floor), np.log(mean + floor) - np.log(column + floor)[None, :],
                     np.log(np.sqrt(a).mean((0, 1)) + 1e-3), np.log(a.max(1).mean(0) + floor)], -1)


def far_pairs(n):
    i, j = np.indices((n, n))
    return np.nonzero(i - j >= NEAR)


def fit(x, y, ridge=1.0):
    """Logistic regression on standardised columns: weights and, last, the constant, for columns as they are."""
    mean, sd = x.mean(0), x.std(0) + 1e-9
    z = np.c_[(x - mean) / sd, np.ones(len(x))]

    def loss(w):
        s = z @ w
        p = 1 / (1 + np.exp(-s))
        value = np.logaddexp(0, s).sum() - (y * s).sum() + ridge * (w[:-1] ** 2).sum() / 2
        return value, z.T @ (p - y) + ridge * np.append(w[:-1], 0)

    w = scipy.optimize.minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    return np.append(w[:-1] / sd, w[-1] - (w[:-1] * mean / sd).sum())


def auroc(score, y):
    rank = scipy.stats.rankdata(score)
    p = y.sum()
    return (rank[y].sum() - p * (p + 1) / 2) / (p * (len(y) - p))


def average_precision(score, y):
    order = np.argsort(-score, kind="stable")
    hits = y[order]
    return (np.cumsum(hits) / np.arange(1, len(y) + 1))[hits].mean()


def dependencies(traces, features):
    """Leave one problem out; per-trace AUROC and AP on far pairs, of traces with a far edge."""
    data = []
    for t, f in zip(traces, features):
        i, j = far_pairs(len(t["numbers"]))
        data.append((np.log(i - j)[:, None], f[i, j], t["edges"][i, j]))
    out = {"distance": [], "both": [], "attention": []}
    for k, t in enumerate(traces):
        y = data[k][2]
        if not y.any():
            continue
        train = [d for d, o in zip(data, traces) if o["problem"] != t["problem"]]
        target = np.concatenate([d[2] for d in train])
        for name, pick in (("distance", lambda d: d[0]), ("attention", lambda d: d[1]),
                           ("both", lambda d: np.c_[d[0], d[1]])):
            w = fit(np.concatenate([pick(d) for d in train]), target)
            score = pick(data[k]) @ w[:-1] + w[-1]
            out[name].append((auroc(score, y), average_precision(score, y)))
    result = {name: {"auroc": bootstrap([x[0] for x in v]), "ap": bootstrap([x[1] for x in v])}
              for name, v in out.items()}
    result["gain_auroc"] = bootstrap([b[0] - d[0] for b, d in zip(out["both"], out["distance"])])
    result["gain_ap"] = bootstrap([b[1] - d[1] for b, d in zip(out["both"], out["distance"])])
    result["n_trace"] = len(out["both"])
    whole = np.concatenate([np.c_[d[0], d[1]] for d in data])
    result["weights"] = [float(f"{x:.4g}") for x in fit(whole, np.concatenate([d[2] for d in data]))]
    return result


# ---- the outside world ---------------------------------------------------------------------------

IMPORTANCE = ["counterfactual_importance_kl", "counterfactual_importance_accuracy", "resampling_importance_kl",
              "resampling_importance_accuracy"]
RARE = 2  # a trace's mean over a tag wants so many of its sentences


def outside(traces, scores):
    """Receiver scores beside measured importances: rank correlation, mean over traces; accuracy counts by its size."""
    result = {}
    for name in IMPORTANCE:
        rho = []
        for t, s in zip(traces, scores):
            x = np.abs(t["importance"][name]) if name.endswith("accuracy") else t["importance"][name]
            ok = ~np.isnan(s) & ~np.isnan(x)
            if ok.sum() > 2 and np.ptp(x[ok]) > 0:
                rho.append(scipy.stats.spearmanr(s[ok], x[ok])[0])
        if rho:
            result[name] = bootstrap(rho) + [len(rho)]
    return result


def by_tag(traces, scores):
    """Mean z-score within the trace of receiver scores and of importances, by tag, mean over traces."""
    columns = {"receiver": scores} | {name: [np.abs(t["importance"][name]) for t in traces] for name in IMPORTANCE}
    result = {}
    for name, values in columns.items():
        means = {}
        for t, x in zip(traces, values):
            ok = ~np.isnan(x) & ~np.isnan(scores[traces.index(t)])
            if ok.sum() < 3 or np.ptp(x[ok]) == 0:
                continue
            z = (x - x[ok].mean()) / x[ok].std()
            for tag in set(t["tags"]):
                use = ok & np.array([y == tag for y in t["tags"]])
                if use.sum() >= RARE:
                    means.setdefault(tag, []).append(z[use].mean())
        result[name] = {tag: bootstrap(v) + [len(v)] for tag, v in sorted(means.items())}
    return result


# ---- all of it -----------------------------------------------------------------------------------


def read_traces(path, limit):
    traces = []
    for line in open(path, encoding="utf-8"):
        if line.strip() and (limit is None or len(traces) < limit):
            record = json.loads(line)
            spans, numbers = spans_of(record["full_text"], record["sentences"])
            place = {number: i for i, number in enumerate(numbers)}
            edges = np.zeros((len(numbers),) * 2, bool)
            for number in numbers:
                for source in record["sentences"][number].get("depends_on") or []:
                    if source in place and source < number:
                        edges[place[number], place[source]] = True
            sentences = [record["sentences"][n] for n in numbers]
            importance = {name: np.array([np.nan if s.get(name) is None else s[name] for s in sentences], float)
                          for name in IMPORTANCE}
            traces.append({"name": f"t{len(traces)}", "text": record["full_text"], "spans": spans, "numbers": numbers,
                           "edges": edges, "problem": record.get("problem", record.get("id")),
                           "importance": importance, "tags": [(s.get("tags") or ["unknown"])[0] for s in sentences]})
    return traces


def mixed(traces):
    """One text of each problem, then the next of each: a part of the job is a picture of the whole."""
    seen, order = {}, []
    for k, t in enumerate(traces):
        seen[t["problem"]] = seen.get(t["problem"], -1) + 1
        order.append((seen[t["problem"]], k))
    return [traces[k] for _, k in sorted(order)]


def configurations(args):
    return [(m, p) for m in args.select.split(",") for p in map(float, args.pruned.split(","))]


def make_runs(args, folder, t):
    (folder / f"{t['name']}.txt").write_text(t["text"], encoding="utf-8")
    (folder / f"{t['name']}.spans").write_text("".join(f"{a} {b}\n" for a, b in t["spans"]))
    run(args, folder, t["name"], t["exact"], ["--k", 1 << 20, "--cert-rows", 0])
    t["n_tok"] = result_of(t["exact"])["n_tok"]
    for method, pruned in configurations(args):
        run_pruned(args, folder, t, method, pruned, folder / f"{t['name']}.{method}.{pruned}.trace")
    print(f"{t['name']}: {t['n_tok']} tokens, {len(t['spans'])} sentences", file=sys.stderr)


def whole(args, folder, t):
    files = [t["exact"], *(folder / f"{t['name']}.{m}.{p}.trace" for m, p in configurations(args))]
    return all(f.exists() for f in files)


def report(args, folder, traces):
    exact = groups(args, [t["exact"] for t in traces])
    features = [attention_features(t["exact"]) for t in traces]
    result = {"options": {k: str(v) for k, v in vars(args).items()}, "n_trace": len(traces),
              "traces": [t["name"] for t in traces], "n_sentence": sum(len(t["spans"]) for t in traces),
              "n_tok": sum(t["n_tok"] for t in traces), "heads": exact[0],
              "dependencies_exact": dependencies(traces, features), "outside_exact": outside(traces, exact[1]),
              "by_tag_exact": by_tag(traces, exact[1]), "runs": []}
    half = [groups(args, [t["exact"] for t in traces[k::2]])[0] for k in range(2)] if len(traces) > 1 else []
    result["same_heads_exact_halves"] = len(set(half[0]) & set(half[1])) if half else None
    for method, pruned in configurations(args):
        files = [folder / f"{t['name']}.{method}.{pruned}.trace" for t in traces]
        found = groups(args, files)
        one = {"select": method, "pruned": pruned,
               "least_share": round(min(result_of(f)["pruned_fraction"] for f in files), 5),
               **compare(exact, found), "outside": outside(traces, found[1])}
        if method == "stream":
            one["dependencies"] = dependencies(traces, [attention_features(f) for f in files])
            one["by_tag"] = by_tag(traces, found[1])
        result["runs"].append(one)
        print(json.dumps(one), file=sys.stderr)
    pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def main():
    p = argparse.ArgumentParser()
    for name in ("sparsetrace", "model", "traces", "out"):
        p.add_argument(name)
    p.add_argument("--limit", type=int)
    p.add_argument("--pruned", default="0.97,0.98,0.99")
    p.add_argument("--select", default="stream,hip,window")
    p.add_argument("--blocks", default="auto")
    p.add_argument("--spread", default="--pooled on --grow off", help="of method stream's budget")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--work", type=pathlib.Path)
    p.add_argument("--report", action="store_true")
    args = p.parse_args()
    scratch = None if args.work else tempfile.TemporaryDirectory()
    folder = args.work or pathlib.Path(scratch.name)
    folder.mkdir(exist_ok=True, parents=True)
    traces = mixed(read_traces(args.traces, args.limit))
    for t in traces:
        t["exact"] = folder / f"{t['name']}.exact.trace"
    if not args.report:
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as jobs:
            list(jobs.map(lambda t: make_runs(args, folder, t), traces))
    traces = [t for t in traces if whole(args, folder, t)]
    for t in traces:
        t["n_tok"] = result_of(t["exact"])["n_tok"]
    report(args, folder, traces)


if __name__ == "__main__":
    main()
