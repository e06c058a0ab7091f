# SPDX-License-Identifier: MIT
"""The public C ABI, as ctypes sees it: structs, functions, and how a failure becomes an exception.

tests/python/test_package_abi.py holds every line of this file against the headers, the compiler and the library's
symbols. What C takes as a pointer to numbers is a void pointer here; _arrays.py proves shapes before one is made.
"""

import ctypes as c
import os
from pathlib import Path

I32, I64, U64, F32, F64 = c.c_int, c.c_int64, c.c_uint64, c.c_float, c.c_double
PTR, STR, SIZE = c.c_void_p, c.c_char_p, c.c_size_t
P = c.POINTER

# ---- enums -------------------------------------------------------------------------------------------------------

OK, ERR_ARG, ERR_MEM, ERR_IO, ERR_FORMAT, ERR_LIMIT, ERR_MODEL, ERR_CANCELLED = range(8)
DTYPE_F32, DTYPE_F16, DTYPE_BF16 = range(3)
METHODS = ("stream", "flat", "scan", "exact", "hip", "window", "auto")
CHUNK_SPARSE, CHUNK_EXACT = range(2)

# ---- structs: the name in C is st_ and the name here in small letters ---------------------------------------------


class Error(c.Structure):
    _fields_ = [("status", I32), ("position", I64), ("message", c.c_char * 480)]


class Rows(c.Structure):
    _fields_ = [("data", PTR), ("dtype", I32), ("to_f32", PTR), ("stride_head_bytes", I64), ("stride_tok_bytes", I64)]


class Attn(c.Structure):
    _fields_ = [
        ("n_q", I64),
        ("n_k", I64),
        ("n_head", I32),
        ("n_kv_head", I32),
        ("d_k", I32),
        ("d_v", I32),
        ("first_query", I64),
        ("q", Rows),
        ("k", Rows),
        ("v", Rows),
        ("scale", F32),
        ("softcap", F32),
        ("precise", c.c_bool),
        ("sinks", PTR),
        ("lo", PTR),
        ("hi", PTR),
        ("bias", PTR),
        ("stride_bias_bytes", I64),
        ("slope", PTR),
        ("edit", PTR),
        ("n_edit", I64),
    ]


class Select_Params(c.Structure):
    _fields_ = [
        ("method", I32),
        ("bq", I32),
        ("bk", I32),
        ("k", F64),
        ("mass", F32),
        ("sink_blk", I32),
        ("window_blk", I32),
        ("rows", I32),
        ("beam", I32),
        ("rerank", F32),
        ("pooled", c.c_bool),
        ("grow_tok", I64),
    ]


class Selection(c.Structure):
    _fields_ = [
        ("n_head", I32),
        ("bq", I32),
        ("bk", I32),
        ("first_blk", I64),
        ("nbq", I64),
        ("nbk", I64),
        ("indptr", PTR),
        ("indices", PTR),
        ("mass", PTR),
        ("share", PTR),
        ("scanned", c.c_bool),
    ]


class Group(c.Structure):
    _fields_ = [("begin", I64), ("end", I64)]


class Group_Sums(c.Structure):
    _fields_ = [("group", PTR), ("n_group", I64), ("first", I64), ("n", I64), ("sum", PTR)]


class Attend_Out(c.Structure):
    _fields_ = [
        ("out", PTR),
        ("stride_tok", I64),
        ("stride_head", I64),
        ("lse", PTR),
        ("mass", PTR),
        ("groups", P(Group_Sums)),
    ]


class Chunk(c.Structure):
    _fields_ = [
        ("layer", I32),
        ("kind", I32),
        ("first_query", I64),
        ("n_q", I64),
        ("sel", P(Selection)),
        ("mass", PTR),
        ("lse", PTR),
        ("kept_pairs", I64),
        ("visible_pairs", I64),
        ("n_cert", I64),
        ("cert_rows", PTR),
        ("cert_recall", PTR),
        ("cert_err", PTR),
        ("last_recall", PTR),
        ("last_err", PTR),
        ("groups", P(Group_Sums)),
        ("value", PTR),
    ]


class Certificate(c.Structure):
    _fields_ = [
        ("n_layer", I64),
        ("n_head", I64),
        ("n_row", I64),
        ("recall_mean", F64),
        ("recall_ci95", F64 * 2),
        ("recall_p5", F64),
        ("recall_worst", F64),
        ("worst_layer", I32),
        ("worst_head", I32),
        ("err_mean", F64),
    ]


