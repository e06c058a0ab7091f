# SPDX-License-Identifier: MIT
"""The registered attention inside transformers, on small random models of several kinds: full budget equals eager
attention, with padding, windows, soft-cap, sinks, caches; sparse attention does not depend on padding or on how a
sequence was cut."""

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors import safe_open

import sparsetrace as sp
import sparsetrace.hf as hf

SMALL = dict(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=512,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=None,
)
KINDS = {
    "llama": lambda: tf.LlamaConfig(**SMALL),
    "gemma2": lambda: tf.Gemma2Config(**SMALL, sliding_window=24, attn_logit_softcapping=3.0, query_pre_attn_scalar=16),
    "gemma3": lambda: tf.Gemma3TextConfig(
        **SMALL, sliding_window=24, query_pre_attn_scalar=16, layer_types=["sliding_attention"] * 2 + ["full_attention"]
    ),
    "mistral": lambda: tf.MistralConfig(**SMALL, sliding_window=20),
    "qwen3": lambda: tf.Qwen3Config(**SMALL),
    "gpt_oss": lambda: tf.GptOssConfig(
        **SMALL,
        sliding_window=20,
        num_local_experts=2,
        num_experts_per_tok=1,
        layer_types=["sliding_attention", "full_attention"] + ["sliding_attention"],
    ),
}


def make(kind, dtype=torch.float32):
    torch.manual_seed(5)
    config = KINDS[kind]()
    config._attn_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # sharp heads: random weights alone attend almost evenly
        for name, weight in model.named_parameters():
            if "q_proj.weight" in name or "k_proj.weight" in name:
                weight.mul_(12)
    return model.to(dtype)


