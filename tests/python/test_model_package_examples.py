# SPDX-License-Identifier: MIT
"""The percent files of examples/ on real models. They run in this process, so that the weights are read once."""

import contextlib
import functools
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import transformers

matplotlib.use("Agg")
os.environ["HF_HUB_OFFLINE"] = "1"
CLI, SOURCE, SMOLLM2 = os.environ["ST_CLI"], Path(os.environ["ST_SOURCE_DIR"]), os.environ["ST_SMOLLM2"]


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """from_pretrained of the same file gives the same object; attention is brought back to what the caller asked for."""
    with pytest.MonkeyPatch.context() as patch:
        read = transformers.AutoTokenizer.from_pretrained
        words = functools.cache(lambda folder, name: read(folder, gguf_file=name))
        weights = functools.cache(transformers.AutoModelForCausalLM.from_pretrained)

        def tokenizer(folder, **more):  # TransformerLens asks again, for one that puts BOS first
            return words(folder, more["gguf_file"]) if more.keys() == {"gguf_file"} else read(folder, **more)

        def model(folder, gguf_file, attn_implementation="sdpa"):
            found = weights(folder, gguf_file=gguf_file)
            found.set_attn_implementation(attn_implementation)
            return found

        patch.setattr(transformers.AutoTokenizer, "from_pretrained", tokenizer)
        patch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", model)
        yield


def run(name, *args):
    """What the example prints, and its variables."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [name, *map(str, args)])
        values = runpy.run_path(str(SOURCE / "examples" / name))
    return said.getvalue(), values


def test_retrieval_heads():
    said, _ = run("retrieval_heads.py", SMOLLM2)
    assert "next token kept" in said and "4817302" in said.split("the needle is")[1]
    best = re.search(r"L\d+\.H\d+ reads it with ([0-9.]+) %", said)
    assert float(best.group(1)) > 10, said


def test_trace_needle():
    said, values = run("trace_needle.py", SMOLLM2)
    assert "next token kept" in said and re.search(r"the needle is tokens .*4817302", said), said
    found, trace, where = values["found"], values["trace"], values["where"]
    assert found.flow > 0 and len(found.routes) == 3 and found.source[0] <= where[0] < where[1] <= found.source[1]
    best = found.routes[0]
    assert best.hops[0].key[0] < where[1] and best.hops[0].key[1] > where[0] and best.hops[-1].query[1] == trace.n_tok
    assert trace.who_reads(where)[-1] > 3 * (where[1] - where[0]) / trace.n_tok, "the answer does not look back at it"


def test_compare_models(tmp_path):
    """SmolLM2 and Gemma on one prompt, traced by the program."""
    done = subprocess.run(
        [sys.executable, SOURCE / "examples/needle_prompt.py", "--words", "300", "--seed", "2"],
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "prompt.txt").write_text(done.stdout)
    paths = []
    for model in ("ST_SMOLLM2", "ST_GEMMA3"):
        paths.append(tmp_path / f"{model}.trace")
        command = [CLI, "trace", "-m", os.environ[model], "-f", tmp_path / "prompt.txt", "--k", "6", "-o", paths[-1]]
        subprocess.run(command, capture_output=True, check=True)
    number = re.search(r"is: (\d+)\.", done.stdout).group(1)
    said, values = run("compare_models.py", *paths, number)
    assert len(re.findall(r"half of the mass is in [0-9.]+ / [0-9.]+ / [0-9.]+ blocks", said)) == 2
    assert len(re.findall(r"L\d+\.H\d+ at depth [01]\.\d\d reads it with", said)) == 6
    assert [t.path for t in values["traces"]] == [str(p) for p in paths] and "emma" in said


def test_nnsight():
    pytest.importorskip("nnsight", reason="nnsight is not installed")
    said, values = run("bridge_nnsight.py", SMOLLM2)
    assert f"layer 10: (1, {values['tokens'].shape[1]}, 576)" in said
    assert float(re.search(r"moved the logits by ([0-9.]+)", said).group(1)) > 0.01 and "layer 2 silent: L" in said


def test_transformer_lens():
    """The last one: a bridge keeps the model that it was given."""
    pytest.importorskip("transformer_lens", reason="TransformerLens is not installed")
    said, values = run("bridge_transformer_lens.py", SMOLLM2)
    shares = [float(x) for x in re.search(r"([0-9.]+) % of the patterns.*: ([0-9.]+) %\)", said).groups()]
    assert shares[0] == pytest.approx(shares[1], abs=8) and shares[0] > 40
    assert "patterns in the cache: 0 outputs of heads: 30" in said
    assert len(values["heads"]) == 270 and "without L0.H2: L" in said
