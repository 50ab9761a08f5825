"""A benchmark in seconds: Kuramoto-Sivashinsky in memory, and a surrogate whose guess is a coarse solver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from surrogates import Surrogate, pde
from surrogates.bench import Solver, Suite, Timing
from surrogates.contracts import Conditions, Draws
from surrogates.domains import Box
from surrogates.interchange import to_xarray
from surrogates.pde.initial import scalar
from surrogates.rollout import rollout

DT, POINTS = 0.5, 48
PERIODS = {"lyapunov_time": 4.0, "turnover_time": 3.0, "scored_time": 8.0}
FIELDS = pde.KuramotoSivashinsky(max_dt=0.1).outputs


def conditions(rows: int, domain: Box) -> Conditions:
    one = torch.ones(rows, dtype=torch.float64)
    return Conditions(domain, 0 * one, DT * one, one[:, None], ("viscosity",))


def make(trajectories: int, frames: int, seed: int, split: str) -> xr.Dataset:
    """True trajectories after a burn-in."""
    box = Box.periodic((POINTS,), 22.0)
    at, step = conditions(trajectories, box), pde.KuramotoSivashinsky(64, max_dt=0.05, dtype="float64")
    u = scalar(box, range(trajectories), seed, peak=3, rms=1.0)
    every = torch.stack(list(rollout(step, u[:, None], 60 + frames, at.after)), 1)[:, 60:]
    return to_xarray(
        every.float(),
        FIELDS,
        box,
        time=[DT * n for n in range(frames)],
        trajectories=range(trajectories),
        parameters={"viscosity": [1.0] * trajectories},
        attrs={"dt": DT, "dataset": "ks", "split": split, "checksum": split * 3, **PERIODS},
    )


class CoarseGuess(nn.Module):
    """The increment that a solver of few points makes."""

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.step = pde.KuramotoSivashinsky(resolution, max_dt=0.25)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, domain: Box, embedding: Tensor | None = None) -> Tensor:
        at = conditions(len(x), domain)
        return self.weight * (self.step(self.step.begin(x[:, None], at), at)[0][:, 0] - x)


class SmallNoise(nn.Module):
    """A refiner that adds smooth noise to the guess."""

    evaluations = 3

    def forward(self, guess: Tensor, context: Tensor, embedding: Any, domain: Box, noise: Draws, correct: Any = None) -> Tensor:
        coarse = domain.with_shape((10,))
        return guess + 0.1 * coarse.resample(domain.resample(noise(guess, draw=0), coarse.shape), domain.shape)


def surrogate(resolution: int = 24) -> Surrogate:
    torch.manual_seed(0)
    return Surrogate(FIELDS, Box.periodic((POINTS,), 22.0), DT, operator=CoarseGuess(resolution), refiner=SmallNoise())


def suite(**change: Any) -> Suite:
    solver = Solver("KuramotoSivashinsky", (16, 24, 64), (0.25, 0.25, 0.05))
    return Suite(**{"dataset": "ks", "frames": 20, "solver": solver, "members": 4, "timing": Timing(2, 3), "name": "ks", **change})


@dataclass(frozen=True)
class Made:
    folder: Path
    scores: xr.Dataset
    truth: xr.Dataset
    training: xr.Dataset
