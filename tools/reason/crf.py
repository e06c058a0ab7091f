# SPDX-License-Identifier: MIT
"""A linear-chain conditional random field over sparse text features and, if there are any, dense hidden
states: the likelihood and its gradient in NumPy, the minimum by SciPy's L-BFGS-B.

  P(tags | trace) is proportional to exp(start[t_0] + sum_i score_i[t_i] + sum_i step[t_{i-1}, t_i]),
  score = text @ W + hidden @ V,
  and what is minimised is -log likelihood + l2/2 |W|^2 + l2_hidden/2 |V|^2 + l2_step/2 (|step|^2 + |start|^2).
"""

import numpy as np
import scipy.optimize


class Traces:
    """Traces of different lengths, longest first, so that a step of all of them is one array operation."""

    def __init__(self, lengths):
        ends = np.cumsum(lengths)
        order = np.argsort(-np.asarray(lengths), kind="stable")
        self.at = [
            np.array([ends[o] - lengths[o] + t for o in order if lengths[o] > t]) for t in range(max(lengths))
        ]


def forward_backward(traces, score, step, start):
    """Marginals [N, L], the sum over neighbours of pair marginals [L, L], and log Z."""
    top = score.max(axis=1, keepdims=True)
    weight, e_step = np.exp(score - top), np.exp(step)
    alpha, beta, norm = np.zeros_like(score), np.ones_like(score), np.zeros(len(score))
    for t, rows in enumerate(traces.at):
        before = np.exp(start)[None] if t == 0 else alpha[traces.at[t - 1][: len(rows)]] @ e_step
        a = before * weight[rows]
        norm[rows] = a.sum(axis=1)
        alpha[rows] = a / norm[rows][:, None]
    pairs = np.zeros_like(step)
    for t in range(len(traces.at) - 2, -1, -1):
        nxt = traces.at[t + 1]
        here = traces.at[t][: len(nxt)]
        u = weight[nxt] * beta[nxt] / norm[nxt][:, None]
        pairs += (alpha[here].T @ u) * e_step
        beta[here] = u @ e_step.T
    return alpha * beta, pairs, np.log(norm).sum() + top.sum()


def fit(text, hidden, tag, lengths, n_tag, l2=5.0, l2_hidden=1500.0, l2_step=0.1, n_iter=60):
    """text CSR [N, F]; hidden [N, D] or None; tag [N]. Returns W, V (or None), step, start."""
    n, n_text = text.shape
    n_hidden = 0 if hidden is None else hidden.shape[1]
    traces, transposed = Traces(lengths), text.T.tocsr()
    truth = np.eye(n_tag)[tag]
    first = np.cumsum(lengths) - lengths
    inner = np.ones(n, bool)
    inner[first] = False
    step_truth = truth[np.flatnonzero(inner) - 1].T @ truth[inner]
    sizes = np.cumsum([n_text * n_tag, n_hidden * n_tag, n_tag * n_tag])

    def unpack(x):
        w, v, step, start = np.split(x, sizes)
        return w.reshape(n_text, n_tag), v.reshape(n_hidden, n_tag), step.reshape(n_tag, n_tag), start

    def loss(x):
        w, v, step, start = unpack(x)
        score = text @ w
        if n_hidden:
            score = score + hidden @ v
        marginal, pairs, log_z = forward_backward(traces, score, step, start)
        likelihood = (score * truth).sum() + (step * step_truth).sum() + start @ truth[first].sum(axis=0) - log_z
        penalty = l2 * (w**2).sum() + l2_hidden * (v**2).sum() + l2_step * ((step**2).sum() + (start**2).sum())
        gradient = [
            transposed @ (marginal - truth) + l2 * w,
            hidden.T @ (marginal - truth) + l2_hidden * v if n_hidden else v,
            pairs - step_truth + l2_step * step,
            (marginal - truth)[first].sum(axis=0) + l2_step * start,
        ]
        return penalty / 2 - likelihood, np.concatenate([g.ravel() for g in gradient])

    found = scipy.optimize.minimize(
        loss, np.zeros(sizes[-1] + n_tag), jac=True, method="L-BFGS-B", options={"maxiter": n_iter, "maxcor": 6}
    )
    w, v, step, start = unpack(found.x)
    return w, (v if n_hidden else None), step, start


def marginals(score, step, start):
    """P(tag | the whole trace) [n, L] of one trace."""
    return forward_backward(Traces([len(score)]), score, step, start)[0]
