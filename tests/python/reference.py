# SPDX-License-Identifier: MIT
"""An independent NumPy version of the selection and of attention over it (docs/method/selection.md).

Written from the method's text for clarity, not speed. Sums run in the stated order and in float32, so the
integers agree with the C library's, not nearly but exactly. Shapes: q [n_head, n_q, d], k, v
[n_kv_head, n_k, d]; the query rows are positions first_query .. first_query + n_q - 1, causal.
"""

from dataclasses import dataclass

import numpy as np

F = np.float32
LANES = 16


@dataclass
class Params:
    method: str = "stream"
    bq: int = 32
    bk: int = 16
    k: int = 32
    mass: float = 0.0
    sink_blk: int = 1
    window_blk: int = 1
    rows: int = 16
    beam: int = 16
    rerank: int = 2


# ---- numbers ------------------------------------------------------------------------------------------------


def exp_neg(x):
    """exp for x <= 0 in float32, by the steps of the kernel `expsum`."""
    x = x.astype(F)
    magic = F(12582912.0)
    y = np.where(x >= F(-87), x, F(-87))
    n = (y * F(1.44269504088896341) + magic) - magic
    r = (y - n * F(0.693359375)) - n * F(-2.12194440e-4)
    p = np.full_like(r, F(1.9875691500e-4))
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = p * r + F(c)
    p = (p * r) * r + r + F(1)
    p = p * np.ldexp(F(1), n.astype(np.int32))
    return np.where(x >= F(-87), p, F(0)).astype(F)


def expsub(t, m):
    """exp(t - m) with 0 standing for m = -inf. t [..., lanes], m [lanes]."""
    return exp_neg(t - np.where(np.isneginf(m), F(0), m))


def softcap(t, cap):
    x = t / F(cap)
    e = exp_neg(F(-2) * np.abs(x))
    return F(cap) * np.copysign((F(1) - e) / (F(1) + e), x)


def running_sum(x, start=None):
    """Sum over axis 0 in ascending order, float32."""
    acc = np.zeros(x.shape[1:], F) if start is None else start.astype(F).copy()
    for row in x:
        acc = acc + row
    return acc


def tree16(x):
    """Sum over the last axis of 16 by halves."""
    for half in (8, 4, 2, 1):
        x = x[..., :half] + x[..., half : 2 * half]
    return x[..., 0]


def quantise(x):
    """Rows [..., d] -> int8 values, scale."""
    x = np.where(np.isfinite(x), x, F(0)).astype(F)
    a = np.abs(x).max(-1)
    inv = np.where(a > 0, F(127) / np.where(a > 0, a, F(1)), F(0)).astype(F)
    return np.rint(x * inv[..., None]).astype(np.int64), (a / F(127)).astype(F)


def weighted_distance(w, x, y):
    d = w.shape[-1]
    diff = x - y
    term = w * (diff * diff)
    pad = np.zeros(term.shape[:-1] + ((-d) % LANES,), F)
    lanes = np.concatenate([term, pad], -1).reshape(*term.shape[:-1], -1, LANES)
    return tree16(running_sum(np.moveaxis(lanes, -2, 0)))


def top(score, keep):
    """Positions of the `keep` largest, best first, ties to the lower position."""
    return np.lexsort((np.arange(len(score)), -score))[:keep]


# ---- the summary of the keys -------------------------------------------------------------------------------------


class Node:
    def __init__(self, mean, var, lo, hi, exemplar):
        self.mean, self.var, self.lo, self.hi, self.exemplar = mean, var, lo, hi, exemplar


