# SPDX-License-Identifier: MIT
"""TransformerLens 4's TransformerBridge: block-sparse attention in its place, traces of what its hooks and edits do, and
patterns of its cache beside a trace.

    import sparsetrace.transformer_lens as stl
    trace = stl.trace(bridge, tokens, k="auto")           # as hf.trace
    with stl.attend(bridge):                              # attention by hf.register's settings
        logits, cache = bridge.run_with_cache(tokens)
    stl.compare(trace, cache)                             # short texts: the patterns are T x T

While it attends, hook_q, hook_k, hook_v, hook_z and everything outside attention fire as ever; hook_attn_scores,
hook_pattern and hook_rot_* do not, for no row of attention is made.
"""

import contextlib
import functools
from dataclasses import dataclass

import numpy as np

from . import hf
from ._extras import need


def modules(bridge):
    """The bridge's attention modules; TypeError if it has none."""
    kind = need("transformer_lens.model_bridge.generalized_components.attention", "transformer-lens").AttentionBridge
    found = [m for m in bridge.modules() if isinstance(m, kind)] if hasattr(bridge, "original_model") else []
    if not found:
        raise TypeError(f"a TransformerBridge with attention is wanted, not {type(bridge).__name__}")
    return kind, found


@contextlib.contextmanager
def delegated(bridge):
    """Each attention module asks transformers' own, and so the attention that is chosen there."""
    kind, found = modules(bridge)
    for m in found:
        object.__setattr__(m, "forward", functools.partial(kind.forward, m))
    try:
        yield
    finally:
        for m in found:
            object.__delattr__(m, "forward")


@contextlib.contextmanager
def attend(bridge):
    """Inside, the bridge attends by sparsetrace, as hf.register set it (k=64 if it was not called)."""
    hf.register_once()
    with delegated(bridge), hf.implementation(bridge.original_model, hf.NAME):
        yield


def trace(bridge, tokens, path=None, **options):
    """hf.trace of the bridge's model, its hooks and edits with it -> Trace. tokens: ids, or a text if `tokenizer` is
    given."""
    with delegated(bridge):
        return hf.trace(bridge.original_model, tokens, path, **options)


@contextlib.contextmanager
def record(bridge, tokens, path=None, **options):
    """hf.record of the pass that the block makes with the bridge (run_with_hooks, run_with_cache, ...) -> Recording."""
    with delegated(bridge), hf.record(bridge.original_model, tokens, path, **options) as recording:
        yield recording


@dataclass(frozen=True)
class Likeness:
    """recall: share of the pattern that lies in the kept blocks, mean over rows. error: largest difference between a
    block's mass in the trace and in the pattern, whose kept blocks are brought to the sum 1."""

    layer: int
    head: int
    recall: float
    error: float


def compare(trace, cache):
    """A trace beside the patterns that run_with_cache of the same text gave -> [Likeness], one a recorded head.
    ValueError for patterns of another length."""
    return [
        Likeness(layer, head, *alike(trace, layer, head, cache["pattern", layer]))
        for layer in trace.layers
        for head in trace.heads[layer]
    ]


def alike(trace, layer, head, pattern):
    p = pattern.detach().float().cpu().numpy()
    p = (p[0] if p.ndim == 4 else p)[head].astype(np.float64)
    if p.shape != (trace.n_tok, trace.n_tok):
        raise ValueError(f"the pattern has the shape {p.shape}, the trace {trace.n_tok} tokens")
    blocks = np.add.reduceat(p, np.arange(0, trace.n_tok, trace.bk), axis=1)
    kept = trace.mask(layer, head).toarray()[np.arange(trace.n_tok) // trace.bq]
    rest = np.where(kept, blocks, 0)
    recall = rest.sum(1)
    rest /= np.maximum(recall[:, None], 1e-12)
    first = np.arange(0, trace.n_tok, trace.bq)
    mean = np.add.reduceat(rest, first, axis=0) / np.diff(np.append(first, trace.n_tok))[:, None]
    return float(recall.mean()), float(np.abs(mean - trace.mass(layer, head).toarray()).max())
