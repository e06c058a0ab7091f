# SPDX-License-Identifier: MIT
"""A transformers layer's attention through the C kernels, one sequence at a time: what src/ggml/graph.c and
src/ggml/layer.c are to llama.cpp.

Rows that follow one another causally over one sequence are pruned; windows, holes and short rows are attended exactly.
A left padded sequence is shifted so that its first token is key 0: it gives what it gives without padding. Recorded is
what starts at key 0.
"""

import threading
import weakref
from dataclasses import dataclass, field

import numpy as np
import torch

from . import _core
from ._visible import rows_of

MATCH_SAMPLES = 32  # keys compared with the cache before a summary is trusted again


@dataclass
class Run:
    """How attention runs now. writer: {batch index: Recorder}. exact: nothing is pruned or recorded."""

    params: _core.Params = field(default_factory=_core.Params)
    exact: bool = False
    exact_below: int = 0
    writers: dict = field(default_factory=dict)
    pool: object = None
    precise: bool = False


class Layers:
    """Per attention module and sequence of the batch, the summary of its keys."""

    def __init__(self):
        self.known, self.lock = weakref.WeakKeyDictionary(), threading.Lock()

    def keys(self, module, batch, n_kv, d, bk):
        with self.lock:
            own = self.known.setdefault(module, {})
        if batch not in own or own[batch].shape != (n_kv, d, bk):
            own[batch] = _core.Keys(n_kv, d, bk)
        return own[batch]

    def forget(self, module, batch):
        with self.lock:
            self.known.get(module, {}).pop(batch, None)


LAYERS = Layers()


def attention(run, module, query, key, value, attention_mask, scale, softcap, sinks, causal, window):
    """query [batch, n_head, n_q, d], key, value [batch, n_kv_head, n_k, d] -> [batch, n_q, n_head, d_v] of the query's
    dtype."""
    n_batch, _, n_q, _ = query.shape
    n_k = key.shape[2]
    query, key, value = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (query.detach(), key.detach(), value.detach())
    )
    out = torch.empty(n_batch, n_q, query.shape[1], value.shape[3], dtype=torch.float32)
    for b in range(n_batch):
        rows = rows_of(attention_mask, b, n_batch, n_q, n_k, causal, window)
        one = Sequence(run, module, b, query[b], key[b], value[b], out[b], scale, softcap, sinks, window, causal)
        one.holes(rows.bias) if rows.bias is not None else one.intervals(rows.lo, rows.hi)
    return out if query.dtype == torch.float32 else out.to(query.dtype)


@dataclass
class Sequence:
    run: Run
    module: object
    batch: int
    q: object
    k: object
    v: object
    out: object  # [n_q, n_head, d_v]
    scale: float
    softcap: float
    sinks: object
    window: int
    causal: bool

    def problem(self, begin, end, first_key, n_k, **more):
        """Rows begin..end over keys first_key..n_k, which counts from 0 then."""
        return _core.Problem(
            self.q[:, begin:end],
            self.k[:, first_key:n_k],
            self.v[:, first_key:n_k],
            scale=self.scale,
            softcap=self.softcap,
            sinks=self.sinks,
            precise=self.run.precise,
            **more,
        )

    def place(self, begin, done):
        self.out[begin : begin + done.out.shape[1]] = torch.from_numpy(done.out.transpose(1, 0, 2))

    def holes(self, bias):
        self.place(0, _core.attend_exact(self.problem(0, len(bias), 0, bias.shape[1], bias=bias), pool=self.run.pool))

    def intervals(self, lo, hi):
        n_q, run = len(lo), self.run
        step = np.diff(hi) == 1
        ordered = self.causal & (np.append(step, False) | np.append(False, step) | (n_q == 1)) & (hi > lo)
        pruned = ordered & (hi - lo > run.exact_below) & (not run.exact) & (not self.window)
        same = np.diff(lo) == 0
        cut = (pruned[1:] != pruned[:-1]) | (ordered[1:] != ordered[:-1]) | (ordered[1:] & ~step) | (pruned[1:] & ~same)
        edges = [0, *(np.flatnonzero(cut) + 1), n_q]
        for begin, end in zip(edges[:-1], edges[1:]):
            if hi[begin:end].max() == 0:
                self.out[begin:end] = 0  # padding: sees nothing
            elif pruned[begin]:
                self.sparse(begin, end, int(lo[begin]), int(hi[end - 1]))
            else:
                self.exact(begin, end, lo[begin:end], hi[begin:end], bool(ordered[begin]))

    def sparse(self, begin, end, first_key, n_k):
        run, p = self.run, self.run.params
        problem = self.problem(begin, end, first_key, n_k)
        a = problem.a
        keys = LAYERS.keys(self.module, self.batch, a.n_kv_head, a.d_k, p.bk)
        keys.truncate(a.first_query)
        if not keys.match(problem, MATCH_SAMPLES, len(keys)):
            keys.truncate(0)
        keys.append(problem, run.pool)
        recorder = run.writers.get(self.batch) if first_key == 0 else None
        groups = recorder and recorder.groups
        kept = _core.select(problem, p, keys=keys, groups=groups, pool=run.pool)
        done = _core.attend(problem, kept, groups=groups, pool=run.pool)
        self.place(begin, done)
        if recorder is not None:
            recorder.sparse(self.module.layer_idx, problem, kept, done, run.pool)

    def exact(self, begin, end, lo, hi, ordered):
        run, p = self.run, self.run.params
        first_key = int(lo[hi > lo].min()) if not self.window and ordered else 0
        lo, hi = np.maximum(lo - first_key, 0), np.maximum(hi - first_key, 0)
        n_k = int(hi.max())
        first_query = int(hi[0]) - 1 if ordered else 0
        if ordered and first_query == 0:
            LAYERS.forget(self.module, self.batch)  # another text begins
        problem = self.problem(begin, end, first_key, first_key + n_k, lo=lo, hi=hi, first_query=first_query)
        recorder = run.writers.get(self.batch) if ordered and not run.exact and first_key == 0 else None
        if recorder is None:
            self.place(begin, _core.attend_exact(problem, pool=run.pool))
            return
        widest = int((hi - lo).max()) // p.bk + 2
        done, heaviest = _core.attend_exact_heaviest(
            problem, max(int(p.k), widest), p.bq, p.bk, groups=recorder.groups, pool=run.pool
        )
        self.place(begin, done)
        recorder.exact(self.module.layer_idx, problem, heaviest, done)