class Keys:
    """int8 keys and the pyramid of one KV head. q: [group, n_q, d] unscaled queries of its heads."""

    def __init__(self, k, q, first_query, bk):
        k, q = k.astype(F), q.astype(F)
        n_k, d = k.shape
        self.bk, self.n_leaf = bk, max(n_k // bk - 1, 0)
        self.levels = []
        if n_k < 2 * bk:
            return
        self.centre = running_sum(k[bk : 2 * bk]) / F(bk)
        self.rel = k - self.centre
        self.key = quantise(self.rel)
        level = [self.leaf(j, self.weights(q, first_query, (j + 2) * bk)) for j in range(self.n_leaf)]
        while level:
            self.levels.append(self.pack([n for n, _ in level]))
            level = [self.join(a, b) for a, b in zip(level[0::2], level[1::2])]

    def weights(self, q, first_query, end):
        n = min(max(end - first_query, 0), q.shape[1]) or q.shape[1]
        rows = np.moveaxis(q[:, :n], 0, 1).reshape(-1, q.shape[2]).astype(np.float64)
        return (np.cumsum(rows * rows, 0)[-1] / len(rows)).astype(F)

    def leaf(self, j, w):
        x = self.rel[(j + 1) * self.bk : (j + 2) * self.bk]
        mean = running_sum(x) / F(self.bk)
        var = running_sum((x - mean) * (x - mean)) / F(self.bk)
        far = int(np.argmax(weighted_distance(w, x, mean)))
        return Node(mean, var, x.min(0), x.max(0), (j + 1) * self.bk + far), w

    def join(self, left, right):
        (a, _), (b, w) = left, right
        diff = (a.mean - b.mean) * F(0.5)
        mean = (a.mean + b.mean) * F(0.5)
        var = (a.var + b.var) * F(0.5) + diff * diff
        da = weighted_distance(w, self.rel[a.exemplar], mean)
        db = weighted_distance(w, self.rel[b.exemplar], mean)
        exemplar = b.exemplar if db > da else a.exemplar
        return Node(mean, var, np.minimum(a.lo, b.lo), np.maximum(a.hi, b.hi), exemplar), w

    def pack(self, nodes):
        mean, var = np.array([n.mean for n in nodes]), np.array([n.var for n in nodes])
        lo, hi = np.array([n.lo for n in nodes]), np.array([n.hi for n in nodes])
        return {
            "mean": quantise(mean),
            "var": quantise(var),
            "mid": quantise((hi + lo) * F(0.5)),
            "half": quantise((hi - lo) * F(0.5)),
            "exemplar": np.array([n.exemplar for n in nodes]),
        }


# ---- one query block ------------------------------------------------------------------------------------------------


@dataclass
class Frame:
    first: int  # position of the first row
    n_row: int
    blk_hi: int
    cand_lo: int
    cand_hi: int
    budget: int

    def always(self):
        return [b for b in range(self.blk_hi) if not self.cand_lo <= b < self.cand_hi]


def make_frame(p, first_query, n_q, qb):
    first, last = max(qb * p.bq, first_query), min((qb + 1) * p.bq, first_query + n_q)
    blk_hi = -(-last // p.bk)
    lo, hi = p.sink_blk, (first + 1) // p.bk - p.window_blk
    if hi <= lo:
        lo = hi = blk_hi
    f = Frame(first, last - first, blk_hi, lo, hi, 0)
    f.budget = int(np.clip(p.k - len(f.always()), 0, hi - lo))
    return f


class Rows:
    """The sampled rows of one head and query block, as int8 lanes."""

    def __init__(self, q, scale, frame, first_query, p, centre):
        n = min(p.rows, frame.n_row)
        row = np.array([(j + 1) * frame.n_row // n - 1 for j in range(n)])
        self.n, self.position = n, frame.first + row
        x = q[frame.first - first_query + row].astype(F) * F(scale)
        self.base = np.zeros(LANES, F)
        for r in range(n):
            self.base[r] = F(np.cumsum(x[r].astype(np.float64) * centre.astype(np.float64))[-1])
        self.q, self.q_scale = self.lanes(quantise(x))
        self.q_sq, self.sq_scale = self.lanes(quantise(x * x))
        self.weight = np.array([1] * n + [0] * (LANES - n), F)

    def lanes(self, quantised):
        v, s = quantised
        pad = LANES - len(v)
        return np.pad(v, ((0, pad), (0, 0))), np.pad(s, (0, pad)).astype(F)


def scores(rows_v, rows_scale, base, vectors, idx):
    """[len(idx), 16] float32"""
    v, scale = vectors
    dot = v[idx] @ rows_v.T
    return dot.astype(F) * (scale[idx][:, None] * rows_scale[None, :]) + base


class Selector:
    def __init__(self, q, keys, scale, first_query, p, cap=0.0):
        self.q, self.keys, self.scale, self.first_query, self.p, self.cap = q, keys, scale, first_query, p, cap

    def key_scores(self, r, idx):
        t = scores(r.q, r.q_scale, r.base, self.keys.key, idx)
        return softcap(t, self.cap) if self.cap > 0 else t

    def block_mass(self, r, blocks, masked=False):
        n_k = len(self.keys.rel)
        tops, sums = [], []
        for b in blocks:
            idx = np.arange(b * self.p.bk, min((b + 1) * self.p.bk, n_k))
            t = self.key_scores(r, idx)
            if masked:
                position = np.full(LANES, r.position[-1] * 0 + self.frame.first)
                position[: r.n] = r.position
                position[r.n :] = self.frame.first
                t = np.where(idx[:, None] > position[None, :], F(-np.inf), t)
            m = t.max(0)
            tops.append(m)
            sums.append(running_sum(expsub(t, m)))
        return np.array(tops, F).reshape(-1, LANES), np.array(sums, F).reshape(-1, LANES)

    @staticmethod
    def raised(mass, m):
        top_, sum_ = mass
        return m, sum_ * expsub(top_, m)

    def always_mass(self, r):
        tops, sums = self.block_mass(r, self.frame.always(), masked=True)
        m = tops.max(0)
        total = np.zeros(LANES, F) * expsub(np.full(LANES, -np.inf, F), m)
        return m, running_sum(expsub(tops, m) * sums, total)

    def descend(self, r, by, known):
        p, f, levels = self.p, self.frame, self.keys.levels
        lo, hi = f.cand_lo - 1, f.cand_hi - 1
        beam = max(p.beam * (2 if (hi - lo) * p.bk >= 32768 else 1), f.budget)
        level = 0
        if p.method != "flat":
            while ((hi - 1) >> level) - (lo >> level) + 1 > 2 * beam:
                level += 1
        frontier = np.arange(lo >> level, ((hi - 1) >> level) + 1)
        while True:
            whole = ((frontier << level) >= lo) & (((frontier + 1) << level) <= hi)
            full, edge = frontier[whole], frontier[~whole]
            t, u = self.node_scores(r, levels[level], by, full)
            m = np.maximum(known[0], np.max(np.concatenate([t, t if u is None else u, known[0][None]]), 0))
            known = self.raised(known, m)
            mass = expsub(t, m) if u is None else expsub(t, m) + expsub(u, m)
            total = running_sum(mass, known[1])
            inv = np.where(total > 0, r.weight / np.where(total > 0, total, F(1)), F(0)).astype(F)
            keep = beam if level > 0 else p.rerank * f.budget
            chosen = np.sort(top(tree16(mass * inv), keep))
            known = known[0], running_sum(np.delete(mass, chosen, 0), known[1])
            if level == 0:
                return full[chosen], known
            level -= 1
            nodes = np.sort(np.concatenate([full[chosen], edge]))
            children = np.stack([2 * nodes, 2 * nodes + 1], 1).ravel()
            frontier = children[((children << level) < hi) & (((children + 1) << level) > lo)]

    def node_scores(self, r, level, by, nodes):
        if by == "bounds":
            t = scores(r.q, r.q_scale, r.base, level["mid"], nodes)
            t = t + scores(np.abs(r.q), r.q_scale, np.zeros(LANES, F), level["half"], nodes)
            return (softcap(t, self.cap) if self.cap > 0 else t), None
        g = scores(r.q, r.q_scale, r.base, level["mean"], nodes)
        s2 = np.maximum(scores(r.q_sq, r.sq_scale, np.zeros(LANES, F), level["var"], nodes), F(0))
        ln_b = F(np.log(self.p.bk))
        two_l = F(2) * ln_b
        t = np.where(s2 < two_l, (g + ln_b) + s2 * F(0.5), g + np.sqrt(two_l * s2))
        if self.cap > 0:
            t = softcap(t, self.cap)
        return t, self.key_scores(r, level["exemplar"][nodes])

    def rank(self, r, always, outside, candidate):
        f, p = self.frame, self.p
        tops, sums = self.block_mass(r, candidate)
        m = np.maximum(outside[0], tops.max(0))
        fixed, total = self.raised(always, m), self.raised(outside, m)
        mass = expsub(tops, m) * sums
        total = running_sum(mass, total[1])
        inv = np.where(total > 0, r.weight / np.where(total > 0, total, F(1)), F(0)).astype(F)
        order = top(tree16(mass * inv), f.budget)
        if p.mass > 0:
            order = self.fewest(order, mass * inv, fixed[1] * inv, r.n)
        return sorted(int(candidate[i]) for i in order)

    def fewest(self, order, share, always, n):
        have, want, kept = F(0), F(self.p.mass) * F(n), []
        for r in range(n):
            have += always[r]
        for i in order:
            total = F(0)
            for r in range(n):
                total += share[i, r]
            if have < want or share[i, :n].max() > F(1) - F(self.p.mass):
                kept.append(i)
                have += total
        return kept

    def hip(self, r):
        f, bk = self.frame, self.p.bk
        n_cand = f.cand_hi - f.cand_lo
        n = min(2 * f.budget, n_cand)
        chunks = [(f.cand_lo + i * n_cand // n, f.cand_lo + (i + 1) * n_cand // n) for i in range(n)]
        while True:
            centre = np.array([(a + b) * bk // 2 for a, b in chunks])
            t = scores(r.q, r.q_scale, r.base, self.keys.key, centre)[:, : r.n]
            chunks = [chunks[i] for i in np.sort(top(t.max(1), f.budget))]
            if all(b - a == 1 for a, b in chunks):
                return [a for a, _ in chunks]
            halves = []
            for a, b in chunks:
                mid = a + (b - a) // 2
                halves += [(a, mid), (mid, b)] if mid > a else [(mid, b)]
            chunks = halves

    def select(self, frame):
        self.frame, p = frame, self.p
        candidates = np.arange(frame.cand_lo, frame.cand_hi)
        if frame.budget == 0:
            chosen = []
        elif frame.budget == len(candidates) and p.mass == 0:
            chosen = list(candidates)
        elif p.method == "window":
            chosen = list(candidates[-frame.budget :])
        else:
            r = Rows(self.q, self.scale, frame, self.first_query, p, self.keys.centre)
            if p.method == "hip":
                chosen = self.hip(r)
            else:
                always = outside = self.always_mass(r)
                if p.method != "scan":
                    ex, pruned = self.descend(r, "exemplar", always)
                    bd, _ = self.descend(r, "bounds", always)
                    candidates = np.union1d(ex, bd) + 1
                    outside = pruned if p.mass > 0 else always
                chosen = self.rank(r, always, outside, candidates)
        return sorted(frame.always() + [int(b) for b in chosen])


def select(q, k, scale, p, first_query=None, cap=0.0):
    """-> indptr, indices of [n_head * nbq] rows."""
    n_head, n_q, _ = q.shape
    first_query = k.shape[1] - n_q if first_query is None else first_query
    group = n_head // k.shape[0]
    blocks = range(first_query // p.bq, (first_query + n_q - 1) // p.bq + 1)
    indptr, indices = [0], []
    for h in range(n_head):
        g = h // group
        if h % group == 0:
            keys = Keys(k[g], q[g * group : (g + 1) * group], first_query, p.bk)
        selector = Selector(q[h], keys, scale, first_query, p, cap)
        for qb in blocks:
            indices += selector.select(make_frame(p, first_query, n_q, qb))
            indptr.append(len(indices))
    return np.array(indptr), np.array(indices)


# ---- attention --------------------------------------------------------------------------------------------------------


def attend(q, k, v, scale, first_query, bq, bk, indptr, indices, cap=0.0):
    """float64 attention over a selection -> out [n_head, n_q, d_v], lse [n_head, n_q], mass [nnz].

    indptr None: exact attention, mass None."""
    n_head, n_q, _ = q.shape
    group, n_k = n_head // k.shape[0], k.shape[1]
    first_blk = first_query // bq
    nbq = (first_query + n_q - 1) // bq - first_blk + 1
    position = first_query + np.arange(n_q)
    out, lse = np.zeros((n_head, n_q, v.shape[2])), np.zeros((n_head, n_q))
    mass = None if indptr is None else np.zeros(len(indices))
    for h in range(n_head):
        s = q[h].astype(np.float64) * scale @ k[h // group].astype(np.float64).T
        s = cap * np.tanh(s / cap) if cap > 0 else s
        s[np.arange(n_k)[None, :] > position[:, None]] = -np.inf
        if indptr is not None:
            kept = np.zeros((nbq, -(-n_k // bk)), bool)
            for b in range(nbq):
                kept[b, indices[indptr[h * nbq + b] : indptr[h * nbq + b + 1]]] = True
            mask = np.repeat(kept, bk, axis=1)[:, :n_k][position // bq - first_blk]
            s = np.where(mask, s, -np.inf)
        top_ = s.max(1)
        e = np.exp(s - top_[:, None])
        lse[h] = top_ + np.log(e.sum(1))
        e /= e.sum(1, keepdims=True)
        out[h] = e @ v[h // group].astype(np.float64)
        if indptr is not None:
            share = np.add.reduceat(e, np.arange(0, n_k, bk), axis=1)
            for b in range(nbq):
                at = slice(indptr[h * nbq + b], indptr[h * nbq + b + 1])
                mass[at] = share[position // bq - first_blk == b].mean(0)[indices[at]]
    return out, lse, mass
