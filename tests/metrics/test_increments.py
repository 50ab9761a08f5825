"""Increments, two-point correlations and variance spectra: Gaussian fields of a known spectrum, direct sums, and Burgers' ramps."""

from __future__ import annotations

from math import pi

import pytest
import torch

from surrogates.domains import Box, Mesh
from surrogates.fields import Field, Fields
from surrogates.metrics import IncrementPDF, Increments, TwoPoint, VarianceSpectrum
from surrogates.metrics.shells import shell_wavenumbers

ONE, FLOW = Fields.of(Field("u")), Fields.of(Field("velocity", "m s-1", ("x", "y")), Field("dye"))
LINE = Box.periodic((64,), 2 * pi)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def values(metric, x, y, domain):
    return dict(metric.value(metric.statistics(x, y, domain)))


def gaussian(count: int, seed: int = 0) -> torch.Tensor:
    """u = sum_k sqrt(2 v_k) cos(kx + random phase), Gaussian: covariance sum v_k cos(k r) with v_1, v_3 = 1, .5."""
    a, b = normal(2, 1, count, 1, 2, 1, seed=seed)
    k = torch.tensor([1.0, 3.0]).double()[:, None]
    v = torch.tensor([1.0, 0.5]).double()[:, None]
    x = LINE.coordinate(0)
    return (v.sqrt() * (a * torch.cos(k * x) + b * torch.sin(k * x))).sum(-2)[:, :, :, None]


def covariance(r: torch.Tensor) -> torch.Tensor:
    return torch.cos(r) + 0.5 * torch.cos(3 * r)


def test_a_gaussian_field_has_the_increments_of_its_spectrum() -> None:
    """S_2 = 2 (C(0) - C(r)), S_4 = 3 S_2^2, S_6 = 15 S_2^3, S_1 = sqrt(2 S_2 / pi); no skewness. 20000 samples."""
    y = gaussian(20_000)
    found = values(Increments(), y, y, LINE)
    r = torch.tensor(Increments().coordinates(LINE)["separation"][1]).double()
    second = 2 * (1.5 - covariance(r))
    S = found["structure"][0, 0, 0]
    for p, moment in ((1, (2 / pi) ** 0.5), (2, 1.0), (3, 2 * (2 / pi) ** 0.5), (4, 3.0), (6, 15.0)):
        torch.testing.assert_close(S[:, p - 1], moment * second ** (p / 2), rtol=0.03 * p, atol=0)
    torch.testing.assert_close(found["increment_flatness"][0, 0, 0], torch.full_like(r, 3), rtol=0.1, atol=0)
    assert found["increment_skewness"].abs().max() < 0.1


def test_ramps_and_a_front_have_the_cascade_s_sign() -> None:
    """u = -(x - pi) / pi breaks once in the box, down: d = -r / pi but where the front lies, d = 2 - r / pi or the like."""
    x = LINE.coordinate(0)
    saw = ((x + 0.5 * LINE.spacing[0] - pi) / pi)[None, None, None, None]  # rises, and falls by nearly 2 at the end
    found = values(Increments(separations=(1,)), saw, saw, LINE)
    h = 2 / 64
    d = torch.tensor([h] * 63 + [h - 2]).double()
    assert float(found["increment_third"]) == pytest.approx(float((d**3).mean()))
    assert float(found["increment_skewness"]) == pytest.approx(float((d**3).mean() / (d**2).mean() ** 1.5))
    assert float(found["increment_flatness"]) == pytest.approx(float((d**4).mean() / (d**2).mean() ** 2))
    assert float(found["increment_skewness"]) < -5


def test_increments_go_along_their_axis() -> None:
    box = Box.periodic((8, 6), (1.0, 3.0), "m")
    u = torch.cos(2 * pi * box.grid()[1] / 3.0)[None, None, None, None]
    assert values(Increments(0), u, u, box)["structure"].abs().max() < 1e-12
    assert values(Increments(1), u, u, box)["structure"].max() > 0.1
    name, spacing, attrs = Increments(1).coordinates(box)["separation"]
    assert name == "separation" and spacing == [0.5, 1.0] and attrs["units"] == "m"


def test_statistics_of_batches_average() -> None:
    x, y, metrics = gaussian(6), gaussian(8, seed=1), (Increments(), TwoPoint())
    for metric in metrics:
        whole = metric.statistics(x, y, LINE)
        parts = [metric.statistics(a, b, LINE) for a, b in zip(x.split(3, 1), y.split(4, 1), strict=True)]
        for name, value in whole.items():
            torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


def test_densities_are_those_of_the_normal_law_and_hold_all_mass() -> None:
    y = gaussian(4000)
    metric = IncrementPDF(separations=(4,), bins=40, reach=5.0)
    found = values(metric, 2 * y, y, LINE)
    centres, width = torch.tensor(metric.coordinates(LINE)["deviation"][1]).double(), 0.25
    normal_law = torch.exp(-(centres**2) / 2) / (2 * pi) ** 0.5
    torch.testing.assert_close(found["increment_pdf_truth"].flatten(), normal_law, rtol=0, atol=0.02)
    torch.testing.assert_close(found["increment_pdf"].flatten(), torch.exp(-(centres**2) / 8) / (8 * pi) ** 0.5, rtol=0, atol=0.02)
    assert float(found["increment_pdf_truth"].sum() * width) == pytest.approx(1, abs=1e-3)
    assert float(found["increment_pdf"].sum() * width) == pytest.approx(0.9876, abs=0.004)  # 2.5 sigma of the wider law


