# SPDX-License-Identifier: MIT
"""An independent NumPy version of the selection and of attention over it (docs/method/selection.md).

Written from the method's text for clarity, not speed. Sums run in the stated order and in float32, so the
integers agree with the C library's, not nearly but exactly. Shapes: q [n_head, n_q, d], k, v
[n_kv_head, n_k, d]; the query rows are positions first_query .. first_query + n_q - 1, causal.
"""

import itertools
from dataclasses import dataclass

import numpy as np

F = np.float32
LANES = 16
PROPOSE = 8  # query blocks that descend together, at least


@dataclass
class Params:
    method: str = "stream"
    bq: int = 32
    bk: int = 16
    k: float = 32
    mass: float = 0.0
    sink_blk: int = 1
    window_blk: int = 1
    rows: int = 8
    beam: int = 16
    rerank: float = 1.5
    pooled: bool = False
    grow_tok: int = 0


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


SLOPE, ONE, TOP = F(12102203.0), F(1064866816.0), F(1900000000.0)


def fast_bits(y):
    """The float whose bits are the integer part of y, clamped: 2^((y - ONE) / 2^23) within 4 %."""
    y = np.where(y > 0, y, F(0)).astype(F)
    return np.where(y < TOP, y, TOP).astype(np.int32).view(F)


def fast_exp(x):
    with np.errstate(invalid="ignore"):
        return fast_bits(x.astype(F) * SLOPE + ONE)


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


def square_norm(x):
    """Sum of squares over the last axis, in lanes of 16."""
    pad = np.zeros(x.shape[:-1] + ((-x.shape[-1]) % LANES,), F)
    lanes = np.concatenate([x * x, pad], -1).reshape(*x.shape[:-1], -1, LANES)
    return tree16(running_sum(np.moveaxis(lanes, -2, 0)))


def weighted_mean(w, x):
    total, weight = running_sum((w * x)[:, None])[0], running_sum(w[:, None])[0]
    return total / weight if weight > 0 else F(0)


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
            self.levels.append(self.pack(level))
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

    def pack(self, level):
        nodes = [n for n, _ in level]
        mean = np.array([n.mean for n in nodes])
        lo, hi = np.array([n.lo for n in nodes]), np.array([n.hi for n in nodes])
        return {
            "mean": quantise(mean),
            "var": np.array([weighted_mean(w, n.var) for n, w in level], F),
            "mid": quantise((hi + lo) * F(0.5)),
            "half": quantise((hi - lo) * F(0.5)),
            "exemplar": np.array([n.exemplar for n in nodes]),
        }


# ---- one query block ------------------------------------------------------------------------------------------------


@dataclass
class Frame:
    number: int
    first: int  # position of the first row
    n_row: int
    blk_hi: int
    cand_lo: int
    cand_hi: int
    quota: int = 0
    budget: int = 0

    def always(self):
        return [b for b in range(self.blk_hi) if not self.cand_lo <= b < self.cand_hi]

    @property
    def pooled(self):
        return self.budget > self.quota


