# SPDX-License-Identifier: MIT
"""TransformerLens: our attention inside a TransformerBridge gives what its own gives, hooks and edits included; a trace
beside its cache."""

import numpy as np
import pytest

import bridges

bridges.need("transformer_lens")

import torch
from transformer_lens.model_bridge import TransformerBridge

import sparsetrace.hf as hf
import sparsetrace.transformer_lens as stl
from test_package_attention import ids, make

EVERYTHING = dict(k=10_000, bq=8, bk=4, precise=True)


@pytest.fixture(scope="module", params=["llama", "gemma2", "gemma3", "qwen3"])
def bridge(request, tmp_path_factory):
    """Grouped queries; soft-cap and windows; two kinds of layers; norms of queries and keys."""
    model = make(request.param)
    model.config.architectures = [type(model).__name__]
    tokenizer = bridges.words(tmp_path_factory.mktemp("words"))
    return TransformerBridge.boot_transformers(request.param, hf_model=model, tokenizer=tokenizer)


def silent(z, hook):
    z[:, :, 1] = 0
    return z


@torch.no_grad()
def test_replaced_attention_is_its_own(bridge):
    tokens = ids(90)
    want, cache = bridge.run_with_cache(tokens)
    hf.register(**EVERYTHING)
    with stl.attend(bridge):
        got, ours = bridge.run_with_cache(tokens)
    torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-3)
    for name in ("blocks.1.attn.hook_z", "blocks.2.attn.hook_q", "blocks.2.hook_resid_post"):
        torch.testing.assert_close(ours[name], cache[name], atol=2e-4, rtol=1e-3)
    assert not any("hook_pattern" in name for name in ours.keys())
    again, cache = bridge.run_with_cache(tokens)
    assert torch.equal(again, want) and "blocks.0.attn.hook_pattern" in cache.keys(), "the bridge is not as before"


@torch.no_grad()
def test_an_edit_is_recorded(bridge):
    tokens, edit = ids(90), [("blocks.0.attn.hook_z", silent)]
    want = bridge.run_with_hooks(tokens, fwd_hooks=edit)
    with stl.record(bridge, tokens, **EVERYTHING) as run:
        got = bridge.run_with_hooks(tokens, fwd_hooks=edit)
    torch.testing.assert_close(got, want, atol=5e-4, rtol=1e-3)
    plain = stl.trace(bridge, tokens, **EVERYTHING)
    last = plain.layers[-1]
    assert np.abs((run.trace.mass(last, 0) - plain.mass(last, 0)).toarray()).max() > 0.01
    np.testing.assert_allclose(run.trace.mass(0, 0).toarray(), plain.mass(0, 0).toarray(), atol=1e-3)


@torch.no_grad()
def test_compare(bridge):
    tokens = ids(90)
    _, cache = bridge.run_with_cache(tokens)
    whole = stl.compare(stl.trace(bridge, tokens, **EVERYTHING), cache)
    assert len(whole) == 18 and all(h.recall > 0.9999 and h.error < 2e-3 for h in whole)
    some = {(h.layer, h.head): h for h in stl.compare(stl.trace(bridge, tokens, k=4, bq=8, bk=4, precise=True), cache)}
    exact = stl.trace(bridge, tokens, k=4, bq=8, bk=4).layer(0).exact
    for head in range(6):  # the first layer's input is the same: only what was left out differs
        assert some[0, head].error < 2e-3 and (some[0, head].recall < 0.95) != exact
    with pytest.raises(ValueError, match="90"):
        stl.compare(stl.trace(bridge, ids(50), k=4, bq=8, bk=4), cache)


def test_what_is_no_bridge():
    with pytest.raises(TypeError, match="TransformerBridge"):
        stl.trace(make("llama"), ids(20), k=4)


def test_a_bridges_model_is_named(bridge):
    with pytest.raises(TypeError, match="sparsetrace.transformer_lens"):
        hf.trace(bridge.original_model, ids(20), k=4)
