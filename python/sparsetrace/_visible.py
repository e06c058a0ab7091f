# SPDX-License-Identifier: MIT
"""Which keys each row sees, as transformers says it: intervals instead of a T x T mask.

The mask function that is registered with transformers gives an int32 tensor [batch, 1, n_q, 2]: row i sees the keys lo
<= j < hi. Where a row's keys are no interval, it gives the boolean mask [batch, 1, n_q, n_k] that transformers itself
would make.
"""

import inspect

import numpy as np
import torch
from transformers import masking_utils

SLAB = 256  # rows of a mask that are looked at together: never all of them at once

NEW_NAMES = "q_length" in inspect.signature(masking_utils.sdpa_mask).parameters  # 5.x; 4.56 has cache_position


def mask(
    batch_size,
    kv_length,
    kv_offset=0,
    mask_function=masking_utils.causal_mask_function,
    attention_mask=None,
    q_length=None,
    q_offset=0,
    cache_position=None,
    **more,
):
    """What AttentionMaskInterface calls: the rows' intervals (see above)."""
    if cache_position is None and isinstance(q_length, torch.Tensor):  # between the two
        cache_position, q_length = q_length, None
    if cache_position is not None:
        q_length, q_offset = len(cache_position), int(cache_position[0])
    q_offset = int(q_offset)
    position = torch.arange(q_offset, q_offset + q_length, dtype=torch.int32)
    if mask_function is masking_utils.causal_mask_function and (attention_mask is None or bool(attention_mask.all())):
        hi = (position + 1 - kv_offset).clamp(0, kv_length)
        return torch.stack([torch.zeros_like(hi), hi], -1).expand(batch_size, 1, -1, 2)
    for name in ("allow_is_causal_skip", "allow_is_bidirectional_skip", "allow_torch_fix"):
        more.pop(name, None)

    def slab(begin, end):
        rows = (
            {"q_length": end - begin, "q_offset": q_offset + begin}
            if NEW_NAMES
            else {"cache_position": position[begin:end].long()}
        )
        return masking_utils.sdpa_mask(
            batch_size=batch_size,
            kv_length=kv_length,
            kv_offset=kv_offset,
            mask_function=mask_function,
            attention_mask=attention_mask,
            allow_is_causal_skip=False,
            allow_torch_fix=False,
            **rows,
            **more,
        )

    found = [intervals(slab(begin, min(begin + SLAB, q_length))) for begin in range(0, q_length, SLAB)]
    if all(f is not None for f in found):
        return torch.cat(found, 2)
    return slab(0, q_length)


def intervals(mask):
    """int32 [batch, 1, n_q, 2] of a boolean mask [batch, 1, n_q, n_k], or None if some row has a hole."""
    n_k = mask.shape[-1]
    count = mask.sum(-1, dtype=torch.int32)
    lo = mask.to(torch.uint8).argmax(-1).to(torch.int32)
    hi = n_k - mask.flip(-1).to(torch.uint8).argmax(-1).to(torch.int32)
    empty = count == 0
    lo, hi = lo.masked_fill(empty, 0), hi.masked_fill(empty, 0)
    return torch.stack([lo, hi], -1) if bool((hi - lo == count).all()) else None


class Rows:
    """One sequence's rows: lo, hi int32 [n_q], or bias float16 [n_q, n_k] (0 or below: -inf hides) and lo, hi None."""

    def __init__(self, lo=None, hi=None, bias=None):
        self.lo, self.hi, self.bias = lo, hi, bias


def rows_of(attention_mask, batch, n_batch, n_q, n_k, causal, window):
    """Rows of one sequence of the batch, from whatever the attention function was given."""
    m = attention_mask
    if m is None:
        hi = np.arange(n_k - n_q + 1, n_k + 1, dtype=np.int32) if causal else np.full(n_q, n_k, np.int32)
        lo = np.maximum(hi - window, 0) if causal and window else np.zeros(n_q)
        return Rows(lo.astype(np.int32), hi)
    if m.dim() != 4 or m.shape[0] not in (1, n_batch) or m.shape[2] != n_q or m.shape[1] != 1:
        raise ValueError(
            f"attention_mask has the shape {tuple(m.shape)}; [batch, 1, {n_q}, keys] is wanted: a mask for "
            "each head cannot be followed"
        )
    own = m[batch if m.shape[0] > 1 else 0, 0]
    if own.dtype == torch.int32 and own.shape[-1] == 2:
        own = own.cpu().numpy()
        return Rows(np.ascontiguousarray(np.minimum(own[:, 0], n_k)), np.ascontiguousarray(np.minimum(own[:, 1], n_k)))
    if own.shape[-1] < n_k:
        raise ValueError(f"attention_mask is for {own.shape[-1]} keys, there are {n_k}")
    own = own[:, :n_k]
    plain = own if own.dtype == torch.bool else own > torch.finfo(torch.float16).min
    found = intervals(plain[None, None])
    if found is not None and (own.dtype == torch.bool or not bool((own[plain] != 0).any())):
        found = found[0, 0].numpy()
        return Rows(np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1]))
    if own.dtype == torch.bool:
        own = torch.zeros(own.shape, dtype=torch.float16).masked_fill(~own, -torch.inf)
    return Rows(bias=own.to(torch.float16).masked_fill(~plain, -torch.inf).contiguous().numpy())
