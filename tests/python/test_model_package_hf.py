# SPDX-License-Identifier: MIT
"""Real models in transformers, loaded from the GGUF files that the program runs: the same text gives the same
selections as the program, and the same next token."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import sparsetrace as sp
import sparsetrace.hf as hf

CLI, SOURCE = os.environ["ST_CLI"], Path(os.environ["ST_SOURCE_DIR"])
WORDS, K = 500, 8


def run_program(model, folder):
    """(trace, report) of a prompt with a needle in it, in float32"""
    prompt = subprocess.run(
        [
            sys.executable,
            SOURCE / "examples/needle_prompt.py",
            "--words",
            str(WORDS),
            "--seed",
            "1",
            "--answer",
            folder / "answer.txt",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (folder / "prompt.txt").write_text(prompt)
    done = subprocess.run(
        [
            CLI,
            "trace",
            "-m",
            model,
            "-f",
            folder / "prompt.txt",
            "--k",
            str(K),
            "--weights",
            "f32",
            "--ctk",
            "f32",
            "--ctv",
            "f32",
            "-o",
            folder / "cli.trace",
            "--json",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return sp.open(folder / "cli.trace"), json.loads(done.stdout), prompt


@pytest.fixture(scope="module", params=["ST_SMOLLM2", "ST_GEMMA3"])
def runs(request, tmp_path_factory):
    """(our trace, the program's trace, the program's report, model) of one prompt. SmolLM2's tokens are transformers'
    own tokenizer's; Gemma's vocabulary takes that a minute to read, so its tokens are the program's."""
    folder, path = tmp_path_factory.mktemp("hf"), Path(os.environ[request.param])
    theirs, report, prompt = run_program(path, folder)
    tokenizer = None
    ids = theirs.tokens
    if request.param == "ST_SMOLLM2":
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        ids = tokenizer(prompt)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    return hf.trace(model, ids, folder / "hf.trace", k=K, tokenizer=tokenizer), theirs, report, model


def rows(trace):
    """{(layer, head, query block): kept blocks}"""
    out = {}
    for layer in trace.layers:
        for head in trace.heads[layer]:
            indptr, indices, _ = trace.csr(layer, head)
            for b in range(trace.nbq):
                out[layer, head, b] = set(indices[indptr[b] : indptr[b + 1]].tolist())
    return out


def test_same_selections_as_the_program(runs):
    ours, theirs, _, _ = runs
    ours.validate()
    assert ours.layers == theirs.layers and ours.info.kept_pairs == theirs.info.kept_pairs
    assert [ours.layer(n).exact for n in ours.layers] == [theirs.layer(n).exact for n in theirs.layers]
    pruned = {n for n in ours.layers if not ours.layer(n).exact}
    assert pruned
    mine, want = rows(ours), rows(theirs)
    both = sum(len(mine[at] & want[at]) for at in want if at[0] in pruned)
    kept = sum(len(want[at]) for at in want if at[0] in pruned)
    assert both >= 0.99 * kept, f"{both} of {kept} kept blocks are the program's"


def test_same_report(runs):
    ours, theirs, report, _ = runs
    next_token = ours.result["next_token"]
    assert next_token["agree"] and next_token["dense"]["id"] == report["next_token"]["dense"]["id"]
    assert next_token["sparse"]["id"] == report["next_token"]["sparse"]["id"]
    assert next_token["margin"] == pytest.approx(report["next_token"]["margin"], abs=0.05)
    assert ours.pruned == pytest.approx(report["pruned_fraction"], abs=1e-9)
    assert ours.certificate.recall_mean == pytest.approx(theirs.certificate.recall_mean, abs=5e-3)
    assert ours.result["recall_last_row"] == pytest.approx(report["recall"]["last_row"], abs=0.02)


def test_same_text(runs):
    ours, theirs, _, _ = runs
    np.testing.assert_array_equal(ours.tokens, theirs.tokens)
    assert "magic" in theirs.text and ours.text in (theirs.text, "")
    said = subprocess.run([CLI, "info", ours.path], check=True, capture_output=True, text=True).stdout
    assert str(ours.n_tok) in said.replace(",", "")


def test_generate_goes_on_as_exactly(runs):
    """Greedy continuation with the cache, at a budget that keeps everything, is sdpa's."""
    ours, _, _, model = runs
    ids = torch.from_numpy(ours.tokens[:200].copy()).long()[None]
    hf.register(k=10_000, precise=True)
    out = []
    for name in ("sdpa", "sparsetrace"):
        model.set_attn_implementation(name)
        out.append(model.generate(ids, max_new_tokens=8, do_sample=False, attention_mask=torch.ones_like(ids)))
    torch.testing.assert_close(*out)
