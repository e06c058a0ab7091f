# SPDX-License-Identifier: MIT
# %% [markdown]
# # Two models, one text
#
# Traces of the same text by two models, whoever made them (`sparsetrace trace`, `sparsetrace.hf.trace`): how concentrated
# their attention is, and at what depth each reads a passage. Passages are named by text, for the tokens differ.
# `python compare_models.py A.trace B.trace "a passage of the text"`

# %%
import sys

import numpy as np

import sparsetrace

traces, passage = [sparsetrace.open(path) for path in sys.argv[1:3]], sys.argv[3]


def name_of(trace):
    return trace.recipe.get("model", {}).get("name", trace.path)


# %% [markdown]
# Size, budget and how faithful each picture is.

# %%
for trace in traces:
    certificate = trace.certificate
    recall = "no certificate" if certificate is None else f"recall {100 * certificate.recall_mean:.0f} %"
    heads = sum(len(h) for h in trace.heads.values())
    print(f"{name_of(trace)}: {trace.n_tok} tokens, {heads} heads, {100 * trace.pruned:.1f} % pruned, {recall}")

# %% [markdown]
# Blocks that hold half of a head's mass in a query block: the fewer, the sharper. By depth, as a share of the layers.


# %%
def half(trace, layer, head):
    """Mean number of the heaviest blocks that hold half of the kept mass."""
    indptr, _, mass = trace.csr(layer, head)
    rows = [np.sort(mass[a:b])[::-1] for a, b in zip(indptr[:-1], indptr[1:]) if b > a]
    return np.mean([np.searchsorted(np.cumsum(r), r.sum() / 2) + 1 for r in rows])


for trace in traces:
    sharp = [np.mean([half(trace, layer, head) for head in trace.heads[layer]]) for layer in trace.layers]
    thirds = [np.mean(part) for part in np.array_split(sharp, 3)]
    print(f"{name_of(trace)}: half of the mass is in {' / '.join(f'{x:.1f}' for x in thirds)} blocks (early/middle/late)")

# %% [markdown]
# Who reads the passage, from the last tokens: the heads, and how deep they sit.

# %%
for trace in traces:
    where = trace.find(passage, 1)
    print(f"{name_of(trace)}: the passage is tokens {where[0]}..{where[1] - 1}")
    for mass, layer, head in trace.readers(where, 3, rows=-1):
        depth = trace.layers.index(layer) / max(len(trace.layers) - 1, 1)
        print(f"  L{layer}.H{head} at depth {depth:.2f} reads it with {100 * mass:.1f} % of its attention")
