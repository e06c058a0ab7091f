# SPDX-License-Identifier: MIT
"""A layer's selection as torch FlexAttention wants it."""

import numpy as np

from ._extras import need


def block_mask(trace, layer, device):
    torch, flex = need("torch", "torch"), need("torch.nn.attention.flex_attention", "torch")
    heads = trace.heads[layer]
    count = np.zeros((1, len(heads), trace.nbq), np.int32)
    index = np.zeros((1, len(heads), trace.nbq, trace.nbk), np.int32)
    for h, head in enumerate(heads):
        indptr, indices, _ = trace.csr(layer, head)
        count[0, h] = np.diff(indptr)
        row = np.repeat(np.arange(trace.nbq), count[0, h])
        index[0, h, row, np.arange(len(indices)) - indptr[row]] = indices

    kept = np.zeros((len(heads), trace.nbq, trace.nbk), bool)
    h, row, at = np.nonzero(np.arange(trace.nbk) < count[0, :, :, None])
    kept[h, row, index[0, h, row, at]] = True
    kept = torch.from_numpy(kept).to(device)

    # the whole truth: FlexAttention without torch.compile asks mask_mod alone
    def reads(batch, head, q, key):
        return kept[head, q // trace.bq, key // trace.bk] & (key <= q)

    return flex.BlockMask.from_kv_blocks(
        torch.from_numpy(count).to(device),
        torch.from_numpy(index).to(device),
        BLOCK_SIZE=(trace.bq, trace.bk),
        mask_mod=reads,
        seq_lengths=(trace.n_tok, trace.n_tok),
    )
