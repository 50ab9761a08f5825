"""Shortcut models: a step of size d is two steps of size d/2, down to a smallest d that is flow matching.

With z' = z - d/2 u(z, s, s - d/2), what u regresses at steps d = 1, 1/2, ..., 2/finest and times s that are multiples of d is

    u(z, s, s - d)  <-  stopgrad (u(z, s, s - d/2) + u(z', s - d/2, s - d))/2,

in `portion` of the rows; in the others d = 1/finest, s is any multiple of it and u regresses the velocity v = e - x. So the whole of the
training is about the steps that a sampler of 1, 2, 4, ..., finest steps makes, and no others.
Source: Frans et al., "One step diffusion via shortcut models", 2024, section 3 and algorithm 1, https://arxiv.org/abs/2410.12557
(time runs the other way there).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surrogates.contracts import Domain, Draws
from surrogates.noise import uniform
from surrogates.record import recorded
from surrogates.refine.average_velocity import Average, AverageVelocity
from surrogates.refine.coupling import INDEPENDENT, Coupling
from surrogates.refine.flow import FRESH_DRAW, TIME_DRAW
from surrogates.refine.reinterpolate import ECI, PCFM
from surrogates.refine.schedule import Steps
from surrogates.refine.source import GAUSSIAN, Source


@recorded
class Shortcut(AverageVelocity):
    """`Refiner` by a shortcut model over any operator; see `AverageVelocity`. Two evaluations without gradient go into each target.

    `finest` is the number of the smallest steps, a power of two; `steps` a power of two up to it; `portion` of the rows are trained on
    the longer steps. Raises ValueError for other numbers.
    """

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        source: Source = GAUSSIAN,
        coupling: Coupling = INDEPENDENT,
        steps: int = 1,
        finest: int = 128,
        portion: float = 0.25,
        calibrated: bool = False,
        sampler: PCFM | ECI | None = None,
    ) -> None:
        if finest < 2 or finest & (finest - 1):
            raise ValueError(f"finest is {finest} but steps are halved from 1 down to 1/finest; write a power of two, such as 128")
        if not 0 < portion < 1:
            raise ValueError(f"portion is {portion} but must lie between 0 and 1: both kinds of rows are needed")
        super().__init__(operator, channels, Steps(finest), source, coupling, steps, calibrated, sampler)
        self.finest, self.portion = finest, portion

    def stairs(self, s: float) -> tuple[float, ...]:
        """Steps that were trained: each the largest power of two that divides what is left, so 3/4, 1/2, 0."""
        left, levels = round(s * self.finest), [s]
        while left:
            left -= left & -left
            levels.append(left / self.finest)
        return tuple(levels)

    def times(self, noise: Draws, like: Float[Tensor, "B M"]) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        """Uniform over the steps' sizes, and over the multiples of each."""
        u, size, kind = (uniform(noise, like, draw=draw) for draw in (TIME_DRAW, FRESH_DRAW, FRESH_DRAW + 1))
        sizes = self.finest.bit_length() - 1
        count = torch.exp2((size * sizes).floor().clamp(max=sizes - 1))  # 1, 2, ..., finest/2 steps from noise to data
        count = torch.where(kind < self.portion, count, float(self.finest))
        place = torch.minimum((u * count).floor(), count - 1)
        return (place + 1) / count, place / count

    def target(self, average: Average, z: Tensor, v: Tensor, s: Tensor, r: Tensor, domain: Domain, noise: Draws) -> Tensor:
        half: Any = (s - r) / 2
        on: Any = domain.expand
        first = average(z, s, s - half)
        second = average(z - on(half[:, None]) * first, s - half, r)
        return torch.where(on(half[:, None]) > 0.75 / self.finest, (first + second) / 2, v)
