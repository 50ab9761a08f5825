"""A part of a sphere: areas against the whole, slopes against exact ones, either way up, with land and without."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from laws import domain_laws
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import KINDS, Masked, Patch, Sphere, layout
from surrogates.fields import Field, Fields
from surrogates.forecast import Keep
from surrogates.forecast.keep import coordinates
from surrogates.interchange import domain_of, from_xarray, to_xarray
from surrogates.operators import ConvNet
from surrogates.record import construct, describe
from surrogates.surrogate import alike

EARTH = 6.37122e6  # m
STORM = Patch((33, 36), 19.375, 60.625, -141.25, -51.25, radius=EARTH, units="m")
BAND = Patch((8, 24), -60.0, 60.0, 10.0, 370.0, north_first=True, radius=2.0)


@pytest.mark.parametrize("patch", [STORM, BAND, replace(STORM, north_first=True), Patch((1, 1), 0.0, 1.0, 0.0, 1.0)], ids=str)
def test_areas_add_up_to_that_between_the_borders(patch: Patch) -> None:
    assert isinstance(patch, Domain)
    domain_laws(patch)
    zone = math.sin(math.radians(patch.north)) - math.sin(math.radians(patch.south))
    exact = patch.radius**2 * math.radians(patch.lengths[1]) * zone
    assert patch.area == pytest.approx(exact, rel=1e-13)
    torch.testing.assert_close(patch.average(torch.ones(2, 1, *patch.shape)), torch.ones(2, 1, dtype=torch.float64))


@pytest.mark.parametrize("grid", ["cells", "poles"])
@pytest.mark.parametrize("north_first", [True, False])
def test_a_patch_of_all_latitudes_is_the_sphere(grid: str, north_first: bool) -> None:
    """Areas, integrals and points; around a pole a cell is cut at it."""
    sphere = Sphere((9, 16), grid, north_first, west=-180.0, radius=3.0)
    reach = 90.0 if grid == "cells" else 90 + 180 / 8 / 2
    patch = Patch((9, 16), -reach, reach, -180 - 11.25, 180 - 11.25, north_first, 3.0)
    torch.testing.assert_close(patch.measure, sphere.measure)
    for axis in (0, 1):
        torch.testing.assert_close(patch.coordinate(axis), sphere.coordinate(axis))


def test_a_flat_box_would_weigh_a_row_in_the_north_too_much() -> None:
    u = torch.zeros(1, 1, *STORM.shape)
    u[:, :, -1] = 1.0
    by_area = float(STORM.average(u))
    assert by_area == pytest.approx(
        (math.sin(math.radians(60.625)) - math.sin(math.radians(59.375)))
        / (math.sin(math.radians(60.625)) - math.sin(math.radians(19.375)))
    )
    assert float(u.mean()) > 1.4 * by_area


def slopes(patch: Patch | Masked) -> tuple[Tensor, Tensor]:
    """The gradient of sin(2 lambda) cos(phi)^2 found, and exact."""
    phi, east = torch.meshgrid(*(torch.deg2rad(patch.coordinate(a)) for a in (0, 1)), indexing="ij")
    radius = patch.box.radius if isinstance(patch, Masked) else patch.radius
    exact = torch.stack([-2 * phi.sin() * phi.cos() * (2 * east).sin(), 2 * phi.cos() * (2 * east).cos()]) / radius
    return patch.gradient(((2 * east).sin() * phi.cos().square())[None, None])[0], exact


@pytest.mark.parametrize("patch", [replace(STORM, radius=1.0), replace(STORM, north_first=True, radius=1.0), BAND], ids=str)
def test_gradient_converges_to_second_order(patch: Patch) -> None:
    errors = []
    for factor in (1, 2, 4):
        found, exact = slopes(patch.with_shape([factor * n for n in patch.shape]))
        errors.append(float((found - exact)[:, 1:-1, 1:-1].abs().max()))
    assert 3.4 < errors[0] / errors[1] < 4.6 and 3.4 < errors[1] / errors[2] < 4.6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_eastward_slope_on_a_pole(dtype: torch.dtype) -> None:
    """A row on a pole has no east; a row half a step away has one, and nothing grows there. With land or without."""
    cap, whole, cells = Patch((5, 16), 67.5, 92.5, 0.0, 360.0), Sphere((9, 16), "poles"), Sphere((9, 16))
    for grid in (
        cap,
        replace(cap, north_first=True),
        replace(cap, south=-92.5, north=-67.5),
        whole,
        cells,
        replace(cap, south=65.0, north=90.0),
    ):
        phi, east = torch.meshgrid(*(torch.deg2rad(grid.coordinate(a)) for a in (0, 1)), indexing="ij")
        u = east.sin().to(dtype)[None, None]
        sea = Masked(grid, torch.ones(grid.shape, dtype=torch.bool))
        bound = torch.where(phi.cos() < 1e-6, 0.0, 1.001 / phi.cos()) + 1e-6
        for domain in (sea, *([grid] if isinstance(grid, Patch) else [])):
            slope = domain.derivative(u, 1)[0, 0]
            assert bool((slope.abs() <= bound).all()) and float(slope.abs().max(1).values[phi[:, 0].cos() > 1e-6].min()) > 0.9


@pytest.mark.parametrize("grid", [BAND, replace(STORM, north_first=True, radius=1.0), Sphere((12, 24), west=5.0, radius=2.0)], ids=str)
def test_land_does_not_change_the_metric(grid: Patch | Sphere) -> None:
    """Areas of wet cells are those of the grid; inside the sea slopes are its own, at coasts one-sided, in NaN none."""
    wet = torch.ones(grid.shape, dtype=torch.bool)
    wet[3:5, 6:9] = False
    sea = Masked(grid, wet)
    domain_laws(sea)
    torch.testing.assert_close(sea.measure[wet], grid.measure[wet])
    phi, east = torch.meshgrid(*(torch.deg2rad(grid.coordinate(a)) for a in (0, 1)), indexing="ij")
    u = torch.where(wet, (2 * east).sin() * phi.cos().square(), torch.nan)[None, None]
    found, whole = sea.gradient(u)[0], grid.gradient(u.nan_to_num())[0]
    inner = torch.zeros_like(wet)
    inner[1:-1, 1:-1] = True
    inner[2:6, 5:10] = False
    if isinstance(grid, Patch):
        torch.testing.assert_close(found[:, inner], whole[:, inner])
    else:
        torch.testing.assert_close(found[0, inner], whole[0, inner])
    assert bool(found.isfinite().all()) and bool((found[:, ~wet] == 0).all())
    again = Masked.from_json(json.loads(json.dumps(sea.to_json())))
    assert again == sea and hash(again) == hash(sea)


@pytest.mark.parametrize(
    "domain", [STORM, BAND, Masked(STORM, STORM.measure > STORM.measure.mean()), Masked(BAND, BAND.measure > 0)], ids=str
)
def test_through_xarray_and_the_other_way_up(domain: Patch | Masked) -> None:
    fields = Fields.of(Field("wind", "m s-1", ("north", "east")))
    u = torch.randn(2, 3, 2, *domain.shape, generator=torch.Generator().manual_seed(0))
    data = to_xarray(u, fields, domain, time=[0.0, 1.0, 2.0], trajectories=[0, 1])
    assert domain_of(data) == domain and data["lat"].attrs["standard_name"] == "latitude"
    over = data.sortby("lat", ascending=bool(data["lat"][0] > data["lat"][-1]))
    turned = domain_of(over)
    assert turned != domain and layout.same(domain_of(over.sortby("lat", ascending=bool(over["lat"][0] > over["lat"][-1]))), domain)
    torch.testing.assert_close(turned.integral(from_xarray(over)[:, 0]), domain.integral(u[:, 0]))
    with pytest.raises(ValueError, match="cropped or thinned"):
        domain_of(data.isel(lon=slice(3)))
    with pytest.raises(ValueError, match="'lon' does not lie where"):
        domain_of(data.assign_coords(lon=data["lon"] + 1.0))


def test_what_others_need_to_know_of_it() -> None:
    assert construct(describe(STORM)) == STORM and KINDS["patch"] is Patch
    assert alike(STORM.with_shape((66, 72)), STORM) and not alike(replace(STORM, east=-60.0), STORM)
    part, domain = coordinates(STORM, Keep(region={"lat": (30.0, 40.0), "lon": (-100.0, -90.0)}))
    assert domain is None and len(part["lat"][1]) == 9 and len(part["lon"][1]) == 5
    assert layout.coords(BAND)["lat"][1][0] > 0


def test_networks_for_plane_grids_work_on_it() -> None:
    """Round a circle of longitudes they commute with turns; elsewhere they see walls."""
    torch.manual_seed(0)
    net = ConvNet(in_channels=2, out_channels=2, width=4, layers=2)
    u = torch.randn(1, 2, *BAND.shape)
    torch.testing.assert_close(net(u.roll(5, 3), BAND), net(u, BAND).roll(5, 3))
    assert net(u, Masked(BAND, BAND.measure > 0)).shape == u.shape and STORM.flat.boundary == ("wall", "wall")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Patch((3,), 0.0, 1.0, 0.0, 1.0), r"shape \(lat, lon\)"),
        (lambda: Patch((3, 3), 1.0, 0.0, 0.0, 1.0), "south < north"),
        (lambda: Patch((3, 3), 0.0, 1.0, 0.0, 400.0), r"west < east <= west \+ 360"),
        (lambda: Patch((3, 3), 0.0, 120.0, 0.0, 1.0), "beyond a pole"),
        (lambda: Patch((3, 3), 0.0, 1.0, 0.0, 1.0, radius=0.0), "positive radius"),
        (lambda: STORM.integral(torch.zeros(1, 1, 36, 33)), r"takes \(B, C, 33, 36\)"),
        (lambda: Patch.from_json({"type": "box"}), "type 'patch'"),
        (lambda: Masked.from_json({"type": "masked", "box": {"type": "mesh"}, "wet": ""}), "lies on one of"),
    ],
)
def test_errors_say_what_would_be_right(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
