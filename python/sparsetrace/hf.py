# SPDX-License-Identifier: MIT
"""Hugging Face transformers: our attention under the name "sparsetrace", and traces of any decoder that lets one choose
its attention.

    import sparsetrace.hf as hf
    trace = hf.trace(model, input_ids, k="auto")          # run, record, open

    hf.register(k=16)                                     # or: attend sparsely wherever the model is used
    model.set_attn_implementation("sparsetrace")
    model.generate(input_ids)

Grouped-query attention, sliding windows, soft-cap, learned sinks, padding on either side, batches, KV caches; float32,
bfloat16 and float16 on the CPU. No backward pass: a plain model(input_ids) needs torch.no_grad(). Needs transformers
>= 4.56.
"""

import contextlib
import contextvars
import inspect
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache

from . import _abi, _core, _layer, _visible
from ._arrays import whole
from ._pieces import pieces_of
from ._spans import sentences, tokens_of_bytes
from ._trace import open as open_trace
from ._writer import Writer, temporary

POOLING = ("stream", "flat", "scan", "auto")
NAME = "sparsetrace"
STEPS = 4  # halvings of the gap, once `auto` has found a k that holds

# what registered attention does, and what a trace() in progress does
_settings = _layer.Run(_core.Params(k=64))
_running = contextvars.ContextVar("sparsetrace_run", default=None)


def register(*, threads=0, precise=False, exact=False, exact_below=0, **params):
    """Registers attention and mask function under the name "sparsetrace"; called again, it sets anew how they attend,
    for all models.

    params: those of sparsetrace.Params, k=64 unless said. exact: attend exactly. exact_below: rows that see at most so
    many keys are exact. threads: 0 is one per processor."""
    global _settings
    chosen = _core.Params(**{"k": 64, **params})
    _settings = _layer.Run(chosen, bool(exact), exact_below, pool=_core.Pool(threads), precise=bool(precise))
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _visible.mask)


def attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    dropout=0.0,
    softcap=None,
    sliding_window=None,
    is_causal=None,
    s_aux=None,
    position_bias=None,
    **_,
):
    """transformers' attention function: query [batch, n_head, n_q, d], key and value [batch, n_kv_head, n_k, d] ->
    ([batch, n_q, n_head, d], None). Raises ValueError for tensors not on the CPU, NotImplementedError for dropout, a
    learned position bias and gradients."""
    if query.device.type != "cpu":
        raise ValueError(
            f"the model is on {query.device}; sparsetrace's kernels run on the CPU. model.to('cpu') brings it there"
        )
    if dropout or position_bias is not None:
        raise NotImplementedError(
            "sparsetrace attends without dropout (model.eval()) and without a learned position bias"
        )
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        raise NotImplementedError("sparsetrace has no backward pass: run under torch.no_grad()")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    window = sliding_window or getattr(module, "sliding_window", None)
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    sinks = None if s_aux is None else s_aux.detach().float().numpy()
    run = _running.get() or _settings
    return _layer.attention(
        run, module, query, key, value, attention_mask, scale, softcap or 0.0, sinks, bool(causal), window
    ), None


# ---- tracing ---------------------------------------------------------------------------------------------------------


@dataclass
class Job:
    """One sequence to trace, and how."""

    model: object
    ids: torch.Tensor  # [1, n_tok]
    run: _layer.Run
    chunk: int

    @property
    def n_tok(self):
        return self.ids.shape[1]

    def logits(self, **changes):
        """float32 [n_vocab]: the model's prediction after the last token, attention as `run` with these changes."""
        token = _running.set(replace(self.run, **changes))
        try:
            known = inspect.signature(self.model.forward).parameters
            more = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
            cache = (
                DynamicCache()
            )  # without the model's config: every layer keeps all keys, so positions stay positions
            for begin in range(0, self.n_tok, self.chunk):
                part = self.ids[:, begin : begin + self.chunk]
                if "position_ids" in known:
                    more["position_ids"] = torch.arange(begin, begin + part.shape[1])[None]
                got = self.model(input_ids=part, past_key_values=cache, use_cache=True, **more)
        finally:
            _running.reset(token)
        return got.logits[0, -1].float()