def test_correlation_is_the_direct_sum_and_the_spectrum_s() -> None:
    x, y = 3 + gaussian(5), gaussian(4000, seed=1)
    found = values(TwoPoint(), x, y, LINE)
    fluctuation = x - x.mean()
    direct = torch.stack([(fluctuation * fluctuation.roll(-r, -1)).mean() for r in range(33)]) / fluctuation.square().mean()
    torch.testing.assert_close(found["two_point"][0, 0, 0], direct)
    r = torch.tensor(TwoPoint().coordinates(LINE)["lag"][1]).double()
    torch.testing.assert_close(found["two_point_truth"][0, 0, 0], covariance(r) / 1.5, rtol=0, atol=0.03)


def test_odd_grids_and_planes_correlate_along_the_axis() -> None:
    box = Box.periodic((5, 6), (1.0, 2.0))
    u = normal(2, 3, 2, 2, 5, 6)
    for axis, n in ((0, 5), (1, 6)):
        found = values(TwoPoint(axis), u, u, box)["two_point"]
        f = u - u.mean((1, 4, 5), keepdim=True)
        direct = torch.stack([(f * f.roll(-r, 4 + axis)).mean((1, 4, 5)) for r in range(n // 2 + 1)], -1)
        torch.testing.assert_close(found, direct / direct[..., :1])


def test_the_integral_length_of_a_cosine_is_its_quarter_wave() -> None:
    """int_0^(pi/2) cos r dr = 1, but for the trapezoidal rule; a correlation that never falls has half the axis."""
    a, b = normal(2, 1, 50, 1, 1, 1)
    u = a * torch.cos(LINE.coordinate(0)) + b * torch.sin(LINE.coordinate(0))
    found = values(TwoPoint(), u, u + 0.0, LINE)
    assert float(found["integral_length"]) == pytest.approx(1, rel=0.01)
    flat = torch.tensor([[1.0, 0.9, 0.8]]).double()
    from surrogates.metrics.two_point import integral_length

    assert float(integral_length(flat)) == pytest.approx(1.8 - 0.1 + 0.1)
    assert float(integral_length(torch.tensor([1.0, 0.5, -0.5, 1.0]))) == pytest.approx(0.75 + 0.125)


def test_variance_wave_by_wave_is_that_of_the_law_and_adds_to_the_variance() -> None:
    x, y = 0.5 * gaussian(3000), gaussian(3000, seed=1) + 7.0
    found = values(VarianceSpectrum(ONE), x, y, LINE)
    v = found["variance_spectrum_truth"][0, 0, 0]
    assert len(v) == len(shell_wavenumbers(LINE))
    assert v[[1, 3]].tolist() == pytest.approx([1.0, 0.5], rel=0.1) and float(v.sum() - v[1] - v[3]) < 1e-9
    torch.testing.assert_close(found["variance_spectrum_ratio"][0, 0, 0, [1, 3]], torch.tensor([0.25] * 2).double(), rtol=0.15, atol=0)
    torch.testing.assert_close(v.sum(), y.var(1).mean(), rtol=1e-9, atol=0)


def test_variance_is_unbiased_for_two_members_and_sums_components() -> None:
    b, box = 3000, Box.periodic((5, 5), 1.0)  # odd sides hold every wave of the shells' circle but the corners
    u = normal(b, 2, 1, 3, 5, 5)
    low = u.mean((-2, -1), keepdim=True).expand_as(u)  # only the mean: variance 1/25 a channel
    v = values(VarianceSpectrum(FLOW), low, low, box)["variance_spectrum"][:, 0].mean(0)
    assert v[:, 0].tolist() == pytest.approx([2 / 25, 1 / 25], rel=0.1) and v[:, 1:].abs().max() < 1e-12


def test_one_axis_that_is_no_ring_and_other_domains_are_refused() -> None:
    wall, mesh = Box((8,), (0.0,), (1.0,), ("wall",)), Mesh.from_nearest(normal(8, 2), 2)
    u = normal(1, 3, 1, 1, 8)
    for metric in (Increments(), IncrementPDF(), TwoPoint()):
        for domain in (wall, mesh):
            with pytest.raises(ValueError, match="need a Box that is periodic there"):
                metric.statistics(u, u, domain)
    with pytest.raises(ValueError, match="whole spacings from 1 to 63"):
        Increments(separations=(64,)).statistics(gaussian(2), gaussian(2), LINE)
    with pytest.raises(ValueError, match="at least two members"):
        VarianceSpectrum(ONE).statistics(gaussian(1), gaussian(2), LINE)


def test_failed_samples_show() -> None:
    x, y = gaussian(4), gaussian(4, seed=1)
    x[0, 2, 0, 0, 5] = torch.nan
    for metric in (Increments(), IncrementPDF(), TwoPoint(), VarianceSpectrum(ONE)):
        for name, value in values(metric, x, y, LINE).items():
            assert value.isfinite().all() if name.endswith("truth") else value.isnan().any()


def test_a_constant_field_has_no_correlation() -> None:
    u = torch.full((1, 3, 1, 1, 64), 2.5, dtype=torch.float64)
    found = values(TwoPoint(), u, gaussian(3), LINE)
    assert found["two_point"].isnan().all() and found["integral_length"].isnan().all()
