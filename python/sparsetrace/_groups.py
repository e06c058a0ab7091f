# SPDX-License-Identifier: MIT
"""Attention between groups of tokens (sentences, say), and what it says: receiver heads and anchors (groups.h)."""

import ctypes as c
from dataclasses import dataclass

import numpy as np

from . import _abi
from ._arrays import view, whole


@dataclass(frozen=True)
class Receiver:
    """A head whose vertical scores have this excess kurtosis."""

    layer: int
    head: int
    kurtosis: float


class Groups:
    """spans int64 [S, 2]: tokens [begin, end) of each group. near: groups nearer than this do not count (4: the
    thought-anchors' authors')."""

    def __init__(self, trace):
        self.trace, self.n = trace, trace.info.n_group
        self.spans = view(_abi.lib.st_trace_groups(trace.handle), 2 * self.n, np.int64, trace).reshape(-1, 2)

    def __len__(self):
        return self.n

    def text(self, i):
        """The text of a group."""
        return self.trace.text_of(tuple(int(x) for x in self.spans[whole(i, "group", 0, self.n - 1)]))

    def at(self, layer, head):
        return self.trace.entry(layer)[0], self.trace.at(self.trace.layer(layer), head)

    def matrix(self, layer, head):
        """float32 [S, S]: mean attention of the tokens of group i to a token of group j."""
        out = np.empty((self.n, self.n), np.float32)
        _abi.call("st_trace_group_matrix", self.trace.handle, *self.at(layer, head), out.ctypes.data)
        return out

    def vertical(self, layer, head, *, near=4):
        """float64 [S]: mean attention that each group gets from those `near` or more behind it; NaN: there are none."""
        out = np.empty(self.n)
        _abi.call("st_trace_vertical", self.trace.handle, *self.at(layer, head), near_of(near), out.ctypes.data)
        return out

    def receivers(self, k=20, *, near=4):
        """The k heads of the most uneven vertical scores -> [Receiver], most first."""
        return receivers([self.trace], k, near=near)

    def scores(self, heads=None, *, near=4):
        """float64 [S]: mean vertical score over these receivers (default: the 20 of this trace)."""
        heads = self.receivers(near=near) if heads is None else heads
        array = (_abi.Receiver * len(heads))(*((h.layer, h.head, h.kurtosis) for h in heads))
        out = np.empty(self.n)
        _abi.call("st_receiver_scores", self.trace.handle, array, len(heads), near_of(near), out.ctypes.data)
        return out

    def anchors(self, k=5, *, heads=None, near=4):
        """The (at most) k groups of the highest score -> their numbers, highest first."""
        score = self.scores(heads, near=near)
        out = np.empty(max(whole(k, "k", 0, 2**31 - 1), 0), np.int64) if k < self.n else np.empty(self.n, np.int64)
        n = _abi.lib.st_anchors(score.ctypes.data, self.n, len(out), out.ctypes.data)
        return [int(x) for x in out[:n]]


def near_of(near):
    return whole(near, "near", 1, 2**31 - 1)


def receivers(traces, k=20, *, near=4):
    """The k heads of the highest kurtosis, mean over several traces of one model -> [Receiver]."""
    handles = (_abi.PTR * len(traces))(*(t.handle.value for t in traces))
    found, n = c.POINTER(_abi.Receiver)(), _abi.I64()
    _abi.call("st_receivers_find", handles, len(traces), near_of(near), c.byref(found), c.byref(n))
    try:
        return [Receiver(found[i].layer, found[i].head, found[i].kurtosis) for i in range(min(n.value, k))]
    finally:
        _abi.lib.st_receivers_free(found)
