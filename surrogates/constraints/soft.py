"""A law as a loss: what a network makes is told how far it is from the law, and how much that counts.

    penalty = sum over laws of weight <|defect(u_j)|^2>_j,      j the frames of a bundle

Defects are dimensionless, so a weight of 1 counts a defect of 1 like an error of one standard deviation. The defects are those of the
decoded prediction before any projection, with the budgets of the last known frame; a projection after it (the same law, hard) would leave
nothing to learn from. Both together train a network that the projection has little to do for.

For a refiner the penalty is on its end point. Where that is the mean E[x | z] of what z leaves open, a nonlinear law has no reason to
hold (the energy of a mean is below the mean energy), so the end point counts by what is known, a^2/(a^2 + b^2): fully at the data, not at
all at the noise. Source of the gap and of a weight that falls with noise: Bastek, Sun and Kochmann, "Physics-informed diffusion models",
2024, section 3, https://arxiv.org/abs/2403.14404.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.constraints.compose import bundle_defects
from surrogates.contracts import Conditions, Constraint
from surrogates.record import recorded


@recorded
@dataclass(frozen=True)
class Soft:
    """A law and its weight. Raises ValueError for a weight that is not positive."""

    law: Constraint
    weight: float

    def __post_init__(self) -> None:
        if not (isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is {self.weight} but must be positive; leave the law out to not count it")


def penalty(
    soft: Sequence[Soft], future: Float[Tensor, "B T C *X"], last: Float[Tensor, "B C *X"], conditions: Conditions
) -> Float[Tensor, " G"]:
    """The weighted squares of the defects of frames after `last`, summed over a law's defects, averaged over frames; float64."""
    total = torch.zeros(len(last) * conditions.domain.members, dtype=torch.float64, device=last.device)
    for part in soft:
        defects, _ = bundle_defects(part.law, future, part.law.reference(last, conditions), conditions)
        total = total + part.weight * defects.square().sum(2).mean(1)
    return total
