"""A small world that every test of the metrics shares: fields, a box, conditions, and Datasets of a truth and a forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import xarray as xr

from surrogates.contracts import Conditions
from surrogates.domains import Box
from surrogates.fields import Field, Fields
from surrogates.interchange import to_xarray
from surrogates.metrics import score


@pytest.fixture(scope="session")
def flow() -> Fields:
    """Three channels, two fields: a plane velocity and a dye."""
    return Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("dye"))


@pytest.fixture(scope="session")
def scores(world: SimpleNamespace) -> xr.Dataset:
    """Every standard metric of the shared forecast."""
    return score(world.forecast(), world.truth())


@pytest.fixture
def at() -> Callable[[Box, int], Conditions]:
    """Conditions of so many rows on a domain."""

    def make(domain: Box, rows: int = 1) -> Conditions:
        ones = torch.ones(rows, dtype=torch.float64)
        return Conditions(domain, ones, ones, torch.zeros(rows, 0))

    return make


@pytest.fixture
def values(at: Callable[[Box, int], Conditions]) -> Callable[..., dict[str, torch.Tensor]]:
    """value(statistics(prediction, truth)) of a metric."""

    def evaluate(metric: Any, prediction: torch.Tensor, truth: torch.Tensor, domain: Box) -> dict[str, torch.Tensor]:
        return dict(metric.value(metric.statistics(prediction, truth, domain, at(domain, len(truth)))))

    return evaluate


@pytest.fixture(scope="session")
def world(flow: Fields) -> SimpleNamespace:
    """Truth of 3 trajectories x 9 frames from t = 5 in steps of .2, and an 8-member forecast of it whose errors grow linearly."""
    box = Box.periodic((8, 6), (1.0, 2.0), "m")
    generator = torch.Generator().manual_seed(0)
    times = [5 + 0.2 * n for n in range(9)]
    y = torch.randn(3, 9, 3, 8, 6, generator=generator)
    growth = torch.linspace(0, 2, 9)[1:, None, None, None]
    p = y[:, None, 1:] + growth * torch.randn(3, 8, 8, 3, 8, 6, generator=generator)
    attrs = {"lyapunov_time": 0.5, "turnover_time": 0.25, "scored_time": 1.2}

    def truth(u: torch.Tensor = y, time: Sequence[float] = tuple(times), **kwargs: Any) -> xr.Dataset:
        given = {"parameters": {"viscosity": [0.1, 0.2, 0.3]}, "attrs": attrs, **kwargs}
        return to_xarray(u, flow, box, time=list(time), trajectories=[3, 4, 9], **given)

    def forecast(u: torch.Tensor = p, time: Sequence[float] = tuple(times[1:]), start: float = 5.0) -> xr.Dataset:
        members = None if u.ndim == 5 else list(range(u.shape[1]))
        return to_xarray(u, flow, box, time=list(time), trajectories=[3, 4, 9], members=members, start=start)

    return SimpleNamespace(box=box, fields=flow, y=y, p=p, times=times, truth=truth, forecast=forecast)
