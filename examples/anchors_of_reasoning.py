# SPDX-License-Identifier: MIT
# %% [markdown]
# # Anchors of a reasoning trace
#
# `sparsetrace trace --groups sentences.txt -o run.trace ...` records the attention from sentence to sentence. Here:
# which heads look back at few sentences, and which sentences those are ("Thought Anchors", arXiv 2506.19143). `python
# anchors_of_reasoning.py run.trace`

# %%
import sys

import sparsetrace

trace = sparsetrace.open(sys.argv[1])
groups = trace.groups
print(f"{len(groups)} sentences, {sum(len(h) for h in trace.heads.values())} heads recorded")

# %% [markdown]
# Receiver heads: those whose vertical scores (how much each sentence gets from all far behind it) are the most uneven.

# %%
heads = groups.receivers(20)
for r in heads[:3]:
    print(f"L{r.layer}.H{r.head} kurtosis {r.kurtosis:.1f}")

# %% [markdown]
# Anchors: the sentences that these heads look back at most.

# %%
score = groups.scores(heads)
for i in groups.anchors(3, heads=heads):
    print(f"sentence {i}, score {score[i]:.5f}: {groups.text(i)!r}")