class Trace_Options(c.Structure):
    _fields_ = [
        ("lse", c.c_bool),
        ("mass_floor", F32),
        ("layer", PTR),
        ("n_layer", I64),
        ("head", PTR),
        ("n_head", I64),
        ("row_begin", I64),
        ("row_end", I64),
        ("group", PTR),
        ("n_group", I64),
    ]


class Trace_Info(c.Structure):
    _fields_ = [
        ("n_tok", I64),
        ("nbq", I64),
        ("nbk", I64),
        ("bytes", I64),
        ("n_tok_run", I64),
        ("bq", I32),
        ("bk", I32),
        ("n_layer", I64),
        ("complete", c.c_bool),
        ("has_lse", c.c_bool),
        ("has_cert", c.c_bool),
        ("n_group", I64),
        ("mass_floor", F32),
        ("row_begin", I64),
        ("row_end", I64),
        ("kept_pairs", I64),
        ("visible_pairs", I64),
        ("exact_pairs", I64),
        ("cert", Certificate),
    ]


class Trace_Layer(c.Structure):
    _fields_ = [
        ("layer", I32),
        ("exact", c.c_bool),
        ("n_head", I64),
        ("nnz", I64),
        ("head", PTR),
        ("indptr", PTR),
        ("indices", PTR),
        ("mass", PTR),
        ("lse", PTR),
        ("kept_pairs", I64),
        ("visible_pairs", I64),
        ("exact_pairs", I64),
        ("group_nnz", I64),
        ("group_indptr", PTR),
        ("group_indices", PTR),
        ("group_mean", PTR),
        ("value", PTR),
    ]


class Trace_Part(c.Structure):
    _fields_ = [
        ("layer", PTR),
        ("n_layer", I64),
        ("head", PTR),
        ("n_head", I64),
        ("row_begin", I64),
        ("row_end", I64),
    ]


class Receiver(c.Structure):
    _fields_ = [("layer", I32), ("head", I32), ("kurtosis", F64)]


class Split_Params(c.Structure):
    _fields_ = [("how", I32), ("regex", STR)]


class Route_Head(c.Structure):
    _fields_ = [("layer", I32), ("head", I32), ("share", F64)]


class Route_Params(c.Structure):
    _fields_ = [
        ("source_begin", I64),
        ("source_end", I64),
        ("target_begin", I64),
        ("target_end", I64),
        ("n_route", I64),
        ("sink", c.c_bool),
        ("head", P(Route_Head)),
        ("n_head", I64),
        ("by", I32),
    ]


class Route_Hop(c.Structure):
    _fields_ = [
        ("layer", I32),
        ("head", I32),
        ("query_begin", I64),
        ("query_end", I64),
        ("key_begin", I64),
        ("key_end", I64),
        ("mass", F64),
        ("weight", F64),
        ("size", F64),
    ]


class Route(c.Structure):
    _fields_ = [("weight", F64), ("n_hop", I64), ("hop", P(Route_Hop))]


class Route_Layer(c.Structure):
    _fields_ = [("layer", I32), ("at_source", F64), ("between", F64), ("at_target", F64)]


class Routes(c.Structure):
    _fields_ = [
        ("flow", F64),
        ("n_layer", I64),
        ("layer", P(Route_Layer)),
        ("n_head", I64),
        ("head", P(Route_Head)),
        ("n_route", I64),
        ("route", P(Route)),
        ("source_begin", I64),
        ("source_end", I64),
        ("target_begin", I64),
        ("target_end", I64),
        ("by_value", c.c_bool),
    ]


class Ggml_Params(c.Structure):
    _fields_ = [
        ("enabled", c.c_bool),
        ("linear", c.c_bool),
        ("exact", c.c_bool),
        ("select", Select_Params),
        ("exact_below", I64),
        ("n_tok", I64),
        ("cert_rows", I32),
        ("lse", c.c_bool),
        ("brief", c.c_bool),
        ("lean", c.c_bool),
        ("precise", c.c_bool),
        ("seed", U64),
        ("edit", PTR),
        ("n_edit", I64),
        ("group", PTR),
        ("n_group", I64),
        ("row", PTR),
        ("n_row", I64),
        ("gram", PTR),
        ("n_gram", I64),
    ]


class Sink(c.Structure):
    _fields_ = [("chunk", PTR), ("ctx", PTR)]


