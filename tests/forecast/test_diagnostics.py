"""Diagnostics on the way are what the frames would have told, and their exact values where these are known."""

from __future__ import annotations

from math import pi

import pytest
import torch

from surrogates.domains import Box, Mesh, Sphere
from surrogates.forecast.diagnostics import Energy, Extremes, Integral, Mean, Spectrum, Variance, diagnostic

DRAW = torch.Generator().manual_seed(0)
U = torch.randn(2, 11, 3, 8, 6, generator=DRAW)
BOX = Box.periodic((8, 6), (2.0, 3.0), units="m")


@pytest.mark.parametrize("cuts", [(11,), (1, 10), (4, 4, 3), (1,) * 11])
def test_running_sums_do_not_depend_on_the_portions(cuts: tuple[int, ...]) -> None:
    found = {}
    for r in (Mean(), Variance(), Extremes()):
        held = {}
        for block in U.split(cuts, 1):
            held = r.update(held, block)
        found |= r.value(held)
    u = U.double()
    wanted = {"mean": u.mean(1), "variance": u.var(1, correction=0), "minimum": u.amin(1), "maximum": u.amax(1)}
    assert found.keys() == wanted.keys()
    for name, w in wanted.items():
        torch.testing.assert_close(found[name], w, rtol=1e-12, atol=1e-14)


def test_a_variance_far_from_zero_keeps_its_digits() -> None:
    held: dict[str, torch.Tensor] = {}
    for block in (1e6 + U.double()).split(3, 1):
        held = dict(Variance().update(held, block))
    torch.testing.assert_close(Variance().value(held)["variance"], U.double().var(1, correction=0), rtol=1e-6, atol=0)


def test_integrals_and_energies_are_those_of_the_domain() -> None:
    x, _ = BOX.grid()
    u = (2 + (pi * x).sin()).float().expand(1, 1, 1, 8, 6)
    assert Integral()(u, BOX).item() == pytest.approx(2 * 6)
    assert Energy()(u, BOX).item() == pytest.approx((4 + 0.5) / 2 * 6)
    assert Integral().units("kg m-3", BOX) == "kg m-3 (m)2" and Energy().units("m s-1", BOX) == "(m s-1)2 (m)2"


@pytest.mark.parametrize(
    "domain", [pytest.param(BOX, id="box"), *(pytest.param(Sphere((16, 32), g), id=g) for g in ("cells", "legendre-gauss", "poles"))]
)
def test_a_spectrum_adds_up_to_half_the_mean_square(domain: Box | Sphere) -> None:
    phi, lam = torch.meshgrid(*(domain.coordinate(a) for a in range(2)), indexing="ij")
    if isinstance(domain, Sphere):
        phi, lam = torch.deg2rad(phi), torch.deg2rad(lam)
        u = 1 + phi.sin() + 0.5 * phi.cos() ** 2 * (2 * lam).cos()  # degrees 0, 1 and 2
        wanted = [1 / 2, 1 / 6, (0.25 * 16 / 15 * pi) / (8 * pi)]
    else:
        u = 1 + (2 * pi * lam / 3).sin()
        wanted = [1 / 2, 1 / 4]
    s = Spectrum()(u.float().expand(1, 2, 1, *domain.shape), domain)
    assert s.shape[:3] == (1, 2, 1) and len(next(iter(Spectrum().dims(domain).values()))[0]) == s.shape[-1]
    torch.testing.assert_close(s[0, 0, 0, : len(wanted)], torch.tensor(wanted, dtype=torch.float64), rtol=1e-5, atol=1e-7)
    assert s[0, 0, 0, len(wanted) :].abs().max() < 1e-9


def test_a_frame_that_is_nan_stays_nan_in_all_that_runs_over_time() -> None:
    spoilt = U.clone()
    spoilt[1, 7:] = torch.nan
    for r in (Mean(), Variance(), Extremes()):
        held = r.update({}, spoilt[:, :5])
        for v in r.value(r.update(held, spoilt[:, 5:])).values():
            assert v[0].isfinite().all() and v[1].isnan().all()


def test_what_is_unknown_or_has_no_spectrum_is_named() -> None:
    with pytest.raises(ValueError, match="diagnostic 'spectra' is unknown; did you mean 'spectrum'"):
        diagnostic("spectra")
    mesh = Mesh.from_cells([[0, 0], [1, 0], [0, 1]], [[0, 1, 2]])
    with pytest.raises(ValueError, match="need a Box periodic on every axis"):
        Spectrum().dims(mesh)
