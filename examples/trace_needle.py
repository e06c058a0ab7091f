# SPDX-License-Identifier: MIT
# %% [markdown]
# # Trace a needle
#
# Where does a number that was hidden in a text go? Who reads it, by which layers and heads it reaches the answer, and how
# sure the picture is. As a notebook, or: `python trace_needle.py MODEL.gguf`

# %%
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

import sparsetrace.hf as hf

path = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
needle = "One of the special magic numbers for cedar is: 4817302. "
question = "What is the special magic number for cedar mentioned in the provided text?"
chat = [{"role": "user", "content": filler * 6 + needle + filler * 8 + question}]
prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
prompt += "The special magic number for cedar mentioned in the provided text is: "

# %% [markdown]
# Small blocks, so that routes are sharp. A passage is named by its text.

# %%
trace = hf.trace(model, prompt, pruned=0.7, bq=4, bk=4, tokenizer=tokenizer)
where = trace.find("4817302")
token = trace.result["next_token"]
print(f"{trace}; next token {'kept' if token['agree'] else 'CHANGED'}: {tokenizer.decode(token['sparse']['id'])!r}")
print(f"the needle is tokens {where[0]}..{where[1] - 1}: {trace.text_of(where)!r}")
print(f"the picture: {100 * trace.certificate.recall_mean:.0f} % of the exact mass is kept")

# %% [markdown]
# Who reads it: in every query block the share of attention, mean over layers and heads.

# %%
share = trace.who_reads(where)
for block in sorted(share.argsort()[-5:]):
    span = (int(block) * trace.bq, min((int(block) + 1) * trace.bq, trace.n_tok))
    print(f"tokens {span[0]}..{span[1] - 1} read it with {100 * share[block]:.2f} %: {trace.text_of(span)!r}")

# %% [markdown]
# By which way it comes to the last token. Weights are of attention mass, not of effect: `sparsetrace route --prove` runs
# the model without a route.

# %%
found = trace.routes(where, n=3)
print(f"flow from the needle to the last token: {100 * found.flow:.2f} %")
for layer, head, moved in found.heads[:3]:
    print(f"L{layer}.H{head} moves {100 * moved:.0f} % of it")
for route in found.routes:
    print(f"{100 * route.weight:.3f} %", " -> ".join(f"L{h.layer}.H{h.head} {h.key[0]}>{h.query[0]}" for h in route.hops))

# %% [markdown]
# In a notebook: `trace.show()`, and the heads as pictures.

# %%
ax = trace.plot_head(*found.heads[0][:2])
ax.axvline(where[0], color="white", linewidth=0.5)
