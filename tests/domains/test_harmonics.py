"""The transform of the sphere: exact harmonics, exact round trips, Parseval, the peer library, both routes and any banding."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from surrogates.domains import Sphere, harmonics
from surrogates.domains.harmonics import Transform, analyse, banded, by_products, dense, synthesise, transform
from surrogates.domains.legendre import analysis, held, legendre
from surrogates.domains.sphere import GRIDS

CPU = torch.device("cpu")


@pytest.fixture(params=["products", "products, banded", "fft", "fft, banded"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each way around the circles, with one band and with four."""
    monkeypatch.setattr(harmonics, "by_products", lambda *_: request.param.startswith("products"))
    monkeypatch.setattr(harmonics, "BAND", {"cpu": 3 if "banded" in request.param else 1000})
    harmonics._transform.cache_clear()
    yield request.param
    harmonics._transform.cache_clear()


def whole(sphere: Sphere, degrees: int = 0, orders: int = 0) -> Transform:
    """All that the grid holds, unless less is asked for."""
    most = held(sphere)
    degrees = degrees or most[0]
    return transform(sphere, degrees, orders or min(degrees, most[1]), torch.float64, CPU)


def random_coefficients(t: Transform, fields: int = 2) -> Tensor:
    """A triangle; order 0 is real."""
    c = torch.randn(t.cuts[-1], t.borders[-1], 2, fields, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c[:, 0, 1] = 0
    return c * (torch.arange(len(c))[:, None] >= torch.arange(c.shape[1]))[..., None, None]


def harmonic(sphere: Sphere, degree: int, order: int) -> Tensor:
    """Y_lm, complex, by scipy."""
    from scipy.special import sph_harm_y

    theta, east = math.pi / 2 - torch.deg2rad(sphere.coordinate(0)), torch.deg2rad(sphere.coordinate(1))
    return torch.from_numpy(sph_harm_y(degree, order, theta[:, None].numpy(), east[None].numpy()))


SHAPES = [(12, 24), (13, 23), (7, 31), (16, 5), (3, 2)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_harmonic_has_one_coefficient(route: str, grid: str, shape: tuple[int, int]) -> None:
    for north, west in ((True, 0.0), (False, 0.0), (True, -33.0)):
        sphere = Sphere(shape, grid, north, west, radius=7.0)
        t = whole(sphere)
        for degree, order in {(0, 0), (t.cuts[-1] - 1, 0), (t.cuts[-1] - 1, t.borders[-1] - 1), (t.cuts[-1] // 2, t.borders[-1] // 3)}:
            y = harmonic(sphere, degree, order)
            both = torch.stack([y.real, y.imag], -1)
            found = dense(analyse(both, t), t)
            expected = torch.zeros_like(found)
            half = 0.5 if order else 1.0
            expected[degree, order, 0, 0] = half
            if order:
                expected[degree, order, 1, 1] = -half
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
            torch.testing.assert_close(synthesise(banded(expected, t), t), both, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("shape", [*SHAPES, (32, 64), (33, 64)])
def test_round_trip_and_parseval(route: str, grid: str, shape: tuple[int, int]) -> None:
    """All degrees that the grid holds. The mean square by Gauss quadrature of a finer grid."""
    sphere = Sphere(shape, grid, west=12.0)
    t = whole(sphere)
    c = random_coefficients(t)
    spectrum = banded(c, t)
    u = synthesise(spectrum, t)
    assert u.shape == (*shape, 2) and all(z.shape[2:] == (2, 2) for z in spectrum)
    torch.testing.assert_close(dense(analyse(u, t), t), c, rtol=0, atol=1e-12)
    fine = Sphere((t.cuts[-1], 2 * t.borders[-1]), "legendre-gauss", west=12.0)
    v = synthesise(banded(c, s := whole(fine, t.cuts[-1], t.borders[-1])), s)
    square = fine.integral(v.square().permute(2, 0, 1)[None])[0]
    torch.testing.assert_close(square, 2 * c.square().sum((0, 1, 2)) - c[:, 0].square().sum((0, 1)))


@pytest.mark.parametrize("grid", GRIDS)
def test_degrees_beyond_the_truncation_do_not_leak_into_it(grid: str) -> None:
    """Whatever the grid holds is orthogonal, not only what the plain quadrature integrates."""
    sphere = Sphere((16, 32), grid)
    full, few = whole(sphere), whole(sphere, 9)
    c = random_coefficients(full)
    u = synthesise(banded(c, full), full)
    torch.testing.assert_close(dense(analyse(u, few), few), c[:9, :9], rtol=0, atol=1e-13)
    next_one = harmonic(sphere, 15, 4).real[..., None]  # poles hold this degree for even orders alone
    assert max(z.abs().max() for z in analyse(next_one, whole(sphere, 15, 15))) < 1e-13


def test_the_same_coefficients_as_torch_harmonics() -> None:
    """Any field on a Gauss grid; on its equiangular grid, with the poles, fields that its quadrature integrates."""
    peer = pytest.importorskip("torch_harmonics", reason="the peer that this compares with")
    gauss, poles = Sphere((16, 32), "legendre-gauss"), Sphere((17, 32), "poles")
    t = whole(gauss)
    u = torch.randn(16, 32, 3, dtype=torch.float64)
    theirs = peer.RealSHT(16, 32, lmax=16, mmax=16, grid="legendre-gauss").double()(u.permute(2, 0, 1))
    both = torch.view_as_real(theirs).permute(1, 2, 3, 0)
    torch.testing.assert_close(dense(analyse(u, t), t), both, rtol=0, atol=1e-12)
    back = peer.InverseRealSHT(16, 32, lmax=16, mmax=16, grid="legendre-gauss").double()(theirs)
    torch.testing.assert_close(synthesise(banded(both, t), t), back.permute(1, 2, 0), rtol=0, atol=1e-12)
    few = whole(poles, 8)
    c = random_coefficients(few)
    v = synthesise(banded(c, few), few).permute(2, 0, 1)
    theirs = peer.RealSHT(17, 32, lmax=8, mmax=8, grid="equiangular").double()(v)
    torch.testing.assert_close(torch.view_as_real(theirs).permute(1, 2, 3, 0), c, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_integrals_of_harmonics_vanish(grid: str) -> None:
    """All but Y_00, by the quadrature of every grid below its degree."""
    sphere = Sphere((16, 33), grid)
    for degree in range(1, 16):
        for order in range(0, degree + 1, 3):
            y = harmonic(sphere, degree, order).real
            assert abs(float(sphere.quadrature @ y.sum(1))) < 1e-12
    u = harmonic(sphere, 0, 0).real
    torch.testing.assert_close(float(sphere.quadrature @ u.mean(1)) * 2 * math.pi, math.sqrt(4 * math.pi))


def test_legendre_functions_of_degree_720() -> None:
    """The addition theorem, sum_m |Y_lm|^2 = (2l+1)/(4 pi), and orthogonality, up to the poles."""
    phi = torch.deg2rad(Sphere((721, 1440), "poles").coordinate(0))
    some = phi[[0, 1, 7, 60, 180, 360, 719]]
    p = legendre(some, 721, 0, 721)
    square = 2 * p.square().sum(0) - p[0].square()
    exact = (2 * torch.arange(721.0, dtype=torch.float64) + 1) / (4 * math.pi)
    torch.testing.assert_close(square, exact[:, None].expand_as(square), rtol=1e-11, atol=0)
    gauss = Sphere((721, 1), "legendre-gauss")
    for order in (0, 1, 360, 719):
        q = legendre(torch.deg2rad(gauss.coordinate(0)), 721, order, order + 1)[0]
        torch.testing.assert_close(2 * math.pi * (q * gauss.quadrature) @ q.T, torch.eye(721 - order).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", ["poles", "cells"])
def test_analysis_of_high_degrees_is_exact(grid: str) -> None:
    """Orders of an ERA5-sized grid, one at a time: analysis inverts synthesis."""
    sphere = Sphere((181, 360), grid)
    phi = torch.deg2rad(sphere.coordinate(0))
    for order in (0, 1, 90, 179):
        a, p = analysis(sphere, 180, order, order + 1)[0], legendre(phi, 180, order, order + 1)[0]
        torch.testing.assert_close(a @ p.T, torch.eye(180 - order).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 8), (5, 7)])
def test_gradients_are_those_of_finite_differences(route: str, shape: tuple[int, int]) -> None:
    t = whole(Sphere(shape, "cells", west=5.0))
    u = torch.randn(*shape, 2, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn_like(z) for z in analyse(u.detach(), t)]

    def filtered(u: Tensor) -> Tensor:
        return synthesise(tuple(w * z for w, z in zip(weights, analyse(u, t), strict=True)), t)

    assert torch.autograd.gradcheck(filtered, u, fast_mode=True)
    _, slope = torch.func.jvp(filtered, (u.detach(),), (u.detach(),))
    torch.testing.assert_close(slope, filtered(u.detach()))  # it is linear


def test_float32_is_good_to_its_rounding() -> None:
    sphere = Sphere((64, 128), "cells")
    exact, single = whole(sphere), transform(sphere, 64, 64, torch.float32, CPU)
    u = torch.randn(64, 128, 2, dtype=torch.float64)
    for z, y in zip(analyse(u, exact), analyse(u.float(), single), strict=True):
        torch.testing.assert_close(y.double(), z, rtol=0, atol=1e-6 * float(z.abs().max()) * 10)
    assert all((p == 0).logical_or(p.abs() > 1e-37).all() for p in single.analysis + single.synthesis), "denormals are slow"


def test_few_orders_go_by_products_and_many_by_fft() -> None:
    assert by_products(64, 32) and by_products(128, 64)
    assert not by_products(1440, 720) and not by_products(257, 128)


@pytest.mark.parametrize(
    ("sphere", "degrees", "orders", "says"),
    [
        (Sphere((16, 32), "cells"), 17, 16, r"a grid 'cells' of \(16, 32\) holds 16 and 16"),
        (Sphere((17, 32), "poles"), 17, 16, "holds 16 and 16"),
        (Sphere((17, 32), "legendre-gauss"), 17, 17, "holds 17 and 16"),
        (Sphere((17, 31), "legendre-gauss"), 17, 17, "holds 17 and 16"),
        (Sphere((16, 32)), 8, 9, "1 to degrees = 8 orders, got 9"),
        (Sphere((16, 32)), 8, 0, "1 to degrees = 8 orders, got 0"),
    ],
)
def test_what_the_grid_does_not_hold_is_refused(sphere: Sphere, degrees: int, orders: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        transform(sphere, degrees, orders, torch.float64, CPU)
