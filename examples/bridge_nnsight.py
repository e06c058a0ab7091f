# SPDX-License-Identifier: MIT
# %% [markdown]
# # nnsight: a trace inside a `.trace()` block
#
# nnsight reads and edits what happens inside a model; sparsetrace records what attention read in that very pass. As a
# notebook, or: `python bridge_nnsight.py MODEL.gguf`

# %%
import sys
from pathlib import Path

import torch
from nnsight import TransformersModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import sparsetrace.hf as hf

path = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
lm = TransformersModel(model, task="text-generation", tokenizer=tokenizer)
text = "The code of the cedar door is 4817. The sky is blue. The grass is green. " * 6 + "The code of the cedar door is"
tokens = tokenizer(text, return_tensors="pt")["input_ids"]

# %% [markdown]
# One pass: a layer's output is saved by nnsight, and attention is traced.

# %%
with torch.no_grad(), hf.record(model, tokens, k=6, tokenizer=tokenizer) as plain:
    with lm.trace(tokens):
        state = lm.model.layers[10].output.save()
        logits = lm.lm_head.output[0, -1].save()
print(plain.trace)
print("layer 10:", tuple(state.shape), "next token:", repr(tokenizer.decode(int(logits.argmax()))))

# %% [markdown]
# The same with an edit: nnsight silences the third layer's attention. The trace shows what later heads read then.

# %%
with torch.no_grad(), hf.record(model, tokens, k=6, tokenizer=tokenizer) as edited:
    with lm.trace(tokens):
        lm.model.layers[2].self_attn.output[0][:] = 0
        changed = lm.lm_head.output[0, -1].save()
print("the edit moved the logits by", round(float((changed - logits).abs().max()), 2))
code = plain.trace.find("4817", 1)
for name, trace in (("as it is", plain.trace), ("layer 2 silent", edited.trace)):
    mass, layer, head = trace.readers(code, 1, rows=-1)[0]
    print(f"{name}: L{layer}.H{head} reads the first code most, {100 * mass:.1f} %")
