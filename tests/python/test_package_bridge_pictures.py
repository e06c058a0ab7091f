# SPDX-License-Identifier: MIT
"""Token windows of a trace, and the tools that draw them: circuitsvis and BertViz, given what transformers' own weights
would give them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import bridges

cv = bridges.need("circuitsvis")
bertviz = bridges.need("bertviz")

import numpy as np
import pytest

import sparsetrace as sp
import sparsetrace.hf as hf
from test_package_attention import ids, make

SOURCE = Path(os.environ["ST_SOURCE_DIR"])


def test_window_of_single_tokens_is_attention():
    model, tokens = make("llama"), ids(60)
    trace, want = bridges.exact_trace(model, tokens), bridges.weights(model, tokens)
    for layer in range(3):
        for head in range(6):
            np.testing.assert_allclose(trace.window(layer, head, (0, 60)), want[layer][head], atol=1e-3)
    np.testing.assert_allclose(trace.window(1, 2, (-20, -5)), want[1][2][40:55, 40:55], atol=1e-3)
    with pytest.raises(ValueError, match="4096"):
        big = sp.Trace.__new__(sp.Trace)
        big.n_tok = 5000
        big.window(0, 0, (0, 5000))


def test_window_keeps_the_mass_of_blocks():
    trace = hf.trace(make("llama"), ids(96), k=6, bq=8, bk=4)
    window = trace.window(1, 3, (0, 96))
    assert not np.triu(window, 1).any()
    blocks = np.add.reduceat(np.add.reduceat(window, np.arange(0, 96, 4), axis=1), np.arange(0, 96, 8), axis=0) / 8
    mass = trace.mass(1, 3).toarray()
    inside = np.arange(24)[None, :] * 4 + 4 <= np.arange(12)[:, None] * 8  # before the diagonal: seen by all rows
    np.testing.assert_allclose(blocks[inside], mass[inside], atol=1e-6)


def data_of(page, name):
    """The numbers under a name in the page's JSON."""
    return np.array(json.loads(re.search(rf'"{name}": (\[.*?\]\]\])', str(page), re.S).group(1)))


def test_circuitsvis_gets_the_weights():
    model, tokens = make("llama"), ids(30)
    trace, want = bridges.exact_trace(model, tokens), bridges.weights(model, tokens)
    heads = np.stack([trace.window(2, h, (0, 30)) for h in range(6)])
    page = cv.attention.attention_heads(attention=heads, tokens=[f"w{i}" for i in tokens[0].tolist()])
    np.testing.assert_allclose(data_of(page, "attention"), want[2], atol=1e-3)


def test_bertviz_takes_windows():
    torch = bridges.need("torch")
    trace = bridges.exact_trace(make("llama"), ids(20))
    attention = [torch.from_numpy(np.stack([trace.window(n, h, (0, 20)) for h in range(6)]))[None] for n in trace.layers]
    page = bertviz.head_view(attention, [f"w{i}" for i in range(20)], html_action="return")
    assert "w19" in page.data and "bertviz" in page.data


def test_example(tmp_path):
    golden = SOURCE / "tests/golden/trace_v1/data/trace.safetensors"
    example = SOURCE / "examples/bridge_circuitsvis.py"
    said = subprocess.run(
        [sys.executable, example, golden, tmp_path / "p.html"], capture_output=True, text=True, check=True
    ).stdout
    assert said.count("read one another") == 4
    trace, page = sp.open(golden), (tmp_path / "p.html").read_text()
    layer, head = map(int, re.match(r"L(\d+)\.H(\d+)", said).groups())
    np.testing.assert_allclose(data_of(page, "attention")[0], trace.window(layer, head, (2, 50)), atol=1e-6)
