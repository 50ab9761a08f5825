"""Who is paired with whom in a training batch: which source draw e goes with which datum x.

    Independent    as drawn
    Transport      the permutation that costs least, sum_b |x_b - e_b'|^2 + weight |k_b - k_b'|^2, k the contexts

Pairs of least cost make straighter paths, that fewer steps can follow. For a conditional law the source must stay independent of x
given the context: permuting draws between rows of different contexts breaks that, unless moving between contexts costs enough.
weight = 0 is for unconditional generation (Tong et al., 2023, https://arxiv.org/abs/2302.00482; Pooladian et al., 2023,
https://arxiv.org/abs/2304.14772); a large weight leaves all as drawn. Source of the weight: Kerrigan et al., "Dynamic conditional optimal
transport through simulation-free flows", 2024, https://arxiv.org/abs/2404.04240; Cheng and Schwing, "The curse of conditions", 2025,
https://arxiv.org/abs/2503.10636. (Data-dependent couplings are sources: `GuessSource`, `PreviousSource`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.record import recorded


@runtime_checkable
class Coupling(Protocol):
    """The source draws in the order in which they are paired with x; training only."""

    def __call__(
        self, x: Float[Tensor, "B C *X"], e: Float[Tensor, "B C *X"], context: Float[Tensor, "B Cc *X"]
    ) -> Float[Tensor, "B C *X"]: ...


@recorded
@dataclass(frozen=True)
class Independent:
    """As drawn."""

    def __call__(
        self, x: Float[Tensor, "B C *X"], e: Float[Tensor, "B C *X"], context: Float[Tensor, "B Cc *X"]
    ) -> Float[Tensor, "B C *X"]:
        return e


@recorded
@dataclass(frozen=True)
class Transport:
    """Optimal transport within the batch; `weight` prices a change of context, in the same normalised units."""

    weight: float

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight is {self.weight} but a price must not be negative; write 0 for unconditional generation")

    @torch.no_grad()
    def __call__(
        self, x: Float[Tensor, "B C *X"], e: Float[Tensor, "B C *X"], context: Float[Tensor, "B Cc *X"]
    ) -> Float[Tensor, "B C *X"]:
        from scipy.optimize import linear_sum_assignment

        cost = torch.cdist(x.flatten(1).double(), e.flatten(1).double()).square()
        if self.weight and context.shape[1]:
            k = context.flatten(1).double()
            cost = cost + self.weight * torch.cdist(k, k).square()
        _, order = linear_sum_assignment(cost.cpu().numpy())
        return e[torch.as_tensor(order, device=e.device)]


INDEPENDENT = Independent()
"""The usual coupling, shared since it holds nothing."""
