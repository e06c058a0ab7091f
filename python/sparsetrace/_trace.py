# SPDX-License-Identifier: MIT
"""A trace file, opened: what was read, by whom, and how faithful the picture is.

The file is mapped; a layer's arrays are views of it and cost nothing until they are looked at. docs/trace-format.md is
the format; `safetensors.safe_open` reads the same numbers.
"""

import ctypes as c
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import _abi
from ._arrays import vector, view, whole
from ._extras import need


@dataclass(frozen=True)
class Certificate:
    """How faithful the trace is, from rows that were also attended exactly. recall: exact mass of the kept blocks,
    0..1; mean with a 95 % interval, 5th percentile over rows, the worst head's mean and which it is; err_mean: relative
    error of the attention output. n_layer, n_head, n_row: samples (rows a layer)."""

    n_layer: int
    n_head: int
    n_row: int
    recall_mean: float
    recall_ci95: tuple
    recall_p5: float
    recall_worst: float
    worst: tuple
    err_mean: float


@dataclass(frozen=True)
class Layer:
    """A recorded layer: CSR `indptr` int64 [n_head * nbq + 1], `indices` int32 [nnz], `mass` float16 [nnz]; `lse`
    float32 [n_head, n_tok] or None; `value` float32 [n_head, nbk], size |W_O v| of what a head writes if it reads nothing
    but a key of the block (mean), or None; `heads`, the recorded ones; exact: it ran unpruned. Token pairs over all heads of
    the layer."""

    layer: int
    exact: bool
    heads: tuple
    indptr: np.ndarray
    indices: np.ndarray
    mass: np.ndarray
    lse: np.ndarray | None
    kept_pairs: int
    visible_pairs: int
    exact_pairs: int
    value: np.ndarray | None = None


class Heads(Mapping):
    """layer -> its recorded heads."""

    def __init__(self, trace):
        self.trace = trace

    def __getitem__(self, layer):
        return self.trace.layer(layer).heads

    def __iter__(self):
        return iter(self.trace.layers)

    def __len__(self):
        return len(self.trace.layers)


@dataclass(frozen=True)
class Bsr:
    """FlashInfer's block-sparse index arrays (BlockSparseAttentionWrapper.plan): indptr int32 [nbq + 1], indices int32
    [nnz], M, N tokens, R, C block sizes. The blocks on the diagonal are whole: the causal mask inside them is the
    caller's."""

    indptr: np.ndarray
    indices: np.ndarray
    M: int
    N: int
    R: int
    C: int


def open(path, *, validate=False):
    """Opens a trace file -> Trace. Bounded work; validate=True also reads everything and proves it sound. FileError,
    FormatError (the byte in `position`), LimitError (a newer format)."""
    trace = Trace(path)
    if validate:
        trace.validate()
    return trace


