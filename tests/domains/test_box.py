"""A Box: integrals, spectral derivatives and resampling against exact results."""

import pytest
import torch

from surrogates.domains import Box
from surrogates.domains.box import resize_spectrum

TWO_PI = 2 * torch.pi


def wave(box: Box, *k: int, phase: float = 0.3) -> torch.Tensor:
    angle = sum(n * TWO_PI * (x - lo) / length for n, x, lo, length in zip(k, box.grid(), box.lower, box.lengths, strict=True))
    return torch.sin(angle + phase)[None, None]


@pytest.mark.parametrize(
    ("shape", "lengths", "k"), [((15,), (3.0,), (4,)), ((16, 9), (1.0, 5.0), (3, -2)), ((8, 6, 10), (1.0, 2.0, 3.0), (2, -1, 3))]
)
def test_spectral_derivatives_are_exact_on_resolved_waves(shape, lengths, k):
    box = Box.periodic(shape, lengths)
    u = wave(box, *k)
    for axis in range(box.dim):
        factor = TWO_PI * k[axis] / lengths[axis]
        torch.testing.assert_close(box.derivative(u, axis), factor * wave(box, *k, phase=0.3 + torch.pi / 2), rtol=0, atol=1e-11)
        torch.testing.assert_close(box.derivative(u, axis, order=2), -(factor**2) * u, rtol=0, atol=1e-10)
    squared = sum((TWO_PI * n / length) ** 2 for n, length in zip(k, lengths, strict=True))
    torch.testing.assert_close(box.laplacian(u), -squared * u, rtol=1e-11, atol=1e-10)


def test_derivative_of_the_nyquist_mode_is_zero():
    box = Box.periodic((8,), 1.0)
    nyquist = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)[None, None]
    assert box.derivative(nyquist, 0).abs().max() == 0
    assert box.wavenumbers(derivative=True)[0][-1] == 0
    assert box.wavenumbers()[0][-1] > 0


def test_divergence_of_a_curl_and_vorticity():
    box = Box.periodic((24, 16), (2.0, 1.0))
    psi = wave(box, 2, 3)
    u = torch.cat([box.derivative(psi, 1), -box.derivative(psi, 0)], 1)
    assert box.divergence(u).abs().max() < 1e-10 * u.abs().max()
    torch.testing.assert_close(box.vorticity(u), -box.laplacian(psi), rtol=0, atol=1e-9)


def test_integral_is_the_trapezoid_rule_in_float64():
    box = Box.periodic((7, 12), (2.0, 3.0))
    u = (1 + wave(box, 2, 1)).float()
    assert box.integral(u).dtype == torch.float64
    torch.testing.assert_close(box.integral(u), torch.full((1, 1), 6.0, dtype=torch.float64), rtol=1e-7, atol=0)
    many = torch.full((1, 1, 1 << 10, 1 << 10), 0.1)
    fine = Box.periodic((1 << 10, 1 << 10), 1.0)
    assert abs(float(fine.average(many)) - float(torch.tensor(0.1).double())) < 1e-12  # a float32 sum would miss this by 1e-5


def test_walled_cells_stretch_and_still_add_up():
    edges = (0.0, 0.1, 0.4, 1.0)
    box = Box((3, 4), (0.0, 0.0), (1.0, 2.0), ("wall", "periodic"), (edges, None))
    torch.testing.assert_close(box.measure.sum(), torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(box.coordinate(0), torch.tensor([0.05, 0.25, 0.7], dtype=torch.float64))
    linear = (3 * box.grid()[0])[None, None]
    torch.testing.assert_close(box.derivative(linear, 0), torch.full_like(linear, 3.0))
    uniform = Box((4,), (0.0,), (2.0,), ("wall",))
    torch.testing.assert_close(uniform.coordinate(0), torch.tensor([0.25, 0.75, 1.25, 1.75], dtype=torch.float64))


@pytest.mark.parametrize(("old", "new"), [((16,), (33,)), ((16, 10), (12, 24)), ((9, 8, 6), (12, 6, 9))])
def test_resampling_is_exact_on_modes_both_grids_hold(old, new):
    box = Box.periodic(old, (1.0,) * len(old))
    k = tuple((min(a, b) - 1) // 2 * (-1) ** i for i, (a, b) in enumerate(zip(old, new, strict=True)))
    u = 0.7 + wave(box, *k)
    torch.testing.assert_close(box.resample(u, new), 0.7 + wave(box.with_shape(new), *k), rtol=0, atol=1e-12)


def test_restriction_keeps_the_mean_and_drops_what_it_cannot_hold():
    box = Box.periodic((32, 32), 1.0)
    u = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    coarse = box.resample(u, (8, 12))
    torch.testing.assert_close(coarse.mean((2, 3)), u.mean((2, 3)))
    again = box.with_shape((8, 12)).resample(coarse, (32, 32))
    torch.testing.assert_close(box.resample(again, (8, 12)), coarse)
    assert resize_spectrum(torch.fft.rfftn(u, dim=(2, 3)), (32, 32), (8, 12))[..., 4, :].abs().max() == 0  # the Nyquist row of 8


def test_json_round_trip():
    box = Box((3, 4), (0.0, -1.0), (1.0, 2.0), ("wall", "periodic"), ((0.0, 0.1, 0.4, 1.0), None), units="m")
    assert Box.from_json(box.to_json()) == box
    assert hash(Box.from_json(box.to_json())) == hash(box)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Box.periodic((4, 4, 4, 4), 1.0), "1 to 3 axes"),
        (lambda: Box((4,), (0.0,), (1.0,), ("open",)), "'periodic' or 'wall'"),
        (lambda: Box((4,), (1.0,), (1.0,), ("wall",)), "upper > lower"),
        (lambda: Box((2,), (0.0,), (1.0,), ("wall",), ((0.0, 0.7, 0.5),)), "rising numbers"),
        (lambda: Box.periodic((4,), 1.0).integral(torch.zeros(1, 1, 5)), r"takes \(B, C, 4\)"),
        (lambda: Box((4,), (0.0,), (1.0,), ("wall",)).wavenumbers(), "need periodic axes"),
        (lambda: Box.periodic((4,), 1.0).vorticity(torch.zeros(1, 2, 4)), "two dimensions"),
    ],
)
def test_errors_say_what_to_write(make, says):
    with pytest.raises(ValueError, match=says):
        make()
