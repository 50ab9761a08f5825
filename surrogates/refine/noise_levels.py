"""Schedules of the noise's deviation sigma, for the variance-exploding path with s = sigma / sigma_max:

    levels    sigma_i = (sigma_max^(1/rho) + i/(n-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho,  i < n,   and 0 at the end
    Karras    draws sigma with sigma^(1/rho) uniform between the two (as GenCast is trained)
    KarrasLogNormal    draws ln sigma ~ N(mean, std^2) (as EDM is trained), and what falls outside the two at the nearer one

Sources: Karras et al., "Elucidating the design space of diffusion-based generative models", 2022, equation 5 and table 1,
https://arxiv.org/abs/2206.00364; Price et al., "Probabilistic weather forecasting with machine learning" (GenCast), Nature 637, 2025,
supplement (training between .02 and 88, sampling from 80 to .03 in 20 levels, rho = 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Draws
from surrogates.noise import uniform
from surrogates.record import recorded
from surrogates.refine.path import Path, VarianceExploding
from surrogates.refine.schedule import Given, Schedule, check_steps


@recorded
@dataclass(frozen=True)
class Karras:
    """Times that are equal in sigma^(1/rho). sigma_max is the path's, or what is trained would not be what is visited."""

    sigma_max: float = 80.0
    sigma_min: float = 0.02
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max or not self.rho > 0:
            raise ValueError(f"expected 0 < sigma_min < sigma_max and rho > 0, got {self}")

    def levels(self, steps: int) -> tuple[float, ...]:
        check_steps(steps)
        warped = [self._time(1 - i / max(steps - 1, 1)) for i in range(steps)]
        return (1.0, *warped[1:], 0.0)

    def _time(self, u: float) -> float:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return float((low + u * (high - low)) ** self.rho / self.sigma_max)

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        sigma: Tensor = (low + uniform(noise, like, draw=draw) * (high - low)) ** self.rho
        return sigma / self.sigma_max

    def trains(self, s: float) -> bool:
        return self.sigma_min / self.sigma_max * (1 - 1e-9) <= s <= 1


def check_noise_levels(schedule: Schedule, path: Path) -> None:
    """Raise ValueError for a variance-exploding path whose levels are not those of `Karras` with its own sigmas: times that are spread
    evenly, say, begin at sigma_max and have left out everything that matters by the second."""
    trained = schedule.trained if isinstance(schedule, Given) else schedule
    if not isinstance(path, VarianceExploding):
        return
    if not isinstance(trained, Karras) or trained.sigma_max != path.sigma_max or trained.sigma_min < path.sigma_min:
        raise ValueError(
            f"{path} needs levels of its own sigmas but the schedule is {trained}; write `schedule: {{class: Karras, "
            f"sigma_max: {path.sigma_max:g}, sigma_min: {path.sigma_min:g}}}`, or KarrasLogNormal"
        )


@recorded
@dataclass(frozen=True)
class KarrasLogNormal(Karras):
    """The same levels, trained mostly where most can be learned: about sigma = exp(mean)."""

    mean: float = -1.2
    std: float = 1.2

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        sigma = torch.exp(self.mean + self.std * noise(like, draw=draw))
        return sigma.clamp(self.sigma_min, self.sigma_max) / self.sigma_max
