"""Laws that are the same for every initial state, and how far a field is from one that holds them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.integral import volume
from surrogates.contracts import Conditions, Domain


class Fixed:
    """What such laws share: no references, so none that move."""

    references = 0

    def reference(self, u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G 0"]:
        """Nothing is remembered."""
        return volume(u, conditions.domain)[:, :0]

    def advance(self, reference: Float[Tensor, "G 0"], u: Float[Tensor, "B C *X"], conditions: Conditions) -> Float[Tensor, "G 0"]:
        return reference


def distance(u: Float[Tensor, "B c *X"], v: Float[Tensor, "B c *X"], domain: Domain) -> Float[Tensor, "G 1"]:
    """||u - v|| / max(||u||, ||v||) in the norm of the domain's measure: float64, with the gradient 0 where it is 0."""
    x, y = u.double(), v.double()
    apart, one, other = (domain.integral(w.square()).sum(1, keepdim=True) for w in (x - y, x, y))
    same = apart == 0
    ratio = torch.where(same, 1.0, apart / torch.maximum(one, other).clamp_min(1e-300))
    return torch.where(same, 0.0, ratio.sqrt())