class Ggml_Stats(c.Structure):
    _fields_ = [
        ("mask_ns", I64),
        ("keys_ns", I64),
        ("select_ns", I64),
        ("attend_ns", I64),
        ("certify_ns", I64),
        ("sink_ns", I64),
        ("linear_ns", I64),
        ("n_sparse", I64),
        ("n_exact", I64),
        ("n_linear", I64),
        ("n_rebuilt", I64),
        ("n_scanned", I64),
        ("attend_flop", F64),
        ("keys_bytes", I64),
    ]


STRUCTS = (
    Error,
    Rows,
    Attn,
    Select_Params,
    Selection,
    Group,
    Group_Sums,
    Attend_Out,
    Chunk,
    Certificate,
    Trace_Options,
    Trace_Info,
    Trace_Layer,
    Trace_Part,
    Receiver,
    Split_Params,
    Route_Head,
    Route_Params,
    Route_Hop,
    Route,
    Route_Layer,
    Routes,
    Ggml_Params,
    Sink,
    Ggml_Stats,
)

# ---- functions: result, parameters ---------------------------------------------------------------------------------

E, ST = P(Error), I32
FUNCTIONS = {
    "st_version": (STR, []),
    "st_cpu_name": (STR, []),
    "st_status_name": (STR, [ST]),
    "st_pool_create": (ST, [I32, P(PTR), E]),
    "st_pool_free": (None, [PTR]),
    "st_pool_size": (I32, [PTR]),
    "st_attn_check": (ST, [P(Attn), E]),
    "st_groups_check": (ST, [PTR, I64, I64, E]),
    "st_groups_touched": (I64, [PTR, I64, I64, I64, P(I64)]),
    "st_groups_from_bytes": (ST, [PTR, I64, PTR, I64, PTR, E]),
    "st_select_method_name": (STR, [I32]),
    "st_select_params_default": (Select_Params, []),
    "st_select_params_check": (ST, [P(Select_Params), E]),
    "st_select_min_k": (I64, [P(Select_Params)]),
    "st_select_k_for_pruned": (ST, [P(Select_Params), I64, I64, I64, F64, P(F64), E]),
    "st_select_blocks_for_pruned": (None, [P(Select_Params), I64, I64, F64]),
    "st_causal_pairs": (I64, [I64, I64]),
    "st_keys_create": (ST, [I32, I32, I32, P(PTR), E]),
    "st_keys_free": (None, [PTR]),
    "st_keys_append": (ST, [PTR, P(Attn), PTR, E]),
    "st_keys_truncate": (None, [PTR, I64]),
    "st_keys_count": (I64, [PTR]),
    "st_keys_match": (c.c_bool, [PTR, P(Attn), I32, U64]),
    "st_select": (ST, [P(Attn), P(Select_Params), PTR, PTR, P(P(Selection)), E]),
    "st_select_weighed": (ST, [P(Attn), P(Select_Params), PTR, PTR, P(Group_Sums), P(P(Selection)), E]),
    "st_select_all": (ST, [P(Attn), I32, I32, P(P(Selection)), E]),
    "st_selection_free": (None, [P(Selection)]),
    "st_selection_pairs": (None, [P(Selection), P(Attn), P(I64), P(I64)]),
    "st_attend": (ST, [P(Attn), P(Selection), PTR, P(Attend_Out), E]),
    "st_attend_exact": (ST, [P(Attn), PTR, P(Attend_Out), E]),
    "st_attend_exact_heaviest": (ST, [P(Attn), I32, I32, I64, PTR, P(Attend_Out), P(P(Selection)), E]),
    "st_certify": (ST, [P(Attn), P(Selection), P(Attend_Out), PTR, I64, PTR, PTR, PTR, E]),
    "st_trace_writer_create": (ST, [STR, I64, I32, I32, P(Trace_Options), P(PTR), E]),
    "st_trace_writer_add": (ST, [PTR, P(Chunk), E]),
    "st_trace_writer_tokens": (ST, [PTR, PTR, PTR, STR, E]),
    "st_trace_writer_json": (ST, [PTR, STR, STR, E]),
    "st_trace_writer_finish": (ST, [PTR, P(I64), E]),
    "st_trace_writer_free": (None, [PTR, c.c_bool]),
    "st_trace_open": (ST, [STR, P(PTR), E]),
    "st_trace_validate": (ST, [PTR, E]),
    "st_trace_free": (None, [PTR]),
    "st_trace_get_info": (None, [PTR, P(Trace_Info)]),
    "st_trace_get_layer": (ST, [PTR, I64, P(Trace_Layer), E]),
    "st_trace_tokens": (PTR, [PTR]),
    "st_trace_text": (PTR, [PTR, I64, I64, P(I64)]),
    "st_trace_groups": (PTR, [PTR]),
    "st_trace_json": (STR, [PTR, STR]),
    "st_trace_reads": (ST, [PTR, P(Trace_Part), PTR, E]),
    "st_trace_readers": (ST, [PTR, P(Trace_Part), I64, I64, PTR, E]),
    "st_trace_group_matrix": (ST, [PTR, I64, I64, PTR, E]),
    "st_trace_vertical": (ST, [PTR, I64, I64, I64, PTR, E]),
    "st_receivers_find": (ST, [PTR, I64, I64, P(P(Receiver)), P(I64), E]),
    "st_receivers_free": (None, [P(Receiver)]),
    "st_receiver_scores": (ST, [PTR, P(Receiver), I64, I64, PTR, E]),
    "st_anchors": (I64, [PTR, I64, I64, PTR]),
    "st_sentences": (ST, [STR, Group, P(Split_Params), P(P(Group)), P(I64), E]),
    "st_sentences_free": (None, [P(Group)]),
    "st_route_params_default": (Route_Params, []),
    "st_routes_find": (ST, [PTR, P(Route_Params), P(P(Routes)), E]),
    "st_routes_free": (None, [P(Routes)]),
    "st_trace_find_text": (ST, [PTR, STR, I64, I64, P(I64), P(I64), P(I64), E]),
}

