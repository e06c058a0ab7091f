# SPDX-License-Identifier: MIT
"""Models that are not like the two real ones, made small and random: learned positions, layers without attention, and
layers that differ in heads."""
import json
import os
import subprocess

import gguf
import numpy as np
import pytest
from safetensors import safe_open

CLI = os.environ["ST_CLI"]
D, N_HEAD, N_FF, N_VOCAB, N_POSITION = 64, 2, 96, 128, 256


def run(*args, code=0):
    done = subprocess.run([CLI, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def write(path, arch, settle, shapes):
    """A GGUF of random weights; norms are ones."""
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(str(path), arch)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_context_length(N_POSITION)
    w.add_embedding_length(D)
    w.add_block_count(2)
    w.add_feed_forward_length(N_FF)
    w.add_vocab_size(N_VOCAB)
    w.add_tokenizer_model("llama")
    w.add_token_list([f"w{i}" for i in range(N_VOCAB)])
    w.add_token_scores([0.0] * N_VOCAB)
    w.add_token_types([gguf.TokenType.NORMAL] * N_VOCAB)
    settle(w)
    for name, shape in shapes.items():
        x = np.ones(shape) if "norm.weight" in name else rng.normal(0, 0.3, shape)
        w.add_tensor(name, np.ascontiguousarray(x, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def gpt2(path):
    shapes = {"token_embd.weight": (N_VOCAB, D), "position_embd.weight": (N_POSITION, D)}
    shapes |= {"output_norm.weight": D, "output_norm.bias": D, "output.weight": (N_VOCAB, D)}
    for i in range(2):
        for name, n_in, n_out in (("attn_qkv", D, 3 * D), ("attn_output", D, D), ("ffn_up", D, N_FF), ("ffn_down", N_FF, D)):
            shapes |= {f"blk.{i}.{name}.weight": (n_out, n_in), f"blk.{i}.{name}.bias": n_out}
        for name in ("attn_norm", "ffn_norm"):
            shapes |= {f"blk.{i}.{name}.weight": D, f"blk.{i}.{name}.bias": D}

    def settle(w):
        w.add_layer_norm_eps(1e-5)
        w.add_head_count(N_HEAD)

    return write(path, "gpt2", settle, shapes)


def lfm2(path):
    """Layer 0 is a convolution, which keeps a recurrent state; layer 1 has attention."""

    def settle(w):
        w.add_layer_norm_rms_eps(1e-5)
        w.add_head_count(N_HEAD)
        w.add_head_count_kv([0, N_HEAD])
        w.add_rope_freq_base(10000.0)
        w.add_shortconv_l_cache(3)

    shapes = {"token_embd.weight": (N_VOCAB, D), "token_embd_norm.weight": D}
    for i in range(2):
        shapes |= {f"blk.{i}.{name}.weight": D for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{i}.ffn_gate.weight": (N_FF, D), f"blk.{i}.ffn_up.weight": (N_FF, D), f"blk.{i}.ffn_down.weight": (D, N_FF)}
    shapes |= {"blk.0.shortconv.conv.weight": (D, 3), "blk.0.shortconv.in_proj.weight": (3 * D, D)}
    shapes |= {"blk.0.shortconv.out_proj.weight": (D, D)}
    shapes |= {f"blk.1.{name}.weight": (D, D) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {f"blk.1.{name}.weight": D // N_HEAD for name in ("attn_q_norm", "attn_k_norm")}
    return write(path, "lfm2", settle, shapes)


def openelm(path):
    """Layer 0 has two heads, layer 1 four; two of them share a key."""
    heads, size = (2, 4), 32

    def settle(w):
        w.add_layer_norm_rms_eps(1e-5)
        w.add_head_count(list(heads))
        w.add_head_count_kv([n // 2 for n in heads])
        w.add_key_length(size)
        w.add_value_length(size)
        w.add_rope_dimension_count(size)
        w.add_rope_freq_base(10000.0)

    shapes = {"token_embd.weight": (N_VOCAB, D), "output_norm.weight": D}
    for i, n in enumerate(heads):
        shapes |= {f"blk.{i}.{name}.weight": D for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{i}.{name}.weight": size for name in ("attn_q_norm", "attn_k_norm")}
        shapes |= {f"blk.{i}.attn_qkv.weight": (2 * n * size, D), f"blk.{i}.attn_output.weight": (D, n * size)}
        shapes |= {f"blk.{i}.ffn_gate.weight": (N_FF, D), f"blk.{i}.ffn_up.weight": (N_FF, D), f"blk.{i}.ffn_down.weight": (D, N_FF)}
    return write(path, "openelm", settle, shapes)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {make.__name__: make(folder / f"{make.__name__}.gguf") for make in (gpt2, lfm2, openelm)}


@pytest.fixture
def ids(tmp_path):
    def make(n):
        path = tmp_path / f"{n}.ids"
        path.write_text("".join(f"{x}\n" for x in np.random.default_rng(2).integers(3, N_VOCAB, n)))
        return path

    return make


EXACT = ("--weights", "f32", "--ctk", "f32", "--ctv", "f32")


@pytest.mark.parametrize("name, heads", [("gpt2", {0: N_HEAD, 1: N_HEAD}), ("lfm2", {1: N_HEAD}), ("openelm", {0: 2, 1: 4})])
def test_like_stock(models, ids, tmp_path, name, heads):
    """ggml's own attention predicts the same; every layer with attention is in the trace, and no other."""
    out = tmp_path / "run.trace"
    report = json.loads(run("trace", "-m", models[name], "--tokens", ids(250), "--k", 6, "--floor", "--json", "-o", out, *EXACT))
    assert report["floor"]["measured"] and report["floor"]["kl"] < 1e-5 and report["kl"] > 100 * report["floor"]["kl"]
    n = report["n_tok"]
    assert report["causal_pairs"] == sum(heads.values()) * n * (n + 1) // 2
    assert f"{len(heads)} layers" in run("check", out)
    with safe_open(out, "np") as f:
        layers = json.loads(f.metadata()["geometry"])["layers"]
    assert {x["layer"]: x["n_head"] for x in layers} == heads


def test_no_more_tokens_than_learned_positions(models, ids, tmp_path):
    out = tmp_path / "run.trace"
    said = run("trace", "-m", models["gpt2"], "--tokens", ids(N_POSITION + 1), "--k", 6, "-o", out, code=1)
    assert f"{N_POSITION + 1} tokens, but the model has learned positions for {N_POSITION} alone" in said
    run("trace", "-m", models["gpt2"], "--tokens", ids(N_POSITION), "--k", 6, "-o", out)


def test_edits_of_a_layer_without_attention(models, ids, tmp_path):
    """They would do nothing, and say so."""
    prompt = ("-m", models["lfm2"], "--tokens", ids(300))
    for head, layer in ((0, 0), ("*", 0)):
        said = run("trace", *prompt, "--k", 6, "--against", "none", "--deny", f"{layer}.{head}:200-300:50-100", code=1)
        assert "edit 1 names layer 0, which has no attention" in said
    edges = tmp_path / "edges.txt"
    edges.write_text("deny 1.0:200-300:50-100\ndeny 0.1:200-300:50-100\n")
    assert "edit 2 names layer 0" in run("prove", *prompt, "--edges", edges, "--random", 1, code=1)
    edges.write_text("deny 1.0:299-300:50-100\n")
    proof = json.loads(run("prove", *prompt, "--edges", edges, "--random", 1, "--json"))
    assert proof["tokens_reused"] == 0, "a recurrent state cannot be cut"
    assert proof["deny"]["log_p"] != proof["plain"]["log_p"]


def test_edits_of_layers_that_differ_in_heads(models, ids, tmp_path):
    """A head is one of its own layer's, in an edit as in the random edges of a proof."""
    prompt = ("-m", models["openelm"], "--tokens", ids(300))
    said = run("trace", *prompt, "--k", 6, "--against", "none", "--deny", "0.2:200-300:50-100", code=1)
    assert "edit 1 names head 2 of layer 0, only 0..1" in said
    edges = tmp_path / "edges.txt"
    edges.write_text("deny 0.1:299-300:50-100\ndeny 1.3:299-300:50-100\n")
    proof = json.loads(run("prove", *prompt, "--edges", edges, "--random", 20, "--json"))
    assert proof["deny"]["log_p"] != proof["plain"]["log_p"] and proof["tokens_reused"] > 0
    assert len(proof["random_deny"]) == 20 and all(x[0] != proof["plain"]["log_p"] for x in proof["random_deny"])


def test_layers_without_attention_are_not_recorded(models, ids, tmp_path):
    out = tmp_path / "run.trace"
    prompt = ("-m", models["lfm2"], "--tokens", ids(200), "--k", 6, "--against", "none", "-o", out)
    said = run("trace", *prompt, "--layers", 0, code=1)
    assert "no attention that can be traced: layer 0" in said and list(tmp_path.glob("run.trace*")) == []
    run("trace", *prompt, "--layers", "0-1")
    assert "1 layers" in run("check", out)


def test_checkpoints_of_a_recurrent_state_are_refused(models, ids, tmp_path):
    said = run("trace", "-m", models["lfm2"], "--tokens", ids(200), "--k", 6, "-o", tmp_path / "run.trace", "--checkpoint",
               tmp_path / "run.checkpoint", code=1)
    assert "recurrent state" in said and list(tmp_path.glob("run.*")) == []
