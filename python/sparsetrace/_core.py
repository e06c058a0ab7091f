# SPDX-License-Identifier: MIT
"""Selection and attention on arrays: which key blocks a query block keeps, and attention over them.

Shapes are [n_head, n_tok, d]; q has n_head heads, k and v n_kv_head, a divisor. Key j stands at position j, query row i
at first_query + i; without lo and hi the mask is causal. include/sparsetrace/select.h and attend.h are the manual.
"""

import ctypes as c
import math
import threading
from dataclasses import dataclass

import numpy as np

from . import _abi
from ._arrays import Operand, vector, view, whole
from ._spans import GroupSums

BLOCK_MAX, INT32_MAX = 1024, 2**31 - 1


@dataclass(frozen=True)
class Params:
    """How blocks are chosen; select.h has each field's meaning and range.

    method: stream, flat, scan, exact, hip, window or auto. bq, bk: rows of a query block, keys of a key block. k: kept
    key blocks per query block, always-kept ones included, in eighths: of 8 neighbouring query blocks of k 4.25 two keep 5. mass: 0, or the share of the mass to keep (then k is the
    most). pooled: heads and neighbouring query blocks share their budgets, and k is a mean. grow_tok: length over
    which budgets grow to seven times what they are at first, doubled in the last 64 tokens; 0: they do not, -1: up to
    the last row (hf: the prompt). Raises ValueError or TypeError by the field's name."""

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

    def __post_init__(self):
        _abi.call("st_select_params_check", c.byref(self.struct()))

    def struct(self):
        if self.method not in _abi.METHODS:
            raise ValueError(f"method is {self.method!r}; one of {', '.join(_abi.METHODS)} is wanted")
        small = {
            name: whole(getattr(self, name), name, -INT32_MAX, INT32_MAX)
            for name in ("bq", "bk", "sink_blk", "window_blk", "rows", "beam")
        }
        return _abi.Select_Params(
            method=_abi.METHODS.index(self.method),
            k=number(self.k, "k"),
            mass=number(self.mass, "mass"),
            rerank=number(self.rerank, "rerank"),
            pooled=bool(self.pooled),
            grow_tok=whole(self.grow_tok, "grow_tok", -1, INT32_MAX),
            **small,
        )

    @property
    def min_k(self):
        """The always-kept blocks of a query block deep in a sequence: the least k that makes sense."""
        return _abi.lib.st_select_min_k(c.byref(self.struct()))


def number(x, name):
    try:
        return float(x)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {x!r}; a number is wanted") from None


def k_for_pruned(pruned, n_tok, params=None, exact_below=0):
    """Largest k, in eighths, that prunes at least this share of the causal pairs of n_tok tokens, from the geometry
    alone; rows that see at most exact_below keys keep them all. LimitError says what can be had where that much cannot."""
    k = _abi.F64()
    _abi.call(
        "st_select_k_for_pruned",
        c.byref((params or Params()).struct()),
        0,
        whole(n_tok, "n_tok", 1, INT32_MAX),
        whole(exact_below, "exact_below", 0, INT32_MAX),
        number(pruned, "pruned"),
        c.byref(k),
    )
    return int(k.value) if k.value.is_integer() else k.value


def blocks_for_pruned(pruned, n_tok, params=None, exact_below=0):
    """(bq, bk) that suit pruning this share of n_tok tokens: up to 0.93 8 x 4 from 1,425 tokens on, 16 x 8 from 2,800,
    32 x 16 from 5,575; later for larger shares (st_select_blocks_for_pruned in select.h)."""
    struct = (params or Params()).struct()
    n_tok, exact_below = whole(n_tok, "n_tok", 1, INT32_MAX), whole(exact_below, "exact_below", 0, INT32_MAX)
    _abi.lib.st_select_blocks_for_pruned(c.byref(struct), n_tok, exact_below, number(pruned, "pruned"))
    return struct.bq, struct.bk


class Pool:
    """Worker threads: Pool(n), n >= 1 counts the caller, 0 is one per processor. Results never depend on their number.
    May be shared between Python threads: calls take turns."""

    def __init__(self, n_thread=0):
        self.handle, self.lock = _abi.PTR(), threading.Lock()
        _abi.call("st_pool_create", whole(n_thread, "n_thread", 0, 1024), c.byref(self.handle))

    def __len__(self):
        return _abi.lib.st_pool_size(self.handle)

    def __del__(self, free=_abi.lib.st_pool_free):
        if getattr(self, "handle", None):
            free(self.handle)


