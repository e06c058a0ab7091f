# SPDX-License-Identifier: MIT
"""Do the measures of `sparsetrace reason -m MODEL --json` tell right traces from wrong ones?

usage: quality.py LABELLED.jsonl REASON.json

LABELLED.jsonl: lines with "is_correct" and "problem". REASON.json: what `reason --json` printed of the same lines.
For each measure the area under the ROC curve (0.5: chance; below: wrong traces have more of it), with a 95 %
interval by drawing problems with replacement. Needs numpy and scipy.
"""
import json
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools/reason"))
import measures  # noqa: E402
from train_tagger import interval  # noqa: E402

ROWS = ["n_sentence", "n_doubt", "check_share", "led_share", "repeated_share", "score", "support", "lift", "dead_share",
        "jump_share", "anchor_share", "surprise", "surprise_anchor", "surprise_answer"]


def read(labelled, printed):
    traces = [json.loads(x) for x in open(labelled, encoding="utf-8") if x.strip()]
    lines = {json.loads(x)["id"]: json.loads(x)["quality"] for x in open(printed, encoding="utf-8") if x.strip()}
    for t in traces:
        if t.get("is_correct") is None or t["id"] not in lines:
            continue
        q = lines[t["id"]]
        q["lift"] = None if q.get("support") is None else q["support"] - q["support_base"]
        yield t["problem"], t["is_correct"], q


def main():
    rows = list(read(*sys.argv[1:3]))
    print(f"{len(rows)} traces, {sum(c for _, c, _ in rows)} right")
    for name in ROWS:
        groups = {}
        for problem, correct, q in rows:
            if q.get(name) is not None and math.isfinite(q[name]):
                groups.setdefault(problem, []).append((correct, q[name]))
        pairs = [x for g in groups.values() for x in g]
        if len({c for c, _ in pairs}) < 2:
            continue
        at = measures.auroc(*zip(*pairs))
        values = [v for _, v in pairs]
        print(f"  {name:16s} {at:.2f} {interval(groups, lambda d: measures.auroc(*zip(*d)))}", end=" ")
        print(f"n {len(pairs)}, {min(values):.3g} .. {max(values):.3g}")


if __name__ == "__main__":
    main()
