"""A Sphere: areas, quadrature and derivatives against exact results, whichever way up and wherever the first meridian."""

from __future__ import annotations

import json
import math

import pytest
import torch
from laws import domain_laws
from torch import Tensor

from surrogates.contracts import Domain
from surrogates.domains import Sphere
from surrogates.domains.sphere import GRIDS

EARTH = 6.37122e6  # m


def spheres(shape: tuple[int, int], **options) -> list[Sphere]:
    return [Sphere(shape, grid, north, **options) for grid in GRIDS for north in (True, False)]


def vectors(sphere: Sphere) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, z of every point, a unit long."""
    phi, east = torch.meshgrid(*(torch.deg2rad(sphere.coordinate(axis)) for axis in (0, 1)), indexing="ij")
    return phi.cos() * east.cos(), phi.cos() * east.sin(), phi.sin()


@pytest.mark.parametrize("sphere", [*spheres((9, 16)), *spheres((8, 15), radius=EARTH, west=-180.0, units="m"), *spheres((2, 1))], ids=str)
def test_areas_add_up_to_the_sphere(sphere: Sphere) -> None:
    assert isinstance(sphere, Domain)
    domain_laws(sphere)
    area = 4 * math.pi * sphere.radius**2
    torch.testing.assert_close(sphere.measure.sum().item(), area, rtol=1e-13, atol=0)
    torch.testing.assert_close(sphere.quadrature.sum().item(), 2.0, rtol=1e-13, atol=0)
    torch.testing.assert_close(sphere.measure.flip(0), sphere.measure, rtol=1e-13, atol=0)
    one = torch.ones(2, 1, *sphere.shape)
    torch.testing.assert_close(sphere.integral(one), torch.full((2, 1), area, dtype=torch.float64), rtol=1e-13, atol=0)
    torch.testing.assert_close(sphere.average(one), torch.ones(2, 1, dtype=torch.float64), rtol=1e-13, atol=0)


def test_a_cell_is_bounded_halfway_to_its_neighbours() -> None:
    lat = torch.deg2rad(torch.tensor([90.0, 60.0, 30.0, 0.0, -30.0, -60.0, -90.0], dtype=torch.float64))
    cells, poles = Sphere((6, 4), radius=2.0), Sphere((7, 4), "poles", radius=2.0)
    expected = 4.0 * (math.pi / 2) * (lat[:-1].sin() - lat[1:].sin())
    torch.testing.assert_close(cells.measure[:, 0], expected)
    torch.testing.assert_close(poles.measure[0, 0].item(), 2 * math.pi * (1 - math.sin(math.radians(75))))
    torch.testing.assert_close(poles.coordinate(0), torch.rad2deg(lat))


@pytest.mark.parametrize("sphere", spheres((12, 8)) + spheres((11, 8)), ids=str)
def test_quadrature_is_exact_to_its_degree(sphere: Sphere) -> None:
    """Monomials of sin(latitude): below K, below 2K for Gauss."""
    z, last = torch.deg2rad(sphere.coordinate(0)).sin(), sphere.shape[0] * (2 if sphere.grid == "legendre-gauss" else 1)
    for degree in range(last):
        exact = 0.0 if degree % 2 else 2 / (degree + 1)
        assert abs(float(sphere.quadrature @ z**degree) - exact) < 1e-14
    beyond = last + last % 2
    assert abs(float(sphere.quadrature @ z**beyond) - 2 / (beyond + 1)) > 1e-9


@pytest.mark.parametrize("grid", GRIDS)
def test_integrals_of_smooth_fields_converge(grid: str) -> None:
    """Of exp(z), 2 pi (e - 1/e): to second order by areas, to rounding by Gauss."""
    errors = []
    for n in (16, 32):
        sphere = Sphere((n, 2 * n), grid)
        found = float(sphere.integral(vectors(sphere)[2].exp()[None, None]))
        errors.append(abs(found - 2 * math.pi * (math.e - 1 / math.e)))
    assert errors[1] < 1e-12 if grid == "legendre-gauss" else 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.parametrize("sphere", spheres((48, 65), west=30.0, radius=3.0) + spheres((49, 64), west=-180.0), ids=str)
def test_gradient_is_second_order_up_to_the_poles(sphere: Sphere) -> None:
    """Of u = xyz + x - 2y + z^2: u's own gradient in space, projected on the unit vectors to the north and to the east."""

    def error(s: Sphere) -> float:
        x, y, z = vectors(s)
        phi, east = torch.meshgrid(*(torch.deg2rad(s.coordinate(axis)) for axis in (0, 1)), indexing="ij")
        slope = (y * z + 1, x * z - 2, x * y + 2 * z)
        north = (-phi.sin() * east.cos(), -phi.sin() * east.sin(), phi.cos())
        around = (-east.sin(), east.cos(), torch.zeros_like(phi))
        exact = torch.stack([sum(g * e for g, e in zip(slope, unit, strict=True)) for unit in (north, around)]) / s.radius
        return float((s.gradient((x * y * z + x - 2 * y + z * z)[None, None])[0] - exact).abs().max())

    coarse, fine = error(sphere.with_shape((sphere.shape[0] // 2, sphere.shape[1]))), error(sphere)
    assert fine < 0.02 and coarse / fine > 3


def test_the_eastward_derivative_is_exact_along_a_circle() -> None:
    for sphere in spheres((6, 9), west=10.0):
        x, y, _ = vectors(sphere)
        unit = torch.deg2rad(sphere.coordinate(1))
        inner = slice(1, -1)
        found = sphere.derivative((x * x - y * y)[None, None], 1)[0, 0]
        phi = torch.deg2rad(sphere.coordinate(0))
        torch.testing.assert_close(found[inner], (-2 * phi.cos()[:, None] * (2 * unit).sin())[inner], rtol=0, atol=1e-12)


def test_either_way_up_is_the_same_sphere() -> None:
    for down, up in zip(spheres((9, 8))[::2], spheres((9, 8))[1::2], strict=True):
        assert down.coordinate(0)[0] > 0 > up.coordinate(0)[0]
        torch.testing.assert_close(down.coordinate(0).flip(0), up.coordinate(0), rtol=0, atol=0)
        u = torch.randn(1, 2, 9, 8, dtype=torch.float64)
        torch.testing.assert_close(up.integral(u.flip(2)), down.integral(u))
        for axis in (0, 1):
            torch.testing.assert_close(up.derivative(u.flip(2), axis).flip(2), down.derivative(u, axis))


def test_json_round_trip() -> None:
    sphere = Sphere((721, 1440), "poles", False, -180.0, EARTH, "m")
    again = Sphere.from_json(json.loads(json.dumps(sphere.to_json())))
    assert again == sphere and hash(again) == hash(sphere) and again.with_shape((9, 8)).shape == (9, 8)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Sphere((8, 16), "gauss"), "write one of 'poles', 'cells', 'legendre-gauss'"),
        (lambda: Sphere((8,)), r"has shape \(lat, lon\)"),
        (lambda: Sphere((1, 4), "poles"), r"at least \(2, 1\)"),
        (lambda: Sphere((8, 16), radius=0.0), "positive radius"),
        (lambda: Sphere((8, 16), west=math.nan), "finite west"),
        (lambda: Sphere((8, 16)).integral(torch.zeros(1, 1, 16, 8)), r"takes \(B, C, 8, 16\)"),
        (lambda: Sphere.from_json({"type": "box"}), "type 'sphere'"),
    ],
)
def test_errors_say_what_to_write(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
