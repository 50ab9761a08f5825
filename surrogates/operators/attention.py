"""Softmax attention that can also be differentiated forwards.

The fused kernels behind `scaled_dot_product_attention` have no forward-mode derivative; while one is being taken, the same is written out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import scaled_dot_product_attention


def attention(
    q: Float[Tensor, "*B n D"], k: Float[Tensor, "*B m D"], v: Float[Tensor, "*B m E"], scale: float | None = None
) -> Float[Tensor, "*B n E"]:
    """softmax(scale q k^T) v, scale = 1/sqrt(D) unless given."""
    if forward_ad._current_level < 0:
        return scaled_dot_product_attention(q, k, v, scale=scale)
    logits = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.mT
    return torch.softmax(logits, -1) @ v
