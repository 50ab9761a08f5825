"""Scalar and vector transforms on the sphere: exact both ways on every grid, against closed forms and a peer."""

from __future__ import annotations

import pytest
import torch

from surrogates.domains import Sphere
from surrogates.pde import spherical

CPU = torch.device("cpu")
GRIDS = {
    "gauss": Sphere((12, 25), "legendre-gauss"),
    "gauss, south first, turned": Sphere((12, 25), "legendre-gauss", north_first=False, west=13.0),
    "cells": Sphere((12, 24), "cells", west=-7.5),
    "cells, odd": Sphere((11, 23), "cells", north_first=False),
    "poles": Sphere((13, 24), "poles"),
    "poles, south first": Sphere((14, 28), "poles", north_first=False),
}


@pytest.fixture(params=GRIDS, ids=str)
def sphere(request) -> Sphere:
    return GRIDS[request.param]


def full(sphere: Sphere) -> spherical.Tables:
    return spherical.tables(sphere, spherical.most(sphere), torch.float64, CPU)


def random_spectrum(degrees: int, seed: int, fields: int = 1) -> torch.Tensor:
    """Of real fields without a mean: real at order 0, zero below l = m and at l = 0."""
    c = torch.randn(2, fields, degrees, degrees, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed)).tril()
    c[..., 0] = c[..., 0].real.to(c.dtype)
    c[:, :, 0] = 0
    return c


def test_scalars_come_back(sphere: Sphere) -> None:
    t = full(sphere)
    c = random_spectrum(len(t.synthesis), 0)
    torch.testing.assert_close(spherical.analyse(spherical.synthesise(c, t), t), c, rtol=0, atol=1e-12)


def test_vectors_come_back_as_curl_and_divergence(sphere: Sphere) -> None:
    t = full(sphere)
    L = len(t.synthesis)
    psi, chi = random_spectrum(L, 1), random_spectrum(L, 2)
    u = spherical.flow(psi, chi, t)
    divergence, curl = spherical.divergence_and_curl(u[:, :1], u[:, 1:], t)
    inverse = spherical.inverse_laplacian(L)[:, None]
    torch.testing.assert_close(inverse * divergence, chi, rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse * curl, psi, rtol=0, atol=1e-12)


def test_what_is_a_divergence_or_a_curl_has_no_mean_to_the_last_bit(sphere: Sphere) -> None:
    t = full(sphere)
    u = torch.randn(2, 2, *sphere.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for found in spherical.divergence_and_curl(u[:, :1], u[:, 1:], t):
        assert bool((found[:, :, 0] == 0).all()) and found.abs().max() > 0.1


def test_flows_with_a_closed_form(sphere: Sphere) -> None:
    t = full(sphere)
    phi, lam = (torch.deg2rad(sphere.coordinate(a)) for a in (0, 1))
    phi, lam = phi[:, None], lam[None, :]
    h = spherical.analyse(((2 * phi.sin() ** 2 - 1) + phi.cos() ** 2 * (2 * lam).cos() * phi.sin())[None, None], t)
    slope = 4 * phi.sin() * phi.cos() + (2 * lam).cos() * (phi.cos() ** 3 - 2 * phi.sin() ** 2 * phi.cos())
    over = -2 * phi.cos() * (2 * lam).sin() * phi.sin()
    gradient = torch.stack([slope, over.expand_as(slope)])[None]
    turned = torch.stack([over.expand_as(slope), -slope])[None]  # k x: north takes the east's part, east minus the north's
    torch.testing.assert_close(spherical.flow(0 * h, h, t), gradient, rtol=0, atol=1e-12)
    torch.testing.assert_close(spherical.flow(h, 0 * h, t), turned, rtol=0, atol=1e-12)


def test_solid_rotation_turns_eastward_about_the_north_pole() -> None:
    sphere = GRIDS["poles"]
    t = full(sphere)
    phi = torch.deg2rad(sphere.coordinate(0))[:, None].expand(sphere.shape)
    u = torch.stack([0 * phi, phi.cos()])[None]
    divergence, curl = spherical.divergence_and_curl(u[:, :1], u[:, 1:], t)
    torch.testing.assert_close(spherical.synthesise(curl, t)[0, 0], 2 * phi.sin(), rtol=0, atol=1e-12)
    assert divergence.abs().max() < 1e-13


def test_curl_and_divergence_agree_with_torch_harmonics() -> None:
    theirs = pytest.importorskip("torch_harmonics")
    sphere = Sphere((16, 32), "legendre-gauss")
    t = full(sphere)
    psi, chi = random_spectrum(16, 5), random_spectrum(16, 6)
    u = spherical.flow(psi, chi, t)
    mine = spherical.divergence_and_curl(u[:, :1], u[:, 1:], t)
    transform = theirs.RealVectorSHT(16, 32, lmax=16, mmax=16, grid="legendre-gauss").double()
    found = transform(torch.stack([u[:, 1], u[:, 0]], 1))  # east, then north: curl, then divergence, over -l(l + 1)
    degree = torch.arange(16).double()[:, None]
    scaled = -degree * (degree + 1) * found
    for c, ours in enumerate(reversed(mine)):  # their tables are made in single precision
        torch.testing.assert_close(scaled[:, c], ours[:, 0], rtol=0, atol=1e-6 * float(ours.abs().max()))


def test_cutting_and_padding_undo_each_other_below_the_cut() -> None:
    c = random_spectrum(6, 7)
    assert torch.equal(spherical.fit(spherical.fit(c, 9), 6), c)
    assert torch.equal(spherical.fit(c, 4), c[..., :4, :4])


def test_more_degrees_than_the_grid_holds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a grid 'poles' of \(13, 24\) holds 1 to 12 degrees, not 13"):
        spherical.tables(GRIDS["poles"], 13, torch.float64, CPU)
