# SPDX-License-Identifier: MIT
"""sparsetrace: which parts of a very long context a language model really uses.

    trace = sparsetrace.open("run.trace")             a trace, lazily
    sparsetrace.hf.trace(model, input_ids, k=8)       run a transformers model, traced (import sparsetrace.hf)
    sparsetrace.select(Problem(q, k, v), Params(k=8)) the selection alone, on arrays

docs/python.md is the page of this package.
"""

from ._abi import ArgumentError, FileError, FormatError, LimitError, ModelError, OutOfMemory, SparseTraceError, lib
from ._core import (
    Attended,
    Keys,
    Params,
    Pool,
    Problem,
    Selection,
    attend,
    attend_exact,
    attend_exact_heaviest,
    blocks_for_pruned,
    certify,
    k_for_pruned,
    select,
    select_all,
)
from ._groups import Groups, Receiver, receivers
from ._map import MapError, map
from ._routes import Hop, Route, Routes
from ._spans import sentences
from ._trace import Bsr, Certificate, Layer, Trace, open
from ._writer import Writer

__version__ = lib.st_version().decode()

__all__ = [
    "ArgumentError",
    "Attended",
    "Bsr",
    "Certificate",
    "FileError",
    "FormatError",
    "Groups",
    "Hop",
    "Keys",
    "Layer",
    "LimitError",
    "MapError",
    "ModelError",
    "OutOfMemory",
    "Params",
    "Pool",
    "Problem",
    "Receiver",
    "Route",
    "Routes",
    "Selection",
    "SparseTraceError",
    "Trace",
    "Writer",
    "attend",
    "attend_exact",
    "attend_exact_heaviest",
    "blocks_for_pruned",
    "certify",
    "cpu_name",
    "k_for_pruned",
    "map",
    "open",
    "receivers",
    "select",
    "select_all",
    "sentences",
]


def cpu_name():
    """The kernels in use: "scalar", "avx2" or "avx512"; the variable ST_CPU lowers them."""
    return lib.st_cpu_name().decode()
