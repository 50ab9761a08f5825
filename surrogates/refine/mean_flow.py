"""MeanFlow: the average velocity by its differential equation along the flow, one Jacobian-vector product a training step.

Differentiating (s - r) u(z(s), s, r) = (the integral of v over r < t < s) along the flow, dz/ds = v, gives what u regresses,

    loss = w |u(z, s, r) - stopgrad[v - (s - r)(v . grad_z u + d_s u)]|^2,      v = e - x,      z = (1 - s) x + s e,

with v . grad_z u + d_s u one Jacobian-vector product of u along (v, 1, 0) in (z, s, r). The conditional velocity e - x may stand for the
marginal one since the target is linear in it. Where r = s, in three rows of four, this is flow matching. With l the mean square error of
a member, the gradient is that of l/stopgrad(l + eps)^p; the value that is returned is l itself, which says how training goes. The paper
has p = 1: outliers of the product count less. But a weight that depends on the error tilts the mean that is regressed towards what is
frequent (of two modes with odds 3 : 1 in one dimension p = 1 makes 6 : 1), so p = 0 is what makes the law right.
Source: Geng et al., "Mean flows for one-step generative modeling", 2025, equations 6-11 and 22, https://arxiv.org/abs/2505.13447.

The product is taken without gradient and u evaluated once more with it: a graph of the tangents would be built for nothing.
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
from surrogates.refine.schedule import LogitNormal, Schedule
from surrogates.refine.source import GAUSSIAN, Source

ERROR_FLOOR = 0.01
"""eps of the adaptive weight; the errors are of data and noise of unit variance."""
BELOW_ONE = LogitNormal(-0.4, 1.0)
"""Most training a little nearer to the data than to the noise."""


def two_times(schedule: Schedule, ratio: float, noise: Draws, like: Float[Tensor, "B M"]) -> tuple[Tensor, Tensor]:
    """(s, r): r = s drawn from the schedule in `ratio` of the rows, else the later and the earlier of two draws. Three draws."""
    s, r = (schedule.draw(noise, like, draw=draw) for draw in (TIME_DRAW, FRESH_DRAW))
    flow = uniform(noise, like, draw=FRESH_DRAW + 1) < ratio
    return torch.where(flow, s, torch.maximum(s, r)), torch.where(flow, s, torch.minimum(s, r))


@recorded
class MeanFlow(AverageVelocity):
    """`Refiner` by MeanFlow over any operator that forward-mode differentiation goes through; see `AverageVelocity`.

    `ratio` of the rows have r = s; `power` is p. Raises ValueError for a ratio outside [0, 1] or power < 0.
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
        ratio: float = 0.75,
        power: float = 0.0,
        calibrated: bool = False,
        sampler: PCFM | ECI | None = None,
    ) -> None:
        super().__init__(operator, channels, schedule, source, coupling, steps, calibrated, sampler)
        if not 0 <= ratio <= 1 or power < 0:
            raise ValueError(f"expected 0 <= ratio <= 1 and power >= 0, got {ratio} and {power}")
        self.ratio, self.power = ratio, power

    def times(self, noise: Draws, like: Float[Tensor, "B M"]) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        return two_times(self.schedule, self.ratio, noise, like)

    def target(self, average: Average, z: Tensor, v: Tensor, s: Tensor, r: Tensor, domain: Domain, noise: Draws) -> Tensor:
        along: Any = torch.func.jvp(average, (z, s, r), (v, torch.ones_like(s), torch.zeros_like(r)))[1]
        step: Tensor = domain.expand((s - r)[:, None])
        target: Tensor = v - step * along
        return target

    def weighted(self, error: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
        gradient = error / (error.detach() + ERROR_FLOOR) ** self.power
        return gradient + (error - gradient).detach()
