# SPDX-License-Identifier: MIT
# %% [markdown]
# # circuitsvis: a small window of a long trace
#
# circuitsvis draws attention token by token, for some hundred tokens. Of a long trace it gets the window that matters,
# here the last tokens and the heads that read them most. `python bridge_circuitsvis.py RUN.trace [PAGE.html]`

# %%
import sys

import circuitsvis as cv
import numpy as np

import sparsetrace

trace = sparsetrace.open(sys.argv[1])
span = (max(trace.n_tok - 48, 0), trace.n_tok)
heads = [(layer, head) for _, layer, head in trace.readers(span, 4, rows=span)]

# %% [markdown]
# `window` gives [tokens, tokens]: a block's mass spread over its keys, exact for a trace of blocks of one token.

# %%
attention = np.stack([trace.window(layer, head, span) for layer, head in heads])
tokens = [trace.text_of(i) for i in range(*span)]
page = cv.attention.attention_heads(
    attention=attention, tokens=tokens, attention_head_names=[f"L{layer}.H{head}" for layer, head in heads]
)
for (layer, head), a in zip(heads, attention):
    print(f"L{layer}.H{head}: the last {len(tokens)} tokens read one another with {100 * a.sum(1).mean():.1f} %")
if len(sys.argv) > 2:
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write(str(page))

# %% [markdown]
# In a notebook the picture is the value of the cell:

# %%
page
