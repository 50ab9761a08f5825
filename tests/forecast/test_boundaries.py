"""A step is told of the boundaries of a mesh as it was in training, whatever was opened beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import xarray as xr
from forecast.steps import Walk
from mesh_examples import square
from torch import Tensor

from surrogates import simulate
from surrogates.contracts import Conditions, Noise
from surrogates.data.mesh_features import with_features, with_shared_features
from surrogates.data.module import DataModule
from surrogates.domains import Mesh
from surrogates.fields import Field, Fields
from surrogates.forecast.surroundings import surroundings_of
from surrogates.interchange import declared, static_of, to_xarray

NAMES = ("inflow", "outflow", "walls", "obstacle")


class Told(Walk):
    """A walk that keeps what it was told."""

    inputs = outputs = Fields.of(Field("u"))

    def __init__(self, static: Fields | None) -> None:
        self.static = static

    def frame(self, u: Tensor, n: int, conditions: Conditions, noise: Noise | None) -> Tensor:
        self.told = conditions.static
        return super().frame(u, n, conditions, noise)


def plain(mesh: Mesh, frames: int = 1) -> xr.Dataset:
    u = torch.rand(1, frames, 1, len(mesh.points))
    return to_xarray(u, Fields.of(Field("u")), mesh, time=[float(t) for t in range(frames)], trajectories=[0], attrs={"dt": 1.0})


@pytest.mark.parametrize("surrounded", [False, True])
def test_a_forecast_has_the_features_of_training(surrounded: bool) -> None:
    trained = with_features(plain(square(3)), NAMES)
    alone = with_shared_features({"test": [plain(square(3))]})["test"][0]
    assert declared(alone, "static") != declared(trained, "static")
    step = Told(declared(trained, "static"))
    simulate(step, alone, 1, surroundings=surroundings_of(alone) if surrounded else None)
    assert torch.equal(step.told, static_of(trained))


def test_a_forecast_on_a_boundary_that_is_not_known_is_refused() -> None:
    step = Told(declared(with_features(plain(square(3)), ("inflow", "outflow", "walls")), "static"))
    other: Mapping[str, str] = {"dataset": "runs/b.h5"}
    strange = plain(replace(square(3), names=("walls", "inlet", "outflow"))).assign_attrs(other)
    with pytest.raises(ValueError, match=r"runs/b.h5: its mesh has a boundary 'inlet', .* it knows inflow, outflow, walls"):
        simulate(step, strange, 1)


def test_validation_has_the_features_of_training() -> None:
    train = [with_features(plain(square(n), 3), NAMES) for n in (2, 3)]
    valid = [with_features(plain(square(n), 3)) for n in (3, 4)]
    data = DataModule({"train": train, "valid": valid})
    assert data.windows("valid").static_fields == data.windows("train").static_fields
    expected = static_of(with_features(plain(square(3)), NAMES))
    assert torch.equal(next(iter(data.windows("valid").statics())), expected)
