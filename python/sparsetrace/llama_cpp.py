# SPDX-License-Identifier: MIT
"""llama-cpp-python with our attention: any GGUF, traced.

    import sparsetrace.llama_cpp as stl
    stl.load()                                            # before the model is made
    llm = llama_cpp.Llama("model.gguf", n_ctx=8192, n_batch=2048, n_ubatch=2048, flash_attn=True)
    trace = stl.trace(llm, text, k=16)

Loads the ggml plug-in libggml-sparsetrace.so, which `make` of this project builds (it is not in the wheel). The plug-in
gives each layer's micro-batch to the trace's writer in C; Python is not asked. Flash attention must be on. One
configuration serves the process: trace one model at a time.
"""

import contextlib
import ctypes as c
import os
from pathlib import Path

from . import _abi, _core
from ._arrays import whole
from ._extras import need
from ._pictures import program
from ._spans import sentences, tokens_of_bytes
from ._trace import open as open_trace
from ._writer import Writer, temporary

NAME = "libggml-sparsetrace.so"
_functions = {}


def plugin_path(path):
    """The plug-in: path, else the variable SPARSETRACE_PLUGIN, else beside the program sparsetrace."""
    named = path or os.environ.get("SPARSETRACE_PLUGIN")
    if not named:
        with contextlib.suppress(FileNotFoundError):
            named = Path(program(None)).resolve().with_name(NAME)
    if not named or not os.path.isfile(named):
        raise FileNotFoundError(
            f"there is no {named or NAME}: `make` builds it as build/{NAME}; give its path, or put it into the variable "
            "SPARSETRACE_PLUGIN"
        )
    return os.fspath(named)


def load(path=None, *, exact_below=0, precise=False, **params):
    """Loads the plug-in into llama-cpp-python, for the contexts made from now on; called again, it sets how they attend.

    path: of libggml-sparsetrace.so. params: those of sparsetrace.Params, k=64 unless said. exact_below: rows that see at
    most so many keys are exact. FileNotFoundError where there is no plug-in; RuntimeError if ggml refuses it."""
    chosen = _core.Params(**{"k": 64, **params})
    if not _functions:
        llama = need("llama_cpp", "llama-cpp")
        # by way of libllama, whose ggml is another file than the package's own libggml.so, with another registry
        lib = c.CDLL(str(Path(llama.__file__).parent / "lib/libllama.so"))
        lib.ggml_backend_load.restype = lib.ggml_backend_reg_get_proc_address.restype = _abi.PTR
        registry = lib.ggml_backend_load(os.fsencode(plugin_path(path)))
        if not registry:
            raise RuntimeError(f"ggml cannot load {plugin_path(path)}; its reason is on the standard error output")
        for name, (result, parameters) in _abi.PLUGIN_FUNCTIONS.items():
            at = lib.ggml_backend_reg_get_proc_address(_abi.PTR(registry), name.encode())
            if not at:
                raise RuntimeError(f"{plugin_path(path)} is of another version: it has no {name}")
            _functions[name] = c.CFUNCTYPE(result, *parameters)(at)
    configure(ggml_params(chosen, exact_below=whole(exact_below, "exact_below", 0, 2**31 - 1), precise=bool(precise)))


def configure(params, sink=None):
    error = _abi.Error()
    _abi.check(_functions["st_ggml_configure"](c.byref(params), sink and c.byref(sink), c.byref(error)), error)


def ggml_params(chosen, **more):
    p = _functions["st_ggml_params_default"]()
    p.select = chosen.struct()
    for name, value in more.items():
        setattr(p, name, value)
    return p


def served():
    """(sparse, exact) layer calls that the plug-in served since the last call."""
    if not _functions:
        raise RuntimeError("the plug-in is not loaded: call load() before the model is made")
    stats = _abi.Ggml_Stats()
    _functions["st_ggml_take_stats"](c.byref(stats))
    return stats.n_sparse, stats.n_exact


def tokens_of(llm, text):
    return llm.tokenize(text.encode(), special=True) if isinstance(text, str) else [int(t) for t in text]


def pieces_of(llm, tokens):
    """[bytes] that the tokens stand for; together they are the text."""
    llama, vocab, room = need("llama_cpp", "llama-cpp"), llm._model.vocab, c.create_string_buffer(256)
    out = []
    for t in tokens:
        n = llama.llama_token_to_piece(vocab, t, room, len(room), 0, True)
        out.append(room.raw[:n] if n > 0 else b"")
    return out


