"""SplitMeanFlow: the average velocity by the additivity of its integral; no derivative is taken.

For r < m < s, with z_m = z_s - (s - m) u(z_s, s, m) where the first part of the way leads,

    (s - r) u(z_s, s, r) = (s - m) u(z_s, s, m) + (m - r) u(z_m, m, r),

whose right side, without gradient, is what u regresses; m is uniform between r and s. The identity alone is satisfied by u = 0, so in
`ratio` of the rows r = s, and u(z, s, s) regresses v = e - x: flow matching. z_m must be the model's own: the interpolant
(1 - m) x + m e has the right law at m, but is not where the flow leads from z_s, and its u averages over the wrong states.
Source: Guo et al., "SplitMeanFlow: interval splitting consistency in few-step generative modeling", 2025,
https://arxiv.org/abs/2507.16884.
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
from surrogates.refine.flow import FRESH_DRAW
from surrogates.refine.mean_flow import BELOW_ONE, two_times
from surrogates.refine.reinterpolate import ECI, PCFM
from surrogates.refine.schedule import Schedule
from surrogates.refine.source import GAUSSIAN, Source

MIDDLE_DRAW = FRESH_DRAW + 2


@recorded
class SplitMeanFlow(AverageVelocity):
    """`Refiner` by SplitMeanFlow over any operator; see `AverageVelocity`. Two evaluations without gradient go into each target.

    `ratio` of the rows have r = s. Raises ValueError for a ratio outside (0, 1].
    """

    def __init__(
        self,
        operator: nn.Module,
        *,
        channels: int,
        schedule: Schedule = BELOW_ONE,
        source: Source = GAUSSIAN,
        coupling: Coupling = INDEPENDENT,
        steps: int = 1,
        ratio: float = 0.5,
        calibrated: bool = False,
        sampler: PCFM | ECI | None = None,
    ) -> None:
        super().__init__(operator, channels, schedule, source, coupling, steps, calibrated, sampler)
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio is {ratio} but must lie in (0, 1]: without rows of r = s, u = 0 satisfies the identity")
        self.ratio = ratio

    def times(self, noise: Draws, like: Float[Tensor, "B M"]) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        return two_times(self.schedule, self.ratio, noise, like)

    def target(self, average: Average, z: Tensor, v: Tensor, s: Tensor, r: Tensor, domain: Domain, noise: Draws) -> Tensor:
        part = uniform(noise, s.reshape(z.shape[0], domain.members), draw=MIDDLE_DRAW).flatten()
        m = s - part * (s - r)
        on: Any = domain.expand
        first = average(z, s, m)
        rest = average(z - on((s - m)[:, None]) * first, m, r)
        share = on(part[:, None])
        return torch.where(on((s - r)[:, None]) > 0, share * first + (1 - share) * rest, v)
