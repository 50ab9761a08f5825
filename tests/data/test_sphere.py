"""Data on a sphere and on a walled line, from the recipe to windows: what is stored is the solver's state, with its geometry."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import surrogates as sg
from surrogates.data import make, open_dataset
from surrogates.data.certificate import by_field, correlation
from surrogates.data.commands import info
from surrogates.data.picture import draw, vorticity
from surrogates.data.recipe import Recipe
from surrogates.data.truth import drawn, solver_of, start
from surrogates.data.windows import Windows
from surrogates.domains import Box, Sphere
from surrogates.fields import Field, Fields
from surrogates.interchange import conditions_of, domain_of, from_xarray
from surrogates.metrics import NRMSE
from surrogates.normalise import Normaliser
from surrogates.pde import Persistence

HOUR = 3600.0
GLOBE = {
    "name": "globe",
    "equation": "shallow_water",
    "seed": 3,
    "group": 2,
    "parameters": {"rotation": 7.292e-5, "depth": {"uniform": [5.0e3, 1.0e4]}},
    "initial": {"peak": 2, "rms": 15},
    "domain": {"radius": 6.37122e6, "units": "m", "grid": "cells"},
    "solver": {"resolution": [14, 28], "dt": HOUR},
    "burn_in": {"time": 2 * HOUR, "solver": {"resolution": [10, 20], "dt": HOUR}, "settle": HOUR},
    "frames": {"count": 4, "step": 3 * HOUR, "resolution": [8, 16]},
    "splits": {"train": 2, "valid": 1, "test": 1},
    "certificate": {"trajectories": 1, "time": 6 * HOUR, "lyapunov": 24 * HOUR},
}
PIPE = {
    "name": "pipe",
    "equation": "porous_medium",
    "group": 2,
    "parameters": {"exponent": {"uniform": [1.0, 6.0]}, "front": 0.2},
    "domain": {"lower": 0.0, "upper": 1.0},
    "solver": {"resolution": [32], "dt": 0.01},
    "frames": {"count": 4, "step": 0.05, "resolution": [16]},
    "splits": {"train": 2, "test": 2},
    "certificate": {"trajectories": 2, "time": 0.15},
}


@pytest.fixture(scope="module")
def globe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(Recipe.from_json(GLOBE), out=tmp_path_factory.mktemp("globe"), workers=1, quiet=True)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(Recipe.from_json(PIPE), out=tmp_path_factory.mktemp("pipe"), workers=1, quiet=True)


@pytest.mark.parametrize("entry", [GLOBE, PIPE], ids=["globe", "pipe"])
def test_a_recipe_comes_back_from_its_json(entry) -> None:
    recipe = Recipe.from_json(entry)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_what_is_stored_is_on_the_sphere(globe: Path) -> None:
    data = open_dataset(globe, "train", verify=True)
    sphere = Sphere((8, 16), radius=6.37122e6, units="m")
    assert domain_of(data) == sphere and conditions_of(data).domain == sphere
    assert dict(data.sizes) == {"trajectory": 2, "time": 4, "lat": 8, "lon": 16}
    assert data["lat"].attrs["units"] == "degrees_north" and data["lat"].values[0] == pytest.approx(90 - 180 / 16)
    assert data["height"].attrs["units"] == "m" and data["velocity_north"].attrs["units"] == "m s-1"
    assert data.attrs["scored_time"] > 0 and data.attrs["turnover_time"] > 3600
    depth = data["depth"].values
    assert depth[0] != depth[1] and ((depth > 5e3) & (depth < 1e4)).all()
    mean = torch.stack([sphere.average(u)[:, 0] for u in from_xarray(data).double()])
    np.testing.assert_allclose(mean.numpy(), depth[:, None].repeat(4, 1), rtol=2e-4)  # of what the stored cells resolve


def test_any_reader_of_the_layout_finds_its_way(globe: Path) -> None:
    with h5py.File(next(globe.glob("data/train/*.hdf5"))) as f:
        assert f.attrs["grid_type"] == "spherical" and f.attrs["n_spatial_dims"] == 2
        assert list(f["dimensions"].attrs["spatial_dims"]) == ["lat", "lon"]
        assert f["t0_fields/height"].shape == (2, 4, 8, 16) and f["t1_fields/velocity"].shape == (2, 4, 8, 16, 2)
        kinds = {str(b.attrs["associated_dims"][0]): str(b.attrs["bc_type"]) for b in f["boundary_conditions"].values()}
    assert kinds == {"lat": "OPEN", "lon": "PERIODIC"}


def test_frames_are_those_of_the_solver(globe: Path) -> None:
    recipe = Recipe.from_json(GLOBE)
    u = start(recipe, [0, 1], lambda work: None)
    solver, fine = solver_of(recipe, recipe.solver), recipe.domain.solver(recipe.solver.resolution)
    stored = from_xarray(open_dataset(globe, "train"))
    torch.testing.assert_close(stored[:, 0], solver.resample(u, fine, recipe.box).float(), rtol=1e-6, atol=1e-4)
    alone = start(recipe, [1], lambda work: None)
    torch.testing.assert_close(u[1:], alone, rtol=0, atol=1e-7)


def test_initial_states_balance_under_their_own_parameters() -> None:
    recipe = Recipe.from_json(GLOBE)
    grid = recipe.domain.solver((10, 20))
    u = drawn(recipe, [0, 1], grid)
    depth = torch.tensor([recipe.values(i)["depth"] for i in (0, 1)], dtype=torch.float64)
    torch.testing.assert_close(grid.average(u[:, :1])[:, 0], depth, rtol=1e-12, atol=0)


def test_windows_statistics_and_a_forecast(globe: Path) -> None:
    windows = Windows(globe, 1, 2, split="train")
    batch = windows.batch([0, 3])
    assert batch.past.shape == (2, 1, 3, 8, 16) and isinstance(batch.conditions.domain, Sphere)
    assert Normaliser.fit(windows).state_std.shape == (3, 1, 1)
    test = open_dataset(globe, "test")
    forecast = sg.simulate(Persistence(windows.fields), test.isel(time=slice(1)), frames=3)
    assert domain_of(forecast) == domain_of(test)
    np.testing.assert_array_equal(forecast["height"].isel(time=2), test["height"].isel(time=0))


def test_errors_are_weighed_by_area(globe: Path) -> None:
    test = open_dataset(globe, "test")
    truth, domain = from_xarray(test), domain_of(test)
    wrong = truth.clone()
    metric = NRMSE(Windows(globe, split="train").fields)
    sizes = []
    for row in (0, 4):  # the same error beside the pole and beside the equator
        wrong = truth.clone()
        wrong[:, :, 0, row] += 100.0
        s = metric.statistics(wrong[:, None], truth, domain, conditions_of(test))
        sizes.append(metric.value(s))
    name = next(iter(sizes[0]))
    pole, equator = (float(torch.as_tensor(v[name]).flatten()[0]) for v in sizes)
    area = domain.measure[:, 0]
    assert equator / pole == pytest.approx(float((area[4] / area[0]).sqrt()), rel=1e-3)


def test_the_card_and_the_picture(globe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info(str(globe))
    printed = capsys.readouterr().out
    assert "height [m]" in printed and "on a sphere of radius 6.37122e+06" in printed
    data = open_dataset(globe, "test")
    sphere = domain_of(data)
    phi = torch.deg2rad(sphere.coordinate(0))[:, None].expand(sphere.shape)
    rotation = torch.stack([0 * phi, sphere.radius * phi.cos()])[None]
    torch.testing.assert_close(vorticity(rotation, sphere)[0, 0], 2 * phi.sin(), rtol=0, atol=1e-12)
    pytest.importorskip("matplotlib")
    assert len(draw(data).axes) == 6


def test_a_walled_line(pipe: Path) -> None:
    data = open_dataset(pipe, "test", verify=True)
    assert domain_of(data) == Box((16,), (0.0,), (1.0,), ("wall",), open_ends=("x_lower", "x_upper")) and "turnover_time" not in data.attrs
    u = from_xarray(data)[:, :, 0]
    assert bool((u >= 0).all()) and bool((u.mean(-1).diff(dim=1) > 0.01).all())
    recipe = Recipe.from_json(PIPE)
    solver = solver_of(recipe, recipe.solver)
    exact = solver.average(domain_of(data), torch.tensor([0.15, 0.15]).double(), solver.parameters(conditions_of(data)))
    assert (u[:, -1] - exact[:, 0]).abs().mean() < 0.03


def test_the_certificate_hears_the_field_that_agrees_least() -> None:
    a = torch.randn(1, 2, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    a[:, :, 0] *= 1e4
    b = a.clone()
    b[:, :, 1] += torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    fields = Fields.of(Field("height"), Field("velocity", components=("north", "east")))
    assert bool((correlation(a, b) > 0.999).all()) and bool((by_field(a, b, fields) < 0.95).all())


def test_a_domain_that_is_neither_is_refused() -> None:
    for domain, message in (
        ({"radius": -1.0}, "radius must be positive"),
        ({"radius": 1.0, "grid": "yin-yang"}, "grid 'yin-yang' is unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            Recipe.from_json({**GLOBE, "domain": domain})
    with pytest.raises(ValueError, match="one entry for each of latitude and longitude"):
        Recipe.from_json({**GLOBE, "solver": {"resolution": [14], "dt": HOUR}})