def trace(
    llm,
    tokens,
    path=None,
    *,
    k=None,
    pruned=None,
    mass=0.0,
    cert_rows=32,
    seed=0,
    layers=None,
    heads=None,
    groups=None,
    lse=False,
    precise=False,
    **params,
):
    """Runs a llama_cpp.Llama over a text from its beginning, attention sparse, and records what it reads -> Trace.

    tokens: ids, or a text. Budget: k kept key blocks per query block (64), pruned or mass, as in sparsetrace.hf.trace;
    the program `sparsetrace trace` also looks for the smallest that keeps the next token. The other arguments are those of
    hf.trace. The model is left with these tokens evaluated; attention is as load() set it. ValueError for more tokens than
    n_ctx, RuntimeError if attention did not come to the plug-in (load() after the model, or flash_attn off)."""
    served()
    tokens = tokens_of(llm, tokens)
    if not 0 < len(tokens) <= llm.n_ctx():
        raise ValueError(f"{len(tokens)} tokens; 1..{llm.n_ctx()} (n_ctx) are wanted")
    if pruned is not None:
        params = {"pooled": True, "grow_tok": len(tokens), **params}
    below = need("llama_cpp", "llama-cpp").llama_model_n_swa(llm._model.model)
    if pruned is not None and not {"bq", "bk"} & set(params):
        params["bq"], params["bk"] = _core.blocks_for_pruned(pruned, len(tokens), _core.Params(**params), below)
    chosen = _core.Params(mass=mass, k=64 if k is None else k, **params)
    if pruned is not None:
        chosen = _core.Params(k=_core.k_for_pruned(pruned, len(tokens), chosen, below), **params)
    pieces = pieces_of(llm, tokens)
    if isinstance(groups, str):
        groups = tokens_of_bytes(sentences(b"".join(pieces)), pieces)
    told = dict(exact_below=below, n_tok=len(tokens), cert_rows=cert_rows, lse=lse, seed=seed, precise=precise)
    return run(llm, tokens, pieces, path, chosen, told, dict(layers=layers, heads=heads, groups=groups, lse=lse))


def run(llm, tokens, pieces, path, chosen, told, recorded):
    folder, path = temporary(path)
    p = ggml_params(chosen, **told)
    with Writer(path, len(tokens), chosen.bq, chosen.bk, **recorded) as writer:
        writer.tokens(tokens, pieces)
        if writer.groups is not None:
            p.group, p.n_group = writer.groups.ctypes.data, len(writer.groups)
        llm.reset()
        llm._ctx.kv_cache_clear()
        sink = _abi.Sink(c.cast(_abi.lib.st_trace_writer_add, _abi.PTR), writer.handle)
        configure(p, sink)  # the writer takes what the plug-in gives, as it is
        try:
            llm.eval(tokens)
            fetch = need("llama_cpp", "llama-cpp").llama_get_logits_ith(llm.ctx, -1)  # waits for the last layer
            token = max(range(llm.n_vocab()), key=fetch.__getitem__)
        finally:
            configure(ggml_params(chosen, exact_below=told["exact_below"], precise=told["precise"]))
        error = _abi.Error()
        _abi.check(_functions["st_ggml_take_error"](c.byref(error)), error)
        if sum(served()) == 0:
            raise RuntimeError("attention did not come to the plug-in: load() before the model, and flash_attn=True")
        writer.json("recipe", recipe(llm, tokens, chosen))
        writer.json("result", {"n_tok": len(tokens), "k": chosen.k, "next_token": {"against": "none", "sparse": {"id": token}}})
        writer.finish()
    found = open_trace(path)
    found.folder = folder
    return found


def recipe(llm, tokens, chosen):
    return {
        "model": {
            "name": llm.metadata.get("general.name", os.path.basename(llm.model_path)),
            "architecture": llm.metadata.get("general.architecture"),
        },
        "prompt": {"n_tok": len(tokens)},
        "select": {"method": chosen.method, "k": chosen.k, "block_q": chosen.bq, "block_k": chosen.bk, "mass": chosen.mass},
        "engine": {"name": "llama-cpp-python", "sparsetrace": _abi.lib.st_version().decode()},
    }