class NoPool:
    """The calling thread alone."""

    handle = None

    def __init__(self):
        self.lock = threading.Lock()


def turn(pool):
    """(handle, lock) for one call."""
    if pool is not None and not isinstance(pool, Pool):
        raise TypeError(f"pool is a {type(pool).__name__}; a sparsetrace.Pool or None is wanted")
    pool = pool or NoPool()
    return pool.handle, pool.lock


class Problem:
    """One attention problem (attn.h). Holds the arrays, not copies of them.

    q [n_head, n_q, d_k], k [n_kv_head, n_k, d_k], v [n_kv_head, n_k, d_v] or None where only blocks are chosen;
    float32, float16 or bfloat16, NumPy or torch on the CPU. scale: 1 / sqrt(d_k) by default. first_query: n_k - n_q by
    default. softcap: 0 for none. sinks: [n_head] or None. lo, hi: [n_q] visible keys of each row, both or neither
    (causal). bias: float16 [n_q, n_k], -inf hides; attention only. precise: products in float32 instead of 16-bit fixed
    point. TypeError for a dtype, ValueError (ArgumentError) for a shape, stride, device or rule, by the operand's
    name."""

    def __init__(
        self,
        q,
        k,
        v=None,
        *,
        scale=None,
        first_query=None,
        softcap=0.0,
        sinks=None,
        lo=None,
        hi=None,
        bias=None,
        precise=False,
    ):
        q, k = Operand(q, "q"), Operand(k, "k")
        self.operands = [q, k] + ([Operand(v, "v")] if v is not None else [])
        (n_head, n_q, d_k), (n_kv, n_k, _) = q.shape, k.shape
        if k.shape[2] != d_k:
            raise ValueError(f"q has rows of {d_k} numbers, k of {k.shape[2]}")
        if v is not None and self.operands[2].shape[:2] != (n_kv, n_k):
            raise ValueError(
                f"k has the shape {k.shape}, v {self.operands[2].shape}: heads and tokens must be the same"
            )
        if n_k > INT32_MAX or n_head > 65535:
            raise ValueError(f"{n_head} heads, {n_k} keys: at most 65535 and {INT32_MAX}")
        self.a = a = _abi.Attn(n_q=n_q, n_k=n_k, n_head=n_head, n_kv_head=n_kv, d_k=d_k, q=q.rows, k=k.rows)
        a.d_v = self.operands[2].shape[2] if v is not None else d_k
        a.v = self.operands[2].rows if v is not None else _abi.Rows()
        a.scale = 1 / math.sqrt(d_k) if scale is None else number(scale, "scale")
        a.softcap, a.precise = number(softcap, "softcap"), bool(precise)
        a.first_query = n_k - n_q if first_query is None else whole(first_query, "first_query", -INT32_MAX, INT32_MAX)
        self.extra(a, sinks, lo, hi, bias)
        _abi.call("st_attn_check", c.byref(a))

    def extra(self, a, sinks, lo, hi, bias):
        self.kept = kept = {}
        if sinks is not None:
            kept["sinks"] = vector(sinks, np.float32, (a.n_head,), "sinks")
        if (lo is None) != (hi is None):
            raise ValueError("lo and hi go together")
        if lo is not None:
            kept["lo"] = vector(lo, np.int32, (a.n_q,), "lo")
            kept["hi"] = vector(hi, np.int32, (a.n_q,), "hi")
        if bias is not None:
            kept["bias"] = vector(bias, np.float16, (a.n_q, a.n_k), "bias")
            a.stride_bias_bytes = 2 * a.n_k
        for name, array in kept.items():
            setattr(a, name, array.ctypes.data)

    @property
    def has_v(self):
        return len(self.operands) == 3


