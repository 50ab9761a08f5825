"""Paths of diffusion in T steps: beta_k is the variance that step k adds, abar_k = prod_{i<=k} (1 - beta_i), and at s = k/T

    z = sqrt(abar_k) x + sqrt(1 - abar_k) e = cos(phi_k) x + sin(phi_k) e.

Between the steps the angle phi is linear in s, so that velocities are finite everywhere, also where abar is 0 or 1; samplers that visit
the steps alone see nothing of that. Source: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models", 2020,
https://arxiv.org/abs/2006.11239.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from surrogates.record import recorded
from surrogates.refine.path import Path, Time


class Discrete(Path):
    """A variance-preserving path through T = `steps` angles."""

    steps: int

    @property
    @abstractmethod
    def betas(self) -> tuple[float, ...]:
        """The variances that steps 1 to T add, each in (0, 1]."""

    @cached_property
    def angles(self) -> tuple[float, ...]:
        """phi_0 = 0, ..., phi_T, rising."""
        kept = accumulate((1 - b for b in self.betas), lambda x, y: x * y)
        return (0.0, *(math.acos(math.sqrt(max(k, 0.0))) for k in kept))

    def coefficients(self, s: Time) -> tuple[Time, Time, Time, Time]:
        if isinstance(s, Tensor):
            table = s.new_tensor(self.angles)
            k = (s * self.steps).floor().long().clamp(0, self.steps - 1)
            slope: Time = (table[k + 1] - table[k]) * self.steps
            angle = table[k] + slope * (s - k / self.steps)
            return torch.cos(angle), torch.sin(angle), -slope * torch.sin(angle), slope * torch.cos(angle)
        i = min(int(s * self.steps), self.steps - 1)
        slope = (self.angles[i + 1] - self.angles[i]) * self.steps
        phi = self.angles[i] + slope * (s - i / self.steps)
        return math.cos(phi), math.sin(phi), -slope * math.sin(phi), slope * math.cos(phi)

    def at(self, ratio: float) -> float:
        phi = math.atan(ratio)
        i = min(max(bisect_left(self.angles, phi), 1), self.steps)
        low, high = self.angles[i - 1], self.angles[i]
        return min((i - 1 + (phi - low) / (high - low)) / self.steps, 1.0)


@recorded
@dataclass(frozen=True)
class LinearBetas(Discrete):
    """beta rising linearly from 1e-4 to .02, each times 500 / steps: the autoregressive conditional diffusion of Kohl et al., "Benchmarking
    autoregressive conditional diffusion models for turbulent flow simulation", 2023, https://arxiv.org/abs/2309.01745 (20 steps; 100 for
    isotropic turbulence). Raises ValueError below 11 steps, where a beta would exceed 1."""

    steps: int = 20

    def __post_init__(self) -> None:
        if self.steps < 11:
            raise ValueError(f"steps is {self.steps} but these variances (.02 * 500 / steps) stay below 1 only from 11 steps on")

    @property
    def betas(self) -> tuple[float, ...]:
        low, high = 1e-4 * 500 / self.steps, 0.02 * 500 / self.steps
        return tuple(low + (high - low) * k / (self.steps - 1) for k in range(self.steps))


@recorded
@dataclass(frozen=True)
class ExponentialBetas(Discrete):
    """beta_k = minimum^((T - k) / (T - 1)), k = 1..T, the last of them 1: the diffusion in the published code of PDE-Refiner
    (pdearena, `min_noise_std`, which enters as a variance; K refinements are T = K + 1 steps). Use it with `Preconditioned()`, which
    predicts v there, `Steps(T)` and `ddpm`."""

    steps: int = 4
    minimum: float = 4e-7

    def __post_init__(self) -> None:
        if self.steps < 2 or not 0 < self.minimum < 1:
            raise ValueError(f"expected at least 2 steps and a minimum between 0 and 1, got {self.steps} and {self.minimum}")

    @property
    def betas(self) -> tuple[float, ...]:
        return tuple(self.minimum ** ((self.steps - k) / (self.steps - 1)) for k in range(1, self.steps + 1))
