# SPDX-License-Identifier: MIT
"""Groups of tokens (sentences, say): where they are, and the sums that attention makes over them."""

import ctypes as c
from dataclasses import dataclass

import numpy as np

from . import _abi
from ._arrays import vector

SPLITS = ("thought-anchors", "lines")
INT32_MAX = 2**31 - 1


def sentences(text, how="thought-anchors", *, regex=None):
    """The sentences of a text -> int64 [n, 2], spans of its UTF-8 bytes. how: "thought-anchors", as that paper's authors
    split (reason.h), or "lines"; regex: what stands between the matches of this POSIX extended regular expression.
    ArgumentError for a bad expression."""
    data = text.encode() if isinstance(text, str) else bytes(text)
    if how not in SPLITS:
        raise ValueError(f"how is {how!r}; one of {', '.join(SPLITS)} is wanted")
    p = _abi.Split_Params(SPLITS.index(how) if regex is None else len(SPLITS), regex and regex.encode())
    found, n = c.POINTER(_abi.Group)(), _abi.I64()
    _abi.call("st_sentences", data, _abi.Group(0, len(data)), c.byref(p), c.byref(found), c.byref(n))
    try:
        return np.array([(found[i].begin, found[i].end) for i in range(n.value)], np.int64).reshape(-1, 2)
    finally:
        _abi.lib.st_sentences_free(found)


def tokens_of_bytes(spans, pieces):
    """Spans of a text's bytes [S, 2] -> of its tokens [S, 2], pieces being the bytes of each token. A token that two
    spans share is the first one's. ArgumentError with the number of a span that has no token of its own."""
    spans = vector(spans, np.int64, (-1, 2), "spans")
    edge = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
    out = np.empty_like(spans)
    _abi.call(
        "st_groups_from_bytes", spans.ctypes.data, len(spans), edge.ctypes.data, len(pieces), out.ctypes.data
    )
    return out


def groups_array(groups, n_tok):
    """int64 [S, 2] of token groups [begin, end) in rising order; ArgumentError with the number of the first bad one."""
    g = vector(groups, np.int64, (-1, 2), "groups")
    if len(g) == 0:
        raise ValueError("groups is empty; None means none")
    _abi.call("st_groups_check", g.ctypes.data, len(g), n_tok)
    return g


@dataclass
class GroupSums:
    """Room for a call's attention from group to group: sum float32 [n_head, n, S], of the groups first .. first + n
    that have rows in the call (attend.h)."""

    groups: np.ndarray
    first: int
    sum: np.ndarray
    struct: object

    @staticmethod
    def room(problem, groups):
        a, first = problem.a, _abi.I64()
        groups = groups_array(groups, INT32_MAX)
        n = _abi.lib.st_groups_touched(
            groups.ctypes.data, len(groups), a.first_query, a.first_query + a.n_q, c.byref(first)
        )
        total = np.zeros((a.n_head, n, len(groups)), np.float32)
        struct = _abi.Group_Sums(groups.ctypes.data, len(groups), first.value, n, total.ctypes.data)
        return GroupSums(groups, first.value, total, struct)