class Selection:
    """Kept key blocks of every head and query block, as CSR: row h * nbq + (b - first_blk) of `indptr` [n_head * nbq +
    1] and `indices` [nnz] (ascending). `mass` [nnz] is None until attention gave it. Arrays are read-only and live in
    C. Made with groups, by a method that weighs more than it keeps: `share` [n_head, n_q], what the kept blocks have of
    the mass of all that was weighed, and `left`, a GroupSums of the rest; else both None."""

    def __init__(self, struct, left=None):
        self.struct = struct
        s = struct.contents
        self.n_head, self.bq, self.bk = s.n_head, s.bq, s.bk
        self.first_blk, self.nbq, self.nbk, self.scanned = s.first_blk, s.nbq, s.nbk, s.scanned
        self.indptr = view(s.indptr, s.n_head * s.nbq + 1, np.int64, self)
        self.indices = view(s.indices, int(self.indptr[-1]), np.int32, self)
        self.mass = view(s.mass, int(self.indptr[-1]), np.float32, self) if s.mass else None
        self.share = self.left = None
        if left is not None and s.share:
            self.share, self.left = view(s.share, left[1], np.float32, self).reshape(s.n_head, -1), left[0]

    def __del__(self, free=_abi.lib.st_selection_free):
        if getattr(self, "struct", None) is not None:
            free(self.struct)

    def row(self, head, blk):
        """Key blocks kept by query block blk (its number in the sequence) in a head: int32 array."""
        head = whole(head, "head", 0, self.n_head - 1)
        blk = whole(blk, "blk", self.first_blk, self.first_blk + self.nbq - 1) - self.first_blk
        at = head * self.nbq + blk
        return self.indices[self.indptr[at] : self.indptr[at + 1]]

    def pairs(self, problem):
        """(kept, visible) token pairs over all heads."""
        kept, visible = _abi.I64(), _abi.I64()
        fits(self, problem)
        _abi.lib.st_selection_pairs(self.struct, c.byref(problem.a), c.byref(kept), c.byref(visible))
        return kept.value, visible.value


