# SPDX-License-Identifier: MIT
"""Phases of a trace: a hidden Markov model over tags, fitted by expectation maximisation from a table that
says what we mean by each phase. src/reason/phases.c decodes with it."""

import numpy as np

PHASES = ["understand", "plan", "compute", "doubt", "verify", "conclude"]
TAGS = [
    "problem_setup",
    "plan_generation",
    "fact_retrieval",
    "active_computation",
    "uncertainty_management",
    "result_consolidation",
    "self_checking",
    "final_answer_emission",
]
# What a phase is: how its sentences are tagged, in percent, before the data have spoken.
TABLE = np.array(
    [
        # setup plan fact compute doubt result check answer
        [55, 8, 30, 2, 3, 1, 0.5, 0.5],  # understand
        [2, 60, 25, 5, 5, 2, 0.5, 0.5],  # plan
        [0.5, 8, 17, 65, 4, 5, 0.4, 0.1],  # compute
        [1, 17, 10, 12, 55, 3, 1.5, 0.5],  # doubt
        [0.5, 5, 7, 20, 6, 7, 54, 0.5],  # verify
        [0.5, 2, 2, 5, 2, 55, 5, 28.5],  # conclude
    ]
)
STAY = 0.8  # before the data: a phase lasts five sentences
TRUST_TABLE, TRUST_STEP = 400.0, 50.0  # how many sentences the table and STAY count as, per phase


def prior_step():
    n = len(PHASES)
    return np.full((n, n), (1 - STAY) / (n - 1)) + np.eye(n) * (STAY - (1 - STAY) / (n - 1))


def posterior(model, likelihood):
    """P(phase | all) [n, 6] and the expected steps [6, 6]; likelihood [n, 6]."""
    start, step, _ = model
    n = len(likelihood)
    forward, behind = np.zeros((n, len(PHASES))), np.ones((n, len(PHASES)))
    for i in range(n):
        f = (start if i == 0 else forward[i - 1] @ step) * likelihood[i]
        forward[i] = f / f.sum()
    pairs = np.zeros_like(step)
    for i in range(n - 2, -1, -1):
        u = likelihood[i + 1] * behind[i + 1]
        pair = forward[i][:, None] * step * u
        pairs += pair / pair.sum()
        behind[i] = step @ u / (step @ u).sum()
    p = forward * behind
    return p / p.sum(axis=1, keepdims=True), pairs


def fit(tags, n_round=40):
    """tags: a list of integer arrays over TAGS. Returns start [6], step [6, 6], P(tag | phase) [6, 8]."""
    start, step, table = np.full(len(PHASES), 0.02), prior_step(), TABLE / TABLE.sum(axis=1, keepdims=True)
    start[0] = 1 - start[1:].sum()
    step0, table0 = step.copy(), table.copy()
    for _ in range(n_round):
        n_start, n_step, n_tag = 20 * start, TRUST_STEP * step0, TRUST_TABLE * table0
        for t in tags:
            p, pairs = posterior((start, step, table), table[:, t].T)
            n_start, n_step = n_start + p[0], n_step + pairs
            np.add.at(n_tag.T, t, p)
        start, step, table = (x / x.sum(axis=-1, keepdims=True) for x in (n_start, n_step, n_tag))
    return start, step, table


def likelihood(model, prob, tag_prior):
    """[n, 6] out of tag probabilities [n, 8]: sum over tags of P(tag | phase) P(tag | sentence) / P(tag)."""
    return (prob / tag_prior) @ model[2].T + 1e-12


def best_path(model, like):
    start, step, _ = model
    score, back = np.log(start) + np.log(like[0]), []
    for row in like[1:]:
        candidate = score[:, None] + np.log(step)
        back.append(candidate.argmax(axis=0))
        score = candidate.max(axis=0) + np.log(row)
    path = [int(score.argmax())]
    for b in back[::-1]:
        path.append(int(b[path[-1]]))
    return np.array(path[::-1])


def boundary_f1(truth, found, slack=2):
    """Matches, boundaries of truth, boundaries found: a found one matches one of truth within `slack`."""
    a, b = (list(np.flatnonzero(np.diff(x)) + 1) for x in (truth, found))
    n_match, free = 0, list(b)
    for x in a:
        near = [y for y in free if abs(x - y) <= slack]
        if near:
            free.remove(min(near, key=lambda y: abs(x - y)))
            n_match += 1
    return n_match, len(a), len(b)


def segments(path):
    cuts = [0, *(np.flatnonzero(np.diff(path)) + 1), len(path)]
    return list(zip(cuts[:-1], cuts[1:]))


def overlap(truth, found):
    """Covering: over truth's segments, weighted by length, the best intersection over union with a found
    segment of the same phase."""
    total = 0.0
    for a, b in segments(truth):
        best = 0.0
        for c, d in segments(found):
            if truth[a] == found[c]:
                best = max(best, max(0, min(b, d) - max(a, c)) / (max(b, d) - min(a, c)))
        total += (b - a) * best
    return total / len(truth)
