"""Noise of the climate's spectrum has unit deviation, the spectrum it was fitted to on average, and the same on a finer grid."""

from __future__ import annotations

import math

import pytest
import torch
from forecast.steps import U

from surrogates.domains import Box
from surrogates.forecast.climate_spectrum import ClimateSpectrum
from surrogates.interchange import to_xarray
from surrogates.metrics.shells import shell_spectrum
from surrogates.record import construct, describe

BOX = Box.periodic((16, 24), (1.0, 1.0))


def noise(box: Box, count: int = 400, channels: int = 1) -> torch.Tensor:
    return torch.randn(count, channels, *box.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_it_has_unit_deviation_and_the_spectrum_of_the_training_split() -> None:
    a, b = BOX.grid()
    u = (2 * math.pi * a).sin() + 0.5 * (2 * math.pi * (2 * a + 3 * b)).cos() + 0.3 * (10 * math.pi * b).sin() + 4
    data = to_xarray(u.expand(2, 3, 1, 16, 24).float(), U, BOX, time=[0.0, 1.0, 2.0], trajectories=[0, 1], attrs={"split": "train"})
    colour = construct(describe(ClimateSpectrum.fit(data)))
    e = colour(noise(BOX), BOX)
    assert float(e.square().mean()) == pytest.approx(1, rel=0.05)
    assert float(e.mean((2, 3)).abs().max()) < 1e-12
    found, want = shell_spectrum(e[None], BOX)[0].mean((0, 1)), shell_spectrum((u - 4)[None, None, None], BOX)[0, 0, 0]
    torch.testing.assert_close(found / found.sum(), want / want.sum(), rtol=0.15, atol=1e-12)
    fine = Box.periodic((32, 48), (1.0, 1.0))
    again = shell_spectrum(colour(noise(fine, 200), fine)[None], fine)[0].mean((0, 1))
    torch.testing.assert_close(again[: len(want)] / again.sum(), want / want.sum(), rtol=0.2, atol=1e-12)


def test_bad_input_is_named() -> None:
    colour = ClimateSpectrum(((0.0, 1.0, 0.5),))
    with pytest.raises(TypeError, match="periodic Box"):
        colour(noise(BOX, 1), Box((16, 24), (0.0, 0.0), (1.0, 1.0), ("wall", "wall")))
    with pytest.raises(ValueError, match="1 channels but the state 2"):
        colour(noise(BOX, 1, 2), BOX)
