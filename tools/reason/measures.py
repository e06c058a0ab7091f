# SPDX-License-Identifier: MIT
"""The measures of a trace's quality that the text and its tags give, as docs/method/quality.md defines
them and src/reason/quality.c computes them; and the score over them."""

import numpy as np
import scipy.optimize
from text_features import NUMBER, READ_BYTES, WORD, grams, normalise

LED_SENTENCES = 10
MEASURES = ["log_length", "doubt_share", "check_share", "led_share", "repeated_share"]


def read(sentences):
    """Per sentence: how many of its numbers are new, and the share of its word triples that came before (or None)."""
    numbers, triples, n_new, said = set(), set(), [], []
    for s in sentences:
        found = set(NUMBER.findall(s[:READ_BYTES]))
        tri = grams(WORD.findall(normalise(s)), 3, b" ")
        n_new.append(len(found - numbers))
        said.append(len(tri & triples) / len(tri) if tri else None)
        numbers |= found
        triples |= tri
    return n_new, said


def measure(sentences, names):
    """sentences: bytes; names: their tags. A dict; None where a measure is not defined."""
    n = len(names)
    n_new, said = read(sentences)
    doubt = [t == "uncertainty_management" for t in names]
    ends = [i + 1 for i in range(n) if doubt[i] and (i + 1 == n or not doubt[i + 1])]
    led = 0
    for e in ends:
        for i in range(e, min(n, e + LED_SENTENCES)):
            if doubt[i]:
                break
            if n_new[i] and names[i] in ("active_computation", "result_consolidation"):
                led += 1
                break
    concludes = [t in ("result_consolidation", "final_answer_emission") for t in names]
    start = concludes.index(True) if any(concludes) else None
    checks = [t == "self_checking" for t in names]
    answers = [i for i, t in enumerate(names) if t == "final_answer_emission"]
    repeated = [x for x in said if x is not None]
    return {
        "log_length": float(np.log1p(n)),
        "doubt_share": sum(doubt) / n if n else None,
        "check_share": sum(checks) / n if n else None,
        "led_share": led / len(ends) if ends else None,
        "repeated_share": float(np.mean(repeated)) if repeated else None,
        "n_doubt": sum(doubt),
        "n_episode": len(ends),
        "answer_at": (answers[0] / (n - 1) if n > 1 else 1.0) if answers else None,
        "checked_after": sum(checks[start + 1 :]) / (n - start) if start is not None else None,
    }


def table(measures):
    """[n_trace, 5], NaN where not defined."""
    return np.array([[np.nan if m[k] is None else m[k] for k in MEASURES] for m in measures], float)


def fit_score(x, correct, l2=4.0):
    """Logistic regression on standardised measures (undefined ones count as the mean): mean, scale, weight, bias."""
    mean = np.nanmean(x, axis=0)
    scale = 1 / np.maximum(np.nanstd(x, axis=0), 1e-6)
    z = np.nan_to_num((x - mean) * scale)
    sign = 2.0 * np.asarray(correct) - 1

    def loss(w):
        margin = sign * (z @ w[:-1] + w[-1])
        p = 1 / (1 + np.exp(margin))
        gradient = -(sign * p) @ np.c_[z, np.ones(len(z))]
        gradient[:-1] += l2 * w[:-1]
        return np.logaddexp(0, -margin).sum() + l2 / 2 * (w[:-1] ** 2).sum(), gradient

    w = scipy.optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return mean, scale, w[:-1], w[-1:]


def score(model, x):
    mean, scale, weight, bias = model
    return 1 / (1 + np.exp(-(np.nan_to_num((x - mean) * scale) @ weight + bias[0])))


def auroc(correct, value):
    """Probability that a correct trace has the higher value; ties count half."""
    value, correct = np.asarray(value, float), np.asarray(correct, bool)
    a, b = value[correct], value[~correct]
    return float(np.mean((a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])))