def make_frame(p, first_query, n_q, qb):
    first, last = max(qb * p.bq, first_query), min((qb + 1) * p.bq, first_query + n_q)
    blk_hi = -(-last // p.bk)
    lo, hi = p.sink_blk, (first + 1) // p.bk - p.window_blk
    if hi <= lo:
        lo = hi = blk_hi
    f = Frame(qb, first, last - first, blk_hi, lo, hi)
    searched = max(np.floor(8 * p.k) / 8 - len(f.always()), 0.0)
    if p.grow_tok != 0:
        length = p.grow_tok if p.grow_tok > 0 else first_query + n_q
        tail = min(64, length // 32)
        searched = searched * (length + 6 * min(first, length)) / (4 * length + 7 * tail)
        searched *= 2 if first >= length - tail else 1
    f.budget = f.quota = min(int(searched + (2 * (5 * qb % 8) + 1) / 16), hi - lo)
    if p.pooled and searched > 0:
        f.budget = min(max(4 * f.quota, 64), hi - lo)
    return f


class Unit:
    """Frames that share a row tile; lo..hi are candidates of them all."""

    def __init__(self, frames, lo=None, hi=None):
        self.frames = frames
        self.lo = max(f.cand_lo for f in frames) if lo is None else lo
        self.hi = min(f.cand_hi for f in frames) if hi is None else hi
        self.blk_hi = max(f.blk_hi for f in frames)
        self.quota = max(f.quota for f in frames)


class Rows:
    """The sampled rows of one head and unit, as int8 lanes."""

    def __init__(self, q, scale, frames, first_query, rows, centre, cap):
        position, self.lanes_of = [], []
        for f in frames:
            n = min(rows, f.n_row)
            self.lanes_of.append(range(len(position), len(position) + n))
            position += [f.first + (j + 1) * f.n_row // n - 1 for j in range(n)]
        self.n = len(position)
        self.position = np.array(position + [-1] * (LANES - self.n))
        x = q[np.array(position) - first_query].astype(F) * F(scale)
        self.base, self.q2 = np.zeros(LANES, F), np.zeros(LANES, F)
        if cap > 0:
            for r in range(self.n):
                self.base[r] = F(np.cumsum(x[r].astype(np.float64) * centre.astype(np.float64))[-1])
        self.q2[: self.n] = square_norm(x)
        self.q2_root = np.sqrt(self.q2)
        v, s = quantise(x)
        pad = LANES - self.n
        self.q, self.q_scale = np.pad(v, ((0, pad), (0, 0))), np.pad(s, (0, pad)).astype(F)
        self.weight = np.array([1] * self.n + [0] * pad, F)


def scores(rows_v, rows_scale, base, vectors, idx):
    """[len(idx), 16] float32"""
    v, scale = vectors
    dot = v[idx] @ rows_v.T
    return dot.astype(F) * (scale[idx][:, None] * rows_scale[None, :]) + base


def divided(weight, total):
    return np.where(total > 0, weight / np.where(total > 0, total, F(1)), F(0)).astype(F)


class Selector:
    def __init__(self, q, keys, scale, first_query, p, cap=0.0):
        self.q, self.keys, self.scale, self.first_query, self.p, self.cap = q, keys, scale, first_query, p, cap

    def rows_of(self, frames, rows):
        return Rows(self.q, self.scale, frames, self.first_query, rows, self.keys.centre, self.cap)

    def capped(self, t):
        return softcap(t, self.cap) if self.cap > 0 else t

    def keys_of(self, block):
        return np.arange(block * self.p.bk, min((block + 1) * self.p.bk, len(self.keys.rel)))

    def edge_mass(self, r, unit):
        """Blocks outside the shared range and their masses; sets r.top. -> blocks, masses, their sum"""
        blocks = [b for b in range(unit.blk_hi) if not unit.lo <= b < unit.hi]
        seen = []
        for b in blocks:
            idx = self.keys_of(b)
            t = self.capped(scores(r.q, r.q_scale, r.base, self.keys.key, idx))
            seen.append(np.where(idx[:, None] > r.position[None, :], F(-np.inf), t))
        top_ = np.concatenate(seen).max(0)
        r.top = np.where(np.isneginf(top_), F(0), top_).astype(F)
        mass = np.array([running_sum(fast_exp(t - r.top)) for t in seen], F)
        return blocks, mass, running_sum(mass)

    def block_mass(self, r, block):
        idx = self.keys_of(block)
        if self.cap > 0:
            t = self.capped(scores(r.q, r.q_scale, r.base, self.keys.key, idx))
            return running_sum(fast_exp(t - r.top))
        v, scale = self.keys.key
        slope, base = r.q_scale * SLOPE, (r.base - r.top) * SLOPE + ONE
        y = (v[idx] @ r.q.T).astype(F) * (scale[idx][:, None] * slope[None, :]) + base
        return running_sum(fast_bits(y))

    def descend(self, r, unit, by, known):
        p, levels = self.p, self.keys.levels
        lo, hi = unit.lo - 1, unit.hi - 1
        wide = 4 if p.pooled else 2 if (hi - lo) * p.bk >= 32768 else 1
        beam = max(p.beam * wide, unit.quota)
        level = 0
        if p.method != "flat":
            while ((hi - 1) >> level) - (lo >> level) + 1 > 2 * beam:
                level += 1
        frontier = np.arange(lo >> level, ((hi - 1) >> level) + 1)
        while True:
            whole = ((frontier << level) >= lo) & (((frontier + 1) << level) <= hi)
            full, edge = frontier[whole], frontier[~whole]
            mass = self.node_masses(r, levels[level], by, full)
            score = tree16(mass * divided(r.weight, running_sum(mass, known)))
            keep = beam if level > 0 else max(int(np.ceil(p.rerank * unit.quota)), (8 if p.pooled else 2) * p.beam)
            chosen = np.sort(top(score, keep))
            known = running_sum(np.delete(mass, chosen, 0), known)
            if level == 0:
                return full[chosen], known
            level -= 1
            nodes = np.sort(np.concatenate([full[chosen], edge]))
            children = np.stack([2 * nodes, 2 * nodes + 1], 1).ravel()
            frontier = children[((children << level) < hi) & (((children + 1) << level) > lo)]

    def node_masses(self, r, level, by, nodes):
        zero = np.zeros(LANES, F)
        if by == "bounds":
            t = scores(r.q, r.q_scale, r.base, level["mid"], nodes)
            t = t + scores(np.abs(r.q), r.q_scale, zero, level["half"], nodes)
            return fast_exp(self.capped(t) - r.top)
        t = scores(r.q, r.q_scale, r.base, level["mean"], nodes)
        ln_b = F(np.log(self.p.bk))
        two_l, var = F(2) * ln_b, level["var"][nodes][:, None]
        s2 = var * r.q2
        t = t + np.where(s2 < two_l, ln_b + s2 * F(0.5), np.sqrt(two_l * var) * r.q2_root)
        u = scores(r.q, r.q_scale, r.base, self.keys.key, level["exemplar"][nodes])
        return fast_exp(self.capped(t) - r.top) + fast_exp(self.capped(u) - r.top)

    def propose(self, unit, rows):
        """-> the row tile, proposed blocks, mass that the first descent left out"""
        r = self.rows_of(unit.frames, rows)
        known = self.edge_mass(r, unit)[2]
        ex, pruned = self.descend(r, unit, "exemplar", known)
        bd, _ = self.descend(r, unit, "bounds", known)
        return r, np.union1d(ex, bd) + 1, pruned - known

    def weigh(self, unit, rows, candidate, pruned):
        """-> kept candidates of each frame, by exact mass on `rows` rows of each"""
        r = self.rows_of(unit.frames, rows)
        blocks, mass, _ = self.edge_mass(r, unit)
        left = unit.lo
        new = np.array([self.block_mass(r, int(b)) for b in candidate], F).reshape(-1, LANES)
        blocks = np.array(blocks[:left] + [int(b) for b in candidate] + blocks[left:])
        mass = np.concatenate([mass[:left], new, mass[left:]])
        return [self.rank(r, f, r.lanes_of[i], blocks, mass, pruned) for i, f in enumerate(unit.frames)]

    def rank(self, r, f, lanes, blocks, mass, pruned):
        own = (blocks >= f.cand_lo) & (blocks < f.cand_hi)
        always = running_sum(mass[~own])
        total = running_sum(mass[own], always + (pruned if self.p.mass > 0 else F(0)))
        weight = np.zeros(LANES, F)
        weight[list(lanes)] = 1
        inv = divided(weight, total)
        score = tree16(mass[own] * inv)
        order = top(score, f.budget)
        if f.pooled:
            return self.by_gain(blocks[own][order], score[order], always * inv, lanes)
        if self.p.mass > 0:
            order = self.fewest(order, mass[own] * inv, always * inv, lanes)
        return sorted(int(blocks[own][i]) for i in order)

    def by_gain(self, blocks, share, always, lanes):
        """-> (what it is worth, block) of each, best first"""
        n, missing, worth = F(len(lanes)), F(0), []
        for r in lanes:
            missing += F(1) - always[r]
        for x in share:
            worth.append(x * missing * (F(1) / (n * n)) if missing > 0 else F(0))
            missing -= x
        return list(zip(worth, (int(b) for b in blocks)))

    def fewest(self, order, share, always, lanes):
        have, want, kept = F(0), F(self.p.mass) * F(len(lanes)), []
        for r in lanes:
            have += always[r]
        for i in order:
            total = F(0)
            for r in lanes:
                total += share[i, r]
            if have < want or share[i, list(lanes)].max() > F(1) - F(self.p.mass):
                kept.append(i)
                have += total
        return kept

    def hip(self, f):
        r = self.rows_of([f], LANES)
        bk, n_cand = self.p.bk, f.cand_hi - f.cand_lo
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

    def together(self, frames):
        """Kept candidates of frames of one unit."""
        p, unit = self.p, Unit(frames)
        if len(frames) > 1 and unit.hi - unit.lo < min(f.cand_hi - f.cand_lo for f in frames) // 2:
            return [self.together([f])[0] for f in frames]
        share = LANES // min(p.rows, p.bq)
        if p.method == "scan":
            return self.weigh(unit, p.rows, range(unit.lo, unit.hi), np.zeros(LANES, F))
        if len(frames) <= share:
            _, candidate, pruned = self.propose(unit, p.rows)
            return self.weigh(unit, p.rows, candidate, pruned)
        _, candidate, pruned = self.propose(unit, LANES // PROPOSE)
        kept = []
        for part in sorted({f.number % PROPOSE // share for f in frames}):
            some = [f for f in frames if f.number % PROPOSE // share == part]
            kept += self.weigh(Unit(some, unit.lo, unit.hi), p.rows, candidate, pruned)
        return kept

    def select(self, frames):
        """Kept candidates of the frames of one unit; of pooled ones (worth, block), best first."""
        p, chosen, asked = self.p, {}, []
        for f in frames:
            candidates = range(f.cand_lo, f.cand_hi)
            if f.budget == 0:
                chosen[f.number] = []
            elif f.budget == len(candidates) and p.mass == 0 and not f.pooled:
                chosen[f.number] = list(candidates)
            elif p.method == "window":
                chosen[f.number] = list(candidates)[-f.budget :]
            elif p.method == "hip":
                chosen[f.number] = self.hip(f)
            else:
                asked.append(f)
        if asked:
            chosen.update(zip((f.number for f in asked), self.together(asked)))
        return [chosen[f.number] for f in frames]


def settle(lists, budget):
    """lists: [(frame, [(worth, block), ...])]. -> blocks of each within a budget of rows of candidates: all of one
    worth while they fit, then one by one what still fits."""
    items = sorted((-w, i, j) for i, (_, x) in enumerate(lists) for j, (w, _) in enumerate(x))
    kept = [[] for _ in lists]
    for _, same in itertools.groupby(items, key=lambda x: x[0]):
        same = list(same)
        fits = sum(lists[i][0].n_row for _, i, _ in same) <= budget
        for _, i, j in same:
            if lists[i][0].n_row <= budget:
                kept[i].append(lists[i][1][j][1])
                budget -= lists[i][0].n_row
        if not fits:
            break
    return kept


def settle_pools(chosen):
    """chosen[head][i] = (frame, candidates), i-th query block -> kept candidates of all."""
    pools = {}
    for i, (f, _) in enumerate(chosen[0]):
        if f.pooled:
            pools.setdefault(f.number // PROPOSE, []).append(i)
    for own in pools.values():
        places = [(h, i) for i in own for h in range(len(chosen))]
        lists = [chosen[h][i] for h, i in places]
        for (h, i), blocks in zip(places, settle(lists, sum(f.quota * f.n_row for f, _ in lists))):
            chosen[h][i] = (chosen[h][i][0], blocks)


def select(q, k, scale, p, first_query=None, cap=0.0):
    """-> indptr, indices of [n_head * nbq] rows."""
    n_head, n_q, _ = q.shape
    first_query = k.shape[1] - n_q if first_query is None else first_query
    group = n_head // k.shape[0]
    blocks = range(first_query // p.bq, (first_query + n_q - 1) // p.bq + 1)
    indptr, indices, chosen = [0], [], [[] for _ in range(n_head)]
    for h in range(n_head):
        g = h // group
        if h % group == 0:
            keys = Keys(k[g], q[g * group : (g + 1) * group], first_query, p.bk)
        selector = Selector(q[h], keys, scale, first_query, p, cap)
        share = LANES // min(p.rows, p.bq)
        size = share if p.method == "scan" or p.mass > 0 else max(share, PROPOSE)
        for unit in range(blocks[0] // size, blocks[-1] // size + 1):
            own = [qb for qb in range(unit * size, (unit + 1) * size) if qb in blocks]
            frames = [make_frame(p, first_query, n_q, qb) for qb in own]
            chosen[h] += zip(frames, selector.select(frames))
    settle_pools(chosen)
    for f, kept in (x for head in chosen for x in head):
        indices += sorted(f.always() + [int(b) for b in kept])
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