# those of libggml-sparsetrace.so, which ggml finds by name (ggml.h)
PLUGIN_FUNCTIONS = {
    "st_ggml_params_default": (Ggml_Params, []),
    "st_ggml_configure": (ST, [P(Ggml_Params), P(Sink), E]),
    "st_ggml_take_stats": (None, [P(Ggml_Stats)]),
    "st_ggml_take_error": (ST, [E]),
}


# ---- exceptions ----------------------------------------------------------------------------------------------------


class SparseTraceError(Exception):
    """The library refused. `status` is its word for why ("arg", "io", "format", ...), `position` the byte, line or
    index that the message speaks of, -1 for none. Each status has a subclass that is also the built-in exception one
    expects."""

    status = "error"

    def __init__(self, message, position=-1):
        super().__init__(message)
        self.position = position


class ArgumentError(SparseTraceError, ValueError):
    status = "arg"


class OutOfMemory(SparseTraceError, MemoryError):
    status = "mem"


class FileError(SparseTraceError, OSError):
    status = "io"


class FormatError(SparseTraceError, ValueError):
    status = "format"


class LimitError(SparseTraceError, ValueError):
    status = "limit"


class ModelError(SparseTraceError, RuntimeError):
    status = "model"


KINDS = {
    ERR_ARG: ArgumentError,
    ERR_MEM: OutOfMemory,
    ERR_IO: FileError,
    ERR_FORMAT: FormatError,
    ERR_LIMIT: LimitError,
    ERR_MODEL: ModelError,
}


# ---- the library ---------------------------------------------------------------------------------------------------


def library_path():
    """The shared library beside this file, else the one that the variable SPARSETRACE_LIBRARY names."""
    named = os.environ.get("SPARSETRACE_LIBRARY")
    return Path(named) if named else Path(__file__).with_name("libsparsetrace.so")


def load(path):
    try:
        found = c.CDLL(str(path))
    except OSError as e:
        raise ImportError(
            f"sparsetrace: cannot load its C library {path} ({e}). `pip install ./python` builds it; the variable "
            "SPARSETRACE_LIBRARY names another one"
        ) from e
    for name, (result, parameters) in FUNCTIONS.items():
        function = getattr(found, name, None)
        if function is None:
            raise ImportError(f"sparsetrace: {path} is of another version: it has no {name}")
        function.restype, function.argtypes = result, parameters
    return found


lib = load(library_path())


def call(name, *args):
    """Calls a function that returns a status; a failure is raised."""
    error = Error()
    check(getattr(lib, name)(*args, c.byref(error)), error)


def check(status, error):
    if status != OK:
        raise KINDS.get(status, SparseTraceError)(error.message.decode("utf-8", "replace"), error.position)