def ids(n, seed=0, batch=1):
    return torch.randint(2, 97, (batch, n), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def both(model, **inputs):
    """logits of eager attention and of ours at a budget that keeps everything"""
    hf.register(k=10_000, bq=8, bk=4, precise=True)
    out = []
    for name in ("eager", "sparsetrace"):
        model.set_attn_implementation(name)
        out.append(model(**inputs).logits.float())
    return out


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_full_budget_is_eager_attention(kind):
    want, got = both(make(kind), input_ids=ids(90, batch=2))
    torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype, room", [("bfloat16", 0.06), ("float16", 0.01)])
def test_half_types(dtype, room):
    want, got = both(make("llama", getattr(torch, dtype)), input_ids=ids(90))
    assert (got - want).abs().mean() < room * want.abs().mean()


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(kind, side):
    tokens, mask = ids(60, batch=3), torch.ones(3, 60, dtype=torch.long)
    for row, pad in enumerate((0, 11, 37)):
        mask[row, :pad] = 0
    mask = mask if side == "left" else mask.flip(1)
    position = (mask.cumsum(1) - 1).clamp(min=0)
    want, got = both(make(kind), input_ids=tokens, attention_mask=mask, position_ids=position)
    real = mask.bool()
    torch.testing.assert_close(got[real], want[real], atol=2e-4, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_selection(side):
    """Sparse: a padded sequence gives what it gives alone."""
    hf.register(k=5, bq=8, bk=4, precise=True)
    model, tokens = make("llama"), ids(100)
    model.set_attn_implementation("sparsetrace")
    alone = model(input_ids=tokens).logits
    pad, mask = torch.zeros(1, 13, dtype=torch.long), torch.ones(1, 100, dtype=torch.long)
    order = (lambda a, b: [a, b]) if side == "left" else (lambda a, b: [b, a])
    mask = torch.cat(order(pad, mask), 1)
    got = model(
        input_ids=torch.cat(order(pad, tokens), 1), attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)
    ).logits
    torch.testing.assert_close(got[mask.bool()], alone[0], atol=2e-4, rtol=1e-3)
    hf.register(k=10_000, bq=8, bk=4, precise=True)
    assert (model(input_ids=tokens).logits - alone).abs().max() > 0.01, "k=5 pruned nothing"


@torch.no_grad()
def test_pieces_of_a_sequence_give_the_whole():
    """Sparse, through a cache: cut at query blocks, the output is that of one pass."""
    hf.register(k=5, bq=8, bk=4, precise=True)
    model, tokens = make("llama"), ids(192)
    model.set_attn_implementation("sparsetrace")
    whole, cache, parts = model(input_ids=tokens).logits, tf.DynamicCache(), []
    for begin in range(0, 192, 64):
        parts.append(model(input_ids=tokens[:, begin : begin + 64], past_key_values=cache).logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-4, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt_oss"])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_generate(kind, cache):
    """Greedy tokens of a left-padded batch, with transformers' own caches."""
    model, tokens, mask = make(kind), ids(50, batch=2), torch.ones(2, 50, dtype=torch.long)
    mask[1, :20] = 0
    hf.register(k=10_000, bq=8, bk=4, precise=True)
    out = []
    for name in ("eager", "sparsetrace"):
        model.set_attn_implementation(name)
        out.append(
            model.generate(
                tokens,
                attention_mask=mask,
                max_new_tokens=12,
                do_sample=False,
                cache_implementation=cache,
                disable_compile=True,
                pad_token_id=0,
            )
        )
    torch.testing.assert_close(*out)


@torch.no_grad()
@pytest.mark.parametrize("shape", ["holes", "values"])
def test_a_mask_of_ones_own(shape):
    model, tokens = make("llama"), ids(40)
    mask = torch.zeros(1, 1, 40, 40).masked_fill(~torch.ones(40, 40).tril().bool(), -torch.inf)
    mask[..., 20:, 5:9] = -torch.inf if shape == "holes" else 1.5
    want, got = both(model, input_ids=tokens, attention_mask=mask)
    torch.testing.assert_close(got, want, atol=3e-4, rtol=1e-3)


@torch.no_grad()
def test_packed_sequences():
    """Two texts in one row, known by their positions: transformers hides one from the other, and so do we."""
    tokens, position = ids(70), torch.cat([torch.arange(30), torch.arange(40)])[None]
    want, got = both(make("llama"), input_ids=tokens, position_ids=position, use_cache=False)
    torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-3)


def test_what_is_refused():
    hf.register(k=8, bq=8, bk=4)
    model = make("llama")
    model.set_attn_implementation("sparsetrace")
    with pytest.raises(NotImplementedError, match="no_grad"):
        model(input_ids=ids(20))
    q = torch.zeros(1, 2, 8, 4, device="meta")
    with pytest.raises(ValueError, match="on meta.*CPU"):
        hf.attention(model.model.layers[0].self_attn, q, q, q, None)
    q = torch.zeros(1, 2, 8, 4)
    with pytest.raises(NotImplementedError, match="dropout"):
        hf.attention(model.model.layers[0].self_attn, q, q, q, None, dropout=0.1)
    with pytest.raises(ValueError, match="each head"):
        hf.attention(model.model.layers[0].self_attn, q, q, q, torch.zeros(1, 2, 8, 8))
    with pytest.raises(TypeError, match="float64"):
        hf.attention(model.model.layers[0].self_attn, q.double(), q.double(), q.double(), None)


# ---- tracing
# -----------------------------------------------------------------------------------------------------------


def traced(model, tokens, **more):
    return hf.trace(model, tokens, **{"bq": 8, "bk": 4, "k": 6, **more})


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_trace_tells_what_attention_read(kind):
    """With everything kept, the masses are the means over blocks of transformers' own attention weights."""
    model, tokens = make(kind), ids(90)
    before = model.config._attn_implementation
    trace = traced(model, tokens, k=10_000, lse=True, chunk=64)
    trace.validate()
    assert model.config._attn_implementation == before and trace.result["next_token"]["agree"]
    with torch.no_grad():
        weights = model(input_ids=tokens, output_attentions=True).attentions
    first, last = np.arange(0, 90, 8), np.minimum(np.arange(8, 98, 8), 90)
    for layer in trace.layers:
        for head in range(6):
            w = np.add.reduceat(weights[layer][0, head].double().numpy(), np.arange(0, 90, 4), axis=1)
            want = np.array([w[a:b].mean(0) for a, b in zip(first, last)])
            np.testing.assert_allclose(trace.mass(layer, head).toarray(), want, atol=2e-3)
    np.testing.assert_array_equal(trace.tokens, tokens[0])
    assert trace.layer(2).lse.shape == (6, 90)


def test_certificate_is_the_truth():
    """Certified on every row, the mean recall is what eager weights say of the kept blocks."""
    model, tokens = make("llama"), ids(120)
    trace = traced(model, tokens, k=5, layers=[0], cert_rows=10_000)
    with torch.no_grad():
        w = model(input_ids=tokens, output_attentions=True).attentions[0][0].double().numpy()
    kept = np.array([np.kron(trace.mask(0, h).toarray(), np.ones((8, 4)))[:120, :120] for h in range(6)])
    recall = (w * kept).sum(2)[:, :119]  # the last row stands apart
    assert trace.certificate.n_row == 119 and trace.layers == (0,)
    with safe_open(trace.path, "np") as f:
        np.testing.assert_allclose(f.get_tensor("layer.0.cert_recall"), recall, atol=3e-3)
    assert trace.pruned > 0.2


def test_auto_finds_a_budget_that_holds():
    model, tokens = make("llama"), ids(150)
    trace = traced(model, tokens, k="auto")
    k = trace.result["k"]
    assert trace.result["next_token"]["agree"] and k <= -(-150 // 4)
    model.set_attn_implementation("sparsetrace")
    hf.register(k=k, bq=8, bk=4, pooled=True, grow_tok=150)  # as auto does
    with torch.no_grad():
        assert int(model(input_ids=tokens).logits[0, -1].argmax()) == trace.result["next_token"]["dense"]["id"]


def test_other_budgets():
    model, tokens = make("llama"), ids(400)
    shares = [traced(model, tokens, k=None, pruned=p, against="none").pruned for p in (0.3, 0.6)]
    assert shares[0] >= 0.3 and shares[1] >= 0.6
    few, many = (traced(model, tokens, k=None, mass=m, against="none") for m in (0.5, 0.95))
    assert few.pruned > many.pruned and few.certificate.recall_mean < many.certificate.recall_mean
    assert few.result["next_token"]["against"] == "none" and few.result["kl"] is None


def test_what_trace_refuses(tmp_path):
    model, tokens = make("llama"), ids(40)
    for more, error, word in (
        ({"k": "all"}, ValueError, "'auto'"),
        ({"pruned": 0.5}, ValueError, "budget of its own"),
        ({"k": None, "against": "none"}, ValueError, "auto"),
        ({"against": "x"}, ValueError, "against"),
        ({"k": [8]}, TypeError, "k is"),
        ({"bq": 0}, ValueError, "bq"),
        ({"chunk": 0}, ValueError, "chunk"),
        ({"path": tmp_path / "no" / "x"}, OSError, "no"),
        ({"layers": []}, ValueError, "empty"),
        ({"k": None, "pruned": 0.99}, sp.LimitError, "out of reach"),
    ):
        with pytest.raises(error, match=word):
            traced(model, tokens, **more)
        assert model.config._attn_implementation == "eager"
    for bad, error, word in (
        (ids(9, batch=2), ValueError, "one sequence"),
        (torch.zeros(4), TypeError, "token ids"),
        ([], (ValueError, TypeError), "input_ids"),
        ("text", ValueError, "tokenizer"),
    ):
        with pytest.raises(error, match=word):
            traced(model, bad)
    assert not list(tmp_path.iterdir())
