# SPDX-License-Identifier: MIT
# %% [markdown]
# # TransformerLens: its hooks, our attention
#
# A TransformerBridge runs a text with block-sparse attention; an ablation by its hooks is traced; on a short text the
# trace stands beside the patterns of its cache. As a notebook, or: `python bridge_transformer_lens.py MODEL.gguf`

# %%
import sys
from pathlib import Path

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

import sparsetrace.transformer_lens as stl

path = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, attn_implementation="eager")
bridge = TransformerBridge.boot_transformers("SmolLM2", hf_model=model, tokenizer=tokenizer)
text = "The code of the cedar door is 4817. The sky is blue. The grass is green. " * 6 + "The code of the cedar door is"
tokens = tokenizer(text, return_tensors="pt")["input_ids"]

# %% [markdown]
# Short text: what the trace kept of the patterns that TransformerLens caches.

# %%
trace = stl.trace(bridge, tokens, k=6, tokenizer=tokenizer)
with torch.no_grad():
    logits, cache = bridge.run_with_cache(tokens)
heads = sorted(stl.compare(trace, cache), key=lambda h: h.recall)
mean = sum(h.recall for h in heads) / len(heads)
print(trace)
print(f"{100 * mean:.1f} % of the patterns' mass is in the kept blocks (the trace's certificate, by samples: "
      f"{100 * trace.certificate.recall_mean:.1f} %)")
print(f"least in L{heads[0].layer}.H{heads[0].head}: {100 * heads[0].recall:.1f} %")

# %% [markdown]
# Any length: attention is replaced, no pattern is made, the other hooks are there.

# %%
with torch.no_grad(), stl.attend(bridge):
    logits, cache = bridge.run_with_cache(tokens)
print("patterns in the cache:", sum("hook_pattern" in k for k in cache.keys()),
      "outputs of heads:", sum("hook_z" in k for k in cache.keys()))

# %% [markdown]
# What an ablation changes: without one head, who reads the door's code?


# %%
def without(z, hook):
    z[:, :, 2] = 0
    return z


with torch.no_grad(), stl.record(bridge, tokens, k=6, tokenizer=tokenizer) as run:
    bridge.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_z", without)])
code = trace.find("4817", 1)
for name, t in (("as it is", trace), ("without L0.H2", run.trace)):
    mass, layer, head = t.readers(code, 1, rows=-1)[0]
    print(f"{name}: L{layer}.H{head} reads the first code most, {100 * mass:.1f} %")