class Trace:
    """n_tok tokens in nbq query blocks of bq rows and nbk key blocks of bk keys. complete: False if salvaged from an
    interrupted run. pruned: 1 - kept / visible token pairs of the pruned layers, the diagonal included. Layers and
    heads have the model's numbers; spans are (begin, end) tokens, end not among them; negative ones count from the
    end."""

    def __init__(self, path):
        self.path, self.handle = os.fspath(path), _abi.PTR()
        _abi.call("st_trace_open", os.fsencode(path), c.byref(self.handle))
        self.info = i = _abi.Trace_Info()
        _abi.lib.st_trace_get_info(self.handle, c.byref(i))
        self.n_tok, self.nbq, self.nbk, self.bq, self.bk = i.n_tok, i.nbq, i.nbk, i.bq, i.bk
        self.complete, self.bytes, self.mass_floor = i.complete, i.bytes, i.mass_floor
        self.by_number = {}
        for at in range(i.n_layer):
            layer = _abi.Trace_Layer()
            _abi.call("st_trace_get_layer", self.handle, at, c.byref(layer))
            self.by_number[layer.layer] = (at, layer)
        self.layers, self.heads = tuple(self.by_number), Heads(self)

    def __del__(self, free=_abi.lib.st_trace_free):
        if getattr(self, "handle", None):
            free(self.handle)

    def __repr__(self):
        return (
            f"<Trace {self.path}: {self.n_tok} tokens, {len(self.layers)} layers, {self.bq} x {self.bk} blocks, "
            f"{100 * self.pruned:.1f} % pruned>"
        )

    def validate(self):
        """Reads the whole file; FormatError if anything in it is unsound."""
        _abi.call("st_trace_validate", self.handle)

    # ---- what the run was ------------------------------------------------------------------------------------------

    @property
    def pruned(self):
        seen = self.info.visible_pairs
        return 1 - self.info.kept_pairs / seen if seen else 0.0

    @cached_property
    def tokens(self):
        """int32 [n_tok], or None if the file has none."""
        at = _abi.lib.st_trace_tokens(self.handle)
        return view(at, self.n_tok, np.int32, self) if at else None

    @property
    def text(self):
        """The whole text; bytes that are no UTF-8 become U+FFFD. "" if the file has none."""
        return self.text_of((0, self.n_tok))

    def text_of(self, span):
        """The text of a span of tokens."""
        return self.bytes_of(span).decode("utf-8", "replace")

    def bytes_of(self, span):
        begin, end = self.span(span)
        n = _abi.I64()
        at = _abi.lib.st_trace_text(self.handle, begin, end, c.byref(n))
        return c.string_at(at, n.value) if n.value > 0 else b""

    @property
    def certificate(self):
        """Certificate, or None."""
        if not self.info.has_cert:
            return None
        s = self.info.cert
        return Certificate(
            s.n_layer,
            s.n_head,
            s.n_row,
            s.recall_mean,
            tuple(s.recall_ci95),
            s.recall_p5,
            s.recall_worst,
            (s.worst_layer, s.worst_head),
            s.err_mean,
        )

    def document(self, key):
        """A JSON document of the metadata ("recipe", "result", ...), or None."""
        text = _abi.lib.st_trace_json(self.handle, key.encode())
        return None if text is None else json.loads(text)

    @property
    def recipe(self):
        return self.document("recipe") or {}

    @property
    def result(self):
        return self.document("result") or {}

    # ---- one head ----------------------------------------------------------------------------------------------------

    def entry(self, layer):
        try:
            return self.by_number[layer]
        except (KeyError, TypeError):
            raise KeyError(f"layer {layer} is not recorded; these are: {list(self.layers)}") from None

    def layer(self, number):
        """Layer; KeyError if it is not recorded."""
        s = self.entry(number)[1]
        heads = tuple(int(h) for h in view(s.head, s.n_head, np.int32, self))
        lse = view(s.lse, s.n_head * self.n_tok, np.float32, self).reshape(s.n_head, -1) if s.lse else None
        return Layer(
            s.layer,
            s.exact,
            heads,
            view(s.indptr, s.n_head * self.nbq + 1, np.int64, self),
            view(s.indices, s.nnz, np.int32, self),
            view(s.mass, s.nnz, np.float16, self),
            lse,
            s.kept_pairs,
            s.visible_pairs,
            s.exact_pairs,
            view(s.value, s.n_head * self.nbk, np.float32, self).reshape(s.n_head, self.nbk) if s.value else None,
        )

    def at(self, layer, head):
        heads = layer.heads
        if head not in heads:
            raise KeyError(f"head {head} of layer {layer.layer} is not recorded; these are: {list(heads)}")
        return heads.index(head)

    def csr(self, layer, head):
        """(indptr int64 [nbq + 1], indices int32, mass float32) of one head; arrays of NumPy alone."""
        got = self.layer(layer)
        h = self.at(got, head)
        indptr = got.indptr[h * self.nbq : (h + 1) * self.nbq + 1]
        part = slice(int(indptr[0]), int(indptr[-1]))
        return indptr - indptr[0], got.indices[part], got.mass[part].astype(np.float32)

    def mass(self, layer, head):
        """scipy.sparse.csr_array float32 [nbq, nbk]: mean attention mass that each query block puts on each key
        block."""
        indptr, indices, mass = self.csr(layer, head)
        sparse = need("scipy.sparse", "scipy")
        return sparse.csr_array((mass, indices, indptr), shape=(self.nbq, self.nbk))

    def mask(self, layer, head):
        """scipy.sparse.csr_array bool [nbq, nbk]: the kept blocks."""
        indptr, indices, mass = self.csr(layer, head)
        sparse = need("scipy.sparse", "scipy")
        return sparse.csr_array((np.ones(len(mass), bool), indices, indptr), shape=(self.nbq, self.nbk))

    # ---- who reads what ----------------------------------------------------------------------------------------------

    def span(self, span):
        """(begin, end) within 0..n_tok, from (begin, end), a slice, one token's number, or a text that occurs once."""
        if isinstance(span, str):
            return self.find(span)
        if isinstance(span, slice):
            if span.step not in (None, 1):
                raise ValueError(f"a span has no step, {span} has")
            span = (span.start or 0, self.n_tok if span.stop is None else span.stop)
        elif not isinstance(span, (tuple, list)):
            one = whole(span, "span", -self.n_tok, self.n_tok - 1) % self.n_tok
            span = (one, one + 1)
        if len(span) != 2:
            raise ValueError(f"a span is (begin, end), not {span!r}")
        begin, end = (whole(x, "span", -self.n_tok, self.n_tok) for x in span)
        begin, end = (x + self.n_tok if x < 0 else x for x in (begin, end))
        if begin >= end:
            raise ValueError(f"the span {begin}..{end} has no token")
        return begin, end

    def find(self, text, which=0):
        """(begin, end): the tokens that share a byte with this text. which: 0 for the only occurrence, 1 for the first,
        ... ArgumentError says how many there are."""
        data, begin, end = text.encode(), _abi.I64(), _abi.I64()
        if not data:
            raise ValueError("there is no text to find")
        which = whole(which, "which", 0, 2**31 - 1)
        _abi.call("st_trace_find_text", self.handle, data, len(data), which, c.byref(begin), c.byref(end), None)
        return begin.value, end.value

    def part(self, rows, layers, heads):
        """The struct, and the arrays that it points to."""
        part, held = _abi.Trace_Part(), []
        for name, x in (("layer", layers), ("head", heads)):
            if x is not None:
                x = vector([x] if isinstance(x, int) else list(x), np.int32, (-1,), f"{name}s")
                if len(x) == 0:
                    raise ValueError(f"{name}s is empty; None means all")
                held.append(x)
                setattr(part, name, x.ctypes.data)
                setattr(part, f"n_{name}", len(x))
        if rows is not None:
            part.row_begin, part.row_end = self.span(rows)
        return part, held

    def rows(self, span=None, *, layers=None, heads=None):
        """What these rows read: float64 [nbk], mean over layers, heads and the query blocks that touch the span of the
        mass on each key block."""
        part, _held = self.part(span, layers, heads)
        out = np.empty(self.nbk)
        _abi.call("st_trace_reads", self.handle, c.byref(part), out.ctypes.data)
        return out

    def who_reads(self, span, *, rows=None, layers=None, heads=None):
        """Who reads these keys: float64 [nbq], mean over layers and heads of the mass that each query block puts on the
        key blocks that touch the span."""
        begin, end = self.span(span)
        part, _held = self.part(rows, layers, heads)
        out = np.empty(self.nbq)
        _abi.call("st_trace_readers", self.handle, c.byref(part), begin, end, out.ctypes.data)
        return out

    def readers(self, span, k=10, *, rows=None):
        """The heads that read a span most: [(mass, layer, head)], falling; mass: mean over query blocks of `rows`
        (all)."""
        found = []
        for layer in self.layers:
            for head in self.heads[layer]:
                got = self.who_reads(span, rows=rows, layers=[layer], heads=[head])
                begin, end = self.span(rows) if rows is not None else (0, self.n_tok)
                found.append((float(got[begin // self.bq : (end - 1) // self.bq + 1].mean()), layer, head))
        return sorted(found, key=lambda f: (-f[0], f[1], f[2]))[:k]

    def routes(self, source, target=-1, n=10, *, sink=False, heads=None, by=None):
        """How the source's tokens reach the target's (default: the last) through layers and heads -> Routes, the n (at
        most 1000) heaviest. sink: attention to the first key block counts. heads: [(layer, head)], only these move
        anything. by: "value" weighs reads by the size of what they carry (recorded by trace --values), "mass" does not;
        None: value where it was recorded. ArgumentError: no sizes were recorded, the source begins behind the target, a head that is not recorded."""
        from ._routes import routes

        return routes(self, source, target, n, sink, heads, by)

    @cached_property
    def groups(self):
        """Groups, or None if the run was given none."""
        from ._groups import Groups

        return Groups(self) if self.info.n_group else None

    # ---- for other tools ---------------------------------------------------------------------------------------------

    def window(self, layer, head, span):
        """float32 [n, n]: a head's attention among the n tokens of a small span, for tools that draw token by token
        (circuitsvis, BertViz). A block's mass is spread evenly over the keys in it that a row may read; exact where the
        trace was made with bq=1, bk=1. ValueError beyond 4096 tokens."""
        begin, end = self.span(span)
        if end - begin > 4096:
            raise ValueError(f"the span has {end - begin} tokens; a window has at most 4096")
        indptr, indices, mass = self.csr(layer, head)
        out = np.zeros((end - begin, end - begin), np.float32)
        for row in range(begin, end):
            own = slice(int(indptr[row // self.bq]), int(indptr[row // self.bq + 1]))
            for block, m in zip(indices[own], mass[own]):
                first, last = int(block) * self.bk, min((int(block) + 1) * self.bk, row + 1)
                out[row - begin, max(first - begin, 0) : max(last - begin, 0)] = m / max(last - first, 1)
        return out

    def to_bsr(self, layer, head):
        """FlashInfer's index arrays of one head -> Bsr."""
        indptr, indices, _ = self.csr(layer, head)
        return Bsr(indptr.astype(np.int32), np.array(indices), self.n_tok, self.n_tok, self.bq, self.bk)

    def to_block_mask(self, layer, device="cpu"):
        """torch FlexAttention's BlockMask of a layer, [1, recorded heads, n_tok, n_tok], causal inside its blocks.
        Takes nbq * nbk * 5 bytes a head."""
        from ._flex import block_mask

        return block_mask(self, layer, device)

    def plot_head(self, layer, head, ax=None):
        """Draws a head's block map (matplotlib) -> Axes. Colour: square root of the mass."""
        from ._pictures import plot_head

        return plot_head(self, layer, head, ax)

    def show(self, *, height=640, max_bytes=20_000_000, cli=None):
        """The viewer's page, inline in a notebook -> Page (also .html, .save(path)). The program `sparsetrace` makes
        it: cli, else the variable SPARSETRACE_CLI, else the PATH; FileNotFoundError says so where it is not found."""
        from ._pictures import page

        return page(self, height, max_bytes, cli)
