"""Helmholtz decomposition on the sphere: exact flows and gradients up to the poles, dense least squares, and torch-harmonics."""

from __future__ import annotations

import pytest
import torch
from projections import defect, nearest, noise, project, projection_laws
from torch import Tensor

from surrogates.constraints.divergence_sphere import of_vectors
from surrogates.domains import Sphere
from surrogates.domains.legendre import held, legendre
from surrogates.domains.sphere import GRIDS

SPHERES = {
    "gauss": Sphere((6, 12), "legendre-gauss", radius=3.0),
    "gauss-few": Sphere((7, 5), "legendre-gauss", north_first=False),
    "cells": Sphere((6, 12), west=-30.0),
    "cells-odd": Sphere((5, 9), north_first=False),
    "poles": Sphere((7, 12), "poles", radius=6.37122e6, units="m"),
    "poles-few": Sphere((6, 7), "poles"),
}


@pytest.mark.parametrize("name", SPHERES)
def test_is_a_projection_and_on_gauss_grids_orthogonal(name: str) -> None:
    projection_laws(SPHERES[name], symmetric=SPHERES[name].grid == "legendre-gauss", rounding=2e-14)


def vectors(sphere: Sphere) -> tuple[Tensor, Tensor, Tensor]:
    """The unit vectors up, to the north and to the east in space, (3, lat, lon)."""
    phi, east = torch.meshgrid(*(torch.deg2rad(sphere.coordinate(a)) for a in (0, 1)), indexing="ij")
    up = torch.stack([phi.cos() * east.cos(), phi.cos() * east.sin(), phi.sin()])
    north = torch.stack([-phi.sin() * east.cos(), -phi.sin() * east.sin(), phi.cos()])
    return up, north, torch.stack([-east.sin(), east.cos(), torch.zeros_like(phi)])


def gradient(sphere: Sphere, f) -> Tensor:  # type: ignore[no-untyped-def]
    """Of a function of (x, y, z) on the unit sphere by autograd: northward, eastward."""
    up, north, east = vectors(sphere)
    at = up.clone().requires_grad_()
    (slope,) = torch.autograd.grad(f(*at).sum(), at)
    return torch.stack([(slope * north).sum(0), (slope * east).sum(0)])


@pytest.mark.parametrize("north_first", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
def test_flows_of_stream_functions_stay_and_gradients_go(grid: str, north_first: bool) -> None:
    """Polynomials in space of degree 3, so band-limited, with flow across the poles."""
    sphere = Sphere((8, 12), grid, north_first, west=20.0, radius=2.0)
    north, east = gradient(sphere, lambda x, y, z: x * y * z + x - 2 * y + z**2 + 0.5 * z)
    flow = torch.stack([east, -north])
    push = gradient(sphere, lambda x, y, z: x**2 * z - y + 0.3 * z)
    torch.testing.assert_close(project(sphere, flow + push), flow, rtol=0, atol=1e-13)
    assert float(defect(sphere, push)) == pytest.approx(1) and float(defect(sphere, flow)) < 1e-14


def test_solid_rotation_about_any_axis_stays() -> None:
    sphere = SPHERES["poles"]
    up, north, east = vectors(sphere)
    spin = torch.linalg.cross(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)[:, None, None].expand_as(up), up, dim=0)
    v = torch.stack([(spin * north).sum(0), (spin * east).sum(0)])
    torch.testing.assert_close(project(sphere, v), v, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["gauss", "gauss-few"])
def test_nearest_by_least_squares_on_a_gauss_grid(name: str) -> None:
    """Gradients of every harmonic that the grid holds, by explicit sums; the nearest point that is orthogonal to them in the measure."""
    sphere = SPHERES[name]
    degrees, orders = held(sphere)
    lon = torch.deg2rad(sphere.coordinate(1))
    slope, over = of_vectors(sphere, degrees, 0, min(degrees, orders))
    columns = []
    for m in range(len(slope)):
        for degree in range(max(m, 1), degrees):
            for phase in (0.0, torch.pi / 2)[: 1 if m == 0 else 2]:
                wave, turned = torch.cos(m * lon - phase), -torch.sin(m * lon - phase)
                columns.append(torch.stack([slope[m, degree][:, None] * wave, over[m, degree][:, None] * turned]).flatten())
    measure = sphere.measure.flatten().repeat(2)
    v = noise(sphere)[0, 1:]
    best = nearest(v.flatten(), torch.stack(columns) * measure, measure).view(v.shape)
    torch.testing.assert_close(project(sphere, v), best, rtol=0, atol=1e-12)


def test_orthogonal_to_second_order_on_equiangular_grids() -> None:
    """<u - Pu, Pw> in cell areas for smooth u and w: a quarter for half the spacing."""

    def slip(n: int) -> float:
        sphere = Sphere((n, 2 * n))
        push = gradient(sphere, lambda x, y, z: torch.exp(x + 0.5 * z))
        north, east = gradient(sphere, lambda x, y, z: torch.sin(2 * y + x * z))
        both = push + torch.stack([east, -north])
        held = project(sphere, both)
        return float(sphere.integral(((both - held) * held)[None]).sum().abs())

    assert 3.5 < slip(12) / slip(24) < 4.5


def test_vector_functions_are_slopes_of_legendre_functions() -> None:
    """Against differences of P_lm in latitude, and m P_lm / cos."""
    sphere, h = Sphere((9, 4)), 1e-6
    phi = torch.deg2rad(sphere.coordinate(0))
    slope, over = of_vectors(sphere, 6, 2, 5)
    degree = torch.arange(2, 6, dtype=torch.float64)[:, None]
    root, m = (degree * (degree + 1)).sqrt(), torch.arange(2, 5, dtype=torch.float64)[:, None, None]
    expected = (legendre(phi + h, 6, 2, 5) - legendre(phi - h, 6, 2, 5)) / (2 * h)
    torch.testing.assert_close(slope * root, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(over * root, m * legendre(phi, 6, 2, 5) / phi.cos(), rtol=0, atol=1e-12)


def test_a_sphere_too_small_for_any_harmonic_keeps_everything() -> None:
    v = noise(Sphere((2, 4), "poles"))[:, 1:]
    assert torch.equal(project(Sphere((2, 4), "poles"), v), v)


def test_agrees_with_torch_harmonics() -> None:
    """Its vector transform has components (south, east) and coefficients of the same parts; its tables are rounded to float32."""
    harmonics = pytest.importorskip("torch_harmonics")
    sphere = Sphere((12, 24), "legendre-gauss")
    options = {"lmax": 12, "mmax": 12, "grid": "legendre-gauss"}
    there, back = harmonics.RealVectorSHT(12, 24, **options).double(), harmonics.InverseRealVectorSHT(12, 24, **options).double()
    v = noise(sphere)[:, 1:]
    spectrum = there(torch.stack([-v[:, 0], v[:, 1]], 1))
    spectrum[:, 1] = 0  # the stream function's
    push = back(spectrum)
    expected = v - torch.stack([-push[:, 0], push[:, 1]], 1)
    torch.testing.assert_close(project(sphere, v), expected, rtol=0, atol=1e-6)
