"""Which refinement times s are trained, and which are visited: one object says both, so that they cannot disagree.

A known re-implementation of PDE-Refiner trains k in {0, ..., K-1} and samples k in {1, ..., K}: its finest level is never
trained. Here `levels` (sampling) and `draw` (training) belong to the same schedule, and `trains` states what `draw` can give.
Source of the exponential levels: Lippe et al., "PDE-Refiner", 2023, section 3.1, https://arxiv.org/abs/2308.05732.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from surrogates.contracts import Draws
from surrogates.noise import uniform
from surrogates.record import recorded
from surrogates.refine.path import Time


@runtime_checkable
class Schedule(Protocol):
    """Refinement times for training and for sampling."""

    def levels(self, steps: int) -> tuple[float, ...]:
        """steps + 1 falling times from 1 to 0: where a sampler evaluates, and where it ends."""
        ...

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        """Random times to train at, shaped as `like`."""
        ...

    def trains(self, s: float) -> bool:
        """Whether `draw` can give s (or times as near to s as one likes)."""
        ...


def check_steps(steps: int) -> None:
    """Raise ValueError unless steps >= 1."""
    if steps < 1:
        raise ValueError(f"steps is {steps} but a sampler needs at least one; write steps=4 for a start")


@recorded
@dataclass(frozen=True)
class Uniform:
    """s uniform on (0, 1); levels 1, 1 - 1/steps, ..., 0, for any number of steps."""

    def levels(self, steps: int) -> tuple[float, ...]:
        check_steps(steps)
        return tuple(1 - k / steps for k in range(steps + 1))

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        return uniform(noise, like, draw=draw)

    def trains(self, s: float) -> bool:
        return 0 <= s <= 1


@recorded
@dataclass(frozen=True)
class LogitNormal(Uniform):
    """ln(s / (1 - s)) ~ N(mean, std^2): most training where noise and data are of one size; the levels are uniform. Source: Esser et al.,
    "Scaling rectified flow transformers for high-resolution image synthesis", 2024, https://arxiv.org/abs/2403.03206."""

    mean: float = 0.0
    std: float = 1.0

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        return torch.sigmoid(self.mean + self.std * noise(like, draw=draw))


@recorded
@dataclass(frozen=True)
class Steps:
    """The times k/T, k = 1..T, of a diffusion in T steps, all trained alike; sampled all, or every so many that divides T."""

    count: int

    def __post_init__(self) -> None:
        check_steps(self.count)

    def levels(self, steps: int) -> tuple[float, ...]:
        check_steps(steps)
        if self.count % steps:
            raise ValueError(f"{steps} steps do not divide the {self.count} that were trained; write one of {_divisors(self.count)}")
        return tuple(1 - k / steps for k in range(steps + 1))

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        k = (uniform(noise, like, draw=draw) * self.count).floor().clamp(max=self.count - 1)
        return (k + 1) / self.count

    def trains(self, s: float) -> bool:
        return any(abs(s - k / self.count) < 1e-9 for k in range(1, self.count + 1))


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


@recorded
@dataclass(frozen=True)
class Given:
    """Levels that were chosen after training, such as by `step_sizes`; what is trained is `trained`'s.

    Raises ValueError unless they fall from 1 to 0 and all but the last are trained.
    """

    times: tuple[float, ...]
    trained: Schedule

    def __post_init__(self) -> None:
        t = self.times
        if len(t) < 2 or t[0] != 1 or t[-1] != 0 or any(b >= a for a, b in pairwise(t)):
            raise ValueError(f"times must fall from 1 to 0, got {t}")
        for s in t[:-1]:
            if not self.trained.trains(s):
                raise ValueError(f"time {s} is not trained by {self.trained}; sample where the network was trained")

    def levels(self, steps: int) -> tuple[float, ...]:
        if steps != len(self.times) - 1:
            raise ValueError(f"these levels are for steps={len(self.times) - 1}, not {steps}")
        return self.times

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        return self.trained.draw(noise, like, draw=draw)

    def trains(self, s: float) -> bool:
        return self.trained.trains(s)


@recorded
@dataclass(frozen=True)
class Exponential:
    """PDE-Refiner: the K + 1 levels s_k = 1 - k/K, where the noise has standard deviation sigma(s_k) = sigma_min^(k/K).

    `first` is the first level that is trained and visited: 0 where the network makes the first prediction, 1 where a
    deterministic guess stands for it. sigma_min is a standard deviation relative to data of unit variance; pdearena's
    `min_noise_std` enters as a variance there, so take its square root.
    """

    steps: int = 3
    sigma_min: float = 1e-3
    first: int = 0

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if not 0 < self.sigma_min < 1:
            raise ValueError(f"sigma_min is {self.sigma_min} but must lie between 0 and 1 (the data have unit variance)")
        if self.first not in (0, 1):
            raise ValueError(f"first is {self.first}; write 0 (the network predicts first) or 1 (a guess stands for that)")

    def levels(self, steps: int) -> tuple[float, ...]:
        """The K + 1 times from 1 to 0, for steps = K. Raises ValueError for any other number: nothing else was trained."""
        if steps != self.steps:
            raise ValueError(f"these levels were trained for steps={self.steps}, not {steps}; train another schedule for that")
        return tuple(1 - k / self.steps for k in range(self.steps + 1))

    def sigma(self, s: Time) -> Time:
        """The noise's standard deviation at s; 1 at s = 1, sigma_min at s = 0."""
        return self.sigma_min ** (1 - s)

    def draw(self, noise: Draws, like: Float[Tensor, "B M"], *, draw: int) -> Float[Tensor, "B M"]:
        table = like.new_tensor(self.levels(self.steps)[self.first :])
        k = (uniform(noise, like, draw=draw) * len(table)).long()
        return table[k.clamp(max=len(table) - 1)]

    def trains(self, s: float) -> bool:
        return s in self.levels(self.steps)[self.first :]


UNIFORM = Uniform()
"""The usual schedule, shared since it holds nothing."""