MASK64 = 2**64 - 1


def mix(x):
    """splitmix64, as the C library spreads its certified rows."""
    x = (x + 0x9E3779B97F4A7C15) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


class Recorder:
    """Gives what attention did to a trace's writer. Certified rows: one drawn in each of cert_rows strata,
    and the sequence's last row apart, as the program does."""

    def __init__(self, writer, n_tok, cert_rows, seed, lse, exact_below):
        self.writer, self.n_tok, self.cert_rows, self.seed, self.lse = writer, n_tok, cert_rows, seed, lse
        self.exact_below = exact_below
        self.pairs, self.last_recall, self.end = {}, [], {}
        self.groups = writer.groups

    def certified(self, layer, begin, end):
        first = min(self.exact_below, max(self.n_tok - 1, 0))
        n = min(self.cert_rows, self.n_tok - 1 - first)
        edges = [first + i * (self.n_tok - 1 - first) // n for i in range(n + 1)] if n > 0 else []
        rows = [e + mix(self.seed ^ layer << 40 ^ i) % (edges[i + 1] - e) for i, e in enumerate(edges[:-1])]
        return np.array([r - begin for r in rows if begin <= r < end], np.int64)

    def count(self, layer, problem, sparse, kept, visible):
        self.end[layer] = problem.a.first_query + problem.a.n_q
        own = self.pairs.setdefault(layer, [0, 0, False])
        own[0], own[1], own[2] = own[0] + kept, own[1] + visible, own[2] or sparse

    def sparse(self, layer, problem, kept, done, pool):
        a = problem.a
        end = a.first_query + a.n_q
        self.count(layer, problem, True, *kept.pairs(problem))
        rows = self.certified(layer, a.first_query, end)
        cert = (rows, *_core.certify(problem, kept, done, rows, pool=pool)) if len(rows) else None
        last = None
        if self.cert_rows and a.first_query < self.n_tok <= end:
            last = _core.certify(problem, kept, done, [self.n_tok - 1 - a.first_query], pool=pool)
            self.last_recall.append(float(last[0].mean()))
        lse = done.lse if self.lse else None
        self.writer.add(layer, problem, kept, done.mass, lse=lse, cert=cert, last=last, sums=done.groups)

    def exact(self, layer, problem, heaviest, done):
        visible = heaviest.pairs(problem)[1]
        self.count(layer, problem, False, visible, visible)
        lse = done.lse if self.lse else None
        self.writer.add(layer, problem, heaviest, heaviest.mass, lse=lse, exact=True, sums=done.groups)

    @property
    def pruned(self):
        kept, visible = (sum(p[i] for p in self.pairs.values() if p[2]) for i in (0, 1))
        return kept, visible
