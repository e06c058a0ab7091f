# SPDX-License-Identifier: MIT
"""Writing a trace file (trace.h): chunks as a run makes them, tokens, JSON documents; whole or not at all."""

import ctypes as c
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from . import _abi
from ._arrays import vector, whole
from ._core import BLOCK_MAX, INT32_MAX, fits
from ._spans import groups_array


def temporary(path):
    """(folder that goes with the Trace or None, path of the file)"""
    if path is not None:
        return None, path
    folder = tempfile.TemporaryDirectory(prefix="sparsetrace-")
    return folder, Path(folder.name) / "run.trace"


class Writer:
    """Writes `path.part` while a run lasts and renames it to `path` in finish(). As a context manager, an exception
    removes what was written. layers, heads: recorded ones, None for all. lse: store every row's log-sum-exp. groups:
    int64 [S, 2], token spans between which attention is recorded; every add() then brings sums. FileError where the
    place cannot be written."""

    def __init__(self, path, n_tok, bq, bk, *, layers=None, heads=None, lse=False, mass_floor=0.0, groups=None):
        self.handle, self.n_tok = _abi.PTR(), whole(n_tok, "n_tok", 1, INT32_MAX)
        keep = [
            None if x is None else vector(sorted(set(x)), np.int32, (-1,), name)
            for x, name in ((layers, "layers"), (heads, "heads"))
        ]
        options = _abi.Trace_Options(lse=bool(lse), mass_floor=mass_floor)
        for name, x in zip(("layer", "head"), keep):
            if x is not None:
                if len(x) == 0:
                    raise ValueError(f"{name}s is empty; None records all")
                setattr(options, name, x.ctypes.data)
                setattr(options, f"n_{name}", len(x))
        self.groups = None if groups is None else groups_array(groups, self.n_tok)
        if groups is not None:
            options.group, options.n_group = self.groups.ctypes.data, len(self.groups)
        _abi.call(
            "st_trace_writer_create",
            os.fsencode(path),
            self.n_tok,
            whole(bq, "bq", 1, BLOCK_MAX),
            whole(bk, "bk", 1, BLOCK_MAX),
            c.byref(options),
            c.byref(self.handle),
        )

    def open_handle(self):
        if not self.handle:
            raise ValueError("the writer is closed")
        return self.handle

    def add(self, layer, problem, selection, mass, *, lse=None, exact=False, cert=None, last=None, sums=None):
        """One layer's rows: the problem they were, the selection, mass [nnz]. lse: [n_head, n_q] or None. exact:
        attention read everything, the selection lists the heaviest. cert: (rows, recall, err), rows counted within the
        problem; last: (recall, err) [n_head, 1] of the sequence's last row. sums: what attention gave between the
        writer's groups (Attended.groups)."""
        fits(selection, problem)
        a, nnz = problem.a, len(selection.indices)
        held = [vector(mass, np.float32, (nnz,), "mass")]
        kept, visible = selection.pairs(problem)
        chunk = _abi.Chunk(
            layer=whole(layer, "layer", 0, 65535),
            kind=_abi.CHUNK_EXACT if exact else _abi.CHUNK_SPARSE,
            first_query=a.first_query,
            n_q=a.n_q,
            sel=selection.struct,
            mass=held[0].ctypes.data,
            kept_pairs=visible if exact else kept,
            visible_pairs=visible,
        )

        def give(name, x, dtype, shape):
            held.append(vector(x, dtype, shape, name))
            setattr(chunk, name, held[-1].ctypes.data)

        if lse is not None:
            give("lse", lse, np.float32, (a.n_head, a.n_q))
        if cert is not None and len(cert[0]):
            n = chunk.n_cert = len(cert[0])
            give("cert_rows", np.asarray(cert[0]) + a.first_query, np.int64, (n,))
            give("cert_recall", cert[1], np.float32, (a.n_head, n))
            give("cert_err", cert[2], np.float32, (a.n_head, n))
        if sums is not None:
            if self.groups is None or not np.array_equal(sums.groups, self.groups):
                raise ValueError("sums are between other groups than the writer's")
            chunk.groups = c.pointer(sums.struct)
        if last is not None:
            give("last_recall", np.ravel(last[0]), np.float32, (a.n_head,))
            give("last_err", np.ravel(last[1]), np.float32, (a.n_head,))
        _abi.call("st_trace_writer_add", self.open_handle(), c.byref(chunk))

    def tokens(self, tokens, pieces=None):
        """Token ids [n_tok], and if known the bytes of each."""
        ids = vector(tokens, np.int32, (self.n_tok,), "tokens")
        if pieces is None:
            _abi.call("st_trace_writer_tokens", self.open_handle(), ids.ctypes.data, None, None)
            return
        if len(pieces) != self.n_tok:
            raise ValueError(f"{len(pieces)} pieces for {self.n_tok} tokens")
        ptr = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
        _abi.call("st_trace_writer_tokens", self.open_handle(), ids.ctypes.data, ptr.ctypes.data, b"".join(pieces))

    def json(self, key, document):
        """A JSON document of the metadata: "recipe", "result", ..."""
        text = json.dumps(document, allow_nan=False).encode()
        _abi.call("st_trace_writer_json", self.open_handle(), key.encode(), text)

    def finish(self):
        """Makes the file whole under its name -> its bytes."""
        size = _abi.I64()
        _abi.call("st_trace_writer_finish", self.open_handle(), c.byref(size))
        self.close()
        return size.value

    def close(self, keep_part=False):
        """Gives up what is not finished."""
        if self.handle:
            _abi.lib.st_trace_writer_free(self.handle, keep_part)
            self.handle = _abi.PTR()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "handle", None):
            self.close()