def fits(selection, problem):
    """ValueError if the selection was made for other shapes: C trusts it."""
    a, s = problem.a, selection.struct.contents
    first = a.first_query // s.bq
    nbq = (a.first_query + a.n_q - 1) // s.bq - first + 1
    have = (s.n_head, s.first_blk, s.nbq, s.nbk)
    want = (a.n_head, first, nbq, -(-a.n_k // s.bk))
    if have != want:
        raise ValueError(
            f"the selection has (heads, first block, query blocks, key blocks) {have}, the operands {want}"
        )


class Keys:
    """The summary of a growing cache's keys: Keys(n_kv_head, d_k, bk). Made once, appended to, used by `select`."""

    def __init__(self, n_kv_head, d_k, bk=16):
        self.handle, self.shape = _abi.PTR(), (n_kv_head, d_k, bk)
        _abi.call(
            "st_keys_create",
            whole(n_kv_head, "n_kv_head", 1, 65535),
            whole(d_k, "d_k", 1, 2048),
            whole(bk, "bk", 1, BLOCK_MAX),
            c.byref(self.handle),
        )

    def __len__(self):
        return _abi.lib.st_keys_count(self.handle)

    def append(self, problem, pool=None):
        """Takes in the problem's keys from len(self) on, and its query rows."""
        handle, lock = turn(pool)
        with lock:
            _abi.call("st_keys_append", self.handle, c.byref(problem.a), handle)

    def truncate(self, n_tok):
        """Forgets keys from n_tok on."""
        _abi.lib.st_keys_truncate(self.handle, whole(n_tok, "n_tok", 0, INT32_MAX))

    def match(self, problem, n_sample=32, seed=0):
        """False if one of n_sample known keys differs from the problem's."""
        a = problem.a
        if (a.n_kv_head, a.d_k) != self.shape[:2] or a.n_k < len(self):
            return False
        return _abi.lib.st_keys_match(self.handle, c.byref(a), whole(n_sample, "n_sample", 0, 1 << 20), seed % 2**64)

    def __del__(self, free=_abi.lib.st_keys_free):
        if getattr(self, "handle", None):
            free(self.handle)


def select(problem, params=None, *, keys=None, groups=None, pool=None):
    """The key blocks that `params` keeps -> Selection. keys: a Keys that has taken in the problem, or None. groups: int64
    [S, 2], token spans: also what is weighed and not kept, by them (Selection.left)."""
    params, found = params or Params(), c.POINTER(_abi.Selection)()
    if keys is not None and (
        keys.shape != (problem.a.n_kv_head, problem.a.d_k, params.bk) or len(keys) != problem.a.n_k
    ):
        raise ValueError(
            f"keys has the shape {keys.shape} and {len(keys)} keys, the problem "
            f"{(problem.a.n_kv_head, problem.a.d_k, params.bk)} and {problem.a.n_k}"
        )
    left = None if groups is None else GroupSums.room(problem, groups)
    handle, lock = turn(pool)
    with lock:
        _abi.call(
            "st_select_weighed",
            c.byref(problem.a),
            c.byref(params.struct()),
            keys and keys.handle,
            handle,
            None if left is None else c.byref(left.struct),
            c.byref(found),
        )
    return Selection(found, None if left is None else (left, problem.a.n_head * problem.a.n_q))


def select_all(problem, bq=32, bk=16):
    """Every visible key block -> Selection: attention over it is exact attention."""
    found = c.POINTER(_abi.Selection)()
    _abi.call(
        "st_select_all",
        c.byref(problem.a),
        whole(bq, "bq", 1, BLOCK_MAX),
        whole(bk, "bk", 1, BLOCK_MAX),
        c.byref(found),
    )
    return Selection(found)


@dataclass
class Attended:
    """out float32 [n_head, n_q, d_v] (a view of [n_q, n_head, d_v]), lse float32 [n_head, n_q], mass float32 [nnz] or
    None, groups GroupSums or None."""

    out: np.ndarray
    lse: np.ndarray
    mass: np.ndarray | None
    struct: object
    groups: GroupSums | None = None

    @staticmethod
    def room(problem, nnz, groups=None):
        if not problem.has_v:
            raise ValueError("attention needs v")
        a = problem.a
        out, lse = np.empty((a.n_q, a.n_head, a.d_v), np.float32), np.empty((a.n_head, a.n_q), np.float32)
        mass = None if nnz is None else np.empty(nnz, np.float32)
        sums = None if groups is None else GroupSums.room(problem, groups)
        struct = _abi.Attend_Out(
            out.ctypes.data,
            a.n_head * a.d_v,
            a.d_v,
            lse.ctypes.data,
            None if mass is None else mass.ctypes.data,
            None if sums is None else c.pointer(sums.struct),
        )
        struct.owner = (out, lse, mass, sums)  # whatever becomes of the fields, C's memory stays
        return Attended(out.transpose(1, 0, 2), lse, mass, struct, sums)


def attend(problem, selection, *, groups=None, pool=None):
    """Attention over the kept blocks, renormalised -> Attended. groups: int64 [S, 2], token spans between which
    attention is summed up; of a selection made with the same groups the sums estimate the exact attention."""
    fits(selection, problem)
    got = Attended.room(problem, len(selection.indices), groups)
    handle, lock = turn(pool)
    with lock:
        _abi.call("st_attend", c.byref(problem.a), selection.struct, handle, c.byref(got.struct))
    if got.groups is not None and selection.left is not None:
        if not np.array_equal(got.groups.groups, selection.left.groups):
            raise ValueError("the selection was made with other groups")
        got.groups.sum += selection.left.sum
    return got


def attend_exact(problem, *, pool=None):
    """Exact attention -> Attended, without mass."""
    got = Attended.room(problem, None)
    handle, lock = turn(pool)
    with lock:
        _abi.call("st_attend_exact", c.byref(problem.a), handle, c.byref(got.struct))
    return got


def attend_exact_heaviest(problem, k, bq=32, bk=16, *, groups=None, pool=None):
    """Exact attention and the k heaviest blocks of each query block -> Attended, Selection with mass. groups: as
    attend's."""
    got, found = Attended.room(problem, None, groups), c.POINTER(_abi.Selection)()
    handle, lock = turn(pool)
    with lock:
        _abi.call(
            "st_attend_exact_heaviest",
            c.byref(problem.a),
            whole(bq, "bq", 1, BLOCK_MAX),
            whole(bk, "bk", 1, BLOCK_MAX),
            whole(k, "k", 1, INT32_MAX),
            handle,
            c.byref(got.struct),
            c.byref(found),
        )
    return got, Selection(found)


def certify(problem, selection, attended, rows, *, pool=None):
    """Exact attention of some rows against what the sparse run did there -> recall, err: float32 [n_head, len(rows)]
    each; the exact mass of the kept blocks, and |sparse - exact| / |exact| of the output. rows: ascending row
    numbers."""
    fits(selection, problem)
    a, rows = problem.a, vector(rows, np.int64, (-1,), "rows")
    if attended.struct.owner[0].shape != (a.n_q, a.n_head, a.d_v):
        raise ValueError(f"attended is of the shape {attended.struct.owner[0].shape}, not of the problem's")
    recall, err = (np.empty((a.n_head, len(rows)), np.float32) for _ in range(2))
    handle, lock = turn(pool)
    with lock:
        _abi.call(
            "st_certify",
            c.byref(a),
            selection.struct,
            c.byref(attended.struct),
            rows.ctypes.data,
            len(rows),
            handle,
            recall.ctypes.data,
            err.ctypes.data,
        )
    return recall, err
