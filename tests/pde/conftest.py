"""Conditions made from names, and a frame reached from a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates.contracts import Conditions, Step
from surrogates.domains import Box


@pytest.fixture
def conditions() -> Callable[..., Conditions]:
    """conditions(box, rows, dt, viscosity=..., ...): one value for all rows, or one each."""

    def make(box: Any, rows: int, dt: Any, **parameters: Any) -> Conditions:
        ones = torch.ones(rows, dtype=torch.float64)
        columns = [ones * torch.as_tensor(v, dtype=torch.float64) for v in parameters.values()]
        p = torch.stack(columns, 1) if columns else torch.zeros(rows, 0, dtype=torch.float64)
        return Conditions(box, 0 * ones, ones * torch.as_tensor(dt, dtype=torch.float64), p, tuple(parameters))

    return make


@pytest.fixture
def evolve(conditions: Callable[..., Conditions]) -> Callable[..., Tensor]:
    """evolve(step, u, box, dt, frames, **parameters): the last of so many frames after u (B, C, *X)."""

    def run(step: Step, u: Tensor, box: Box, dt: Any, frames: int = 1, **parameters: Any) -> Tensor:
        c = conditions(box, len(u), dt, **parameters)
        state, out = step.begin(u.unsqueeze(1), c), u.unsqueeze(1)
        for _ in range(frames):
            out, state = step(state, c)
        return out[:, 0]

    return run