@contextlib.contextmanager
def implementation(model, name):
    """The model's attention under that name, and afterwards as it was."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def trace(
    model,
    input_ids,
    path=None,
    *,
    k=None,
    pruned=None,
    mass=None,
    tokenizer=None,
    against="dense",
    cert_rows=32,
    seed=0,
    layers=None,
    heads=None,
    groups=None,
    lse=False,
    threads=0,
    chunk=2048,
    precise=False,
    **params,
):
    """Runs the model over a sequence with block-sparse attention and records what it reads -> Trace.

    model: a transformers decoder on the CPU, in any of float32, bfloat16, float16; its attention is as before
    afterwards. input_ids: token ids [n_tok] or [1, n_tok] (tensor, array or list), or a text if `tokenizer` is given,
    which also puts the text into the trace. path: the file to write (default: a temporary one that goes with the
    Trace). Budget, one of: k, kept key blocks per query block; k="auto" (default), the smallest found that keeps the
    next token of an exact run; pruned, at least this share of the causal pairs; mass, the share of the attention mass
    to keep. against: "dense" compares the next token with an exact run (quadratic), "none" does not. cert_rows: rows a
    layer that are certified. layers, heads: recorded ones. groups: also record attention from group to group, which is
    `Trace.groups`: spans of tokens [S, 2], or "sentences" (of the text, which needs `tokenizer`). lse: record
    log-sum-exps. chunk: tokens of a forward pass.
    params: those of sparsetrace.Params; budgets are pooled and grow with pruned and "auto" unless said otherwise. Raises
    ValueError, TypeError (arguments), LimitError (no budget does it), what the model raises."""
    check_budget(k, pruned, mass, against)
    job, folder, path, recorder = begin(
        model,
        input_ids,
        path,
        tokenizer,
        params,
        auto=k in (None, "auto") and mass is None,
        pruned=pruned,
        chunk=chunk,
        threads=threads,
        precise=precise,
        cert_rows=cert_rows,
        seed=seed,
        layers=layers,
        heads=heads,
        groups=groups,
        lse=lse,
    )
    with torch.no_grad(), implementation(model, NAME), recorder.writer as writer:
        runs(job, writer, k, pruned, mass, against, recorder)
    found = open_trace(path)
    found.folder = folder  # a temporary file lives as long as its Trace
    return found


class Recording:
    """`trace`: the Trace, once the block of record() is left."""

    trace = None


@contextlib.contextmanager
def record(
    model,
    input_ids,
    path=None,
    *,
    k=None,
    pruned=None,
    mass=None,
    tokenizer=None,
    cert_rows=32,
    seed=0,
    layers=None,
    heads=None,
    groups=None,
    lse=False,
    threads=0,
    precise=False,
    **params,
):
    """Records the forward pass over these tokens that is made inside the block, by whatever tool and with whatever
    hooks and edits -> Recording.

        with torch.no_grad(), hf.record(model, input_ids, k=16) as run:
            model(input_ids)                    # or nnsight's .trace(), TransformerLens' run_with_cache, ...
        run.trace

    Arguments as trace()'s; the budget is k (default 64), pruned or mass. The pass may go in several calls through one
    cache. ValueError if it was not made, or not to the end; what the block raises."""
    check_budget(k, pruned, mass, "none", default=True)
    job, folder, path, recorder = begin(
        model,
        input_ids,
        path,
        tokenizer,
        params,
        auto=pruned is not None,
        pruned=pruned,
        threads=threads,
        precise=precise,
        cert_rows=cert_rows,
        seed=seed,
        layers=layers,
        heads=heads,
        groups=groups,
        lse=lse,
    )
    start, recording = time.monotonic(), Recording()
    with implementation(model, NAME), recorder.writer as writer:
        set_budget(job, 64 if k is None and mass is None else k, pruned, mass)
        token = _running.set(replace(job.run, writers={0: recorder}))
        try:
            yield recording
        finally:
            _running.reset(token)
        finish(job, writer, recorder, None, None, start, recipe(job, pruned, mass, job.run.params.k))
    recording.trace = open_trace(path)
    recording.trace.folder = folder


def begin(
    model,
    input_ids,
    path,
    tokenizer,
    params,
    *,
    auto,
    pruned=None,
    chunk=2048,
    threads,
    precise,
    cert_rows,
    seed,
    groups,
    **more,
):
    """(Job, folder of a temporary file or None, path, Recorder) of a run; the budget is not set yet."""
    ids, text_pieces = tokens_of(input_ids, tokenizer)
    if auto:  # as the program does
        params.setdefault("pooled", params.get("method", "stream") in POOLING)
        params.setdefault("grow_tok", -1)
    if params.get("grow_tok") == -1:
        params["grow_tok"] = ids.shape[1]
    groups = groups_of(groups, text_pieces)
    if any(hasattr(m, "hook_pattern") and "forward" not in vars(m) for m in model.modules()):
        raise TypeError("the model belongs to a TransformerBridge: sparsetrace.transformer_lens traces these")
    chunk = whole(chunk, "chunk", 1, 2**31 - 1)
    window = window_of(model)  # it shows at once where the first micro-batch reaches beyond it
    exact_below = 0 if min(chunk, ids.shape[1]) > window else window
    if pruned is not None and not {"bq", "bk"} & set(params):
        params["bq"], params["bk"] = _core.blocks_for_pruned(pruned, ids.shape[1], _core.Params(**params), exact_below)
    run = _layer.Run(_core.Params(**params), exact_below=exact_below, pool=_core.Pool(threads), precise=precise)
    register_once()
    folder, path = temporary(path)
    job = Job(model, ids, run, chunk)
    writer = Writer(path, job.n_tok, run.params.bq, run.params.bk, groups=groups, **more)
    writer.tokens(ids[0].numpy(), text_pieces)
    return job, folder, path, _layer.Recorder(writer, job.n_tok, cert_rows, seed, more["lse"], exact_below)


def set_budget(job, k, pruned, mass):
    p = job.run.params
    if pruned is not None:
        job.run.params = replace(p, k=_core.k_for_pruned(pruned, job.n_tok, p, job.run.exact_below))
    elif mass is not None:
        job.run.params = replace(p, mass=mass, k=256 if k is None else k)
    else:
        job.run.params = replace(p, k=k)


def runs(job, writer, k, pruned, mass, against, recorder):
    """The runs of one trace: exact, search, recorded; recipe and result."""
    start = time.monotonic()
    dense = job.logits(exact=True) if against == "dense" else None
    auto = k in (None, "auto") and pruned is None and mass is None
    set_budget(job, search(job, dense) if auto else k, pruned, mass)
    last = job.logits(writers={0: recorder})
    finish(job, writer, recorder, dense, last, start, recipe(job, pruned, mass, k))


def finish(job, writer, recorder, dense, last, start, told):
    if not recorder.pairs:
        raise ValueError("the model called sparsetrace's attention for no causal layer: nothing can be traced")
    if min(recorder.end.values()) != job.n_tok:
        raise ValueError(f"the model ran over {min(recorder.end.values())} of {job.n_tok} tokens")
    writer.json("recipe", told)
    writer.json("result", result(job, recorder, dense, last, time.monotonic() - start))
    writer.finish()


def search(job, dense):
    """The smallest k found whose next token is the exact run's: doubling, then halving the gap. Agreement is not
    monotone in k."""
    p, want = job.run.params, int(dense.argmax())

    def holds(k):
        return int(job.logits(params=replace(p, k=k)).argmax()) == want

    full, least = max(-(-job.n_tok // p.bk), 1), p.min_k
    bad, searched = least, 1
    good = min(least + searched, full)
    while not holds(good):
        if good == full:
            raise _abi.LimitError(f"no budget keeps the next token: even k = {full}, everything, does not")
        bad, searched = good, 2 * searched
        good = min(least + searched, full)
    for _ in range(STEPS):
        if good - bad <= 1:
            break
        k = bad + (good - bad) // 2
        good, bad = (k, bad) if holds(k) else (good, k)
    return good


# ---- what goes in and what is said -----------------------------------------------------------------------------------


def register_once():
    if NAME not in AttentionInterface._global_mapping:
        register()


def check_budget(k, pruned, mass, against, default=False):
    """default: there is one, which is neither a search nor agrees with anything."""
    if against not in ("dense", "none"):
        raise ValueError(f"against is {against!r}; 'dense' or 'none' is wanted")
    if pruned is not None and (k is not None or mass is not None):
        raise ValueError("pruned is a budget of its own: not with k or mass")
    if k == "auto" and mass is not None:
        raise ValueError("mass goes with a k that is a number, or none")
    if isinstance(k, str) and (k != "auto" or default):
        raise ValueError(f"k is {k!r}; a number{'' if default else ' or ' + repr('auto')} is wanted")
    if not default and against == "none" and pruned is None and mass is None and k in (None, "auto"):
        raise ValueError("the budget auto needs something to agree with: against='dense'")


def tokens_of(input_ids, tokenizer):
    """int64 [1, n_tok], and the bytes of each token if a tokenizer says them."""
    if isinstance(input_ids, str):
        if tokenizer is None:
            raise ValueError("input_ids is a text, which needs tokenizer=")
        input_ids = tokenizer(input_ids)["input_ids"]
    ids = torch.as_tensor(np.asarray(input_ids) if not isinstance(input_ids, torch.Tensor) else input_ids)
    if ids.dtype.is_floating_point or ids.dtype == torch.bool:
        raise TypeError(f"input_ids is {ids.dtype}; token ids are wanted")
    ids = ids.to("cpu", torch.int64)
    ids = ids[None] if ids.dim() == 1 else ids
    if ids.dim() != 2 or ids.shape[0] != 1 or ids.shape[1] < 1:
        raise ValueError(
            f"input_ids has the shape {tuple(ids.shape)}; one sequence [n_tok] or [1, n_tok] is wanted: call "
            "trace for each of a batch, without its padding"
        )
    return ids, None if tokenizer is None else pieces_of(tokenizer, ids[0].tolist())


def groups_of(groups, pieces):
    """Spans of tokens, or None."""
    if not isinstance(groups, str):
        return groups
    if groups != "sentences":
        raise ValueError(f"groups is {groups!r}; spans of tokens [S, 2] or 'sentences' is wanted")
    if pieces is None:
        raise ValueError("groups='sentences' needs the text: tokenizer=")
    return tokens_of_bytes(sentences(b"".join(pieces)), pieces)


def window_of(model):
    """Rows that see at most so many keys are exact, in a model with sliding windows: they are the window's first
    rows."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    types = getattr(config, "layer_types", None)
    if types is not None and "sliding_attention" not in types:
        return 0
    if getattr(config, "use_sliding_window", True) is False:
        return 0
    return getattr(config, "sliding_window", None) or 0


