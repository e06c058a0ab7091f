# SPDX-License-Identifier: MIT
"""For the tests of bridges to other tools: loudly skipped where a tool is not installed, and what several of them need."""

import importlib
import os

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched by the tools


def need(name):
    """The module; the whole file exits 77 where it cannot be imported (tools/bridge_requirements.txt)."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        pytest.exit(f"SKIP: {name} is not installed in the package's test environment ({e})", returncode=77)


def words(folder):
    """A transformers tokenizer of 97 words, as some tools want one."""
    import tokenizers
    import transformers

    model = tokenizers.models.WordLevel({f"w{i}": i for i in range(97)}, unk_token="w0")
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(model), unk_token="w0", bos_token="w1", eos_token="w1", pad_token="w0"
    )
    whole.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def exact_trace(model, tokens, **more):
    """A trace that keeps everything, in blocks of one token."""
    import sparsetrace.hf as hf

    return hf.trace(model, tokens, k=10_000, bq=1, bk=1, precise=True, **more)


def weights(model, tokens):
    """float64 [layer][head, n, n] of eager attention."""
    import torch

    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(input_ids=tokens, output_attentions=True).attentions
    return [np.asarray(w[0].double()) for w in found]
