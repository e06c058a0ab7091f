# SPDX-License-Identifier: MIT
# %% [markdown]
# # llama-cpp-python: any GGUF, traced
#
# The plug-in takes llama.cpp's attention; what it keeps becomes a trace. `python bridge_llama_cpp.py MODEL.gguf
# [RUN.trace]`; the variable SPARSETRACE_PLUGIN names libggml-sparsetrace.so if the program is not on the PATH.

# %%
import sys

import llama_cpp

import sparsetrace.llama_cpp as stl

stl.load()  # before the model
llm = llama_cpp.Llama(
    sys.argv[1], n_ctx=2048, n_batch=2048, n_ubatch=2048, flash_attn=True, verbose=False, n_threads=1, n_threads_batch=1
)

# %% [markdown]
# A number in filler text, and who reads it.

# %%
filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
needle = "The special magic number for cedar is: 4817302. "
text = filler * 6 + needle + filler * 8 + "What is the special magic number for cedar? The special magic number for cedar is: "
trace = stl.trace(llm, text, sys.argv[2] if len(sys.argv) > 2 else None, k=8)
print(trace)
print(f"recall {100 * trace.certificate.recall_mean:.0f} %, next token", llm.detokenize([trace.result["next_token"]["sparse"]["id"]]))
for mass, layer, head in trace.readers("4817302", 5, rows=-1):
    print(f"L{layer}.H{head} reads it with {100 * mass:.1f} % of its attention")

# %% [markdown]
# And it writes on, attention still sparse.

# %%
stl.served()
print(llm.create_completion(text, max_tokens=7, temperature=0)["choices"][0]["text"])
print("layer calls (sparse, exact):", stl.served())
