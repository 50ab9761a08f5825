"""How a network is told the refinement time: sinusoids (cos w_j s, sin w_j s) of s in [0, 1], FEATURES numbers in all.

The frequencies rise geometrically from pi/2, whose pair determines s, to 64 pi, which tells levels a hundredth apart.
Source of the form: Vaswani et al., "Attention is all you need", 2017, section 3.5, https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

FEATURES = 32
"""The width that refinement time adds to an operator's embedding."""


@lru_cache(maxsize=32)
def _frequencies(device: torch.device, dtype: torch.dtype) -> Float[Tensor, " F"]:
    half = FEATURES // 2
    with torch.inference_mode(False):
        return torch.tensor([math.pi / 2 * 128 ** (j / (half - 1)) for j in range(half)], dtype=dtype, device=device)


def features(s: Float[Tensor, " G"]) -> Float[Tensor, "G F"]:
    """Features of one time a member, F = FEATURES."""
    phase = s[:, None] * _frequencies(s.device, s.dtype)
    return torch.cat((phase.cos(), phase.sin()), dim=1)


@lru_cache(maxsize=1024)
def level_features(s: float, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "1 F"]:
    """Features of one level that all members share: computed once, then looked up."""
    with torch.inference_mode(False):
        return features(torch.tensor([s], dtype=dtype, device=device))


def time_of(embedding: Float[Tensor, "G E"]) -> Float[Tensor, " G"]:
    """The time s in [0, 1] that an embedding ending in features speaks of: the inverse, from the lowest frequency."""
    last = embedding[:, -FEATURES:]
    return torch.atan2(last[:, FEATURES // 2], last[:, 0]) * (2 / math.pi)
