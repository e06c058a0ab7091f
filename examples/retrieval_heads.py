# SPDX-License-Identifier: MIT
# %% [markdown]
# # Which heads fetch a needle?
#
# A number is hidden in filler text; a model loaded by transformers is asked for it. The trace says which heads read the
# needle from the answer's place. As a notebook, or: `python retrieval_heads.py MODEL.gguf`

# %%
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

import sparsetrace.hf as hf

path = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)

# %% [markdown]
# The question, in the model's chat template, with the answer begun.

# %%
filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
needle = "One of the special magic numbers for cedar is: 4817302. "
question = "What is the special magic number for cedar mentioned in the provided text?"
chat = [{"role": "user", "content": filler * 6 + needle + filler * 8 + question}]
prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
prompt += "The special magic number for cedar mentioned in the provided text is: "

# %% [markdown]
# Run it with block-sparse attention: the smallest budget that keeps the next token.

# %%
trace = hf.trace(model, prompt, k="auto", tokenizer=tokenizer)
result = trace.result
print(trace)
print(
    f"k = {result['k']}, next token {'kept' if result['next_token']['agree'] else 'CHANGED'}, "
    f"recall {100 * trace.certificate.recall_mean:.0f} %"
)

# %% [markdown]
# Where the needle lies in tokens, and who reads it in the last query block.

# %%
at = trace.text.encode().index(needle.encode())
ends = [0]
for i in range(trace.n_tok):
    ends.append(ends[-1] + len(trace.bytes_of(i)))
begin = next(i for i in range(trace.n_tok) if ends[i + 1] > at)
end = next(i for i in range(trace.n_tok) if ends[i + 1] >= at + len(needle.encode())) + 1
print(f"the needle is tokens {begin}..{end - 1}: {trace.text_of((begin, end))!r}")
for mass, layer, head in trace.readers((begin, end), 5, rows=-1):
    print(f"L{layer}.H{head} reads it with {100 * mass:.1f} % of its attention")

# %% [markdown]
# In a notebook: `trace.show()` opens the viewer's page, `trace.plot_head(layer, head)` draws one head.
