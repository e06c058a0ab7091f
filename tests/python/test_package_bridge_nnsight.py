# SPDX-License-Identifier: MIT
"""nnsight: a trace recorded inside its .trace() block, reads and edits included; and hf.record itself."""

import pytest

import bridges

nnsight = bridges.need("nnsight")

import numpy as np
import torch

import sparsetrace.hf as hf
from test_package_attention import ids, make

EVERYTHING = dict(k=10_000, bq=8, bk=4, precise=True)


@pytest.fixture(scope="module")
def model():
    return make("llama")


@torch.no_grad()
def test_a_trace_inside_a_trace(model, tmp_path):
    tokens = ids(90)
    want = model(tokens).logits
    lm = nnsight.TransformersModel(model, task="text-generation", tokenizer=bridges.words(tmp_path / "words"))
    with hf.record(model, tokens, **EVERYTHING) as plain:
        with lm.trace(tokens):
            state = lm.model.layers[1].output.save()
            logits = lm.lm_head.output.save()
    torch.testing.assert_close(logits, want, atol=2e-4, rtol=1e-3)
    assert state.shape == (1, 90, 48)
    same = hf.trace(model, tokens, **EVERYTHING)
    for layer in range(3):
        np.testing.assert_array_equal(plain.trace.mass(layer, 2).toarray(), same.mass(layer, 2).toarray())
    with hf.record(model, tokens, **EVERYTHING) as edited:
        with lm.trace(tokens):
            lm.model.layers[0].self_attn.output[0][:] = 0
            changed = lm.lm_head.output.save()
    assert (changed - logits).abs().max() > 0.05
    assert np.abs((edited.trace.mass(2, 0) - plain.trace.mass(2, 0)).toarray()).max() > 0.01
    np.testing.assert_array_equal(edited.trace.mass(0, 0).toarray(), plain.trace.mass(0, 0).toarray())


@torch.no_grad()
def test_record(model, tmp_path):
    """Any pass, in pieces too; budgets; what goes wrong leaves no file and the model as it was."""
    tokens = ids(200)
    with hf.record(model, tokens, tmp_path / "a", pruned=0.4, bq=8, bk=4) as run:
        cache = model(tokens[:, :128]).past_key_values
        model(tokens[:, 128:], past_key_values=cache)
    assert run.trace.complete and run.trace.pruned >= 0.4 and run.trace.certificate.n_row > 0
    run.trace.validate()
    with hf.record(model, tokens, mass=0.5, bq=8, bk=4) as half:
        model(tokens)
    assert half.trace.certificate.recall_mean < 0.99
    for block, error, word in (
        (lambda: None, ValueError, "nothing can be traced"),
        (lambda: model(tokens[:, :100]), ValueError, "100 of 200 tokens"),
        (lambda: 1 / 0, ZeroDivisionError, "zero"),
    ):
        with pytest.raises(error, match=word), hf.record(model, tokens, tmp_path / "b", k=6, bq=8, bk=4):
            block()
        assert model.config._attn_implementation == "eager" and [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(ValueError, match="a number is wanted"), hf.record(model, tokens, k="auto"):
        pass
