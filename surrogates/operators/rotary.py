"""Rotary positions: turn each pair of features of a query or key at position theta by the angle k.theta, k an integer wave vector.

    <R(theta) q, R(theta') key> = sum over pairs of |q| |key| cos(k.(theta - theta') + phase)

depends on theta - theta' alone, and since theta runs once round on a periodic axis and k is an integer, it is periodic as well: an
attention that sees positions in no other way commutes with translations. Between walls theta runs half round.

Source: Su et al., RoFormer, 2021, https://arxiv.org/abs/2104.09864; in linear attention for equations: Li et al., Transformer for Partial
Differential Equations' Operator Learning, 2023, https://arxiv.org/abs/2205.13671. There frequencies are real numbers.
"""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

Turns = tuple[Tensor, Tensor]
"""cos and sin for `rotate`, (*X H D) each, the sine with a minus sign on the first half of the features."""


def turns(theta: Float[Tensor, "*X A"], waves: Float[Tensor, "H P A"]) -> Turns:
    """The tables of H heads with P pairs each: feature p pairs with feature p + P. theta: radians, one an axis."""
    phase = torch.einsum("...a,hpa->...hp", theta, waves.to(theta))
    c, s = phase.cos(), phase.sin()
    return torch.cat([c, c], -1), torch.cat([-s, s], -1)


def rotate(u: Float[Tensor, "B *X D"], by: Turns) -> Float[Tensor, "B *X D"]:
    """Every pair of features turned; the tables broadcast over leading axes."""
    cos, sin = by
    return torch.addcmul(u * cos, u.roll(u.shape[-1] // 2, -1), sin)


def lowest_waves(dim: int, heads: int, pairs: int) -> Float[Tensor, "H P A"]:
    """The heads * pairs wave vectors of least length, one of k and -k each, dealt out so that every head has long and short waves."""
    count, reach = heads * pairs, 1
    while True:
        cube = [k for k in product(range(-reach, reach + 1), repeat=dim) if k >= (0,) * dim]  # tuples in order: one of each +-k
        inside = sorted((k for k in cube if sum(v * v for v in k) <= reach * reach), key=lambda k: (sum(v * v for v in k), k))
        if len(inside) >= count:
            return torch.tensor(inside[:count], dtype=torch.float64).view(pairs, heads, dim).transpose(0, 1)
        reach += 1


def axial_waves(dim: int, pairs: int) -> Float[Tensor, "1 P A"]:
    """1, 2, ... along each axis, as many on each as there are pairs for; what is left over does not turn."""
    each = pairs // dim
    waves = torch.zeros(pairs, dim, dtype=torch.float64)
    for axis in range(dim):
        waves[axis * each : (axis + 1) * each, axis] = torch.arange(1, each + 1)
    return waves[None]