def recipe(job, pruned, mass, k):
    p, config = job.run.params, job.model.config
    budget = "pruned" if pruned is not None else "mass" if mass is not None else "auto" if k in (None, "auto") else "k"
    return {
        "model": {
            "name": config.name_or_path or config.model_type,
            "architecture": config.model_type,
            "weights": str(job.model.dtype).removeprefix("torch."),
        },
        "prompt": {"n_tok": job.n_tok},
        "select": {
            "method": p.method,
            "k": p.k,
            "block_q": p.bq,
            "block_k": p.bk,
            "sample_rows": p.rows,
            "budget": budget,
            "mass": p.mass,
        },
        "engine": {
            "name": "transformers",
            "chunk": job.chunk,
            "sparsetrace": _abi.lib.st_version().decode(),
            "cpu": _abi.lib.st_cpu_name().decode(),
        },
    }


def next_token(dense, last):
    """What the report says of it, and the divergence in nats or None."""
    if last is None:
        return {"against": "none", "agree": None}, None
    p = torch.log_softmax(last, -1)
    top = int(last.argmax())
    own = {"id": top, "p": float(p[top].exp())}
    if dense is None:
        return {"against": "none", "agree": None, "sparse": own}, None
    d = torch.log_softmax(dense, -1)
    best = torch.topk(d, 2)
    said = {
        "against": "dense",
        "agree": int(best.indices[0]) == top,
        "margin": float(best.values[0] - best.values[1]),
        "dense": {"id": int(best.indices[0]), "p": float(best.values[0].exp())},
        "sparse": own,
    }
    return said, float((d.exp() * (d - p)).sum().clamp(min=0))


def result(job, recorder, dense, last, seconds):
    """The report: keys as those of `sparsetrace trace --json`, as far as there is the same. last: logits of the recorded
    run, None if they are not known."""
    kept, visible = recorder.pruned
    said, kl = next_token(dense, last)
    return {
        "n_tok": job.n_tok,
        "n_layer": len(recorder.pairs),
        "k": job.run.params.k,
        "block_q": job.run.params.bq,
        "block_k": job.run.params.bk,
        "select": job.run.params.method,
        "kept_pairs": kept,
        "causal_pairs": visible,
        "n_exact_layer": sum(not p[2] for p in recorder.pairs.values()),
        "pruned_fraction": 1 - kept / visible if visible else 0.0,
        "next_token": said,
        "kl": kl,
        "recall_last_row": float(np.mean(recorder.last_recall)) if recorder.last_recall else None,
        "seconds": {"total": seconds},
    }
